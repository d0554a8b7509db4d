//! The receiver: asks, blinds, verifies, finalizes, closes.

use std::sync::Arc;

use hmac::Mac;
use zeroize::Zeroizing;

pub use crate::oprf::SessionSeed;

use super::{
    Closed,
    agreement::{Agreement, Progress, commitment_to, outcome_commitment},
};
use crate::{
    dleq::{self, Proof, Weights},
    error::{Error, InChunk},
    frame::{Frame, Kind},
    group::Kernel,
    identifiers::Elements,
    oprf::{self, AdditiveBlinds, BlindedElements, Output, PublicKey, hmac_sha512},
    signing::SigningKey,
    statements::{
        Hex, Int, Name, Outcome, ReceiverClosing, Refusal, Request, SenderClosing, Status,
        digest_of, open, sign,
    },
};

impl SessionSeed {
    /// 32 bytes for another use than blinding, bound to session and use. An opening may reveal
    /// them; they say nothing about the seed.
    #[must_use]
    pub fn derive(&self, session: &Hex<16>, usage: &str) -> Zeroizing<[u8; 32]> {
        let wide: Zeroizing<[u8; 64]> = Zeroizing::new(
            hmac_sha512(self.as_bytes())
                // A blind's input starts with the session id; this starts with 16 zero bytes, which
                // no session has.
                .chain_update([0u8; 16])
                .chain_update(session.0)
                .chain_update(usage.as_bytes())
                .finalize()
                .into_bytes()
                .into(),
        );
        let mut out = Zeroizing::new([0u8; 32]);
        out.copy_from_slice(&wide[..32]);
        out
    }

    fn nonce(&self, session: &Hex<16>) -> Hex<32> {
        Hex(*self.derive(session, "nonce"))
    }
}

/// A request has been signed; its answer is awaited.
#[derive(Debug)]
pub struct Asking {
    kernel: &'static dyn Kernel,
    request: Request,
    frame: Frame,
    key: Arc<SigningKey>,
    seed: Arc<SessionSeed>,
}

/// What came back.
#[derive(Debug)]
pub enum Answer {
    /// The session goes on.
    Granted(Box<Matching>),
    /// The session is over; both frames make its record.
    Refused {
        /// What the sender says.
        refusal: Box<Refusal>,
        /// The request.
        request: Frame,
        /// The refusal as received.
        frame: Frame,
    },
}

impl Asking {
    /// Signs a request. Its `nonce_commitment` is filled in here.
    ///
    /// `seed` must be fresh for this session id and be used for no other.
    ///
    /// # Errors
    /// [`Error::Usage`] if the request breaks a rule of its statement or names another key.
    pub fn new(
        kernel: &'static dyn Kernel,
        mut request: Request,
        key: Arc<SigningKey>,
        seed: SessionSeed,
    ) -> Result<Self, Error> {
        if request.session == Hex([0; 16]) {
            return Err(Error::Usage("a session id is 16 random bytes"));
        }
        request.nonce_commitment = commitment_to(&seed.nonce(&request.session));
        let frame = sign(&request, &key)?;
        Ok(Self {
            kernel,
            request,
            frame,
            key,
            seed: Arc::new(seed),
        })
    }

    /// Takes up a request that was signed before, to go on with its session.
    ///
    /// # Errors
    /// As [`open`]; [`Error::Usage`] for a seed that is not this session's.
    pub fn resume(
        kernel: &'static dyn Kernel,
        frame: Frame,
        key: Arc<SigningKey>,
        seed: SessionSeed,
    ) -> Result<Self, Error> {
        let request: Request = open(&frame, &key.verify_key())?;
        if request.nonce_commitment != commitment_to(&seed.nonce(&request.session)) {
            return Err(Error::Usage("the seed is not the one of this session"));
        }
        Ok(Self {
            kernel,
            request,
            frame,
            key,
            seed: Arc::new(seed),
        })
    }

    /// The signed request.
    #[must_use]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// What was asked.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Takes the sender's answer.
    ///
    /// # Errors
    /// Any fault of the peer. The clock rule of the wire is the caller's: compare
    /// [`crate::statements::Grant::granted_ms`] with the own clock.
    pub fn answer(self, frame: Frame) -> Result<Answer, Error> {
        match frame.kind() {
            Kind::Refusal => {
                let refusal = Box::new(check_refusal(&self.request, &self.frame, &frame)?);
                Ok(Answer::Refused {
                    refusal,
                    request: self.frame,
                    frame,
                })
            }
            _ => {
                let agreement = Agreement::new(self.kernel, self.request, &self.frame, &frame)?;
                let progress = Progress::new(agreement, &self.frame, &frame);
                Ok(Answer::Granted(Box::new(Matching {
                    kernel: self.kernel,
                    progress,
                    key: self.key,
                    seed: self.seed,
                })))
            }
        }
    }
}

