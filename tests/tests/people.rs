//! Similar people between two agencies: found by their rules, scored, and only under a profile that
//! both sides name.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs};

use tallystick_protocol::identifiers::mrz::check_digit;
use tallystick_tests::place::Place;

/// Own rows, each with the rule by which the other side's row must be found, and what it may score.
const PAIRS: [(&str, &str, &str, &str); 9] = [
    (
        "Anna Maria,Eriksson,1974-08-12",
        "ANNA-MARIA,ERIKSSON,12.08.1974",
        "exact",
        "1.000",
    ),
    (
        "Jürgen,Müller,1961-02-03",
        "JUERGEN,MUELLER,19610203",
        "transliteration",
        "1.000",
    ),
    (
        "Li,Wei,1980-11-05",
        "Wei,Li,1980-11-05",
        "name-order",
        "1.000",
    ),
    (
        "Karl Heinz,Maier,1955-05-06",
        "Karlheinz,Maier,1955-05-06",
        "swapped-letters",
        "0.9",
    ),
    (
        "Sean,Smith,1931-02-03",
        "Sean,Smyth,1931-02-03",
        "one-edit",
        "0.9",
    ),
    (
        "Alexander,Brown,1977-07-09",
        "Alex,Brown,1977-07-09",
        "truncated",
        "0.8",
    ),
    (
        "Tomas,Novak,1990-03-04",
        "Tomas,Novak,1990-04-03",
        "date-swapped",
        "0.967",
    ),
    (
        "Omar,Haddad,1985-06-15",
        "Omar,Haddad,1985-06-18",
        "date-one-edit",
        "0.958",
    ),
    (
        "Katarina,Lewinsky,1966-01-02",
        "Katharina,Levinski,1966-01-02",
        "transcription",
        "0.889",
    ),
];

fn tables(place: &Place) {
    let (mut ours, mut theirs) = (
        "row,given,family,born\n".to_owned(),
        "first_name,surname,birth_date,file\n".to_owned(),
    );
    for (n, (own, other, ..)) in PAIRS.iter().enumerate() {
        ours += &format!("{n},{own}\n");
        theirs += &format!("{other},W-{n}\n");
    }
    ours += "98,Berta,Schulz,1971-07-07\n99,Berta,Schulz,\n";
    theirs += "Erika,Fischer,1949-09-09,W-98\n";
    place.write("ours.csv", &ours);
    place.write("theirs.csv", &theirs);
}

const OURS: &str = "--key person=given,family,born";
const THEIRS: &str = "--key person=first_name,surname,birth_date";

/// Lines of the output by the column `row`.
fn lines(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header: Vec<String> = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    let at = |name: &str| header.iter().position(|column| column == name).unwrap();
    let columns = ["tally_rule", "tally_score", "tally_key", "their_file"].map(at);
    let mut lines = BTreeMap::new();
    for record in reader.records() {
        let record = record.unwrap();
        let cells = columns.iter().map(|at| record[*at].to_owned()).collect();
        assert!(
            lines.insert(record[0].to_owned(), cells).is_none(),
            "a row twice"
        );
    }
    lines
}

