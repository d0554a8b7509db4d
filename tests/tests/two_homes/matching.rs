//! What a match finds is what a few plain lines find.

use std::collections::BTreeSet;

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::Value;
use tallystick_tests::{
    oracle::{self, Key, Table},
    place::{Place, Serving},
};

use crate::publish;

/// Two tables and how both are read.
struct Case<'a> {
    name: &'a str,
    theirs: String,
    their_keys: &'a [Key<'a>],
    label: &'a [&'a str],
    ours: String,
    our_keys: &'a [Key<'a>],
    /// Lines that there must be at least, so that a test of nothing is noticed.
    least: usize,
}

fn flags(keys: &[Key<'_>]) -> String {
    keys.iter()
        .map(|Key(ty, columns)| format!(" --key {ty}={}", columns.join(",")))
        .collect()
}

/// Publishes, asks, and compares the output with the plain matcher, line by line.
fn check(place: &Place, serving: &Serving, case: &Case<'_>) -> Value {
    let name = case.name;
    place.write(&format!("{name}-theirs.csv"), &case.theirs);
    place.write(&format!("{name}-ours.csv"), &case.ours);
    let label = match case.label {
        [] => String::new(),
        columns => format!(" --label {}", columns.join(",")),
    };
    publish(
        place,
        name,
        &format!("--input {name}-theirs.csv{}{label}", flags(case.their_keys)),
    );
    let report = place.json(&format!(
        "tally match --home asker --peer holder --address {} --collection {name} \
         --input {name}-ours.csv{} --out {name}.csv",
        serving.address,
        flags(case.our_keys)
    ));

    let (ours, theirs) = (Table::parse(&case.ours), Table::parse(&case.theirs));
    let want = oracle::matches(&ours, case.our_keys, &theirs, case.their_keys, case.label);
    let got = Table::parse(&place.read(&format!("{name}.csv")));
    let got: Vec<Vec<String>> = std::iter::once(got.header).chain(got.rows).collect();
    assert_eq!(got, want, "{name}");
    assert_eq!(report["hits"], got.len() - 1, "{name}");
    assert!(
        got.len() > case.least,
        "{name}: only {} lines",
        got.len() - 1
    );
    let keys: BTreeSet<&str> = got[1..]
        .iter()
        .flat_map(|line| line[ours.header.len() + 3].split(';'))
        .collect();
    assert_eq!(report["elements_matched"], keys.len(), "{name}");
    assert_eq!(report["ours"]["rows"], ours.rows.len(), "{name}");
    report
}

const THEIR_DOCUMENT: Key<'static> = Key("document", &["number", "state"]);
const OUR_DOCUMENT: Key<'static> = Key("document", &["passport", "=UTO"]);

/// Tables of one document a row: theirs hold `0..theirs`, ours hold `from..from + ours`.
fn runs<'a>(name: &'a str, theirs: u32, from: u32, ours: u32) -> Case<'a> {
    let mut rng = StdRng::seed_from_u64(u64::from(theirs) << 32 | u64::from(from));
    let table = |header: &str, numbers: std::ops::Range<u32>, rng: &mut StdRng| {
        let mut numbers: Vec<u32> = numbers.collect();
        numbers.shuffle(rng);
        let rows = numbers.iter().map(|n| format!("P{n:07},UTO,label {n}\n"));
        std::iter::once(header.to_owned()).chain(rows).collect()
    };
    Case {
        name,
        theirs: table("number,state,case\n", 0..theirs, &mut rng),
        their_keys: &[THEIR_DOCUMENT],
        label: &["case"],
        ours: table("passport,state,note\n", from..from + ours, &mut rng),
        our_keys: &[OUR_DOCUMENT],
        least: theirs.min(from + ours).saturating_sub(from) as usize,
    }
}

#[test]
fn hits_are_those_of_a_plain_matcher() {
    let place = Place::pair("holder", "asker");
    let serving = place.serve("holder");
    // Unequal sizes both ways, none in common, all in common, one each, sizes at an edge of padding.
    for (name, theirs, from, ours) in [
        ("few-of-many", 700, 690, 20),
        ("many-of-few", 3, 0, 700),
        ("none", 50, 1000, 40),
        ("all", 64, 0, 64),
        ("one", 1, 0, 1),
        ("edge", 16, 8, 17),
    ] {
        check(&place, &serving, &runs(name, theirs, from, ours));
    }
    for case in crafted() {
        check(&place, &serving, &case);
    }
    assert_eq!(serving.stop(), Some(0));
}

