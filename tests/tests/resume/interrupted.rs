//! Something breaks in the middle; the same command again goes on.

use nix::sys::signal::Signal;
use tallystick_agency::store::Store;
use tallystick_tests::place::Serving;

use crate::{
    HALF, Stage,
    proxy::{Proxy, Way},
};

fn half(way: Way, passed: u64) -> bool {
    way == Way::Up && passed > HALF
}

#[test]
fn a_receiver_that_is_killed_goes_on() {
    let stage = Stage::new();
    let serving = stage.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    let line = stage.line(proxy.address, "hits.csv");
    proxy.hold_when(half);
    let killed = stage.start(&line);
    proxy.stopped();
    let session = stage.under_way();
    killed.signal(Signal::SIGKILL);
    assert_eq!(killed.end().code, -1);
    assert!(!stage.place.path("hits.csv").exists());

    // The sender does not know yet: its side of the old connection stays as it was.
    let line = stage.line(serving.address, "hits.csv");
    let report = stage.start(&line).report();
    assert_eq!(report["resumed"], true);
    assert_eq!(report["session"], session);
    stage.all_is_well(&serving, &report, "hits.csv");
    // What the old connection still holds arrives late, and changes nothing.
    proxy.mend();
    std::thread::sleep(std::time::Duration::from_millis(200));
    stage.all_is_well(&serving, &report, "hits.csv");
}

#[test]
fn a_sender_that_is_killed_goes_on() {
    let stage = Stage::new();
    let serving = stage.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    let line = stage.line(proxy.address, "hits.csv");
    proxy.hold_when(half);
    let running = stage.start(&line);
    proxy.stopped();
    let session = stage.under_way();
    drop(serving);
    proxy.mend();
    let (code, message) = running.failure(5);
    assert_eq!(code, "network");
    assert!(message.contains("run the same command again"), "{message}");
    assert!(message.contains("charged"), "{message}");
    assert!(!stage.place.path("hits.csv").exists());

    // Nobody there yet.
    let (code, _) = stage.start(&line).failure(5);
    assert_eq!(code, "network");
    let serving = stage.place.serve("holder");
    proxy.lead_to(serving.address);
    let report = stage.start(&line).report();
    assert_eq!(report["resumed"], true);
    assert_eq!(report["session"], session);
    stage.all_is_well(&serving, &report, "hits.csv");
}

/// A sender that forgot the session (its database was put back from a backup) grants the same request
/// once more. Another grant may name another snapshot, and two outcomes of one request can be compared:
/// so no second grant is taken.
#[test]
fn a_second_grant_of_one_session_is_refused() {
    let stage = Stage::new();
    let folder = stage.place.path("holder");
    let (state, kept) = (folder.join("state.db"), stage.place.path("state.db.kept"));
    std::fs::copy(&state, &kept).unwrap();
    let serving = stage.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    let line = stage.line(proxy.address, "hits.csv");
    proxy.hold_when(half);
    let running = stage.start(&line);
    proxy.stopped();
    stage.under_way();
    drop(serving);
    proxy.mend();
    let _ = running.failure(5);

    for suffix in ["-wal", "-shm"] {
        let beside = folder.join(format!("state.db{suffix}"));
        let _ = std::fs::remove_file(beside);
    }
    std::fs::copy(&kept, &state).unwrap();
    // An honest node would find the record of a session that it does not know, and refuse.
    let record = stage.records("holder", ".part").pop().unwrap();
    std::fs::remove_file(folder.join("records").join(record)).unwrap();
    let serving = stage.place.serve("holder");
    proxy.lead_to(serving.address);
    let (code, message) = stage.start(&line).failure(4);
    assert_eq!(code, "mismatch");
    assert!(message.contains("another than before"), "{message}");
    // What was signed until then is evidence, and no later session writes over it.
    assert_eq!(stage.records("asker", ".broken").len(), 1);
    assert!(stage.records("asker", ".part").is_empty());
    assert!(!stage.place.path("hits.csv").exists());
}

