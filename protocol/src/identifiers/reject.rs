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
    /// A document without a holder: no name, or an empty date of birth.
    #[error(
        "the holder has no name or no birth date; fill both in, the date as the document has it (an \
         unknown part as <<)"
    )]
    HolderMissing,
    /// A name of a holder that no zone can hold.
    #[error(
        "the holder's name has letters that ICAO Doc 9303-3 does not transliterate; map the names as the \
         machine-readable zone has them"
    )]
    HolderLetter,
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
    /// A phone number has something else than digits, separators and an extension.
    #[error(
        "the phone number has letters or signs that are no part of a number, or more than one \
         number; correct it or map the right column"
    )]
    PhoneCharacter,
    /// No numbering plan reads the number.
    #[error("the phone number begins with no known country code or is too short; correct it")]
    PhoneNumber,
    /// The number is shorter or longer than numbers of its country.
    #[error(
        "the phone number is shorter or longer than numbers of its country; correct it, one \
         number in a row"
    )]
    PhoneLength,
    /// The number lacks the area code.
    #[error("the phone number lacks the area code and would match other towns; add it")]
    PhoneLocal,
    /// The number does not begin with `+` and there is no region.
    #[error(
        "the phone number does not begin with + and has no region; fill the region in, or \
         give it for all rows as a constant (=GB)"
    )]
    PhoneRegionMissing,
    /// The region has no numbering plan.
    #[error("the region of the phone number is not a two-letter code of ISO 3166-1 (such as GB)")]
    PhoneRegion,
    /// The account number has something else than letters A-Z and digits.
    #[error(
        "the IBAN has a character other than A-Z, 0-9, white space and hyphen; correct it or \
         map the right column"
    )]
    IbanCharacter,
    /// The account number does not have the form of ISO 13616-1.
    #[error(
        "the IBAN does not begin with two letters and two digits, or has not 5 to 34 \
         characters; map the right column"
    )]
    IbanForm,
    /// The check digits do not fit.
    #[error("the check digits of the IBAN do not fit; a character is wrong, look at the source")]
    IbanChecksum,
    /// There is no `@`, or brackets or percent signs that are not understood.
    #[error(
        "the email address has no @, or is written in a way that is not read; give it as \
         name@domain"
    )]
    EmailForm,
    /// The part before the `@` is none of RFC 5321.
    #[error(
        "the email address has a character before the @ that is not allowed there, or dots \
         beside each other or at an end; correct it"
    )]
    EmailLocal,
    /// The part before the `@` is quoted and means nothing without quotes.
    #[error(
        "the email address has quotes before the @ that cannot be removed; such addresses are \
         not matched"
    )]
    EmailQuoted,
    /// The part behind the `@` is no domain name.
    #[error("the email address has no valid domain name behind the @; correct it")]
    EmailDomain,
    /// The address is longer than RFC 5321 lets it be.
    #[error(
        "the email address is longer than 64 bytes before the @ or 254 altogether; map the \
         right column"
    )]
    EmailLength,
    /// The vehicle number has a character that ISO 3779 does not.
    #[error(
        "the vehicle identification number has a character other than 0-9 and A-Z without I, \
         O and Q; read 1 for I, 0 for O and Q, and look at the source"
    )]
    VinCharacter,
    /// The vehicle number has not 17 characters.
    #[error(
        "the vehicle identification number has not 17 characters; correct it or map the right \
         column"
    )]
    VinLength,
    /// There is a plate but no state.
    #[error(
        "the plate has a number but no state of registration; fill the state in, or give it \
         for all rows as a constant (=UTO)"
    )]
    PlateStateMissing,
    /// The state of a plate is neither `D` nor three letters.
    #[error(
        "the state of the plate is not a three-letter code of ICAO Doc 9303-3 (such as UTO; \
         FRA for FR)"
    )]
    PlateStateForm,
    /// The plate has a wildcard.
    #[error("the plate has a wildcard; complete numbers only")]
    PlateIncomplete,
    /// The plate has something else than letters, digits and separators.
    #[error(
        "the plate has a character that is neither letter, digit, white space nor hyphen; \
         correct it or map the right column"
    )]
    PlateCharacter,
    /// The plate is longer than 16 characters.
    #[error("the plate is longer than 16 characters; map the right column")]
    PlateLength,
    /// The equipment number has something else than digits.
    #[error(
        "the IMEI has a character other than 0-9, white space, hyphen, '/' and '.'; correct \
         it or map the right column"
    )]
    ImeiCharacter,
    /// The equipment number has not 14 to 16 digits.
    #[error("the IMEI has not 14, 15 or 16 digits; correct it or map the right column")]
    ImeiLength,
    /// The 15th digit is neither the check digit nor 0.
    #[error("the check digit of the IMEI does not fit; a digit is wrong, look at the source")]
    ImeiChecksum,
    /// All digits are zeros.
    #[error("the IMEI is all zeros, which stands for no number; leave the cell empty")]
    ImeiPlaceholder,
    /// The address has no form of a known chain.
    #[error(
        "the wallet address is none of Bitcoin, Ethereum or Tron; correct it or map the right \
         column"
    )]
    WalletForm,
    /// The check in the address does not fit.
    #[error(
        "the check in the wallet address does not fit, or upper and lower case are mixed \
         where they must not be; a character is wrong, look at the source"
    )]
    WalletChecksum,
    /// The chain is unknown or not that of the address.
    #[error(
        "the chain of the wallet address is not bitcoin, ethereum or tron, or not the one its \
         form says; correct it or leave it out"
    )]
    WalletChain,
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
            Self::HolderMissing => "holder-missing",
            Self::HolderLetter => "holder-letter",
            Self::TooFewElements => "too-few-elements",
            Self::TypeNotInProfile => "type-not-in-profile",
            Self::ValueLength => "value-length",
            Self::PhoneCharacter => "phone-character",
            Self::PhoneNumber => "phone-number",
            Self::PhoneLength => "phone-length",
            Self::PhoneLocal => "phone-local",
            Self::PhoneRegionMissing => "phone-region-missing",
            Self::PhoneRegion => "phone-region",
            Self::IbanCharacter => "iban-character",
            Self::IbanForm => "iban-form",
            Self::IbanChecksum => "iban-checksum",
            Self::EmailForm => "email-form",
            Self::EmailLocal => "email-local-part",
            Self::EmailQuoted => "email-quoted",
            Self::EmailDomain => "email-domain",
            Self::EmailLength => "email-length",
            Self::VinCharacter => "vin-character",
            Self::VinLength => "vin-length",
            Self::PlateStateMissing => "plate-state-missing",
            Self::PlateStateForm => "plate-state-form",
            Self::PlateIncomplete => "plate-incomplete",
            Self::PlateCharacter => "plate-character",
            Self::PlateLength => "plate-length",
            Self::ImeiCharacter => "imei-character",
            Self::ImeiLength => "imei-length",
            Self::ImeiChecksum => "imei-checksum",
            Self::ImeiPlaceholder => "imei-placeholder",
            Self::WalletForm => "wallet-form",
            Self::WalletChecksum => "wallet-checksum",
            Self::WalletChain => "wallet-chain",
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
            Reject::HolderMissing,
            Reject::HolderLetter,
            Reject::TooFewElements,
            Reject::TypeNotInProfile,
            Reject::ValueLength,
            Reject::PhoneCharacter,
            Reject::PhoneNumber,
            Reject::PhoneLength,
            Reject::PhoneLocal,
            Reject::PhoneRegionMissing,
            Reject::PhoneRegion,
            Reject::IbanCharacter,
            Reject::IbanForm,
            Reject::IbanChecksum,
            Reject::EmailForm,
            Reject::EmailLocal,
            Reject::EmailQuoted,
            Reject::EmailDomain,
            Reject::EmailLength,
            Reject::VinCharacter,
            Reject::VinLength,
            Reject::PlateStateMissing,
            Reject::PlateStateForm,
            Reject::PlateIncomplete,
            Reject::PlateCharacter,
            Reject::PlateLength,
            Reject::ImeiCharacter,
            Reject::ImeiLength,
            Reject::ImeiChecksum,
            Reject::ImeiPlaceholder,
            Reject::WalletForm,
            Reject::WalletChecksum,
            Reject::WalletChain,
        ];
        let codes: std::collections::BTreeSet<_> = all.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), all.len());
        assert!(all.iter().all(|r| r.to_string().len() > 20));
    }
}
