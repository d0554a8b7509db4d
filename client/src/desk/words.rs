//! The sentences of verdicts: short, for somebody who has a few seconds.

use tallystick_protocol::{
    identifiers::{Rule, mrz::Finding},
    statements::{Line, ListKind, Name},
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{CollectionFacts, DeskHit, Presented};

/// The most characters of a publisher's words that are shown.
const SHOWN: usize = 200;

/// A text of somebody else without what could deceive whoever reads it: control characters, line ends,
/// marks that change the direction.
pub(super) fn safe(text: &str) -> String {
    if text.is_empty() || text.parse::<Line>().is_ok() {
        return text.to_owned();
    }
    let good = |c: char| c.encode_utf8(&mut [0; 4]).parse::<Line>().is_ok();
    let chars = text.chars().take(SHOWN);
    chars
        .map(|c| if good(c) { c } else { '\u{fffd}' })
        .collect()
}

/// The day of a time in milliseconds, `YYYY-MM-DD` in UTC.
pub(super) fn day(ms: u64) -> String {
    let time = i64::try_from(ms / 1000)
        .ok()
        .and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    time.map_or_else(|| format!("{ms} ms"), |time| time.date().to_string())
}

/// The same to the minute, in UTC: lists are published more than once a day.
pub(super) fn minute(ms: u64) -> String {
    let time = i64::try_from(ms / 1000)
        .ok()
        .and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    time.map_or_else(
        || format!("{ms} ms"),
        |time| {
            format!(
                "{} {:02}:{:02} UTC",
                time.date(),
                time.hour(),
                time.minute()
            )
        },
    )
}

/// `register of police-b (2026-05-01 07:30 UTC)`.
fn named(facts: &CollectionFacts) -> String {
    let when = facts
        .published_ms
        .map(|ms| format!(" ({})", minute(ms)))
        .unwrap_or_default();
    format!("{} of {}{when}", facts.collection, safe(&facts.peer))
}

fn states(facts: &CollectionFacts) -> String {
    let states = facts.covers.iter().flat_map(|covers| &covers.states);
    let states: Vec<&str> = states.map(|state| state.as_str()).collect();
    match states.len() {
        0 => "no state".to_owned(),
        1..=8 => states.join(", "),
        n => format!("{n} states"),
    }
}

fn complete(facts: &CollectionFacts) -> String {
    match &facts.covers {
        Some(covers) => format!(
            "It is complete as of {}: a document issued later cannot be on it.",
            day(covers.complete_ms.get())
        ),
        None => "It does not say up to which day it is complete.".to_owned(),
    }
}

/// What was found in the document itself, and the likely misread.
pub(super) fn finding(finding: &Finding) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(512));
    if let Some(place) = finding.place {
        text.push_str(&format!("Line {}, column {}: ", place.line, place.column));
    }
    // Messages begin small, as they stand behind a place elsewhere.
    let mut message = finding.message.chars();
    match (finding.place, message.next()) {
        (None, Some(first)) => text.extend(first.to_uppercase()),
        (_, first) => text.extend(first),
    }
    text.push_str(message.as_str());
    text.push('.');
    if let Some(likely) = finding.likely.iter().find(|likely| likely.confusable) {
        text.push_str(&format!(
            " Perhaps {} was read for {} in line {}, column {}.",
            likely.from, likely.to, likely.place.line, likely.place.column
        ));
    }
    text
}

pub(super) fn missing(facts: &CollectionFacts, why: &str) -> String {
    let why = safe(why);
    let why = why.trim_end_matches('.');
    format!("No answer from {}, because {why}.", named(facts))
}

pub(super) fn no_keys(facts: &CollectionFacts, ty: Option<&Name>) -> String {
    match ty {
        Some(ty) => format!(
            "No answer from {} by {ty}, because the document was read without what that needs.",
            named(facts)
        ),
        None => format!(
            "No answer from {}, because the document was read without anything it is asked by.",
            named(facts)
        ),
    }
}

pub(super) fn other_state(facts: &CollectionFacts) -> String {
    format!(
        "{} was not asked: it holds documents of {}.",
        named(facts),
        states(facts)
    )
}

pub(super) fn no_state(facts: &CollectionFacts) -> String {
    format!(
        "No answer from {}, because no issuing state was read that there is; it holds documents of {}.",
        named(facts),
        states(facts)
    )
}

pub(super) fn reported(
    facts: &CollectionFacts,
    report: Option<&str>,
    series: Option<&str>,
    spoiled: bool,
) -> Zeroizing<String> {
    let list = named(facts);
    let how = match report.map(str::to_ascii_lowercase).as_deref() {
        None => "stolen, lost or revoked".to_owned(),
        Some("blank-series") => "stolen as a blank, before it was issued".to_owned(),
        Some(known @ ("stolen" | "lost" | "revoked")) => known.to_owned(),
        Some(_) => format!("as: {}", report.unwrap_or_default()),
    };
    let series = series
        .map(|series| format!(" It is of the series {series}."))
        .unwrap_or_default();
    let label = match spoiled {
        true => " What the list says of it could not be opened.",
        false => "",
    };
    Zeroizing::new(format!("Reported {how}: it is on {list}.{series}{label}"))
}

