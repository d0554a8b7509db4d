//! A shift is silent for hours, and takes no place from others.

use std::time::Duration;

use tallystick_tests::{desk::padding, running::wait_for};
use tonic::Code;

use crate::{BUDGET, FLIGHT, MOST, Scene};

fn flight() -> Vec<Vec<tallystick_protocol::identifiers::Element>> {
    vec![padding(FLIGHT as usize), padding(FLIGHT as usize)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shift_may_be_silent_and_its_record_is_one_of_a_session() {
    let scene = Scene::new(&[("idle_timeout_seconds", "1")], "--peer-budget 100000");
    let mut shift = scene.begin(1).await;
    shift.flight(flight()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    // Nobody came for four times as long as a silence may last elsewhere.
    shift.flight(flight()).await.unwrap();
    let large = vec![padding(32), padding(32)];
    shift.flight(large).await.unwrap();
    let frames = shift.frames.clone();
    let closing = shift.close(0).await;
    for charge in &closing.charged {
        assert_eq!(charge.elements.get(), 2 * FLIGHT + 32);
        assert_eq!(charge.quota_before.get(), 100_000);
    }
    assert_eq!(scene.verified(1)["records"][0]["status"], "complete");
    let path = scene.place.path(&Scene::record(1, "tally"));
    let record = tallystick_tests::forge::frames(&path);
    assert!(record[1..=frames.len()] == frames[..]);
}

/// What was answered is on the disk a second later, though nothing more is asked.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_settled_while_nobody_comes() {
    let scene = Scene::plain();
    let mut shift = scene.begin(1).await;
    shift.flight(flight()).await.unwrap();
    let mut settled = (0, 0);
    for _ in 0..300 {
        settled = scene.bound(1).await;
        if settled == (2, 2) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(settled, (2, 2));
    drop(shift);
}

/// A desk that stops between the two types of a flight.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_flight_is_charged_and_the_shift_stays_open() {
    let scene = Scene::plain();
    let mut shift = scene.begin(1).await;
    shift.flight(flight()).await.unwrap();
    let sent = shift.send(vec![padding(FLIGHT as usize)]).await;
    let (question, _) = sent.into_iter().next().unwrap();
    shift.answer(question).await.unwrap();
    drop(shift);
    assert_eq!(scene.bound(1).await.0, 3);
    let left = [BUDGET - 2 * FLIGHT, BUDGET - FLIGHT];
    assert_eq!(scene.left().await, left);
}

#[tokio::test(flavor = "multi_thread")]
async fn shifts_and_sessions_have_places_of_their_own() {
    let scene = Scene::new(
        &[
            ("max_shifts_per_peer", "2"),
            ("max_shifts_total", "2"),
            ("max_sessions_per_peer", "1"),
        ],
        "--peer-budget 100000",
    );
    let mut first = scene.begin(1).await;
    let second = scene.begin(2).await;
    assert_eq!(scene.try_begin(3, MOST).await.unwrap_err(), "busy");
    // A match finds its own place free.
    scene
        .place
        .write("ours.csv", "passport,country\nW7,UTO\nP1,UTO\n");
    let line = |out: &str| {
        format!(
            "tally match --home asker --peer holder --address {} --collection desk --input ours.csv \
             --key document=passport,country --out {out}",
            scene.serving.as_ref().unwrap().address
        )
    };
    assert_eq!(scene.place.json(&line("a.csv"))["elements_matched"], 1);
    first.flight(flight()).await.unwrap();
    // Whoever closes leaves at once.
    second.close(0).await;
    let mut third = scene.begin(3).await;
    third.flight(flight()).await.unwrap();
    assert_eq!(scene.place.json(&line("b.csv"))["elements_matched"], 1);
    // One whose desk was cut off leaves its place as well, when it is seen to be gone, and is taken up
    // again by the same request.
    drop(third);
    let limit = wait_for("the place of who is gone", || {
        let gone = scene
            .serving
            .as_ref()
            .unwrap()
            .log()
            .matches("went away")
            .count();
        (gone >= 1).then_some(gone)
    });
    assert!(limit >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_desk_is_told_so() {
    let scene = Scene::plain();
    let mut shift = scene.begin(1).await;
    shift.flight(flight()).await.unwrap();
    scene.place.does("tallyd peer revoke asker --home holder");
    let status = shift.last_word().await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert_eq!(scene.verified(1)["records"][0]["status"], "aborted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_turns_ends_the_shift_and_the_next_begins_in_the_new_one() {
    let scene = Scene::plain();
    let mut shift = scene.begin(1).await;
    shift.flight(flight()).await.unwrap();
    scene.place.does("tallyd epoch rotate desk --home holder");
    let status = shift.last_word().await.unwrap_err();
    assert!(status.message().starts_with("epoch-over: "), "{status}");
    assert_eq!(scene.verified(1)["records"][0]["status"], "aborted");
    let mut next = scene.begin(2).await;
    next.flight(flight()).await.unwrap();
    let closing = next.close(0).await;
    assert_eq!(closing.charged[0].quota_before.get(), 100_000);
}

/// A node that is told to stop does not wait until its shifts are over.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_lets_go_of_silent_shifts_and_goes_on_with_them_later() {
    let mut scene = Scene::new(&[("drain_timeout_seconds", "3600")], "--peer-budget 100000");
    let mut shift = scene.begin(1).await;
    shift.flight(flight()).await.unwrap();
    let serving = scene.serving.take().unwrap();
    let stopped = tokio::task::spawn_blocking(move || serving.stop());
    let status = shift.last_word().await.unwrap_err();
    assert!(status.message().contains("can be resumed"), "{status}");
    assert_eq!(stopped.await.unwrap(), Some(0));
    scene.start();
    scene.desk.resume(&mut shift).await;
    shift.flight(flight()).await.unwrap();
    shift.close(0).await;
    assert_eq!(scene.verified(1)["records"][0]["status"], "complete");
}
