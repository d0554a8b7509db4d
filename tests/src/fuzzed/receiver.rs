//! The receiver as a state machine, against a sender that holds its keys and does as it likes.
//!
//! Bytes are a sequence of steps. Whatever the sender does: an evaluation is taken only if it is the
//! true one, what is looked up is a hit only if the sender holds it, and a session that goes on
//! sends the same bytes as before.

use std::collections::VecDeque;

use tallystick_protocol::{
    error::Fault,
    frame::{Frame, Kind},
    session::{Answer, Asking, Finish, Matching, Sent},
    snapshot::{Bucket, LabelContext, LabelKey, bucket_of},
    statements::{Int, ReceiverClosing, SenderClosing, Status, digest_of, open_as_named},
};

use super::{
    input::{Input, edited},
    world::{
        Chains, HELD, Honest, NOW, evaluated_body, honest, int, kernel, payload, payload_of, plan,
        seed, send, unsigned, world,
    },
};

/// Steps of one input: bounds its time.
const STEPS: usize = 24;

struct Run {
    session: &'static Honest,
    matching: Matching,
    chains: Chains,
    /// Chunks sent and not answered.
    waiting: VecDeque<(usize, Sent)>,
    sent: usize,
    answered: usize,
    /// A chunk of which the proof was wrong: a program stops there.
    spoiled: bool,
}

/// What becomes of a session at a step.
enum Then {
    Go(Box<Run>),
    /// The state is gone with its error.
    Gone,
    Over,
}

impl Run {
    fn new() -> Self {
        let session = honest(0);
        Self {
            session,
            matching: session.matching(),
            chains: session.chains(),
            waiting: VecDeque::new(),
            sent: 0,
            answered: 0,
            spoiled: false,
        }
    }

    fn send(mut self) -> Then {
        let plan = plan();
        if self.sent == plan.len() || self.waiting.len() == super::world::WINDOW {
            return Then::Go(self.into());
        }
        let (matching, frame, sent) = send(self.matching, plan[self.sent]);
        assert_eq!(
            frame, self.session.blinded[self.sent],
            "other bytes for one index"
        );
        assert_eq!(sent.index() as usize, self.sent);
        self.chains.took_blinded(&frame);
        self.waiting.push_back((self.sent, sent));
        self.sent += 1;
        self.matching = matching;
        Then::Go(self.into())
    }

    /// Gives a frame; `signed` says whether its author signed it in this place.
    fn deliver(mut self, frame: &Frame, signed: bool) -> Then {
        let due = self.waiting.front().map(|(index, _)| *index);
        let honest = due.is_some_and(|index| *frame == self.session.evaluated[index]);
        let (matching, answered) = match self.matching.receive(frame) {
            Ok(taken) => taken,
            Err(error) => {
                assert!(!honest, "an honest answer is refused");
                assert_eq!(error.fault(), Fault::Peer, "{error}");
                return Then::Gone;
            }
        };
        assert!(signed || honest, "what nobody signed is taken");
        self.matching = matching;
        let (index, sent) = self.waiting.pop_front().unwrap();
        self.chains.took_evaluated(frame);
        self.answered += 1;
        let outputs = match sent.finalize(answered) {
            Ok(outputs) => outputs,
            Err(error) => {
                assert!(!honest, "an honest evaluation is refused");
                assert_eq!(error.fault(), Fault::Peer, "{error}");
                self.spoiled = true;
                return Then::Go(self.into());
            }
        };
        // All but the proof and the signature.
        let elements = |frame: &Frame| frame.body()[..frame.body().len() - 128].to_vec();
        let truth = elements(&self.session.evaluated[index]);
        assert_eq!(
            elements(frame),
            truth,
            "an evaluation that is not the key's was taken"
        );
        let (ty, _, values) = plan()[index];
        assert_eq!(outputs.len(), values.len());
        for (value, output) in values.iter().zip(outputs) {
            let expected = world().output(ty, *value);
            assert_eq!(output.tag(32), expected.tag(32));
            assert_eq!(output.label_key_material(), expected.label_key_material());
            look_up(ty, *value, &output);
        }
        Then::Go(self.into())
    }

