//! The sender: opens a request, grants or refuses it, evaluates what was charged, closes.

use std::sync::Arc;

use super::{
    Closed,
    agreement::{Agreement, Progress, commitment_to},
    chunk::BlindedChunk,
};
use crate::{
    dleq::Weights,
    error::{Error, InChunk, agreeing},
    frame::Frame,
    group::Kernel,
    oprf::{self, PublicKey, SecretKey},
    signing::SigningKey,
    statements::{
        Charge, Grant, GrantLimits, Hex, Int, Line, Name, Receiver, Refusal, RefusalCode, Request,
        SenderClosing, SenderReference, SnapshotReference, Status, TypeKey, digest_of, open, sign,
    },
};

/// A request whose signature and audience were checked.
#[derive(Debug)]
pub struct Asked {
    request: Request,
    frame: Frame,
    me: SenderReference,
}

/// What the sender grants.
#[derive(Debug)]
pub struct Terms {
    /// Build of the sender's software.
    pub build: Line,
    /// State of the sender.
    pub state: Option<Line>,
    /// SHA-256 of the SubjectPublicKeyInfo of the sender's certificate.
    pub tls_spki: Hex<32>,
    /// Epoch.
    pub epoch: Int,
    /// Public keys of the requested types, ascending.
    pub keys: Vec<TypeKey>,
    /// Snapshot.
    pub snapshot: SnapshotReference,
    /// Limits.
    pub limits: GrantLimits,
    /// Whether the closing must say the match count.
    pub discloses_count: bool,
    /// Digest of the last record closed with this peer.
    pub previous: Option<Hex<32>>,
    /// After this no chunk is evaluated.
    pub expires_ms: Int,
}

impl Asked {
    /// Opens a request that must be signed by `receiver`, whom TLS or a file's source identified,
    /// and addressed to `me`.
    ///
    /// # Errors
    /// Any fault of the peer.
    pub fn open(
        frame: Frame,
        receiver: &SenderReference,
        me: SenderReference,
    ) -> Result<Self, Error> {
        let request: Request = open(&frame, &receiver.signing_key.into())?;
        let agree = agreeing("request");
        agree("receiver", request.receiver.agency == receiver.agency)?;
        agree("sender", request.sender == me)?;
        Ok(Self { request, frame, me })
    }

    /// What is asked.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The request as received.
    #[must_use]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Refuses: gives the request back with the signed refusal, for the record.
    ///
    /// # Errors
    /// [`Error::Usage`] if `key` is not the sender's.
    pub fn refuse(
        self,
        code: RefusalCode,
        detail: Option<Line>,
        now_ms: u64,
        key: &SigningKey,
    ) -> Result<(Frame, Frame), Error> {
        let refusal = Refusal {
            session: self.request.session,
            request: digest_of(&self.frame),
            sender: self.me,
            receiver: SenderReference {
                agency: self.request.receiver.agency,
                signing_key: self.request.receiver.signing_key,
            },
            code,
            detail,
            refused_ms: Int::new(now_ms)?,
        };
        Ok((self.frame, sign(&refusal, key)?))
    }

    /// Grants. `nonce` must be 32 bytes that nobody else can guess, the same again for a session
    /// that is resumed.
    ///
    /// # Errors
    /// [`Error::Usage`] for terms that break a rule.
    pub fn grant(
        self,
        kernel: &'static dyn Kernel,
        terms: Terms,
        nonce: Hex<32>,
        now_ms: u64,
        key: Arc<SigningKey>,
    ) -> Result<(Serving, Frame), Error> {
        let Receiver {
            agency,
            signing_key,
            ..
        } = self.request.receiver.clone();
        let grant = Grant {
            session: self.request.session,
            request: digest_of(&self.frame),
            build: terms.build,
            sender: Receiver {
                agency: self.me.agency.clone(),
                state: terms.state,
                signing_key: self.me.signing_key,
                tls_spki: terms.tls_spki,
            },
            receiver: SenderReference {
                agency,
                signing_key,
            },
            collection: self.request.collection.clone(),
            mode: self.request.mode,
            epoch: terms.epoch,
            profile: self.request.profile.clone(),
            keys: terms.keys,
            snapshot: terms.snapshot,
            limits: terms.limits,
            discloses_count: terms.discloses_count,
            nonce_commitment: commitment_to(&nonce),
            previous: terms.previous,
            granted_ms: Int::new(now_ms)?,
            expires_ms: terms.expires_ms,
        };
        let frame = sign(&grant, &key)?;
        let serving = self.resume(kernel, &frame, nonce, key)?;
        Ok((serving, frame))
    }

