//! What a receiver sends that must not be evaluated.

use tallystick_agency::store::SessionStatus;
use tallystick_protocol::{
    frame::{Frame, Kind},
    identifiers::Profile,
    session::Finish,
    statements::{Hex, ProfileReference, ReceiverClosing, Refusal, open_as_named, sign},
};
use tallystick_tests::{forge, stage::Stage};
use tonic::Code;

use crate::receiver::{Receiver, chunk, next, refusal};

/// Sends a frame that must end the session without an answer. Gives what was charged in it.
async fn breaks(
    receiver: &Receiver,
    session: u8,
    frame: &Frame,
    call: &mut tallystick_tests::wire::Call,
    code: &str,
) -> u64 {
    call.send(frame).await;
    let status = next(call).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(
        status.message().starts_with(&format!("{code}: ")),
        "{status}"
    );
    let known = receiver.ended(session).await;
    assert_eq!(known.status, SessionStatus::Aborted);
    known.grants[0].used
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_with_a_bad_point_is_charged_and_not_evaluated() {
    let receiver = Receiver::new();
    // The identity, and no point at all, as the last of the chunk.
    for (session, bad) in [(1, [0; 32]), (2, [0xff; 32])] {
        let (mut call, matching, mut chunks) = receiver.granted(session, 32).await;
        let (_, honest) = chunk(matching, 16);
        let mut points = forge::elements(&honest);
        // The forger's signature is the honest one where nothing is forged.
        let again = chunks.blinded("document", &points, &receiver.signing);
        assert_eq!(again, honest);
        call.send(&again).await;
        let answer = next(&mut call).await.unwrap().unwrap();
        assert_eq!(answer.kind(), Kind::EvaluatedChunk);
        points[15] = bad;
        let frame = chunks.blinded("document", &points, &receiver.signing);
        let charged = breaks(&receiver, session, &frame, &mut call, "bad-element").await;
        assert_eq!(charged, 32);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_chunk_is_neither_charged_nor_evaluated() {
    let receiver = Receiver::new();
    let another = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    for session in [1, 2] {
        let (mut call, matching, mut chunks) = receiver.granted(session, 16).await;
        let (_, honest) = chunk(matching, 16);
        let frame = match session {
            1 => {
                let mut bytes = honest.into_bytes();
                let end = bytes.len();
                bytes[end - 64..].fill(0);
                Frame::from_bytes(bytes).unwrap()
            }
            _ => chunks.blinded("document", &forge::elements(&honest), &another),
        };
        let charged = breaks(&receiver, session, &frame, &mut call, "bad-signature").await;
        assert_eq!(charged, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_evaluated_beyond_what_was_granted() {
    let receiver = Receiver::new();
    // One chunk too many; one chunk with too many; more than a chunk may have.
    for (session, granted, sizes, code) in [
        (1, 16, [16, 16], "mismatch"),
        (2, 20, [16, 5], "mismatch"),
        (3, 64, [16, 17], "over-limit"),
    ] {
        let (mut call, matching, mut chunks) = receiver.granted(session, granted).await;
        let (_, honest) = chunk(matching, sizes[0]);
        let points = forge::elements(&honest);
        let first = chunks.blinded("document", &points, &receiver.signing);
        call.send(&first).await;
        let answer = next(&mut call).await.unwrap().unwrap();
        assert_eq!(answer.kind(), Kind::EvaluatedChunk);
        let points: Vec<[u8; 32]> = points
            .iter()
            .cycle()
            .take(sizes[1].into())
            .copied()
            .collect();
        let second = chunks.blinded("document", &points, &receiver.signing);
        let charged = breaks(&receiver, session, &second, &mut call, code).await;
        assert_eq!(charged, 16);
    }
}

/// The list has documents and texts; the session was granted documents.
#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_was_not_granted_is_not_evaluated() {
    let stage = Stage::new();
    stage.place.does(
        "tallyd epoch rotate watchlist --home holder --input watchlist.csv \
         --key document=number,state --key text=case --label case --peer-budget 1000000",
    );
    let receiver = Receiver::on(stage);
    let (mut call, matching, mut chunks) = receiver.granted(1, 32).await;
    let (_, honest) = chunk(matching, 16);
    let points = forge::elements(&honest);
    let frame = chunks.blinded("text", &points, &receiver.signing);
    let charged = breaks(&receiver, 1, &frame, &mut call, "mismatch").await;
    assert_eq!(charged, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_said_again_after_a_restart_is_no_second_session() {
    let mut receiver = Receiver::new();
    // A session that is open, one that was aborted, one that is closed.
    let (mut open, matching, _) = receiver.granted(1, 32).await;
    let (_, first) = chunk(matching, 16);
    open.send(&first).await;
    let answered = next(&mut open).await.unwrap();
    let (mut call, _, mut chunks) = receiver.granted(2, 16).await;
    let unsigned = chunks.blinded(
        "document",
        &[[0; 32]],
        &ed25519_dalek::SigningKey::from_bytes(&[1; 32]),
    );
    breaks(&receiver, 2, &unsigned, &mut call, "bad-signature").await;
    let requests = [receiver.asking(1, 32), receiver.asking(2, 16)];
    let closed = receiver.said.clone();
    drop((open, call));
    receiver.restart();

    // Other bytes under a known id, whether its session is open, aborted or closed.
    let id = open_as_named::<tallystick_protocol::statements::Request>(&closed[0])
        .unwrap()
        .session;
    let [open, aborted] = requests;
    for asking in [open, aborted, receiver.asking_as(id, 48)] {
        let mut call = receiver.say(asking.frame()).await;
        assert_eq!(refusal(&mut call).await, "replayed");
    }
    // The very bytes of the closed one: the answers are those that were given, and nothing is
    // charged; with another chunk there are none.
    let mut call = receiver.say(&closed[0]).await;
    assert_eq!(next(&mut call).await.unwrap().as_ref(), Some(&closed[1]));
    call.send(&closed[2]).await;
    assert_eq!(next(&mut call).await.unwrap().as_ref(), Some(&closed[3]));
    call.send(&first).await;
    let status = next(&mut call).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(answered.is_some());
    let store = receiver.stage.place.home("holder").store().await.unwrap();
    use tallystick_agency::store::Store;
    let charged = store.charged("asker", "watchlist", 1, "document").await;
    store.close().await;
    assert_eq!(charged.unwrap(), 48 + 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receivers_closing_that_disagrees_aborts_the_session() {
    let receiver = Receiver::new();
    let lies: [fn(&mut ReceiverClosing); 3] = [
        |closing| closing.evaluations = Hex([1; 32]),
        |closing| closing.set_commitment = Hex([1; 32]),
        |closing| closing.nonce = Hex([1; 32]),
    ];
    for (session, lie) in (1..).zip(lies) {
        let (mut call, matching, _) = receiver.granted(session, 16).await;
        let (matching, first) = chunk(matching, 16);
        call.send(&first).await;
        let answer = next(&mut call).await.unwrap().unwrap();
        let (matching, _) = matching.receive(&answer).unwrap();
        let now = tallystick_agency::clock::now_ms();
        let honest = matching.close(
            Finish::Complete { matches: 0 },
            None,
            now.try_into().unwrap(),
        );
        let honest = honest.unwrap();
        let mut closing: ReceiverClosing = open_as_named(honest.frame()).unwrap();
        lie(&mut closing);
        let key = receiver.signing.clone().into();
        let frame = sign(&closing, &key).unwrap();
        let charged = breaks(&receiver, session, &frame, &mut call, "mismatch").await;
        assert_eq!(charged, 16);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_two_members_of_one_name_is_refused() {
    let receiver = Receiver::new();
    let honest = receiver.asking(1, 16);
    let frame = forge::doubled(honest.frame(), "issued_ms", &receiver.signing);
    let mut call = receiver.say(&frame).await;
    let status = next(&mut call).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("malformed: "), "{status}");
    // It names no session: the id is free for the request that is well formed.
    let mut call = receiver.say(honest.frame()).await;
    let grant = next(&mut call).await.unwrap().unwrap();
    assert_eq!(grant.kind(), Kind::Grant);
}

/// What its own program would not send: the node compares profiles, too, and names the difference.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_another_profile_is_refused_by_the_node() {
    let receiver = Receiver::new();
    let wide = Profile::built_in("eu-wide").unwrap();
    let wide = ProfileReference::try_from(&wide).unwrap();
    let asking = receiver.asking_with(Hex([1; 16]), 16, |request| request.profile = wide);
    let mut call = receiver.say(asking.frame()).await;
    let frame = next(&mut call).await.unwrap().unwrap();
    let refused: Refusal = open_as_named(&frame).unwrap();
    assert_eq!(refused.code.name(), "profile-mismatch");
    let detail = refused.detail.unwrap().to_string();
    assert!(detail.contains("exact/1 here, eu-wide/1 there"), "{detail}");
    assert!(detail.contains("person"), "{detail}");
}

/// The record would say that the list was asked by other rules than it was made by.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_names_other_rules_is_refused_by_the_node() {
    let receiver = Receiver::new();
    let asking = receiver.asking_with(Hex([1; 16]), 16, |request| {
        request.queries[0].rules = vec!["one-edit".parse().unwrap()];
    });
    let mut call = receiver.say(asking.frame()).await;
    assert_eq!(refusal(&mut call).await, "profile-mismatch");
}

/// A hash that is not that of its parts is no profile: the request is malformed.
#[tokio::test(flavor = "multi_thread")]
async fn a_profile_whose_parts_are_not_those_of_its_hash_is_refused() {
    let receiver = Receiver::new();
    let honest = receiver.asking(2, 16);
    let payload = forge::payload(honest.frame());
    let changed = payload.replace("\"id\":\"exact/1\"", "\"id\":\"exact/2\"");
    assert_ne!(payload, changed);
    let frame = forge::with_payload(honest.frame(), &changed, &receiver.signing);
    let mut call = receiver.say(&frame).await;
    let status = next(&mut call).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("malformed: "), "{status}");
}
