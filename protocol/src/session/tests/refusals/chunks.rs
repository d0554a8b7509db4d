//! What a receiver may not send as a chunk, and on what a sender does not evaluate.

use super::*;
use crate::{error::Error, frame::Kind};

/// What the sender says to a chunk that is rightly signed with the receiver's key.
fn signed_chunk(ty: &str, elements: usize) -> Result<(), Error> {
    let (world, _, serving, opening) = session(1, 3);
    let encodings = vec![encoding(); elements];
    let frame = transcript(&opening).sign_blinded(name(ty), encodings, &world.receiver)?;
    serving.receive(&frame).map(|_| ())
}

#[test]
fn chunks_beyond_what_was_granted_are_refused() {
    assert_eq!(signed_chunk("text", 2), Ok(()));
    let limit = Error::Limit {
        what: "number of elements in a chunk",
        limit: 2,
    };
    assert_eq!(signed_chunk("text", 3), Err(limit));
    let not_granted = Error::Mismatch {
        what: "blinded chunk",
        field: "type was not granted",
    };
    assert_eq!(signed_chunk("bytes", 1), Err(not_granted.clone()));
    assert_eq!(signed_chunk("padding", 1), Err(not_granted));
}

#[test]
fn chunks_beyond_the_declared_number_are_refused() {
    let (world, _, serving, opening) = session(1, 3);
    let mut forger = transcript(&opening);
    let mut sign = |n| {
        forger
            .sign_blinded(name("text"), vec![encoding(); n], &world.receiver)
            .unwrap()
    };
    let serving = serving.receive(&sign(2)).unwrap().0;
    let refused = serving.receive(&sign(2)).unwrap_err();
    let field = "more elements than the request declares";
    assert_eq!(
        refused,
        Error::Mismatch {
            what: "blinded chunk",
            field
        }
    );
}

/// Else a schedule of short chunks shows rows, and each costs the sender a write to the disk.
#[test]
fn a_short_chunk_that_is_not_the_last_is_refused() {
    let (world, _, serving, opening) = session(1, 3);
    let mut forger = transcript(&opening);
    let mut sign = |n| {
        forger
            .sign_blinded(name("text"), vec![encoding(); n], &world.receiver)
            .unwrap()
    };
    let short = sign(1);
    let refused = serving.receive(&short).unwrap_err();
    let field = "it is short and not the last of its type";
    assert_eq!(
        refused,
        Error::Mismatch {
            what: "blinded chunk",
            field
        }
    );
    // The last one may be.
    let (world, _, serving, opening) = session(1, 3);
    let mut forger = transcript(&opening);
    let mut serving = Some(serving);
    for n in [2, 1] {
        let frame = forger.sign_blinded(name("text"), vec![encoding(); n], &world.receiver);
        let taken = serving.take().unwrap().receive(&frame.unwrap());
        serving = Some(taken.unwrap().0);
    }
}

#[test]
fn chunks_beyond_the_window_are_refused() {
    let (world, _, serving, opening) = session(1, 6);
    let mut forger = transcript(&opening);
    let mut sign = || {
        forger
            .sign_blinded(name("text"), vec![encoding(); 2], &world.receiver)
            .unwrap()
    };
    let serving = serving.receive(&sign()).unwrap().0;
    let serving = serving.receive(&sign()).unwrap().0;
    let refused = serving.receive(&sign()).unwrap_err();
    assert_eq!(
        refused,
        Error::Limit {
            what: "number of unanswered chunks",
            limit: 2
        }
    );
}

#[test]
fn the_receiver_does_not_sign_beyond_what_was_granted() {
    let limit = |values: &[u32]| {
        let (_, matching, _, _) = session(1, 3);
        let blinded = blind(&matching, 0, values);
        matching.send(blinded).unwrap_err().code()
    };
    assert_eq!(limit(&[1, 2, 3]), "over-limit");
    assert_eq!(limit(&[1]), "mismatch", "short, and not the last");
    assert_eq!(limit(&[]), "mismatch");
    let (_, matching, _, _) = session(1, 3);
    assert_eq!(
        matching.blinder(&name("bytes")).unwrap_err().code(),
        "mismatch"
    );
    let blinded = blind(&matching, 0, &[1, 2]);
    let (matching, _, _) = matching.send(blinded).unwrap();
    let blinded = blind(&matching, 2, &[3, 4]);
    assert_eq!(matching.send(blinded).unwrap_err().code(), "mismatch");
}

