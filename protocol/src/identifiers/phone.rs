//! Phone numbers.
//!
//! The canonical form is ITU-T E.164: `+`, the country code and the national number, at most 15
//! digits. What people write is read after E.123 and RFC 3966, and the numbering plans are those of
//! libphonenumber, see [`TABLES`].
//!
//! - An international number begins with `+`. Any other is read as dialled in the region of the
//!   second part, two letters of ISO 3166-1: with that region's international prefix (`00`, `011`),
//!   its trunk prefix (`0`, `06`, `8`) or none. `+` makes the region superfluous, and it is not
//!   looked at.
//! - White space, hyphens, `.`, `/`, brackets and the invisible marks of direction that phones put
//!   around numbers carry no meaning. `tel:` and a trunk prefix behind a country code (`+44 (0)20`)
//!   are taken off.
//! - An extension (`ext. 12`, `x12`, `;ext=12`) is dropped: lists hold it or not, and the line is
//!   what both sides know. Letters for digits (`0800 FLOWERS`) are refused.
//! - A number must have a length that its country uses; it need not lie in a range that is handed
//!   out. Ranges open between two releases of the tables, and old numbers are still in files: a
//!   number is not less the same number for that. A length that works only inside one town is
//!   refused: it would match another town's.
//! - The zeros of Italian numbers stay (`+39 06…`), as they are dialled.
//! - Mexico: the digit 1 that was dialled before mobile numbers until 2019 (`+52 1`, at home 01, 044,
//!   045) is taken off the ten digits, which are the same subscriber.
//! - Argentina: the home form of a mobile number (`011 15 2345-6789`) and the international one
//!   (`+54 9 11 2345-6789`) are one. `+54 11 2345-6789` is another: without 9 it is a line at home.
//!
//! The library is given nothing but `+` and digits, and copies of these stay unwiped in what it
//! frees; the programs' allocator wipes that.

use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, ParseError, PhoneNumber, Region};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroize;

use super::short::{Short, digit, separates, strip_prefix_ignore_case};
use super::{Element, IdentifierType, Normalised, Reject, key_text};

/// Digits of ITU-T E.164.
const MAX_E164: usize = 15;

/// Digits as dialled: an international prefix and a carrier's code in front of 15.
const MAX_DIALLED: usize = 25;

/// Digits of an extension.
const MAX_EXTENSION: usize = 10;

/// How often a canonical number is read again until it stays.
const MAX_READINGS: usize = 4;

/// What a profile says of this type.
pub(super) const RULES: &str = "phone.number: strip tel:, extension, ';…'; NFKC; remove \
     White_Space, hyphens, './()[]', marks of direction; Arabic-Indic digits to ASCII; \
     +digits, or digits dialled in the region; libphonenumber parse; Mexico without 1, 01, 044, \
     045; possible length, not local; E.164\nphone.region: trim; [A-Z]{2}; not used after '+'\n";

/// The numbering plans. The test of the version fails when they move.
pub(super) const TABLES: &str = "libphonenumber metadata 9.0.42, rlibphonenumber 2.2.15";

/// The library logs the numbers it reads, at level trace. A build that would let it does not
/// compile: `max_level_debug` of the crate `log` removes those calls.
const _: () = assert!((log::STATIC_MAX_LEVEL as usize) < log::LevelFilter::Trace as usize);

/// Canonical form: `+` and digits. `region` may be empty where all numbers begin with `+`.
pub(super) fn normalise(number: &str, region: &str) -> Result<Option<Normalised>, Reject> {
    let Some(dialled) = dialled(number)? else {
        return Ok(None);
    };
    let region = match dialled.as_slice() {
        [b'+', ..] => None,
        _ => Some(known_region(region)?),
    };
    let mut e164 = read(&dialled, region)?;
    // A reading may leave what a further one would change, such as a second trunk prefix. What is
    // canonical must stay as it is.
    for _ in 0..MAX_READINGS {
        let again = read(&e164, None)?;
        if again.as_slice() == e164.as_slice() {
            let ty = IdentifierType::Phone;
            return Ok(Some(Normalised {
                element: Element::encode(ty.name(), "", e164.as_slice()),
                key_text: key_text(ty, None, e164.as_str()),
            }));
        }
        e164 = again;
    }
    Err(Reject::PhoneLength)
}

/// What is dialled: an optional `+`, then digits. `None` where there is nothing.
fn dialled(raw: &str) -> Result<Option<Short<MAX_DIALLED>>, Reject> {
    let raw = raw.trim_matches(|c: char| c.is_whitespace() || invisible(c));
    let raw = strip_prefix_ignore_case(raw, "tel:").unwrap_or(raw);
    let (raw, parameters) = raw.split_once(';').unwrap_or((raw, ""));
    // RFC 3966: such a number is not whole without its context.
    if contains_ignore_case(parameters, "phone-context") {
        return Err(Reject::PhoneCharacter);
    }
    let raw = match raw.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => {
            let (number, extension) = raw.split_at(at);
            if !is_extension(extension) {
                return Err(Reject::PhoneCharacter);
            }
            number
        }
        None => raw,
    };
    let mut dialled = Short::new();
    for c in raw.nfkc() {
        let byte = match c {
            '+' if dialled.is_empty() => b'+',
            '.' | '/' | '(' | ')' | '[' | ']' => continue,
            c if separates(c) || invisible(c) => continue,
            c => b'0' + digit(c).ok_or(Reject::PhoneCharacter)?,
        };
        if !dialled.push(byte) {
            return Err(Reject::PhoneLength);
        }
    }
    Ok((!dialled.is_empty()).then_some(dialled))
}

