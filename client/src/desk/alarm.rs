//! Numbers that are asked one after another, seen before they leave.
//!
//! A register tells, for each number that is charged, whether it was issued. Its budget bounds how many; this
//! says at the desk's own side that somebody asks for numbers and not for travellers: dense or sequential
//! numbers of one state, or one document with many holders. It sees what stands in memory since the desk
//! was opened, and steps wider than about fifty not at all: the bound is the budget of the other side.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tallystick_protocol::{
    identifiers::{Key, Profile},
    statements::Name,
};
use zeroize::{Zeroize, Zeroizing};

use super::{Presented, Told};

/// What a desk does with a question that raises an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnAlarm {
    /// It is not asked: its answers are missing, with the code of the alarm.
    Hold,
    /// It is asked, and the alarm is said.
    Warn,
}

/// Why a question looks like a search for numbers. It holds none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alarm {
    /// Many numbers close to each other, or one after another.
    DenseNumbers,
    /// One document with more holders than misreads explain.
    ManyHolders,
}

impl Alarm {
    /// The stable code, also of the answers that are missing when the question is held.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::DenseNumbers => "dense-numbers",
            Self::ManyHolders => "many-holders",
        }
    }

    /// What stands in place of the answers of a question that is held.
    #[must_use]
    pub fn held(self) -> Told {
        Told::Missing {
            code: self.code().to_owned(),
            why: format!("it was not asked: {}", self.why()),
            since_ms: None,
        }
    }

    /// In plain words, as the end of a sentence.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::DenseNumbers => {
                "this desk has asked for many numbers of that state that lie close together, as a search \
                 for issued numbers would"
            }
            Self::ManyHolders => {
                "this desk has asked for that document with more than three different holders, as a \
                 search for its holder would"
            }
        }
    }
}

/// Numbers in a row that are one too many: a family has consecutive passports, but seldom eight.
const IN_A_ROW: usize = 8;
/// Numbers within [`SPAN`] that are one too many.
const WITHIN: usize = 16;
const SPAN: u64 = 64;
/// Holders of one document that are no alarm: three scans may read three names.
const HOLDERS: usize = 3;
/// Numbers that are remembered: the passengers of some forty wide-bodied aircraft.
const REMEMBERED: usize = 16_384;

/// A number as a place in a series of numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Zeroize)]
struct Place {
    /// Half a digest of the state and of what does not count in the number.
    series: [u8; 16],
    value: u64,
}

/// A document and a holder it was asked with, by digests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Zeroize)]
struct Pair {
    document: [u8; 16],
    holder: [u8; 16],
}

/// What a desk remembers of the numbers it was asked for. Secret: wiped on drop, hidden in Debug.
pub struct Asked {
    /// One for each way in which a number counts.
    places: [Recent<Place>; 3],
    pairs: Recent<Pair>,
    document: Name,
    holder: Name,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked(..)")
    }
}

impl Default for Asked {
    fn default() -> Self {
        Self::new()
    }
}

impl Asked {
    /// Nothing yet. Takes its memory at once, some 4 MB, so that nothing ever moves.
    ///
    /// # Panics
    /// Never: the names of types are names, and a test reads them.
    #[must_use]
    pub fn new() -> Self {
        Self::remembering(REMEMBERED)
    }

    fn remembering(numbers: usize) -> Self {
        let name = |text: &str| {
            text.parse()
                .unwrap_or_else(|_| unreachable!("a name of a type"))
        };
        Self {
            places: [(); 3].map(|()| Recent::new(numbers)),
            pairs: Recent::new(numbers),
            document: name("document"),
            holder: name("holder"),
        }
    }

    /// Remembers what is presented, and says what it looks like beside what came before. What raised an
    /// alarm is remembered as well, or each eighth number of a search would be held and the others asked.
    pub fn look(&mut self, presented: &Presented) -> Option<Alarm> {
        let exact = Profile::exact();
        let document = presented.keys(exact, &self.document).pop()?;
        let mut dense = false;
        let views = views(presented.state(), document.normalised.element.value());
        for (recent, place) in self.places.iter_mut().zip(views) {
            let Some(place) = place else { continue };
            recent.remember(place);
            dense |= is_dense(recent.known(), place);
        }
        let mut many = false;
        if let Some(holder) = presented.keys(exact, &self.holder).pop() {
            let pair = Pair {
                document: digest(&document),
                holder: digest(&holder),
            };
            self.pairs.remember(pair);
            let known = self.pairs.known();
            let from = known.partition_point(|other| other.document < pair.document);
            let rest = known.get(from..).unwrap_or_default().iter();
            many = rest
                .take_while(|other| other.document == pair.document)
                .count()
                > HOLDERS;
        }
        match (dense, many) {
            (true, _) => Some(Alarm::DenseNumbers),
            (_, true) => Some(Alarm::ManyHolders),
            _ => None,
        }
    }
}

