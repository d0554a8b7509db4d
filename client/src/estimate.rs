//! What a table costs to ask, and how many false hits its keys bring: before anything is sent.
//!
//! A key of a rule is met by chance by somebody else's with the probability that two different people
//! share it. That is 2^-H2, H2 being the collision entropy of the key. It is measured on the table
//! itself: the share of all pairs of rows that hold the same key. What pairs are too rare for that is
//! made of two parts that are independent: who (all fields of the key but the last) and when (the last
//! field, the birth date), each measured alone.
//!
//! The same person on two rows counts as chance here, so a table with repeats is estimated too high. A
//! list whose names are not those of the other side's population is estimated too low: the figure is
//! one of order of magnitude.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{BuildHasher, RandomState},
};

use tallystick_agency::{AgencyError, exit::Outcome};
use tallystick_protocol::identifiers::{FIELD_SEPARATOR, IdentifierType, Rule};
use tallystick_tables::{RowKey, Tally};

use crate::{input::Plan, progress::Progress};

/// Rows that are looked at, at most: the square of them are the pairs that are compared.
const SAMPLE: u64 = 50_000;
/// Where no pair of n was seen, the true share is below this over n, 95 times of 100.
const RULE_OF_THREE: f64 = 3.0;
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
    /// Rows of the sample that emit keys by it.
    pub rows: u64,
    /// Keys they emit.
    pub keys: u64,
    /// The probability that a key of one row is met by another person's row.
    pub probability: f64,
    /// Whether no pair was seen, and the probability is only known to be lower.
    pub at_most: bool,
    /// Bits of the commonest form of the values, where a type has one: digits and letters in free
    /// places.
    pub space_bits: Option<f64>,
}

impl RuleEstimate {
    /// Collision entropy, in bits; at least that where `at_most` says so.
    #[must_use]
    pub fn bits(&self) -> f64 {
        -self.probability.log2()
    }

    /// False hits to expect when `ours` rows are asked of `theirs`, of which as many emit keys by this
    /// rule as in the table.
    #[must_use]
    pub fn false_hits(&self, ours: f64, theirs: f64, sampled: u64) -> f64 {
        let share = self.rows as f64 / sampled.max(1) as f64;
        ours * share * theirs * share * self.probability
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
    /// False hits over all rules: no more than this, since a pair may meet by several.
    #[must_use]
    pub fn false_hits(&self, ours: f64, theirs: f64) -> f64 {
        let rules = self.rules.iter();
        rules
            .map(|rule| rule.false_hits(ours, theirs, self.sampled))
            .sum()
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

#[derive(Default)]
struct Family {
    rows: u64,
    keys: u64,
    whole: Counts,
    who: Counts,
    when: Counts,
    /// Whether its keys have a last field that stands apart from the others.
    dated: bool,
    forms: HashMap<Vec<u8>, u64>,
}

impl Family {
    fn add(&mut self, keys: &[&RowKey], hasher: &RandomState) {
        self.rows += 1;
        self.keys += keys.len() as u64;
        let (mut whole, mut who, mut when) = (HashSet::new(), HashSet::new(), HashSet::new());
        for key in keys {
            let value = key.normalised.element.value();
            whole.insert(hasher.hash_one(value));
            let dated = matches!(key.ty, IdentifierType::Person);
            let last = value
                .iter()
                .rposition(|b| u32::from(*b) == FIELD_SEPARATOR as u32);
            if let (Some(at), true) = (last, dated) {
                self.dated = true;
                who.insert(hasher.hash_one(&value[..at]));
                when.insert(hasher.hash_one(&value[at..]));
            }
            if !matches!(key.ty, IdentifierType::Person | IdentifierType::Name) {
                *self.forms.entry(form(value)).or_default() += 1;
            }
        }
        self.whole.add(whole);
        self.who.add(who);
        self.when.add(when);
    }

    fn probability(&self) -> (f64, bool) {
        let all = pairs(self.rows).max(1.0);
        let share = |counts: &Counts| (counts.pairs() / all).min(1.0);
        let bound = (RULE_OF_THREE / all).min(1.0);
        let seen = share(&self.whole);
        if !self.dated {
            return if seen > 0.0 {
                (seen, false)
            } else {
                (bound, true)
            };
        }
        let (who, when) = (share(&self.who), share(&self.when));
        let at_most = who == 0.0 || when == 0.0;
        let part = |share: f64| if share > 0.0 { share } else { bound };
        (part(who) * part(when), at_most)
    }

    /// Bits of the commonest form.
    fn space_bits(&self) -> Option<f64> {
        let (form, _) = self
            .forms
            .iter()
            .max_by_key(|(form, n)| (**n, form.len()))?;
        let bits = form.iter().map(|place| match place {
            b'9' => 10f64.log2(),
            b'A' => 26f64.log2(),
            _ => 0.0,
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
    let hasher = RandomState::new();
    let mut families: BTreeMap<(IdentifierType, Rule), Family> = BTreeMap::new();
    let mut tally = Tally::default();
    let mut sampled = 0;
    let total = plan.tally.rows.max(1);
    let mut rows = plan.source.rows().map_err(AgencyError::from)?;
    while let Some(row) = rows.next_row().map_err(AgencyError::from)? {
        // Spread over the whole table, which may be sorted; each row by a throw of its own.
        let throw = hasher.hash_one(row.line());
        let wanted = u128::from(throw) * u128::from(total) >> 64 < u128::from(SAMPLE);
        if !wanted {
            continue;
        }
        sampled += 1;
        let keys = plan.extractor.keys(&row, &mut tally);
        let mut by_rule: BTreeMap<(IdentifierType, Rule), Vec<&RowKey>> = BTreeMap::new();
        for key in &keys {
            by_rule.entry((key.ty, key.rule)).or_default().push(key);
        }
        for (rule, keys) in by_rule {
            families.entry(rule).or_default().add(&keys, &hasher);
        }
        if sampled % 1024 == 0 {
            progress.set(rows.bytes_read());
        }
    }
    progress.finish();
    let rules = families.into_iter().map(|((ty, rule), family)| {
        let (probability, at_most) = family.probability();
        RuleEstimate {
            ty,
            rule,
            rows: family.rows,
            keys: family.keys,
            probability,
            at_most,
            space_bits: family.space_bits(),
        }
    });
    Ok(Estimate {
        tally: plan.tally.clone(),
        distinct: plan
            .distinct
            .iter()
            .map(|(name, n)| (name.to_string(), *n))
            .collect(),
        padded: plan.padded().values().sum(),
        sampled,
        rules: rules.collect(),
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
        let hits = estimate.false_hits(1000.0, 2000.0);
        assert!((hits - 2e6 / 256.0).abs() < 500.0, "{hits}");
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
        let rows: String = (0..100).map(|i| format!("P{i:07}\n")).collect();
        let estimate = of(&format!("n\n{rows}"), "document=n,=UTO", "exact");
        let [rule] = estimate.rules.as_slice() else {
            panic!("one rule")
        };
        assert!(rule.at_most);
        assert!((rule.probability - 3.0 / 4950.0).abs() < 1e-9);
        let bits = rule.space_bits.unwrap();
        assert!(
            (bits - (26f64.log2() + 7.0 * 10f64.log2())).abs() < 1e-9,
            "{bits}"
        );
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
}
