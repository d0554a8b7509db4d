//! Who stands in the lists: documents, names and dates, computed from a person's number.

use std::io::{self, Write};

use super::prng::{Permutation, SplitMix, mix};

/// Code of the issuing state, and the form of its numbers: `A` a letter, `9` a digit. Every form
/// has room for [`NUMBERS_PER_STATE`].
pub(super) const STATES: [(&str, &str); 16] = [
    ("UTO", "A999999A9"),
    ("DEU", "A99AA99A9"),
    ("FRA", "99AA99999"),
    ("ITA", "AA9999999"),
    ("ESP", "AAA999999"),
    ("POL", "AA9999999"),
    ("NLD", "AA9A99999"),
    ("SWE", "99999999"),
    ("GRC", "AA9999999"),
    ("TUR", "A99999999"),
    ("UKR", "AA999999"),
    ("MAR", "AA9999999"),
    ("BRA", "AA999999"),
    ("VNM", "A9999999"),
    ("CAN", "AA999999"),
    ("ISL", "A9999AA"),
];

/// The letters of document numbers: vowels make words, and I and O are taken for digits.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPRSTVWXYZ";

/// The room of the smallest form, `A9999AA`: 20 · 10^4 · 20².
pub(super) const NUMBERS_PER_STATE: u64 = 80_000_000;

/// The most people in both lists together.
pub(super) const MAX_PEOPLE: u64 = NUMBERS_PER_STATE * STATES.len() as u64;

const SURNAMES: [&str; 32] = [
    "Eriksson",
    "Müller",
    "Łukaszewicz",
    "Nguyễn",
    "García Márquez",
    "O'Neill",
    "Öztürk",
    "Παπαδόπουλος",
    "Шевченко",
    "Benali",
    "de la Cruz",
    "Van den Berg",
    "Þórsdóttir",
    "Kovačević",
    "Novák",
    "Rossi",
    "Dubois",
    "Lefèvre",
    "Silva",
    "Conceição",
    "Ångström",
    "Jørgensen",
    "Nagy",
    "Popescu",
    "Ștefănescu",
    "Haddad",
    "Yılmaz",
    "Kowalska",
    "Weiß",
    "Tran-Smith",
    "Иванова",
    "Sørensen",
];

const GIVEN_NAMES: [&str; 32] = [
    "Anna Maria",
    "Jürgen",
    "Zoë",
    "Małgorzata",
    "José",
    "Siobhán",
    "İbrahim",
    "Γεώργιος",
    "Олена",
    "Youssef",
    "Fátima",
    "Pieter",
    "Björk",
    "Šime",
    "Jiří",
    "Giulia",
    "François",
    "Chloé",
    "João",
    "Inês",
    "Åsa",
    "Søren",
    "Zsófia",
    "Ioana",
    "Ștefan",
    "Layla",
    "Ayşe",
    "Jan",
    "Günther",
    "Minh Anh",
    "Наталья",
    "Lars",
];

const LANES: [&str; 6] = ["A1", "A2", "B1", "B2", "BUS", "CREW"];
const HANDLING: [&str; 4] = ["H0", "H1", "H2", "H3"];

/// 2026-01-05, a Monday, in days since the Unix epoch: the first crossing.
pub(super) const FIRST_DAY: u64 = 20_458;

/// Everyone in either list, by number. What a person has is computed, not kept.
pub(super) struct People {
    seed: u64,
    /// For each of [`STATES`], over all numbers of its form.
    numbers: Vec<Permutation>,
}

impl People {
    pub(super) fn new(seed: u64) -> Self {
        let numbers = STATES
            .iter()
            .zip(0..)
            .map(|((_, form), state)| Permutation::new(room(form), mix(mix(seed, 0), state)));
        Self {
            seed,
            numbers: numbers.collect(),
        }
    }

