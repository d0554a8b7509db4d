//! Persons and names: the keys under which similar ones meet.
//!
//! A key is the element `person ‖ rule ‖ fields`, the fields parted by U+001F, which no field can
//! hold. The rule stands where other types have their issuer, so keys of two rules never meet; the
//! rule `exact` stands as the empty issuer.
//!
//! | Rule | Fields of its keys |
//! |---|---|
//! | `exact` | given names, surname, birth date, as written but for case, width and punctuation |
//! | `transliteration` | the same in each form of ICAO Doc 9303-3 |
//! | `name-order` | all words ascending; birth date |
//! | `swapped-letters` | all letters ascending; birth date |
//! | `one-edit` | one name with at most one letter left out, the other name, birth date |
//! | `truncated`, `initial` | first letters of one name, the other name, birth date |
//! | `date-swapped` | all words ascending; birth date with the smaller of day and month first |
//! | `date-one-edit` | all words ascending; birth date with one digit hidden |
//! | `calendar` | all words ascending; each Gregorian day that the date may mean |
//! | `transcription` | both names by ear, ascending; birth date |
//! | `three-elements` | three of names, birth date, place of birth, nationality, not only the first two |
//! | `renamed-place` | the same three with the place under the name it bears today |
//! | `two-of-three` | one name and the birth date; or all words, where they are long |
//! | `year-of-birth` | all words ascending; year |
//!
//! All but `exact` are made of names in the letters A to Z. In `one-edit`, `truncated`, `initial` and
//! `two-of-three` the fields do not say which name was the given one, so inverted fields meet as well.

mod date;
mod name;
mod phonetic;
mod place;
mod rules;
mod similarity;

use zeroize::Zeroizing;

use self::name::{deletions, prefix, sorted_letters, sorted_words};
pub(super) use self::rules::PersonRules;
pub use self::similarity::{Alike, Said, similarity};
pub(super) use self::{
    date::{BirthDate, DateOrder},
    name::Name,
};
use super::{
    Element, IdentifierType, Key, MAX_VALUE_BYTES, Normalised, Reject, Rule, document, mrz::Zone,
};

/// Parts the fields of a key. No field can hold it: names are letters, dates digits.
pub const FIELD_SEPARATOR: char = '\u{1f}';

/// What the profile's hash says of how names and dates are read. Whoever changes that changes these
/// words.
const READING: &str = "\
     name: NFKC; upper case; NFKC; drop U+0027 U+0060 U+00B4 U+02BB-02BF U+2018-201B U+2032; part words \
     at White_Space - , . / < ; U+00B7 U+00AD U+2010-2015 U+2212; letters and combining marks; 120 letters, \
     300 bytes\n\
     latin: first form of the table; else ASCII letter of the canonical decomposition; else as it is; \
     marks dropped; empty words dropped\n\
     date: YYYYMMDD; YYYY-MM-DD; YYYY-MM; YYYY; DD.MM.YYYY; by stated order dmy, mdy; unknown <<\n";

/// And of how keys of people are made.
const RULES: &str = "\
     nationality: as document.state; not XXA XXB XXC XXX\n\
     whole, where three elements are asked: names of two letters or one that is not ASCII; dates of \
     year, month and day\n\
     keys: issuer is the rule, empty for exact; fields parted by U+001F; as in section 10.2 of the \
     format, version 1\n";

/// Where the code by ear and the calendars are from. The test of the versions fails when they move.
pub(super) const TABLES: &str = "rphonetic 4.0.0, calendrical_calculations 0.2.4";

/// What a record says of a person. Secret.
pub(super) struct Person {
    ty: IdentifierType,
    given: Option<Name>,
    surname: Option<Name>,
    date: Option<BirthDate>,
    place: Option<Name>,
    nationality: Option<Zeroizing<String>>,
}

