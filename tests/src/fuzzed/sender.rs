//! The sender as a state machine, against a receiver that holds its key and does as it likes.
//!
//! A few plain lines say which chunk may be taken: signed over all before it, next in order, of a
//! granted type, within declared numbers, chunk size and window. The sender must say the same for
//! every chunk, evaluate what is valid and nothing else, and charge exactly what it evaluated.

use std::collections::BTreeMap;

use tallystick_protocol::{
    error::Fault,
    frame::{Frame, Kind},
    session::{Accepted, ChargeReceipt, Serving},
    statements::{Charge, Hex, ReceiverClosing, SenderClosing, Status, open_as_named},
    verify::RecordVerifier,
};

use super::{
    input::{Input, edited},
    world::{
        ASKED, CHUNK, Chains, Honest, NOW, WINDOW, blinded_body, charges, honest, int, kernel,
        name, unsigned, world,
    },
};

const STEPS: usize = 24;

struct Run {
    session: &'static Honest,
    serving: Serving,
    chains: Chains,
    /// Accepted and not evaluated, oldest first; with whether its elements are valid.
    waiting: Vec<(Accepted, Frame, bool)>,
    /// Frames of the record: blinded chunks and their answers.
    frames: Vec<(Frame, Frame)>,
    left: BTreeMap<&'static str, usize>,
    taken: usize,
}

impl Run {
    fn new() -> Self {
        let session = honest(0);
        Self {
            session,
            serving: session.serving(),
            chains: session.chains(),
            waiting: Vec::new(),
            frames: Vec::new(),
            left: ASKED.iter().map(|(ty, set)| (*ty, set.len())).collect(),
            taken: 0,
        }
    }