    /// A well signed answer whose contents are the sender's choice.
    fn forged(&self, input: &mut Input<'_>) -> Option<Frame> {
        let due = self.waiting.front().map_or(0, |(index, _)| *index);
        let body = unsigned(&self.session.evaluated[due]);
        let (elements, proof) = body[6..].split_at(body.len() - 6 - 64);
        let mut elements = elements.as_chunks::<32>().0.to_vec();
        let mut proof = proof.to_vec();
        let mut index = due as u32;
        match input.below(8) {
            0 => index = index.wrapping_add(u32::from(input.u8())),
            1 => elements.reverse(),
            2 => elements.truncate(input.below(3)),
            3 => elements.push(input.array()),
            // A valid element, the identity, whatever there is.
            4 => {
                let other = unsigned(&self.session.evaluated[input.below(6)]);
                let other = other[6..].first_chunk().copied().unwrap();
                let element = input.below(elements.len());
                elements[element] = input.one_of(&[other, [0; 32], [0xff; 32]]);
            }
            5 => {
                let at = input.below(64);
                proof[at] ^= input.u8();
            }
            6 => {
                let other = unsigned(&self.session.evaluated[input.below(6)]);
                proof = other[other.len() - 64..].to_vec();
            }
            _ => {
                let changed = edited(body, input);
                return self.chains.evaluated(&world().sender, due, &changed);
            }
        }
        let body = evaluated_body(index, &elements, &proof);
        self.chains.evaluated(&world().sender, due, &body)
    }

    fn close(self, finish: Finish, input: &mut Input<'_>) -> Then {
        let complete = self.answered == self.session.blinded.len();
        let (answered, sent) = (self.answered, self.sent);
        let closing = self
            .matching
            .close(finish, Some((NOW + 10, NOW + 20)), NOW + 30);
        let Ok(closing) = closing else {
            assert!(!complete && matches!(finish, Finish::Complete { .. }));
            return Then::Gone;
        };
        assert!(complete || matches!(finish, Finish::Abort));
        let said: ReceiverClosing = open_as_named(closing.frame()).unwrap();
        assert_eq!(said.chunks.get(), answered as u64);
        let counts = plan().into_iter().map(|(_, _, values)| values.len() as u64);
        let answered: u64 = counts.take(answered).sum();
        assert_eq!(said.elements.get(), answered);
        assert_eq!(
            said.status == Status::Complete,
            matches!(finish, Finish::Complete { .. })
        );
        let own = closing.frame().clone();
        let honest = &self.session.sender_closing;
        let truth: SenderClosing = open_as_named(honest).unwrap();
        let reply = match input.below(4) {
            0 => Some(honest.clone()),
            3 => {
                let closing = lie(truth.clone(), &self.session.request, input);
                let payload = serde_json::to_vec(&closing).unwrap();
                world().sender.statement::<SenderClosing>(&payload)
            }
            1 => Frame::new(Kind::SenderClosing, &edited(honest.body(), input)).ok(),
            _ => {
                let payload = edited(&payload_of(honest), input);
                world().sender.statement::<SenderClosing>(&payload)
            }
        };
        let Some(reply) = reply else {
            return Then::Over;
        };
        let Ok(closed) = closing.settle(reply.clone()) else {
            assert!(reply != *honest || own != self.session.receiver_closing);
            return Then::Over;
        };
        // It may choose its time and its budget, and nothing else.
        let mut said: SenderClosing = open_as_named(&closed.sender).unwrap();
        assert!(sent == self.session.blinded.len() && own == self.session.receiver_closing);
        said.closed_ms = truth.closed_ms;
        for (charge, truth) in said.charged.iter_mut().zip(&truth.charged) {
            let cost = charge.quota_before.get() - charge.quota_after.get();
            assert_eq!(cost, truth.elements.get());
            charge.quota_before = truth.quota_before;
            charge.quota_after = truth.quota_after;
        }
        assert_eq!(said, truth);
        Then::Over
    }
}

/// A closing with one member that is not as it was.
fn lie(mut closing: SenderClosing, request: &Frame, input: &mut Input<'_>) -> SenderClosing {
    let more = |number: &mut Int| *number = int(number.get() + 1);
    match input.below(14) {
        0 => closing.session.0[0] ^= 1,
        1 => closing.request.0[31] ^= 1,
        2 => closing.grant.0[31] ^= 1,
        3 => closing.status = Status::Aborted,
        4 => closing.receiver_closing = None,
        // Another frame's digest.
        5 => closing.receiver_closing = Some(digest_of(request)),
        6 => more(&mut closing.chunks),
        7 => more(&mut closing.charged[input.below(2)].elements),
        8 => more(&mut closing.charged[input.below(2)].quota_after),
        9 => drop(closing.charged.pop()),
        10 => closing.set_commitment.0[0] ^= 1,
        11 => closing.evaluations.0[0] ^= 1,
        12 => closing.running.0[0] ^= 1,
        _ => closing.nonce.0[0] ^= 1,
    }
    closing
}