pub(super) fn watchlisted(
    facts: &CollectionFacts,
    hit: &DeskHit,
    of_document: bool,
) -> Zeroizing<String> {
    let what = if of_document {
        "The document"
    } else {
        "The traveller"
    };
    let spoiled = hit
        .spoiled
        .then_some(" What the list says of it could not be opened.");
    Zeroizing::new(format!(
        "{what} is on {}, found by {}{}.{}",
        named(facts),
        hit.type_name,
        by(hit.rule),
        spoiled.unwrap_or_default()
    ))
}

pub(super) fn watchlisted_not_proved(hit: &DeskHit, of_document: bool) -> &'static str {
    match (of_document, hit.rule) {
        (true, _) => "It does not say why: ask the owner of the list.",
        (false, Rule::Exact) => {
            "People share names and dates of birth: it does not prove that this is that person."
        }
        (false, _) => "Similar is not the same: it does not prove that this is that person.",
    }
}

/// How a rule finds somebody, as the end of a sentence.
const fn by(rule: Rule) -> &'static str {
    match rule {
        Rule::Exact => ", exactly as read",
        Rule::Transliteration => ", in another transliteration",
        Rule::NameOrder => ", with the names in another order",
        Rule::SwappedLetters => ", with letters of the name in another order",
        Rule::OneEdit => ", with one letter of a name different",
        Rule::Truncated => ", with a name cut short",
        Rule::DateSwapped => ", with day and month of birth swapped",
        Rule::DateOneEdit => ", with one digit of the date of birth different",
        Rule::Calendar => ", with the date of birth in another calendar",
        Rule::Transcription => ", with names that sound alike",
        Rule::ThreeElements => ", by three of what is known",
        Rule::RenamedPlace => ", by the place of birth under another name",
        Rule::Initial => ", with a name as its first letter",
        Rule::YearOfBirth => ", by names and year of birth",
        Rule::TwoOfThree => ", by two of given name, surname and date of birth",
        _ => ", by another rule",
    }
}

pub(super) fn not_found(facts: &CollectionFacts, by: &[&Name]) -> Zeroizing<String> {
    let by: Vec<&str> = by.iter().map(|name| name.as_str()).collect();
    let since = match facts.kind {
        Some(ListKind::StolenDocuments) => " What was reported later is not on it.",
        _ => "",
    };
    Zeroizing::new(format!(
        "Not on {}, asked by {}.{since}",
        named(facts),
        by.join(", ")
    ))
}

pub(super) fn consistent(facts: &CollectionFacts) -> String {
    format!(
        "{} holds this number with this name and date of birth.",
        named(facts)
    )
}

pub(super) fn issued(facts: &CollectionFacts) -> String {
    format!("{} holds this number.", named(facts))
}

pub(super) fn holder_not_asked(facts: &CollectionFacts) -> String {
    format!(
        "No answer from {} about the holder, because name and date of birth were not read.",
        named(facts)
    )
}

pub(super) fn other_holder(facts: &CollectionFacts, presented: &Presented) -> String {
    let cut = match presented.zone().is_some_and(|zone| zone.name_may_be_cut()) {
        true => " The name fills the zone and may have been cut.",
        false => "",
    };
    format!(
        "{} holds this number, but not with this name and date of birth.{cut}",
        named(facts)
    )
}

pub(super) fn holder_misread(facts: &CollectionFacts) -> String {
    format!(
        "{} holds this number, but not with this name and date of birth; the date was misread, or changed: \
         its check digit does not hold.",
        named(facts)
    )
}

pub(super) fn number_misread(facts: &CollectionFacts) -> String {
    format!(
        "{} does not hold this number; it was misread, or made up: its check digit does not hold.",
        named(facts)
    )
}

pub(super) fn misread(facts: &CollectionFacts) -> String {
    format!(
        "No answer from {} that means anything, because what was asked is misread.",
        named(facts)
    )
}

pub(super) fn contradiction(facts: &CollectionFacts) -> String {
    format!(
        "{} holds the holder with this number and not the number: the register is wrong.",
        named(facts)
    )
}

pub(super) fn contradicts(facts: &CollectionFacts) -> String {
    format!(
        "No answer from {} that means anything, because it contradicts itself.",
        named(facts)
    )
}

pub(super) fn never_issued(facts: &CollectionFacts, presented: &Presented) -> String {
    let typed = match presented.number_check() {
        None => {
            " The number was typed, and no check digit guards it: compare it with the document."
        }
        Some(_) => "",
    };
    format!(
        "{}, the register of {}, does not hold this number. {}{typed}",
        named(facts),
        presented.state(),
        complete(facts)
    )
}
