//! Identifiers: from the parts of a key, as a table gives them, to the canonical elements that enter
//! the protocol.
//!
//! Both sides must turn the same identifier into the same bytes, or a true match is missed. So the
//! rules are few, fixed, and named by a [`Profile`] whose hash both sides compare before anything
//! runs.
//!
//! | Type | Parts | Canonical value |
//! |---|---|---|
//! | `document` | `number`, `state` | number: NFKC, ASCII upper case, white space, hyphens and `<` removed, then `[A-Z0-9]{1,30}`; state: the three letters of ICAO Doc 9303-3 |
//! | `holder` | `number`, `state`, `surname`, `given_name`, `birth_date` | the document, the date of birth and the start of the name, as far as every reader sees it alike |
//! | `person` | `given_name`, `surname`, `birth_date`, and further | several keys, one family a [`Rule`] |
//! | `name` | `given_name`, `surname` | the same without a birth date |
//! | `phone` | `number`, `region` | E.164: `+` and at most 15 digits |
//! | `iban` | `number` | ISO 13616-1, check digits hold |
//! | `email` | `address` | local part in lower case, domain by UTS 46 |
//! | `vin` | `number` | ISO 3779: 17 characters |
//! | `plate` | `number`, `state` | letters and digits of a complete number |
//! | `imei` | `number` | the first 14 digits |
//! | `wallet` | `address`, `chain` | canonical address of Bitcoin, Ethereum or Tron |
//! | `text` | `value` | NFKC, upper case, NFKC, runs of white space folded to one space, trimmed |
//! | `bytes` | `value` | the bytes as they stand |
//!
//! What comes in and goes out here is secret. Nothing in this module prints a value, and no error
//! carries one. Running time depends on the lengths and the characters of the values: that is
//! work on a party's own data, on its own machine, and is not hidden. Copies of values made here are
//! wiped; for characters outside ASCII the Unicode library keeps a few characters in buffers of its
//! own, which are not.

mod document;
mod element;
mod elements;
mod email;
mod holder;
mod iban;
mod imei;
pub mod mrz;
mod padding;
mod person;
mod phone;
mod plate;
mod profile;
mod reject;
mod rule;
pub mod series;
mod short;
mod text;
pub mod transliteration;
mod types;
pub mod vin;
mod wallet;

use std::fmt;

use zeroize::Zeroizing;

pub use element::{ENCODING_VERSION, Element, MAX_VALUE_BYTES};
pub use elements::Elements;
pub use padding::{MIN_PADDED_SIZE, PADDING_TYPE, padded_size, padding_element};
pub use person::{Alike, FIELD_SEPARATOR, Said, form_of, similarity};
pub use profile::{Made, Profile, ProfileError, ProfilePart, tables_hash};
pub use reject::Reject;
pub use rule::{Rule, UnknownRule};
pub use types::{Form, IdentifierType, PartSpec, UnknownType};

/// One key in canonical form.
///
/// Secret: both fields are wiped on drop, and Debug shows neither.
pub struct Normalised {
    /// What enters the protocol.
    pub element: Element,
    /// The same for the eyes of whoever holds the table: `document:UTO:L898902C3`, `text:VALUE`,
    /// `person:one-edit:ANN|ERIKSSON|19740812`. For the own output alone; never sent and never logged.
    pub key_text: Zeroizing<String>,
}

impl fmt::Debug for Normalised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Normalised(..)")
    }
}

/// One key of an identifier: what it stands for, and its canonical form.
#[derive(Debug)]
pub struct Key {
    /// Why it stands for the record.
    pub rule: Rule,
    /// Its canonical form. Secret.
    pub normalised: Normalised,
}

/// The one key that `exact/1` makes of an identifier given in the first form of its type.
///
/// `Ok(None)` is an empty key: there is nothing to match (a document without a number, whatever its
/// state), to be counted and not an error. Normalising a canonical value gives the same value again.
///
/// # Errors
/// [`Reject`], which says what is wrong and holds no part of the value.
pub fn normalise(ty: IdentifierType, parts: &[&str]) -> Result<Option<Normalised>, Reject> {
    let mut keys = Vec::with_capacity(1);
    Profile::exact().keys(ty, 0, parts, &mut keys)?;
    Ok(keys.pop().map(|key| key.normalised))
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

/// Each `name version` of a list stands in the lock file: tables cannot move unseen.
#[cfg(test)]
fn assert_locked(list: &str) {
    let lock = include_str!("../../../Cargo.lock");
    for package in list.split(", ") {
        let (name, version) = package.split_once(' ').unwrap_or((package, ""));
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(
            lock.contains(&entry),
            "{package}: the tables moved, and so does the profile"
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_number_of_parts_is_refused() {
        for ty in [
            IdentifierType::Document,
            IdentifierType::Text,
            IdentifierType::Bytes,
        ] {
            let right = ty.forms()[0].len();
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

    /// A value that more than one type takes is another element in each.
    #[test]
    fn types_never_share_an_element_of_one_value() {
        let values = [
            "490154203237518",
            "49015420323751",
            "GB82WEST12345698765432",
            "1M8GDM9AXKP042788",
        ];
        for value in values {
            let mut seen = std::collections::BTreeSet::new();
            let mut count = 0;
            for ty in IdentifierType::ALL {
                let second = match ty {
                    IdentifierType::Phone => "DE",
                    _ => "UTO",
                };
                let needed = ty.forms()[0].len().min(2);
                let parts = &[value, second][..needed];
                if let Ok(Some(n)) = normalise(ty, parts) {
                    count += 1;
                    seen.insert(n.element.as_bytes().to_vec());
                }
            }
            assert!(count >= 4, "{value}");
            assert_eq!(seen.len(), count, "{value}");
        }
    }

    /// Same characters in different places must never give the same element.
    #[test]
    fn types_never_share_an_element() {
        let of = |ty, parts: &[&str]| normalise(ty, parts).unwrap().unwrap();
        let all = [
            of(IdentifierType::Document, &["ABC", "UTO"]),
            of(IdentifierType::Text, &["ABC"]),
            of(IdentifierType::Bytes, &["ABC"]),
            of(IdentifierType::Name, &["ABC", "ABC"]),
            of(IdentifierType::Person, &["ABC", "ABC", "19740812"]),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a.element != b.element));
        }
        let texts = all.each_ref().map(|key| key.key_text.as_str());
        assert_eq!(
            texts,
            [
                "document:UTO:ABC",
                "text:ABC",
                "bytes:ABC",
                "name:exact:ABC|ABC",
                "person:exact:ABC|ABC|19740812"
            ]
        );
    }
}