    /// A chunk of the receiver's making: its frame, and whether it may be taken with which elements.
    fn chunk(&self, input: &mut Input<'_>) -> (Option<Frame>, Option<(&'static str, bool, usize)>) {
        let types = ["bytes", "text", "document", "padding"];
        let ty = types[[0, 1, 0, 1, 2, 3][input.below(6)]];
        let count = [1, 2, 1, 2, 0, 3][input.below(6)];
        let mut valid = true;
        let elements: Vec<[u8; 32]> = (0..count)
            .map(|_| match input.below(8) {
                6 => {
                    valid = false;
                    input.one_of(&[[0; 32], [0xff; 32]])
                }
                7 => {
                    let some = &self.session.evaluated[input.below(6)];
                    *some.body()[6..].first_chunk().unwrap()
                }
                n => {
                    let some = unsigned(&self.session.blinded[n]);
                    *some.last_chunk().unwrap()
                }
            })
            .collect();
        let right = self.taken as u32;
        let (mut index, mut by, mut chains) = (right, &world().receiver, self.chains.clone());
        let mut good = true;
        let fault = input.below(12);
        match fault {
            0 => index = index.wrapping_add(1),
            1 => index = index.wrapping_sub(1),
            2 => by = &world().sender,
            3 => chains = honest(1).chains(),
            4 => chains = self.session.chains(),
            _ => {}
        }
        good &= match fault {
            0..=3 => false,
            // The chain's start is right for the first chunk alone.
            4 => self.taken == 0,
            _ => true,
        };
        let mut frame = chains.blinded(by, &blinded_body(index, ty.as_bytes(), &elements));
        if fault == 5 {
            let body = frame.as_ref().map(|frame| edited(frame.body(), input));
            let changed = body.and_then(|body| Frame::new(Kind::BlindedChunk, &body).ok());
            good &= changed == frame;
            frame = changed;
        }
        if fault == 6 {
            let body = [&blinded_body(index, ty.as_bytes(), &elements)[..], &[0; 64]].concat();
            frame = Frame::new(Kind::BlindedChunk, &body).ok();
            good = false;
        }
        // All chunks of a type are full but its last.
        let full = |left: &usize| *left >= count && (count == CHUNK || count == *left);
        let granted = self.left.get(ty).is_some_and(full);
        let may = good && granted && (1..=CHUNK).contains(&count) && self.waiting.len() < WINDOW;
        (frame, may.then_some((ty, valid, count)))
    }

    /// Gives a frame to the sender, whose word must be that of the plain rules.
    fn give(mut self, frame: Frame, may: Option<(&'static str, bool, usize)>) -> Option<Self> {
        let (serving, accepted) = match self.serving.receive(&frame) {
            Ok(taken) => taken,
            Err(error) => {
                assert!(may.is_none(), "what was signed and granted is refused");
                assert_eq!(error.fault(), Fault::Peer, "{error}");
                return None;
            }
        };
        let (ty, valid, count) = may.expect("it took what it must refuse");
        assert_eq!(accepted.index() as usize, self.taken);
        assert_eq!(accepted.elements(), count);
        assert_eq!(accepted.type_name().as_str(), ty);
        assert_eq!(accepted.digest(), Hex(frame.digest()));
        self.serving = serving;
        self.chains.took_blinded(&frame);
        *self.left.get_mut(ty).unwrap() -= count;
        self.taken += 1;
        self.waiting.push((accepted, frame, valid));
        Some(self)
    }

    /// Evaluates the oldest chunk, under a receipt and a key that may be those of another.
    fn evaluate(mut self, input: &mut Input<'_>) -> Option<Self> {
        if self.waiting.is_empty() {
            return Some(self);
        }
        let (accepted, frame, valid) = self.waiting.remove(0);
        let (mut session, mut index) = (self.session.session, accepted.index());
        let mut digest = accepted.digest();
        let mut key = accepted.type_name().clone();
        let fault = input.below(12);
        match fault {
            0 => session = honest(1).session,
            1 => index = index.wrapping_add(1),
            2 => digest.0[31] ^= 1,
            3 => {
                key = name(if key.as_str() == "text" {
                    "bytes"
                } else {
                    "text"
                })
            }
            _ => {}
        }
        let receipt = ChargeReceipt::committed(session, index, digest);
        let evaluated = accepted.evaluate(&receipt, &world().keys[&key], &[0x77; 32]);
        assert_eq!(
            evaluated.is_ok(),
            fault > 3 && valid,
            "evaluated without right"
        );
        let (serving, answer) = self.serving.answer(evaluated.ok()?).unwrap();
        self.serving = serving;
        self.frames.push((frame, answer));
        Some(self)
    }

    /// The node was killed, and takes up what it stored.
    fn resume(mut self, input: &mut Input<'_>) -> Option<Self> {
        let before = (
            charges(&self.serving),
            self.serving.progress().is_complete(),
        );
        let mut serving = self.session.serving();
        for (blinded, answer) in &self.frames {
            serving = serving.receive(blinded).unwrap().0;
            if input.below(8) == 7 {
                // An answer that was altered on the disk.
                let body = edited(answer.body(), input);
                let altered = Frame::new(Kind::EvaluatedChunk, &body).unwrap();
                let same = altered == *answer;
                assert_eq!(
                    serving.replay(&altered).is_ok(),
                    same,
                    "another answer is replayed"
                );
                return None;
            }
            serving = serving.replay(answer).unwrap();
        }
        for (accepted, frame, _) in &mut self.waiting {
            let (next, again) = serving.receive(frame).unwrap();
            serving = next;
            assert_eq!(again.digest(), accepted.digest());
            *accepted = again;
        }
        let after = (charges(&serving), serving.progress().is_complete());
        assert_eq!(before, after, "a resumed session differs");
        self.serving = serving;
        Some(self)
    }

    /// The receiver closes with whatever it signs.
    fn close(self, input: &mut Input<'_>) {
        let charged = charges(&self.serving);
        let total: u64 = charged.iter().map(|charge| charge.elements.get()).sum();
        let left: usize = self.left.values().sum();
        let asked: usize = ASKED.iter().map(|(_, set)| set.len()).sum();
        assert_eq!(
            total,
            (asked - left) as u64,
            "charged is not what was taken"
        );
        let complete = left == 0 && self.waiting.is_empty();

        let progress = self.serving.progress();
        let truth: ReceiverClosing = open_as_named(&self.session.receiver_closing).unwrap();
        let mut closing = truth.clone();
        if input.below(4) > 0 {
            // What a receiver that knows the chunks would say of them.
            closing = self.described(truth, complete);
        }
        let true_to_it = closing.clone();
        let edits = input.below(4);
        if edits == 2 {
            lie(&mut closing, input);
        }
        let mut payload = serde_json::to_vec(&closing).unwrap();
        if edits == 3 {
            payload = edited(&payload, input);
        }
        let Some(frame) = world().receiver.statement::<ReceiverClosing>(&payload) else {
            return;
        };
        let mut stated = charged.clone();
        let wrong = input.below(6) == 5 && spoil(&mut stated, input);
        let spent: Vec<u64> = progress.spent().map(|(_, spent)| spent).collect();
        assert_eq!(spent.iter().sum::<u64>(), total);
        let described = self.described(true_to_it, complete);
        let record = self.record();
        let closed = match self.serving.close(frame, stated, NOW + 40) {
            Ok(closed) => closed,
            Err(error) => {
                assert!(wrong || error.fault() == Fault::Peer, "{error}");
                return;
            }
        };
        assert!(!wrong, "it charged what was not evaluated");
        let said: ReceiverClosing = open_as_named(&closed.receiver).unwrap();
        assert!(said.status == Status::Aborted || complete);
        let counts = |closing: &ReceiverClosing| {
            (
                (closing.chunks, closing.elements),
                (closing.set_commitment, closing.evaluations, closing.running),
                (
                    closing.session,
                    closing.request,
                    closing.grant,
                    closing.nonce,
                ),
            )
        };
        assert_eq!(counts(&said), counts(&described));
        let own: SenderClosing = open_as_named(&closed.sender).unwrap();
        assert_eq!(own.charged, charged);
        assert!(
            verifies(record, &[closed.receiver, closed.sender]),
            "both closed, and it fails"
        );
    }

    /// A closing that agrees with what happened.
    fn described(&self, mut closing: ReceiverClosing, complete: bool) -> ReceiverClosing {
        let mut tree = [(); 2].map(|()| tallystick_protocol::log::TreeHasher::new());
        for (blinded, answer) in &self.frames {
            tree[0].push(unsigned(blinded));
            tree[1].push(unsigned(answer));
        }
        for (_, frame, _) in &self.waiting {
            tree[0].push(unsigned(frame));
        }
        let elements = |answer: &Frame| u16::from_be_bytes([answer.body()[4], answer.body()[5]]);
        let answered: u64 = self
            .frames
            .iter()
            .map(|(_, a)| u64::from(elements(a)))
            .sum();
        closing.chunks = int(self.frames.len() as u64);
        closing.elements = int(answered);
        closing.set_commitment = Hex(tree[0].root());
        closing.evaluations = Hex(tree[1].root());
        let mut chains = self.session.chains();
        for (blinded, answer) in &self.frames {
            chains.took_blinded(blinded);
            chains.took_evaluated(answer);
        }
        for (_, frame, _) in &self.waiting {
            chains.took_blinded(frame);
        }
        closing.running = chains.running();
        if !complete {
            closing.status = Status::Aborted;
            closing.outcome = None;
        }
        closing
    }

    /// The record so far, without closings.
    fn record(&self) -> Vec<Frame> {
        let header = tallystick_protocol::record::header(&self.session.session).unwrap();
        let mut frames = vec![
            header,
            self.session.request.clone(),
            self.session.grant.clone(),
        ];
        for (blinded, answer) in &self.frames {
            frames.extend([blinded.clone(), answer.clone()]);
        }
        frames.extend(self.waiting.iter().map(|(_, frame, _)| frame.clone()));
        frames
    }

    /// The receiver went away.
    fn abort(self) {
        let charged = charges(&self.serving);
        let record = self.record();
        let closing = self.serving.abort(charged, NOW + 50).unwrap();
        assert!(verifies(record, &[closing]), "the record of an abort fails");
    }
}

