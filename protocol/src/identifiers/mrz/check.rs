//! What in a zone cannot be true.

use super::{
    dates::{Date, DateFault, ShortDate},
    digits::{NumberForm, Verdict, failing, verdicts},
    finding::{Finding, Severity},
    layout::{Field, Kind},
    names, repair, states,
    zone::Zone,
};

use Severity::{Error, Note, Warning};

/// Years of validity that no document has in practice. Doc 9303 sets no limit.
const LONG_VALIDITY_YEARS: i32 = 20;

/// Age in years at which two digits of a birth year may as well mean the year to come.
const OLD_YEARS: i32 = 99;

/// Second letters of the document code of a passport (Doc 9303-4, 4.4; `PU` from part 8).
const PASSPORTS: &[u8] = b"PEDORTSLMU";

pub(super) const DATES: &str = "Doc 9303-3, 4.8";
pub(super) const STATES: &str = "Doc 9303-3, 5";

/// Everything in a zone that a rule is against, in the order of its cells. `today` is the day of
/// checking: two digits of a year mean nothing without it.
///
/// Checked are each check digit and the composite, dates, codes of states, document code, number
/// and long number, sex, and the structure of the name. The shape is checked by [`Zone::read`].
/// That nothing is found does not make a document true: see [`blind_cells`](super::blind_cells).
#[must_use]
pub fn check(zone: &Zone, today: Date) -> Vec<Finding> {
    // Two lines of 36 that begin with `IDFRA`: the new cards of France are TD1.
    if zone.is_old_french_card() {
        let message = "identity cards of France from before 2021 have an order of fields of their \
            own, which is not read; nothing else was checked";
        let finding = Finding::new(
            "old-french-card",
            Warning,
            Field::Type,
            "Doc 9303-6",
            message,
        );
        return vec![finding.at_field(zone.kind())];
    }
    let mut found = Vec::new();
    document_code(zone, &mut found);
    state(zone, Field::Issuer, &mut found);
    state(zone, Field::Nationality, &mut found);
    number(zone, &mut found);
    dates(zone, today, &mut found);
    sex(zone, &mut found);
    name(zone, &mut found);
    check_digits(zone, &mut found);
    found.sort_by_key(|f| f.place);
    found
}

fn check_digits(zone: &Zone, found: &mut Vec<Finding>) {
    let before = failing(zone);
    if before == 0 {
        return;
    }
    let whole = repair::of_digits(zone, before, 0);
    let failed: Vec<Verdict> = verdicts(zone).filter(|v| !v.holds).collect();
    for verdict in &failed {
        let (code, message) = words(verdict.field, failed.len() == 1);
        let reference = match (verdict.field, zone.kind()) {
            (Field::Composite, Kind::Td1) => "Doc 9303-5, 4.2.4",
            (Field::Composite, Kind::Td2) => "Doc 9303-6, 4.2.4",
            (Field::Composite, _) => "Doc 9303-4, 4.2.4",
            _ => "Doc 9303-3, 4.9",
        };
        let cells = verdict.at..verdict.at + 1;
        let mut finding =
            Finding::new(code, Error, verdict.field, reference, message).at(zone.kind(), &cells);
        finding.expected = Some(verdict.expected.into());
        finding.found = zone.cells().get(verdict.at).map(|c| char::from(*c));
        (finding.likely, finding.likely_left_out) = match &whole {
            // No one character explains all that fails: perhaps one explains this.
            (none, _) if none.is_empty() && verdict.field != Field::Composite => {
                let own = 1 << (verdict.field as u32);
                repair::of_digits(zone, own, 1 << (Field::Composite as u32))
            }
            whole => whole.clone(),
        };
        found.push(finding);
    }
}

fn words(field: Field, alone: bool) -> (&'static str, &'static str) {
    match (field, alone) {
        (Field::NumberCheck, _) => (
            "number-check-digit",
            "the check digit of the document number does not hold",
        ),
        (Field::BirthCheck, _) => (
            "birth-date-check-digit",
            "the check digit of the date of birth does not hold",
        ),
        (Field::ExpiryCheck, _) => (
            "expiry-check-digit",
            "the check digit of the expiry does not hold",
        ),
        (Field::OptionalCheck, _) => (
            "optional-check-digit",
            "the check digit of the personal number or optional data does not hold",
        ),
        (_, true) => (
            "composite-check-digit",
            "the composite check digit does not hold, though all others do: it is misread, or the \
             optional data is, or a field was changed together with its own digit",
        ),
        (_, false) => (
            "composite-check-digit",
            "the composite check digit does not hold",
        ),
    }
}