#[test]
fn similar_people_are_found_each_by_its_rule() {
    let place = Place::new();
    tables(&place);
    let report = place.json(&format!(
        "tally try --ours ours.csv {OURS} --theirs theirs.csv --theirs-{} --label \
         first_name,surname,birth_date,file --profile eu-strict --dir tried --rejects rejects.csv",
        THEIRS.trim_start_matches("--")
    ));
    assert_eq!(report["hits"].as_u64(), Some(PAIRS.len() as u64));
    assert_eq!(report["verified"].as_bool(), Some(true));
    assert_eq!(report["ours"]["keys_rejected"].as_u64(), Some(1));
    assert_eq!(report["theirs"]["keys_rejected"].as_u64(), Some(0));
    let found = lines(&fs::read_to_string(place.path("tried/matches.csv")).unwrap());
    assert_eq!(found.len(), PAIRS.len());
    for (n, (own, other, rule, score)) in PAIRS.iter().enumerate() {
        let [rules, scored, keys, file] = &found[&n.to_string()][..] else {
            panic!("four columns")
        };
        let rules: Vec<&str> = rules.split(';').collect();
        assert!(rules.contains(rule), "{own} / {other}: {rules:?}");
        assert!(scored.starts_with(score), "{own} / {other}: {scored}");
        assert_eq!(*file, format!("W-{n}"));
        // One key for each rule, in the same order.
        let keys: Vec<&str> = keys.split(';').collect();
        assert_eq!(keys.len(), rules.len(), "{keys:?}");
        for (key, rule) in keys.iter().zip(&rules) {
            assert!(key.starts_with(&format!("person:{rule}:")), "{key}");
        }
    }
    // Who is exactly the same is found by `exact` first, and who is not never.
    for (n, (.., rule, _)) in PAIRS.iter().enumerate() {
        let exact = found[&n.to_string()][0].starts_with("exact");
        assert_eq!(exact, *rule == "exact", "{n}");
    }
    let rejects = place.read("rejects.csv");
    assert!(
        rejects.contains("12,\"person=given,family,born\",too-few-elements"),
        "{rejects}"
    );
}

#[test]
fn under_exact_only_the_same_person_is_found() {
    let place = Place::new();
    tables(&place);
    let report = place.json(&format!(
        "tally try --ours ours.csv {OURS} --theirs theirs.csv --theirs-{} --dir tried",
        THEIRS.trim_start_matches("--")
    ));
    assert_eq!(report["hits"].as_u64(), Some(1));
}

#[test]
fn four_spellings_of_one_phone_are_one_element() {
    let place = Place::new();
    place.write(
        "ours.csv",
        "tel\n+44 20 7946 0958\n0044 20 7946 0958\n020 7946 0958\ntel:+44-20-7946-0958\n",
    );
    place.write("theirs.csv", "number,file\n+442079460958,W-1\n");
    let report = place.json(
        "tally try --ours ours.csv --key phone=tel,=GB --theirs theirs.csv --theirs-key phone=number \
         --label file --dir tried",
    );
    assert_eq!(report["ours"]["elements"].as_u64(), Some(1));
    assert_eq!(report["elements_matched"].as_u64(), Some(1));
    assert_eq!(report["hits"].as_u64(), Some(4));
}

#[test]
fn a_zone_meets_what_was_typed() {
    let place = Place::new();
    place.write(
        "ours.csv",
        "zone\n\"P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10\"\n",
    );
    place.write(
        "theirs.csv",
        "n,s,g,f,b\nL898902C3,UTO,Anna Maria,Eriksson,12.08.1974\n",
    );
    for (ours, theirs) in [
        ("document:mrz=zone", "document=n,s"),
        ("holder:mrz=zone", "holder=n,s,f,g,b"),
        ("person:mrz=zone", "person=g,f,b"),
    ] {
        let dir = ours.split(':').next().unwrap();
        let line = format!(
            "tally try --ours ours.csv --key {ours} --theirs theirs.csv --theirs-key {theirs} --dir {dir}"
        );
        assert_eq!(place.json(&line)["hits"].as_u64(), Some(1), "{ours}");
    }
}

/// A passport's zone with right check digits, as a table holds it.
fn zone(name: &str, number: &str, birth: &str) -> String {
    let digit = |text: &str| char::from(check_digit(text.as_bytes()));
    let (n, b) = (digit(number), digit(birth));
    let mut second = format!("{number}{n}UTO{birth}{b}F3204153<<<<<<<<<<<<<<0");
    let covered = format!("{}{}{}", &second[..10], &second[13..20], &second[21..]);
    second.push(digit(&covered));
    format!("\"P<UTO{name:<<39}\n{second}\"")
}

