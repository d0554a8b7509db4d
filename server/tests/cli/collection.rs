//! Collections and epochs.

use std::{fs, process::Stdio};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::place::{Place, mode, text, verdicts, wait};

#[test]
fn tables_are_published() {
    let place = Place::new();
    place.two();
    place.write(
        "list.csv",
        "passport, name ,case\nA1,Ann,c1\nB2,Bob,c2\nB2,Bob,c3\n,Cy,c4\n!!,Di,c5\n",
    );
    let publish = "collection publish wanted --home alpha --input list.csv";
    let keys = "--key document=passport,=UTO";
    let done = place.json(
        &format!("{publish} {keys} --label case"),
        "collection-publish",
    );
    let expected = [
        ("epoch", 1),
        ("rows", 5),
        ("keys", 3),
        ("empty", 1),
        ("distinct", 2),
        ("padded", 16),
        ("cut_labels", 0),
    ];
    for (member, value) in expected {
        assert_eq!(done[member], value, "{member}");
    }
    assert!(done["tag_bytes"].as_u64().unwrap() >= 5);
    assert!(done["label_bytes"].as_u64().unwrap() > 0);
    assert_eq!(done["rejected"][0]["count"], 1);
    assert_eq!(done["rejected"][0]["first_lines"][0], 6);
    assert_eq!(done["allow"], Value::Null);
    assert!(done["seconds"].as_f64().is_some());
    let digest = done["digest"].as_str().unwrap();
    let snapshot = format!("collections/wanted/{digest}.snapshot");
    assert_eq!(mode(&place.path("alpha").join(snapshot)), 0o600);

    // For people: who may ask, and how to narrow it. Nothing of a row is shown.
    let output = place.run(&format!("{publish} {keys}"), 0);
    assert!(text(&output.stdout).contains("all peers"));
    assert!(text(&output.stderr).contains("--allow PEER"));
    for cell in ["Ann", "A1", "B2", "!!"] {
        assert!(!text(&output.stdout).contains(cell) && !text(&output.stderr).contains(cell));
    }

    // Labels that a list had and has no more are named, and how to have them again.
    assert!(text(&output.stderr).contains("--label case"));
    let dropped = place.json(
        &format!("{publish} {keys} --label case"),
        "collection-publish",
    );
    assert_eq!(dropped["labels_dropped"], Value::Array(Vec::new()));
    let dropped = place.json(&format!("{publish} {keys}"), "collection-publish");
    assert_eq!(dropped["labels_dropped"][0], "case");
    let dropped = place.json(&format!("{publish} {keys}"), "collection-publish");
    assert_eq!(dropped["labels_dropped"], Value::Array(Vec::new()));

    // A list of peers is kept until it is widened on purpose.
    let narrow = format!("{publish} {keys} --allow beta");
    assert_eq!(place.fails(&narrow, 2), "usage");
    place.run("peer add beta.peer --home alpha -q", 0);
    assert_eq!(
        place.json(&narrow, "collection-publish")["allow"][0],
        "beta"
    );
    let same = place.json(&format!("{publish} {keys}"), "collection-publish");
    assert_eq!(same["allow"][0], "beta");
    let wide = place.json(
        &format!("{publish} {keys} --allow-all"),
        "collection-publish",
    );
    assert_eq!(wide["allow"], Value::Null);

    // A mapping file instead of flags.
    place.write(
        "list.mapping.toml",
        "[[key]]\ntype = \"text\"\nvalue = \"name\"\n[label]\ncolumns = [\"case\"]\n",
    );
    let mapped = "collection publish names --home alpha --input list.csv --mapping \
                  list.mapping.toml --max-session-elements 100 --peer-budget 200";
    let done = place.json(mapped, "collection-publish");
    assert_eq!(
        (&done["distinct"], &done["peer_budget"]),
        (&4.into(), &200.into())
    );
    let listed = place.json("collection list --home alpha", "collection-list");
    let listed = listed["collections"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0]["name"], "names");
    assert_eq!(listed[0]["types"][0], "text");
    assert_eq!(listed[0]["label_columns"][0], "case");
    assert_eq!(listed[0]["max_session_elements"], 100);

    let removed = place.json("collection remove names --home alpha", "collection-remove");
    assert_eq!(removed["epoch"], 1);
    let again = place.fails("collection remove names --home alpha", 2);
    assert_eq!(again, "no-such-collection");
    let listed = place.json("collection list --home alpha", "collection-list");
    assert_eq!(listed["collections"].as_array().unwrap().len(), 1);
    assert_eq!(place.key_files("alpha"), ["oprf.wanted.1.sealed"]);
}

