//! A sender that spoils labels, to see from what the receiver does which of them it can open.

use serde_json::Value;
use tallystick_agency::{
    collections::{Meta, epoch_keys},
    home::Home,
    store::Store,
};
use tallystick_protocol::{
    frame::Kind,
    group,
    identifiers::{IdentifierType, normalise},
    oprf,
    statements::{Mode, Name, SnapshotPreamble},
};
use tallystick_tests::{
    forge::{self, Entry, frames},
    oracle::Table,
};

use crate::{PADDED, Stage};

/// Writes the collection's snapshot anew: well signed, but the labels of two documents change
/// places.
async fn spoil(home: &Home, numbers: [&str; 2]) {
    let store = home.store().await.unwrap();
    let name: Name = "watchlist".parse().unwrap();
    let known = store.collection("watchlist").await.unwrap().unwrap();
    store.close().await;
    let types = Meta::of(&known).unwrap().types;
    let kernel = group::reference();
    let keys = epoch_keys(home, kernel, &name, known.epoch, Mode::Elements, &types).unwrap();
    let spoiling = |preamble: &mut SnapshotPreamble, entries: &mut Vec<Entry>| {
        let at = numbers.map(|number| {
            let element = normalise(IdentifierType::Document, &[number, "UTO"]).unwrap();
            let element = element.unwrap().element;
            let outputs = oprf::evaluate(kernel, &[element.as_bytes()], &keys[&types[0]]).unwrap();
            let tag = outputs[0].tag(preamble.tag_len());
            entries.iter().position(|(known, _)| known == tag).unwrap()
        });
        let first = entries[at[0]].1.clone();
        entries[at[0]].1 = entries[at[1]].1.clone();
        entries[at[1]].1 = first;
    };
    forge::snapshot(home, "watchlist", spoiling).await;
}

/// What the sender holds of a session: kinds and lengths of its frames, and its closings without
/// what is random or a time.
fn view(stage: &Stage, session: &str) -> (Vec<(Kind, usize)>, Vec<String>) {
    let path = format!("holder/records/{session}.tally");
    let frames = frames(&stage.place.path(&path));
    let sizes = frames.iter().map(|frame| {
        // Numbers of other budgets, which may have other lengths, stand in closings.
        let closing = matches!(frame.kind(), Kind::ReceiverClosing | Kind::SenderClosing);
        (frame.kind(), if closing { 0 } else { frame.bytes().len() })
    });
    let shown = stage.place.json(&format!("tally audit show {path}"));
    let mut said = Vec::new();
    for closing in ["receiver_closing", "sender_closing"] {
        flatten(closing, &shown[closing], &mut said);
    }
    (sizes.collect(), said)
}

fn flatten(path: &str, value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(name, value)| flatten(&format!("{path}.{name}"), value, into)),
        Value::Array(items) => items
            .iter()
            .for_each(|value| flatten(&format!("{path}[]"), value, into)),
        Value::String(text) if text.len() >= 32 => into.push(format!("{path}: {}", text.len())),
        Value::Number(_) if path.ends_with("_ms") || path.contains("quota") => {
            into.push(path.to_owned());
        }
        other => into.push(format!("{path}: {other}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spoiled_label_is_a_hit_that_the_sender_does_not_see() {
    let stage = Stage::new();
    let serving = stage.place.serve("holder");
    // The first session with a peer names no record before it; these two do.
    let _ = stage
        .start(&stage.line(serving.address, "first.csv"))
        .report();
    let honest = stage
        .start(&stage.line(serving.address, "honest.csv"))
        .report();
    stage.matches_are_right("honest.csv");
    assert_eq!(honest["spoiled_labels"], 0);

    // One of the two that match, and one that the asker does not hold.
    spoil(&stage.place.home("holder"), ["W7", "W8"]).await;
    let ended = stage.start(&stage.line(serving.address, "hits.csv")).end();
    assert_eq!(ended.code, 4, "{}", ended.err);
    assert_eq!(crate::running::failure(&ended).0, "bad-label");
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_ne!(report["theirs"]["snapshot"], honest["theirs"]["snapshot"]);
    assert_eq!(report["elements_matched"], 2);
    assert_eq!(report["hits"], 2);
    assert_eq!(report["spoiled_labels"], 1);
    assert_eq!(report["charged"][0]["elements"], PADDED);

    let right = Table::parse(&stage.place.read("honest.csv"));
    let got = Table::parse(&stage.place.read("hits.csv"));
    assert_eq!(got.header, right.header);
    let mut want = right.rows.clone();
    let (label, of) = (right.header.len() - 1, |row: &Vec<String>| row[0] == "w7");
    assert_eq!(want.iter().filter(|row| of(row)).count(), 1);
    want.iter_mut()
        .filter(|row| of(row))
        .for_each(|row| row[label].clear());
    assert_eq!(got.rows, want);

    let session = |report: &Value| report["session"].as_str().unwrap().to_owned();
    assert_eq!(
        view(&stage, &session(&report)),
        view(&stage, &session(&honest))
    );
    stage.copies_agree(&format!("{}.tally", session(&report)));
    assert!(!serving.log().contains("bad-label"));
}
