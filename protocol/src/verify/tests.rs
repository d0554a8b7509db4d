use insta::assert_snapshot;

use super::*;
use crate::{
    frame::FrameReader,
    session::{Answer, Finish, evaluate_under, forged_answer},
    statements::{RefusalCode, SenderClosing},
    test_support::*,
};

/// Verifies frames as a program does: proofs as they come, ends at the first failure.
fn verify_frames(frames: &[Frame], trust: Option<Trust>) -> Report {
    let mut verifier = RecordVerifier::new(kernel(), trust);
    for frame in frames {
        let step = verifier
            .push(frame.clone())
            .and_then(|job| job.map(ProofJob::run).transpose());
        match step {
            Ok(Some(proven)) => verifier.settle(proven),
            Ok(None) => {}
            Err(failure) => return verifier.fail(&failure),
        }
    }
    verifier.finish()
}

/// Verifies bytes as a program does.
pub(crate) fn verify_bytes(bytes: &[u8]) -> Report {
    let mut verifier = RecordVerifier::new(kernel(), None);
    let mut reader = FrameReader::new(bytes);
    loop {
        let frame = match reader.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return verifier.finish(),
            Err(crate::frame::ReadError::Frame(error)) => return verifier.fail_framing(error),
            Err(crate::frame::ReadError::Io(error)) => panic!("{error}"),
        };
        match verifier
            .push(frame)
            .and_then(|job| job.map(ProofJob::run).transpose())
        {
            Ok(Some(proven)) => verifier.settle(proven),
            Ok(None) => {}
            Err(failure) => return verifier.fail(&failure),
        }
    }
}

fn bytes_of(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(|f| f.bytes().to_vec()).collect()
}

/// Five chunks under two types.
fn complete(session: u8) -> Vec<Frame> {
    let sets = [
        ("bytes", vec![1, 2, PADDING]),
        ("text", vec![3, 4, 5, PADDING + 1, PADDING + 2]),
    ];
    World::new().run(session, &sets, (2, 3)).record(session)
}

/// One chunk of one element: the smallest.
fn smallest() -> Vec<Frame> {
    World::new().run(1, &[("text", vec![1])], (1, 1)).record(1)
}

fn refused_record() -> Vec<Frame> {
    let world = World::new();
    let asking = world.ask(world.request(1, &[("text", 2)]));
    let asked = world.asked(&asking);
    let (_, refusal) = asked
        .refuse(RefusalCode::NotAvailable, None, NOW, &world.sender)
        .unwrap();
    let Answer::Refused { request, frame, .. } = asking.answer(refusal).unwrap() else {
        panic!("not refused")
    };
    vec![record::header(&Hex([1; 16])).unwrap(), request, frame]
}

/// The frames of an aborted session of five declared elements, `answered` of `sent` chunks of one
/// answered: opening and chunks, the receiver's closing, the sender's with and without it.
struct Aborted {
    chunks: Vec<Frame>,
    receiver: Frame,
    sender: Frame,
    sender_alone: Frame,
}

fn aborted(sent: u32, answered: u32) -> Aborted {
    let world = World::new();
    let make = || {
        let (mut matching, mut serving, opening) =
            world.granted(world.request(1, &[("text", 5)]), 1, 4);
        let mut frames = vec![record::header(&Hex([1; 16])).unwrap()];
        frames.extend(opening);
        for i in 0..sent {
            let blinder = matching.blinder(&name("text")).unwrap();
            let blinded = blinder.blind(i.into(), vec![element("text", i)]).unwrap();
            let (next, frame, _) = matching.send(blinded).unwrap();
            matching = next;
            frames.push(frame.clone());
            if i < answered {
                let (served, answer) = world.serve(serving, &frame);
                serving = served;
                matching = matching.receive(&answer).unwrap().0;
                frames.push(answer);
            } else {
                serving = serving.receive(&frame).unwrap().0;
            }
        }
        (matching, serving, frames)
    };
    let (matching, serving, chunks) = make();
    let closing = matching.close(Finish::Abort, None, NOW).unwrap();
    let charged = charges(&serving);
    let closed = serving
        .close(closing.frame().clone(), charged.clone(), NOW)
        .unwrap();
    closing.settle(closed.sender.clone()).unwrap();
    let (_, serving, again) = make();
    assert_eq!(again, chunks);
    let sender_alone = serving.abort(charged, NOW).unwrap();
    Aborted {
        chunks,
        receiver: closed.receiver,
        sender: closed.sender,
        sender_alone,
    }
}