/// Marks that phones and word processors put around numbers.
fn invisible(c: char) -> bool {
    matches!(c,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{2066}'..='\u{2069}'
        | '\u{feff}')
}

/// `ext. 12`, `extn 12`, `extension: 12`, `x12`.
fn is_extension(text: &str) -> bool {
    ["extension", "extn", "ext", "x"].iter().any(|word| {
        strip_prefix_ignore_case(text, word).is_some_and(|rest| {
            let digits = rest.trim().trim_start_matches(['.', ':', '=', ' ']);
            let good = 1..=MAX_EXTENSION;
            good.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
        })
    })
}

fn contains_ignore_case(text: &str, word: &str) -> bool {
    let windows = text.as_bytes().windows(word.len());
    windows
        .into_iter()
        .any(|w| w.eq_ignore_ascii_case(word.as_bytes()))
}

/// A region that has a numbering plan.
fn known_region(raw: &str) -> Result<Region, Reject> {
    let code = match raw.trim().as_bytes() {
        [] => return Err(Reject::PhoneRegionMissing),
        [a, b] => [a.to_ascii_uppercase(), b.to_ascii_uppercase()],
        _ => return Err(Reject::PhoneRegion),
    };
    std::str::from_utf8(&code)
        .ok()
        .filter(|code| code.bytes().all(|b| b.is_ascii_uppercase()))
        .and_then(|code| code.parse::<Region>().ok())
        .filter(|region| {
            PHONE_NUMBER_UTIL
                .get_country_code_for_region(*region)
                .is_some()
        })
        .ok_or(Reject::PhoneRegion)
}

/// One reading: the numbering plan's country code and national number, as E.164.
fn read<const N: usize>(
    dialled: &Short<N>,
    region: Option<Region>,
) -> Result<Short<{ MAX_E164 + 1 }>, Reject> {
    let mut number =
        PHONE_NUMBER_UTIL
            .parse(dialled.as_str(), region)
            .map_err(|error| match error {
                ParseError::TooLongNsn => Reject::PhoneLength,
                _ => Reject::PhoneNumber,
            })?;
    let e164 = written(&mut number);
    number.national_number.zeroize();
    e164
}

fn written(number: &mut PhoneNumber) -> Result<Short<{ MAX_E164 + 1 }>, Reject> {
    fold_mexico(number);
    match PHONE_NUMBER_UTIL.is_possible_number_with_reason(number) {
        Ok(NumberLengthType::IsPossible) => {}
        Ok(NumberLengthType::IsPossibleLocalOnly) => return Err(Reject::PhoneLocal),
        Err(_) => return Err(Reject::PhoneLength),
    }
    let zeros = match number.italian_leading_zero {
        Some(true) => number.number_of_leading_zeros.unwrap_or(1),
        _ => 0,
    };
    let country = u64::try_from(number.country_code).map_err(|_| Reject::PhoneNumber)?;
    let mut e164 = Short::new();
    let fits = e164.push(b'+')
        && push_decimal(&mut e164, country)
        && (0..zeros).all(|_| e164.push(b'0'))
        && push_decimal(&mut e164, number.national_number);
    if fits {
        Ok(e164)
    } else {
        Err(Reject::PhoneLength)
    }
}

/// The ten digits of a Mexican number without the digits that were dialled before it until 2019.
fn fold_mexico(number: &mut PhoneNumber) {
    /// Below this, ten digits.
    const TEN: u64 = 10_000_000_000;
    let zero = number.italian_leading_zero == Some(true);
    let one_zero = zero && number.number_of_leading_zeros.unwrap_or(1) == 1;
    let prefix = number.national_number / TEN;
    let old = (!zero && prefix == 1) || (one_zero && matches!(prefix, 1 | 44 | 45));
    // A national number begins with 2 to 9.
    if number.country_code == 52 && old && number.national_number % TEN >= TEN / 5 {
        number.national_number %= TEN;
        number.italian_leading_zero = None;
        number.number_of_leading_zeros = None;
    }
}

/// Decimal digits, without a string that would stay behind. False when they do not fit.
fn push_decimal<const N: usize>(out: &mut Short<N>, value: u64) -> bool {
    let mut power = 1_u64;
    while value / power >= 10 {
        power *= 10;
    }
    while power > 0 {
        if !out.push(b'0' + (value / power % 10) as u8) {
            return false;
        }
        power /= 10;
    }
    true
}

#[cfg(test)]
#[path = "phone_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
