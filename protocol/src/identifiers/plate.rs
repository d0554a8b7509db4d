//! Registration plates of vehicles: the state of registration and the number.
//!
//! The state is the three-letter code of ICAO Doc 9303-3, as for documents. The number is NFKC and
//! upper case (then NFKC again), without white space, hyphens and middle dots, which agencies write
//! or leave out as they like; letters and digits remain, 1 to 16 of them. Letters keep their marks:
//! `MÜ` and `MU` are different districts.
//!
//! Annex 2 of the Convention on Road Traffic (Vienna, 1968) wants numbers shown in Latin capitals
//! and Arabic numerals. States of other scripts therefore use letters that look the same in both
//! (GOST R 50577 for Cyrillic, the Greek fourteen). People type them in either script, so those
//! letters are folded to Latin; and Arabic-Indic digits to ASCII.
//!
//! Only complete numbers are compared. A number with a wildcard (`*`, `?`, `.`, `_`, `%`, `#`, `…`)
//! stands for many and is refused.

use unicode_normalization::UnicodeNormalization;

use super::short::{digit, separates};
use super::{Element, IdentifierType, Normalised, Reject, document, key_text};
use zeroize::Zeroizing;

/// The most characters of a number.
const MAX_CHARS: usize = 16;

/// What stands for one or more unknown characters where people search.
const WILDCARDS: [char; 7] = ['*', '?', '.', '_', '%', '#', '\u{2026}'];

/// Dots between the groups of Chinese numbers, and how they are typed.
const MIDDLE_DOTS: [char; 3] = ['\u{b7}', '\u{2022}', '\u{30fb}'];

/// What a profile says of this type.
pub(super) const RULES: &str = "plate.number: refuse wildcards; NFKC; upper case; NFKC; remove \
     White_Space, hyphens, U+00B7, U+2022, U+30FB; Arabic-Indic digits to ASCII; Cyrillic \
     АВЕКМНОРСТУХІЈЅ and Greek ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ to Latin; letters and ASCII digits, 1-16\n\
     plate.state: as document.state\n";

/// Canonical form of a plate. Without a number the key is empty, whatever the state.
pub(super) fn normalise(number: &str, state: &str) -> Result<Option<Normalised>, Reject> {
    let number = canonical_number(number)?;
    if number.is_empty() {
        return Ok(None);
    }
    let state = document::canonical_state(state).map_err(|reject| match reject {
        Reject::StateMissing => Reject::PlateStateMissing,
        _ => Reject::PlateStateForm,
    })?;
    // ASCII by construction; the fallback is never taken.
    let state = std::str::from_utf8(&state[..]).map_err(|_| Reject::PlateStateForm)?;
    let ty = IdentifierType::Plate;
    Ok(Some(Normalised {
        element: Element::encode(ty.name(), state, number.as_bytes()),
        key_text: key_text(ty, Some(state), &number),
    }))
}

fn canonical_number(raw: &str) -> Result<Zeroizing<String>, Reject> {
    // Before NFKC, which writes `…` as three dots: the same reason either way.
    if raw.contains(WILDCARDS) {
        return Err(Reject::PlateIncomplete);
    }
    // The whole room at once: a letter has at most four bytes.
    let mut number = Zeroizing::new(String::with_capacity(4 * MAX_CHARS));
    let mut count = 0;
    for c in raw.nfkc().flat_map(char::to_uppercase).nfkc() {
        if separates(c) || MIDDLE_DOTS.contains(&c) {
            continue;
        }
        if WILDCARDS.contains(&c) {
            return Err(Reject::PlateIncomplete);
        }
        let c = match digit(c) {
            Some(value) => char::from(b'0' + value),
            None if c.is_alphabetic() => latin(c),
            None => return Err(Reject::PlateCharacter),
        };
        count += 1;
        if count > MAX_CHARS {
            return Err(Reject::PlateLength);
        }
        number.push(c);
    }
    Ok(number)
}