/// Changes one member of the receiver's closing.
fn lie(closing: &mut ReceiverClosing, input: &mut Input<'_>) {
    match input.below(11) {
        0 => closing.session.0[0] ^= 1,
        1 => closing.request.0[0] ^= 1,
        2 => closing.grant.0[0] ^= 1,
        3 => closing.chunks = int(closing.chunks.get() + 1),
        4 => closing.elements = int(closing.elements.get() + 1),
        5 => closing.set_commitment.0[0] ^= 1,
        6 => closing.evaluations.0[0] ^= 1,
        7 => closing.running.0[0] ^= 1,
        8 => closing.nonce.0[0] ^= 1,
        9 => closing.status = Status::Complete,
        _ => closing.outcome = None,
    }
}

/// Changes one number of what is charged.
fn spoil(charged: &mut [Charge], input: &mut Input<'_>) -> bool {
    let charge = &mut charged[input.below(2)];
    let number = [&mut charge.elements, &mut charge.quota_after];
    let number = number.into_iter().nth(input.below(2)).unwrap();
    *number = int(number.get() + 1);
    true
}

fn verifies(record: Vec<Frame>, closings: &[Frame]) -> bool {
    let mut verifier = RecordVerifier::new(kernel(), None);
    for frame in record.iter().chain(closings) {
        match verifier.push(frame.clone()) {
            Ok(Some(job)) => match job.run() {
                Ok(proven) => verifier.settle(proven),
                Err(failure) => return verifier.fail(&failure).verified,
            },
            Ok(None) => {}
            Err(failure) => {
                assert_eq!(failure.error().fault(), Fault::Peer);
                return verifier.fail(&failure).verified;
            }
        }
    }
    verifier.finish().verified
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut run = Run::new();
    for _ in 0..STEPS {
        let next = match input.below(10) {
            0..=3 => match run.chunk(&mut input) {
                (Some(frame), may) => run.give(frame, may),
                (None, _) => Some(run),
            },
            4..=6 => run.evaluate(&mut input),
            7 => {
                // Repeated, of another session, or anything else.
                let index = input.below(6);
                let frame = match input.below(3) {
                    0 => run.frames.get(index).map(|(blinded, _)| blinded.clone()),
                    1 => Some(honest(1).blinded[index].clone()),
                    _ => Some(run.session.evaluated[index].clone()),
                };
                match frame {
                    Some(frame) => run.give(frame, None),
                    None => Some(run),
                }
            }
            8 => run.resume(&mut input),
            _ if input.below(2) == 0 => return run.close(&mut input),
            _ => return run.abort(),
        };
        match next {
            Some(next) => run = next,
            // The state went with its error; what was stored can be taken up.
            None => return,
        }
        if input.is_empty() {
            return run.abort();
        }
    }
}

