//! A receiver that says what it likes, frame by frame.

use std::{
    fs::File,
    io::BufReader,
    sync::Arc,
    time::{Duration, Instant},
};

use tallystick_agency::{
    clock,
    store::{Bound, ChunkBinding, NewRun, SessionStatus, Store},
};
use tallystick_protocol::{
    frame::{Frame, FrameReader, Kind},
    group,
    identifiers::padding_element,
    session::{Answer, Asking, Matching, SessionSeed},
    signing::SigningKey,
    statements::{Hex, Int, Name, Refusal, Request, open_as_named},
};
use tallystick_tests::{
    place::{Place, Serving},
    wire::{self, Call},
};
use tonic::{Code, Status};

use crate::{BUDGET, Stage};

/// A call that waits longer hangs.
const LONGEST: Duration = Duration::from_secs(30);

/// The asker, as a program of its own.
struct Scripted {
    stage: Stage,
    serving: Serving,
    /// A request as the program wrote it, to be changed and signed anew.
    template: Request,
    key: Arc<SigningKey>,
    /// Evaluations left after the program's own session.
    left: u64,
}

impl Scripted {
    fn new() -> Self {
        Self::served(|_| {})
    }

    fn served(configure: impl Fn(&Stage)) -> Self {
        let stage = Stage::new();
        configure(&stage);
        let small: String = (0..40).map(|n| format!("P{n},UTO,1\n")).collect();
        let header = "passport,country,lane\n";
        stage.place.write("border.csv", &format!("{header}{small}"));
        let serving = stage.place.serve("holder");
        let report = stage
            .start(&stage.line(serving.address, "hits.csv"))
            .report();
        let record = report["record"].as_str().unwrap();
        let mut template: Request = open_as_named(&frames(&stage.place, record)[0]).unwrap();
        template.queries[0].elements = Int::new(256).unwrap();
        let home = stage.place.home("asker");
        let key = Arc::new(SigningKey::from(home.signing_key().unwrap()));
        let left = report["charged"][0]["quota_after"].as_u64().unwrap();
        assert!(left < BUDGET);
        Self {
            stage,
            serving,
            template,
            key,
            left,
        }
    }

    /// A request of a new session, signed now.
    fn asking(&self, session: u8) -> Asking {
        self.asking_at(session, clock::now_ms())
    }

    fn asking_at(&self, session: u8, now: i64) -> Asking {
        let ms = |at: i64| Int::new(at.try_into().unwrap()).unwrap();
        let request = Request {
            session: Hex([session; 16]),
            issued_ms: ms(now),
            expires_ms: ms(now + 600_000),
            ..self.template.clone()
        };
        let seed = SessionSeed::new([session; 32]);
        Asking::new(group::reference(), request, Arc::clone(&self.key), seed).unwrap()
    }

    /// Says a first frame on a new connection.
    async fn say(&self, first: &Frame) -> Call {
        let home = self.stage.place.home("asker");
        let mut client = wire::connect(&home, "holder", self.serving.address).await;
        let call = tokio::time::timeout(LONGEST, wire::call(&mut client, first));
        call.await.unwrap().unwrap()
    }

    /// Asks, is granted.
    async fn granted(&self, asking: Asking) -> (Call, Matching) {
        let mut call = self.say(asking.frame()).await;
        let grant = answer(&mut call).await;
        match asking.answer(grant).unwrap() {
            Answer::Granted(matching) => (call, *matching),
            other => panic!("{other:?}"),
        }
    }

    /// The grant of a session that is open.
    fn grant(&self, session: u8) -> Frame {
        let record = format!("holder/records/{}.part", hex(session));
        frames(&self.stage.place, &record)[1].clone()
    }

    async fn status(&self, session: u8) -> SessionStatus {
        let store = self.stage.place.home("holder").store().await.unwrap();
        let known = store.session(&[session; 16]).await.unwrap().unwrap();
        store.close().await;
        known.status
    }
}