/// The Latin capital that a Cyrillic or Greek capital on plates looks like.
fn latin(c: char) -> char {
    match c {
        'А' | 'Α' => 'A',
        'В' | 'Β' => 'B',
        'Е' | 'Ε' => 'E',
        'Ζ' => 'Z',
        'Н' | 'Η' => 'H',
        'І' | 'Ι' => 'I',
        'Ј' => 'J',
        'К' | 'Κ' => 'K',
        'М' | 'Μ' => 'M',
        'Ν' => 'N',
        'О' | 'Ο' => 'O',
        'Р' | 'Ρ' => 'P',
        'С' => 'C',
        'Ѕ' => 'S',
        'Т' | 'Τ' => 'T',
        'У' | 'Υ' => 'Y',
        'Х' | 'Χ' => 'X',
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(number: &str, state: &str) -> Result<Option<String>, Reject> {
        Ok(normalise(number, state)?.map(|n| n.key_text["plate:".len()..].to_owned()))
    }

    #[test]
    fn one_plate_however_it_is_written() {
        for (written, state, want) in [
            ("M-AB 1234", "D", "DEU:MAB1234"),
            ("m ab 1234", "deu", "DEU:MAB1234"),
            ("M\u{2013}AB\u{a0}1234", "D<<", "DEU:MAB1234"),
            ("ＭＡＢ１２３４", "DEU", "DEU:MAB1234"),
            ("MÜ-A 1", "DEU", "DEU:MÜA1"),
            ("mu\u{308} a 1", "DEU", "DEU:MÜA1"),
            ("MU-A 1", "DEU", "DEU:MUA1"),
            ("A123BC77", "RUS", "RUS:A123BC77"),
            ("А123ВС77", "RUS", "RUS:A123BC77"),
            ("а 123 вс 77", "RUS", "RUS:A123BC77"),
            ("ΙΖΗ-1234", "GRC", "GRC:IZH1234"),
            ("izh 1234", "GRC", "GRC:IZH1234"),
            ("AA 1234 BI", "UKR", "UKR:AA1234BI"),
            ("АА1234ВІ", "UKR", "UKR:AA1234BI"),
            ("京A·12345", "CHN", "CHN:京A12345"),
            ("京A•12345", "CHN", "CHN:京A12345"),
            ("١٢٣ د", "EGY", "EGY:123د"),
            ("1-ABC-123", "BEL", "BEL:1ABC123"),
        ] {
            assert_eq!(text(written, state), Ok(Some(want.to_owned())), "{written}");
        }
    }

    #[test]
    fn the_state_is_part_of_the_plate() {
        let [a, b] = ["DEU", "AUT"].map(|state| normalise("S 1234 A", state).unwrap().unwrap());
        assert_ne!(a.element, b.element);
        assert_eq!(text("S1", ""), Err(Reject::PlateStateMissing));
        for state in ["DE", "FR", "GERM", "D1"] {
            assert_eq!(text("S1", state), Err(Reject::PlateStateForm), "{state}");
        }
    }

    #[test]
    fn parts_of_numbers_are_refused() {
        for number in [
            "M-AB*", "M?B1", "M.B1", "M_B1", "%1234", "AB…", "M#1", "M＊1", "M？1",
        ] {
            assert_eq!(
                text(number, "DEU"),
                Err(Reject::PlateIncomplete),
                "{number}"
            );
            assert!(
                Reject::PlateIncomplete
                    .to_string()
                    .contains("complete numbers only")
            );
        }
        for number in ["M,1", "M/1", "M+1", "M\u{200b}1", "M²³½", "ab\u{0}"] {
            assert_eq!(text(number, "DEU"), Err(Reject::PlateCharacter), "{number}");
        }
        assert!(text(&"9".repeat(16), "DEU").is_ok());
        assert_eq!(text(&"9".repeat(17), "DEU"), Err(Reject::PlateLength));
        for number in ["", " ", "-", "·"] {
            assert_eq!(text(number, ""), Ok(None), "{number}");
        }
    }

    /// Every character of Unicode alone, and before a mark.
    #[test]
    fn idempotent_for_every_character() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            for raw in [c.to_string(), format!("A{c}\u{301}")] {
                if let Ok(once) = canonical_number(&raw) {
                    assert_eq!(canonical_number(&once), Ok(once), "U+{:04X}", c as u32);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn canonical_stays(number in "[ a-zA-Z0-9А-яΑ-ω-]{1,16}", state in "[A-Z]{3}") {
            if let Ok(Some(once)) = text(&number, &state) {
                prop_assert_eq!(text(&once[4..], &once[..3]), Ok(Some(once)));
            }
        }

        #[test]
        fn never_panics(number in any::<String>(), state in any::<String>()) {
            let _ = text(&number, &state);
            let _ = text(&number, "UTO");
        }
    }
}