fn digest(key: &Key) -> [u8; 16] {
    half(Sha256::new().chain_update(key.normalised.element.as_bytes()))
}

fn half(hash: Sha256) -> [u8; 16] {
    let digest: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(digest.split_at(16).0);
    half
}

/// The ways in which a number counts: by its last run of digits; by the same without its last character,
/// which may be a check digit; and by its last two characters, where letters count too.
fn views(state: &str, number: &[u8]) -> [Option<Place>; 3] {
    let shorter = number.split_last().map_or(number, |(_, rest)| rest);
    [
        of_digits(state, number),
        of_digits(state, shorter),
        of_characters(state, number),
    ]
}

/// What counts leaves a mark behind, so that the two parts around it cannot be shifted.
fn place(state: &str, [before, behind]: [&[u8]; 2], value: u64) -> Place {
    let hash = Sha256::new().chain_update(state).chain_update(before);
    Place {
        series: half(hash.chain_update(b"#").chain_update(behind)),
        value,
    }
}

/// The last run of digits counts, at most 15 of them.
fn of_digits(state: &str, number: &[u8]) -> Option<Place> {
    let end = number.iter().rposition(u8::is_ascii_digit)? + 1;
    let (head, behind) = number.split_at(end);
    let digits = head
        .iter()
        .rev()
        .take_while(|b| b.is_ascii_digit())
        .count()
        .min(15);
    let (before, run) = head.split_at(end - digits);
    let value = run
        .iter()
        .fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
    Some(place(state, [before, behind], value))
}

/// The last two characters count, digits before letters.
fn of_characters(state: &str, number: &[u8]) -> Option<Place> {
    let (before, run) = number.split_at_checked(number.len().checked_sub(2)?)?;
    let value = run.iter().try_fold(0, |value, byte| {
        let digit = char::from(*byte).to_digit(36)?;
        Some(value * 36 + u64::from(digit))
    })?;
    Some(place(state, [before, &[]], value))
}

/// Whether too many numbers lie around a place, itself among `known`, which ascends.
fn is_dense(known: &[Place], place: Place) -> bool {
    let low = (place.series, place.value.saturating_sub(SPAN - 1));
    let high = (place.series, place.value.saturating_add(SPAN));
    let from = known.partition_point(|other| (other.series, other.value) < low);
    let to = known.partition_point(|other| (other.series, other.value) < high);
    let near = known.get(from..to).unwrap_or_default();
    let row = near.chunk_by(|a, b| a.value + 1 == b.value);
    let longest = row.map(<[Place]>::len).max().unwrap_or_default();
    let within = near.windows(WITHIN).any(|some| match some {
        [first, .., last] => last.value - first.value < SPAN,
        _ => false,
    });
    longest >= IN_A_ROW || within
}

/// A sorted set of bounded size that forgets what came first. Wiped on drop, the room it does not use
/// included.
struct Recent<T: Copy + Ord + Zeroize> {
    /// Ascending.
    known: Zeroizing<Vec<T>>,
    /// The same in the order they came; the oldest at `oldest`, once it is full.
    order: Zeroizing<Vec<T>>,
    oldest: usize,
    most: usize,
}

impl<T: Copy + Ord + Zeroize> Recent<T> {
    fn new(most: usize) -> Self {
        Self {
            known: Zeroizing::new(Vec::with_capacity(most)),
            order: Zeroizing::new(Vec::with_capacity(most)),
            oldest: 0,
            most,
        }
    }

    fn known(&self) -> &[T] {
        &self.known
    }

