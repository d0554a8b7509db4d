//! What a table costs to ask, and how many false hits its keys bring: before anything is sent.
//!
//! A key of a rule is met by chance by somebody else's with the probability that two different people
//! share it. That is 2^-H2, H2 being the collision entropy of the key. It is measured on the table
//! itself: the share of all pairs of rows that hold the same key. What pairs are too rare for that is
//! made of two parts that are independent: who (all fields of the key but the last) and when (the last
//! field, the birth date), each measured alone. Keys of different shapes are measured apart: a place with
//! two names is as rare as those are, whatever the birth dates.
//!
//! Types whose values somebody gives out (a document's number, a phone's) have no chance hits: what is
//! met is the same document or phone, whoever holds it.
//!
//! It is a figure of order of magnitude. A list whose names are not those of the other side's population
//! is estimated wrongly, and so is one that names many people twice.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
};

use tallystick_agency::{AgencyError, exit::Outcome};
use tallystick_protocol::identifiers::{FIELD_SEPARATOR, IdentifierType, Rule};
use tallystick_tables::{RowKey, Tally};

use crate::{input::Plan, progress::Progress};

/// Rows that are looked at, at most: the square of them are the pairs that are compared.
const SAMPLE: u64 = 50_000;
/// Where no pair of n was seen, the true share is below this over n, 95 times of 100.
const RULE_OF_THREE: f64 = 3.0;
/// So many pairs were seen by chance that they say more than the product of parts.
const ENOUGH_PAIRS: f64 = 5.0;
/// Of fewer values one place may be the same by chance.
const ENOUGH_VALUES: u64 = 20;

type Hasher = BuildHasherDefault<DefaultHasher>;

/// A space of this many bits is gone through within the budget of one key, 2^32 evaluations, and a
/// little help by what is known of the numbers.
pub const SMALL_SPACE_BITS: f64 = 34.0;

/// How one rule's keys behave on a table.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleEstimate {
    /// The type.
    pub ty: IdentifierType,
    /// The rule.
    pub rule: Rule,
    /// Keys that rows of the sample emit by it.
    pub keys: u64,
    /// The probability that a row is met by another person's: over all shapes of the rule's keys, each
    /// with the share of rows that emit it.
    pub probability: f64,
    /// Whether of a shape no pair was seen, and the probability is only known to be lower.
    pub at_most: bool,
    /// Bits of the commonest form of the values, where a type has one: digits and letters in places
    /// that vary.
    pub space_bits: Option<f64>,
}

impl RuleEstimate {
    /// Collision entropy, in bits; at least that where `at_most` says so.
    #[must_use]
    pub fn bits(&self) -> f64 {
        // Not minus zero.
        (-self.probability.log2()).max(0.0)
    }

    /// False hits to expect when `ours` rows are asked of `theirs`, of which as many emit keys by this
    /// rule as in the table; none for numbers that somebody gives out: who has the same one is the same.
    #[must_use]
    pub fn false_hits(&self, ours: f64, theirs: f64) -> f64 {
        match self.ty.is_unique() {
            true => 0.0,
            false => ours * theirs * self.probability,
        }
    }
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// What became of the rows.
    pub tally: Tally,
    /// Distinct elements, by type.
    pub distinct: BTreeMap<String, u64>,
    /// Elements that a session would be charged, padding included.
    pub padded: u64,
    /// Rows looked at.
    pub sampled: u64,
    /// By type and rule.
    pub rules: Vec<RuleEstimate>,
}

impl Estimate {
    /// False hits over all rules: at least those of the widest rule, and at most those of all rules
    /// together, since one pair may meet by several.
    #[must_use]
    pub fn false_hits(&self, ours: f64, theirs: f64) -> (f64, f64) {
        let hits = self.rules.iter().map(|rule| rule.false_hits(ours, theirs));
        hits.fold((0.0, 0.0), |(most, sum), hits| {
            (f64::max(most, hits), sum + hits)
        })
    }
}

/// Counts values by the rows that hold them.
#[derive(Default)]
struct Counts(HashMap<u64, u64>);

impl Counts {
    fn add(&mut self, values: HashSet<u64>) {
        for value in values {
            *self.0.entry(value).or_default() += 1;
        }
    }

    /// Pairs of rows that share a value: of those that share two, both are counted.
    fn pairs(&self) -> f64 {
        self.0.values().map(|n| pairs(*n)).sum()
    }
}

fn pairs(n: u64) -> f64 {
    n as f64 * (n as f64 - 1.0) / 2.0
}

/// Keys of one rule and shape.
#[derive(Default)]
struct Family {
    rows: u64,
    keys: u64,
    whole: Counts,
    who: Counts,
    when: Counts,
    forms: HashMap<Vec<u8>, Places>,
}

