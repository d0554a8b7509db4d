//! Verifying a record offline, trusting neither side (spec section 8).
//!
//! The record streams by in memory bounded by one window of chunks. Proofs, which are the heavy
//! part, are handed out as [`ProofJob`]s that may run on any core; the verifier counts them in.
//! What it checks is exactly what the two sides checked: the same code, in
//! [`crate::session`].

mod report;

pub use report::{Check, Claims, Report, Signers, Summary, Verdict};

use std::{collections::VecDeque, sync::Arc};

use crate::{
    dleq::{self, Proof, Weights},
    error::{Error, InChunk},
    frame::{Frame, Kind},
    group::Kernel,
    oprf::PublicKey,
    record,
    session::{Agreement, BlindedChunk, Progress},
    signing::VerifyKey,
    statements::{
        Hex, Name, ReceiverClosing, Refusal, Request, SenderClosing, Status, digest_of,
        open_as_named,
    },
};

/// The keys somebody vouches for.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    agencies: Vec<(Name, VerifyKey)>,
}

impl Trust {
    /// Adds an agency's statement key. An agency may have several.
    pub fn add(&mut self, agency: Name, key: VerifyKey) {
        self.agencies.push((agency, key));
    }

    fn vouches(&self, agency: &Name, key: &Hex<32>) -> bool {
        self.agencies
            .iter()
            .any(|(name, known)| name == agency && known.0 == key.0)
    }
}

/// The checks, in the order in which they run and are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Framing,
    Request,
    Answer,
    Signers,
    Chunks,
    Proofs,
    Closings,
}

impl Step {
    pub(crate) const ALL: [Self; 7] = [
        Self::Framing,
        Self::Request,
        Self::Answer,
        Self::Signers,
        Self::Chunks,
        Self::Proofs,
        Self::Closings,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Framing => "framing",
            Self::Request => "request",
            Self::Answer => "answer",
            Self::Signers => "signers",
            Self::Chunks => "chunks",
            Self::Proofs => "proofs",
            Self::Closings => "closings",
        }
    }
}

/// Where and why a record fails.
#[derive(Debug)]
pub struct Failure {
    step: Step,
    error: Error,
    frame: Option<u64>,
}

impl Failure {
    /// What is wrong.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.error
    }
}

#[derive(Debug)]
enum State {
    Header,
    Request {
        session: Hex<16>,
    },
    Answer {
        request: Request,
        frame: Frame,
    },
    Chunks {
        progress: Progress,
        waiting: VecDeque<(u64, BlindedChunk)>,
    },
    Closing {
        progress: Progress,
        receiver: Option<Box<(Frame, ReceiverClosing)>>,
    },
    Over,
    Failed,
}

/// Takes the frames of one record in order.
#[derive(Debug)]
pub struct RecordVerifier {
    kernel: &'static dyn Kernel,
    trust: Option<Trust>,
    state: State,
    frames: u64,
    proofs_out: u64,
    proofs_in: u64,
    claims: Claims,
    refused: bool,
}

/// A proof to verify; independent of everything else in the record.
#[derive(Debug)]
pub struct ProofJob {
    kernel: &'static dyn Kernel,
    key: Arc<PublicKey>,
    blinded: Vec<[u8; 32]>,
    evaluated: Vec<[u8; 32]>,
    proof: [u8; 64],
    chunk: u32,
    frame: u64,
    session: Option<Hex<16>>,
}

/// A proof that holds. Only [`ProofJob::run`] makes one.
#[derive(Debug)]
pub struct Proven {
    session: Option<Hex<16>>,
}

impl ProofJob {
    /// Verifies it. Variable time: all of it is public.
    ///
    /// # Errors
    /// The failure, to be passed to [`RecordVerifier::fail`].
    pub fn run(self) -> Result<Proven, Failure> {
        let check = || -> Result<(), Error> {
            let proof = Proof::decode(&self.proof).in_chunk(self.chunk)?;
            let weights = Weights::WholeChunk;
            dleq::verify(
                self.kernel,
                &self.key,
                weights,
                &self.blinded,
                &self.evaluated,
                &proof,
            )
            .in_chunk(self.chunk)?;
            Ok(())
        };
        let session = self.session;
        check()
            .map(|()| Proven { session })
            .map_err(|error| Failure {
                step: Step::Proofs,
                error,
                frame: Some(self.frame),
            })
    }
}

impl RecordVerifier {
    /// Starts. Without `trust`, signatures are checked with the keys in the record and nobody
    /// vouches for them.
    #[must_use]
    pub fn new(kernel: &'static dyn Kernel, trust: Option<Trust>) -> Self {
        Self {
            kernel,
            trust,
            state: State::Header,
            frames: 0,
            proofs_out: 0,
            proofs_in: 0,
            claims: Claims::default(),
            refused: false,
        }
    }