/// Each row of a register is two elements, the document and the document with its holder: who presents an
/// issued number under another name or date of birth meets the first alone.
#[test]
fn a_register_publishes_the_document_and_its_holder() {
    let place = Place::pair("asker", "holder");
    place.write(
        "register.csv",
        "n,s,surname,given,born\nL898902C3,UTO,Eriksson,Anna Maria,1974-08-12\n\
         M12345678,UTO,Müller-Lüdenscheidt,Jürgen,1961-02-03\nN00000001,UTO,Arkfreith,,1950\n",
    );
    let rows = [
        (
            "genuine",
            zone("ERIKSSON<<ANNA<MARIA", "L898902C3", "740812"),
            "document holder",
        ),
        (
            "other transliteration",
            zone("MULLER<LUDENSCHEIDT<<JURGEN", "M12345678", "610203"),
            "document holder",
        ),
        (
            "one name, a year",
            zone("ARKFREITH", "N00000001", "50<<<<"),
            "document holder",
        ),
        (
            "other name",
            zone("SVENSSON<<ANNA<MARIA", "L898902C3", "740812"),
            "document",
        ),
        (
            "other date",
            zone("ERIKSSON<<ANNA<MARIA", "L898902C3", "740813"),
            "document",
        ),
        (
            "never issued",
            zone("ERIKSSON<<ANNA<MARIA", "L898902C4", "740812"),
            "",
        ),
    ];
    place.does(
        "tallyd collection publish register --home holder --input register.csv --key document=n,s \
         --key holder=n,s,surname,given,born",
    );
    let serving = place.serve("holder");
    for (case, zone, types) in rows {
        place.write("ours.csv", &format!("zone\n{zone}\n"));
        let mut found = Vec::new();
        for ty in ["document", "holder"] {
            let report = place.json(&format!(
                "tally match --home asker --peer holder --address {} --collection register \
                 --input ours.csv --key {ty}:mrz=zone --out found.csv --force",
                serving.address
            ));
            assert_eq!(report["ours"]["elements"].as_u64(), Some(1), "{case}");
            if report["hits"].as_u64() == Some(1) {
                found.push(ty);
            }
        }
        assert_eq!(found.join(" "), types, "{case}");
    }
}

/// Refused before anything is sent, and the message says in what the two differ.
#[test]
fn another_profile_is_refused_and_the_difference_is_named() {
    let place = Place::pair("asker", "holder");
    tables(&place);
    place.does(&format!(
        "tallyd collection publish wanted --home holder --input theirs.csv {THEIRS} --profile eu-strict"
    ));
    let serving = place.serve("holder");
    let ask = |profile: &str| {
        format!(
            "tally match --home asker --peer holder --address {} --collection wanted --input ours.csv \
             {OURS} --profile {profile} --out {}.csv",
            serving.address,
            profile.replace('.', "-")
        )
    };
    assert_eq!(place.fails(&ask("exact"), 3), "profile-mismatch");
    let said = place.run(&ask("eu-wide")).err;
    assert!(said.contains("eu-wide/1 here, eu-strict/1 there"), "{said}");
    assert!(said.contains("other rules or tables in: person"), "{said}");
    assert!(said.contains("only here: name"), "{said}");
    assert_eq!(place.fails(&ask("loose"), 2), "unknown-profile");
    place.write(
        "ours.profile.toml",
        "id = \"ours/1\"\ntypes = [\"persons\"]\n",
    );
    assert_eq!(place.fails(&ask("ours.profile.toml"), 2), "profile-file");
    place.does(&ask("eu-strict"));
    // The collection keeps its profile when it is published anew without one.
    place.does("tallyd epoch rotate wanted --home holder");
    let again = ask("eu-strict").replace("--out eu-strict.csv", "--out again.csv");
    place.does(&again);
    assert_eq!(place.read("again.csv"), place.read("eu-strict.csv"));
}