#[test]
fn a_chunk_out_of_order_or_twice_is_refused() {
    let (world, _, _, opening) = session(1, 3);
    let mut forger = transcript(&opening);
    let mut sign = || {
        forger
            .sign_blinded(name("text"), vec![encoding(); 2], &world.receiver)
            .unwrap()
    };
    let (first, second) = (sign(), sign());
    let want = Error::Mismatch {
        what: "blinded chunk",
        field: "index",
    };
    let (_, _, serving, _) = session(1, 3);
    assert_eq!(serving.receive(&second).unwrap_err(), want);
    let (_, _, serving, _) = session(1, 3);
    let serving = serving.receive(&first).unwrap().0;
    assert_eq!(serving.receive(&first).unwrap_err(), want);
}

#[test]
fn a_chunk_of_another_session_is_refused() {
    for other in [
        // Another session, and the same session id under another request.
        World::new().request(2, &[("text", 3)]),
        World::new().request(1, &[("text", 4)]),
    ] {
        let world = World::new();
        let (matching, _, _) = world.granted(other, 2, 2);
        let blinded = blind(&matching, 0, &[1, 2]);
        let (_, frame, _) = matching.send(blinded).unwrap();
        let (_, _, serving, _) = session(1, 3);
        let refused = serving.receive(&frame).unwrap_err();
        assert_eq!(
            refused,
            Error::Signature {
                what: "blinded chunk"
            }
        );
    }
}

#[test]
fn a_chunk_behind_another_first_chunk_is_refused() {
    // The second chunk's signature covers the first: it cannot follow another one.
    let (_, matching, serving, _) = session(1, 4);
    let (_, other, _, _) = session(1, 4);
    let blinded = blind(&matching, 0, &[1, 2]);
    let (_, first, _) = matching.send(blinded).unwrap();
    let blinded = blind(&other, 0, &[8, 9]);
    let (other, _, _) = other.send(blinded).unwrap();
    let blinded = blind(&other, 2, &[3, 4]);
    let (_, second, _) = other.send(blinded).unwrap();
    let serving = serving.receive(&first).unwrap().0;
    let refused = serving.receive(&second).unwrap_err();
    assert_eq!(
        refused,
        Error::Signature {
            what: "blinded chunk"
        }
    );
}

#[test]
fn an_unsigned_or_wrongly_signed_chunk_is_refused() {
    let (world, _, serving, opening) = session(1, 3);
    let by_sender = transcript(&opening)
        .sign_blinded(name("text"), vec![encoding()], &world.sender)
        .unwrap();
    let want = Error::Signature {
        what: "blinded chunk",
    };
    assert_eq!(serving.receive(&by_sender).unwrap_err(), want);
    let mut unsigned = by_sender.body().to_vec();
    let len = unsigned.len();
    unsigned[len - 64..].fill(0);
    let unsigned = Frame::new(Kind::BlindedChunk, &unsigned).unwrap();
    let (_, _, serving, _) = session(1, 3);
    assert_eq!(serving.receive(&unsigned).unwrap_err(), want);
}

#[test]
fn a_chunk_of_no_elements_or_with_more_bytes_is_malformed() {
    let (world, _, _, opening) = session(1, 3);
    let good = transcript(&opening)
        .sign_blinded(name("text"), vec![encoding()], &world.receiver)
        .unwrap();
    let body = good.body();
    let empty = [&body[..9], &[0, 0][..], &[0; 64][..]].concat();
    let longer = [body, &[0]].concat();
    let shorter = body[..body.len() - 1].to_vec();
    let mut name_outside_of_rules = body.to_vec();
    name_outside_of_rules[5] = b'T';
    for bad in [empty, longer, shorter, name_outside_of_rules, Vec::new()] {
        let (_, _, serving, _) = session(1, 3);
        let frame = Frame::new(Kind::BlindedChunk, &bad).unwrap();
        assert_eq!(serving.receive(&frame).unwrap_err().code(), "malformed");
    }
}

