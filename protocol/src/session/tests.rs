use std::{collections::BTreeSet, sync::Arc};

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::{
    dleq::Weights,
    frame::Frame,
    oprf::{self, AdditiveBlinds, OUTPUT_LEN, SecretKey},
    snapshot::{LabelContext, LabelKey},
    statements::{Hex, Request, open_as_named},
    test_support::*,
};

mod refusals;
mod shifts;

/// An answer to a first chunk, rightly signed, with the elements and the proof that `forge` gives
/// for the blinded ones: what a lying sender can do.
pub(crate) fn forged_answer(
    world: &World,
    opening: &[Frame; 2],
    question: &Frame,
    forge: impl FnOnce(&[[u8; 32]]) -> (Vec<[u8; 32]>, [u8; 64]),
) -> Frame {
    let request: Request = open_as_named(&opening[0]).unwrap();
    let mut transcript = Transcript::new(request.session, &opening[0], &opening[1]);
    let chunk = transcript
        .check_blinded(question, &world.receiver.verify_key())
        .unwrap();
    let (elements, proof) = forge(&chunk.elements);
    // The transcript would refuse to sign another count.
    transcript.take_blinded(question, elements.len()).unwrap();
    transcript
        .sign_evaluated(elements, proof, &world.sender)
        .unwrap()
}

/// Evaluations and their proof under any key.
pub(crate) fn evaluate_under(key: &SecretKey, blinded: &[[u8; 32]]) -> (Vec<[u8; 32]>, [u8; 64]) {
    let evaluated = oprf::blind_evaluate(kernel(), key, blinded).unwrap();
    let proof = *evaluated.prove(Weights::WholeChunk, &[1; 32]).as_bytes();
    (evaluated.into_elements(), proof)
}

/// What the receiver learns in a session against what plain sets say.
fn check_against_plain_sets(
    mine: &[(&str, Vec<u32>)],
    theirs: &[(&str, Vec<u32>)],
    limits: (u64, u64),
    label: usize,
) -> Result<(), TestCaseError> {
    let world = World::new();
    let published = world.publish(theirs, 2, label);
    published.verify(&world);
    let run = world.run(1, mine, limits);
    for (ty, set) in mine {
        let held: BTreeSet<u32> = theirs
            .iter()
            .filter(|(other, _)| other == ty)
            .flat_map(|(_, set)| set.iter().copied())
            .collect();
        let want: BTreeSet<u32> = set.iter().copied().filter(|v| held.contains(v)).collect();
        let outputs = &run.outputs[&name(ty)];
        prop_assert_eq!(outputs.len(), set.len());
        let mut got = BTreeSet::new();
        for (value, output) in outputs {
            if let Some(label_text) = published.look_up(output) {
                got.insert(*value);
                if label > 0 {
                    prop_assert_eq!(label_text, payload(ty, *value));
                }
            }
        }
        prop_assert_eq!(got, want);
    }
    Ok(())
}

/// Small numbers, so that sets do meet and hold duplicates.
fn set() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0u32..12, 0..10)
}

/// A set, and padding so that it is not empty.
fn padded(mut set: Vec<u32>, padding: u32) -> Vec<u32> {
    let least = u32::from(set.is_empty());
    set.extend((0..padding.max(least)).map(|i| PADDING + i));
    set
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_finds_the_plain_intersection(
        mine in (set(), set(), 0u32..3),
        theirs in (set(), set()),
        chunk in prop::sample::select(vec![1u64, 2, 3, 8]),
        window in 1u64..5,
        label in prop::sample::select(vec![0usize, 32]),
    ) {
        let (bytes, text, padding) = mine;
        let mine = [("bytes", padded(bytes, padding)), ("text", padded(text, padding))];
        let theirs = [("bytes", theirs.0), ("text", theirs.1)];
        check_against_plain_sets(&mine, &theirs, (chunk, window), label)?;
    }
}

#[test]
fn sizes_at_the_edges_of_chunks_and_windows() {
    for chunk in [1u64, 2, 3, 8] {
        for size in [1, chunk - 1, chunk, chunk + 1, 2 * chunk, 2 * chunk + 1] {
            if size > 0 {
                let mine = [("bytes", (0..size as u32).collect())];
                let theirs = [("bytes", (0..size as u32 + 5).step_by(2).collect())];
                check_against_plain_sets(&mine, &theirs, (chunk, 2), 32).unwrap();
            }
        }
    }
}