impl Person {
    /// Reads the parts of a key: given names, surname, birth date; place of birth, nationality, order
    /// of dates. Parts that no rule uses are not read, so they reject nothing.
    pub(super) fn read(parts: &[&str], rules: &PersonRules) -> Result<Self, Reject> {
        let part = |i: usize| parts.get(i).copied().unwrap_or_default();
        let further = rules.has(Rule::ThreeElements) || rules.has(Rule::RenamedPlace);
        let (place, nationality) = match further {
            true => (Name::read(part(3))?, nationality(part(4))?),
            false => (None, None),
        };
        let person = Self {
            ty: IdentifierType::Person,
            given: Name::read(part(0))?,
            surname: Name::read(part(1))?,
            date: BirthDate::parse(part(2), DateOrder::parse(part(5))?)?,
            place,
            nationality,
        };
        Ok(person.whole(rules))
    }

    /// Reads given names and surname: a person of the type `name`, who has nothing else.
    pub(super) fn read_name(parts: &[&str]) -> Result<Self, Reject> {
        let part = |i: usize| parts.get(i).copied().unwrap_or_default();
        Ok(Self {
            ty: IdentifierType::Name,
            given: Name::read(part(0))?,
            surname: Name::read(part(1))?,
            date: None,
            place: None,
            nationality: None,
        })
    }

    /// Names, birth date and nationality of a machine-readable zone.
    pub(super) fn of_zone(zone: &Zone, rules: &PersonRules) -> Result<Self, Reject> {
        let person = Self {
            ty: IdentifierType::Person,
            given: Name::read(&zone.given_names())?,
            surname: Name::read(&zone.surname())?,
            date: BirthDate::from_mrz(zone.birth_date())?,
            place: None,
            nationality: match rules.has(Rule::ThreeElements) {
                true => nationality(zone.nationality())?,
                false => None,
            },
        };
        Ok(person.whole(rules))
    }

    /// Without what is only a part of a data element, where the rules ask for whole ones.
    fn whole(mut self, rules: &PersonRules) -> Self {
        if rules.only_whole() {
            self.given = self.given.filter(Name::is_whole);
            self.surname = self.surname.filter(Name::is_whole);
            self.date = self.date.filter(BirthDate::is_whole);
        }
        self
    }

    /// Appends the keys that `rules` make of this person, each once. The families come in the order
    /// of [`Rule::ALL`]; one with which there would be more than `budget` in `keys` is left out whole.
    /// True if one was, or if a family has more forms than the profile lets it have.
    pub(super) fn keys(
        &self,
        rules: &PersonRules,
        budget: usize,
        keys: &mut Vec<Key>,
    ) -> Result<bool, Reject> {
        let canonical = self.canonical();
        let mut family = Family {
            canonical: &canonical,
            ty: self.ty,
            rule: Rule::Exact,
            from: keys.len(),
            keys,
            cut: false,
            too_long: false,
        };
        let names_only = self.ty == IdentifierType::Name;
        let asked = |rule: &Rule| rules.has(*rule) && (!names_only || is_of_names(*rule));
        for rule in Rule::ALL.into_iter().filter(asked) {
            family.begin(rule);
            self.family(rule, rules, &mut family);
            if family.keys.len() > budget {
                family.keys.truncate(family.from);
                family.cut = true;
            }
        }
        match family.too_long {
            true => Err(Reject::ValueLength),
            false => Ok(family.cut),
        }
    }

    /// Names, birth date, place and nationality, parted by `|`.
    fn canonical(&self) -> Zeroizing<String> {
        let name = |name: &'_ Option<Name>| name.as_ref().map_or("", Name::folded).to_owned();
        let fields = [
            Zeroizing::new(name(&self.given)),
            Zeroizing::new(name(&self.surname)),
            Zeroizing::new(self.date.as_ref().map_or("", BirthDate::as_str).to_owned()),
            Zeroizing::new(name(&self.place)),
            self.nationality.clone().unwrap_or_default(),
        ];
        let last = fields.iter().rposition(|field| !field.is_empty());
        let fields = fields.get(..=last.unwrap_or(0)).unwrap_or_default();
        let room = fields.iter().map(|field| field.len() + 1).sum();
        let mut text = Zeroizing::new(String::with_capacity(room));
        for (i, field) in fields.iter().enumerate() {
            if i > 0 {
                text.push('|');
            }
            text.push_str(field);
        }
        text
    }