    /// Takes up a session that was granted before with `grant`, at its first chunk.
    ///
    /// # Errors
    /// As for a receiver that gets this grant.
    pub fn resume(
        self,
        kernel: &'static dyn Kernel,
        grant: &Frame,
        nonce: Hex<32>,
        key: Arc<SigningKey>,
    ) -> Result<Serving, Error> {
        let agreement = Agreement::new(kernel, self.request, &self.frame, grant)?;
        if agreement.grant().nonce_commitment != commitment_to(&nonce) {
            return Err(Error::Bug("the nonce is not the one of this session"));
        }
        let progress = Progress::new(agreement, &self.frame, grant);
        Ok(Serving {
            kernel,
            progress,
            nonce,
            key,
        })
    }
}

/// A granted session: chunks are evaluated once they are charged.
pub struct Serving {
    kernel: &'static dyn Kernel,
    progress: Progress,
    nonce: Hex<32>,
    key: Arc<SigningKey>,
}

impl std::fmt::Debug for Serving {
    // The audit nonce is secret until the closing reveals it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving")
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

/// The store's word that a chunk index is durably bound to these bytes and its elements are
/// charged. [`Accepted::evaluate`] demands it.
#[derive(Debug)]
pub struct ChargeReceipt {
    session: Hex<16>,
    index: u32,
    digest: Hex<32>,
}

impl ChargeReceipt {
    /// To be made by a store, in the moment its transaction has committed.
    #[must_use]
    pub fn committed(session: Hex<16>, index: u32, digest: Hex<32>) -> Self {
        Self {
            session,
            index,
            digest,
        }
    }
}

impl Serving {
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

    /// Takes the next blinded chunk: signature, order, type, counts.
    ///
    /// # Errors
    /// Any fault of the peer.
    pub fn receive(mut self, frame: &Frame) -> Result<(Self, Accepted), Error> {
        let chunk = self.progress.accept_blinded(frame)?;
        let session = self.progress.agreement.request().session;
        let key = Arc::clone(self.progress.agreement.key(&chunk.type_name)?);
        let accepted = Accepted {
            kernel: self.kernel,
            session,
            digest: digest_of(frame),
            key,
            chunk,
        };
        Ok((self, accepted))
    }

    /// Takes an evaluated chunk that this sender signed before: to replay a stored session.
    ///
    /// # Errors
    /// [`Error::Signature`] or [`Error::Mismatch`] if the store was altered.
    pub fn replay(mut self, frame: &Frame) -> Result<Self, Error> {
        self.progress.accept_evaluated(frame)?;
        Ok(self)
    }

    /// Signs an evaluation in the session's order.
    ///
    /// # Errors
    /// [`Error::Bug`] for an evaluation out of order.
    pub fn answer(mut self, evaluation: Evaluation) -> Result<(Self, Frame), Error> {
        if u64::from(evaluation.index) != self.progress.transcript.evaluated_chunks() {
            return Err(Error::Bug("evaluations must be answered in order"));
        }
        let Evaluation {
            elements, proof, ..
        } = evaluation;
        let frame = self
            .progress
            .transcript
            .sign_evaluated(elements, proof, &self.key)?;
        Ok((self, frame))
    }

    /// Checks the receiver's closing and signs the sender's. `charged` holds quota before and
    /// after for each requested type, in order.
    ///
    /// # Errors
    /// Any fault of the peer; [`Error::Bug`] for charges that do not agree with the chunks.
    pub fn close(
        self,
        receiver_closing: Frame,
        charged: Vec<Charge>,
        now_ms: u64,
    ) -> Result<Closed, Error> {
        let closing = self.progress.check_receiver_closing(&receiver_closing)?;
        let frame = self.sign_closing(
            closing.status,
            Some(digest_of(&receiver_closing)),
            charged.clone(),
            now_ms,
        )?;
        self.progress
            .check_sender_closing(&frame, Some((&receiver_closing, &closing)))
            .map_err(|_| Error::Bug("the sender's own closing disagrees"))?;
        Ok(Closed {
            receiver: receiver_closing,
            sender: frame,
            ended: closing.status,
            charged,
        })
    }

