//! What receiver, sender and verifier all hold a session to: one implementation of every check
//! that compares a frame with what was agreed before it (spec section 4.3).

use std::{collections::BTreeMap, sync::Arc};

use sha2::{Digest, Sha256};

use super::chunk::{BlindedChunk, EvaluatedChunk, Transcript};
use crate::{
    error::{Error, agreeing},
    frame::Frame,
    group::Kernel,
    oprf::PublicKey,
    signing::SigningKey,
    snapshot::tag_bytes,
    statements::{
        Charge, Grant, Hex, Mode, Name, Query, ReceiverClosing, Request, SenderClosing, Status,
        digest_of, open,
    },
};

/// How far a grant may seem to come before its request: the clocks of two agencies.
const CLOCK_TOLERANCE_MS: u64 = 30_000;

/// A request and the grant that answers it.
#[derive(Debug)]
pub struct Agreement {
    request: Request,
    request_digest: Hex<32>,
    grant: Grant,
    grant_digest: Hex<32>,
    keys: BTreeMap<Name, Arc<PublicKey>>,
}

impl Agreement {
    /// Opens the grant under the key that the request is addressed to, and compares every member
    /// that both state.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming the member; [`Error::Signature`]; [`Error::Key`] for a public
    /// key that is not a valid element.
    pub(crate) fn new(
        kernel: &'static dyn Kernel,
        request: Request,
        request_frame: &Frame,
        grant_frame: &Frame,
    ) -> Result<Self, Error> {
        let grant: Grant = open(grant_frame, &request.sender.signing_key.into())?;
        let request_digest = digest_of(request_frame);
        let agree = agreeing("grant");
        agree("session", grant.session == request.session)?;
        agree("request", grant.request == request_digest)?;
        agree("sender", grant.sender.agency == request.sender.agency)?;
        agree("receiver", grant.receiver.agency == request.receiver.agency)?;
        agree(
            "receiver",
            grant.receiver.signing_key == request.receiver.signing_key,
        )?;
        agree("collection", grant.collection == request.collection)?;
        // What follows is a session of mode elements, so no record of it may say another mode.
        agree(
            "mode",
            grant.mode == request.mode && grant.mode == Mode::Elements,
        )?;
        agree("profile", grant.profile == request.profile)?;
        let asked = request.queries.iter().map(|q| &q.type_name);
        agree("keys", grant.keys.iter().map(|k| &k.type_name).eq(asked))?;
        // Clocks differ, by 30 s at most where they were compared.
        let issued = request.issued_ms.get();
        agree(
            "granted_ms",
            grant.granted_ms.get() + CLOCK_TOLERANCE_MS >= issued,
        )?;
        // Shorter tags than the rule's would give false matches that look like true ones.
        let least = tag_bytes(request.elements(), grant.snapshot.elements.get());
        agree("tag_bytes", grant.snapshot.tag_bytes.get() >= least.into())?;
        // The sender must not learn which traveller was on its list, nor that one was.
        let shift = request.is_shift();
        agree("discloses_count", !shift || !grant.discloses_count)?;
        // Else not even the smallest flight could leave.
        let most = grant.limits.chunk_elements;
        let smallest = |query: &Query| query.flights.iter().flatten().next().copied();
        let fits = request
            .queries
            .iter()
            .filter_map(smallest)
            .all(|size| size <= most);
        agree("chunk_elements", fits)?;
        // A request that dies before it is granted was not granted.
        agree("granted_ms", grant.granted_ms <= request.expires_ms)?;
        let mut keys = BTreeMap::new();
        for key in &grant.keys {
            let decoded = PublicKey::decode(kernel, &key.public_key.0)
                .map_err(|_| Error::Key { what: "the grant" })?;
            keys.insert(key.type_name.clone(), Arc::new(decoded));
        }
        Ok(Self {
            request,
            request_digest,
            grant,
            grant_digest: digest_of(grant_frame),
            keys,
        })
    }

    /// The request.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The grant.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// SHA-256 of the grant frame.
    #[must_use]
    pub fn grant_digest(&self) -> Hex<32> {
        self.grant_digest
    }

    /// The key of a granted type.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the type was not granted.
    pub fn key(&self, type_name: &Name) -> Result<&Arc<PublicKey>, Error> {
        self.keys.get(type_name).ok_or(Error::Mismatch {
            what: "blinded chunk",
            field: "type was not granted",
        })
    }
}

/// An agreement and all chunks since.
#[derive(Debug)]
pub struct Progress {
    pub(crate) agreement: Agreement,
    pub(crate) transcript: Transcript,
    /// Elements of each type that are still to come, or in a shift may come.
    left: BTreeMap<Name, u64>,
    /// In a shift: how far the flight under way has come.
    flight: Flight,
}

/// A flight of a shift: one chunk of each type, types ascending, all of the size at one place of
/// their lists.
#[derive(Debug, Default)]
struct Flight {
    /// Types that came already.
    types: usize,
    /// Which of its sizes each has.
    size: usize,
}

