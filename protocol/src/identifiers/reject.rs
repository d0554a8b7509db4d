//! Why a key is refused.

/// Why a key was not accepted. Whose fault: the data's. It holds no part of the value, so it may
/// be logged and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Reject {
    /// The caller passed another number of parts than the type's forms names.
    #[error("a key of this type has other parts; see the parts of its type")]
    Parts,
    /// The number holds something else than letters A-Z and digits.
    #[error(
        "the document number has a character other than A-Z, 0-9, white space, hyphen and '<'; \
         correct it or map the right column"
    )]
    NumberCharacter,
    /// The number is longer than 30 characters.
    #[error("the document number is longer than 30 characters; map the right column")]
    NumberLength,
    /// There is a number but no state.
    #[error(
        "the document has a number but no issuing state; fill the state in, or give it for all \
         rows as a constant (=UTO)"
    )]
    StateMissing,
    /// The state is a two-letter code.
    #[error(
        "the issuing state has two letters; use the three letters of ICAO Doc 9303-3 (FRA for FR, \
         DEU for DE)"
    )]
    StateTwoLetters,
    /// The state is neither `D` nor three letters.
    #[error(
        "the issuing state is not a three-letter code of ICAO Doc 9303-3 (such as UTO, or D for \
         Germany)"
    )]
    StateForm,
    /// A machine-readable zone of another length or number of lines than any of ICAO Doc 9303.
    #[error(
        "the text is no machine-readable zone: it needs 3 lines of 30, 2 of 36 or 2 of 44 characters; \
         map the column that holds the whole zone"
    )]
    MrzShape,
    /// A character that no zone has.
    #[error(
        "the machine-readable zone has a character other than A-Z, 0-9 and '<'; correct it, or read \
         the document again"
    )]
    MrzCharacter,
    /// A check digit, or the composite, does not hold.
    #[error(
        "a check digit of the machine-readable zone does not hold; read the document again, and see \
         which with `tally document check`"
    )]
    MrzCheckDigit,
    /// A name holds something else than letters and what stands between them.
    #[error(
        "a name has a digit, a symbol or a character that is not shown; correct it, or map the right \
         column"
    )]
    NameCharacter,
    /// A name is too long.
    #[error("a name has more than 120 letters; map the right column")]
    NameLength,
    /// A birth date in no known form.
    #[error(
        "the birth date is not in a known form; write YYYY-MM-DD or YYYYMMDD, or say the order with \
         date_order"
    )]
    DateForm,
    /// Day and month cannot be told apart.
    #[error(
        "the order of day and month is not stated; give date_order = \"=dmy\", \"=mdy\" or \"=ymd\" \
         in the mapping"
    )]
    DateOrder,
    /// The row says less of a person than the profile asks for.
    #[error(
        "the row says too little of the person for this profile; fill names and birth date in, or use a \
         profile with a lower minimum"
    )]
    TooFewElements,
    /// The profile does not have this type.
    #[error("the profile does not have this type; choose another profile or another type")]
    TypeNotInProfile,
    /// The canonical value is longer than [`MAX_VALUE_BYTES`](super::MAX_VALUE_BYTES).
    #[error("the value is longer than 1024 bytes; map a shorter column")]
    ValueLength,
}

impl Reject {
    /// The stable code of this reason, for counts and for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Parts => "key-parts",
            Self::NumberCharacter => "document-number-character",
            Self::NumberLength => "document-number-length",
            Self::StateMissing => "document-state-missing",
            Self::StateTwoLetters => "document-state-two-letters",
            Self::StateForm => "document-state-form",
            Self::MrzShape => "mrz-shape",
            Self::MrzCharacter => "mrz-character",
            Self::MrzCheckDigit => "mrz-check-digit",
            Self::NameCharacter => "name-character",
            Self::NameLength => "name-length",
            Self::DateForm => "birth-date-form",
            Self::DateOrder => "birth-date-order",
            Self::TooFewElements => "too-few-elements",
            Self::TypeNotInProfile => "type-not-in-profile",
            Self::ValueLength => "value-length",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_have_distinct_codes_and_a_message() {
        let all = [
            Reject::Parts,
            Reject::NumberCharacter,
            Reject::NumberLength,
            Reject::StateMissing,
            Reject::StateTwoLetters,
            Reject::StateForm,
            Reject::MrzShape,
            Reject::MrzCharacter,
            Reject::MrzCheckDigit,
            Reject::NameCharacter,
            Reject::NameLength,
            Reject::DateForm,
            Reject::DateOrder,
            Reject::TooFewElements,
            Reject::TypeNotInProfile,
            Reject::ValueLength,
        ];
        let codes: std::collections::BTreeSet<_> = all.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), all.len());
        assert!(all.iter().all(|r| r.to_string().len() > 20));
    }
}