/// What stands in the places of values of one form.
#[derive(Default)]
struct Places {
    values: u64,
    seen: Vec<HashSet<u8>>,
}

/// What a key is made of: the same rule makes keys of several kinds, which are differently rare.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    fields: usize,
    /// Whether the last field is a date or a part of one.
    dated: bool,
    /// The mark of a further element, which stands first.
    mark: u8,
}

impl Shape {
    fn of(key: &RowKey) -> Self {
        let value = key.normalised.element.value();
        let mut fields = value.split(|b| u32::from(*b) == FIELD_SEPARATOR as u32);
        let further = key.rule == Rule::ThreeElements;
        let mark = fields.clone().next().and_then(|field| field.last());
        let last = fields.clone().next_back().unwrap_or_default();
        let digit = |b: &u8| b.is_ascii_digit() || matches!(b, b'<' | b'*');
        Self {
            dated: key.ty == IdentifierType::Person && !last.is_empty() && last.iter().all(digit),
            mark: mark.copied().filter(|_| further).unwrap_or_default(),
            fields: fields.by_ref().count(),
        }
    }
}

impl Family {
    fn add(&mut self, keys: &[&RowKey], dated: bool, hasher: &Hasher) {
        self.rows += 1;
        self.keys += keys.len() as u64;
        let (mut whole, mut who, mut when) = (HashSet::new(), HashSet::new(), HashSet::new());
        for key in keys {
            let value = key.normalised.element.value();
            whole.insert(hasher.hash_one(value));
            let parts = |b: &u8| u32::from(*b) == FIELD_SEPARATOR as u32;
            if let (Some(at), true) = (value.iter().rposition(parts), dated) {
                who.insert(hasher.hash_one(&value[..at]));
                when.insert(hasher.hash_one(&value[at..]));
            }
            if key.ty.is_unique() {
                let places = self.forms.entry(form(value)).or_default();
                places.values += 1;
                places.seen.resize_with(value.len(), HashSet::new);
                for (seen, byte) in places.seen.iter_mut().zip(value) {
                    seen.insert(*byte);
                }
            }
        }
        self.whole.add(whole);
        self.who.add(who);
        self.when.add(when);
    }

    /// Of one pair of rows that both have keys of this shape; and whether it is only a bound.
    fn probability(&self, dated: bool) -> (f64, bool) {
        let all = pairs(self.rows).max(1.0);
        let share = |counts: &Counts| (counts.pairs() / all).min(1.0);
        let bound = (RULE_OF_THREE / all).min(1.0);
        let seen = share(&self.whole);
        if !dated {
            return if seen > 0.0 {
                (seen, false)
            } else {
                (bound, true)
            };
        }
        let (who, when) = (share(&self.who), share(&self.when));
        let part = |share: f64| if share > 0.0 { share } else { bound };
        let made = part(who) * part(when);
        let at_most = who == 0.0 || when == 0.0;
        // Where pairs were seen that say it is less, they are right; repeats of one person make it more.
        match self.whole.pairs() >= ENOUGH_PAIRS {
            true => (made.min(seen), false),
            false => (made, at_most),
        }
    }

    /// Bits of the commonest form: places in which all values are the same, a country's code, are none.
    fn space_bits(&self) -> Option<f64> {
        let (form, places) = self
            .forms
            .iter()
            .max_by_key(|(form, places)| (places.values, form.len()))?;
        let bits = form.iter().zip(&places.seen).map(|(place, seen)| {
            let fixed = places.values >= ENOUGH_VALUES && seen.len() == 1;
            match place {
                _ if fixed => 0.0,
                b'9' => 10f64.log2(),
                b'A' => 26f64.log2(),
                _ => 0.0,
            }
        });
        Some(bits.sum())
    }
}

/// `A1B-2` becomes `A9A-9`.
fn form(value: &[u8]) -> Vec<u8> {
    let place = |b: &u8| match b {
        b'0'..=b'9' => b'9',
        b'A'..=b'Z' | b'a'..=b'z' => b'A',
        other => *other,
    };
    value.iter().map(place).collect()
}

