//! Identifiers: from the parts of a key, as a table gives them, to the one canonical element that
//! enters the protocol.
//!
//! Both sides must turn the same identifier into the same bytes, or a true match is missed. So the
//! rules are few, fixed, and named by a [`Profile`] whose hash both sides compare before anything
//! runs.
//!
//! | Type | Parts | Canonical value |
//! |---|---|---|
//! | `document` | `number`, `state` | number: NFKC, ASCII upper case, white space, hyphens and `<` removed, then `[A-Z0-9]{1,30}`; state: the three letters of ICAO Doc 9303-3 |
//! | `text` | `value` | NFKC, upper case, NFKC, runs of white space folded to one space, trimmed |
//! | `bytes` | `value` | the bytes as they stand |
//!
//! What comes in and goes out here is secret. Nothing in this module prints a value, and no error
//! carries one. Running time depends on the lengths and the characters of the values: that is
//! work on a party's own data, on its own machine, and is not hidden.

mod document;
mod element;
mod padding;
mod profile;
mod text;
pub mod transliteration;

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

pub use element::{ENCODING_VERSION, Element, MAX_VALUE_BYTES};
pub use padding::{MIN_PADDED_SIZE, PADDING_TYPE, padded_size, padding_element};
pub use profile::Profile;

/// A kind of identifier. Each has its own OPRF key, so a query of one type can never be counted
/// as another.
///
/// `padding` is not among them: it is reserved for the protocol, see [`PADDING_TYPE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentifierType {
    /// A travel or identity document: its number and the state that issued it.
    Document,
    /// Free text, compared without regard to case, width and spacing.
    Text,
    /// Bytes compared as they stand.
    Bytes,
}

impl IdentifierType {
    /// Every type, in the order in which lists show them.
    pub const ALL: [Self; 3] = [Self::Document, Self::Text, Self::Bytes];

    /// The name in flags, statements and output columns. At most 255 bytes of ASCII.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Text => "text",
            Self::Bytes => "bytes",
        }
    }

    /// The names of the parts that make one key, in the order in which [`normalise`] takes them.
    pub const fn parts(self) -> &'static [&'static str] {
        match self {
            Self::Document => &["number", "state"],
            Self::Text | Self::Bytes => &["value"],
        }
    }
}

impl fmt::Display for IdentifierType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for IdentifierType {
    type Err = UnknownType;

    fn from_str(name: &str) -> Result<Self, UnknownType> {
        Self::ALL
            .into_iter()
            .find(|ty| ty.name() == name)
            .ok_or(UnknownType)
    }
}

/// No identifier type has this name. Whose fault: whoever wrote the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown identifier type; use one of: document, text, bytes")]
pub struct UnknownType;

impl UnknownType {
    /// The stable code of this error.
    pub const fn code(self) -> &'static str {
        "unknown-type"
    }
}

/// Why a key stands for its record: the rule that made it. A hit says by which rule it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// The whole canonical identifier.
    Exact,
}

impl Rule {
    /// The name in output columns.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
        }
    }

    /// How sure a hit by this rule is before any re-check, in thousandths: 1000 is certain.
    pub const fn score_thousandths(self) -> u16 {
        match self {
            Self::Exact => 1000,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a key was not accepted. Whose fault: the data's. It holds no part of the value, so it may
/// be logged and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Reject {
    /// The caller passed another number of parts than [`IdentifierType::parts`] names.
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
    /// The canonical value is longer than [`MAX_VALUE_BYTES`].
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
            Self::ValueLength => "value-length",
        }
    }
}

/// One key in canonical form.
///
/// Secret: both fields are wiped on drop, and Debug shows neither.
pub struct Normalised {
    /// What enters the protocol.
    pub element: Element,
    /// The same for the eyes of whoever holds the table: `document:UTO:L898902C3`, `text:VALUE`,
    /// `bytes:VALUE`. For the own output alone; never sent and never logged.
    pub key_text: Zeroizing<String>,
}