    fn family(&self, rule: Rule, rules: &PersonRules, out: &mut Family<'_>) {
        match rule {
            Rule::ThreeElements => return self.three_elements(out),
            Rule::RenamedPlace => return self.renamed_place(out),
            Rule::TwoOfThree => return self.two_of_three(rules, out),
            _ => {}
        }
        let (Some(given), Some(surname)) = (&self.given, &self.surname) else {
            return;
        };
        match (self.ty, &self.date) {
            (IdentifierType::Name, _) => of_names(rule, rules, (given, surname), "", out),
            (_, Some(date)) if is_of_names(rule) => {
                of_names(rule, rules, (given, surname), date.as_str(), out);
            }
            (_, Some(date)) => of_dates(rule, (given, surname), date, out),
            (_, None) => {}
        }
    }

    /// The further elements, each marked with what it is: a town may be called like a name.
    fn further<'a>(&'a self, place: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
        let nationality = self.nationality.as_deref().map(String::as_str);
        let place = place.map(|place| ("PLACE", place));
        place
            .into_iter()
            .chain(nationality.map(|state| ("NATIONALITY", state)))
            .collect()
    }

    /// Each two of given names, surname and birth date: they make three elements with a further one.
    fn pairs(&self) -> Vec<Zeroizing<String>> {
        let name = |name: &Option<Name>| name.as_ref().map(Name::joined);
        let (given, surname) = (name(&self.given), name(&self.surname));
        let date = self.date.as_ref().filter(|date| date.is_whole());
        let with_date = |name: &Option<Zeroizing<String>>| {
            let (name, date) = (name.as_ref()?, date?);
            Some(joined(&[name, date.as_str()]))
        };
        let both = match (&self.given, &self.surname) {
            (Some(given), Some(surname)) => Some(joined(&[
                &sorted_words(&[given.latin(), surname.latin()]),
                "",
            ])),
            _ => None,
        };
        [with_date(&given), with_date(&surname), both]
            .into_iter()
            .flatten()
            .collect()
    }

    fn three_elements(&self, out: &mut Family<'_>) {
        let place = self.place.as_ref().map(Name::latin);
        let further = self.further(place);
        for pair in self.pairs() {
            for (what, value) in &further {
                out.push(&[what, value, &pair]);
            }
        }
        // A name and two further elements.
        if let [(_, place), (_, nationality)] = further[..] {
            for name in [&self.given, &self.surname].into_iter().flatten() {
                out.push(&["PLACE AND NATIONALITY", place, nationality, &name.joined()]);
            }
        }
    }

    fn renamed_place(&self, out: &mut Family<'_>) {
        let Some(place) = &self.place else { return };
        for pair in self.pairs() {
            out.push(&[place::current(place.latin()), &pair]);
        }
    }

    fn two_of_three(&self, rules: &PersonRules, out: &mut Family<'_>) {
        if let Some(date) = self.date.as_ref().filter(|date| date.is_whole()) {
            for name in [&self.given, &self.surname].into_iter().flatten() {
                out.push(&[&name.joined(), date.as_str()]);
            }
        }
        if let (Some(given), Some(surname)) = (&self.given, &self.surname) {
            let words = sorted_words(&[given.latin(), surname.latin()]);
            let letters = words.chars().filter(|c| *c != ' ').count();
            if letters >= usize::from(rules.long_name_letters) {
                out.push(&[&words, ""]);
            }
        }
    }
}

/// Whether a rule makes keys of names alone.
pub(super) fn is_of_names(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::Exact
            | Rule::Transliteration
            | Rule::NameOrder
            | Rule::SwappedLetters
            | Rule::OneEdit
            | Rule::Truncated
            | Rule::Initial
            | Rule::Transcription
    )
}