/// The frames of a record, its header left out.
fn frames(place: &Place, record: &str) -> Vec<Frame> {
    let file = File::open(place.path(record)).unwrap();
    let mut reader = FrameReader::new(BufReader::new(file));
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        frames.push(frame);
    }
    frames.split_off(1)
}

async fn next(call: &mut Call) -> Result<Option<Frame>, Status> {
    tokio::time::timeout(LONGEST, call.next()).await.unwrap()
}

async fn answer(call: &mut Call) -> Frame {
    next(call).await.unwrap().unwrap()
}

async fn refusal(call: &mut Call) -> &'static str {
    let refusal: Refusal = open_as_named(&answer(call).await).unwrap();
    assert!(next(call).await.unwrap().is_none());
    refusal.code.name()
}

/// The next chunk of 64 elements; `salt` makes them others.
fn chunk(matching: Matching, salt: u8) -> (Matching, Frame) {
    let document: Name = "document".parse().unwrap();
    let (_, first) = matching.progress().spent().next().unwrap();
    let element = |index: u8| {
        let mut random = [salt; 32];
        random[0] = index;
        padding_element(&random)
    };
    let elements: Vec<_> = (0..64).map(element).collect();
    let blinder = matching.blinder(&document).unwrap();
    let blinded = blinder.blind(first, elements).unwrap();
    let (matching, frame, _) = matching.send(blinded).unwrap();
    (matching, frame)
}

fn hex(session: u8) -> String {
    Hex([session; 16]).to_string()
}

