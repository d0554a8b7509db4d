//! International bank account numbers.
//!
//! ISO 13616-1: two letters of the country, two check digits, then 1 to 30 letters and digits; at
//! most 34 characters. The check is MOD 97-10 of ISO/IEC 7064. White space and hyphens carry no
//! meaning, nor does the word `IBAN` before the number.
//!
//! The registry of SWIFT, which gives each country's length, is not asked: it changes several times
//! a year, and the check leaves little to it. A country that joins is matched at once, and two
//! builds never differ.
//!
//! ISO 13616-1 lets check digits be 02 to 98. 00, 01 and 99 leave the same remainder as 97, 98 and
//! 02; they are refused, so that one account has one number.
//!
//! What the check cannot see is listed in the tests: no exchange of a digit for a digit or of a
//! letter for a letter passes, nor any two neighbouring digits or letters swapped. About one in a
//! hundred exchanges of a letter for a digit does, and a digit swapped with the letter beside it in
//! three pairs: `1B`, `2M` and `3X`.

use super::short::{Refused, Short, strip_prefix_ignore_case};
use super::{Element, IdentifierType, Normalised, Reject, key_text};

/// The most characters, of ISO 13616-1.
const MAX_IBAN: usize = 34;

/// What a profile says of this type.
pub(super) const RULES: &str = "iban.number: trim White_Space; strip IBAN and ':' in front; NFKC; \
     remove White_Space, hyphens; a-z to A-Z; [A-Z]{2}[0-9]{2}[A-Z0-9]{1,30}; check digits 02-98; \
     ISO 7064 MOD 97-10\n";

/// Canonical form: the number without spaces, in upper case.
pub(super) fn normalise(raw: &str) -> Result<Option<Normalised>, Reject> {
    let number = match strip_prefix_ignore_case(raw.trim(), "IBAN") {
        // No country has the code IB, and check digits are digits: nothing is lost.
        Some(rest) => rest.trim_start().strip_prefix(':').unwrap_or(rest),
        None => raw,
    };
    let iban = Short::<MAX_IBAN>::alphanumeric(number, &[]).map_err(|refused| match refused {
        Refused::Character => Reject::IbanCharacter,
        Refused::Length => Reject::IbanForm,
    })?;
    if iban.is_empty() {
        return Ok(None);
    }
    let [a, b, c, d, _, ..] = iban.as_slice() else {
        return Err(Reject::IbanForm);
    };
    let letters = a.is_ascii_uppercase() && b.is_ascii_uppercase();
    if !letters || !c.is_ascii_digit() || !d.is_ascii_digit() {
        return Err(Reject::IbanForm);
    }
    if matches!(&[*c, *d], b"00" | b"01" | b"99") || !check_holds(iban.as_slice()) {
        return Err(Reject::IbanChecksum);
    }
    let ty = IdentifierType::Iban;
    Ok(Some(Normalised {
        element: Element::encode(ty.name(), "", iban.as_slice()),
        key_text: key_text(ty, None, iban.as_str()),
    }))
}