/// The rules about names: their keys end with the birth date, where the type has one.
fn of_names(
    rule: Rule,
    rules: &PersonRules,
    (given, surname): (&Name, &Name),
    day: &str,
    out: &mut Family<'_>,
) {
    let names = [given.latin(), surname.latin()];
    match rule {
        Rule::Exact => out.push(&[given.folded(), surname.folded(), day]),
        Rule::Transliteration => {
            let ways = transliterations(given, surname, rules.transliterations);
            out.cut |= ways.cut;
            for (given, surname) in &ways.all {
                out.push(&[given, surname, day]);
            }
        }
        Rule::NameOrder => out.push(&[&sorted_words(&names), day]),
        Rule::SwappedLetters => out.push(&[&sorted_letters(&names), day]),
        Rule::OneEdit => {
            let (given, surname) = (given.joined(), surname.joined());
            for (edited, other) in [(&given, &surname), (&surname, &given)] {
                for form in deletions(edited) {
                    out.push(&[&form, other, day]);
                }
            }
        }
        Rule::Truncated => prefixes(given, surname, rules.truncated_letters.into(), day, out),
        Rule::Initial => prefixes(given, surname, 1, day, out),
        Rule::Transcription => {
            let given = phonetic::codes(&given.joined());
            let surname = phonetic::codes(&surname.joined());
            let pairs = given
                .iter()
                .flat_map(|g| surname.iter().map(move |s| (g.min(s), g.max(s))));
            // In an order that does not depend on which name was the given one.
            let pairs: std::collections::BTreeSet<_> = pairs.collect();
            let most = usize::from(rules.transcriptions);
            out.cut |= pairs.len() > most;
            for (a, b) in pairs.into_iter().take(most) {
                out.push(&[a, b, day]);
            }
        }
        _ => {}
    }
}

/// The rules about birth dates: their names are all words, ascending.
fn of_dates(rule: Rule, (given, surname): (&Name, &Name), date: &BirthDate, out: &mut Family<'_>) {
    if rule != Rule::YearOfBirth && !date.is_whole() {
        return;
    }
    let words = sorted_words(&[given.latin(), surname.latin()]);
    match rule {
        Rule::YearOfBirth => out.push(&[&words, date.year()]),
        Rule::DateSwapped => out.push(&[&words, date.unordered().as_str()]),
        Rule::DateOneEdit => {
            for hidden in date.wildcards() {
                out.push(&[&words, hidden.as_str()]);
            }
        }
        Rule::Calendar => {
            for day in date.in_calendars() {
                out.push(&[&words, day.as_str()]);
            }
        }
        _ => {}
    }
}

/// The first `n` letters of one name with the whole of the other. A name that is not longer stands
/// whole: it may be the one that was cut.
fn prefixes(given: &Name, surname: &Name, n: usize, day: &str, out: &mut Family<'_>) {
    let (given, surname) = (given.joined(), surname.joined());
    out.push(&[prefix(&given, n), &surname, day]);
    out.push(&[prefix(&surname, n), &given, day]);
}

/// The ways to transliterate both names.
struct Ways {
    all: Vec<(Zeroizing<String>, Zeroizing<String>)>,
    /// Whether there are more.
    cut: bool,
}

/// Ways to transliterate both names, at most `most`: a character takes one form throughout, as one hand
/// writes it. The first is the recommended one, the second has the last form of each character, which is
/// how keyboards without it write it.
fn transliterations(given: &Name, surname: &Name, most: u8) -> Ways {
    let mut choices: Vec<(char, usize)> = given.choices().chain(surname.choices()).collect();
    choices.sort_unstable();
    choices.dedup();
    let forms = choices.iter().map(|(_, forms)| *forms);
    let ways = forms.fold(1, usize::saturating_mul);
    let order = [0, ways - 1].into_iter().chain(1..ways.saturating_sub(1));
    let all = order.take(ways.min(most.into())).map(|way| {
        let choose = |c: char| {
            let mut rest = way;
            for (letter, forms) in &choices {
                if *letter == c {
                    return rest % forms;
                }
                rest /= forms;
            }
            0
        };
        (given.transliterated(choose), surname.transliterated(choose))
    });
    Ways {
        all: all.collect(),
        cut: ways > most.into(),
    }
}

/// Three letters of a state; nothing for the codes of those who have none, or of whom it is not known
/// (ICAO Doc 9303-3, section 5: XXA, XXB, XXC, XXX): many share them, and they are no nationality.
fn nationality(raw: &str) -> Result<Option<Zeroizing<String>>, Reject> {
    if raw.trim().trim_matches('<').is_empty() {
        return Ok(None);
    }
    let state = document::state(raw)?;
    let none = ["XXA", "XXB", "XXC", "XXX"].contains(&state.as_str());
    Ok((!none).then_some(state))
}