#[test]
fn tables_that_do_not_fit_are_refused() {
    let place = Place::new();
    place.init("alpha");
    place.write("good.csv", "a,b\nx,y\n");
    place.write("twice.csv", "a,a\nx,y\n");
    place.write("none.csv", "");
    place.write("header.csv", "a,b\n");
    place.write("ragged.csv", "a,b\nx\n");
    for (line, code) in [
        ("good.csv --key text=c", "table-missing-column"),
        ("good.csv --key text=a --label c", "table-missing-column"),
        ("good.csv --key names=a", "mapping-key"),
        ("good.csv --key document=a", "mapping-key-parts"),
        ("twice.csv --key text=a", "table-duplicate-column"),
        ("none.csv --key text=a", "table-empty"),
        ("header.csv --key text=a", "usage"),
        ("ragged.csv --key text=a", "table-ragged-row"),
        ("absent.csv --key text=a", "table-io"),
        ("good.csv", "usage"),
        ("good.csv --key text=a --mapping m", "usage"),
        ("good.csv --key text=a --profile fuzzy", "unknown-profile"),
    ] {
        let line = format!("collection publish c --home alpha --input {line}");
        assert_eq!(place.fails(&line, 2), code, "{line}");
    }
    let listed = place.json("collection list --home alpha", "collection-list");
    assert_eq!(listed["collections"], Value::Array(Vec::new()));
}

#[test]
fn a_new_epoch_has_new_keys_and_destroys_the_old_ones() {
    let place = Place::new();
    place.init("alpha");
    place.write("list.csv", "a,b\nx,y\n");
    let rotate = "epoch rotate c --home alpha";
    assert_eq!(place.fails(rotate, 2), "no-such-collection");
    let publish = "collection publish c --home alpha --input list.csv --key text=a --label b \
                   --peer-budget 77";
    let first = place.json(publish, "collection-publish");
    assert_eq!(place.key_files("alpha"), ["oprf.c.1.sealed"]);
    let second = place.json(rotate, "epoch-rotate");
    assert_eq!(second["previous_epoch"], 1);
    assert_eq!(second["epoch"], 2);
    assert_ne!(second["digest"], first["digest"]);
    // What the flags do not say is as before.
    assert_eq!(second["label_bytes"], first["label_bytes"]);
    assert_eq!(second["peer_budget"], 77);
    assert_eq!(place.key_files("alpha"), ["oprf.c.2.sealed"]);
    let folder = place.path("alpha").join("collections/c");
    let snapshots = fs::read_dir(folder).unwrap().filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|kind| kind == "snapshot")
    });
    assert_eq!(snapshots.count(), 1);

    place.write("more.csv", "a,b\nx,y\nz,w\n");
    let third = place.json(&format!("{rotate} --input more.csv"), "epoch-rotate");
    assert_eq!(
        (&third["epoch"], &third["distinct"]),
        (&3.into(), &2.into())
    );
    // A table that fails leaves the epoch in force.
    place.write("more.csv", "");
    assert_eq!(place.fails(rotate, 2), "table-empty");
    let listed = place.json("collection list --home alpha", "collection-list");
    assert_eq!(listed["collections"][0]["epoch"], 3);
    let checked = place.json("check --home alpha", "check");
    assert!(verdicts(&checked).contains(&("collection c", "ok")));
}

#[test]
fn limits_that_are_not_said_stay_as_they_were() {
    let place = Place::new();
    place.init("alpha");
    place.write("list.csv", "a\nx\n");
    let publish = "collection publish c --home alpha --input list.csv --key text=a";
    let narrow = format!("{publish} --peer-budget 77 --max-session-elements 64");
    place.json(&narrow, "collection-publish");
    place.write("list.csv", "a\nx\ny\n");
    let again = place.json(publish, "collection-publish");
    assert_eq!(again["peer_budget"], 77);
    assert_eq!(again["max_session_elements"], 64);
}

#[test]
fn an_interrupted_publication_leaves_the_old_one_in_force() {
    let place = Place::new();
    place.init("alpha");
    place.write("small.csv", "a\nx\n");
    place.run(
        "collection publish c --home alpha --input small.csv --key text=a -q",
        0,
    );
    let rows: String = (0..400_000).map(|i| format!("{i}\n")).collect();
    place.write("large.csv", &format!("a\n{rows}"));
    let mut child = place
        .command("epoch rotate c --home alpha --input large.csv")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The new key is made before the work begins.
    wait(|| place.key_files("alpha").len() == 2);
    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let listed = place.json("collection list --home alpha", "collection-list");
    assert_eq!(listed["collections"][0]["epoch"], 1);
    let checked = place.json("check --home alpha", "check");
    // Whether something was kept to go on with, depends on when the signal came.
    let verdicts = verdicts(&checked);
    let fine = ["ok", "warn"].map(|verdict| verdicts.contains(&("collection c", verdict)));
    assert_eq!(fine.iter().filter(|fine| **fine).count(), 1, "{checked}");
}
