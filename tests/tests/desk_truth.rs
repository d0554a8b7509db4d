//! A labelled set of documents at a real desk: a register, reported documents and a watchlist of another
//! agency, asked over the network. Every class is concluded as far as it can be known.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use tallystick_tests::place::Place;

/// Documents of each class.
const EACH: u64 = 21;

/// Classes whose documents are let through, because a zone cannot tell; and classes of true documents that
/// are flagged, because they were misread.
const LET_THROUGH: [&str; 2] = ["look-alike", "altered-unseen"];
const MISREAD: [&str; 5] = [
    "misread-parting",
    "misread-form",
    "misread-number",
    "misread-date",
    "misread-unseen",
];

#[test]
fn every_class_is_concluded_as_far_as_it_can_be_known() {
    let place = Place::pair("north", "border");
    place.does(&format!(
        "tally datagen --dir data --desk 1000 --each {EACH} --seed 5"
    ));
    for (name, terms) in [
        ("register", "--kind issued-documents --covers UTO"),
        ("stolen", "--kind stolen-documents"),
        ("watchlist", "--kind watchlist"),
    ] {
        let files = format!("--input data/{name}.csv --mapping data/{name}.mapping.toml");
        place.does(&format!(
            "tallyd collection publish {name} --home north {files} {terms} --peer-budget 1000000"
        ));
    }
    let serving = place.serve("north");
    let at = serving.address;
    let asks =
        format!("--ask north/register@{at} --ask north/stolen@{at} --ask north/watchlist@{at}");
    let desk = format!("tally desk --home border {asks} --purpose control --key document:mrz=mrz");
    let told = place.json(&format!(
        "{desk} --manifest data/presented.csv --truth class --out checked.csv"
    ));
    assert_eq!(told["with_missing"], 0, "{told}");
    let classes = told["truth"]["classes"].as_array().unwrap();
    let mut seen = BTreeSet::new();
    for line in classes {
        let class = line["class"].as_str().unwrap();
        let count = |name: &str| line[name].as_u64().unwrap();
        assert_eq!(count("documents"), EACH, "{line}");
        assert_eq!(count("right"), EACH, "{line}");
        assert_eq!(count("unanswered"), 0, "{line}");
        let all_if = |known: bool| if known { EACH } else { 0 };
        assert_eq!(
            count("missed"),
            all_if(LET_THROUGH.contains(&class)),
            "{line}"
        );
        assert_eq!(
            count("wrongly_flagged"),
            all_if(MISREAD.contains(&class)),
            "{line}"
        );
        seen.insert(class.to_owned());
    }
    assert_eq!(seen.len(), 19, "{seen:?}");

    // The table says the same, row by row.
    let mut table = csv::Reader::from_path(place.path("checked.csv")).unwrap();
    let header = table.headers().unwrap().clone();
    let at = |name: &str| header.iter().position(|column| column == name).unwrap();
    let (class, conclusion) = (at("class"), at("tally_conclusion"));
    let said: Vec<(String, String)> = table
        .records()
        .map(|row| row.unwrap())
        .map(|row| (row[class].to_owned(), row[conclusion].to_owned()))
        .collect();
    for line in classes {
        let of_class = said
            .iter()
            .filter(|(class, _)| line["class"] == class.as_str());
        let right = of_class.filter(|(_, conclusion)| line["expected"] == conclusion.as_str());
        assert_eq!(right.count() as u64, EACH, "{line}");
    }

    // A column that is not there, and a truth without a table, are refused before anybody is asked.
    let kind = place.run(&format!(
        "{desk} --manifest data/presented.csv --truth kind"
    ));
    assert_eq!((kind.code, kind.out.as_str()), (2, ""), "{}", kind.err);
    assert!(kind.err.contains("kind"), "{}", kind.err);
    assert_eq!(
        place.run(&format!("{desk} --number 1 --truth class")).code,
        2
    );
}