    /// Takes the next frame; may give a proof to run.
    ///
    /// # Errors
    /// The failure, to be passed to [`Self::fail`]. The verifier then takes nothing more.
    pub fn push(&mut self, frame: Frame) -> Result<Option<ProofJob>, Failure> {
        let number = self.frames;
        self.frames += 1;
        let at = |step| {
            move |error| Failure {
                step,
                error,
                frame: Some(number),
            }
        };
        self.claims.bytes += frame.bytes().len() as u64;
        // Whatever returns early has failed, and a failed verifier stays so.
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Header => {
                let session = record::session_of(&frame).map_err(at(Step::Framing))?;
                self.claims.session = Some(session);
                self.state = State::Request { session };
                Ok(None)
            }
            State::Request { session } => {
                let request: Request = open_as_named(&frame).map_err(at(Step::Request))?;
                if request.session != session {
                    let error = Error::Mismatch {
                        what: "record header",
                        field: "session",
                    };
                    return Err(at(Step::Request)(error));
                }
                self.claims.request = Some((digest_of(&frame), request.clone()));
                self.state = State::Answer { request, frame };
                Ok(None)
            }
            State::Answer {
                request,
                frame: asked,
            } => {
                let next = self
                    .answer(request, asked, frame)
                    .map_err(at(Step::Answer))?;
                self.check_signers().map_err(at(Step::Signers))?;
                self.state = next;
                Ok(None)
            }
            State::Chunks {
                mut progress,
                mut waiting,
            } => match frame.kind() {
                Kind::BlindedChunk => {
                    let chunk = progress.accept_blinded(&frame).map_err(at(Step::Chunks))?;
                    waiting.push_back((number, chunk));
                    self.state = State::Chunks { progress, waiting };
                    Ok(None)
                }
                Kind::EvaluatedChunk => {
                    let chunk = progress
                        .accept_evaluated(&frame)
                        .map_err(at(Step::Chunks))?;
                    let (_, blinded) = waiting
                        .pop_front()
                        .ok_or(Error::Bug("an answer without its question"))
                        .map_err(at(Step::Chunks))?;
                    // In a record an answer follows its own chunk: one order, one file.
                    if !waiting.is_empty() {
                        let got = Kind::EvaluatedChunk.name();
                        let error = Error::Order {
                            got,
                            expected: "the record's own order",
                        };
                        return Err(at(Step::Chunks)(error));
                    }
                    let key = progress.agreement.key(&blinded.type_name);
                    let key = Arc::clone(key.map_err(at(Step::Chunks))?);
                    self.state = State::Chunks { progress, waiting };
                    self.proofs_out += 1;
                    Ok(Some(ProofJob {
                        kernel: self.kernel,
                        key,
                        blinded: blinded.elements,
                        evaluated: chunk.elements,
                        proof: chunk.proof,
                        chunk: chunk.index,
                        frame: number,
                        session: self.claims.session,
                    }))
                }
                _ => {
                    self.closing(progress, None, frame)
                        .map_err(at(Step::Closings))?;
                    Ok(None)
                }
            },
            State::Closing { progress, receiver } => {
                self.closing(progress, receiver, frame)
                    .map_err(at(Step::Closings))?;
                Ok(None)
            }
            State::Over | State::Failed => {
                let got = frame.kind().name();
                Err(at(Step::Framing)(Error::Order {
                    got,
                    expected: "the end of the record",
                }))
            }
        }
    }

    /// Takes grant or refusal; gives the state that follows.
    fn answer(&mut self, request: Request, asked: Frame, frame: Frame) -> Result<State, Error> {
        if frame.kind() == Kind::Refusal {
            let refusal: Refusal = crate::session::check_refusal(&request, &asked, &frame)?;
            self.claims.refusal = Some(refusal);
            self.refused = true;
            return Ok(State::Over);
        }
        let agreement = Agreement::new(self.kernel, request, &asked, &frame)?;
        self.claims.grant = Some((digest_of(&frame), agreement.grant().clone()));
        let progress = Progress::new(agreement, &asked, &frame);
        Ok(State::Chunks {
            progress,
            waiting: VecDeque::new(),
        })
    }

    /// Compares the keys that the statements name with the keys somebody vouches for.
    fn check_signers(&self) -> Result<(), Error> {
        let (Some(trust), Some((_, request))) = (&self.trust, &self.claims.request) else {
            return Ok(());
        };
        let receiver = &request.receiver;
        if !trust.vouches(&receiver.agency, &receiver.signing_key) {
            return Err(Error::Signature {
                what: "request (its key is not in the trust file)",
            });
        }
        if !trust.vouches(&request.sender.agency, &request.sender.signing_key) {
            return Err(Error::Signature {
                what: "grant (its key is not in the trust file)",
            });
        }
        Ok(())
    }

    fn closing(
        &mut self,
        progress: Progress,
        receiver: Option<Box<(Frame, ReceiverClosing)>>,
        frame: Frame,
    ) -> Result<(), Error> {
        self.claims.set_commitment = Some(progress.transcript.set_commitment());
        self.claims.evaluations = Some(progress.transcript.evaluations());
        self.claims.elements = progress.transcript.answered_elements();
        self.claims.chunks = progress.transcript.evaluated_chunks();
        match frame.kind() {
            Kind::ReceiverClosing if receiver.is_none() => {
                let closing = progress.check_receiver_closing(&frame)?;
                self.claims.receiver_closing = Some((digest_of(&frame), closing.clone()));
                let said = Some(Box::new((frame, closing)));
                self.state = State::Closing {
                    progress,
                    receiver: said,
                };
            }
            Kind::SenderClosing => {
                let said = receiver.as_deref().map(|(frame, closing)| (frame, closing));
                let closing = progress.check_sender_closing(&frame, said)?;
                self.claims.sender_closing = Some((digest_of(&frame), closing));
                self.state = State::Over;
            }
            other => {
                return Err(Error::Order {
                    got: other.name(),
                    expected: "a closing",
                });
            }
        }
        Ok(())
    }

    /// Counts a proof in. One of another record counts for nothing: then [`Self::finish`] misses it.
    pub fn settle(&mut self, proven: Proven) {
        self.proofs_in += u64::from(proven.session == self.claims.session);
    }

    /// Ends a record that was read to its end.
    #[must_use]
    pub fn finish(self) -> Report {
        let error = match &self.state {
            State::Over if self.refused || self.claims.sender_closing.is_some() => None,
            // A session that one side alone could close: the record says so and is whole.
            State::Closing {
                receiver: Some(said),
                ..
            } if said.1.status == Status::Aborted => None,
            State::Closing { .. } => Some((Step::Closings, "the sender has not closed it")),
            State::Chunks { .. } => Some((Step::Closings, "neither side has closed it")),
            State::Answer { .. } => Some((Step::Answer, "it ends before grant or refusal")),
            State::Request { .. } => Some((Step::Request, "it ends before the request")),
            State::Header | State::Over => Some((Step::Framing, "it is empty")),
            // For a caller who drops the failure that `push` gave.
            State::Failed => Some((Step::Framing, "a frame of it was refused")),
        };
        if let Some((step, why)) = error {
            let failure = Failure {
                step,
                error: Error::Malformed {
                    what: "record",
                    why,
                },
                frame: None,
            };
            return self.fail(&failure);
        }
        if self.proofs_in != self.proofs_out {
            let error = Error::Bug("not every proof was run");
            return self.fail(&Failure {
                step: Step::Proofs,
                error,
                frame: None,
            });
        }
        Report::passed(self.claims, self.trust.is_some(), self.proofs_in)
    }

    /// Ends a record at a failure.
    #[must_use]
    pub fn fail(self, failure: &Failure) -> Report {
        Report::failed(self.claims, self.trust.is_some(), failure)
    }

    /// Ends a record whose bytes are not frames, or that could not be read to its end.
    #[must_use]
    pub fn fail_framing(self, error: Error) -> Report {
        let failure = Failure {
            step: Step::Framing,
            error,
            frame: Some(self.frames),
        };
        self.fail(&failure)
    }

    /// What the statements say so far; claims are only as good as the checks that follow.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}

