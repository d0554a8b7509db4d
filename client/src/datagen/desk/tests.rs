use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sha2::{Digest, Sha256};
use tallystick_protocol::identifiers::mrz::{
    Date, Mrz, Printed, Severity, Zone, check, compare, look_the_same,
};

use super::*;
use crate::truth::Class;

fn made(documents: u64, each: Option<u64>, seed: u64) -> (tempfile::TempDir, DeskSummary) {
    let dir = tempfile::tempdir().unwrap();
    let sizes = DeskSizes {
        documents,
        each,
        seed,
    };
    let summary = generate(dir.path(), sizes, false).unwrap();
    (dir, summary)
}

fn rows(table: &Table) -> Vec<csv::StringRecord> {
    let mut reader = csv::Reader::from_path(&table.file).unwrap();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len() as u64, table.rows);
    rows
}

/// What a guard finds who holds all lists in the clear, without any protocol.
struct Lists {
    register: HashMap<String, csv::StringRecord>,
    stolen: HashSet<(String, String)>,
    watched: HashSet<(String, String)>,
    wanted: HashSet<(String, String, String)>,
}

impl Lists {
    fn read(summary: &DeskSummary) -> Self {
        let key = |row: &csv::StringRecord| (row[0].to_owned(), row[1].to_owned());
        let register = rows(&summary.register);
        assert!(register.iter().all(|row| &row[1] == summary.state));
        let watchlist = rows(&summary.watchlist);
        let wanted = |row: &csv::StringRecord| {
            let six = row[4].replace('-', "")[2..].to_owned();
            (row[2].to_owned(), row[3].to_owned(), six)
        };
        let lists = Self {
            register: register
                .into_iter()
                .map(|row| (row[0].to_owned(), row))
                .collect(),
            stolen: rows(&summary.stolen).iter().map(key).collect(),
            watched: watchlist
                .iter()
                .map(key)
                .filter(|k| !k.0.is_empty())
                .collect(),
            wanted: watchlist.iter().map(wanted).collect(),
        };
        assert_eq!(
            lists.register.len() as u64,
            summary.register.rows,
            "a number twice"
        );
        assert_eq!(
            lists.stolen.len() as u64,
            summary.stolen.rows,
            "a report twice"
        );
        lists
    }

    fn conclude(&self, text: &str) -> &'static str {
        let Ok(zone) = Zone::read(text) else {
            return "unreadable";
        };
        let today = Date::new(2026, 6, 1).unwrap();
        if check(&zone, today)
            .iter()
            .any(|f| f.severity > Severity::Note)
        {
            return "impossible";
        }
        let read = Mrz::parse(text).unwrap();
        let key = (read.document_number().to_owned(), read.issuer().to_owned());
        let person = (
            read.surname().to_owned(),
            read.given_names().to_owned(),
            read.birth_date().to_owned(),
        );
        if self.stolen.contains(&key) {
            return "reported";
        }
        if self.watched.contains(&key) || self.wanted.contains(&person) {
            return "watchlisted";
        }
        if key.1 != STATE {
            return "nothing-known";
        }
        let Some(row) = self.register.get(&key.0) else {
            return "never-issued";
        };
        let printed = Printed {
            surname: Some(&row[2]),
            given_names: Some(&row[3]),
            birth_date: Some(&row[4]),
            ..Printed::default()
        };
        let differs = compare(&zone, &printed);
        if differs.is_empty() {
            "consistent"
        } else {
            "other-holder"
        }
    }
}

#[test]
fn each_document_is_what_its_class_says() {
    for (documents, each, seed) in [(300, None, 1), (20_000, Some(300), 2)] {
        let (_dir, summary) = made(documents, each, seed);
        let lists = Lists::read(&summary);
        let mut counts = BTreeMap::new();
        let shown = rows(&summary.presented);
        for row in &shown {
            let class: Class = row[2].parse().unwrap();
            *counts.entry(class).or_insert(0) += 1;
            let found = lists.conclude(&row[1]);
            let expected = match class {
                // Whoever compares whole names sees more than the element of a holder, and cannot tell
                // a misread from another name.
                Class::MisreadName => "other-holder",
                Class::AlteredUnseen if found == "other-holder" => "other-holder",
                _ => class.expected().name(),
            };
            assert_eq!(found, expected, "{class} {}", &row[0]);
        }
        assert_eq!(counts.len(), Class::ALL.len());
        let each = each.unwrap_or(12);
        assert!(counts.values().all(|count| *count == each), "{counts:?}");
    }
}

