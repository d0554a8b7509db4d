//! The node dies, and its machine with it: answers have left, and the end of the record was never on the
//! disk.

use std::fs::{self, File};

use tallystick_agency::{
    clock,
    store::{Bound, ChunkBinding, SessionStatus, Store},
};
use tallystick_protocol::frame::{Frame, Kind};
use tallystick_tests::{
    desk::{Shift, padding},
    forge::frames,
};

use crate::{BUDGET, FLIGHT, Scene};

fn flight() -> Vec<Vec<tallystick_protocol::identifiers::Element>> {
    vec![padding(FLIGHT as usize), padding(FLIGHT as usize)]
}

/// What a crash leaves of the record behind the grant: bytes, and whether zeros stand in for the rest.
#[derive(Debug, Clone, Copy)]
enum Left {
    /// So many whole frames and so many bytes.
    Frames(usize, u64),
    /// All of its length, but zeros from there on.
    Zeros(usize, u64),
}

/// A shift of two flights, whose node was killed before it settled what it had answered.
async fn killed(scene: &mut Scene, session: u8) -> Shift {
    for attempt in 0..20 {
        let mut shift = scene.begin(session + attempt).await;
        shift.flight(flight()).await.unwrap();
        shift.flight(flight()).await.unwrap();
        scene.kill();
        // On a machine that is busy it may have been as slow as that.
        if scene.bound(session + attempt).await == (4, 0) {
            return shift;
        }
        scene.start();
    }
    panic!("always settled before it was killed");
}

/// The number of a shift's session.
fn number(shift: &Shift) -> u8 {
    let request: tallystick_protocol::statements::Request =
        tallystick_protocol::statements::open_as_named(&shift.frames[0]).unwrap();
    request.session.0[0]
}

fn lose(scene: &Scene, session: u8, left: Left) {
    let path = scene.place.path(&Scene::record(session, "part"));
    let whole = fs::read(&path).unwrap();
    let held = frames(&path);
    assert_eq!(
        held.len(),
        3 + 8,
        "header, request, grant, four chunks and their answers"
    );
    let end = |many: usize| {
        held[..3 + many]
            .iter()
            .map(|frame| frame.bytes().len() as u64)
            .sum::<u64>()
    };
    match left {
        Left::Frames(many, bytes) => File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(end(many) + bytes)
            .unwrap(),
        Left::Zeros(many, bytes) => {
            let mut bytes_left = whole.clone();
            bytes_left[usize::try_from(end(many) + bytes).unwrap()..].fill(0);
            fs::write(&path, bytes_left).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_a_crash_took_is_given_again_to_the_byte() {
    let mut scene = Scene::plain();
    let cases = [
        Left::Frames(0, 0),
        Left::Frames(1, 0),
        Left::Frames(1, 100),
        Left::Frames(3, 0),
        Left::Frames(6, 40),
        Left::Frames(7, 0),
        Left::Frames(8, 0),
        Left::Zeros(0, 0),
        Left::Zeros(2, 30),
        Left::Zeros(3, 60),
        Left::Zeros(7, 200),
    ];
    let mut spent = 0;
    for (at, left) in (0u8..).zip(cases) {
        let mut shift = killed(&mut scene, at * 20 + 1).await;
        let session = number(&shift);
        lose(&scene, session, left);
        scene.start();
        scene.desk.resume(&mut shift).await;
        // What it has not heard of again is asked once more, all of it; then it goes on.
        for pair in shift.frames[2..].to_vec().chunks(2) {
            let answer = shift.again(&pair[0]).await.unwrap();
            assert!(answer == pair[1], "{left:?}: another answer");
        }
        shift.flight(flight()).await.unwrap();
        let said = shift.frames.clone();
        shift.close(0).await;
        assert_eq!(scene.verified(session)["records"][0]["status"], "complete");
        let record = frames(&scene.place.path(&Scene::record(session, "tally")));
        assert!(
            record[1..=said.len()] == said[..],
            "{left:?}: another record"
        );
        spent += 6 * FLIGHT;
    }
    // The attempts that came too late are charged as well.
    let left = scene.left().await;
    assert!(
        left.iter().all(|left| *left <= BUDGET - spent / 2),
        "{left:?}"
    );
}

/// The receiver has the answers and does not ask for them: the node has them all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_shift_goes_on_behind_answers_that_a_crash_took() {
    let mut scene = Scene::plain();
    let mut shift = killed(&mut scene, 1).await;
    let session = number(&shift);
    lose(&scene, session, Left::Frames(0, 0));
    scene.start();
    scene.desk.resume(&mut shift).await;
    assert_eq!(
        scene.bound(session).await,
        (4, 4),
        "noted before it goes on"
    );
    shift.flight(flight()).await.unwrap();
    let said = shift.frames.clone();
    shift.close(0).await;
    let record = frames(&scene.place.path(&Scene::record(session, "tally")));
    assert!(record[1..=said.len()] == said[..]);
}

/// The node died between the commit and the evaluation.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_was_bound_and_never_evaluated_is_answered_once() {
    let mut scene = Scene::plain();
    let mut shift = scene.begin(1).await;
    shift.flight(flight()).await.unwrap();
    scene.kill();
    // Signed by the desk, bound by a node that died then.
    let sent = shift.send(flight()).await;
    let store = scene.place.home("holder").store().await.unwrap();
    for (index, (frame, _)) in (2u32..).zip(&sent) {
        let binding = ChunkBinding {
            session: &[1; 16],
            index,
            element_type: ["document", "text"][index as usize - 2],
            elements: FLIGHT as u32,
            digest: &frame.digest(),
            question: frame.bytes(),
            fresh: &[index as u8; 32],
            budget: BUDGET,
        };
        let bound = store.bind_chunks(&[binding], clock::now_ms()).await;
        assert!(matches!(bound.unwrap()[..], [Ok(Bound::New { .. })]));
    }
    store.close().await;

    let mut before: Option<Vec<Frame>> = None;
    for _ in 0..2 {
        scene.start();
        scene.desk.resume(&mut shift).await;
        let mut answers = Vec::new();
        for (frame, _) in &sent {
            answers.push(shift.again(frame).await.unwrap());
        }
        assert!(
            answers
                .iter()
                .all(|frame| frame.kind() == Kind::EvaluatedChunk)
        );
        let same = before
            .replace(answers.clone())
            .is_none_or(|before| before == answers);
        assert!(same, "another answer");
        assert_eq!(scene.left().await, [BUDGET - 2 * FLIGHT; 2], "charged once");
        scene.kill();
    }
}

/// The epoch ended meanwhile: its keys are gone, so nothing is evaluated again. The record says what was
/// charged.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_keys_the_record_has_the_questions() {
    let mut scene = Scene::plain();
    let mut shift = killed(&mut scene, 1).await;
    let session = number(&shift);
    lose(&scene, session, Left::Frames(2, 10));
    scene.place.does("tallyd epoch rotate desk --home holder");
    scene.start();
    let over = {
        scene.desk.say_again(&mut shift).await;
        shift.last_word().await.unwrap_err()
    };
    assert!(over.message().starts_with("epoch-over: "), "{over}");
    assert_eq!(scene.verified(session)["records"][0]["status"], "aborted");
    let kinds: Vec<Kind> = frames(&scene.place.path(&Scene::record(session, "tally")))
        .iter()
        .skip(3)
        .map(Frame::kind)
        .collect();
    use Kind::{BlindedChunk, EvaluatedChunk, SenderClosing};
    let want = [
        BlindedChunk,
        EvaluatedChunk,
        BlindedChunk,
        BlindedChunk,
        BlindedChunk,
        SenderClosing,
    ];
    assert_eq!(kinds, want);
}