impl Aborted {
    fn record(&self, closings: &[&Frame]) -> Vec<Frame> {
        self.chunks
            .iter()
            .chain(closings.iter().copied())
            .cloned()
            .collect()
    }
}

fn verdicts(report: &Report) -> String {
    let of = |c: &Check| format!("{} {}", c.name, c.verdict.name());
    report.checks.iter().map(of).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_complete_record_verifies() {
    let frames = complete(1);
    assert_eq!(frames.len(), 3 + 2 * 5 + 2);
    let report = verify_frames(&frames, None);
    assert!(report.verified, "{:?}", report.checks);
    assert_eq!(report.signers, Signers::NotChecked);
    assert_eq!(report.claims.summary(), Summary::Complete);
    assert_eq!((report.claims.chunks, report.claims.elements), (5, 8));
    assert_eq!(report.claims.bytes, bytes_of(&frames).len() as u64);
    assert_snapshot!(verdicts(&report), @"
    framing pass
    request pass
    answer pass
    signers not-checked
    chunks pass
    proofs pass
    closings pass
    match-count not-checked
    identifiers not-checked
    snapshot not-checked
    ");
    assert!(verify_bytes(&bytes_of(&frames)).verified);
    assert!(verify_bytes(&bytes_of(&smallest())).verified);
}

#[test]
fn every_flipped_byte_of_a_record_is_found() {
    for frames in [smallest(), refused_record()] {
        let bytes = bytes_of(&frames);
        assert!(verify_bytes(&bytes).verified);
        for position in 0..bytes.len() {
            // 0x20 turns the case of letters, 0x01 and 0x80 what packed bytes are made of.
            for mask in [0x01, 0x20, 0x80] {
                let mut changed = bytes.clone();
                changed[position] ^= mask;
                let report = verify_bytes(&changed);
                assert!(!report.verified, "byte {position}, mask {mask:#x}");
                assert!(report.checks.iter().any(|c| c.verdict == Verdict::Fail));
            }
        }
    }
}

#[test]
fn every_flipped_byte_of_an_aborted_record_is_found() {
    let session = aborted(3, 1);
    for closings in [vec![&session.receiver], vec![&session.sender_alone]] {
        let bytes = bytes_of(&session.record(&closings));
        assert!(verify_bytes(&bytes).verified);
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 0x01;
            assert!(!verify_bytes(&changed).verified, "byte {position}");
        }
    }
}

#[test]
fn a_record_cut_anywhere_is_found() {
    for frames in [smallest(), refused_record()] {
        let bytes = bytes_of(&frames);
        for cut in 0..bytes.len() {
            assert!(!verify_bytes(&bytes[..cut]).verified, "cut at {cut}");
        }
    }
    let frames = complete(1);
    for cut in 0..frames.len() {
        assert!(
            !verify_frames(&frames[..cut], None).verified,
            "{cut} frames"
        );
    }
}

#[test]
fn bytes_and_frames_behind_the_end_are_found() {
    let session = aborted(3, 1);
    for frames in [
        smallest(),
        refused_record(),
        session.record(&[&session.sender_alone]),
    ] {
        for tail in [
            &[0][..],
            &[0x31],
            &[0; 5],
            &[0x31, 0, 0, 0, 0],
            &[0xff; 100],
        ] {
            let report = verify_bytes(&[&bytes_of(&frames), tail].concat());
            assert!(!report.verified);
        }
        for extra in &frames {
            let mut longer = frames.clone();
            longer.push(extra.clone());
            assert!(!verify_frames(&longer, None).verified);
        }
        // A record behind a record.
        assert!(!verify_bytes(&[bytes_of(&frames), bytes_of(&frames)].concat()).verified);
    }
}

#[test]
fn dropped_doubled_and_swapped_frames_are_found() {
    let frames = complete(1);
    for i in 0..frames.len() {
        let mut dropped = frames.clone();
        dropped.remove(i);
        assert!(!verify_frames(&dropped, None).verified, "{i} dropped");
        let mut doubled = frames.clone();
        doubled.insert(i, frames[i].clone());
        assert!(!verify_frames(&doubled, None).verified, "{i} doubled");
        for j in 0..i {
            let mut swapped = frames.clone();
            swapped.swap(i, j);
            assert!(
                !verify_frames(&swapped, None).verified,
                "{i} and {j} swapped"
            );
        }
    }
    // A question and its answer, taken out together.
    for i in (3..13).step_by(2) {
        let mut dropped = frames.clone();
        dropped.drain(i..i + 2);
        assert!(
            !verify_frames(&dropped, None).verified,
            "chunk at {i} dropped"
        );
    }
}

#[test]
fn frames_of_another_session_are_found() {
    let (one, two) = (complete(1), complete(2));
    for i in 0..one.len() {
        let mut spliced = one.clone();
        spliced[i] = two[i].clone();
        assert!(
            !verify_frames(&spliced, None).verified,
            "frame {i} of another session"
        );
        if i > 0 {
            let mixed = [&one[..i], &two[i..]].concat();
            assert!(
                !verify_frames(&mixed, None).verified,
                "the rest from {i} on"
            );
        }
    }
}

#[test]
fn answers_follow_their_own_chunk() {
    // The wire may have several chunks under way; a record has one order.
    let session = aborted(3, 1);
    let world = World::new();
    let (mut matching, mut serving, opening) =
        world.granted(world.request(1, &[("text", 2)]), 1, 2);
    let mut asked = Vec::new();
    for i in 0..2 {
        let blinder = matching.blinder(&name("text")).unwrap();
        let blinded = blinder.blind(i, vec![element("text", i as u32)]).unwrap();
        let (next, frame, _) = matching.send(blinded).unwrap();
        matching = next;
        asked.push(frame);
    }
    let (next, first) = world.serve(serving, &asked[0]);
    serving = next;
    let (serving, second) = world.serve(serving, &asked[1]);
    for answer in [&first, &second] {
        matching = matching.receive(answer).unwrap().0;
    }
    let closing = matching
        .close(Finish::Complete { matches: 0 }, None, NOW)
        .unwrap();
    let charged = charges(&serving);
    let closed = serving
        .close(closing.frame().clone(), charged, NOW)
        .unwrap();
    let [request, grant] = opening;
    let header = session.chunks[0].clone();
    let [one, two] = <[Frame; 2]>::try_from(asked).unwrap();
    let in_order = vec![
        header,
        request,
        grant,
        one,
        first,
        two,
        second,
        closed.receiver,
        closed.sender,
    ];
    assert!(verify_frames(&in_order, None).verified);
    let mut as_sent = in_order.clone();
    as_sent.swap(4, 5);
    let report = verify_frames(&as_sent, None);
    let failed = report
        .checks
        .iter()
        .find(|c| c.verdict == Verdict::Fail)
        .unwrap();
    assert_eq!((failed.name, failed.at), ("chunks", Some(5)));
}

#[test]
fn a_wrong_proof_is_found_though_both_sides_signed() {
    // Both sides agree to a session whose evaluations are not the granted key's.
    let world = World::new();
    let request = world.request(1, &[("text", 1)]);
    let other = World::new().keys.remove(&name("bytes")).unwrap();
    let (matching, serving, opening) = world.granted(request, 1, 1);
    let blinder = matching.blinder(&name("text")).unwrap();
    let blinded = blinder.blind(0, vec![element("text", 1)]).unwrap();
    let (matching, frame, _) = matching.send(blinded).unwrap();
    let mut frames = vec![record::header(&Hex([1; 16])).unwrap()];
    frames.extend(opening.clone());
    frames.push(frame.clone());
    let answer = forged_answer(&world, &opening, &frame, |c| evaluate_under(&other, c));
    frames.push(answer.clone());
    let (matching, _) = matching.receive(&answer).unwrap();
    let closing = matching
        .close(Finish::Complete { matches: 0 }, None, NOW)
        .unwrap();
    let serving = serving.receive(&frame).unwrap().0.replay(&answer).unwrap();
    let charged = charges(&serving);
    let closed = serving
        .close(closing.frame().clone(), charged, NOW)
        .unwrap();
    frames.extend([closed.receiver, closed.sender]);
    let report = verify_frames(&frames, None);
    assert!(!report.verified);
    let failed = report
        .checks
        .iter()
        .find(|c| c.verdict == Verdict::Fail)
        .unwrap();
    assert_eq!((failed.name, failed.at), ("proofs", Some(4)));
    assert_eq!(
        report
            .checks
            .iter()
            .filter(|c| c.verdict == Verdict::Fail)
            .count(),
        1
    );
}

#[test]
fn a_proof_that_was_not_run_is_not_forgotten() {
    let mut verifier = RecordVerifier::new(kernel(), None);
    for frame in smallest() {
        drop(verifier.push(frame).unwrap());
    }
    assert!(!verifier.finish().verified);
}

#[test]
fn a_verifier_that_failed_does_not_pass_when_it_is_ended() {
    for mut frames in [smallest(), refused_record()] {
        frames.push(frames[1].clone());
        let mut verifier = RecordVerifier::new(kernel(), None);
        let mut failures = 0;
        for frame in frames {
            match verifier.push(frame) {
                Ok(Some(job)) => verifier.settle(job.run().unwrap()),
                Ok(None) => {}
                Err(_) => failures += 1,
            }
        }
        assert_eq!(failures, 1);
        assert!(!verifier.finish().verified);
    }
    // Signers that nobody vouches for.
    let mut verifier = RecordVerifier::new(kernel(), Some(Trust::default()));
    let pushed: Vec<_> = refused_record()
        .into_iter()
        .map(|f| verifier.push(f))
        .collect();
    assert!(pushed[2].is_err());
    assert!(!verifier.finish().verified);
}

#[test]
fn a_refused_record_verifies() {
    let report = verify_frames(&refused_record(), None);
    assert!(report.verified);
    assert_eq!(report.claims.summary(), Summary::Refused);
    let world = World::new();
    assert!(verify_frames(&refused_record(), Some(trust(&world))).verified);
    // The refusal of another request.
    let mut other = refused_record();
    let asking = world.ask(world.request(1, &[("text", 3)]));
    other[1] = asking.frame().clone();
    assert!(!verify_frames(&other, None).verified);
}

#[test]
fn aborted_records_verify_with_the_closings_there_are() {
    for (sent, answered) in [(0, 0), (1, 0), (1, 1), (3, 1), (4, 2)] {
        let session = aborted(sent, answered);
        let (receiver, sender) = (&session.receiver, &session.sender);
        for closings in [
            vec![receiver, sender],
            vec![receiver],
            vec![&session.sender_alone],
        ] {
            let report = verify_frames(&session.record(&closings), None);
            assert!(report.verified, "{sent} {answered}: {:?}", report.checks);
            assert_eq!(report.claims.summary(), Summary::Aborted);
            assert_eq!(report.claims.chunks, u64::from(answered));
        }
        for closings in [
            vec![],
            vec![sender],
            vec![sender, receiver],
            vec![receiver, &session.sender_alone],
            vec![&session.sender_alone, receiver],
            vec![receiver, receiver],
            vec![receiver, sender, sender],
        ] {
            let report = verify_frames(&session.record(&closings), None);
            assert!(!report.verified, "{sent} {answered} {}", closings.len());
        }
        // A chunk nobody answered cannot be left out.
        if sent > answered {
            let mut without = session.record(&[receiver, sender]);
            without.remove(session.chunks.len() - 1);
            assert!(!verify_frames(&without, None).verified);
        }
    }
}

fn trust(world: &World) -> Trust {
    let mut trust = Trust::default();
    trust.add(name("police-a"), world.receiver.verify_key());
    trust.add(name("border-b"), world.sender.verify_key());
    trust
}

#[test]
fn keys_are_compared_with_the_trust_file() {
    let world = World::new();
    let (receiver, sender) = (world.receiver.verify_key(), world.sender.verify_key());
    let report = verify_frames(&smallest(), Some(trust(&world)));
    assert!(report.verified);
    assert_eq!(report.signers, Signers::Trusted);

    let stranger = crate::signing::SigningKey::from_seed(&[7; 32]).verify_key();
    let mut several = trust(&world);
    several.add(name("police-a"), stranger);
    assert!(verify_frames(&smallest(), Some(several)).verified);

    for (what, listed) in [
        ("an empty file", vec![]),
        ("the receiver alone", vec![("police-a", receiver)]),
        ("the sender alone", vec![("border-b", sender)]),
        (
            "swapped names",
            vec![("police-a", sender), ("border-b", receiver)],
        ),
        (
            "other names",
            vec![("police-x", receiver), ("border-x", sender)],
        ),
        (
            "another key",
            vec![("police-a", stranger), ("border-b", sender)],
        ),
    ] {
        let mut trust = Trust::default();
        for (agency, key) in listed {
            trust.add(name(agency), key);
        }
        for frames in [smallest(), refused_record()] {
            let report = verify_frames(&frames, Some(trust.clone()));
            assert!(!report.verified, "{what}");
            assert_eq!(report.signers, Signers::NotChecked, "{what}");
            let failed = report
                .checks
                .iter()
                .find(|c| c.verdict == Verdict::Fail)
                .unwrap();
            assert_eq!(failed.name, "signers", "{what}");
        }
    }
}

#[test]
fn two_copies_agree_disagree_or_cannot_be_compared() {
    let claims = |frames: &[Frame]| {
        let report = verify_frames(frames, None);
        assert!(report.verified);
        report.claims
    };
    let (one, two) = (claims(&complete(1)), claims(&complete(2)));
    assert_eq!(one.agrees_with(&claims(&complete(1))), Some(true));
    assert_eq!(one.agrees_with(&two), Some(false));
    assert_eq!(one.agrees_with(&claims(&smallest())), Some(false));
    let refused = claims(&refused_record());
    assert_eq!(refused.agrees_with(&claims(&refused_record())), Some(true));
    assert_eq!(refused.agrees_with(&one), Some(false));
    let session = aborted(3, 1);
    let both = claims(&session.record(&[&session.receiver, &session.sender]));
    let receivers = claims(&session.record(&[&session.receiver]));
    let senders = claims(&session.record(&[&session.sender_alone]));
    for (a, b, want) in [
        (&both, &both, Some(true)),
        (&both, &receivers, None),
        (&receivers, &senders, None),
        (&receivers, &receivers, Some(true)),
    ] {
        assert_eq!(a.agrees_with(b), want);
        assert_eq!(b.agrees_with(a), want);
    }
    // Two closings of one complete session that differ in a claim nobody can check.
    let world = World::new();
    let mut frames = complete(1);
    let last = frames.len() - 1;
    let mut closing: SenderClosing = open_as_named(&frames[last]).unwrap();
    closing.closed_ms = int(NOW + 99);
    frames[last] = crate::statements::sign(&closing, &world.sender).unwrap();
    assert_eq!(one.agrees_with(&claims(&frames)), Some(false));
}

#[test]
fn the_header_names_the_session() {
    let mut frames = smallest();
    frames[0] = record::header(&Hex([2; 16])).unwrap();
    let report = verify_frames(&frames, None);
    let failed = report
        .checks
        .iter()
        .find(|c| c.verdict == Verdict::Fail)
        .unwrap();
    assert_eq!((failed.name, failed.at), ("request", Some(1)));
    assert!(!verify_frames(&[], None).verified);
}