/// Charged in the aborted record of a session, once it is there.
fn charged(scripted: &Scripted, session: u8) -> u64 {
    let shown = scripted.stage.aborted(&hex(session));
    let closing = &shown["sender_closing"];
    closing["charged"][0]["elements"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_not_used_twice() {
    let scripted = Scripted::new();
    let (mut call, matching) = scripted.granted(scripted.asking(1)).await;
    let grant = scripted.grant(1);
    let (matching, first) = chunk(matching, 1);
    call.send(&first).await;
    let answered = answer(&mut call).await;
    assert_eq!(answered.kind(), Kind::EvaluatedChunk);
    // The same bytes get the same answer.
    call.send(&first).await;
    assert_eq!(answer(&mut call).await, answered);
    // As well signed by its author as the first, with the same index.
    let Answer::Granted(twin) = scripted_again(&scripted, &matching, grant) else {
        panic!("refused")
    };
    let (_, other) = chunk(*twin, 2);
    assert_ne!(first, other);
    call.send(&other).await;
    assert_eq!(
        next(&mut call).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(scripted.status(1).await, SessionStatus::Aborted);
    assert_eq!(charged(&scripted, 1), 64);
    assert_eq!(scripted.stage.left(&scripted.serving), scripted.left - 64);
}

/// The session's state after its grant, once more.
fn scripted_again(scripted: &Scripted, matching: &Matching, grant: Frame) -> Answer {
    let request = matching.agreement().request().clone();
    let seed = SessionSeed::new([request.session.0[0]; 32]);
    let key = Arc::clone(&scripted.key);
    let asking = Asking::new(group::reference(), request, key, seed).unwrap();
    asking.answer(grant).unwrap()
}

/// The sender crashed after it had bound a chunk and before it had answered. What comes back with
/// that index is another chunk.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_bound_takes_no_other_bytes() {
    let scripted = Scripted::new();
    let (mut call, matching) = scripted.granted(scripted.asking(1)).await;
    let (matching, first) = chunk(matching, 1);
    call.send(&first).await;
    answer(&mut call).await;
    let grant = scripted.grant(1);
    let Answer::Granted(twin) = scripted_again(&scripted, &matching, grant) else {
        panic!("refused")
    };
    let (_, lost) = chunk(chunk(*twin, 1).0, 9);
    let (_, second) = chunk(matching, 1);
    let store = scripted.stage.place.home("holder").store().await.unwrap();
    let binding = ChunkBinding {
        session: &[1; 16],
        index: 1,
        element_type: "document",
        elements: 64,
        digest: &lost.digest(),
        question: lost.bytes(),
        fresh: &[7; 32],
        budget: BUDGET,
    };
    let bound = store.bind_chunks(&[binding], clock::now_ms()).await;
    assert!(matches!(bound.unwrap()[..], [Ok(Bound::New { .. })]));
    store.close().await;
    call.send(&second).await;
    let status = next(&mut call).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status.message().contains("bound to other bytes"),
        "{status}"
    );
    // What was bound before the crash was charged, and the record says so.
    assert_eq!(charged(&scripted, 1), 128);
    assert_eq!(scripted.stage.left(&scripted.serving), scripted.left - 128);
}

/// Chunks that were charged and not yet answered when the session ends stand in its record.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_charged_and_not_answered_is_in_the_record() {
    // Bad chunks right behind good ones, while these are being evaluated.
    let scripted = Scripted::new();
    let (mut call, matching) = scripted.granted(scripted.asking(1)).await;
    let (matching, first) = chunk(matching, 1);
    let (matching, second) = chunk(matching, 1);
    let (_, third) = chunk(matching, 1);
    let mut bytes = third.into_bytes();
    *bytes.last_mut().unwrap() ^= 1;
    for frame in [first, second, Frame::from_bytes(bytes).unwrap()] {
        call.send(&frame).await;
    }
    let status = loop {
        match next(&mut call).await {
            Ok(Some(frame)) => assert_eq!(frame.kind(), Kind::EvaluatedChunk),
            Ok(None) => panic!("no reason given"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(charged(&scripted, 1), 128);
    assert_eq!(scripted.stage.left(&scripted.serving), scripted.left - 128);
}

/// The store forgets refused requests when they have expired; their records stay, and so nobody uses
/// their ids again.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_whose_record_is_kept_is_used_up() {
    let mut scripted = Scripted::new();
    let collection = scripted.template.collection.clone();
    scripted.template.collection = "another".parse().unwrap();
    let mut call = scripted.say(scripted.asking(1).frame()).await;
    assert_eq!(refusal(&mut call).await, "not-available");
    let path = format!("holder/records/{}.tally", hex(1));
    let path = scripted.stage.place.path(&path);
    let record = std::fs::read(&path).unwrap();
    let store = scripted.stage.place.home("holder").store().await.unwrap();
    assert_eq!(store.purge_refused(i64::MAX).await.unwrap(), 1);
    scripted.template.collection = collection;
    let asking = scripted.asking(1);
    let mut call = scripted.say(asking.frame()).await;
    assert_eq!(refusal(&mut call).await, "replayed");
    store.close().await;
    assert!(std::fs::read(&path).unwrap() == record);
    assert_eq!(scripted.stage.left(&scripted.serving), scripted.left);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_another_time_or_session_are_refused() {
    let scripted = Scripted::new();
    // Signed two minutes ago and kept back by somebody: refused, and the id is used up by it, for
    // these bytes and for others.
    let path = format!("holder/records/{}.tally", hex(2));
    let path = scripted.stage.place.path(&path);
    let now = clock::now_ms();
    let mut recorded = None;
    for (issued, code) in [
        (now - 120_000, "clock-skew"),
        (now - 120_000, "replayed"),
        (now, "replayed"),
    ] {
        let mut call = scripted.say(scripted.asking_at(2, issued).frame()).await;
        assert_eq!(refusal(&mut call).await, code);
        let record = std::fs::read(&path).unwrap();
        assert!(*recorded.get_or_insert(record.clone()) == record);
    }
    // Expired as well: refused each time it is said, recorded never.
    for _ in 0..2 {
        let dead = scripted.asking_at(5, now - 3_600_000);
        let mut call = scripted.say(dead.frame()).await;
        assert_eq!(refusal(&mut call).await, "clock-skew");
        let path = format!("holder/records/{}.tally", hex(5));
        assert!(!scripted.stage.place.path(&path).exists());
    }
    // A session that was aborted does not come back.
    let asking = scripted.asking(3);
    let request = asking.frame().clone();
    let (mut call, _) = scripted.granted(asking).await;
    let (_, matching) = scripted.granted(scripted.asking(4)).await;
    let (_, of_another) = chunk(matching, 1);
    call.send(&of_another).await;
    assert_eq!(
        next(&mut call).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(charged(&scripted, 3), 0);
    let before = std::fs::read(
        scripted
            .stage
            .place
            .path(&format!("holder/records/{}.tally", hex(3))),
    );
    let mut call = scripted.say(&request).await;
    assert_eq!(refusal(&mut call).await, "replayed");
    let after = std::fs::read(
        scripted
            .stage
            .place
            .path(&format!("holder/records/{}.tally", hex(3))),
    );
    assert_eq!(before.unwrap(), after.unwrap());
    assert_eq!(scripted.stage.left(&scripted.serving), scripted.left);
}

/// The sender has asked somebody under this session id itself. Whoever asks it under the same id would
/// write over that record, which is evidence.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_an_own_run_is_refused_and_its_record_stays() {
    let scripted = Scripted::new();
    let home = scripted.stage.place.home("holder");
    let store = home.store().await.unwrap();
    let run = NewRun {
        session: [7; 16],
        peer: "asker".to_owned(),
        collection: "theirs".to_owned(),
        input_digest: [0; 32],
        sealed_seed: vec![0; 61],
        state: String::new(),
        created_ms: 1,
    };
    store.save_run(&run).await.unwrap();
    // Also when it is over.
    store.finish_run(&[7; 16], 2).await.unwrap();
    store.close().await;
    let record = home.records_dir().join(format!("{}.tally", hex(7)));
    std::fs::write(&record, b"evidence").unwrap();

    let mut call = scripted.say(scripted.asking(7).frame()).await;
    assert_eq!(refusal(&mut call).await, "replayed");
    assert_eq!(std::fs::read(&record).unwrap(), b"evidence");
    assert!(!home.records_dir().join(format!("{}.part", hex(7))).exists());
}

/// Two connections, one session: the later one goes on alone, so that no chunk has two answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_one_connection() {
    let scripted = Scripted::new();
    let asking = scripted.asking(1);
    let request = asking.frame().clone();
    let (mut old, matching) = scripted.granted(asking).await;
    let (matching, first) = chunk(matching, 1);
    let (_, second) = chunk(matching, 1);
    old.send(&first).await;
    let answered = answer(&mut old).await;

    let mut new = scripted.say(&request).await;
    answer(&mut new).await;
    old.send(&second).await;
    assert!(!matches!(next(&mut old).await, Ok(Some(_))));
    new.send(&first).await;
    assert_eq!(answer(&mut new).await, answered);
    new.send(&second).await;
    assert_eq!(answer(&mut new).await.kind(), Kind::EvaluatedChunk);
    assert_eq!(scripted.status(1).await, SessionStatus::Open);
}

/// A receiver that falls silent is let go; its session can be gone on with.
#[tokio::test(flavor = "multi_thread")]
async fn silence_is_not_waited_for_for_ever() {
    let scripted = Scripted::served(|stage| {
        stage.limit("idle_timeout_seconds = 60", "idle_timeout_seconds = 2")
    });
    let asking = scripted.asking(1);
    let request = asking.frame().clone();
    let (mut call, matching) = scripted.granted(asking).await;
    let (_, first) = chunk(matching, 1);
    call.send(&first).await;
    answer(&mut call).await;
    let silent = Instant::now();
    let status = next(&mut call).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let waited = silent.elapsed();
    assert!(waited > Duration::from_millis(1500), "{waited:?}");
    assert_eq!(scripted.status(1).await, SessionStatus::Open);
    let mut call = scripted.say(&request).await;
    answer(&mut call).await;
    call.send(&first).await;
    answer(&mut call).await;
}
