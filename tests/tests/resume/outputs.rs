//! The session went well, its output could not be written.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    HALF, PADDED, Stage,
    proxy::{Proxy, Way},
};

#[test]
fn an_output_that_fails_is_written_later_without_the_peer() {
    let stage = Stage::new();
    let serving = stage.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    let folder = stage.place.path("results");
    std::fs::create_dir(&folder).unwrap();
    // The folder goes while chunks are under way. (A folder without permissions stops nobody who
    // runs the tests as root.)
    let gone = Arc::new(AtomicBool::new(false));
    let (seen, removed) = (Arc::clone(&gone), folder.clone());
    proxy.hold_when(move |way, passed| {
        if way == Way::Up && passed > HALF && !seen.swap(true, Ordering::SeqCst) {
            std::fs::remove_dir(&removed).unwrap();
        }
        false
    });
    let running = stage.start(&stage.line(proxy.address, "results/hits.csv"));
    let (code, message) = running.failure(2);
    assert!(gone.load(Ordering::SeqCst));
    assert_eq!(code, "table-io", "{message}");
    // The session is over on both sides, and what it cost is known.
    assert!(stage.records("asker", ".part").is_empty());
    let [record] = &stage.records("asker", ".tally")[..] else {
        panic!("{:?}", stage.records("asker", ""))
    };
    stage.copies_agree(record);

    let address = serving.address;
    assert_eq!(serving.stop(), Some(0));
    // As bad as before: the run is not lost by that.
    let (code, _) = stage
        .start(&stage.line(address, "results/hits.csv"))
        .failure(2);
    assert_eq!(code, "table-io");
    let report = stage.start(&stage.line(address, "hits.csv")).report();
    stage.matches_are_right("hits.csv");
    assert_eq!(report["resumed"], true);
    assert_eq!(
        format!("{}.tally", report["session"].as_str().unwrap()),
        *record
    );
    assert_eq!(report["charged"][0]["elements"], PADDED);
    assert_eq!(report["bytes"]["sent"], 0);
    let serving = stage.place.serve("holder");
    stage.all_is_well(&serving, &report, "hits.csv");

    // That run is over: the same command asks anew.
    let report = stage
        .start(&stage.line(serving.address, "again.csv"))
        .report();
    assert_eq!(report["resumed"], false);
    assert_ne!(
        format!("{}.tally", report["session"].as_str().unwrap()),
        *record
    );
}