/// Opens a refusal of `request` and compares every member that both state.
pub(crate) fn check_refusal(
    request: &Request,
    request_frame: &Frame,
    frame: &Frame,
) -> Result<Refusal, Error> {
    let refusal: Refusal = open(frame, &request.sender.signing_key.into())?;
    let same = refusal.session == request.session
        && refusal.request == digest_of(request_frame)
        && refusal.sender.agency == request.sender.agency
        && refusal.receiver.agency == request.receiver.agency
        && refusal.receiver.signing_key == request.receiver.signing_key;
    match same {
        true => Ok(refusal),
        false => Err(Error::Mismatch {
            what: "refusal",
            field: "request",
        }),
    }
}

/// A granted session: chunks go out and come back.
#[derive(Debug)]
pub struct Matching {
    kernel: &'static dyn Kernel,
    progress: Progress,
    key: Arc<SigningKey>,
    seed: Arc<SessionSeed>,
}

/// How the receiver ends a session.
#[derive(Debug, Clone, Copy)]
pub enum Finish {
    /// All elements were verified; this many matched.
    Complete {
        /// Elements that matched.
        matches: u64,
    },
    /// The receiver stops here.
    Abort,
}

impl Matching {
    /// Request and grant.
    #[must_use]
    pub fn agreement(&self) -> &Agreement {
        &self.progress.agreement
    }

    /// Chunks, elements, running hashes.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// A blinder for one type; it can work on any core.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the type was not granted.
    pub fn blinder(&self, type_name: &Name) -> Result<Blinder, Error> {
        Ok(Blinder {
            kernel: self.kernel,
            seed: Arc::clone(&self.seed),
            session: self.progress.agreement.request().session,
            type_name: type_name.clone(),
            key: Arc::clone(self.progress.agreement.key(type_name)?),
        })
    }

    /// Signs a blinded chunk in the session's order.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::Mismatch`] beyond what was granted and declared.
    pub fn send(mut self, blinded: Blinded) -> Result<(Self, Frame, Sent), Error> {
        let Blinded {
            type_name,
            elements,
            blinded,
            blinds,
            key,
        } = blinded;
        let index =
            u32::try_from(self.progress.transcript.blinded_chunks()).map_err(|_| Error::Limit {
                what: "number of chunks",
                limit: u32::MAX.into(),
            })?;
        let frame = self.progress.sign_blinded(type_name, &blinded, &self.key)?;
        let sent = Sent {
            kernel: self.kernel,
            index,
            elements,
            blinded,
            blinds,
            key,
        };
        Ok((self, frame, sent))
    }

    /// Takes a chunk that this receiver signed and verified before, and its answer: to end a stored
    /// session without its elements.
    ///
    /// # Errors
    /// [`Error::Signature`] or [`Error::Mismatch`] if the store was altered.
    pub fn replay(mut self, blinded: &Frame, evaluated: &Frame) -> Result<Self, Error> {
        self.progress.accept_blinded(blinded)?;
        self.progress.accept_evaluated(evaluated)?;
        Ok(self)
    }

    /// Takes the next evaluated chunk: signature, order, counts. The proof is checked by
    /// [`Sent::finalize`].
    ///
    /// # Errors
    /// Any fault of the peer.
    pub fn receive(mut self, frame: &Frame) -> Result<(Self, Answered), Error> {
        let chunk = self.progress.accept_evaluated(frame)?;
        let answered = Answered {
            index: chunk.index,
            elements: chunk.elements,
            proof: chunk.proof,
        };
        Ok((self, answered))
    }

    /// Signs the receiver's closing.
    ///
    /// # Errors
    /// [`Error::Usage`] for a complete closing of an incomplete session.
    pub fn close(
        self,
        finish: Finish,
        chunk_times_ms: Option<(u64, u64)>,
        now_ms: u64,
    ) -> Result<Closing, Error> {
        let agreement = &self.progress.agreement;
        let transcript = &self.progress.transcript;
        let session = agreement.request().session;
        let (status, outcome) = match finish {
            Finish::Complete { matches } => {
                if !self.progress.is_complete() {
                    return Err(Error::Usage("not every declared element was evaluated"));
                }
                // Another grant, another salt: two commitments of one session say nothing
                // about each other.
                let usage = format!("outcome/{}", agreement.grant_digest());
                let salt = self.seed.derive(&session, &usage);
                let commitment = outcome_commitment(&salt, matches);
                let said = agreement.grant().discloses_count.then(|| Int::new(matches));
                (
                    Status::Complete,
                    Some(Outcome {
                        commitment,
                        matches: said.transpose()?,
                    }),
                )
            }
            Finish::Abort => (Status::Aborted, None),
        };
        let issued = agreement.request().issued_ms;
        let times = chunk_times_ms.map(|(first, last)| -> Result<_, Error> {
            Ok((Int::new(first)?.max(issued), Int::new(last)?.max(issued)))
        });
        let times = times.transpose()?;
        let last = times.map_or(issued, |(first, last)| first.max(last));
        let closing = ReceiverClosing {
            session,
            request: agreement.grant().request,
            grant: agreement.grant_digest(),
            signing_key: self.key.verify_key().into(),
            status,
            chunks: Int::new(transcript.evaluated_chunks())?,
            elements: Int::new(transcript.answered_elements())?,
            set_commitment: transcript.set_commitment(),
            evaluations: transcript.evaluations(),
            running: transcript.running(),
            outcome,
            nonce: self.seed.nonce(&session),
            first_chunk_ms: times.map(|(first, _)| first),
            last_chunk_ms: times.map(|(_, last)| last),
            // A clock may have been set back; a session's times go forward all the same.
            closed_ms: last.max(Int::new(now_ms)?),
        };
        let frame = sign(&closing, &self.key)?;
        Ok(Closing {
            progress: self.progress,
            closing,
            frame,
        })
    }
}

