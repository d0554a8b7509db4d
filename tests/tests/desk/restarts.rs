//! Shifts that outlive what happens to either side.

use std::{fs, time::Duration};

use tallystick_client::desk::{DeskOptions, Ended};
use tallystick_tests::proxy::{Proxy, Way};

use super::{Post, asks_well, family, hits, only, traveller};

async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..6000 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited too long for {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shift_goes_on_after_the_sender_starts_again() {
    let post = Post::new();
    let serving = post.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    let desk = post.open(post.options(proxy.address)).await;
    asks_well(&desk, 1).await;
    let session = desk.status().collections[0].session.clone().unwrap();
    // Killed, not stopped.
    drop(serving);
    let serving = post.place.serve("holder");
    proxy.lead_to(serving.address);
    asks_well(&desk, 2).await;
    // And once more, in an orderly way.
    assert_eq!(serving.stop(), Some(0));
    let serving = post.place.serve("holder");
    proxy.lead_to(serving.address);
    asks_well(&desk, 3).await;
    let report = desk.close().await.unwrap();
    let [only] = &only(&report).sessions[..] else {
        panic!("{report:?}");
    };
    assert_eq!(only.session, session, "one session through both");
    assert_eq!(only.charged[0].elements.get(), 6 * 8);
    post.all_is_well(&report);
}

/// Whatever of a flight had come to the other side, or back, when the line broke: each traveller is
/// answered, each flight charged once.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_breaks_anywhere_loses_no_answer() {
    let post = Post::new();
    let serving = post.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    let desk = post.open(post.options(proxy.address)).await;
    assert!(desk.ready(Duration::from_secs(20)).await);
    for (n, way) in [Way::Up, Way::Down, Way::Up, Way::Down]
        .into_iter()
        .enumerate()
    {
        // At the first bytes of the flight, or in the midst of its answers.
        proxy.cut_when(move |went, _| went == way);
        let asking = {
            let desk = desk.clone();
            tokio::spawn(async move { asks_well(&desk, n).await })
        };
        tokio::task::block_in_place(|| proxy.stopped());
        proxy.mend();
        asking.await.unwrap();
    }
    let report = desk.close().await.unwrap();
    let [only] = &only(&report).sessions[..] else {
        panic!("{report:?}");
    };
    assert_eq!(only.charged[0].elements.get(), 8 * 8);
    post.all_is_well(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desk_that_was_killed_is_taken_up_by_the_next_with_the_same_grounds() {
    let post = Post::new();
    let serving = post.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    let mut options = post.options(proxy.address);
    options.refresh = Duration::from_secs(3600);
    let desk = post.open(options).await;
    asks_well(&desk, 1).await;
    let session = desk.status().collections[0].session.clone().unwrap();
    // A traveller who is on the list is under way when the desk goes: noted, and not answered.
    let journal = post.place.path(&format!("asker/records/{session}.shift"));
    let length = || fs::metadata(&journal).unwrap().len();
    // What was looked up is cut out.
    until("the journal to be begun again", || {
        (length() < 150).then_some(())
    })
    .await;
    let before = length();
    proxy.hold_when(|_, _| true);
    let asking = {
        let desk = desk.clone();
        tokio::spawn(async move { desk.answers(&traveller("W9", &family(9))).await })
    };
    until("the flight to be noted", || {
        (length() > before).then_some(())
    })
    .await;
    let sealed = fs::read(&journal).unwrap();
    asking.abort();
    assert!(asking.await.is_err());
    drop(desk);
    // Its tasks end a moment later.
    tokio::time::sleep(Duration::from_millis(500)).await;
    proxy.cut();
    proxy.mend();
    let name = family(9).to_uppercase();
    let shown = sealed
        .windows(name.len())
        .any(|bytes| bytes == name.as_bytes());
    assert!(!shown, "sealed");
    // Another's grounds are another shift.
    let mut others = post.options(proxy.address);
    others.grounds.runner = Some("guard 18".to_owned());
    let other = post.open(others).await;
    asks_well(&other, 4).await;
    assert_ne!(
        other.status().collections[0].session.as_ref(),
        Some(&session)
    );
    post.all_is_well(&other.close().await.unwrap());
    let desk = post.open(post.options(proxy.address)).await;
    asks_well(&desk, 5).await;
    assert_eq!(
        desk.status().collections[0].session.as_ref(),
        Some(&session)
    );
    let report = desk.close().await.unwrap();
    let [only] = &only(&report).sessions[..] else {
        panic!("{report:?}");
    };
    // Two, the one nobody was told of, and two; each once.
    assert_eq!(only.charged[0].elements.get(), 5 * 8);
    post.all_is_well(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_published_again_is_asked_in_a_new_session() {
    let post = Post::new();
    let serving = post.place.serve("holder");
    let desk = post.open(post.options(serving.address)).await;
    asks_well(&desk, 1).await;
    let new = traveller("NEW1", "Nobody");
    assert_eq!(hits(&desk.answers(&new).await[0]), []);
    let before = desk.status().collections[0].snapshot.clone();
    tokio::task::block_in_place(|| post.publish("NEW1,UTO,Anna,Nobody,1974-08-12,C-NEW\n"));
    until("the newer list", || {
        (desk.status().collections[0].snapshot != before).then_some(())
    })
    .await;
    assert_eq!(hits(&desk.answers(&new).await[0]).len(), 2);
    asks_well(&desk, 2).await;
    let report = desk.close().await.unwrap();
    let sessions = &only(&report).sessions;
    assert_eq!(sessions.len(), 2, "{report:?}");
    assert_ne!(sessions[0].snapshot, sessions[1].snapshot);
    post.all_is_well(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_ends_ends_its_session_and_no_answer_is_lost() {
    let post = Post::new();
    let serving = post.place.serve("holder");
    let options = DeskOptions {
        // The end of the epoch is heard of from the peer, not from its catalogue.
        refresh: Duration::from_secs(3600),
        ..post.options(serving.address)
    };
    let desk = post.open(options).await;
    asks_well(&desk, 1).await;
    let session = desk.status().collections[0].session.clone().unwrap();
    tokio::task::block_in_place(|| {
        post.place
            .does("tallyd epoch rotate watchlist --home holder");
    });
    asks_well(&desk, 2).await;
    until("the new epoch", || {
        (desk.status().collections[0].epoch == Some(2)).then_some(())
    })
    .await;
    asks_well(&desk, 3).await;
    let report = desk.close().await.unwrap();
    let sessions = &only(&report).sessions;
    let old = sessions.iter().find(|one| one.session == session).unwrap();
    assert_eq!(old.ended, Ended::Aborted);
    let record = format!("asker/records/{session}.tally");
    let verdict = post
        .place
        .json(&format!("tally audit verify {record} --trust trust.json"));
    assert_eq!(verdict["verified"], true, "{verdict}");
    assert_eq!(verdict["records"][0]["status"], "aborted");
    let new: Vec<_> = sessions
        .iter()
        .filter(|one| one.session != session)
        .collect();
    assert_eq!(new.len(), 1, "{report:?}");
    assert_eq!(new[0].ended, Ended::Complete);
    post.copies_agree(&new[0].session);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shift_that_could_not_be_closed_is_closed_by_the_next_desk() {
    let post = Post::new();
    let serving = post.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    let mut options = post.options(proxy.address);
    options.patience = Duration::from_secs(1);
    let desk = post.open(options.clone()).await;
    asks_well(&desk, 1).await;
    proxy.cut();
    let report = desk.close().await.unwrap();
    let [left] = &only(&report).sessions[..] else {
        panic!("{report:?}");
    };
    assert_eq!(left.ended, Ended::Open, "{report:?}");
    proxy.mend();
    let desk = post.open(options).await;
    assert!(desk.ready(Duration::from_secs(20)).await);
    let report = desk.close().await.unwrap();
    assert_eq!(only(&report).sessions[0].session, left.session);
    post.all_is_well(&report);
    assert_eq!(post.records("asker", ".part"), [""; 0]);
}