/// The peer ends a session by its fault right after a crash: what it was answered is in the record again.
#[tokio::test(flavor = "multi_thread")]
async fn an_abort_after_a_crash_has_the_answers_that_have_left() {
    let mut scene = Scene::plain();
    let mut shift = killed(&mut scene, 1).await;
    let session = number(&shift);
    lose(&scene, session, Left::Frames(3, 0));
    scene.start();
    scene.desk.resume(&mut shift).await;
    // An index that was used, and is not what it was.
    let mut bytes = shift.frames[2].clone().into_bytes();
    *bytes.last_mut().unwrap() ^= 1;
    let spoiled = Frame::from_bytes(bytes).unwrap();
    shift.again(&spoiled).await.unwrap_err();
    assert_eq!(scene.verified(session)["records"][0]["status"], "aborted");
    let record = frames(&scene.place.path(&Scene::record(session, "tally")));
    assert!(record[1..=shift.frames.len()] == shift.frames[..]);
    let store = scene.place.home("holder").store().await.unwrap();
    let known = store.session(&[session; 16]).await.unwrap().unwrap();
    store.close().await;
    assert_eq!(known.status, SessionStatus::Aborted);
}

/// What the store knows to be on the disk, and is not there, was taken by something else than a crash.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_lacks_what_was_settled_is_set_aside() {
    let mut scene = Scene::plain();
    let mut shift = scene.begin(1).await;
    shift.flight(flight()).await.unwrap();
    while scene.bound(1).await != (2, 2) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    scene.kill();
    let path = scene.place.path(&Scene::record(1, "part"));
    let length = fs::metadata(&path).unwrap().len();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(length - 1).unwrap();
    drop(file);
    scene.start();
    scene.desk.say_again(&mut shift).await;
    let status = shift.last_word().await.unwrap_err();
    assert!(status.message().starts_with("seal-broken: "), "{status}");
}
