//! Sessions that the sender ends before the receiver does.

use std::time::{Duration, Instant};

use crate::{
    BUDGET, HALF, PADDED, Stage, THEIR_KEY,
    proxy::{Proxy, Way},
    running::Running,
};

struct Half {
    stage: Stage,
    serving: tallystick_tests::place::Serving,
    proxy: Proxy,
    running: Running,
    session: String,
}

/// A session of which about half has gone over the network, which then stands still.
fn half() -> Half {
    let stage = Stage::new();
    let serving = stage.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    proxy.hold_when(|way, passed| way == Way::Up && passed > HALF);
    let running = stage.start(&stage.line(proxy.address, "hits.csv"));
    proxy.stopped();
    let session = stage.under_way();
    // What has arrived is answered and written down.
    let record = stage
        .place
        .path("holder/records")
        .join(format!("{session}.part"));
    let mut length = 0;
    crate::wait_for("the sender to come to rest", || {
        let before = std::mem::replace(&mut length, record.metadata().unwrap().len());
        std::thread::sleep(Duration::from_millis(100));
        (before == length).then_some(())
    });
    Half {
        stage,
        serving,
        proxy,
        running,
        session,
    }
}

/// The sender's closing says what was charged, no more and no less.
fn charged(stage: &Stage, session: &str) -> u64 {
    let shown = stage.aborted(session);
    let closing = &shown["sender_closing"];
    assert_eq!(closing["status"], "aborted");
    let charged = closing["charged"][0]["elements"].as_u64().unwrap();
    assert!((64..PADDED).contains(&charged), "{charged}");
    assert_eq!(closing["charged"][0]["quota_before"], BUDGET);
    charged
}

#[test]
fn an_epoch_that_ends_ends_its_sessions() {
    let Half {
        stage,
        serving,
        proxy,
        running,
        session,
    } = half();
    stage
        .place
        .does("tallyd epoch rotate watchlist --home holder");
    charged(&stage, &session);
    proxy.mend();
    let (code, message) = running.failure(3);
    assert_eq!(code, "epoch-over");
    assert!(message.contains("start a new session"), "{message}");
    assert!(!stage.place.path("hits.csv").exists());
    // Each side's copy is closed, by itself, and says so.
    assert!(stage.records("asker", ".part").is_empty());
    let own = format!("asker/records/{session}.tally");
    assert_eq!(stage.verify(&own)["records"][0]["status"], "aborted");
    let shown = stage.place.json(&format!("tally audit show {own}"));
    assert_eq!(shown["receiver_closing"]["status"], "aborted");
    assert!(shown["sender_closing"].is_null());
    // The same command does that.
    let report = stage
        .start(&stage.line(serving.address, "hits.csv"))
        .report();
    assert_eq!(report["resumed"], false);
    assert_eq!(report["epoch"], 2);
    assert_eq!(report["charged"][0]["quota_before"], BUDGET);
    stage.matches_are_right("hits.csv");
    stage.copies_agree(&format!("{}.tally", report["session"].as_str().unwrap()));
}

/// The sender ends the session while the receiver is away: the receiver closes its own copy, and the
/// next run is a new session.
#[test]
fn a_session_that_is_over_is_not_gone_on_with() {
    let Half {
        stage,
        serving,
        proxy,
        running,
        session,
    } = half();
    drop(running);
    proxy.cut();
    stage
        .place
        .does("tallyd epoch rotate watchlist --home holder");
    // The sender ends it when the receiver comes back, and says so once.
    let line = stage.line(serving.address, "hits.csv");
    let (first, _) = stage.start(&line).failure(3);
    assert!(["epoch-over", "session-over"].contains(&first.as_str()));
    charged(&stage, &session);
    assert!(stage.records("asker", ".part").is_empty());
    let own = format!("asker/records/{session}.tally");
    assert_eq!(stage.verify(&own)["records"][0]["status"], "aborted");
    assert_eq!(stage.start(&line).report()["resumed"], false);
    stage.matches_are_right("hits.csv");
}

/// The epoch ends while nobody is connected.
#[test]
fn an_epoch_that_ended_meanwhile_is_over() {
    let Half {
        stage,
        serving,
        proxy,
        running,
        session,
    } = half();
    drop(running);
    drop(serving);
    proxy.cut();
    stage
        .place
        .does("tallyd epoch rotate watchlist --home holder");
    let serving = stage.place.serve("holder");
    let line = stage.line(serving.address, "hits.csv");
    let (code, _) = stage.start(&line).failure(3);
    assert_eq!(code, "epoch-over");
    charged(&stage, &session);
    let report = stage.start(&line).report();
    assert_eq!(
        (&report["resumed"], &report["epoch"]),
        (&false.into(), &2.into())
    );
    stage.matches_are_right("hits.csv");
}

#[test]
fn a_peer_that_is_revoked_is_cut() {
    let Half {
        stage,
        serving,
        proxy,
        running,
        session,
    } = half();
    stage.place.does("tallyd peer revoke asker --home holder");
    let revoked = Instant::now();
    let record = stage
        .place
        .path("holder/records")
        .join(format!("{session}.tally"));
    crate::wait_for("the cut", || record.exists().then_some(()));
    let took = revoked.elapsed();
    println!("cut {} ms after the revocation", took.as_millis());
    assert!(took < Duration::from_secs(10), "{took:?}");
    proxy.mend();
    let (code, _) = running.failure(3);
    assert_eq!(code, "revoked");
    charged(&stage, &session);

    // Taken back in, it starts again.
    stage
        .place
        .does("tallyd peer add asker.peer --home holder --reinstate");
    drop(serving);
    let serving = stage.place.serve("holder");
    let report = stage
        .start(&stage.line(serving.address, "hits.csv"))
        .report();
    assert_eq!(report["resumed"], false);
    stage.matches_are_right("hits.csv");
}

/// A budget that is cut while a session is under way: what is over it is not evaluated.
#[test]
fn a_budget_that_is_cut_ends_the_session() {
    let Half {
        stage,
        serving,
        proxy,
        running,
        session,
    } = half();
    stage.place.does(&format!(
        "tallyd collection publish watchlist --home holder --input watchlist.csv {THEIR_KEY} \
         --label case --peer-budget 1200"
    ));
    proxy.mend();
    let (code, _) = running.failure(3);
    assert_eq!(code, "quota-exceeded");
    let shown = stage.aborted(&session);
    let charge = &shown["sender_closing"]["charged"][0];
    let spent = charge["elements"].as_u64().unwrap();
    assert!(spent <= 1200);
    // What the closing says was charged is what is gone.
    assert_eq!(charge["quota_after"], 1200 - spent);
    assert_eq!(stage.left(&serving), 1200 - spent);
}