#[test]
fn a_chunk_with_the_identity_or_no_point_is_not_evaluated() {
    for bad in [[0; 32], [0xff; 32], [1; 32]] {
        let (world, _, serving, opening) = session(1, 3);
        let frame = transcript(&opening)
            .sign_blinded(name("text"), vec![encoding(), bad], &world.receiver)
            .unwrap();
        let (_, accepted) = serving.receive(&frame).unwrap();
        let receipt = ChargeReceipt::committed(Hex([1; 16]), 0, accepted.digest());
        let key = &world.keys[&name("text")];
        let refused = accepted.evaluate(&receipt, key, &[0; 32]).unwrap_err();
        assert_eq!(refused, Error::Element { chunk: 0, index: 1 });
    }
}

#[test]
fn nothing_is_evaluated_on_the_receipt_of_another_chunk() {
    let receipts: [fn(Hex<32>) -> ChargeReceipt; 3] = [
        |digest| ChargeReceipt::committed(Hex([2; 16]), 0, digest),
        |digest| ChargeReceipt::committed(Hex([1; 16]), 1, digest),
        |_| ChargeReceipt::committed(Hex([1; 16]), 0, Hex([0; 32])),
    ];
    for receipt in receipts {
        let (world, matching, serving, _) = session(1, 2);
        let blinded = blind(&matching, 0, &[1, 2]);
        let (_, frame, _) = matching.send(blinded).unwrap();
        let (_, accepted) = serving.receive(&frame).unwrap();
        let receipt = receipt(accepted.digest());
        let key = &world.keys[&name("text")];
        assert_eq!(
            accepted
                .evaluate(&receipt, key, &[0; 32])
                .unwrap_err()
                .code(),
            "bug"
        );
    }
}

#[test]
fn nothing_is_evaluated_under_a_key_that_was_not_granted_for_its_type() {
    let (world, matching, serving, _) = session(1, 2);
    let blinded = blind(&matching, 0, &[1, 2]);
    let (_, frame, _) = matching.send(blinded).unwrap();
    let (_, accepted) = serving.receive(&frame).unwrap();
    let receipt = ChargeReceipt::committed(Hex([1; 16]), 0, accepted.digest());
    let key = &world.keys[&name("bytes")];
    assert_eq!(
        accepted
            .evaluate(&receipt, key, &[0; 32])
            .unwrap_err()
            .code(),
        "bug"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_chunks_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        index in 0u32..2, count in 0u16..6, elements in 0usize..6,
    ) {
        let world = World::new();
        let frame = world.ask(world.request(1, &[("text", 3)])).frame().clone();
        let grant = Frame::new(Kind::Grant, b"any").unwrap();
        let mut blinded = index.to_be_bytes().to_vec();
        blinded.extend(b"\x04text");
        let mut evaluated = index.to_be_bytes().to_vec();
        for body in [&mut blinded, &mut evaluated] {
            body.extend(count.to_be_bytes());
            body.extend(vec![7; elements * 32]);
            body.extend(&bytes);
        }
        let mut transcript = Transcript::new(Hex([1; 16]), &frame, &grant);
        for body in [&bytes, &blinded] {
            let frame = Frame::new(Kind::BlindedChunk, body).unwrap();
            let parsed = BlindedChunk::parse(&frame);
            prop_assert!(parsed.is_err() || frame.body().len() > 64);
            prop_assert!(transcript.check_blinded(&frame, &world.receiver.verify_key()).is_err());
        }
        for body in [&bytes, &evaluated] {
            let frame = Frame::new(Kind::EvaluatedChunk, body).unwrap();
            let key = world.sender.verify_key();
            prop_assert!(transcript.accept_evaluated(&frame, &key).is_err());
            // With a question waiting the signature is what stops it.
            let mut waiting = Transcript::new(Hex([1; 16]), &frame, &grant);
            let asked = vec![encoding(); 2];
            waiting.sign_blinded(name("text"), asked, &world.receiver).unwrap();
            prop_assert!(waiting.accept_evaluated(&frame, &key).is_err());
        }
    }
}