/// A hit is what the sender holds, and its label opens.
fn look_up(ty: &str, value: u32, output: &tallystick_protocol::oprf::Output) {
    let snapshot = &world().snapshot;
    let tag = output.tag(snapshot.preamble.tag_len());
    let index = bucket_of(tag, snapshot.preamble.bucket_bits.get());
    let bucket = &snapshot.buckets[usize::try_from(index).unwrap()];
    let bucket = Bucket::parse(bucket, &snapshot.preamble).unwrap();
    let found = bucket.find(tag);
    assert_eq!(found.is_some(), HELD.contains(&value), "a wrong hit");
    if let Some(position) = found {
        let sealed = bucket.sealed_label(position).unwrap();
        let context = LabelContext::new(&snapshot.preamble.collection, 3);
        let key = LabelKey::derive(output, &context).unwrap();
        assert_eq!(
            *key.open(sealed, &context, tag).unwrap(),
            payload(ty, value)
        );
    }
}

fn step(run: Run, input: &mut Input<'_>) -> Then {
    let session = run.session;
    let due = run.waiting.front().map(|(index, _)| *index);
    let frame = match input.below(14) {
        0..=2 => return run.send(),
        3..=5 => due.map(|index| session.evaluated[index].clone()),
        6 => {
            return match run.forged(input) {
                Some(frame) => run.deliver(&frame, true),
                None => Then::Go(run.into()),
            };
        }
        7 => {
            let index = due.unwrap_or(0);
            let body = edited(session.evaluated[index].body(), input);
            Frame::new(Kind::EvaluatedChunk, &body).ok()
        }
        // Repeated, or before its time.
        8 => Some(session.evaluated[input.below(6)].clone()),
        9 => Some(honest(1).evaluated[due.unwrap_or(0)].clone()),
        10 => {
            let kind = Kind::from_code(input.u8()).unwrap_or(Kind::EvaluatedChunk);
            let length = input.below(200);
            Frame::new(kind, input.take(length)).ok()
        }
        // The program was killed, and goes on from its request.
        11 => return Then::Gone,
        12 => return run.close(Finish::Complete { matches: 5 }, input),
        _ => return run.close(Finish::Abort, input),
    };
    match frame {
        Some(frame) => run.deliver(&frame, false),
        None => Then::Go(run.into()),
    }
}

/// Goes on with another grant than the first: the protocol's state takes it, since it holds no
/// memory of the first; that is the store's. It must be a grant of this request all the same.
fn other_grant(input: &mut Input<'_>) {
    let session = honest(0);
    let payload = edited(&payload_of(&session.grant), input);
    let key = std::sync::Arc::clone(&world().receiver.key);
    let asking = Asking::resume(kernel(), session.request.clone(), key, seed()).unwrap();
    let frame = world()
        .sender
        .statement::<tallystick_protocol::statements::Grant>(&payload);
    if let Some(frame) = frame
        && let Ok(Answer::Granted(matching)) = asking.answer(frame)
    {
        assert_eq!(matching.agreement().grant().session, session.session);
        let (_, frame, _) = send(*matching, plan()[0]);
        // One element, one blind, whatever the grant.
        assert_eq!(unsigned(&frame), unsigned(&session.blinded[0]));
    }
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut run = Run::new();
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        run = match step(run, &mut input) {
            Then::Go(run) if run.spoiled => match run.close(Finish::Abort, &mut input) {
                Then::Go(run) => *run,
                Then::Gone | Then::Over => break,
            },
            Then::Go(run) => *run,
            Then::Gone if input.u8() & 1 == 0 => Run::new(),
            Then::Gone => return other_grant(&mut input),
            Then::Over => break,
        };
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let pair = [0, 3];
    let all = pair.repeat(6);
    // A lie in each member of the sender's closing.
    let lies = (0..14).map(|member| [&all[..], &[12, 3, member, 0]].concat());
    let mut seeds: Vec<Vec<u8>> = lies.collect();
    // One bit of the signature, and an answer with one element too few.
    let last = honest(0).evaluated[0].body().len() - 1;
    seeds.push([&[0, 7, 0][..], &(last as u16).to_be_bytes(), &[0, 0]].concat());
    seeds.push(vec![0, 6, 2, 1]);
    seeds.extend([
        [&all[..], &[12, 0]].concat(),
        [&[0, 0, 3, 3], &pair.repeat(4)[..], &[12, 2, 0, 1, 0, 1, 2]].concat(),
        [&pair[..], &[0, 6, 5, 3, 1]].concat(),
        vec![0, 6, 4, 1, 0, 1, 13, 0],
        vec![0, 0, 3, 11, 0, 0, 3, 0, 3, 13, 1, 0, 0, 50, 0, 1],
        vec![0, 7, 0, 0, 40, 1, 9, 1, 0, 0, 30, 1, 65],
        vec![0, 9, 0, 0, 8, 1, 0, 0, 0, 3, 8, 0],
    ]);
    seeds
}