fn document_code(zone: &Zone, found: &mut Vec<Finding>) {
    let kind = zone.kind();
    let &[first, second] = zone.field(Field::Type).as_bytes() else {
        return;
    };
    let (reference, taken): (_, &[u8]) = match kind {
        Kind::Td1 => ("Doc 9303-5, 4.2.2", b"ACI"),
        Kind::Td2 => ("Doc 9303-6, 4.2.2", b"ACI"),
        Kind::Td3 => ("Doc 9303-4, 4.2.2", b"P"),
        Kind::MrvA | Kind::MrvB => ("Doc 9303-7, 4.2.2", b"V"),
    };
    let mut add = |code, severity, message| {
        let finding = Finding::new(code, severity, Field::Type, reference, message);
        found.push(finding.at_field(kind));
    };
    if !taken.contains(&first) {
        let message = match kind {
            Kind::Td3 => "a zone of 2 lines of 44 begins with P (passport) or V (visa)",
            _ => "a card or sheet of this size begins with A, C or I, and a visa with V",
        };
        // Passports of other sizes are out of the standard, but were issued.
        let severity = if first == b'P' { Warning } else { Error };
        add("document-type", severity, message);
    }
    match (kind, first, second) {
        (Kind::Td1 | Kind::Td2, _, b'V') => {
            let message =
                "the second letter of a card's type is never V: it would be taken for a visa";
            add("document-type-second", Error, message);
        }
        (Kind::Td2, b'A', b'C') => {
            let message = "AC is the crew member's certificate, which is a card of 3 lines";
            add("document-type-second", Error, message);
        }
        (Kind::Td3, b'P', second)
            if second.is_ascii_uppercase() && !PASSPORTS.contains(&second) =>
        {
            let message = "the second letter is none of those that passports bear from 2026 on \
                (P, E, D, O, R, T, S, L, M, U)";
            add("passport-type-unlisted", Note, message);
        }
        (_, _, second) if second.is_ascii_digit() => {
            let message = "the second character of the type is a letter or a filler";
            add("document-type-second", Error, message);
        }
        _ => {}
    }
}

fn state(zone: &Zone, field: Field, found: &mut Vec<Finding>) {
    let text = zone.field(field);
    let code = text.trim_end_matches('<');
    let issuer = field == Field::Issuer;
    let finding = if !states::is_known(code) {
        let (name, message) = match issuer {
            true => (
                "issuer-unknown",
                "no state or organisation has this code; it may also be newer than the list",
            ),
            false => (
                "nationality-unknown",
                "no state or group of persons has this code; it may also be newer than the list",
            ),
        };
        let mut finding = Finding::new(name, Warning, field, STATES, message);
        if code.bytes().any(|b| !b.is_ascii_uppercase()) {
            finding.severity = Error;
            finding.message = "a code of a state holds letters, and fillers behind them";
        }
        (finding.likely, finding.likely_left_out) = repair::of_code(zone, field);
        finding
    } else if issuer && states::is_of_persons(code) {
        let message = "this code stands for a nationality; nobody issues under it";
        Finding::new("issuer-of-persons", Error, field, STATES, message)
    } else if issuer && code == states::SPECIMEN {
        let message = "the state is Utopia: this is a specimen";
        Finding::new("specimen", Note, field, STATES, message)
    } else {
        return;
    };
    found.push(finding.at_field(zone.kind()));
}

fn number(zone: &Zone, found: &mut Vec<Finding>) {
    let kind = zone.kind();
    let text = zone.field(Field::Number);
    let reference = match kind {
        Kind::Td1 => "Doc 9303-5, 4.2.2, note j",
        Kind::Td2 => "Doc 9303-6, 4.2.2, note j",
        Kind::Td3 => "Doc 9303-4, 4.2.2",
        Kind::MrvA | Kind::MrvB => "Doc 9303-7, 4.2.2",
    };
    let form = NumberForm::of(kind, zone.cells());
    let new =
        |code, severity, message| Finding::new(code, severity, Field::Number, reference, message);
    if text.bytes().all(|b| b == b'<') {
        let message = "there is no document number";
        found.push(new("number-empty", Error, message).at_field(kind));
    } else if text.starts_with('<') {
        let message = "a document number does not begin with a filler";
        found.push(new("number-filler", Error, message).at_field(kind));
    }
    if form.is_long() && text.contains('<') {
        let message = "a filler in place of the check digit says that the number goes on in the \
            optional data, but its first nine characters are not full";
        found.push(new("long-number", Error, message).at_field(kind));
    } else if form.is_long() && zone.cells().get(form.check + 1) != Some(&b'<')
        || form.is_long() && form.check + 1 >= kind.span(Field::Optional).end
    {
        let message = "the check digit of a number of more than nine characters is followed by a \
            filler, and here it is not";
        let cells = form.check..form.check + 1;
        found.push(new("long-number", Warning, message).at(kind, &cells));
    }
}

