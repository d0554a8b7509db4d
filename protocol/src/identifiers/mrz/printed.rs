//! What is printed above the zone: alone, and beside it.

use super::{
    check::{DATES, STATES, date_words},
    dates::{Date, DateFault, ShortDate},
    document_number,
    finding::{Finding, Severity},
    layout::{Field, Kind},
    names::{self, Comparison},
    states,
    zone::Zone,
};
use crate::identifiers::document::HYPHENS;

use Severity::{Error, Note, Warning};

/// The longest number: nine characters and the rest in the optional data of TD1.
const MAX_NUMBER: usize = 9 + 13;

/// The rule that holds zone and print together.
const BOTH: &str = "Doc 9303-3, 4.1";

/// Fields as they are printed in a document. Absent ones are not checked.
#[derive(Clone, Copy, Default)]
pub struct Printed<'a> {
    /// The format of the document, if known: it bounds the number.
    pub kind: Option<Kind>,
    /// The document number. Spaces and hyphens carry no meaning.
    pub number: Option<&'a str>,
    /// The issuing state, three letters or `D`.
    pub state: Option<&'a str>,
    /// The nationality, in the same form.
    pub nationality: Option<&'a str>,
    /// The surname, in any script of Doc 9303-3, section 6.
    pub surname: Option<&'a str>,
    /// The given names.
    pub given_names: Option<&'a str>,
    /// The date of birth, `YYYY-MM-DD`.
    pub birth_date: Option<&'a str>,
    /// The last day of validity, `YYYY-MM-DD`.
    pub expiry: Option<&'a str>,
    /// The sex: `M`, `F`, or `X` or `<` for not specified.
    pub sex: Option<&'a str>,
}

/// The fields are identifiers.
impl std::fmt::Debug for Printed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Printed(..)")
    }
}

/// What in the printed fields cannot be true, each for itself and the dates beside each other.
#[must_use]
pub fn check_printed(printed: &Printed<'_>, today: Date) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(number) = printed.number {
        found.extend(check_number(number, printed.kind));
    }
    for (field, code) in [
        (Field::Issuer, printed.state),
        (Field::Nationality, printed.nationality),
    ] {
        let Some(code) = code.map(capitals) else {
            continue;
        };
        if !states::is_known(code.trim_end_matches('<')) {
            let code = match field {
                Field::Issuer => "issuer-unknown",
                _ => "nationality-unknown",
            };
            let message = "this is no three-letter code of a state (ISO 3166-1 or Doc 9303-3), \
                unless it is newer than the list";
            found.push(Finding::new(code, Warning, field, STATES, message));
        } else if field == Field::Issuer && states::is_of_persons(&code) {
            let message = "this code stands for a nationality; nobody issues under it";
            found.push(Finding::new(
                "issuer-of-persons",
                Error,
                field,
                STATES,
                message,
            ));
        }
    }
    let birth = printed
        .birth_date
        .and_then(|text| day(text, true, &mut found));
    let expiry = printed.expiry.and_then(|text| day(text, false, &mut found));
    let mut add = |code, severity, field, message| {
        found.push(Finding::new(code, severity, field, DATES, message));
    };
    if let Some(birth) = birth {
        if birth > today {
            let message = "the date of birth is in the future";
            add("birth-date-future", Error, Field::Birth, message);
        } else if birth.plus_years(120) < today {
            let message = "the holder would be older than 120";
            add("birth-date-implausible", Warning, Field::Birth, message);
        }
    }
    match (birth, expiry) {
        (Some(birth), Some(expiry)) if expiry < birth => {
            let message = "the document expires before the date of birth";
            add("expiry-before-birth", Error, Field::Expiry, message);
        }
        (_, Some(expiry)) if expiry < today => {
            add("expired", Note, Field::Expiry, "the document has expired");
        }
        (_, Some(expiry)) if expiry > today.plus_years(20) => {
            let message = "the document is valid for more than 20 years from now";
            add("expiry-far", Warning, Field::Expiry, message);
        }
        _ => {}
    }
    if printed
        .sex
        .is_some_and(|sex| !matches!(sex.trim(), "M" | "F" | "X" | "<" | "m" | "f" | "x"))
    {
        let message = "the sex is M, F or X";
        found.push(Finding::new(
            "sex",
            Error,
            Field::Sex,
            "Doc 9303-3, 3",
            message,
        ));
    }
    let names = [printed.surname, printed.given_names];
    if names
        .into_iter()
        .flatten()
        .any(|n| n.chars().any(char::is_numeric))
    {
        let message = "a name has no digits";
        found.push(Finding::new(
            "name-digit",
            Error,
            Field::Name,
            "Doc 9303-3, 3",
            message,
        ));
    }
    found
}

fn check_number(number: &str, kind: Option<Kind>) -> Option<Finding> {
    let plain = without_separators(number);
    let reference = "Doc 9303-3, 4";
    let new = |code, message| Finding::new(code, Error, Field::Number, reference, message);
    let most = match kind {
        Some(kind) if !kind.has_long_numbers() => 9,
        Some(Kind::Td2) => 9 + 5,
        _ => MAX_NUMBER,
    };
    if plain.is_empty() {
        Some(new("number-empty", "there is no document number"))
    } else if !plain.bytes().all(|b| b.is_ascii_alphanumeric()) {
        let message = "a document number holds letters A to Z and digits";
        Some(new("number-characters", message))
    } else if plain.chars().count() > most {
        let message = match kind {
            Some(kind) if !kind.has_long_numbers() => {
                "the number of a passport or visa has at most nine characters"
            }
            _ => "the number is longer than the zone of such a document can hold",
        };
        Some(new("number-length", message))
    } else {
        None
    }
}

