//! Answers that do not come: each is said, with its reason, and none looks like a miss.

use std::time::{Duration, Instant};

use tallystick_client::desk::{Desk, DeskOptions, Ended, LinkState, Told};
use tallystick_protocol::frame::Kind;
use tallystick_tests::{
    proxy::Proxy,
    tamper::{Act, Keys, Middle, Rule},
};

use super::{Post, asks_well, missed, only, traveller};

/// Waits, long enough for a machine that does other things.
async fn until(mut there: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if there() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came");
}

/// Asks until there is no answer any more; code and reason.
async fn refused(desk: &Desk) -> (String, String) {
    for _ in 0..120 {
        let answer = desk.answers(&traveller("W2", "Berg")).await.remove(0);
        if matches!(answer.told, Told::Missing { .. }) {
            return missed(&answer);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("it is answered for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_down_from_the_start_is_missing_and_answers_when_it_is_up() {
    let post = Post::new();
    // Nobody listens behind it yet.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nowhere.local_addr().unwrap();
    drop(nowhere);
    let proxy = Proxy::new(address);
    let options = DeskOptions {
        patience: Duration::from_secs(3),
        ..post.options(proxy.address)
    };
    let desk = post.open(options).await;
    let (code, why) = missed(&desk.answers(&traveller("W1", "Berg")).await[0]);
    assert!(code == "network" || code == "opening", "{code}: {why}");
    until(|| desk.status().collections[0].state == LinkState::Waiting).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Known to be down: nobody waits for it as long as for a peer that may answer.
    let started = Instant::now();
    let answer = desk.answers(&traveller("W1", "Berg")).await;
    assert!(started.elapsed() < Duration::from_secs(2));
    let (code, why) = missed(&answer[0]);
    assert_eq!(code, "network");
    assert!(why.contains("holder"), "{why}");
    assert!(answer[0].facts.epoch.is_none());
    let status = desk.status();
    assert!(!status.ready);
    assert_eq!(status.collections[0].state, LinkState::Waiting);
    let serving = post.place.serve("holder");
    proxy.lead_to(serving.address);
    assert!(desk.ready(Duration::from_secs(30)).await);
    asks_well(&desk, 1).await;
    let report = desk.close().await.unwrap();
    assert_eq!(only(&report).missing, 2);
    post.all_is_well(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_slower_than_patience_is_missing_and_its_late_answer_is_recorded() {
    let post = Post::new();
    let serving = post.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    let options = DeskOptions {
        patience: Duration::from_secs(3),
        ..post.options(proxy.address)
    };
    let desk = post.open(options).await;
    assert!(desk.ready(Duration::from_secs(20)).await);
    proxy.hold_when(|_, _| true);
    let (code, _) = missed(&desk.answers(&traveller("W1", "Berg")).await[0]);
    assert_eq!(code, "slow");
    proxy.mend();
    assert!(desk.ready(Duration::from_secs(60)).await);
    asks_well(&desk, 2).await;
    let report = desk.close().await.unwrap();
    let [session] = &only(&report).sessions[..] else {
        panic!("{report:?}");
    };
    assert_eq!(session.charged[0].elements.get(), 3 * 8);
    post.all_is_well(&report);
}

/// The last byte of an answer is its signature's; one before the signature is the proof's.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_breaks_the_protocol_is_not_asked_again_and_what_came_is_kept() {
    let post = Post::new();
    let serving = post.place.serve("holder");
    let (holder, asker) = (post.place.home("holder"), post.place.home("asker"));
    let keys = Keys::new(&holder, asker, serving.address).await;
    let rule = Rule {
        kind: Kind::EvaluatedChunk,
        nth: 2,
        act: Act::Change(Box::new(|mut bytes| {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            bytes
        })),
    };
    let middle = Middle::tampering(&keys, vec![rule]).await;
    let desk = post.open(post.options(middle.address)).await;
    let first = desk.answers(&traveller("W1", "Berg")).await;
    assert_eq!(super::hits(&first[0]).len(), 1);
    let session = desk.status().collections[0].session.clone().unwrap();
    let (code, why) = missed(&desk.answers(&traveller("W2", "Berg")).await[0]);
    assert!(middle.done());
    assert_eq!(code, "bad-signature", "{why}");
    let (code, _) = missed(&desk.answers(&traveller("W3", "Berg")).await[0]);
    assert_eq!(code, "bad-signature");
    assert_eq!(desk.status().collections[0].state, LinkState::Over);
    assert_eq!(
        post.records("asker", ".broken"),
        [format!("{session}.broken")]
    );
    assert_eq!(post.records("asker", ".shift"), [""; 0]);
    let report = desk.close().await.unwrap();
    assert_eq!(only(&report).sessions[0].ended, Ended::Broken);
    assert_eq!((only(&report).answered, only(&report).missing), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desk_whose_peer_revokes_it_says_so() {
    let post = Post::new();
    let serving = post.place.serve("holder");
    let options = DeskOptions {
        patience: Duration::from_secs(2),
        ..post.options(serving.address)
    };
    let desk = post.open(options).await;
    asks_well(&desk, 1).await;
    tokio::task::block_in_place(|| {
        post.place.does("tallyd peer revoke asker --home holder");
    });
    // The node looks at its list of peers every few seconds.
    let (code, why) = refused(&desk).await;
    assert!(
        ["revoked", "not-on-list", "refused-by-peer", "network"].contains(&code.as_str()),
        "{code}: {why}"
    );
    assert_ne!(code, "slow");
    let report = desk.close().await.unwrap();
    assert_eq!(
        only(&report).sessions[0].ended,
        Ended::Aborted,
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_this_home_revokes_is_not_asked_any_more() {
    let post = Post::new();
    let serving = post.place.serve("holder");
    let desk = post.open(post.options(serving.address)).await;
    asks_well(&desk, 1).await;
    tokio::task::block_in_place(|| {
        post.place.does("tallyd peer revoke holder --home asker");
    });
    let (code, _) = refused(&desk).await;
    assert_eq!(code, "revoked");
    let report = desk.close().await.unwrap();
    // What was asked until then is closed as it should be.
    post.all_is_well(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_spent_is_said_on_either_side() {
    let post = Post::new();
    let serving = post.place.serve("holder");
    // The own bound: three small flights.
    let options = DeskOptions {
        flights: 3,
        patience: Duration::from_secs(2),
        ..post.options(serving.address)
    };
    let desk = post.open(options).await;
    for n in 0..3 {
        let answer = desk.answers(&traveller(&format!("W{n}"), "Berg")).await;
        assert_eq!(super::hits(&answer[0]).len(), 1);
    }
    let (code, _) = missed(&desk.answers(&traveller("W4", "Berg")).await[0]);
    assert_eq!(code, "flights-spent");
    let report = desk.close().await.unwrap();
    assert_eq!(only(&report).sessions[0].charged[0].elements.get(), 24);
    post.all_is_well(&report);
    // The peer's: what is left is less than two flights.
    post.place.does(
        "tallyd collection publish watchlist --home holder --input watchlist.csv \
         --key document=number,state --key person=given,family,born --label case --peer-budget 39",
    );
    let options = DeskOptions {
        patience: Duration::from_secs(2),
        ..post.options(serving.address)
    };
    let desk = post.open(options).await;
    let answer = desk.answers(&traveller("W5", "Berg")).await;
    assert_eq!(super::hits(&answer[0]).len(), 1);
    let (code, why) = missed(&desk.answers(&traveller("W6", "Berg")).await[0]);
    assert_eq!(code, "quota-exceeded", "{why}");
    post.all_is_well(&desk.close().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_no_desk_can_work_with_are_refused() {
    let post = Post::new();
    let address = "127.0.0.1:1".parse().unwrap();
    let refused = async |change: fn(&mut DeskOptions)| {
        let mut options = post.options(address);
        change(&mut options);
        let home = std::sync::Arc::new(post.place.home("asker"));
        let refused = tallystick_client::desk::Desk::open(home, options).await;
        refused.unwrap_err().code
    };
    assert_eq!(refused(|o| o.asks.clear()).await, "usage");
    assert_eq!(refused(|o| o.asks.push(o.asks[0].clone())).await, "usage");
    assert_eq!(refused(|o| o.hours = 0).await, "usage");
    assert_eq!(refused(|o| o.hours = 25).await, "usage");
    assert_eq!(refused(|o| o.flights = 0).await, "usage");
    assert_eq!(refused(|o| o.patience = Duration::ZERO).await, "usage");
    assert_eq!(
        refused(|o| o.grounds.class = "individual-case".parse().ok()).await,
        "usage"
    );
    assert_eq!(
        refused(|o| o.asks[0].peer = "nobody".to_owned()).await,
        "unknown-peer"
    );
    assert_eq!(
        refused(|o| o.grounds.approver = o.grounds.runner.clone()).await,
        "usage"
    );
}