impl Progress {
    pub(crate) fn new(agreement: Agreement, request: &Frame, grant: &Frame) -> Self {
        let transcript = Transcript::new(agreement.request.session, request, grant);
        let queries = agreement.request.queries.iter();
        let left = queries
            .map(|q| (q.type_name.clone(), q.elements.get()))
            .collect();
        Self {
            agreement,
            transcript,
            left,
            flight: Flight::default(),
        }
    }

    /// Counts a blinded chunk against grant and request.
    fn spend(&mut self, type_name: &Name, elements: usize) -> Result<(), Error> {
        let limit = self.agreement.grant.limits.chunk_elements.get();
        if elements as u64 > limit {
            return Err(Error::Limit {
                what: "number of elements in a chunk",
                limit,
            });
        }
        let window = self.agreement.grant.limits.window_chunks.get();
        if self.transcript.unanswered() as u64 >= window {
            return Err(Error::Limit {
                what: "number of unanswered chunks",
                limit: window,
            });
        }
        let left = self.left.get_mut(type_name).ok_or(Error::Mismatch {
            what: "blinded chunk",
            field: "type was not granted",
        })?;
        let rest = left.checked_sub(elements as u64).ok_or(Error::Mismatch {
            what: "blinded chunk",
            field: "more elements than the request declares",
        })?;
        let refused = |field| {
            Err(Error::Mismatch {
                what: "blinded chunk",
                field,
            })
        };
        let request = &self.agreement.request;
        if request.is_shift() {
            // What is asked must not show in which types are asked, nor in how many elements.
            let query = &request.queries[self.flight.types];
            if query.type_name != *type_name {
                return refused("a flight has one chunk of each type, types ascending");
            }
            let size = query.flight_size(elements as u64);
            let Some(size) =
                size.filter(|size| self.flight.types == 0 || *size == self.flight.size)
            else {
                return refused("no flight of this shift has so many elements");
            };
            *left = rest;
            let types = (self.flight.types + 1) % request.queries.len();
            self.flight = Flight { types, size };
            return Ok(());
        }
        // Chunks that could be of any size would show rows in their schedule, and a sender that
        // writes to the disk for each of them could be kept busy with chunks of one element.
        if (elements as u64) < limit && rest > 0 {
            return refused("it is short and not the last of its type");
        }
        *left = rest;
        Ok(())
    }

    pub(crate) fn sign_blinded(
        &mut self,
        type_name: Name,
        elements: &[[u8; 32]],
        key: &SigningKey,
    ) -> Result<Frame, Error> {
        self.spend(&type_name, elements.len())?;
        self.transcript.sign_blinded(type_name, elements, key)
    }

    pub(crate) fn accept_blinded(&mut self, frame: &Frame) -> Result<BlindedChunk, Error> {
        let key = self.agreement.request.receiver.signing_key.into();
        let chunk = self.transcript.check_blinded(frame, &key)?;
        self.spend(&chunk.type_name, chunk.elements.len())?;
        self.transcript.take_blinded(frame, chunk.elements.len())?;
        Ok(chunk)
    }

    pub(crate) fn accept_evaluated(&mut self, frame: &Frame) -> Result<EvaluatedChunk, Error> {
        let key = self.agreement.grant.sender.signing_key.into();
        self.transcript.accept_evaluated(frame, &key)
    }

