//! What may not stand in a request, a grant or a refusal.

use super::*;
use crate::{
    error::Error,
    signing::SigningKey,
    statements::{Grant, Line, Mode, ProfileReference, Refusal, RefusalCode, sign},
};

/// Signs a grant after `change`, and gives what the receiver says to it.
fn changed_grant(change: impl FnOnce(&mut Grant)) -> Result<(), Error> {
    let world = World::new();
    let asking = world.ask(world.request(1, &[("bytes", 2), ("text", 2)]));
    let terms = world.terms(asking.request(), 2, 2);
    let key = Arc::clone(&world.sender);
    let (_, frame) = world
        .asked(&asking)
        .grant(kernel(), terms, NONCE, NOW, key)
        .unwrap();
    let mut grant: Grant = open_as_named(&frame).unwrap();
    change(&mut grant);
    asking
        .answer(sign(&grant, &world.sender).unwrap())
        .map(|_| ())
}

#[test]
fn a_grant_that_differs_from_the_request_is_refused() {
    let mismatch = |field| {
        Err(Error::Mismatch {
            what: "grant",
            field,
        })
    };
    assert_eq!(changed_grant(|_| {}), Ok(()));
    assert_eq!(
        changed_grant(|g| g.session = Hex([9; 16])),
        mismatch("session")
    );
    assert_eq!(
        changed_grant(|g| g.request = Hex([9; 32])),
        mismatch("request")
    );
    assert_eq!(
        changed_grant(|g| g.sender.agency = name("other")),
        mismatch("sender")
    );
    assert_eq!(
        changed_grant(|g| g.receiver.agency = name("other")),
        mismatch("receiver")
    );
    assert_eq!(
        changed_grant(|g| g.receiver.signing_key = Hex([9; 32])),
        mismatch("receiver")
    );
    assert_eq!(
        changed_grant(|g| g.collection = name("other")),
        mismatch("collection")
    );
    // Dated well before the request; tags too short for the sizes.
    assert_eq!(
        changed_grant(|g| g.granted_ms = int(NOW - 30_001)),
        mismatch("granted_ms")
    );
    assert_eq!(changed_grant(|g| g.granted_ms = int(NOW - 30_000)), Ok(()));
    assert_eq!(
        changed_grant(|g| g.snapshot.tag_bytes = int(5)),
        mismatch("tag_bytes")
    );
    assert_eq!(changed_grant(|g| g.mode = Mode::Count), mismatch("mode"));
    assert_eq!(
        changed_grant(|g| {
            let parts = std::mem::take(&mut g.profile.parts);
            g.profile = ProfileReference::new(line("exact/2"), parts);
        }),
        mismatch("profile")
    );
    assert_eq!(changed_grant(|g| drop(g.keys.pop())), mismatch("keys"));
    assert_eq!(
        changed_grant(|g| g.keys[1].type_name = name("zzz")),
        mismatch("keys")
    );
    let late = |g: &mut Grant| {
        g.granted_ms = int(NOW + 60_001);
        g.expires_ms = int(NOW + 90_000);
    };
    assert_eq!(changed_grant(late), mismatch("granted_ms"));
}

#[test]
fn a_grant_with_no_valid_key_is_refused() {
    for bad in [[0; 32], [0xff; 32], [1; 32]] {
        let refused = changed_grant(|g| g.keys[0].public_key = Hex(bad));
        assert_eq!(refused, Err(Error::Key { what: "the grant" }));
    }
}

#[test]
fn a_key_swapped_in_the_grant_makes_every_proof_fail() {
    let world = World::new();
    let request = world.request(1, &[("text", 2)]);
    let mut terms = world.terms(&request, 2, 2);
    terms.keys[0].public_key = Hex(*world.keys[&name("bytes")].public_bytes());
    let (matching, _, opening) = world.granted_with(request, terms);
    let blinded = blind(&matching, 0, &[1, 2]);
    let (matching, frame, sent) = matching.send(blinded).unwrap();
    // The sender goes on with the key of the snapshot: it signs, but it cannot prove.
    let answer = forged_answer(&world, &opening, &frame, |c| {
        evaluate_under(&world.keys[&name("text")], c)
    });
    let (_, answered) = matching.receive(&answer).unwrap();
    assert_eq!(
        sent.finalize(answered).unwrap_err(),
        Error::Proof { chunk: 0 }
    );
}

#[test]
fn a_grant_by_another_key_or_for_another_request_is_refused() {
    let world = World::new();
    let (one, two) = (
        world.request(1, &[("text", 2)]),
        world.request(2, &[("text", 2)]),
    );
    let grant_of = |request: &Request| {
        let asking = world.ask(request.clone());
        let terms = world.terms(request, 2, 2);
        let key = Arc::clone(&world.sender);
        world
            .asked(&asking)
            .grant(kernel(), terms, NONCE, NOW, key)
            .unwrap()
            .1
    };
    let refused = world.ask(one.clone()).answer(grant_of(&two)).unwrap_err();
    assert_eq!(
        refused,
        Error::Mismatch {
            what: "grant",
            field: "session"
        }
    );
    // The same session id, but another request.
    let mut longer = one.clone();
    longer.queries[0].elements = int(3);
    let refused = world
        .ask(one.clone())
        .answer(grant_of(&longer))
        .unwrap_err();
    assert_eq!(
        refused,
        Error::Mismatch {
            what: "grant",
            field: "request"
        }
    );
    let mallory = SigningKey::from_seed(&[0x66; 32]);
    let mut grant: Grant = open_as_named(&grant_of(&one)).unwrap();
    grant.sender.signing_key = mallory.verify_key().into();
    let refused = world
        .ask(one)
        .answer(sign(&grant, &mallory).unwrap())
        .unwrap_err();
    assert_eq!(refused, Error::Signature { what: "grant" });
}