/// MOD 97-10: the first four characters go to the end, letters count 10 to 35, and the number that
/// this writes leaves 1 when divided by 97.
fn check_holds(iban: &[u8]) -> bool {
    let (head, tail) = iban.split_at(4.min(iban.len()));
    let remainder = tail.iter().chain(head).fold(0_u32, |remainder, byte| {
        let value = u32::from(*byte);
        match byte {
            b'0'..=b'9' => (remainder * 10 + (value - 48)) % 97,
            _ => (remainder * 100 + (value - 55)) % 97,
        }
    });
    remainder == 1
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(raw: &str) -> Result<Option<String>, Reject> {
        Ok(normalise(raw)?.map(|n| n.key_text["iban:".len()..].to_owned()))
    }

    /// The registry's own examples, of several lengths, with letters and without.
    const EXAMPLES: [&str; 8] = [
        "GB82WEST12345698765432",
        "DE89370400440532013000",
        "FR1420041010050500013M02606",
        "MT84MALT011000012345MTLCAST001S",
        "NO9386011117947",
        "BE68539007547034",
        "LC55HEMM000100010012001200023015",
        "SA0380000000608010167519",
    ];

    #[test]
    fn one_account_however_it_is_written() {
        let want = Ok(Some("GB82WEST12345698765432".to_owned()));
        for raw in [
            "GB82WEST12345698765432",
            "GB82 WEST 1234 5698 7654 32",
            "gb82 west 1234 5698 7654 32",
            " GB82-WEST-1234-5698-7654-32\t",
            "IBAN GB82 WEST 1234 5698 7654 32",
            "iban: GB82WEST12345698765432",
            "IBANGB82WEST12345698765432",
            "ＧＢ８２ＷＥＳＴ１２３４５６９８７６５４３２",
            "GB82\u{a0}WEST\u{a0}1234\u{2011}5698\u{a0}7654\u{a0}32",
        ] {
            assert_eq!(text(raw), want, "{raw}");
        }
        for example in EXAMPLES {
            assert_eq!(text(example), Ok(Some(example.to_owned())));
        }
    }

    #[test]
    fn what_is_no_account_is_refused() {
        for raw in ["", " ", "-", "\u{a0}", "IBAN", "IBAN:"] {
            assert_eq!(text(raw), Ok(None), "{raw}");
        }
        for raw in [
            "N/A",
            "GB82.WEST",
            "GB82WESТ12345698765432",
            "GB82WEST1234_5698765432",
        ] {
            assert_eq!(text(raw), Err(Reject::IbanCharacter), "{raw}");
        }
        let long = format!("GB82{}", "0".repeat(31));
        for raw in [
            "GB82",
            "G",
            "8282WEST12345698765432",
            "GBWEST12345698765432",
            long.as_str(),
        ] {
            assert_eq!(text(raw), Err(Reject::IbanForm), "{raw}");
        }
        for raw in [
            "GB83WEST12345698765432",
            "DE89370400440532013001",
            "GB00WEST12345698765432",
        ] {
            assert_eq!(text(raw), Err(Reject::IbanChecksum), "{raw}");
        }
    }

    /// 00, 01 and 99 would be second spellings of 97, 98 and 02.
    #[test]
    fn an_account_has_one_pair_of_check_digits() {
        for account in 0..500 {
            let good = (0..100)
                .filter(|check| text(&format!("DE{check:02}{account:018}")).is_ok())
                .count();
            assert_eq!(good, 1, "{account}");
        }
    }

    /// Every single character put in place of another.
    #[test]
    fn exchanged_characters_are_seen_but_for_those_listed() {
        let mut unseen = Vec::new();
        for example in &EXAMPLES[..2] {
            for at in 0..example.len() {
                for other in ('0'..='9').chain('A'..='Z') {
                    let mut changed = (*example).to_owned();
                    changed.replace_range(at..=at, &other.to_string());
                    if changed != *example && text(&changed).is_ok() {
                        unseen.push(changed);
                    }
                }
            }
        }
        let listed = UNSEEN_EXCHANGES.map(str::to_owned);
        assert_eq!(unseen, listed);
        // A digit for a digit or a letter for a letter is always seen.
        for unseen in unseen {
            let example = EXAMPLES.iter().find(|e| e[..2] == unseen[..2]).unwrap();
            let mut kinds = example.bytes().zip(unseen.bytes()).filter(|(a, b)| a != b);
            assert!(kinds.all(|(a, b)| a.is_ascii_digit() != b.is_ascii_digit()));
        }
    }

    const UNSEEN_EXCHANGES: [&str; 7] = [
        "GB82WEST1234569D765432",
        "GB82WEST12345698G65432",
        "GB82WEST123456987654L2",
        "DE893S0400440532013000",
        "DE893704T0440532013000",
        "DE893704004T0532013000",
        "DE89370400440532I13000",
    ];

    /// A digit beside a letter: the pairs whose order the check cannot see, and no others.
    #[test]
    fn swapped_neighbours_are_seen_but_for_those_listed() {
        let mut unseen = Vec::new();
        for (digit, letter) in (0..10).flat_map(|d| (10..36).map(move |l| (d, l))) {
            if (digit * 100 + letter) % 97 == (letter * 10 + digit) % 97 {
                unseen.push(format!("{digit}{}", char::from(b'A' + (letter - 10) as u8)));
            }
        }
        assert_eq!(unseen, UNSEEN_SWAPS);
        for example in EXAMPLES {
            for at in 0..example.len() - 1 {
                let mut swapped = example.as_bytes().to_vec();
                swapped.swap(at, at + 1);
                let swapped = String::from_utf8(swapped).unwrap();
                let pair = &example[at..at + 2];
                let back: String = pair.chars().rev().collect();
                let listed = unseen.iter().any(|u| *u == pair || *u == back);
                if swapped != example && !listed {
                    assert!(text(&swapped).is_err(), "{swapped}");
                }
            }
        }
    }

    const UNSEEN_SWAPS: [&str; 3] = ["1B", "2M", "3X"];

    proptest! {
        #[test]
        fn canonical_stays(country in "[a-zA-Z]{2}", bban in "[ a-zA-Z0-9-]{1,30}") {
            // The check digits that fit, found by trying.
            let good = (2..99).map(|check| format!("{country}{check:02}{bban}"));
            for raw in good {
                if let Ok(Some(once)) = text(&raw) {
                    prop_assert_eq!(text(&once), Ok(Some(once)));
                }
            }
        }

        #[test]
        fn never_panics(raw in any::<String>()) {
            let _ = text(&raw);
        }
    }
}