impl Claims {
    /// Whether two copies are of one session and agree. `None` when that cannot be told: copies
    /// of an aborted session may rightly end at different points.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> Option<bool> {
        let digests = |c: &Self| {
            (
                c.session,
                c.request.as_ref().map(|(d, _)| *d),
                c.grant.as_ref().map(|(d, _)| *d),
                c.refusal.clone(),
            )
        };
        if digests(self) != digests(other) {
            return Some(false);
        }
        let closings = |c: &Self| {
            let receiver: Option<&(Hex<32>, ReceiverClosing)> = c.receiver_closing.as_ref();
            let sender: Option<&(Hex<32>, SenderClosing)> = c.sender_closing.as_ref();
            (receiver.map(|(d, _)| *d), sender.map(|(d, _)| *d))
        };
        let complete = |c: &Self| {
            c.receiver_closing
                .as_ref()
                .is_some_and(|(_, c)| c.status == Status::Complete)
        };
        let (ours, theirs) = (closings(self), closings(other));
        // One author, two closings: that is not two views of an abort, it is two stories.
        let two_stories =
            |a: Option<Hex<32>>, b: Option<Hex<32>>| a.is_some() && b.is_some() && a != b;
        if two_stories(ours.0, theirs.0) || two_stories(ours.1, theirs.1) {
            return Some(false);
        }
        let chunks = |c: &Self| (c.set_commitment, c.evaluations);
        match ours == theirs && chunks(self) == chunks(other) {
            true => Some(true),
            false if complete(self) || complete(other) => Some(false),
            false => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
#[cfg(test)]
pub(crate) use tests::verify_bytes;