#[test]
fn a_frame_that_is_no_answer_is_refused() {
    let world = World::new();
    let asking = world.ask(world.request(1, &[("text", 2)]));
    let own = asking.frame().clone();
    let refused = asking.answer(own).unwrap_err();
    assert_eq!(
        refused,
        Error::Order {
            got: "request",
            expected: "grant"
        }
    );
}

#[test]
fn a_refusal_is_taken_only_for_its_own_request() {
    let world = World::new();
    let refuse = |request: Request| {
        let asking = world.ask(request);
        let detail: Line = line("raise the quota");
        let asked = world.asked(&asking);
        asked
            .refuse(RefusalCode::QuotaExceeded, Some(detail), NOW, &world.sender)
            .unwrap()
            .1
    };
    let one = world.request(1, &[("text", 2)]);
    let Answer::Refused { refusal, .. } =
        world.ask(one.clone()).answer(refuse(one.clone())).unwrap()
    else {
        panic!("not refused")
    };
    assert_eq!(refusal.code, RefusalCode::QuotaExceeded);
    let want = Error::Mismatch {
        what: "refusal",
        field: "request",
    };
    let other_session = refuse(world.request(2, &[("text", 2)]));
    assert_eq!(
        world.ask(one.clone()).answer(other_session).unwrap_err(),
        want
    );
    let other_request = refuse(world.request(1, &[("text", 3)]));
    assert_eq!(
        world.ask(one.clone()).answer(other_request).unwrap_err(),
        want
    );
    let changes: [fn(&mut Refusal); 3] = [
        |r| r.sender.agency = name("other"),
        |r| r.receiver.agency = name("other"),
        |r| r.receiver.signing_key = Hex([9; 32]),
    ];
    for change in changes {
        let mut refusal: Refusal = open_as_named(&refuse(one.clone())).unwrap();
        change(&mut refusal);
        let frame = sign(&refusal, &world.sender).unwrap();
        assert_eq!(world.ask(one.clone()).answer(frame).unwrap_err(), want);
    }
    let mallory = SigningKey::from_seed(&[0x66; 32]);
    let mut refusal: Refusal = open_as_named(&refuse(one.clone())).unwrap();
    refusal.sender.signing_key = mallory.verify_key().into();
    let refused = world
        .ask(one)
        .answer(sign(&refusal, &mallory).unwrap())
        .unwrap_err();
    assert_eq!(refused, Error::Signature { what: "refusal" });
}

#[test]
fn a_request_for_another_audience_or_by_another_peer_is_refused() {
    let world = World::new();
    let asking = world.ask(world.request(1, &[("text", 2)]));
    let open = |receiver, me| {
        Asked::open(asking.frame().clone(), &receiver, me)
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    let (receiver, me) = (world.receiver_reference(), world.sender_reference());
    assert_eq!(open(receiver.clone(), me.clone()), Ok(()));
    let mismatch = |field| {
        Err(Error::Mismatch {
            what: "request",
            field,
        }
        .to_string())
    };
    let mut other = me.clone();
    other.agency = name("elsewhere");
    assert_eq!(open(receiver.clone(), other), mismatch("sender"));
    let mut other = me.clone();
    other.signing_key = Hex([9; 32]);
    assert_eq!(open(receiver.clone(), other), mismatch("sender"));
    let mut other = receiver.clone();
    other.agency = name("police-z");
    assert_eq!(open(other, me.clone()), mismatch("receiver"));
    let mut other = receiver;
    other.signing_key = me.signing_key;
    let refused = open(other, me);
    assert_eq!(
        refused,
        Err(Error::Signature { what: "request" }.to_string())
    );
}

#[test]
fn requests_that_break_a_rule_are_not_signed() {
    let world = World::new();
    let changes: [fn(&mut Request); 13] = [
        |r| r.sender.signing_key = r.receiver.signing_key,
        |r| r.protocol = "tallystick/2".to_owned(),
        |r| r.suite = "P256-SHA256".to_owned(),
        |r| r.queries.clear(),
        |r| r.queries.push(r.queries[0].clone()),
        |r| r.queries.swap(0, 1),
        |r| r.queries = vec![r.queries[0].clone(); 33],
        |r| r.queries[0].elements = int(0),
        |r| r.queries[0].rules.clear(),
        |r| r.queries[0].rules = vec![line("exact"); 65],
        |r| r.expires_ms = r.issued_ms,
        |r| r.session = Hex([0; 16]),
        |r| r.receiver.signing_key = Hex([9; 32]),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let mut request = world.request(1, &[("bytes", 2), ("text", 2)]);
        change(&mut request);
        let (key, seed) = (Arc::clone(&world.receiver), SessionSeed::new(SEED));
        let refused = Asking::new(kernel(), request, key, seed).unwrap_err();
        assert_eq!(refused.code(), "usage", "change {i}");
    }
}

#[test]
fn a_session_of_a_mode_that_is_not_served_does_not_begin() {
    let world = World::new();
    for mode in [Mode::Count, Mode::Mutual] {
        let mut request = world.request(1, &[("text", 2)]);
        request.mode = mode;
        let asking = world.ask(request.clone());
        let terms = world.terms(&request, 2, 2);
        let key = Arc::clone(&world.sender);
        let refused = world
            .asked(&asking)
            .grant(kernel(), terms, NONCE, NOW, key)
            .unwrap_err();
        assert_eq!(
            refused,
            Error::Mismatch {
                what: "grant",
                field: "mode"
            }
        );
    }
}
