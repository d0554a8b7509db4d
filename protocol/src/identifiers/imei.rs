//! Numbers of mobile equipment.
//!
//! 3GPP TS 23.003, clause 6.2: an IMEI is 14 digits (type allocation code and serial number) and a
//! check digit after Luhn (ISO/IEC 7812-1, TS 23.003 annex B); an IMEISV is the same 14 digits and
//! two of the software version. The 14 digits are the equipment, so they alone are compared:
//!
//! - 14 digits are taken as they stand;
//! - 15 digits must have a right check digit or 0: what a network records has a spare digit 0 in
//!   its place (clause 6.2.1), the check digit itself is not transmitted;
//! - 16 digits are an IMEISV and lose the last two.
//!
//! White space, hyphens, `/` and `.` between the digits carry no meaning. Fourteen zeros are what
//! equipment without a number and empty fields show, and are refused: they would match each other.

use super::short::{Refused, Short};
use super::{Element, IdentifierType, Normalised, Reject, key_text};

/// Digits that name the equipment.
const DIGITS: usize = 14;

/// Digits of an IMEISV.
const MAX_DIGITS: usize = 16;

/// What a profile says of this type.
pub(super) const RULES: &str = "imei.number: NFKC; remove White_Space, hyphens, '/', '.'; \
     [0-9]{14,16}; of 15 the last is Luhn or 0; the first 14, not all 0\n";

/// Canonical form: the 14 digits.
pub(super) fn normalise(raw: &str) -> Result<Option<Normalised>, Reject> {
    let mut imei =
        Short::<MAX_DIGITS>::alphanumeric(raw, &['/', '.']).map_err(|refused| match refused {
            Refused::Character => Reject::ImeiCharacter,
            Refused::Length => Reject::ImeiLength,
        })?;
    if imei.is_empty() {
        return Ok(None);
    }
    if !imei.as_slice().iter().all(u8::is_ascii_digit) {
        return Err(Reject::ImeiCharacter);
    }
    match imei.as_slice() {
        [.., b'0'] if imei.as_slice().len() == 15 => {}
        digits if digits.len() == 15 && !luhn(digits) => return Err(Reject::ImeiChecksum),
        digits if !(DIGITS..=MAX_DIGITS).contains(&digits.len()) => return Err(Reject::ImeiLength),
        _ => {}
    }
    imei.truncate(DIGITS);
    if imei.as_slice().iter().all(|b| *b == b'0') {
        return Err(Reject::ImeiPlaceholder);
    }
    let ty = IdentifierType::Imei;
    Ok(Some(Normalised {
        element: Element::encode(ty.name(), "", imei.as_slice()),
        key_text: key_text(ty, None, imei.as_str()),
    }))
}

/// Every second digit from the right is doubled and its digits are added; the sum is a multiple of
/// ten.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, byte)| {
            let value = u32::from(byte - b'0') * if at % 2 == 1 { 2 } else { 1 };
            value / 10 + value % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(raw: &str) -> Result<Option<String>, Reject> {
        Ok(normalise(raw)?.map(|n| n.key_text["imei:".len()..].to_owned()))
    }

    #[test]
    fn one_phone_however_it_is_written() {
        for raw in [
            "490154203237518",
            "49015420323751",
            "490154203237510",
            "4901542032375101",
            "4901542032375178",
            "49-015420-323751-8",
            "490154/20/323751/8",
            "49 015420 323751 8",
            "49.015420.323751.8",
            "４９０１５４２０３２３７５１８",
        ] {
            assert_eq!(text(raw), Ok(Some("49015420323751".to_owned())), "{raw}");
        }
    }

    #[test]
    fn what_is_no_phone_is_refused() {
        for raw in ["", " ", "-"] {
            assert_eq!(text(raw), Ok(None), "{raw}");
        }
        for last in (1..10).filter(|last| *last != 8) {
            let raw = format!("49015420323751{last}");
            assert_eq!(text(&raw), Err(Reject::ImeiChecksum), "{raw}");
        }
        for raw in ["4901542032375", "1", "49015420323751789"] {
            assert_eq!(text(raw), Err(Reject::ImeiLength), "{raw}");
        }
        for raw in [
            "A0000049015420",
            "49015420323751O",
            "49015420323751_",
            "٤٩٠١٥٤٢٠٣٢٣٧٥١",
        ] {
            assert_eq!(text(raw), Err(Reject::ImeiCharacter), "{raw}");
        }
        for raw in ["00000000000000", "000000000000000", "0000000000000012"] {
            assert_eq!(text(raw), Err(Reject::ImeiPlaceholder), "{raw}");
        }
    }

    /// Luhn sees each digit that is wrong, and two swapped but for 0 and 9.
    #[test]
    fn a_wrong_digit_is_seen() {
        let good = b"490154203237518";
        for at in 0..14 {
            for digit in b'0'..=b'9' {
                let mut wrong = *good;
                wrong[at] = digit;
                let wrong = std::str::from_utf8(&wrong).unwrap().to_owned();
                let seen = text(&wrong) == Err(Reject::ImeiChecksum);
                assert_eq!(seen, digit != good[at], "{wrong}");
            }
            let mut swapped = *good;
            swapped.swap(at, at + 1);
            let (a, b) = (good[at], good[at + 1]);
            let blind = a == b || (a.min(b), a.max(b)) == (b'0', b'9');
            assert_eq!(luhn(&swapped), blind, "{at}");
        }
    }

    proptest! {
        #[test]
        fn canonical_stays(raw in "[0-9]{14,16}") {
            if let Ok(Some(once)) = text(&raw) {
                prop_assert_eq!(text(&once), Ok(Some(once)));
            }
        }

        #[test]
        fn never_panics(raw in any::<String>()) {
            let _ = text(&raw);
        }
    }
}