#[test]
fn empty_sets_are_padding_and_match_nothing() {
    let padding = vec![PADDING, PADDING + 1, PADDING + 2];
    check_against_plain_sets(
        &[("text", padding.clone())],
        &[("text", vec![1, 2])],
        (2, 2),
        32,
    )
    .unwrap();
    check_against_plain_sets(&[("text", vec![1, 2])], &[("text", vec![])], (2, 2), 32).unwrap();
    check_against_plain_sets(&[("text", padding)], &[("text", vec![])], (8, 1), 0).unwrap();
}

#[test]
fn the_same_value_of_another_type_is_no_match() {
    let mine = [("bytes", vec![1, 2]), ("text", vec![3, 4])];
    let theirs = [("bytes", vec![3, 4]), ("text", vec![1, 2])];
    check_against_plain_sets(&mine, &theirs, (2, 2), 32).unwrap();
    let world = World::new();
    let published = world.publish(&theirs, 0, 32);
    let run = world.run(1, &mine, (2, 2));
    assert!(
        run.outputs
            .values()
            .flatten()
            .all(|(_, o)| published.look_up(o).is_none())
    );
}

#[test]
fn a_full_window_of_chunks_can_be_under_way() {
    let world = World::new();
    for window in [1u64, 2, 4] {
        let run = world.run(1, &[("bytes", (0..7).collect())], (1, window));
        assert_eq!(run.most_under_way as u64, window);
        assert_eq!(run.outputs[&name("bytes")].len(), 7);
    }
}

#[test]
fn a_blind_is_never_used_twice_in_a_session() {
    let world = World::new();
    // The same element seven times: equal blinds would show as equal encodings.
    let run = world.run(1, &[("bytes", vec![5; 7])], (2, 2));
    let mut seen = BTreeSet::new();
    for frame in &run.frames {
        if let Ok(chunk) = BlindedChunk::parse(frame) {
            for encoding in chunk.elements {
                assert!(seen.insert(encoding), "one encoding was sent twice");
            }
        }
    }
    assert_eq!(seen.len(), 7);
    // The next session has another id: nothing of the first shows in it.
    for frame in &world.run(2, &[("bytes", vec![5; 7])], (2, 2)).frames {
        if let Ok(chunk) = BlindedChunk::parse(frame) {
            assert!(chunk.elements.iter().all(|e| !seen.contains(e)));
        }
    }
}

#[test]
fn the_outcome_shows_the_count_only_where_it_was_agreed() {
    let world = World::new();
    for discloses in [false, true] {
        let request = world.request(1, &[("bytes", 1)]);
        let mut terms = world.terms(&request, 8, 1);
        terms.discloses_count = discloses;
        let (matching, serving, _) = world.granted_with(request, terms);
        let blinder = matching.blinder(&name("bytes")).unwrap();
        let blinded = blinder.blind(0, vec![element("bytes", 1)]).unwrap();
        let (matching, frame, _) = matching.send(blinded).unwrap();
        let (serving, answer) = world.serve(serving, &frame);
        let (matching, _) = matching.receive(&answer).unwrap();
        let closing = matching
            .close(Finish::Complete { matches: 1 }, None, NOW)
            .unwrap();
        let read: crate::statements::ReceiverClosing =
            crate::statements::open_as_named(closing.frame()).unwrap();
        let outcome = read.outcome.unwrap();
        assert_eq!(outcome.matches, discloses.then(|| int(1)));
        // The salt belongs to the grant: another grant of the same request gives another.
        let usage = format!("outcome/{}", read.grant);
        let salt = SessionSeed::new(SEED).derive(&Hex([1; 16]), &usage);
        assert_eq!(outcome.commitment, outcome_commitment(&salt, 1));
        assert_ne!(outcome.commitment, outcome_commitment(&salt, 0));
        let charged = charges(&serving);
        let closed = serving
            .close(closing.frame().clone(), charged, NOW)
            .unwrap();
        closing.settle(closed.sender).unwrap();
    }
}

/// A session that stopped half-way: what both sides have stored.
struct Stored {
    request: Frame,
    grant: Frame,
    chunks: Vec<(Frame, Frame)>,
    waiting: Vec<Frame>,
}

const HALF: [u32; 5] = [4, 4, 7, 1, 9];