    /// Signs the closing of a session that the receiver never closed.
    ///
    /// # Errors
    /// [`Error::Bug`] only.
    pub fn abort(self, charged: Vec<Charge>, now_ms: u64) -> Result<Frame, Error> {
        let frame = self.sign_closing(Status::Aborted, None, charged, now_ms)?;
        self.progress
            .check_sender_closing(&frame, None)
            .map_err(|_| Error::Bug("the sender's own closing disagrees"))?;
        Ok(frame)
    }

    fn sign_closing(
        &self,
        status: Status,
        receiver_closing: Option<Hex<32>>,
        charged: Vec<Charge>,
        now_ms: u64,
    ) -> Result<Frame, Error> {
        let transcript = &self.progress.transcript;
        let grant = self.progress.agreement.grant();
        let closing = SenderClosing {
            session: grant.session,
            request: grant.request,
            grant: self.progress.agreement.grant_digest(),
            signing_key: self.key.verify_key().into(),
            status,
            receiver_closing,
            chunks: Int::new(transcript.evaluated_chunks())?,
            charged,
            set_commitment: transcript.set_commitment(),
            evaluations: transcript.evaluations(),
            running: transcript.running(),
            nonce: self.nonce,
            // A clock may have been set back; a session's times go forward all the same.
            closed_ms: Int::new(now_ms)?.max(grant.granted_ms),
        };
        sign(&closing, &self.key)
    }
}

/// A signed, ordered, granted chunk. Nothing unsigned becomes one.
#[derive(Debug)]
pub struct Accepted {
    kernel: &'static dyn Kernel,
    session: Hex<16>,
    digest: Hex<32>,
    key: Arc<PublicKey>,
    chunk: BlindedChunk,
}

/// Evaluated elements and their proof, not yet signed.
#[derive(Debug)]
pub struct Evaluation {
    index: u32,
    elements: Vec<[u8; 32]>,
    proof: [u8; 64],
}

impl Accepted {
    /// The session it belongs to.
    #[must_use]
    pub fn session(&self) -> Hex<16> {
        self.session
    }

    /// Index of the chunk.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.chunk.index
    }

    /// Type it is charged and evaluated as.
    #[must_use]
    pub fn type_name(&self) -> &Name {
        &self.chunk.type_name
    }

    /// Elements in it, padding included.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.chunk.elements.len()
    }

    /// SHA-256 of the frame as received: what the index is bound to.
    #[must_use]
    pub fn digest(&self) -> Hex<32> {
        self.digest
    }

    /// Evaluates under the key of the chunk's type and proves it. Constant time in the key.
    /// `fresh` must be 32 random bytes that serve this chunk alone. The same chunk with the same bytes
    /// gives the same evaluation, proof included: so an answer that may have left can be given again.
    ///
    /// # Errors
    /// [`Error::Element`] if an element is not canonical or the identity; [`Error::Bug`] for a
    /// receipt of another chunk, and for a key that was not granted for the chunk's type.
    pub fn evaluate(
        self,
        receipt: &ChargeReceipt,
        key: &SecretKey,
        fresh: &[u8; 32],
    ) -> Result<Evaluation, Error> {
        if receipt.session != self.session
            || receipt.index != self.chunk.index
            || receipt.digest != self.digest
        {
            return Err(Error::Bug("a charge was paired with another chunk"));
        }
        // The receiver would refuse the proof, but the evaluation would have left by then.
        if key.public_bytes() != self.key.as_bytes() {
            return Err(Error::Bug(
                "a chunk was paired with a key that was not granted for it",
            ));
        }
        let index = self.chunk.index;
        let evaluated =
            oprf::blind_evaluate(self.kernel, key, &self.chunk.elements).in_chunk(index)?;
        let proof = *evaluated.prove(Weights::WholeChunk, fresh).as_bytes();
        Ok(Evaluation {
            index,
            elements: evaluated.into_elements(),
            proof,
        })
    }
}