/// A chunk of two elements of a type, with no fault.
fn good(ty: u8, count: u8) -> Vec<u8> {
    let mut steps = vec![0, ty, count];
    steps.extend((0..=count).map(|n| n % 6));
    steps.extend([11, 4, 11]);
    steps
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let whole = [
        good(0, 1),
        good(0, 1),
        good(0, 0),
        good(1, 1),
        good(1, 1),
        good(1, 0),
    ]
    .concat();
    let honest = |tail: &[u8]| [&whole[..], tail].concat();
    let first = |tail: &[u8]| [&good(0, 1)[..], tail].concat();
    // A lie in each member of the receiver's closing, and chunks without elements.
    let mut seeds: Vec<Vec<u8>> = (0..11).map(|n| honest(&[9, 0, 1, 2, n, 0])).collect();
    seeds.push(vec![0, 0, 4, 11]);
    // After the last chunk of a type: one without elements, and one element too many.
    let most = [good(0, 1), good(0, 1)].concat();
    seeds.push([&most[..], &good(0, 0), &[0, 0, 4, 11]].concat());
    seeds.push([&most[..], &good(0, 1)].concat());
    seeds.extend([
        honest(&[9, 0, 1, 0, 0]),
        honest(&[8, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 0]),
        honest(&[9, 0, 1, 3, 0, 0, 60, 1, 57]),
        honest(&[9, 0, 1, 0, 5, 0, 1]),
        first(&[9, 1]),
        first(&[9, 0, 1, 0, 0]),
        first(&[0, 1, 1, 0, 6, 0, 11, 4, 11, 9, 1]),
        first(&[7, 0, 0]),
        first(&[0, 0, 5, 0, 1, 2, 11]),
        first(&[0, 0, 1, 0, 1, 4]),
        vec![0, 0, 1, 0, 1, 11, 0, 0, 1, 0, 1, 11, 0, 0, 0, 0, 11],
        first(&[8, 7, 0, 0, 30, 0, 0]),
    ]);
    seeds
}