/// A network that breaks again and again, each time a little later.
#[test]
fn many_cuts_make_one_session() {
    let stage = Stage::new();
    let serving = stage.place.serve("holder");
    let mut sessions = Vec::new();
    for bytes in [12_000, 22_000, 32_000, 42_000] {
        let proxy = Proxy::new(serving.address);
        proxy.cut_when(move |way, passed| way == Way::Up && passed > bytes);
        let (code, message) = stage
            .start(&stage.line(proxy.address, "hits.csv"))
            .failure(5);
        assert_eq!(code, "network", "{message}");
        sessions.push(stage.under_way());
    }
    let report = stage
        .start(&stage.line(serving.address, "hits.csv"))
        .report();
    assert_eq!(report["resumed"], true);
    sessions.dedup();
    assert_eq!(sessions, [report["session"].as_str().unwrap()]);
    stage.all_is_well(&serving, &report, "hits.csv");
}

/// The sender has closed; its closing does not arrive. What the receiver then says again is what
/// it said before, to the byte, so that there is one closing and one record.
#[test]
fn a_closing_that_got_lost_is_given_again() {
    let (stage, serving, proxy, line) = closing_lost();
    proxy.mend();
    let report = stage.start(&line).report();
    assert_eq!(report["resumed"], true);
    stage.all_is_well(&serving, &report, "hits.csv");
}

/// The sender has closed its record and the receiver does not know.
fn closing_lost() -> (Stage, Serving, Proxy, String) {
    let stage = Stage::new();
    let serving = stage.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    let line = stage.line(proxy.address, "hits.csv");
    let records = stage.place.path("holder").join("records");
    // The sender closes its record before it says so: nothing passes after that.
    let closed = move |way, _| {
        let ends = |name: std::ffi::OsString| name.to_string_lossy().ends_with(".tally");
        let mut names = std::fs::read_dir(&records).unwrap();
        way == Way::Down && names.any(|entry| ends(entry.unwrap().file_name()))
    };
    proxy.cut_when(closed);
    let (code, message) = stage.start(&line).failure(5);
    assert_eq!(code, "network");
    assert!(message.contains("the session was charged"), "{message}");
    assert!(stage.records("holder", ".part").is_empty());
    assert_eq!(stage.records("asker", ".part").len(), 1);
    assert!(stage.records("asker", ".tally").is_empty());
    (stage, serving, proxy, line)
}

#[test]
fn a_run_that_is_interrupted_goes_on() {
    let stage = Stage::new();
    let serving = stage.place.serve("holder");
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let proxy = Proxy::new(serving.address);
        proxy.hold_when(half);
        let running = stage.start(&stage.line(proxy.address, "hits.csv"));
        proxy.stopped();
        running.signal(signal);
        let (code, message) = running.failure(130);
        assert_eq!(code, "interrupted");
        assert!(message.contains("run the same command again"), "{message}");
        let files = std::fs::read_dir(stage.place.path("")).unwrap();
        for file in files {
            let name = file.unwrap().file_name().into_string().unwrap();
            assert!(
                !name.contains("hits") && !name.ends_with(".partial"),
                "{name}"
            );
        }
    }
    let report = stage
        .start(&stage.line(serving.address, "hits.csv"))
        .report();
    assert_eq!(report["resumed"], true);
    stage.all_is_well(&serving, &report, "hits.csv");
}

/// The node was killed between the renaming of its record and the commit: what the record says is
/// signed, and nothing is signed a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_closing_is_made_good() {
    let (stage, serving, proxy, line) = closing_lost();
    drop(serving);
    let record = stage.records("holder", ".tally").pop().unwrap();
    let record = stage.place.path("holder/records").join(record);
    let closed = std::fs::read(&record).unwrap();
    let file = stage.place.path("holder/state.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for statement in [
        "UPDATE sessions SET status = 'open', closed_ms = NULL",
        "DELETE FROM records",
    ] {
        let done = sqlx::query(statement).execute(&pool).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
    }
    pool.close().await;

    let serving = stage.place.serve("holder");
    proxy.lead_to(serving.address);
    proxy.mend();
    let report = stage.start(&line).report();
    stage.all_is_well(&serving, &report, "hits.csv");
    assert!(std::fs::read(&record).unwrap() == closed);
    let store = stage.place.home("holder").store().await.unwrap();
    let noted = store.last_record("asker").await.unwrap();
    assert!(noted.is_some(), "the index knows it again");
}
