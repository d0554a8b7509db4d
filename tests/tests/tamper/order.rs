//! Frames that do not come, or come twice, late, in another order, or from another session.

use tallystick_protocol::frame::Kind;
use tallystick_tests::tamper::{Act, Rule};

use crate::case::{
    Case, LONG, SHORTLY, Scene,
    Want::{Broken, Cut, Right, Stopped},
    all, case, changed,
};

/// Every frame of a match, catalogue and snapshot included: kind, which of its kind.
const FRAMES: [(Kind, usize); 15] = [
    (Kind::Catalogue, 0),
    (Kind::SnapshotHeader, 0),
    (Kind::SnapshotBucket, 0),
    (Kind::SnapshotBucket, 1),
    (Kind::SnapshotBucket, 3),
    (Kind::Request, 0),
    (Kind::Grant, 0),
    (Kind::BlindedChunk, 0),
    (Kind::BlindedChunk, 1),
    (Kind::BlindedChunk, 2),
    (Kind::EvaluatedChunk, 0),
    (Kind::EvaluatedChunk, 1),
    (Kind::EvaluatedChunk, 2),
    (Kind::ReceiverClosing, 0),
    (Kind::SenderClosing, 0),
];

/// Whether something comes behind it on its way before anybody waits for an answer to it.
fn has_a_next(kind: Kind, nth: usize) -> bool {
    match kind {
        Kind::SnapshotHeader => true,
        Kind::SnapshotBucket => nth < 3,
        Kind::BlindedChunk | Kind::EvaluatedChunk => nth < 2,
        _ => false,
    }
}

#[test]
fn frames_dropped_repeated_swapped_or_late_never_give_a_wrong_match() {
    let scene = Scene::new();
    let mut cases: Vec<Case> = Vec::new();
    for (kind, nth) in FRAMES {
        // The next frame gives it away; without one, silence, or the end of the stream, which for a
        // snapshot is the end of the snapshot.
        let dropped = match has_a_next(kind, nth) || kind == Kind::SnapshotBucket {
            true => Broken,
            false => Stopped,
        };
        cases.push(case(kind, nth, "dropped", Act::Drop, dropped));
        if has_a_next(kind, nth) {
            cases.push(case(kind, nth, "swapped with the next", Act::Swap, Broken));
        }
        // A catalogue is one answer: it cannot come twice. Behind a closing nobody listens any more.
        let repeated = match kind {
            Kind::Catalogue => None,
            Kind::ReceiverClosing | Kind::SenderClosing => Some(Right),
            _ => Some(Broken),
        };
        if let Some(want) = repeated {
            cases.push(case(kind, nth, "repeated", Act::Repeat, want));
        }
        cases.push(case(kind, nth, "too late", Act::Delay(LONG), Stopped));
        cases.push(case(kind, nth, "the line cut", Act::Cut, Cut));
    }
    let late = FRAMES.map(|(kind, nth)| {
        let act = Act::Delay(SHORTLY);
        Rule { kind, nth, act }
    });
    cases.push(all("every frame shortly late", late.into(), Right));
    scene.run(cases);
}

#[test]
fn frames_of_an_earlier_session_are_taken_by_nobody() {
    let scene = Scene::new();
    let mut cases: Vec<Case> = Vec::new();
    for (kind, nth) in FRAMES {
        let earlier = scene.earlier(kind, nth);
        // An old catalogue is what the peer did sign, and binds nobody: what counts is the grant.
        let want = if kind == Kind::Catalogue {
            Right
        } else {
            Broken
        };
        cases.push(changed(
            kind,
            nth,
            "from an earlier session",
            want,
            move |_| earlier.clone(),
        ));
    }
    scene.run(cases);
}