    /// Whether every declared element was sent and answered; of a shift, whether every flight that
    /// began was.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let sent = match self.agreement.request.is_shift() {
            true => self.flight.types == 0,
            false => self.left.values().all(|left| *left == 0),
        };
        sent && self.transcript.unanswered() == 0
    }

    /// Elements of a type that the request still leaves; 0 for a type that was not asked.
    #[must_use]
    pub fn left(&self, type_name: &Name) -> u64 {
        self.left.get(type_name).copied().unwrap_or(0)
    }

    /// Elements of each type taken so far, types ascending.
    pub fn spent(&self) -> impl Iterator<Item = (&Name, u64)> {
        let queries = self.agreement.request.queries.iter();
        queries
            .zip(self.left.values())
            .map(|(q, left)| (&q.type_name, q.elements.get() - left))
    }

    /// Checks the receiver's closing against all that went before.
    pub(crate) fn check_receiver_closing(&self, frame: &Frame) -> Result<ReceiverClosing, Error> {
        let closing: ReceiverClosing =
            open(frame, &self.agreement.request.receiver.signing_key.into())?;
        let transcript = &self.transcript;
        let agree = agreeing("receiver closing");
        agree("session", closing.session == self.agreement.request.session)?;
        agree("request", closing.request == self.agreement.request_digest)?;
        agree("grant", closing.grant == self.agreement.grant_digest)?;
        agree(
            "nonce",
            commitment_to(&closing.nonce) == self.agreement.request.nonce_commitment,
        )?;
        // An abort may come at any time, also after the last chunk: from whoever found a wrong
        // proof in it. A promised set is held to once it was sent whole.
        let complete = self.is_complete();
        agree("status", closing.status == Status::Aborted || complete)?;
        let issued = self.agreement.request.issued_ms;
        agree("closed_ms", closing.closed_ms >= issued)?;
        for time in [closing.first_chunk_ms, closing.last_chunk_ms]
            .into_iter()
            .flatten()
        {
            agree("chunk times", time >= issued && time <= closing.closed_ms)?;
        }
        // An aborted closing has none.
        if let Some(outcome) = &closing.outcome {
            let disclosed = outcome.matches.is_some();
            agree("outcome", disclosed == self.agreement.grant.discloses_count)?;
            let most = transcript.answered_elements();
            agree("outcome", outcome.matches.is_none_or(|n| n.get() <= most))?;
        }
        agree(
            "chunks",
            closing.chunks.get() == transcript.evaluated_chunks(),
        )?;
        agree(
            "elements",
            closing.elements.get() == transcript.answered_elements(),
        )?;
        agree(
            "set_commitment",
            closing.set_commitment == transcript.set_commitment(),
        )?;
        if let Some(promised) = self.agreement.request.set_commitment {
            let kept = !complete || promised == closing.set_commitment;
            agree("set_commitment of the request", kept)?;
        }
        agree(
            "evaluations",
            closing.evaluations == transcript.evaluations(),
        )?;
        agree("running", closing.running == transcript.running())?;
        Ok(closing)
    }

    /// Checks the sender's closing against all that went before and the receiver's closing.
    pub(crate) fn check_sender_closing(
        &self,
        frame: &Frame,
        receiver_closing: Option<(&Frame, &ReceiverClosing)>,
    ) -> Result<SenderClosing, Error> {
        let closing: SenderClosing = open(frame, &self.agreement.grant.sender.signing_key.into())?;
        let transcript = &self.transcript;
        let agree = agreeing("sender closing");
        agree("session", closing.session == self.agreement.request.session)?;
        agree("request", closing.request == self.agreement.request_digest)?;
        agree("grant", closing.grant == self.agreement.grant_digest)?;
        agree(
            "nonce",
            commitment_to(&closing.nonce) == self.agreement.grant.nonce_commitment,
        )?;
        agree(
            "receiver_closing",
            closing.receiver_closing == receiver_closing.map(|(frame, _)| digest_of(frame)),
        )?;
        let status = receiver_closing.map_or(Status::Aborted, |(_, c)| c.status);
        agree("status", closing.status == status)?;
        agree(
            "closed_ms",
            closing.closed_ms >= self.agreement.grant.granted_ms,
        )?;
        agree(
            "chunks",
            closing.chunks.get() == transcript.evaluated_chunks(),
        )?;
        agree("charged", self.charges_agree(&closing.charged))?;
        agree(
            "set_commitment",
            closing.set_commitment == transcript.set_commitment(),
        )?;
        agree(
            "evaluations",
            closing.evaluations == transcript.evaluations(),
        )?;
        agree("running", closing.running == transcript.running())?;
        Ok(closing)
    }

    /// One charge a type, each for exactly the elements of its chunks, each leaving what it must.
    fn charges_agree(&self, charged: &[Charge]) -> bool {
        charged.len() == self.left.len()
            && charged
                .iter()
                .zip(self.spent())
                .all(|(charge, (type_name, spent))| {
                    charge.type_name == *type_name
                        && charge.elements.get() == spent
                        && charge.quota_before.get().checked_sub(spent)
                            == Some(charge.quota_after.get())
                })
    }
}

/// SHA-256 commitment to an audit nonce: 32 random bytes, so it hides without a further salt.
#[must_use]
pub fn commitment_to(nonce: &Hex<32>) -> Hex<32> {
    Hex(Sha256::new()
        .chain_update(b"tallystick/nonce/v1\0")
        .chain_update(nonce.0)
        .finalize()
        .into())
}

/// Salted commitment to the match count.
#[must_use]
pub fn outcome_commitment(salt: &[u8; 32], matches: u64) -> Hex<32> {
    let hash = Sha256::new()
        .chain_update(b"tallystick/outcome/v1\0")
        .chain_update(salt)
        .chain_update(matches.to_be_bytes());
    Hex(hash.finalize().into())
}

/// Salted commitment to a claim that the record must not show: a case reference, an officer's id.
/// `kind` keeps claims of different members apart.
#[must_use]
pub fn claim_commitment(kind: &str, salt: &[u8; 32], text: &str) -> Hex<32> {
    let hash = Sha256::new()
        .chain_update(b"tallystick/claim/v1\0")
        .chain_update((kind.len() as u64).to_be_bytes())
        .chain_update(kind)
        .chain_update(salt)
        .chain_update(text);
    Hex(hash.finalize().into())
}
