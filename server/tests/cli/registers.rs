//! What a list says of itself, and budgets of single types.

use serde_json::{Value, json};

use crate::place::{Place, text};

const KEYS: &str = "--key document=number,state --key holder=number,state,surname,given,born";

fn register() -> Place {
    let place = Place::new();
    place.init("alpha");
    with_table(place)
}

fn with_table(place: Place) -> Place {
    place.write(
        "register.csv",
        "number,state,surname,given,born\nL898902C3,UTO,Eriksson,Anna Maria,1974-08-12\n",
    );
    place
}

fn publish(keys: &str, more: &str) -> String {
    format!("collection publish r --home alpha --input register.csv {keys} {more}")
}

#[test]
fn a_register_says_what_it_covers_and_until_when() {
    let place = register();
    let kind = "--kind issued-documents";
    for (keys, more) in [
        (KEYS, kind),
        (
            "--key document=number,state",
            "--kind issued-documents --covers UTO",
        ),
        (KEYS, "--covers UTO"),
        (KEYS, "--kind watchlist --covers UTO"),
        (KEYS, "--complete-as-of 2026-01-01"),
        (KEYS, "--kind issued-documents --covers Utopia"),
        (
            KEYS,
            "--kind issued-documents --covers UTO --complete-as-of 2999-01-01",
        ),
        (
            KEYS,
            "--kind issued-documents --covers UTO --complete-as-of yesterday",
        ),
        (KEYS, "--kind blacklist"),
    ] {
        assert_eq!(
            place.fails(&publish(keys, more), 2),
            "usage",
            "{keys} {more}"
        );
    }

    let line = publish(
        KEYS,
        &format!("{kind} --covers UTO,DEU --complete-as-of 2026-01-02"),
    );
    let done = place.json(&line, "collection-publish");
    assert_eq!(done["kind"], "issued-documents");
    let covers = json!({"states": ["DEU", "UTO"], "complete_ms": 1_767_312_000_000u64});
    assert_eq!(done["covers"], covers);
    // What is not said is as before, but for the time: then it is that of the table.
    let later = place.json(&publish(KEYS, ""), "collection-publish");
    assert_eq!(later["kind"], "issued-documents");
    assert_eq!(later["covers"]["states"], covers["states"]);
    let until = later["covers"]["complete_ms"].as_u64().unwrap();
    assert!(until > 1_767_312_000_000, "{until}");
    let rotated = place.json("epoch rotate r --home alpha", "epoch-rotate");
    assert_eq!(rotated["covers"], later["covers"]);
    let listed = place.json("collection list --home alpha", "collection-list");
    assert_eq!(listed["collections"][0]["covers"], later["covers"]);
    let shown = text(&place.run("collection list --home alpha", 0).stdout);
    assert!(
        shown.contains("register of DEU, UTO, complete until "),
        "{shown}"
    );

    let other = place.json(
        &publish(KEYS, "--kind stolen-documents"),
        "collection-publish",
    );
    assert_eq!(other["kind"], "stolen-documents");
    assert_eq!(other["covers"], Value::Null);
}

/// A list that is published anew by a delta says the new time; for other states it is published whole.
#[test]
fn a_delta_of_a_register_moves_its_time() {
    let place = register();
    let rows: String = (0..900)
        .map(|n| format!("P{n},UTO,A,B,1974-08-12\n"))
        .collect();
    let header = "number,state,surname,given,born\n";
    place.write("register.csv", &format!("{header}{rows}"));
    let line = |covers: &str, day: &str| {
        publish(
            KEYS,
            &format!("--kind issued-documents --covers {covers} --complete-as-of {day}"),
        )
    };
    place.json(&line("UTO", "2026-01-02"), "collection-publish");
    for (covers, day, reason) in [
        ("UTO", "2026-01-03", Value::Null),
        ("UTO", "2026-01-03", Value::Null),
        ("UTO", "2026-01-01", "form".into()),
        ("UTO,DEU", "2026-01-04", "form".into()),
    ] {
        let done = place.json(&line(covers, day), "collection-publish");
        assert_eq!(done["delta_reason"], reason, "{covers} {day}");
        assert_eq!(done["delta"].is_null(), !reason.is_null());
    }
}

#[test]
fn a_type_may_have_a_budget_of_its_own() {
    let place = register();
    for wrong in [
        "text=5",
        "holder",
        "holder=0",
        "holder=x",
        "=5",
        "holder=1 --budget holder=2",
    ] {
        let line = publish(KEYS, &format!("--budget {wrong}"));
        assert_eq!(place.fails(&line, 2), "usage", "{wrong}");
    }
    let budgets =
        |more: &str| place.json(&publish(KEYS, more), "collection-publish")["budgets"].clone();
    let of = |document: u64, holder: u64| json!({"document": document, "holder": holder});
    assert_eq!(budgets("--peer-budget 500"), of(500, 1000));
    assert_eq!(budgets("--budget holder=300"), of(500, 300));
    assert_eq!(budgets("--budget document=7"), of(7, 300));
    assert_eq!(budgets(""), of(7, 300), "as before");
    let rotated = place.json(
        "epoch rotate r --home alpha --budget document=8",
        "epoch-rotate",
    );
    assert_eq!(rotated["budgets"], of(8, 300));
    let shown = text(&place.run(&publish(KEYS, ""), 0).stdout);
    assert!(shown.contains("8 document, 300 holder"), "{shown}");
}

#[test]
fn a_register_that_is_old_or_can_be_mapped_is_found() {
    let place = with_table(Place::offering());
    let kind = "--kind issued-documents --covers UTO";
    let few = "--budget document=10 --budget holder=10";
    let wide = place.run(&publish(KEYS, kind), 0);
    assert!(
        text(&wide.stderr).contains("--budget holder=N"),
        "{}",
        text(&wide.stderr)
    );
    place.finds("alpha", "register-budget", "warn");
    let narrow = place.run(&publish(KEYS, &format!("{kind} {few}")), 0);
    assert!(!text(&narrow.stderr).contains("--budget holder=N"));
    place.is_well("alpha");
    let old = publish(KEYS, "--complete-as-of 2026-01-02");
    place.run(&old, 0);
    place.finds("alpha", "register-old", "warn");
}

/// A register whose row gives one key and not the other would call a genuine bearer somebody else.
#[test]
fn a_register_that_leaves_keys_out_says_what_that_means() {
    let place = register();
    let line = publish(KEYS, "--kind issued-documents --covers UTO");
    let said = |place: &Place| text(&place.run(&line, 0).stderr);
    assert!(!said(&place).contains("left out"));
    place.write(
        "register.csv",
        "number,state,surname,given,born\nL898902C3,UTO,Eriksson,Anna Maria,1974-08-12\n\
         L898902C4,UTO,,,1974-08-12\n",
    );
    let said = said(&place);
    assert!(said.contains("a register with 1 keys left out"), "{said}");
}