fn joined(fields: &[&str]) -> Zeroizing<String> {
    let room = fields.iter().map(|field| field.len() + 1).sum();
    let mut out = Zeroizing::new(String::with_capacity(room));
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            out.push(FIELD_SEPARATOR);
        }
        out.push_str(field);
    }
    out
}

/// Where the keys of one rule are gathered, each once.
struct Family<'a> {
    /// The person's own fields, for people.
    canonical: &'a str,
    ty: IdentifierType,
    rule: Rule,
    /// Where it begins.
    from: usize,
    keys: &'a mut Vec<Key>,
    /// Whether something was left out.
    cut: bool,
    /// Whether a value had no room.
    too_long: bool,
}

impl Family<'_> {
    fn begin(&mut self, rule: Rule) {
        self.rule = rule;
        self.from = self.keys.len();
    }

    fn push(&mut self, fields: &[&str]) {
        let value = joined(fields);
        if value.len() > MAX_VALUE_BYTES {
            self.too_long = true;
            return;
        }
        // Families are small: looking is faster than hashing, and leaves nothing behind. Not in
        // constant time, which nobody needs between keys of one row and which would take longer than
        // all the rest.
        let family = self.keys.get(self.from..).unwrap_or_default();
        let same = |key: &Key| key.normalised.element.value() == value.as_bytes();
        if family.iter().any(same) {
            return;
        }
        let issuer = match self.rule {
            Rule::Exact => "",
            rule => rule.name(),
        };
        self.keys.push(Key {
            rule: self.rule,
            normalised: Normalised {
                element: Element::encode(self.ty.name(), issuer, value.as_bytes()),
                key_text: shown(self.ty, self.rule, self.canonical),
            },
        });
    }
}

/// `person:one-edit:ANN|ERIKSSON|19740812`: the rule, and the person as the row has it. Not the form of
/// the key, which would say more of the other side than the rule does: where an edit is.
fn shown(ty: IdentifierType, rule: Rule, fields: &str) -> Zeroizing<String> {
    let ty = ty.name();
    let room = ty.len() + rule.name().len() + fields.len() + 2;
    let mut text = Zeroizing::new(String::with_capacity(room));
    for part in [ty, ":", rule.name(), ":", fields] {
        text.push_str(part);
    }
    text
}

/// The form of a key of people for the eyes of whoever holds the table: its fields parted by `|`. Gives
/// nothing for other types.
#[must_use]
pub fn form_of(element: &Element) -> Option<Zeroizing<String>> {
    let value = std::str::from_utf8(element.value()).ok()?;
    if !value.contains(FIELD_SEPARATOR) {
        return None;
    }
    let mut text = Zeroizing::new(String::with_capacity(value.len()));
    let value = value.trim_end_matches(FIELD_SEPARATOR).chars();
    text.extend(value.map(|c| if c == FIELD_SEPARATOR { '|' } else { c }));
    Some(text)
}

/// How names and dates are read, for other types that hold them.
pub(super) fn reading_text() -> String {
    format!("{READING}no name: {}\n", name::PLACEHOLDERS.join(", "))
}

/// The tables whose rows decide which keys meet, as text to be hashed.
pub(super) fn tables_text() -> String {
    let mut text = format!(
        "{READING}{RULES}\
         daitch-mokotoff: the first {} letters\n\
         calendars: Persian, tabular Islamic (civil) and the days beside, Buddhist\n\
         two-digit years: to {:02} are 20xx\n\
         no name: {}\n\
         libraries: {TABLES}\n",
        phonetic::MAX_LETTERS,
        date::LAST_YEAR_OF_2000S,
        name::PLACEHOLDERS.join(", ")
    );
    for (old, new) in place::RENAMED {
        text.push_str(old);
        text.push('=');
        text.push_str(new);
        text.push('\n');
    }
    text.push_str(&super::transliteration::tables_text());
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "tests.rs"]
mod tests;
