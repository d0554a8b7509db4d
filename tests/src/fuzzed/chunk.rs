//! Any body of a chunk, well signed in its place.

use tallystick_protocol::frame::Frame;

use super::{
    input::Input,
    world::{CHUNK, blinded_body, honest, plan, send, unsigned, world},
};

/// A receiver signs any body as its first chunk.
fn blinded(body: &[u8]) {
    let session = honest(0);
    let Some(frame) = session.chains().blinded(&world().receiver, body) else {
        return;
    };
    let Ok((serving, accepted)) = session.serving().receive(&frame) else {
        return;
    };
    assert_eq!(accepted.index(), 0);
    assert!((1..=CHUNK).contains(&accepted.elements()));
    let ty = accepted.type_name();
    assert!(
        serving.agreement().key(ty).is_ok(),
        "a type that was not granted"
    );
    // One form: index, type, count, elements, and nothing else.
    let size = 4 + 1 + ty.as_str().len() + 2 + accepted.elements() * 32;
    assert_eq!(body.len(), size);
    let spent: u64 = serving.progress().spent().map(|(_, spent)| spent).sum();
    assert_eq!(spent, accepted.elements() as u64);
}

/// A sender signs any body as the answer of the first chunk.
fn evaluated(body: &[u8]) {
    let session = honest(0);
    let (matching, frame, sent) = send(session.matching(), plan()[0]);
    assert_eq!(
        frame, session.blinded[0],
        "the same session, the same bytes"
    );
    let mut chains = session.chains();
    chains.took_blinded(&frame);
    let Some(frame) = chains.evaluated(&world().sender, 0, body) else {
        return;
    };
    let honest = frame == session.evaluated[0];
    let finalized = matching
        .receive(&frame)
        .and_then(|(_, answered)| sent.finalize(answered));
    assert_eq!(
        finalized.is_ok(),
        honest,
        "only the true evaluation is taken"
    );
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(2) {
        0 => blinded(input.rest()),
        _ => evaluated(input.rest()),
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let session = honest(0);
    let body = |kind: u8, frame: &Frame| [&[kind], unsigned(frame)].concat();
    let made = |count: usize| {
        let element = *unsigned(&session.blinded[0]).last_chunk().unwrap();
        [&[0], &blinded_body(0, b"bytes", &vec![element; count])[..]].concat()
    };
    vec![
        made(0),
        made(CHUNK),
        made(CHUNK + 1),
        body(0, &session.blinded[0]),
        body(0, &session.blinded[4]),
        body(1, &session.evaluated[0]),
        body(1, &session.evaluated[1]),
    ]
}
