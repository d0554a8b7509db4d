//! What is the same run, and what is another one.

use std::fs;

use serde_json::Value;
use tallystick_tests::place::Serving;

use crate::{
    BUDGET, HALF, PADDED, Stage,
    proxy::{Proxy, Way},
    running::Running,
};

/// Starts a run and kills it in the middle of its chunks; gives the session.
fn half_a_session(stage: &Stage, proxy: &Proxy, line: &str) -> String {
    proxy.hold_when(|way, passed| way == Way::Up && passed > HALF);
    let running = stage.start(line);
    proxy.stopped();
    drop(running);
    stage.under_way()
}

#[test]
fn another_input_is_another_session() {
    let stage = Stage::new();
    let serving = stage.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    let first = half_a_session(&stage, &proxy, &stage.line(proxy.address, "hits.csv"));
    // As many rows as before, one of them another; the elements that match stay.
    let before = stage.place.read("border.csv");
    stage
        .place
        .write("border.csv", &before.replace("P1,UTO", "Q1,UTO"));
    let line = stage.line(serving.address, "other.csv");
    let report = stage.start(&line).report();
    assert_eq!(report["resumed"], false);
    assert_ne!(report["session"], first);
    stage.matches_are_right("other.csv");

    // The first input again: its own session goes on.
    stage.place.write("border.csv", &before);
    let report = stage
        .start(&stage.line(serving.address, "hits.csv"))
        .report();
    assert_eq!(report["resumed"], true);
    assert_eq!(report["session"], first);
    stage.matches_are_right("hits.csv");
    assert_eq!(stage.left(&serving), BUDGET - 2 * PADDED);
    for record in stage.records("asker", ".tally") {
        stage.copies_agree(&record);
    }
    assert!(stage.records("asker", ".part").is_empty());
}

/// The grounds stand in the signed request: a session that was asked on some grounds is not gone
/// on with on others.
#[test]
fn other_grounds_are_another_session() {
    let stage = Stage::new();
    let serving = stage.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    let line = stage.line(proxy.address, "hits.csv");
    let first = half_a_session(&stage, &proxy, &format!("{line} --purpose search"));
    let line = stage.line(serving.address, "hits.csv");
    let report = stage.start(&format!("{line} --purpose control")).report();
    assert_eq!(report["resumed"], false);
    assert_ne!(report["session"], first);
    let record = report["record"].as_str().unwrap();
    let shown = stage.place.json(&format!("tally audit show {record}"));
    assert_eq!(shown["request"]["legal"]["purpose"], "control");
    let report = stage
        .start(&format!("{line} --force --purpose search"))
        .report();
    assert_eq!(report["session"], first);
}

/// Two processes that go on with one session would cut each other off. The second says so.
#[test]
fn a_run_that_is_under_way_is_not_started_again() {
    let stage = Stage::new();
    let serving = stage.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    proxy.hold_when(|way, passed| way == Way::Up && passed > HALF);
    let first = stage.start(&stage.line(proxy.address, "hits.csv"));
    proxy.stopped();
    let (code, message) = stage
        .start(&stage.line(serving.address, "other.csv"))
        .failure(2);
    assert_eq!(code, "run-under-way");
    assert!(message.contains("wait"), "{message}");
    assert!(!stage.place.path("other.csv").exists());
    proxy.mend();
    let report = first.report();
    assert_eq!(report["resumed"], false);
    stage.all_is_well(&serving, &report, "hits.csv");
}

/// Two that start in the same moment, whichever comes first at each step.
fn two_at_once(stage: &Stage, serving: &Serving, before: u64) {
    let outs = ["a.csv", "b.csv"];
    let known = stage.records("asker", "");
    let runs: Vec<Running> = outs
        .iter()
        .map(|out| stage.start(&stage.line(serving.address, out)))
        .collect();
    let mut sessions = Vec::new();
    for (run, out) in runs.into_iter().zip(outs) {
        let ended = run.end();
        match ended.code {
            0 => {
                let report: Value = serde_json::from_str(&ended.out).unwrap();
                assert_eq!(report["charged"][0]["elements"], PADDED);
                sessions.push(report["session"].as_str().unwrap().to_owned());
                stage.matches_are_right(out);
            }
            _ => {
                let (code, message) = crate::running::failure(&ended);
                let failure = (ended.code, code.as_str());
                assert_eq!(failure, (2, "run-under-way"), "{message}");
                assert!(!stage.place.path(out).exists());
            }
        }
    }
    sessions.sort();
    sessions.dedup();
    assert!(!sessions.is_empty());
    let charged = PADDED * sessions.len() as u64;
    assert_eq!(stage.left(serving), before - charged);
    let records: Vec<String> = sessions.iter().map(|s| format!("{s}.tally")).collect();
    for home in ["asker", "holder"] {
        let mut new = stage.records(home, "");
        new.retain(|name| !known.contains(name));
        assert_eq!(new, records, "{home}");
    }
    for record in &records {
        stage.copies_agree(record);
    }
}

#[test]
fn two_at_once_are_both_right() {
    let stage = Stage::new();
    let serving = stage.place.serve("holder");
    // The snapshot is there; what is raced for is the session.
    let _ = stage
        .start(&stage.line(serving.address, "first.csv"))
        .report();
    two_at_once(&stage, &serving, BUDGET - PADDED);
}

#[test]
fn two_at_once_without_the_snapshot_are_both_right() {
    let stage = Stage::new();
    let serving = stage.place.serve("holder");
    two_at_once(&stage, &serving, BUDGET);
}

/// A request that never got its grant is not gone on with: nothing was charged for it, and by the
/// time it is sent again it may be too old for the sender's clock rule.
#[test]
fn a_request_without_a_grant_is_asked_anew() {
    let stage = Stage::new();
    let serving = stage.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    let records = stage.place.path("asker").join("records");
    // The record is there from the moment the run is.
    proxy
        .cut_when(move |way, _| way == Way::Up && fs::read_dir(&records).unwrap().next().is_some());
    let (code, _) = stage
        .start(&stage.line(proxy.address, "hits.csv"))
        .failure(5);
    assert_eq!(code, "network");
    assert!(stage.records("holder", "").is_empty());
    let report = stage
        .start(&stage.line(serving.address, "hits.csv"))
        .report();
    assert_eq!(report["resumed"], false);
    stage.all_is_well(&serving, &report, "hits.csv");
}