fn dates(zone: &Zone, today: Date, found: &mut Vec<Finding>) {
    let kind = zone.kind();
    let mut read = |field: Field| match date(zone, field) {
        Ok(date) => Some(date),
        Err(finding) => {
            found.push(*finding);
            None
        }
    };
    let (birth, expiry) = (read(Field::Birth), read(Field::Expiry));
    let born = birth.as_ref().and_then(|d| d.latest_until(today));
    let expires = expiry.as_ref().and_then(|d| d.nearest(today));
    if let Some(born) = born
        && born.plus_years(OLD_YEARS) <= today
    {
        let message = "the holder is 99, or the date of birth is in the future";
        let finding = Finding::new(
            "birth-date-implausible",
            Warning,
            Field::Birth,
            DATES,
            message,
        );
        found.push(finding.at_field(kind));
    }
    let Some(expires) = expires else {
        if expiry.is_some() {
            let message =
                "the expiry is not a whole date; only a date of birth may have unknown parts";
            let finding = Finding::new("expiry-incomplete", Warning, Field::Expiry, DATES, message);
            found.push(finding.at_field(kind));
        }
        return;
    };
    let (code, severity, message) = if born.is_some_and(|born| expires < born) {
        (
            "expiry-before-birth",
            Warning,
            "the document expired before the date of birth, unless the holder is over a hundred",
        )
    } else if expires > today.plus_years(LONG_VALIDITY_YEARS) {
        (
            "expiry-far",
            Warning,
            "the document is valid for more than 20 years from now",
        )
    } else if expires < today {
        ("expired", Note, "the document has expired")
    } else {
        return;
    };
    let finding = Finding::new(code, severity, Field::Expiry, DATES, message);
    found.push(finding.at_field(kind));
}

/// A date of the zone, or what is wrong with it.
fn date(zone: &Zone, field: Field) -> Result<ShortDate, Box<Finding>> {
    let birth = field == Field::Birth;
    ShortDate::read(zone.field(field)).map_err(|fault| {
        let (code, message) = date_words(fault, birth);
        let mut finding = Finding::new(code, Error, field, DATES, message).at_field(zone.kind());
        if fault == DateFault::Characters {
            (finding.likely, finding.likely_left_out) =
                repair::of_class(zone, field, u8::is_ascii_digit);
        }
        Box::new(finding)
    })
}

/// Code and message of a date that is none.
pub(super) fn date_words(fault: DateFault, birth: bool) -> (&'static str, &'static str) {
    match (fault, birth) {
        (DateFault::Characters, true) => (
            "birth-date-characters",
            "a date of birth holds digits; an unknown year, month or day is two fillers",
        ),
        (DateFault::Characters, false) => ("expiry-characters", "an expiry holds digits"),
        (DateFault::Month, true) => ("birth-date-month", "the month of birth is not 01 to 12"),
        (DateFault::Month, false) => ("expiry-month", "the month of the expiry is not 01 to 12"),
        (DateFault::Day, true) => ("birth-date-day", "the calendar has no such day of birth"),
        (DateFault::Day, false) => ("expiry-day", "the calendar has no such day of expiry"),
    }
}

fn sex(zone: &Zone, found: &mut Vec<Finding>) {
    if !matches!(zone.field(Field::Sex), "M" | "F" | "<") {
        let message = "the sex is M, F or a filler; the X of print is a filler in the zone";
        let finding = Finding::new("sex", Error, Field::Sex, "Doc 9303-3, 4", message);
        found.push(finding.at_field(zone.kind()));
    }
}

fn name(zone: &Zone, found: &mut Vec<Finding>) {
    let field = zone.field(Field::Name);
    let mut add = |code, severity, message| {
        let finding = Finding::new(code, severity, Field::Name, "Doc 9303-3, 4.6", message);
        found.push(finding.at_field(zone.kind()));
    };
    if field.bytes().all(|b| b == b'<') {
        add("name-empty", Error, "there is no name");
        return;
    }
    if !names::is_well_formed(field) {
        let message = "fillers stand where a name has none: two stand once, between surname and \
            given names, one between words, and all others at the end";
        add("name-structure", Error, message);
    }
    if names::fills(field) {
        let message = "the name fills its field to the end and may have been cut";
        add("name-cut", Note, message);
    }
    if field.bytes().any(|b| b.is_ascii_digit()) {
        let message = "a name has no digits";
        add("name-digit", Error, message);
        if let Some(finding) = found.last_mut() {
            (finding.likely, finding.likely_left_out) =
                repair::of_class(zone, Field::Name, u8::is_ascii_uppercase);
        }
    }
}
