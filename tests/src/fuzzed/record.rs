//! The verifier of records over arbitrary files: frames of true records in any order, edited, cut.
//!
//! Nobody here holds a key, so what verifies must be a true record, to the byte.

use std::sync::OnceLock;

use tallystick_protocol::{
    error::{Error, Fault},
    frame::{Frame, FrameReader, ReadError},
    verify::{ProofJob, RecordVerifier, Report, Trust, Verdict},
};

use super::{
    input::{Input, edited},
    world::{NOW, charges, honest, kernel, world},
};

/// True records: two complete, one aborted by the sender, one refused.
fn records() -> &'static [Vec<Frame>] {
    static RECORDS: OnceLock<Vec<Vec<Frame>>> = OnceLock::new();
    RECORDS.get_or_init(|| {
        let complete = honest(0).record();
        let head = &complete[..5];
        let (serving, accepted) = honest(0).serving().receive(&head[3]).unwrap();
        let evaluation = world().evaluate(accepted, honest(0).session);
        let (serving, answer) = serving.answer(evaluation).unwrap();
        assert_eq!(answer, head[4]);
        let charged = charges(&serving);
        let closing = serving.abort(charged, NOW + 50).unwrap();
        let aborted = [head, &[closing]].concat();
        let refused = world().asked(&complete[1]).refuse(
            tallystick_protocol::statements::RefusalCode::Busy,
            None,
            NOW,
            &world().sender.key,
        );
        let refused = vec![complete[0].clone(), complete[1].clone(), refused.unwrap().1];
        vec![complete, honest(1).record(), aborted, refused]
    })
}

fn bytes(frames: &[Frame]) -> Vec<u8> {
    frames
        .iter()
        .flat_map(|frame| frame.bytes().to_vec())
        .collect()
}

fn trust() -> Trust {
    let mut trust = Trust::default();
    for agency in [&world().receiver, &world().sender] {
        trust.add(agency.reference.agency.clone(), agency.key.verify_key());
    }
    trust
}

/// As an auditor's program does it.
fn verify(file: &[u8], trust: Option<Trust>) -> Report {
    let mut reader = FrameReader::new(file);
    let mut verifier = RecordVerifier::new(kernel(), trust);
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                let job = match verifier.push(frame) {
                    Ok(job) => job,
                    Err(failure) => {
                        let error = failure.error();
                        assert_eq!(error.fault(), Fault::Peer, "{error}");
                        return verifier.fail(&failure);
                    }
                };
                match job.map(ProofJob::run) {
                    Some(Ok(proven)) => verifier.settle(proven),
                    Some(Err(failure)) => return verifier.fail(&failure),
                    None => {}
                }
            }
            Ok(None) => return verifier.finish(),
            Err(ReadError::Frame(error)) => return verifier.fail_framing(error),
            Err(ReadError::Io(_)) => {
                return verifier.fail_framing(Error::Bug("slices can be read"));
            }
        }
    }
}

/// What a report says fits together.
fn check(report: &Report) {
    let failed = report
        .checks
        .iter()
        .any(|check| check.verdict == Verdict::Fail);
    assert_eq!(report.verified, !failed);
    assert!(report.checks.iter().all(|check| !check.name.is_empty()));
}

/// A file made of frames of true records.
fn file(input: &mut Input<'_>) -> Vec<u8> {
    let mut frames = records()[input.below(4)].clone();
    let other = &records()[input.below(4)];
    for _ in 0..input.below(4) {
        let (at, from) = (input.below(frames.len() + 1), input.below(other.len()));
        match input.below(5) {
            0 if at < frames.len() => {
                frames.remove(at);
            }
            1 if at < frames.len() => frames[at] = other[from].clone(),
            2 if at < frames.len() => {
                let with = from % frames.len();
                frames.swap(at, with);
            }
            3 => frames.truncate(at),
            _ => frames.insert(at, other[from].clone()),
        }
        if frames.is_empty() {
            break;
        }
    }
    let file = bytes(&frames);
    match input.below(2) {
        0 => file,
        _ => edited(&file, input),
    }
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.below(8);
    let (raw, trusted) = (how == 0, how % 2 == 1);
    let files = match raw {
        true => {
            let rest = input.rest();
            let (first, second) = rest.split_at(rest.len() / 2);
            [rest.to_vec(), [first, first, second].concat()]
        }
        false => [file(&mut input), file(&mut input)],
    };
    let reports = files.map(|file| {
        let report = verify(&file, trusted.then(trust));
        check(&report);
        let truth = records().iter().any(|record| bytes(record) == file);
        // Without trust, whoever has two keys makes a record; here nobody has.
        assert_eq!(report.verified, truth, "what verifies is a true record");
        report
    });
    let [ours, theirs] = &reports;
    let agree = ours.claims.agrees_with(&theirs.claims);
    assert_eq!(
        agree,
        theirs.claims.agrees_with(&ours.claims),
        "agreement has no direction"
    );
    if ours.verified && theirs.verified {
        let same = ours.claims.session == theirs.claims.session;
        assert!(
            same || agree == Some(false),
            "records of two sessions agree"
        );
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let raw = |record: &[u8]| [&[0], record].concat();
    vec![
        raw(&bytes(&records()[3])),
        raw(&bytes(&records()[2])),
        vec![1, 0, 0, 0, 0, 1, 0, 0],
        vec![1, 2, 0, 0, 0, 3, 0, 0],
        vec![1, 0, 1, 1, 5, 5, 1, 0, 0, 2, 1, 4, 4, 0],
        vec![1, 0, 0, 0, 1, 3, 0, 70, 0, 1, 3],
        vec![1, 0, 2, 1, 5, 5, 4, 0, 2, 0, 1, 5, 0, 3, 0],
    ]
}