/// Sends the first chunks of [`HALF`], one element each, and answers some.
fn go_on(
    world: &World,
    matching: Matching,
    serving: Serving,
    sent: usize,
    answered: usize,
) -> (Matching, Serving, Vec<(Frame, Frame)>, Vec<Frame>) {
    let (mut matching, mut serving, mut frames) = (matching, serving, Vec::new());
    for (i, value) in HALF.iter().enumerate().take(sent) {
        let blinder = matching.blinder(&name("text")).unwrap();
        let blinded = blinder
            .blind(i as u64, vec![element("text", *value)])
            .unwrap();
        let (next, frame, _) = matching.send(blinded).unwrap();
        matching = next;
        frames.push(frame);
    }
    let waiting = frames.split_off(answered);
    let mut chunks = Vec::new();
    for frame in frames {
        let (next, answer) = world.serve(serving, &frame);
        serving = next;
        matching = matching.receive(&answer).unwrap().0;
        chunks.push((frame, answer));
    }
    (matching, serving, chunks, waiting)
}

fn stop_half_way(world: &World) -> (Matching, Serving, Stored) {
    let (matching, serving, [request, grant]) =
        world.granted(world.request(1, &[("text", HALF.len() as u64)]), 1, 4);
    let (matching, serving, chunks, waiting) = go_on(world, matching, serving, 4, 2);
    (
        matching,
        serving,
        Stored {
            request,
            grant,
            chunks,
            waiting,
        },
    )
}

#[test]
fn a_resumed_receiver_sends_the_same_frames() {
    let world = World::new();
    let (before, _, stored) = stop_half_way(&world);
    let key = Arc::clone(&world.receiver);
    let again = Asking::resume(
        kernel(),
        stored.request.clone(),
        key,
        SessionSeed::new(SEED),
    )
    .unwrap();
    assert_eq!(again.frame(), &stored.request);
    let mut matching = expect_grant(again.answer(stored.grant.clone()).unwrap());
    let mut sent = Vec::new();
    let frames = stored
        .chunks
        .iter()
        .map(|(frame, _)| frame)
        .chain(&stored.waiting);
    for (i, (value, want)) in HALF.iter().zip(frames).enumerate() {
        let blinder = matching.blinder(&name("text")).unwrap();
        let blinded = blinder
            .blind(i as u64, vec![element("text", *value)])
            .unwrap();
        let (next, frame, keep) = matching.send(blinded).unwrap();
        assert_eq!(&frame, want, "chunk {i}");
        matching = next;
        sent.push(keep);
    }
    for ((_, answer), sent) in stored.chunks.iter().zip(sent) {
        let (next, answered) = matching.receive(answer).unwrap();
        matching = next;
        sent.finalize(answered).unwrap();
    }
    let (old, new) = (
        &before.progress().transcript,
        &matching.progress().transcript,
    );
    assert_eq!(old.running(), new.running());
    assert_eq!(old.set_commitment(), new.set_commitment());
    assert_eq!(old.evaluations(), new.evaluations());
    let close = |m: Matching| m.close(Finish::Abort, None, NOW).unwrap().frame().clone();
    assert_eq!(close(before), close(matching));
}

#[test]
fn a_changed_element_takes_another_blind_when_a_session_is_resumed() {
    let world = World::new();
    let (_, _, stored) = stop_half_way(&world);
    let (key, seed) = (Arc::clone(&world.receiver), SessionSeed::new(SEED));
    let again = Asking::resume(kernel(), stored.request, key, seed).unwrap();
    let matching = expect_grant(again.answer(stored.grant).unwrap());
    let blinder = matching.blinder(&name("text")).unwrap();
    // Another element stands at index 0 now than when the session was begun.
    let changed = element("text", HALF[0] + 1);
    let under_blind_of = |value| {
        let of = element("text", value);
        let blinds = SessionSeed::new(SEED)
            .blinds(kernel(), &[1; 16], "text", 0, &[of.as_bytes()])
            .unwrap();
        let blinds = AdditiveBlinds::new(blinds);
        oprf::blind_additive(kernel(), &[changed.as_bytes()], &blinds)
            .unwrap()
            .to_vec()
    };
    let (old, new) = (under_blind_of(HALF[0]), under_blind_of(HALF[0] + 1));
    let blinded = blinder
        .blind(0, vec![element("text", HALF[0] + 1)])
        .unwrap();
    let (_, frame, _) = matching.send(blinded).unwrap();
    let sent = BlindedChunk::parse(&frame).unwrap().elements;
    assert_ne!(sent, old);
    assert_eq!(sent, new);
}