/// Tables with what goes wrong in practice.
fn crafted() -> Vec<Case<'static>> {
    const TEXT: Key<'static> = Key("text", &["name"]);
    vec![
        // Repeated rows on both sides; one element with several labels, one of them twice.
        Case {
            name: "duplicates",
            theirs:
                "number,state,case\nA1,UTO,C-1\nA1,UTO,C-2\nA1,UTO,C-1\na 1,uto,C-3\nB2,UTO,C-1\n"
                    .to_owned(),
            their_keys: &[THEIR_DOCUMENT],
            label: &["case"],
            ours: "passport,at\nA1,1\nA1,2\nB2,3\nA-1,1\nC3,4\n".to_owned(),
            our_keys: &[OUR_DOCUMENT],
            least: 10,
        },
        // Forms of one number and state; rows without, and rows that cannot be read.
        Case {
            name: "forms",
            theirs: "number,state,case\nL898902C3,UTO,1\nX1234567,DEU,2\n, ,3\nA1,U,4\nÜ,UTO,5\n"
                .to_owned(),
            their_keys: &[THEIR_DOCUMENT],
            label: &["case"],
            ours:
                "passport,country\nl898902c3<<,uto\n L898-902 C3 ,UTO\nＸ1234567,D<<\nX1234567,D\n\
                X1234567,DE\n,UTO\nX1234567,FRA\nÜ,UTO\nX1234567,\n"
                    .to_owned(),
            our_keys: &[Key("document", &["passport", "country"])],
            least: 4,
        },
        // Forms of one text; texts that only look alike.
        Case {
            name: "text",
            theirs: "name,case\nStraße 7,1\n\"Müller,  Ana\",2\nＡＢＣ,3\nИван,4\nﬁn,5\nA,6\n"
                .to_owned(),
            their_keys: &[TEXT],
            label: &["case"],
            ours:
                "name\nSTRASSE\u{a0}7\n\"Mu\u{308}ller, ana\"\n\" mÜLLER,\tANA \"\nabc\nиВАН\nFIN\n\
                \u{410}\n\n\"\"\nab\n"
                    .to_owned(),
            our_keys: &[TEXT],
            least: 5,
        },
        // Two types: rows found by both keys, by one, by keys that meet different records.
        Case {
            name: "two-types",
            theirs: "number,state,name,case\nA1,UTO,Ana,1\nB2,UTO,Bo,2\nC3,UTO,Cy,3\nA1,UTO,Di,4\n"
                .to_owned(),
            their_keys: &[THEIR_DOCUMENT, TEXT],
            label: &["case", "name"],
            ours: "passport,name\nA1,ANA\nB2,Cy\nZ9,bo\nC3,\nZ8,Eve\n,Di\n".to_owned(),
            our_keys: &[OUR_DOCUMENT, TEXT],
            least: 7,
        },
        // Two keys of one type in a row; a value that looks like another type's.
        Case {
            name: "two-keys",
            theirs: "number,state,phone\nA1,UTO,a1\nB2,UTO,+1 2\n".to_owned(),
            their_keys: &[THEIR_DOCUMENT, Key("bytes", &["phone"])],
            label: &["phone"],
            ours: "old,new,phone\nA1,B2,\nB2,A1,a1\nA1,A1,A1\nX,X,+1 2\n".to_owned(),
            our_keys: &[
                Key("document", &["old", "=UTO"]),
                Key("document", &["new", "=UTO"]),
                Key("bytes", &["phone"]),
            ],
            least: 6,
        },
        // Nothing is handed over: one line an own row.
        Case {
            name: "no-labels",
            theirs: "number,state\nA1,UTO\nA1,UTO\nB2,UTO\n".to_owned(),
            their_keys: &[THEIR_DOCUMENT],
            label: &[],
            ours: "passport,note\nA1,\"a, \"\"quoted\"\" note\"\nA1,\"two\nlines\"\nC3,x\n"
                .to_owned(),
            our_keys: &[OUR_DOCUMENT],
            least: 2,
        },
    ]
}

/// Random tables out of so few values that everything collides.
#[test]
fn hits_are_those_of_a_plain_matcher_in_random_tables() {
    let place = Place::pair("holder", "asker");
    let serving = place.serve("holder");
    for seed in 0..6 {
        let mut rng = StdRng::seed_from_u64(seed);
        let names = [
            "Ana",
            "ana ",
            "ANA  B",
            "Ana b",
            "Bö",
            "BO\u{308}",
            "",
            "ß",
            "SS",
        ];
        let mut table = |header: &str, rows: usize| {
            let mut text = format!("{header}\n");
            for _ in 0..rows {
                let number = rng.random_range(0..12);
                let name = names[rng.random_range(0..names.len())];
                let state = ["UTO", "D", "DEU", "d<<"][rng.random_range(0..4)];
                let note = rng.random_range(0..3);
                text += &format!("N-{number},{state},{name},{note}\n");
            }
            text
        };
        let case = Case {
            name: &format!("random-{seed}"),
            theirs: table("number,state,name,case", 9),
            their_keys: &[THEIR_DOCUMENT, Key("text", &["name"])],
            label: &["case"],
            ours: table("passport,country,name,note", 25),
            our_keys: &[
                Key("document", &["passport", "country"]),
                Key("text", &["name"]),
            ],
            least: 1,
        };
        check(&place, &serving, &case);
    }
}