#[test]
fn an_agreed_profile_of_ones_own_works_on_both_sides() {
    let place = Place::new();
    tables(&place);
    place.write(
        "ours.profile.toml",
        "id = \"joint-list/3\"\ntypes = [\"person\"]\n[person]\nminimum_elements = 3\n\
         rules = [\"exact\", \"one-edit\"]\n",
    );
    let report = place.json(&format!(
        "tally try --ours ours.csv {OURS} --theirs theirs.csv --theirs-{} --profile ours.profile.toml \
         --dir tried",
        THEIRS.trim_start_matches("--")
    ));
    let text = place.read("tried/matches.csv");
    assert!(
        text.contains("one-edit") && !text.contains("date-"),
        "{text}"
    );
    assert!(
        report["hits"]
            .as_u64()
            .is_some_and(|hits| (2..=6).contains(&hits)),
        "{report}"
    );
    let record = report["records"][0].as_str().unwrap();
    let shown = place.run(&format!("tally audit show {record}"));
    assert!(shown.out.contains("joint-list/3"), "{}", shown.out);
}

/// Each form says the same, and the totals add up.
#[test]
fn what_a_table_emits_is_shown_in_three_forms() {
    let place = Place::new();
    tables(&place);
    let line = format!("tally normalise --input ours.csv {OURS} --profile eu-strict");
    let object = place.json(&line);
    let number = |name: &str| object[name].as_u64().unwrap();
    let emitted = object["emitted"].as_array().unwrap();
    assert_eq!(emitted.len() as u64, number("elements"));
    assert_eq!(number("rows"), PAIRS.len() as u64 + 2);
    assert_eq!(
        number("rows"),
        number("keys") + number("empty") + number("rejected")
    );
    assert_eq!(number("rejected"), 1);
    let forms: Vec<&str> = emitted.iter().map(|e| e["key"].as_str().unwrap()).collect();
    assert!(
        forms.contains(&"person:one-edit:SMTH|SEAN|19310203"),
        "{forms:?}"
    );

    let table = place.run(&line);
    assert_eq!(table.code, 0);
    let mut reader = csv::Reader::from_reader(table.out.as_bytes());
    let keys: Vec<String> = reader.records().map(|r| r.unwrap()[3].to_owned()).collect();
    assert_eq!(keys, forms);

    let lines = place.run(&format!("{line} --json-lines --rejects rejects.csv"));
    let keys: Vec<serde_json::Value> = lines
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(&keys, emitted);
    assert_eq!(place.read("rejects.csv").lines().count(), 1 + 1);
    assert_eq!(
        place.fails(&format!("{line} --stop-on-rejects"), 2),
        "rows-rejected"
    );
}

/// `| head` is no error.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let rows: String = (0..20_000)
        .map(|i| format!("Anna,Smith{},1974-08-12\n", "x".repeat(i % 40)))
        .collect();
    place.write("many.csv", &format!("given,family,born\n{rows}"));
    let mut command = place.command(&format!(
        "tally normalise --input many.csv {OURS} --profile eu-strict"
    ));
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert!(
        ended.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

#[test]
fn an_estimate_says_what_it_rests_on_and_is_the_same_each_time() {
    let place = Place::new();
    tables(&place);
    let line = format!("tally estimate --input ours.csv {OURS} --profile eu-wide");
    let found = place.json(&line);
    assert_eq!(found, place.json(&line));
    let warnings = found["warnings"].to_string();
    assert!(warnings.contains("too few to tell"), "{warnings}");
    assert!(found["padded"].as_u64() >= found["distinct"].as_u64());
    let rules: Vec<&str> = found["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["rule"].as_str().unwrap())
        .collect();
    assert!(rules.contains(&"two-of-three") && rules.contains(&"one-edit"));

    // Mobile numbers of one network: a space that can be gone through.
    let numbers: String = (0..3000u64)
        .map(|i| format!("+4917{:08}\n", i * 7_919_003 % 99_999_989))
        .collect();
    place.write("phones.csv", &format!("tel\n{numbers}"));
    let found = place.json("tally estimate --input phones.csv --key phone=tel");
    let warnings = found["warnings"].to_string();
    assert!(warnings.contains("go through all of them"), "{warnings}");
    assert!(!warnings.contains("false hits"), "{warnings}");
    assert_eq!(found["false_hits"].as_f64(), Some(0.0));
}
