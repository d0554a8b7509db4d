//! A shift, both sides of it, against a receiver that asks as it likes.
//!
//! Bytes are a list of flights' chunks. A few plain lines say which may be taken: whole flights, one chunk
//! of each type in order, all of one size, up to what the request declares. The receiver's own state, the
//! sender and the verifier of records must all say the same.

use std::sync::{Arc, OnceLock};

use tallystick_protocol::{
    error::Fault,
    frame::Frame,
    session::{Answer, Asking, Finish, Matching, Serving},
    statements::{Request, SenderClosing, SessionClass, Status, open_as_named},
    verify::RecordVerifier,
};

use super::{
    input::Input,
    world::{
        ASKED, Chains, NONCE, NOW, blinded_body, charges, element, honest, int, kernel, name, seed,
        unsigned, world,
    },
};

/// Sizes of the flights of each type, and the most elements of each.
const SIZES: [[u64; 2]; 2] = [[1, 3], [2, 4]];
const MOST: [u64; 2] = [6, 9];
/// Elements of a chunk in the grant, and chunks that may wait.
const CHUNK: u64 = 4;
const WINDOW: usize = 2;
const STEPS: usize = 16;

/// Request and grant of the shift.
fn opening() -> &'static (Frame, Frame) {
    static OPENING: OnceLock<(Frame, Frame)> = OnceLock::new();
    OPENING.get_or_init(|| {
        let mut request: Request = world().request(3);
        request.legal.class = SessionClass::BorderDesk;
        for (at, query) in request.queries.iter_mut().enumerate() {
            query.elements = int(MOST[at]);
            query.flights = Some(SIZES[at].map(int).to_vec());
        }
        let key = Arc::clone(&world().receiver.key);
        let asking = Asking::new(kernel(), request, key, seed()).unwrap();
        let mut terms = world().terms();
        terms.limits.chunk_elements = int(CHUNK);
        terms.limits.window_chunks = int(WINDOW as u64);
        let key = Arc::clone(&world().sender.key);
        let asked = world().asked(asking.frame());
        let granted = asked.grant(kernel(), terms, NONCE, NOW + 5, key);
        (asking.frame().clone(), granted.unwrap().1)
    })
}

struct Run {
    matching: Matching,
    serving: Serving,
    chains: Chains,
    /// Frames of the record after the grant.
    frames: Vec<Frame>,
    spent: [u64; 2],
    /// Types of the flight under way that came, and which of its sizes it has.
    flight: (usize, usize),
}

impl Run {
    fn new() -> Self {
        let (request, grant) = opening();
        let key = Arc::clone(&world().receiver.key);
        let asking = Asking::resume(kernel(), request.clone(), key, seed()).unwrap();
        let Answer::Granted(matching) = asking.answer(grant.clone()).unwrap() else {
            panic!("refused");
        };
        let key = Arc::clone(&world().sender.key);
        let asked = world().asked(request);
        let session = matching.agreement().request().session;
        Self {
            matching: *matching,
            serving: asked.resume(kernel(), grant, NONCE, key).unwrap(),
            chains: Chains::new(session, request, grant),
            frames: vec![
                tallystick_protocol::record::header(&session).unwrap(),
                request.clone(),
                grant.clone(),
            ],
            spent: [0; 2],
            flight: (0, 0),
        }
    }

    /// What the rules say of a chunk: the size it has, if it may come.
    fn may(&self, ty: usize, count: u64) -> Option<usize> {
        let size = SIZES[ty].iter().position(|size| *size == count)?;
        let (types, first) = self.flight;
        let fits = self.spent[ty] + count <= MOST[ty];
        (fits && types == ty && (types == 0 || size == first)).then_some(size)
    }

