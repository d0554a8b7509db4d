//! The first flights: any request that the receiver signs, any answer that the sender signs.

use std::sync::Arc;

use tallystick_protocol::{
    frame::Frame,
    session::{Answer, Asked, Asking},
    snapshot::tag_bytes,
    statements::{Grant, Mode, Refusal, RefusalCode, Request, digest_of},
};

use super::{
    input::{Input, edited},
    world::{NONCE, NOW, honest, kernel, payload_of, seed, world},
};

fn asked(frame: Frame) {
    let world = world();
    let opened = Asked::open(
        frame,
        &world.receiver.reference,
        world.sender.reference.clone(),
    );
    let Ok(asked) = opened else {
        return;
    };
    let request = asked.request().clone();
    assert_eq!(request.receiver.agency, world.receiver.reference.agency);
    assert_eq!(
        request.receiver.signing_key,
        world.receiver.reference.signing_key
    );
    assert_eq!(request.sender, world.sender.reference);
    assert!(request.queries.iter().all(|query| query.elements.get() > 0));
    let frame = asked.frame().clone();
    let key = Arc::clone(&world.sender.key);
    if let Ok((serving, grant)) = asked.grant(kernel(), world.terms(), NONCE, NOW, key) {
        // What is granted is what was asked.
        let types = request.queries.iter().map(|query| &query.type_name);
        assert!(
            serving
                .agreement()
                .grant()
                .keys
                .iter()
                .map(|key| &key.type_name)
                .eq(types)
        );
        assert_eq!(request.mode, Mode::Elements);
        let key = Arc::clone(&world.receiver.key);
        if let Ok(asking) = Asking::resume(kernel(), frame.clone(), key, seed()) {
            assert!(matches!(asking.answer(grant), Ok(Answer::Granted(_))));
        }
    }
    let key = &world.sender.key;
    let refused = world
        .asked(&frame)
        .refuse(RefusalCode::Busy, None, NOW, key);
    refused.unwrap();
}

fn answered(frame: Frame) {
    let honest = honest(0);
    let key = Arc::clone(&world().receiver.key);
    let asking = Asking::resume(kernel(), honest.request.clone(), key, seed()).unwrap();
    let request = asking.request().clone();
    match asking.answer(frame) {
        Ok(Answer::Granted(matching)) => {
            let grant: &Grant = matching.agreement().grant();
            assert_eq!(grant.session, request.session);
            assert_eq!(grant.request, digest_of(&honest.request));
            assert_eq!(grant.collection, request.collection);
            assert_eq!(grant.profile, request.profile);
            assert_eq!(grant.mode, Mode::Elements);
            assert_eq!(grant.sender.signing_key, request.sender.signing_key);
            let rule = tag_bytes(request.elements(), grant.snapshot.elements.get());
            assert!(
                grant.snapshot.tag_bytes.get() >= rule.into(),
                "tags are too short"
            );
            for query in &request.queries {
                assert!(matching.blinder(&query.type_name).is_ok());
            }
        }
        Ok(Answer::Refused { refusal, .. }) => assert_eq!(refusal.session, request.session),
        Err(_) => {}
    }
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.below(6);
    // Either the whole payload, or an honest one with edits.
    let whole = kind < 3;
    let (receiver, sender) = (&world().receiver, &world().sender);
    let mut payload = |original: &Frame| match whole {
        true => input.rest().to_vec(),
        false => edited(&payload_of(original), &mut input),
    };
    let session = honest(0);
    match kind % 3 {
        0 => receiver
            .statement::<Request>(&payload(&session.request))
            .map(asked),
        1 => sender
            .statement::<Grant>(&payload(&session.grant))
            .map(answered),
        _ => sender
            .statement::<Refusal>(&payload(&refusal()))
            .map(answered),
    };
}

fn refusal() -> Frame {
    let (world, request) = (world(), &honest(0).request);
    let refused = world
        .asked(request)
        .refuse(RefusalCode::Busy, None, NOW, &world.sender.key);
    refused.unwrap().1
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let session = honest(0);
    let frames = [&session.request, &session.grant, &refusal()];
    let whole = (0..).zip(frames);
    let mut seeds: Vec<Vec<u8>> = whole
        .map(|(kind, frame)| [&[kind], &payload_of(frame)[..]].concat())
        .collect();
    // Tags one byte shorter than the rule, and a list that would need longer ones.
    let grant = String::from_utf8(payload_of(&session.grant)).unwrap();
    let tag = world().snapshot.preamble.tag_bytes.get();
    let short = grant.replace(
        &format!("\"tag_bytes\":{tag}"),
        &format!("\"tag_bytes\":{}", tag - 1),
    );
    let large = grant.replace("\"elements\":16", "\"elements\":9007199254740991");
    assert!(short != grant && large != grant);
    seeds.extend([short, large].map(|grant| [&[1], grant.as_bytes()].concat()));
    seeds.extend((3..6).map(|kind| vec![kind, 1, 0, 70, 1, b'7', 0, 20, 2, 1]));
    seeds
}