#[test]
fn a_resumed_sender_stands_where_it_stood() {
    let world = World::new();
    let (_, before, stored) = stop_half_way(&world);
    let asked = || {
        Asked::open(
            stored.request.clone(),
            &world.receiver_reference(),
            world.sender_reference(),
        )
        .unwrap()
    };
    let key = || Arc::clone(&world.sender);
    let mut serving = asked()
        .resume(kernel(), &stored.grant, NONCE, key())
        .unwrap();
    for (frame, answer) in &stored.chunks {
        serving = serving.receive(frame).unwrap().0.replay(answer).unwrap();
    }
    assert_eq!(
        before.progress().transcript.running(),
        serving.progress().transcript.running()
    );
    assert_eq!(charges(&before), charges(&serving));
    // Both go on with the next chunk and sign the same bytes: `fresh` is the same in this test.
    let (before, one) = world.serve(before, &stored.waiting[0]);
    let (serving, two) = world.serve(serving, &stored.waiting[0]);
    assert_eq!(one, two);
    let abort = |s: Serving| {
        let charged = charges(&s);
        s.abort(charged, NOW).unwrap()
    };
    assert_eq!(abort(before), abort(serving));

    // A store that was altered, or another nonce, is not taken up.
    let start = || {
        asked()
            .resume(kernel(), &stored.grant, NONCE, key())
            .unwrap()
    };
    let (first, second) = (&stored.chunks[0], &stored.chunks[1]);
    assert!(
        start()
            .receive(&first.0)
            .unwrap()
            .0
            .replay(&second.1)
            .is_err()
    );
    assert!(start().replay(&first.1).is_err());
    assert!(start().receive(&second.0).is_err());
    let wrong = asked()
        .resume(kernel(), &stored.grant, Hex([1; 32]), key())
        .unwrap_err();
    assert_eq!(wrong.code(), "bug");
}

#[test]
fn a_session_is_not_resumed_with_another_seed_or_key() {
    let world = World::new();
    let asking = world.ask(world.request(1, &[("text", 1)]));
    let resume = |key: &Arc<crate::signing::SigningKey>, seed| {
        Asking::resume(
            kernel(),
            asking.frame().clone(),
            Arc::clone(key),
            SessionSeed::new(seed),
        )
        .map(|_| ())
        .map_err(|e| e.code())
    };
    assert_eq!(resume(&world.receiver, SEED), Ok(()));
    assert_eq!(resume(&world.receiver, [0; 32]), Err("usage"));
    assert_eq!(resume(&world.sender, SEED), Err("bad-signature"));
}

/// Whether text shows bytes, as hex or as a list of numbers.
fn shows(text: &str, secret: &[u8]) -> bool {
    let list = format!("{secret:?}");
    text.to_lowercase().contains(&hex::encode(secret))
        || text.split_whitespace().collect::<String>().contains(
            &list
                .trim_matches(|c| c == '[' || c == ']')
                .split_whitespace()
                .collect::<String>(),
        )
}

