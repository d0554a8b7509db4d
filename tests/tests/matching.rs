//! How many true pairs a profile finds, how many false ones, and at what cost: measured on a public
//! record-linkage set, as `docs/matching.md` shows it. The figures do not vary; the document is held to
//! them.
//!
//! `cargo test --release --locked -p tallystick-tests --test matching -- --nocapture`

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    fs,
    path::PathBuf,
    sync::Arc,
};

use tallystick_protocol::identifiers::{Profile, Rule};
use tallystick_tables::{Extractor, KeySpec, Mapping, Source, Tally};
use tallystick_tests::{document::document, place::Place, programs::workspace};

const PERSON: &str = "person=given_name,surname,date_of_birth";
const NUMBER: &str = "document=soc_sec_id,=AUS";

/// The `rec_id` of a row, and its elements with the rules they stand for.
type Row = (String, Vec<(Vec<u8>, Rule)>);

/// Pairs that were found, and that should have been.
#[derive(Default, Clone, Copy)]
struct Found {
    pairs: usize,
    right: usize,
    wrong: usize,
    rows: u64,
    elements: u64,
}

impl Found {
    fn add(&mut self, other: Self) {
        self.pairs += other.pairs;
        self.right += other.right;
        self.wrong += other.wrong;
        self.rows += other.rows;
        self.elements += other.elements;
    }

    fn recall(self) -> f64 {
        self.right as f64 / self.pairs as f64
    }

    fn precision(self) -> f64 {
        self.right as f64 / (self.right + self.wrong).max(1) as f64
    }

    fn elements_per_row(self) -> f64 {
        self.elements as f64 / self.rows as f64
    }
}

fn data() -> PathBuf {
    workspace().join("tests/data/febrl")
}

/// The elements of each row of a set, with the rules they stand for; rows by their `rec_id`.
fn keys(set: u8, profile: &str, keys: &[&str]) -> (Vec<Row>, Tally) {
    let source = Source::open(data().join(format!("dataset{set}.csv"))).unwrap();
    let keys = keys
        .iter()
        .map(|key| KeySpec::parse(key).unwrap())
        .collect();
    let mapping = Mapping::from_flags(keys, Vec::new()).unwrap();
    let profile = Arc::new(Profile::built_in(profile).unwrap());
    let mapping = mapping.with_profile(profile).unwrap();
    let extractor = Extractor::new(source.header(), &mapping).unwrap();
    let mut tally = Tally::default();
    let mut all = Vec::new();
    let mut rows = source.rows().unwrap();
    while let Some(row) = rows.next_row().unwrap() {
        let elements = extractor.keys(&row, &mut tally).into_iter();
        let elements = elements.map(|k| (k.normalised.element.as_bytes().to_vec(), k.rule));
        all.push((row.get(0).unwrap().to_owned(), elements.collect()));
    }
    (all, tally)
}

/// `rec-17-dup-0` becomes 17 and false, `rec-17-org` 17 and true.
fn person(rec_id: &str) -> (u32, bool) {
    let mut parts = rec_id.split('-').skip(1);
    let number = parts.next().unwrap().parse().unwrap();
    (number, parts.next() == Some("org"))
}

/// Originals against duplicates, as the two sides of a match.
fn measure(
    set: u8,
    profile: &str,
    specs: &[&str],
    rules: &mut BTreeMap<&'static str, usize>,
) -> Found {
    let (rows, tally) = keys(set, profile, specs);
    assert!(tally.adds_up(specs.len()));
    let mut originals: HashMap<&[u8], Vec<u32>> = HashMap::new();
    let mut people = BTreeSet::new();
    for (rec_id, elements) in &rows {
        let (number, original) = person(rec_id);
        if original {
            people.insert(number);
            for (element, _) in elements {
                originals.entry(element).or_default().push(number);
            }
        }
    }
    let mut found = Found {
        rows: tally.rows,
        elements: tally.elements,
        ..Found::default()
    };
    for (rec_id, elements) in &rows {
        let (number, original) = person(rec_id);
        if original {
            continue;
        }
        found.pairs += usize::from(people.contains(&number));
        let mut met: BTreeMap<u32, BTreeSet<&'static str>> = BTreeMap::new();
        for (element, rule) in elements {
            for other in originals.get(element.as_slice()).into_iter().flatten() {
                met.entry(*other).or_default().insert(rule.name());
            }
        }
        for (other, by) in met {
            match other == number {
                true => found.right += 1,
                false => found.wrong += 1,
            }
            for rule in by {
                *rules.entry(rule).or_default() += usize::from(other == number);
            }
        }
    }
    found
}