/// A printed day, or none with a finding.
fn day(text: &str, birth: bool, found: &mut Vec<Finding>) -> Option<Date> {
    let text = text.trim();
    let day = Date::from_iso(text);
    if day.is_none() {
        let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let shaped = text.len() == 10 && digits && text.bytes().filter(|b| *b == b'-').count() == 2;
        let month = text.get(5..7).and_then(|m| m.parse::<u8>().ok());
        let fault = match month {
            Some(1..=12) if shaped => DateFault::Day,
            Some(_) if shaped => DateFault::Month,
            _ => DateFault::Characters,
        };
        let (code, mut message) = date_words(fault, birth);
        if fault == DateFault::Characters {
            message = "a printed date is given as YYYY-MM-DD";
        }
        let field = if birth { Field::Birth } else { Field::Expiry };
        found.push(Finding::new(code, Error, field, DATES, message));
    }
    day
}

/// Where what is printed differs from the zone. Fields that cannot be read are left to
/// [`check_printed`].
#[must_use]
pub fn compare(zone: &Zone, printed: &Printed<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let kind = zone.kind();
    let mut add = |code, severity, field, message| {
        found.push(Finding::new(code, severity, field, BOTH, message).at_field(kind));
    };
    if let Some(number) = printed.number
        && *without_separators(number) != **document_number(zone)
    {
        let message = "the printed number differs from the zone's";
        add("printed-number", Error, Field::Number, message);
    }
    let codes = [
        (
            Field::Issuer,
            printed.state,
            "printed-state",
            "the printed state differs from the zone's",
        ),
        (
            Field::Nationality,
            printed.nationality,
            "printed-nationality",
            "the printed nationality differs from the zone's",
        ),
    ];
    for (field, code, name, message) in codes {
        let in_zone = states::canonical(zone.field(field).trim_end_matches('<'));
        let Some(code) = code.map(capitals) else {
            continue;
        };
        if states::canonical(code.trim_end_matches('<')) != in_zone {
            add(name, Error, field, message);
        }
    }
    let dates = [
        (Field::Birth, printed.birth_date, "printed-birth-date"),
        (Field::Expiry, printed.expiry, "printed-expiry"),
    ];
    for (field, date, code) in dates {
        let (Some(date), Ok(in_zone)) = (
            date.and_then(|d| Date::from_iso(d.trim())),
            ShortDate::read(zone.field(field)),
        ) else {
            continue;
        };
        if let Some(message) = differs(date, &in_zone) {
            add(code, Error, field, message);
        }
    }
    if let Some(sex) = printed.sex.map(str::trim) {
        let sex = match sex {
            "X" | "x" | "<" => "<",
            sex => sex,
        };
        if !sex.eq_ignore_ascii_case(zone.field(Field::Sex)) {
            add(
                "printed-sex",
                Error,
                Field::Sex,
                "the printed sex differs from the zone's",
            );
        }
    }
    compare_names(zone, printed, &mut add);
    found
}

fn compare_names(
    zone: &Zone,
    printed: &Printed<'_>,
    add: &mut impl FnMut(&'static str, Severity, Field, &'static str),
) {
    let field = zone.field(Field::Name);
    let (surname, given) = names::parts(field);
    let cut = names::fills(field);
    // Only the last part that is there can have lost its end.
    let has_given = !given.is_empty();
    let pairs = [
        (
            printed.surname,
            surname,
            cut && !has_given,
            "printed-surname",
        ),
        (
            printed.given_names,
            given,
            cut && has_given,
            "printed-given-names",
        ),
    ];
    for (name, in_zone, cut_here, code) in pairs {
        let Some(name) = name else {
            continue;
        };
        match names::compare(name, in_zone, cut_here) {
            Comparison::Same => {}
            // Parts of a long name may be left out or shortened in many ways (Doc 9303-4, 4.2.3).
            Comparison::Different if cut => {
                let message = "the printed name differs from the zone's, which may have been cut";
                add(code, Note, Field::Name, message);
            }
            Comparison::Different => {
                let message = "no transliteration of the printed name is the zone's";
                add(code, Error, Field::Name, message);
            }
            Comparison::NotReadable => {
                let message = "the printed name has characters that Doc 9303-3 does not \
                    transliterate: not compared";
                add(code, Note, Field::Name, message);
            }
        }
    }
}

/// How a printed day differs from the zone's, whose unknown parts say nothing.
fn differs(date: Date, zone: &ShortDate) -> Option<&'static str> {
    let same = |a: Option<u8>, b: u8| a.is_none_or(|a| a == b);
    let year = same(zone.year(), (date.year() % 100) as u8);
    let (month, day) = (date.month(), date.day());
    if year && same(zone.month(), month) && same(zone.day(), day) {
        None
    } else if year && zone.month() == Some(day) && zone.day() == Some(month) {
        Some("the printed date differs from the zone's: day and month are swapped")
    } else {
        Some("the printed date differs from the zone's")
    }
}

fn capitals(code: &str) -> zeroize::Zeroizing<String> {
    zeroize::Zeroizing::new(code.trim().to_ascii_uppercase())
}

/// A number in capitals without what carries no meaning.
fn without_separators(number: &str) -> zeroize::Zeroizing<String> {
    let kept = |c: &char| !c.is_whitespace() && !HYPHENS.contains(c) && *c != '<';
    let mut plain = zeroize::Zeroizing::new(String::with_capacity(number.len()));
    plain.extend(number.chars().filter(kept).map(|c| c.to_ascii_uppercase()));
    plain
}