#[test]
fn debug_shows_no_secret() {
    let world = World::new();
    let asking = world.ask(world.request(1, &[("text", 2)]));
    let asked = world.asked(&asking);
    let terms = world.terms(asking.request(), 2, 1);
    let mut shown = vec![
        format!("{asking:?}"),
        format!("{asked:?}"),
        format!("{terms:?}"),
    ];
    let (serving, grant) = asked
        .grant(kernel(), terms, NONCE, NOW, Arc::clone(&world.sender))
        .unwrap();
    let matching = expect_grant(asking.answer(grant).unwrap());
    let blinder = matching.blinder(&name("text")).unwrap();
    let inputs = [element("text", 1), element("text", 2)];
    let mut secrets = vec![SEED.to_vec(), vec![0x11; 32], vec![0x22; 32]];
    for (i, input) in inputs.iter().enumerate() {
        let seed = SessionSeed::new(SEED);
        let blinds = seed
            .blinds(kernel(), &[1; 16], "text", i as u64, &[input.as_bytes()])
            .unwrap();
        secrets.push(blinds[0].to_bytes().to_vec());
        secrets.push(input.as_bytes().to_vec());
    }
    secrets.extend(world.keys.values().map(|k| k.to_bytes().to_vec()));
    // Revealed in the closings, secret until then.
    let derived = SessionSeed::new(SEED);
    secrets.push(derived.derive(&Hex([1; 16]), "nonce").to_vec());
    secrets.push(derived.derive(&Hex([1; 16]), "outcome").to_vec());
    secrets.push(NONCE.0.to_vec());

    let blinded = blinder.blind(0, Vec::from(inputs)).unwrap();
    shown.extend([
        format!("{blinder:?}"),
        format!("{blinder:#?}"),
        format!("{blinded:?}"),
    ]);
    assert_snapshot!(format!("{:?}", world.receiver), @"SigningKey(..)");
    let (matching, frame, sent) = matching.send(blinded).unwrap();
    shown.extend([
        format!("{matching:?}"),
        format!("{matching:#?}"),
        format!("{sent:?}"),
    ]);
    shown.extend([format!("{serving:?}"), format!("{serving:#?}")]);
    let (serving, answer) = world.serve(serving, &frame);
    let (matching, answered) = matching.receive(&answer).unwrap();
    shown.extend([
        format!("{serving:?}"),
        format!("{matching:?}"),
        format!("{answered:?}"),
    ]);
    for output in sent.finalize(answered).unwrap() {
        let context = LabelContext::new(&name("fighters"), 3);
        let key = LabelKey::derive(&output, &context).unwrap();
        assert_eq!(format!("{output:?} {key:?}"), "Output(..) LabelKey(..)");
        secrets.push(output.tag(32).to_vec());
        secrets.push(output.label_key_material().to_vec());
        assert_eq!(
            output.tag(32).len() + output.label_key_material().len(),
            OUTPUT_LEN
        );
    }
    for text in &shown {
        for (i, secret) in secrets.iter().enumerate() {
            assert!(!shows(text, secret), "secret {i} stands in {text}");
        }
    }
    assert!(shows("Hex([1, 2, 255])", &[1, 2, 255]) && shows("x00FFx", &[0, 255]));
}

#[test]
fn debug_of_what_holds_seed_and_blinds_is_pinned() {
    let world = World::new();
    let (matching, _, _) = world.granted(world.request(1, &[("text", 2)]), 1, 1);
    let blinder = matching.blinder(&name("text")).unwrap();
    let blinded = blinder.blind(0, vec![element("text", 1)]).unwrap();
    let key = hex::encode(world.keys[&name("text")].public_bytes());
    let kernel = format!("{:?}", crate::test_support::kernel());
    let redact = |text: String| text.replace(&key, "KEY").replace(&kernel, "KERNEL");
    assert_snapshot!(
        redact(format!("{blinder:?}")),
        @r#"Blinder { kernel: KERNEL, seed: SessionSeed(..), session: 01010101010101010101010101010101, type_name: Name("text"), key: PublicKey(KEY) }"#
    );
    let text = format!("{blinded:?}");
    let (_, _, sent) = matching.send(blinded).unwrap();
    assert_snapshot!(
        redact(text),
        @r#"Blinded { type_name: Name("text"), elements: Elements(1), blinded: BlindedElements(1 elements), blinds: AdditiveBlinds(..), key: PublicKey(KEY) }"#
    );
    assert_snapshot!(
        redact(format!("{sent:?}")),
        @"Sent { kernel: KERNEL, index: 0, elements: Elements(1), blinded: BlindedElements(1 elements), blinds: AdditiveBlinds(..), key: PublicKey(KEY) }"
    );

    // Of the states, what stands beside the statements, which are public.
    let asking = world.ask(world.request(1, &[("text", 2)]));
    let request = format!("{:?}", asking.request());
    let frame = format!("{:?}", asking.frame());
    let rest = |text: String| {
        let text = text.replace(&request, "REQUEST").replace(&frame, "FRAME");
        text.replace(&kernel, "KERNEL")
    };
    assert_snapshot!(
        rest(format!("{asking:?}")),
        @"Asking { kernel: KERNEL, request: REQUEST, frame: FRAME, key: SigningKey(..), seed: SessionSeed(..) }"
    );
    let (matching, serving, _) = world.granted(world.request(1, &[("text", 2)]), 2, 1);
    let progress = format!("{:?}", matching.progress());
    let rest = |text: String| {
        let text = text.replace(&progress, "PROGRESS");
        text.replace(&kernel, "KERNEL")
    };
    assert_snapshot!(
        rest(format!("{matching:?}")),
        @"Matching { kernel: KERNEL, progress: PROGRESS, key: SigningKey(..), seed: SessionSeed(..) }"
    );
    assert_snapshot!(rest(format!("{serving:?}")), @"Serving { progress: PROGRESS, .. }");
}