    /// Number and state in canonical form. Distinct for distinct people: the states take turns,
    /// and within one a permutation gives each its own number.
    pub(super) fn document(&self, person: u64) -> (String, &'static str) {
        let states = STATES.len() as u64;
        let (index, serial) = ((person % states) as usize, person / states);
        let (state, form) = STATES[index];
        (number(form, self.numbers[index].get(serial)), state)
    }

    fn draws(&self, person: u64, purpose: u64) -> SplitMix {
        SplitMix(mix(mix(self.seed, 16 + purpose), person))
    }

    /// What both lists know of a person: surname, given names, birth date.
    fn identity(&self, person: u64) -> (&'static str, &'static str, String) {
        let mut draws = self.draws(person, 0);
        let surname = *draws.pick(&SURNAMES);
        let given = *draws.pick(&GIVEN_NAMES);
        let (year, month, day) = (draws.below(67), draws.below(12), draws.below(28));
        let birth = format!("{}-{:02}-{:02}", 1940 + year, month + 1, day + 1);
        (surname, given, birth)
    }

    pub(super) fn write_ours(
        &self,
        out: &mut dyn Write,
        person: u64,
        line: u64,
        lines: u64,
    ) -> io::Result<()> {
        let (number, state) = self.document(person);
        let (surname, given, birth) = self.identity(person);
        let mut draws = self.draws(person, 1);
        let number = as_typed(number, &mut draws);
        let state = match (state, draws.below(8)) {
            ("DEU", 0) => "D<<",
            ("DEU", 1) => "D",
            (state, _) => state,
        };
        // A list of crossings runs on in time: the lines share out four weeks.
        const SECONDS: u64 = 28 * 86_400;
        let at = (u128::from(line) * u128::from(SECONDS) / u128::from(lines)) as u64;
        let (day, second) = (FIRST_DAY + at / 86_400, at % 86_400);
        let lane = draws.pick(&LANES);
        let (year, month, day) = date(day);
        writeln!(
            out,
            "{number},{state},{surname},{given},{birth},\
             {year}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z,{lane}",
            second / 3600,
            second / 60 % 60,
            second % 60,
        )
    }

    pub(super) fn write_theirs(
        &self,
        out: &mut dyn Write,
        person: u64,
        line: u64,
    ) -> io::Result<()> {
        let (number, state) = self.document(person);
        let (surname, given, birth) = self.identity(person);
        let mut draws = self.draws(person, 2);
        let year = 2019 + draws.below(7);
        let handling = draws.pick(&HANDLING);
        writeln!(
            out,
            "{number},{state},{surname} {given},{birth},C-{year}-{:07},{handling}",
            line + 1
        )
    }
}

/// What may stand in a place of a form.
fn alphabet(place: u8) -> &'static [u8] {
    if place == b'A' {
        LETTERS
    } else {
        b"0123456789"
    }
}

/// How many numbers a form has.
pub(super) fn room(form: &str) -> u64 {
    form.bytes().map(|b| alphabet(b).len() as u64).product()
}

/// Writes `serial` in a form of letters and digits, as a number in mixed base.
pub(super) fn number(form: &str, mut serial: u64) -> String {
    let mut text: Vec<u8> = Vec::with_capacity(form.len());
    for alphabet in form.bytes().rev().map(alphabet) {
        let base = alphabet.len() as u64;
        text.push(alphabet[(serial % base) as usize]);
        serial /= base;
    }
    text.iter().rev().map(|b| char::from(*b)).collect()
}

/// About 6 % of numbers are not in canonical form. Normalising undoes each of these.
fn as_typed(number: String, draws: &mut SplitMix) -> String {
    let middle = 2 + draws.below(3) as usize;
    let (head, tail) = number.split_at(middle);
    match draws.below(64) {
        0 => format!("{head} {tail}"),
        1 => format!("{head}-{tail}"),
        2 => number.to_lowercase(),
        3 => format!("{number}<<"),
        _ => number,
    }
}

/// Days since the Unix epoch to year, month, day (Howard Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms", for days that are not negative).
pub(super) fn date(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    (year, month, doy - (153 * mp + 2) / 5 + 1)
}