/// What a misread changes, beside the document as it was issued.
#[test]
fn scanners_err_as_their_classes_say() {
    let (_dir, summary) = made(10_000, Some(200), 3);
    let issued: HashSet<String> = rows(&summary.register)
        .iter()
        .map(|r| r[0].to_owned())
        .collect();
    let mut moved = BTreeSet::new();
    for row in rows(&summary.presented) {
        let class: Class = row[2].parse().unwrap();
        let Ok(zone) = Zone::read(&row[1]) else {
            continue;
        };
        if class == Class::MisreadUnseen {
            let read = Mrz::parse(&row[1]).unwrap();
            // Some one character, put right, gives a number of the register.
            let number = read.document_number();
            let healed = (0..number.len()).any(|at| {
                let bytes = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
                bytes.iter().any(|byte| {
                    let mut text = number.to_owned();
                    text.replace_range(at..=at, std::str::from_utf8(&[*byte]).unwrap());
                    look_the_same(number.as_bytes()[at], *byte) && issued.contains(&text)
                })
            });
            assert!(healed);
        }
        if matches!(
            class,
            Class::MisreadNumber | Class::MisreadDate | Class::MisreadForm
        ) {
            let found = check(&zone, Date::new(2026, 6, 1).unwrap());
            let likely = found.iter().any(|f| !f.likely.is_empty());
            // A misread is named as one, but for fillers behind a name.
            assert!(
                likely || found.iter().any(|f| f.code == "name-structure"),
                "{found:?}"
            );
            moved.extend(found.iter().map(|f| f.code));
        }
    }
    for code in [
        "number-check-digit",
        "birth-date-characters",
        "expiry-check-digit",
        "name-digit",
    ] {
        assert!(moved.contains(code), "{code} in {moved:?}");
    }
}

#[test]
fn both_forms_of_what_is_presented_are_the_same() {
    let (_dir, summary) = made(500, None, 4);
    let text = fs::read_to_string(&summary.lines).unwrap();
    let table = rows(&summary.presented);
    assert_eq!(text.lines().count(), table.len());
    for (line, row) in text.lines().zip(&table) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["id"], row[0]);
        let lines = line["mrz"].as_array().unwrap();
        let text: String = lines.iter().map(|l| l.as_str().unwrap()).collect();
        assert_eq!(text, row[1]);
        assert_eq!(line.as_object().unwrap().len(), 2);
    }
}

/// Blanks that are presented lie too far apart to look like somebody who counts through a series.
#[test]
fn presented_blanks_are_no_run() {
    let (_dir, summary) = made(200_000, Some(1000), 5);
    let shown = rows(&summary.presented).into_iter();
    let mut blanks: Vec<u64> = shown
        .filter(|row| &row[2] == "blank-series")
        .map(|row| {
            Mrz::parse(&row[1]).unwrap().document_number()[1..7]
                .parse()
                .unwrap()
        })
        .collect();
    blanks.sort_unstable();
    for window in blanks.windows(16) {
        assert!(window[15] - window[0] >= 64, "{window:?}");
    }
}

fn hashes(summary: &DeskSummary) -> Vec<String> {
    let tables = [
        &summary.register,
        &summary.stolen,
        &summary.watchlist,
        &summary.presented,
    ];
    let hash = |path: &Path| {
        let digest = Sha256::digest(fs::read(path).unwrap());
        digest
            .iter()
            .take(8)
            .map(|b| format!("{b:02x}"))
            .collect::<String>()
    };
    tables.iter().map(|table| hash(&table.file)).collect()
}

#[test]
fn bytes_are_pinned() {
    let pinned = [
        "15343f119ab0ce49",
        "8f1cb6d3e6db9509",
        "419895c7ff67a782",
        "2330b7288dae589e",
    ];
    assert_eq!(hashes(&made(250, None, 7).1), pinned);
    assert_ne!(hashes(&made(250, None, 8).1), pinned);
}

#[test]
fn wrong_sizes_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("new");
    let code = |documents, each| {
        let sizes = DeskSizes {
            documents,
            each,
            seed: 0,
        };
        generate(&target, sizes, false).unwrap_err().code()
    };
    assert_eq!(code(0, None), "datagen-too-few");
    assert_eq!(code(24, None), "datagen-too-few");
    assert_eq!(code(1000, Some(100)), "datagen-too-few");
    assert_eq!(code(1000, Some(u64::MAX)), "datagen-too-few");
    assert_eq!(code(u64::MAX, Some(1)), "datagen-too-many");
    assert!(!target.exists());
}

#[test]
fn existing_files_need_force() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("stolen.mapping.toml"), "old").unwrap();
    let sizes = DeskSizes {
        documents: 100,
        each: Some(1),
        seed: 0,
    };
    let error = generate(dir.path(), sizes, false).unwrap_err();
    assert_eq!(error.code(), "datagen-exists");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    generate(dir.path(), sizes, true).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 8);
}