    /// What is known already stays as old as it is.
    fn remember(&mut self, one: T) {
        let Err(at) = self.known.binary_search(&one) else {
            return;
        };
        if self.order.len() < self.most {
            self.known.insert(at, one);
            self.order.push(one);
            return;
        }
        if let Some(oldest) = self.order.get_mut(self.oldest) {
            let gone = std::mem::replace(oldest, one);
            if let Ok(at) = self.known.binary_search(&gone) {
                self.known.remove(at);
            }
            let at = self.known.partition_point(|other| *other < one);
            self.known.insert(at, one);
        }
        self.oldest = (self.oldest + 1) % self.most;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::desk::Fields;

    fn presented(number: &str, state: &str, name: &str, birth: &str) -> Presented {
        let field = |text: &str| Some(Zeroizing::new(text.to_owned()));
        Presented::from_fields(Fields {
            number: field(number),
            state: field(state),
            surname: field(name),
            birth_date: field(birth),
            ..Fields::default()
        })
        .unwrap()
    }

    /// After how many of these numbers there is an alarm.
    fn alarm_after(numbers: impl IntoIterator<Item = String>) -> Option<usize> {
        let mut asked = Asked::new();
        let alarms = numbers
            .into_iter()
            .map(|number| asked.look(&presented(&number, "UTO", "Eriksson", "1974-08-12")));
        let at = alarms
            .into_iter()
            .position(|alarm| alarm == Some(Alarm::DenseNumbers));
        at.map(|at| at + 1)
    }

    /// Numbers that look drawn by lot, the same in every run.
    fn lot(seed: u64) -> impl Iterator<Item = u64> {
        let mut state = seed;
        std::iter::from_fn(move || {
            let hash: [u8; 32] = Sha256::digest(state.to_be_bytes()).into();
            state += 1;
            Some(u64::from_be_bytes(*hash.first_chunk().unwrap()))
        })
    }

    fn number(n: u64) -> String {
        format!("L{n:08}")
    }

    #[test]
    fn families_with_consecutive_passports_are_no_alarm() {
        let mut asked = Asked::new();
        for base in lot(1).take(700) {
            for member in 0..7 {
                let member = number(base % 90_000_000 + member);
                let alarm = asked.look(&presented(&member, "UTO", "Eriksson", "1974-08-12"));
                assert_eq!(alarm, None, "{member}");
            }
        }
    }

    /// A day of travellers of one state, whose passports are of the last ten million.
    #[test]
    fn travellers_by_chance_are_no_alarm() {
        let mut asked = Asked::new();
        for n in lot(2).take(12_000) {
            let one = presented(&number(n % 10_000_000), "UTO", "Eriksson", "1974-08-12");
            assert_eq!(asked.look(&one), None);
        }
    }

    #[test]
    fn enumeration_is_an_alarm_whatever_its_order() {
        assert_eq!(alarm_after((500..600).map(number)), Some(8));
        assert_eq!(alarm_after((500..600).rev().map(number)), Some(8));
        assert_eq!(alarm_after((99_999_990..100_000_000).map(number)), Some(8));
        for step in [2, 3, 4, 7, 9, 10, 11, 13, 25, 40] {
            let after = alarm_after((0..64).map(|i| number(7_000 + i * step)));
            assert!(after.is_some_and(|n| n <= 20), "steps of {step}: {after:?}");
        }
        // All of a block of 200, in an order drawn by lot.
        let mut seen = BTreeSet::new();
        let block = lot(3)
            .map(|n| n % 200)
            .filter(|n| seen.insert(*n))
            .take(200);
        let block: Vec<u64> = block.collect();
        let after = alarm_after(block.into_iter().map(|n| number(4_000 + n)));
        assert!(after.is_some_and(|n| n <= 80), "{after:?}");
    }

    #[test]
    fn letters_count_and_a_check_digit_at_the_end_hides_nothing() {
        let letters = "ABCDEFGHJKLMNPRTVWXYZ";
        let after = alarm_after(letters.chars().map(|c| format!("C01X00T4{c}")));
        assert!(after.is_some_and(|n| n <= 8), "{after:?}");
        let after = alarm_after((0..40).map(|n| format!("C01X00T{n:02}K")));
        assert_eq!(after, Some(8));
        let with_check = |n: u64| format!("L{:07}{}", 3_000 + n, (n * 7) % 10);
        assert_eq!(alarm_after((0..40).map(with_check)), Some(8));
    }

    /// What it cannot see: numbers in wide steps. The budget of the other side is the bound.
    #[test]
    fn wide_steps_are_not_seen() {
        assert_eq!(
            alarm_after((0..400).map(|i| number(7_000 + i * 1_003))),
            None
        );
    }

    #[test]
    fn states_and_the_same_document_again_do_not_add_up() {
        let mut asked = Asked::new();
        for state in ["UTO", "FRA", "DEU", "ITA", "ESP", "SWE"] {
            for n in 0..7 {
                let one = presented(&number(n), state, "Eriksson", "1974-08-12");
                assert_eq!(asked.look(&one), None, "{state}");
            }
        }
        let mut asked = Asked::new();
        for _ in 0..100 {
            let one = presented("L898902C3", "UTO", "Eriksson", "1974-08-12");
            assert_eq!(asked.look(&one), None);
        }
    }

    #[test]
    fn one_document_with_a_fourth_holder_is_an_alarm() {
        let mut asked = Asked::new();
        // Three scans that read three names, and each of them again.
        for name in ["Eriksson", "Friksson", "Erikssoh", "Eriksson", "Friksson"] {
            let one = presented("L898902C3", "UTO", name, "1974-08-12");
            assert_eq!(asked.look(&one), None, "{name}");
        }
        let guess = presented("L898902C3", "UTO", "Eriksson", "1974-08-13");
        assert_eq!(asked.look(&guess), Some(Alarm::ManyHolders));
        // It stays one, and other documents do not suffer for it.
        assert_eq!(asked.look(&guess), Some(Alarm::ManyHolders));
        let other = presented("X123", "UTO", "Eriksson", "1974-08-12");
        assert_eq!(asked.look(&other), None);
    }

    #[test]
    fn what_raised_an_alarm_is_remembered() {
        let mut asked = Asked::new();
        let raised = (0..30).filter(|n| {
            let one = presented(&number(*n), "UTO", "Eriksson", "1974-08-12");
            asked.look(&one).is_some()
        });
        assert_eq!(raised.count(), 30 - 7);
    }

    #[test]
    fn the_oldest_are_forgotten_and_nothing_grows() {
        let mut asked = Asked::remembering(100);
        for n in 0..7 {
            asked.look(&presented(&number(n), "UTO", "Eriksson", "1974-08-12"));
        }
        for n in lot(5).take(5_000) {
            let far = number(10_000_000 + n % 80_000_000);
            asked.look(&presented(&far, "UTO", "Eriksson", "1974-08-12"));
            for recent in &asked.places {
                assert!(recent.known.len() <= 100);
                assert!(recent.known.is_sorted_by(|a, b| a < b));
                assert_eq!(recent.known.len(), recent.order.len());
            }
        }
        let rooms = asked.places.iter().map(|recent| recent.known.capacity());
        assert!(
            rooms
                .chain([asked.pairs.order.capacity()])
                .all(|room| room == 100)
        );
        let eighth = presented(&number(7), "UTO", "Eriksson", "1974-08-12");
        assert_eq!(asked.look(&eighth), None);
    }

    /// Against counting once more, over small numbers where everything comes up.
    #[test]
    fn dense_is_what_the_rule_says() {
        let dense = |values: &BTreeSet<u64>, v: u64| {
            let window = |from: u64| values.range(from..from + SPAN).count();
            let row = |from: u64| (from..from + 8).all(|n| values.contains(&n));
            let below = v.saturating_sub(SPAN - 1);
            (below..=v).any(|from| window(from) >= WITHIN) || (below..v + SPAN - 7).any(row)
        };
        let series = |value| Place {
            series: [1; 16],
            value,
        };
        for seed in 0..60 {
            let mut recent = Recent::new(1_000);
            let mut values = BTreeSet::new();
            for n in lot(seed * 1_000).take(150) {
                let value = 1_000 + n % (300 + 40 * seed);
                recent.remember(series(value));
                values.insert(value);
                let got = is_dense(recent.known(), series(value));
                assert_eq!(got, dense(&values, value), "{seed} {value}");
            }
        }
    }

    #[test]
    fn nothing_is_shown() {
        let mut asked = Asked::new();
        asked.look(&presented("L898902C3", "UTO", "Eriksson", "1974-08-12"));
        assert_eq!(format!("{asked:?}"), "Asked(..)");
        for alarm in [Alarm::DenseNumbers, Alarm::ManyHolders] {
            assert_eq!(serde_json::to_value(alarm).unwrap(), alarm.code());
        }
    }
}