/// False hits expected at 10^4 x 10^6, as `tally estimate` says of the originals of all sets.
fn false_hits(place: &Place, profile: &str, specs: &[&str]) -> f64 {
    let mut table = String::new();
    for set in 1..=3 {
        let text = fs::read_to_string(data().join(format!("dataset{set}.csv"))).unwrap();
        let mut lines = text.lines();
        let header = lines.next().unwrap();
        if table.is_empty() {
            let _ = writeln!(table, "{header}");
        }
        for line in lines.filter(|line| line.contains("-org,")) {
            let _ = writeln!(table, "{line}");
        }
    }
    place.write("originals.csv", &table);
    let keys: Vec<String> = specs.iter().map(|key| format!("--key {key}")).collect();
    let line = format!(
        "tally estimate --input originals.csv --profile {profile} {}",
        keys.join(" ")
    );
    place.json(&line)["false_hits_10k_by_1m"].as_f64().unwrap()
}

#[test]
fn the_figures_of_the_document_are_what_is_measured() {
    let place = Place::new();
    let cases = [
        ("names and birth date", "exact", vec![PERSON]),
        ("names and birth date", "eu-strict", vec![PERSON]),
        ("names and birth date", "eu-wide", vec![PERSON]),
        ("all identifiers", "exact", vec![PERSON, NUMBER]),
        ("all identifiers", "eu-strict", vec![PERSON, NUMBER]),
        ("all identifiers", "eu-wide", vec![PERSON, NUMBER]),
    ];
    let mut lines = Vec::new();
    let mut pooled = BTreeMap::new();
    let mut by_rule = BTreeMap::new();
    for (what, profile, specs) in &cases {
        let mut all = Found::default();
        let mut rules = BTreeMap::new();
        let mut line = |set: &str, found: Found, hits: &str| {
            lines.push(format!(
                "| {what} | `{profile}/1` | {set} | {:.1} % | {:.4} | {} | {:.1} | {hits} |",
                100.0 * found.recall(),
                found.precision(),
                found.wrong,
                found.elements_per_row(),
            ));
        };
        for set in 1..=3 {
            let found = measure(set, profile, specs, &mut rules);
            line(&set.to_string(), found, "");
            all.add(found);
        }
        let hits = false_hits(&place, profile, specs);
        line("all", all, &rounded(hits));
        pooled.insert((*what, *profile), all);
        if *what == "names and birth date" {
            by_rule.insert(*profile, rules);
        }
    }
    for rule in Rule::ALL {
        let of = |profile| {
            by_rule[profile]
                .get(rule.name())
                .map_or("-".to_owned(), usize::to_string)
        };
        let (strict, wide) = (of("eu-strict"), of("eu-wide"));
        if wide != "-" {
            lines.push(format!("| `{}` | {strict} | {wide} |", rule.name()));
        }
    }
    println!("{}", lines.join("\n"));
    let of = |profile| pooled[&("names and birth date", profile)];
    let (exact, strict, wide) = (of("exact"), of("eu-strict"), of("eu-wide"));
    assert!(strict.recall() >= exact.recall() + 0.25);
    assert!(strict.precision() >= 0.999);
    assert!(wide.recall() >= exact.recall() + 0.35);
    assert!(wide.precision() >= 0.998);
    for found in [strict, wide] {
        assert!(found.elements_per_row() <= 40.0);
    }
    let shown = document("docs/matching.md");
    for line in lines {
        assert!(
            shown.contains(&line),
            "docs/matching.md should show\n{line}"
        );
    }
}

/// Two figures that count.
fn rounded(n: f64) -> String {
    let digits = n.log10().floor() as i32;
    let unit = 10f64.powi(digits - 1);
    let value = (n / unit).round() * unit;
    match value {
        v if v >= 10.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.1e}"),
    }
}