/// Blinds elements of one type. Holds the session's seed.
#[derive(Debug, Clone)]
pub struct Blinder {
    kernel: &'static dyn Kernel,
    seed: Arc<SessionSeed>,
    session: Hex<16>,
    type_name: Name,
    key: Arc<PublicKey>,
}

impl Blinder {
    /// Blinds a chunk. `first_index` counts the elements of this type before it: an index stands
    /// for one element in a session.
    ///
    /// # Errors
    /// [`Error::Limit`] for more than 65,535 elements; [`Error::Bug`] otherwise.
    pub fn blind(&self, first_index: u64, elements: impl Into<Elements>) -> Result<Blinded, Error> {
        let elements = elements.into();
        let inputs: Vec<&[u8]> = elements.iter().collect();
        let (session, ty) = (&self.session.0, self.type_name.as_str());
        let blinds = self
            .seed
            .blinds(self.kernel, session, ty, first_index, &inputs)
            .in_chunk(0)?;
        let blinds = AdditiveBlinds::new(blinds);
        let blinded = oprf::blind_additive(self.kernel, &inputs, &blinds).in_chunk(0)?;
        Ok(Blinded {
            type_name: self.type_name.clone(),
            elements,
            blinded,
            blinds,
            key: Arc::clone(&self.key),
        })
    }
}

/// A chunk ready to be signed and sent.
#[derive(Debug)]
pub struct Blinded {
    type_name: Name,
    elements: Elements,
    blinded: BlindedElements,
    blinds: AdditiveBlinds,
    key: Arc<PublicKey>,
}

/// What the receiver keeps of a chunk until its answer: elements, blinds, and the very bytes that
/// were sent.
#[derive(Debug)]
pub struct Sent {
    kernel: &'static dyn Kernel,
    index: u32,
    elements: Elements,
    blinded: BlindedElements,
    blinds: AdditiveBlinds,
    key: Arc<PublicKey>,
}

/// An evaluated chunk whose proof is not checked yet.
#[derive(Debug)]
pub struct Answered {
    index: u32,
    elements: Vec<[u8; 32]>,
    proof: [u8; 64],
}

impl Sent {
    /// Its index among the session's chunks.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Verifies the proof under the granted key and finalizes: one output an element, in order.
    ///
    /// # Errors
    /// [`Error::Proof`], [`Error::Element`]; [`Error::Bug`] for the answer of another chunk.
    pub fn finalize(self, answered: Answered) -> Result<Vec<Output>, Error> {
        if self.index != answered.index {
            return Err(Error::Bug("an answer was paired with another chunk"));
        }
        let proof = Proof::decode(&answered.proof).in_chunk(self.index)?;
        let verified = dleq::verify_own(
            self.kernel,
            &self.key,
            Weights::WholeChunk,
            &self.blinded,
            &answered.elements,
            &proof,
        )
        .in_chunk(self.index)?;
        let inputs: Vec<&[u8]> = self.elements.iter().collect();
        oprf::finalize_additive(self.kernel, &inputs, self.blinds, verified).in_chunk(self.index)
    }
}

/// The receiver has closed; the sender's closing is awaited.
#[derive(Debug)]
pub struct Closing {
    progress: Progress,
    closing: ReceiverClosing,
    frame: Frame,
}

impl Closing {
    /// The signed closing.
    #[must_use]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Takes the sender's closing.
    ///
    /// # Errors
    /// Any fault of the peer: a closing that disagrees is refused.
    pub fn settle(self, frame: Frame) -> Result<Closed, Error> {
        let SenderClosing {
            charged, status, ..
        } = self
            .progress
            .check_sender_closing(&frame, Some((&self.frame, &self.closing)))?;
        Ok(Closed {
            receiver: self.frame,
            sender: frame,
            ended: status,
            charged,
        })
    }
}
