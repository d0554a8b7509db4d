//! Vehicle identification numbers.
//!
//! ISO 3779: 17 characters, digits and Latin letters without I, O and Q. White space and hyphens
//! carry no meaning, nor does the case.
//!
//! Position 9 is a check digit where 49 CFR 565.15 (United States, Canada) or GB 16735 (China)
//! holds, and anything at all on many European vehicles. So a check digit that does not fit is no
//! reason to refuse a number: [`check_digit_holds`] is there to warn.

use super::short::{Refused, Short};
use super::{Element, IdentifierType, Normalised, Reject, key_text};

/// Characters of ISO 3779.
const LENGTH: usize = 17;

/// What a profile says of this type.
pub(super) const RULES: &str = "vin.number: NFKC; remove White_Space, hyphens; a-z to A-Z; \
     [A-HJ-NPR-Z0-9]{17}; no check digit\n";

/// Weights of the positions, 49 CFR 565.15(c)(3). Position 9 is the check digit itself.
const WEIGHTS: [u32; LENGTH] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];

/// Canonical form: the 17 characters in upper case.
pub(super) fn normalise(raw: &str) -> Result<Option<Normalised>, Reject> {
    let vin = canonical(raw)?;
    if vin.is_empty() {
        return Ok(None);
    }
    let ty = IdentifierType::Vin;
    Ok(Some(Normalised {
        element: Element::encode(ty.name(), "", vin.as_slice()),
        key_text: key_text(ty, None, vin.as_str()),
    }))
}

/// Empty or 17 characters.
fn canonical(raw: &str) -> Result<Short<LENGTH>, Reject> {
    let vin = Short::<LENGTH>::alphanumeric(raw, &[]).map_err(|refused| match refused {
        Refused::Character => Reject::VinCharacter,
        Refused::Length => Reject::VinLength,
    })?;
    if vin
        .as_slice()
        .iter()
        .any(|b| matches!(b, b'I' | b'O' | b'Q'))
    {
        return Err(Reject::VinCharacter);
    }
    if !vin.is_empty() && vin.as_slice().len() != LENGTH {
        return Err(Reject::VinLength);
    }
    Ok(vin)
}

/// Whether position 9 is the check digit that 49 CFR 565.15(c) computes from the other characters.
/// False as well for what is no number of ISO 3779.
///
/// A warning and nothing more: many vehicles made for Europe have none there.
pub fn check_digit_holds(vin: &str) -> bool {
    canonical(vin).is_ok_and(|vin| {
        let values = vin.as_slice().iter().map(|b| transliterated(*b));
        let sum: u32 = values
            .zip(WEIGHTS)
            .map(|(value, weight)| value * weight)
            .sum();
        let check = match sum % 11 {
            10 => b'X',
            digit => b'0' + digit as u8,
        };
        vin.as_slice().get(8) == Some(&check)
    })
}

/// The value of a character, 49 CFR 565.15(c)(2): A-H 1-8, J-R 1-9, S-Z 2-9.
fn transliterated(byte: u8) -> u32 {
    let value = match byte {
        b'0'..=b'9' => byte - b'0',
        b'A'..=b'H' => byte - b'A' + 1,
        b'J'..=b'R' => byte - b'J' + 1,
        b'S'..=b'Z' => byte - b'S' + 2,
        _ => 0,
    };
    u32::from(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(raw: &str) -> Result<Option<String>, Reject> {
        Ok(normalise(raw)?.map(|n| n.key_text["vin:".len()..].to_owned()))
    }

    #[test]
    fn one_vehicle_however_it_is_written() {
        for raw in [
            "1M8GDM9AXKP042788",
            "1m8gdm9axkp042788",
            " 1M8 GDM9AX KP042788 ",
            "1M8-GDM9AX-KP042788",
            "１Ｍ８ＧＤＭ９ＡＸＫＰ０４２７８８",
            "1M8\u{2013}GDM9AX\u{a0}KP042788",
        ] {
            assert_eq!(text(raw), Ok(Some("1M8GDM9AXKP042788".to_owned())), "{raw}");
        }
    }

    #[test]
    fn what_is_no_vehicle_is_refused() {
        for raw in ["", " ", "-"] {
            assert_eq!(text(raw), Ok(None), "{raw}");
        }
        for raw in [
            "IM8GDM9AXKP042788",
            "1M8GDM9AXKPO42788",
            "1M8GDM9AXKQ042788",
            "1M8GDM9AXKP04278*",
            "1М8GDM9AXKP042788",
        ] {
            assert_eq!(text(raw), Err(Reject::VinCharacter), "{raw}");
        }
        for raw in ["1M8GDM9AXKP04278", "1M8GDM9AXKP0427888", "1"] {
            assert_eq!(text(raw), Err(Reject::VinLength), "{raw}");
        }
    }

    #[test]
    fn a_check_digit_is_only_looked_at() {
        for good in [
            "1M8GDM9AXKP042788",
            "1m8gdm9axkp042788",
            "11111111111111111",
            "5GZCZ43D13S812715",
        ] {
            assert!(check_digit_holds(good), "{good}");
        }
        // A European vehicle: filler letters in positions 7 to 9.
        for other in ["WVWZZZ1JZ3W386752", "1M8GDM9A1KP042788"] {
            assert!(!check_digit_holds(other), "{other}");
            assert!(text(other).unwrap().is_some(), "{other}");
        }
        for none in ["", "1M8", "IM8GDM9AXKP042788"] {
            assert!(!check_digit_holds(none), "{none}");
        }
    }

    proptest! {
        #[test]
        fn canonical_stays(raw in "[ a-hj-npr-zA-HJ-NPR-Z0-9-]{17,22}") {
            if let Ok(Some(once)) = text(&raw) {
                prop_assert_eq!(text(&once), Ok(Some(once)));
            }
        }

        #[test]
        fn never_panics(raw in any::<String>()) {
            let _ = text(&raw);
            let _ = check_digit_holds(&raw);
        }

        /// Numbers that differ never meet.
        #[test]
        fn distinct_vehicles_do_not_meet(a in "[AB01]{3}", b in "[AB01]{3}") {
            let [x, y] = [&a, &b].map(|end| normalise(&format!("1M8GDM9AXKP042{end}")).unwrap().unwrap());
            prop_assert_eq!(x.element == y.element, a == b);
        }
    }
}