impl fmt::Debug for Normalised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Normalised(..)")
    }
}

/// Turns the parts of one key into its canonical element, under profile `exact/1`.
///
/// `parts` are in the order of [`IdentifierType::parts`]. `Ok(None)` is an empty key: there is
/// nothing to match (a document without a number, whatever its state), to be counted and not an
/// error. Normalising a canonical value gives the same value again.
///
/// Copies of the value made here are wiped. For characters outside ASCII the Unicode library
/// keeps a few characters in buffers of its own, which are not.
///
/// # Errors
/// [`Reject`], which says what is wrong and holds no part of the value.
pub fn normalise(ty: IdentifierType, parts: &[&str]) -> Result<Option<Normalised>, Reject> {
    match (ty, parts) {
        (IdentifierType::Document, [number, state]) => document::normalise(number, state),
        (IdentifierType::Text, [value]) => text::normalise(value),
        (IdentifierType::Bytes, [value]) => text::normalise_bytes(value),
        _ => Err(Reject::Parts),
    }
}

/// Joins type, issuer and value for people. Reserves first: a growing string would leave copies.
fn key_text(ty: IdentifierType, issuer: Option<&str>, value: &str) -> Zeroizing<String> {
    let issuer_len = issuer.map_or(0, |i| i.len() + 1);
    let mut text = Zeroizing::new(String::with_capacity(
        ty.name().len() + 1 + issuer_len + value.len(),
    ));
    text.push_str(ty.name());
    text.push(':');
    if let Some(issuer) = issuer {
        text.push_str(issuer);
        text.push(':');
    }
    text.push_str(value);
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_others_are_refused() {
        for ty in IdentifierType::ALL {
            assert_eq!(ty.name().parse::<IdentifierType>(), Ok(ty));
            assert_eq!(ty.to_string(), ty.name());
            assert_ne!(ty.name(), PADDING_TYPE);
        }
        for bad in ["", "Document", "document ", "padding", "person"] {
            assert_eq!(bad.parse::<IdentifierType>(), Err(UnknownType));
        }
    }

    #[test]
    fn a_wrong_number_of_parts_is_refused() {
        for ty in IdentifierType::ALL {
            let right = ty.parts().len();
            for n in (0..4).filter(|n| *n != right) {
                assert_eq!(normalise(ty, &vec!["A"; n]).unwrap_err(), Reject::Parts);
            }
        }
    }

    #[test]
    fn debug_shows_no_value() {
        let n = normalise(IdentifierType::Document, &["L898902C3", "UTO"])
            .unwrap()
            .unwrap();
        let shown = format!("{n:?} {:?}", n.element);
        assert_eq!(shown, "Normalised(..) Element(..)");
    }

    #[test]
    fn rejects_have_distinct_codes_and_a_message() {
        let all = [
            Reject::Parts,
            Reject::NumberCharacter,
            Reject::NumberLength,
            Reject::StateMissing,
            Reject::StateTwoLetters,
            Reject::StateForm,
            Reject::ValueLength,
        ];
        let codes: std::collections::BTreeSet<_> = all.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), all.len());
        assert!(all.iter().all(|r| r.to_string().len() > 20));
    }

    /// Same characters in different places must never give the same element.
    #[test]
    fn types_never_share_an_element() {
        let document = normalise(IdentifierType::Document, &["ABC", "UTO"])
            .unwrap()
            .unwrap();
        let text = normalise(IdentifierType::Text, &["ABC"]).unwrap().unwrap();
        let bytes = normalise(IdentifierType::Bytes, &["ABC"]).unwrap().unwrap();
        assert_ne!(document.element, text.element);
        assert_ne!(text.element, bytes.element);
        assert_eq!(&*document.key_text, "document:UTO:ABC");
        assert_eq!(&*text.key_text, "text:ABC");
        assert_eq!(&*bytes.key_text, "bytes:ABC");
    }
}
