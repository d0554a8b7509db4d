//! What a sender may not answer to a chunk.

use super::*;
use crate::error::Error;

/// What the receiver says to a forged answer: at once, or at the proof.
fn answer_to(
    forge: impl Fn(&World, &[[u8; 32]]) -> (Vec<[u8; 32]>, [u8; 64]),
) -> Result<(), Error> {
    let (world, matching, _, opening) = session(1, 2);
    let blinded = blind(&matching, 0, &[1, 2]);
    let (matching, frame, sent) = matching.send(blinded).unwrap();
    let answer = forged_answer(&world, &opening, &frame, |c| forge(&world, c));
    let (_, answered) = matching.receive(&answer)?;
    sent.finalize(answered).map(|_| ())
}

#[test]
fn the_forger_of_these_tests_can_tell_the_truth() {
    assert_eq!(
        answer_to(|world, c| evaluate_under(&world.keys[&name("text")], c)),
        Ok(())
    );
}

#[test]
fn a_wrong_proof_is_refused() {
    for byte in [0, 31, 32, 63] {
        let refused = answer_to(|world, c| {
            let (elements, mut proof) = evaluate_under(&world.keys[&name("text")], c);
            proof[byte] ^= 1;
            (elements, proof)
        });
        assert_eq!(refused, Err(Error::Proof { chunk: 0 }), "byte {byte}");
    }
    let not_canonical = answer_to(|world, c| {
        let (elements, _) = evaluate_under(&world.keys[&name("text")], c);
        (elements, [0xff; 64])
    });
    assert_eq!(not_canonical, Err(Error::Proof { chunk: 0 }));
}

#[test]
fn evaluations_and_proof_under_another_key_are_refused() {
    let other = answer_to(|world, c| evaluate_under(&world.keys[&name("bytes")], c));
    assert_eq!(other, Err(Error::Proof { chunk: 0 }));
}

#[test]
fn one_wrong_or_two_swapped_evaluations_are_refused() {
    let swapped = answer_to(|world, c| {
        let (mut elements, proof) = evaluate_under(&world.keys[&name("text")], c);
        elements.swap(0, 1);
        (elements, proof)
    });
    assert_eq!(swapped, Err(Error::Proof { chunk: 0 }));
    let one_of_another_key = answer_to(|world, c| {
        let (mut elements, proof) = evaluate_under(&world.keys[&name("text")], c);
        elements[1] = evaluate_under(&world.keys[&name("bytes")], c).0[1];
        (elements, proof)
    });
    assert_eq!(one_of_another_key, Err(Error::Proof { chunk: 0 }));
    // A proof of fewer than all of them.
    let prefix = answer_to(|world, c| {
        let (elements, _) = evaluate_under(&world.keys[&name("text")], c);
        let (_, proof) = evaluate_under(&world.keys[&name("text")], &c[..1]);
        (elements, proof)
    });
    assert_eq!(prefix, Err(Error::Proof { chunk: 0 }));
}

#[test]
fn an_answer_with_the_identity_or_no_point_is_refused() {
    for bad in [[0; 32], [0xff; 32], [1; 32]] {
        let refused = answer_to(|world, c| {
            let (mut elements, proof) = evaluate_under(&world.keys[&name("text")], c);
            elements[1] = bad;
            (elements, proof)
        });
        assert_eq!(refused, Err(Error::Element { chunk: 0, index: 1 }));
    }
}

#[test]
fn an_answer_with_another_count_is_refused() {
    let want = Err(Error::Mismatch {
        what: "evaluated chunk",
        field: "count",
    });
    let fewer = answer_to(|world, c| evaluate_under(&world.keys[&name("text")], &c[..1]));
    assert_eq!(fewer, want);
    let more =
        answer_to(|world, c| evaluate_under(&world.keys[&name("text")], &[c, &c[..1]].concat()));
    assert_eq!(more, want);
}

#[test]
fn an_unsigned_or_wrongly_signed_answer_is_refused() {
    let (world, matching, serving, opening) = session(1, 2);
    let blinded = blind(&matching, 0, &[1, 2]);
    let (matching, frame, _) = matching.send(blinded).unwrap();
    let mut by_receiver = transcript(&opening);
    by_receiver
        .check_blinded(&frame, &world.receiver.verify_key())
        .unwrap();
    by_receiver.take_blinded(&frame, 2).unwrap();
    let (elements, proof) = {
        let chunk = BlindedChunk::parse(&frame).unwrap();
        evaluate_under(&world.keys[&name("text")], &chunk.elements)
    };
    let by_receiver = by_receiver
        .sign_evaluated(elements, proof, &world.receiver)
        .unwrap();
    assert_eq!(
        by_receiver.body().len(),
        world.serve(serving, &frame).1.body().len()
    );
    let refused = matching.receive(&by_receiver).unwrap_err();
    assert_eq!(
        refused,
        Error::Signature {
            what: "evaluated chunk"
        }
    );
}

#[test]
fn an_answer_before_its_question_is_refused() {
    let (world, matching, _, opening) = session(1, 2);
    let (other, _, _) = world.granted(world.request(1, &[("text", 2)]), 2, 2);
    let blinded = blind(&other, 0, &[1, 2]);
    let (_, frame, _) = other.send(blinded).unwrap();
    let answer = forged_answer(&world, &opening, &frame, |c| {
        evaluate_under(&world.keys[&name("text")], c)
    });
    let refused = matching.receive(&answer).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Order {
                got: "evaluated chunk",
                ..
            }
        ),
        "{refused:?}"
    );
}

#[test]
fn a_pair_of_answer_and_other_chunk_is_a_bug() {
    let (world, matching, serving, _) = session(1, 4);
    let blinded = blind(&matching, 0, &[1, 2]);
    let (matching, one, _) = matching.send(blinded).unwrap();
    let blinded = blind(&matching, 2, &[3, 4]);
    let (matching, _, second) = matching.send(blinded).unwrap();
    let (_, answer) = world.serve(serving, &one);
    let (_, answered) = matching.receive(&answer).unwrap();
    assert_eq!(second.finalize(answered).unwrap_err().code(), "bug");
}