    /// A chunk by the receiver's own state if it allows it, else signed all the same.
    fn chunk(mut self, ty: usize, count: u64) -> Option<Self> {
        let may = self.may(ty, count);
        let type_name = ASKED[ty].0;
        if count == 0 {
            return Some(self);
        }
        let elements: Vec<_> = (0..count).map(|at| element(type_name, at as u32)).collect();
        let blinder = self.matching.blinder(&name(type_name)).unwrap();
        let blinded = blinder.blind(self.spent[ty], elements).unwrap();
        let Some(size) = may else {
            assert!(
                self.matching.send(blinded).is_err(),
                "it sent what it may not"
            );
            let point: [u8; 32] = *unsigned(&honest(0).blinded[0]).last_chunk().unwrap();
            let index = self.frames[3..].len() / 2;
            let body = blinded_body(
                index as u32,
                type_name.as_bytes(),
                &vec![point; count as usize],
            );
            let frame = self.chains.blinded(&world().receiver, &body).unwrap();
            let refused = self.serving.receive(&frame).map(|_| ()).unwrap_err();
            assert_eq!(refused.fault(), Fault::Peer, "{refused}");
            self.frames.push(frame);
            assert!(
                !verifies(&self.frames),
                "the verifier takes what the sender refuses"
            );
            return None;
        };
        let (matching, question, sent) = self.matching.send(blinded).expect("an allowed chunk");
        let (serving, accepted) = self.serving.receive(&question).expect("an allowed chunk");
        let session = matching.agreement().request().session;
        let (serving, answer) = serving.answer(world().evaluate(accepted, session)).unwrap();
        let (matching, answered) = matching.receive(&answer).unwrap();
        assert_eq!(sent.finalize(answered).unwrap().len() as u64, count);
        self.chains.took_blinded(&question);
        self.chains.took_evaluated(&answer);
        self.frames.extend([question, answer]);
        self.spent[ty] += count;
        self.flight = ((ty + 1) % SIZES.len(), size);
        assert_eq!(
            matching.progress().left(&name(type_name)),
            MOST[ty] - self.spent[ty]
        );
        (self.matching, self.serving) = (matching, serving);
        Some(self)
    }

    /// Whole flights close as complete, half ones as aborted alone; either record verifies.
    fn close(mut self, complete: bool) {
        let whole = self.flight.0 == 0;
        assert_eq!(self.matching.progress().is_complete(), whole);
        assert_eq!(self.serving.progress().is_complete(), whole);
        let charged = charges(&self.serving);
        let spent: Vec<u64> = charged.iter().map(|charge| charge.elements.get()).collect();
        assert_eq!(spent, self.spent);
        let finish = match complete {
            true => Finish::Complete { matches: 0 },
            false => Finish::Abort,
        };
        let Ok(closing) = self.matching.close(finish, None, NOW + 30) else {
            assert!(complete && !whole);
            return;
        };
        assert!(whole || !complete);
        let closed = self
            .serving
            .close(closing.frame().clone(), charged, NOW + 40)
            .unwrap();
        let said: SenderClosing = open_as_named(&closed.sender).unwrap();
        assert_eq!(said.status == Status::Complete, complete);
        self.frames.extend([closed.receiver, closed.sender]);
        assert!(verifies(&self.frames), "both closed, and it fails");
    }
}

fn verifies(frames: &[Frame]) -> bool {
    let mut verifier = RecordVerifier::new(kernel(), None);
    for frame in frames {
        match verifier
            .push(frame.clone())
            .and_then(|job| job.map(|job| job.run()).transpose())
        {
            Ok(Some(proven)) => verifier.settle(proven),
            Ok(None) => {}
            Err(failure) => return verifier.fail(&failure).verified,
        }
    }
    verifier.finish().verified
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut run = Run::new();
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        let (ty, count) = (input.below(2), input.below(6) as u64);
        match run.chunk(ty, count) {
            Some(next) => run = next,
            None => return,
        }
    }
    run.close(input.u8() & 1 == 0);
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    vec![
        vec![0, 1, 1, 2],
        vec![0, 3, 1, 4, 0, 1, 1, 2],
        vec![0, 1, 1, 2, 0, 1],
        vec![0, 1, 1, 4],
        vec![0, 3, 1, 2],
        vec![0, 2],
        vec![1, 2],
        vec![0, 1, 0, 1],
        [0, 3, 1, 4].repeat(3),
        [0, 1, 1, 2].repeat(5),
    ]
}