/// Looks at a planned table.
///
/// # Errors
/// Those of reading it again.
pub(crate) fn estimate(plan: &Plan, progress: &Progress) -> Outcome<Estimate> {
    // The same for the same table: the figures may stand in a request for approval.
    let hasher = Hasher::default();
    let mut families: BTreeMap<(IdentifierType, Rule, Shape), Family> = BTreeMap::new();
    let mut tally = Tally::default();
    let mut sampled = 0;
    let total = plan.tally.rows.max(1);
    let mut rows = plan.source.rows().map_err(AgencyError::from)?;
    while let Some(row) = rows.next_row().map_err(AgencyError::from)? {
        // Spread over the whole table, which may be sorted; each row by a throw of its own.
        let throw = hasher.hash_one(row.line());
        let wanted = (u128::from(throw) * u128::from(total)) >> 64 < u128::from(SAMPLE);
        if !wanted {
            continue;
        }
        sampled += 1;
        let keys = plan.extractor.keys(&row, &mut tally);
        let mut of_row: BTreeMap<(IdentifierType, Rule, Shape), Vec<&RowKey>> = BTreeMap::new();
        for key in &keys {
            let family = (key.ty, key.rule, Shape::of(key));
            of_row.entry(family).or_default().push(key);
        }
        for (family, keys) in of_row {
            let dated = family.2.dated;
            families
                .entry(family)
                .or_default()
                .add(&keys, dated, &hasher);
        }
        if sampled % 1024 == 0 {
            progress.set(rows.bytes_read());
        }
    }
    progress.finish();
    let mut rules: BTreeMap<(IdentifierType, Rule), RuleEstimate> = BTreeMap::new();
    for ((ty, rule, shape), family) in families {
        let estimate = rules.entry((ty, rule)).or_insert(RuleEstimate {
            ty,
            rule,
            keys: 0,
            probability: 0.0,
            at_most: false,
            space_bits: None,
        });
        let (probability, at_most) = family.probability(shape.dated);
        let share =
            family.rows as f64 / f64::from(u32::try_from(sampled.max(1)).unwrap_or(u32::MAX));
        estimate.keys += family.keys;
        estimate.probability = (estimate.probability + share * share * probability).min(1.0);
        estimate.at_most |= at_most;
        estimate.space_bits = estimate.space_bits.or(family.space_bits());
    }
    Ok(Estimate {
        tally: plan.tally.clone(),
        distinct: plan
            .distinct
            .iter()
            .map(|(name, n)| (name.to_string(), *n))
            .collect(),
        padded: plan.padded().values().sum(),
        sampled,
        rules: rules.into_values().collect(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use tallystick_protocol::identifiers::Profile;
    use tallystick_tables::{KeySpec, Mapping, Rejects, TableFormat, TableInput};

    use super::*;

    fn of(text: &str, key: &str, profile: &str) -> Estimate {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        std::fs::write(&path, text).unwrap();
        let mapping = Mapping::from_flags(vec![KeySpec::parse(key).unwrap()], vec![]).unwrap();
        let profile = Arc::new(Profile::built_in(profile).unwrap());
        let mapping = mapping.with_profile(profile).unwrap();
        let input = TableInput::file(path, TableFormat::default());
        let bar = Progress::new("t", 0, "rows", true);
        let plan = Plan::make(&input, &mapping, &Rejects::default(), dir.path(), &bar).unwrap();
        estimate(&plan, &bar).unwrap()
    }

    /// A uniform draw has the entropy of its size, and as many chance hits as the formula says.
    #[test]
    fn values_that_are_drawn_evenly_have_the_entropy_of_their_number() {
        let rows: String = (0..4096u64)
            .map(|i| format!("{}\n", i * 7919 % 256))
            .collect();
        let estimate = of(&format!("n\n{rows}"), "bytes=n", "exact");
        let [rule] = estimate.rules.as_slice() else {
            panic!("one rule")
        };
        assert!((rule.bits() - 8.0).abs() < 0.1, "{}", rule.bits());
        assert!(!rule.at_most);
        let (least, most) = estimate.false_hits(1000.0, 2000.0);
        assert!((least - 2e6 / 256.0).abs() < 500.0, "{least}");
        assert!((least - most).abs() < 1e-9, "one rule");
    }

    #[test]
    fn names_and_dates_are_measured_apart() {
        let rows: String = (0..3000u64)
            .map(|i| {
                let (name, day) = (i * 7919 % 101, i * 104_729 % 365);
                let word = |n: u64| {
                    format!(
                        "{}{}",
                        (b'A' + (n / 26) as u8) as char,
                        (b'A' + (n % 26) as u8) as char
                    )
                };
                format!(
                    "Anna,Q{}X,19{:02}{:02}{:02}\n",
                    word(name),
                    day % 89,
                    day % 12 + 1,
                    day % 28 + 1
                )
            })
            .collect();
        let estimate = of(&format!("g,s,d\n{rows}"), "person=g,s,d", "exact");
        let [rule] = estimate.rules.as_slice() else {
            panic!("one rule")
        };
        let expected = 101f64.log2() + 365f64.log2();
        assert!(
            (rule.bits() - expected).abs() < 0.7,
            "{} {expected}",
            rule.bits()
        );
    }

    #[test]
    fn what_was_never_seen_twice_is_known_to_be_rare_only() {
        let rows: String = (0..100u64)
            .map(|i| format!("P{:07}\n", i * 7_919_003 % 9_999_991))
            .collect();
        let estimate = of(&format!("n\n{rows}"), "document=n,=UTO", "exact");
        let [rule] = estimate.rules.as_slice() else {
            panic!("one rule")
        };
        assert!(rule.at_most);
        assert!((rule.probability - 3.0 / 4950.0).abs() < 1e-9);
        let bits = rule.space_bits.unwrap();
        // The letter is the same in all of them.
        assert!((bits - 7.0 * 10f64.log2()).abs() < 1e-9, "{bits}");
        assert!(bits < SMALL_SPACE_BITS);
    }

    #[test]
    fn every_rule_of_a_profile_is_there() {
        let rows: String = (0..50)
            .map(|i| {
                format!(
                    "Anna{},Smith,1974-08-{:02}\n",
                    ["", "bel", "lena"][i % 3],
                    i % 28 + 1
                )
            })
            .collect();
        let estimate = of(&format!("g,s,d\n{rows}"), "person=g,s,d", "eu-wide");
        let rules: Vec<Rule> = estimate.rules.iter().map(|rule| rule.rule).collect();
        for rule in [
            Rule::Exact,
            Rule::OneEdit,
            Rule::DateOneEdit,
            Rule::TwoOfThree,
        ] {
            assert!(rules.contains(&rule), "{rule}");
        }
        assert_eq!(
            estimate.tally.elements,
            estimate.rules.iter().map(|rule| rule.keys).sum::<u64>()
        );
    }

    /// Against counting: what is estimated of one half of a list is what the halves have in common,
    /// shape by shape.
    #[test]
    fn estimates_are_of_the_order_of_what_two_lists_have_in_common() {
        let word = |n: u64, of: u64| {
            let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            // Not even: some names are common.
            let n = (n % of) * (n % of) / of;
            format!(
                "Q{}{}X",
                (b'A' + (n / 26 % 26) as u8) as char,
                (b'A' + (n % 26) as u8) as char
            )
        };
        let row = |i: u64| {
            let day = i.wrapping_mul(0xd134_2543_de82_ef95) >> 33;
            format!(
                "{},{},19{:02}-{:02}-{:02},{}",
                word(i, 40),
                word(i + 1_000_003, 60),
                50 + day % 10,
                1 + day / 10 % 4,
                1 + day / 40 % 5,
                word(i + 2_000_003, 30)
            )
        };
        let table = |range: std::ops::Range<u64>| -> String {
            let rows: String = range.map(|i| row(i) + "\n").collect();
            format!("g,s,d,p\n{rows}")
        };
        let (ours, theirs) = (table(0..3000), table(3000..6000));
        let estimate = of(&ours, "person=g,s,d,p", "eu-wide");
        let met = common(&ours, &theirs);
        for rule in &estimate.rules {
            let expected = rule.false_hits(3000.0, 3000.0);
            let counted = met.get(&rule.rule).copied().unwrap_or_default() as f64;
            // By rules so wide that chance does not rule the count.
            if counted > 100.0 {
                let ratio = expected / counted;
                assert!(
                    (0.3..3.0).contains(&ratio),
                    "{}: {expected} {counted}",
                    rule.rule
                );
            }
        }
        assert!(met[&Rule::ThreeElements] > 100 && met[&Rule::TwoOfThree] > 100);
    }

    /// Pairs of rows of two tables that meet, by rule.
    fn common(ours: &str, theirs: &str) -> BTreeMap<Rule, usize> {
        let profile = Profile::built_in("eu-wide").unwrap();
        let keys = |text: &str| {
            let rows = text.lines().skip(1).enumerate();
            let mut all: HashMap<(Rule, Vec<u8>), Vec<usize>> = HashMap::new();
            for (i, row) in rows {
                let parts: Vec<&str> = row.split(',').collect();
                let mut keys = Vec::new();
                profile
                    .keys(IdentifierType::Person, 0, &parts, &mut keys)
                    .unwrap();
                for key in keys {
                    let element = key.normalised.element.as_bytes().to_vec();
                    all.entry((key.rule, element)).or_default().push(i);
                }
            }
            all
        };
        let theirs = keys(theirs);
        let mut pairs: BTreeMap<Rule, HashSet<(usize, usize)>> = BTreeMap::new();
        for ((rule, element), rows) in keys(ours) {
            for other in theirs.get(&(rule, element)).into_iter().flatten() {
                let met = rows.iter().map(|row| (*row, *other));
                pairs.entry(rule).or_default().extend(met);
            }
        }
        pairs
            .into_iter()
            .map(|(rule, pairs)| (rule, pairs.len()))
            .collect()
    }
}
