//! Chunks: packed elements, a proof, their author's signature (spec section 4).
//!
//! ```text
//! blinded   = index u32 ‖ type len u8 ‖ type ‖ count u16 ‖ count · 32 ‖ signature 64
//! evaluated = index u32 ‖ count u16 ‖ count · 32 ‖ proof 64 ‖ signature 64
//! ```

use sha2::{Digest, Sha256};

use crate::{
    error::Error,
    frame::{Cursor, Frame, HEADER_BYTES, Kind},
    signing::{SigningKey, VerifyKey},
    statements::{Hex, Name},
};

/// The most elements of a chunk: RFC 9497 writes their index in two bytes.
pub const MAX_CHUNK_ELEMENTS: usize = 65_535;

const SIGNATURE_BYTES: usize = 64;

/// A parsed blinded chunk. Its elements are bytes yet: decoding is the kernel's.
#[derive(Debug, Clone)]
pub struct BlindedChunk {
    /// Position among the session's chunks.
    pub index: u32,
    /// Type whose key evaluates it.
    pub type_name: Name,
    /// Encodings of the blinded elements.
    pub elements: Vec<[u8; 32]>,
}

/// A parsed evaluated chunk.
#[derive(Debug, Clone)]
pub struct EvaluatedChunk {
    /// Index of the blinded chunk it answers.
    pub index: u32,
    /// Encodings of the evaluated elements, in the order of the blinded ones.
    pub elements: Vec<[u8; 32]>,
    /// Batched DLEQ proof.
    pub proof: [u8; 64],
}

impl BlindedChunk {
    /// Parses a body; the signature is checked by [`super::Transcript`].
    pub(super) fn parse(frame: &Frame) -> Result<Self, Error> {
        let body = frame.expect(Kind::BlindedChunk)?;
        let mut cursor = Cursor::new(Kind::BlindedChunk.name(), body);
        let index = cursor.u32()?;
        let len = cursor.u8()?;
        let malformed = |why| Error::Malformed {
            what: Kind::BlindedChunk.name(),
            why,
        };
        let type_name = std::str::from_utf8(cursor.take(len.into())?)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(malformed("type is not a name"))?;
        let count = cursor.u16()?;
        if count == 0 {
            return Err(malformed("no elements"));
        }
        let elements = cursor.elements(count.into())?;
        cursor.array::<SIGNATURE_BYTES>()?;
        cursor.end()?;
        Ok(Self {
            index,
            type_name,
            elements,
        })
    }
}

impl EvaluatedChunk {
    /// Parses a body; the signature is checked by [`super::Transcript`].
    pub(super) fn parse(frame: &Frame) -> Result<Self, Error> {
        let body = frame.expect(Kind::EvaluatedChunk)?;
        let mut cursor = Cursor::new(Kind::EvaluatedChunk.name(), body);
        let index = cursor.u32()?;
        let count = cursor.u16()?;
        let elements = cursor.elements(count.into())?;
        let proof = cursor.array()?;
        cursor.array::<SIGNATURE_BYTES>()?;
        cursor.end()?;
        Ok(Self {
            index,
            elements,
            proof,
        })
    }
}

/// A blinded chunk's bytes before its signature, behind room for the frame's header.
fn blinded_body(index: u32, type_name: &Name, elements: &[[u8; 32]]) -> Result<Vec<u8>, Error> {
    let name = type_name.as_str().as_bytes();
    let around = HEADER_BYTES + 8 + name.len() + SIGNATURE_BYTES;
    let mut out = Vec::with_capacity(around + elements.len() * 32);
    out.extend_from_slice(&[0; HEADER_BYTES]);
    out.extend_from_slice(&index.to_be_bytes());
    out.push(u8::try_from(name.len()).map_err(|_| Error::Bug("type name"))?);
    out.extend_from_slice(name);
    push_elements(&mut out, elements)?;
    Ok(out)
}

/// The same of an evaluated chunk.
fn evaluated_body(index: u32, elements: &[[u8; 32]], proof: &[u8; 64]) -> Result<Vec<u8>, Error> {
    let around = HEADER_BYTES + 6 + proof.len() + SIGNATURE_BYTES;
    let mut out = Vec::with_capacity(around + elements.len() * 32);
    out.extend_from_slice(&[0; HEADER_BYTES]);
    out.extend_from_slice(&index.to_be_bytes());
    push_elements(&mut out, elements)?;
    out.extend_from_slice(proof);
    Ok(out)
}

fn push_elements(out: &mut Vec<u8>, elements: &[[u8; 32]]) -> Result<(), Error> {
    let count = u16::try_from(elements.len())
        .ok()
        .filter(|count| *count > 0)
        .ok_or(Error::Usage("a chunk holds 1 to 65,535 elements"))?;
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(elements.as_flattened());
    Ok(())
}

/// Body without its signature, and the signature.
fn split(frame: &Frame) -> Result<(&[u8], &[u8; SIGNATURE_BYTES]), Error> {
    frame
        .body()
        .split_last_chunk::<SIGNATURE_BYTES>()
        .ok_or(Error::Malformed {
            what: frame.kind().name(),
            why: "too short",
        })
}

/// What a chunk's author signs: domain ‖ session ‖ index ‖ running hash ‖ SHA-256(body without
/// signature).
fn message(
    kind: Kind,
    session: &Hex<16>,
    index: u32,
    running: &[u8; 32],
    unsigned: &[u8],
) -> Vec<u8> {
    let domain: &[u8] = match kind {
        Kind::BlindedChunk => b"tallystick/blinded-chunk/v1\0",
        _ => b"tallystick/evaluated-chunk/v1\0",
    };
    let digest: [u8; 32] = Sha256::digest(unsigned).into();
    [domain, &session.0, &index.to_be_bytes(), running, &digest].concat()
}

/// The two running hashes, the two trees and the counts of a session: one implementation for
/// receiver, sender and verifier, so that they cannot come to differ.
///
/// `blinded` runs over request, grant and the receiver's chunks; `evaluated` over request, grant
/// and the sender's. The receiver signs chunk *i* over `blinded` before *i*. The sender signs its
/// answer over both its own chain before *i* and the receiver's chain through *i*: so chunks can
/// be under way in both directions and yet each signature fixes all that its author had answered
/// or sent (spec section 4.2).
#[derive(Debug)]
pub struct Transcript {
    session: Hex<16>,
    blinded: [u8; 32],
    evaluated: [u8; 32],
    /// For each chunk not yet answered, oldest first: the receiver's chain through it, and its
    /// number of elements.
    unanswered: std::collections::VecDeque<([u8; 32], usize)>,
    blinded_tree: crate::log::TreeHasher,
    evaluated_tree: crate::log::TreeHasher,
    elements: u64,
    answered_elements: u64,
}

impl Transcript {
    /// Starts after the grant.
    #[must_use]
    pub fn new(session: Hex<16>, request: &Frame, grant: &Frame) -> Self {
        let start: [u8; 32] = Sha256::new()
            .chain_update(b"tallystick/running/v1\0")
            .chain_update(request.digest())
            .chain_update(grant.digest())
            .finalize()
            .into();
        Self {
            session,
            blinded: start,
            evaluated: start,
            unanswered: std::collections::VecDeque::new(),
            blinded_tree: crate::log::TreeHasher::new(),
            evaluated_tree: crate::log::TreeHasher::new(),
            elements: 0,
            answered_elements: 0,
        }
    }

    /// Blinded chunks so far.
    #[must_use]
    pub fn blinded_chunks(&self) -> u64 {
        self.blinded_tree.size()
    }

    /// Evaluated chunks so far.
    #[must_use]
    pub fn evaluated_chunks(&self) -> u64 {
        self.evaluated_tree.size()
    }

    /// Elements in all blinded chunks.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.elements
    }

    /// Elements in all evaluated chunks.
    #[must_use]
    pub fn answered_elements(&self) -> u64 {
        self.answered_elements
    }

    /// Chunks sent and not yet answered.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// RFC 6962 root over the blinded chunks without their signatures.
    #[must_use]
    pub fn set_commitment(&self) -> Hex<32> {
        Hex(self.blinded_tree.root())
    }

    /// RFC 6962 root over the evaluated chunks without their signatures.
    #[must_use]
    pub fn evaluations(&self) -> Hex<32> {
        Hex(self.evaluated_tree.root())
    }

    /// SHA-256 of both chains: what both closings state.
    #[must_use]
    pub fn running(&self) -> Hex<32> {
        Hex(Sha256::new()
            .chain_update(self.evaluated)
            .chain_update(self.blinded)
            .finalize()
            .into())
    }

    /// The next index as a chunk writes it.
    fn next_index(tree: &crate::log::TreeHasher) -> Result<u32, Error> {
        u32::try_from(tree.size()).map_err(|_| Error::Limit {
            what: "number of chunks",
            limit: u32::MAX.into(),
        })
    }

    /// Signs the next blinded chunk and takes it in.
    pub(super) fn sign_blinded(
        &mut self,
        type_name: Name,
        elements: impl AsRef<[[u8; 32]]>,
        key: &SigningKey,
    ) -> Result<Frame, Error> {
        let index = Self::next_index(&self.blinded_tree)?;
        let elements = elements.as_ref();
        let mut bytes = blinded_body(index, &type_name, elements)?;
        let signature = key.sign(&message(
            Kind::BlindedChunk,
            &self.session,
            index,
            &self.blinded,
            &bytes[HEADER_BYTES..],
        ));
        bytes.extend_from_slice(&signature);
        let frame = Frame::behind_room(Kind::BlindedChunk, bytes)?;
        self.take_blinded(&frame, elements.len())?;
        Ok(frame)
    }

    /// Checks index and signature of the next blinded chunk. It is in only after
    /// [`Self::take_blinded`], so that what it says can be checked between.
    pub(super) fn check_blinded(
        &self,
        frame: &Frame,
        key: &VerifyKey,
    ) -> Result<BlindedChunk, Error> {
        let chunk = BlindedChunk::parse(frame)?;
        if chunk.index != Self::next_index(&self.blinded_tree)? {
            return Err(Error::Mismatch {
                what: "blinded chunk",
                field: "index",
            });
        }
        let (unsigned, signature) = split(frame)?;
        let message = message(
            Kind::BlindedChunk,
            &self.session,
            chunk.index,
            &self.blinded,
            unsigned,
        );
        key.verify("blinded chunk", &message, signature)?;
        Ok(chunk)
    }

    /// Takes in a blinded chunk of `count` elements.
    pub(super) fn take_blinded(&mut self, frame: &Frame, count: usize) -> Result<(), Error> {
        self.blinded_tree.push(split(frame)?.0);
        self.blinded = chain(&self.blinded, frame);
        self.unanswered.push_back((self.blinded, count));
        self.elements += count as u64;
        Ok(())
    }

    /// The running hash under which the next answer is signed, if a chunk waits for one.
    fn answer_running(&self) -> Result<[u8; 32], Error> {
        let (through, _) = self.unanswered.front().ok_or(Error::Order {
            got: "evaluated chunk",
            expected: "a blinded chunk",
        })?;
        Ok(Sha256::new()
            .chain_update(self.evaluated)
            .chain_update(through)
            .finalize()
            .into())
    }

    /// Signs the next evaluated chunk and takes it in.
    pub(super) fn sign_evaluated(
        &mut self,
        elements: impl AsRef<[[u8; 32]]>,
        proof: [u8; 64],
        key: &SigningKey,
    ) -> Result<Frame, Error> {
        let index = Self::next_index(&self.evaluated_tree)?;
        let elements = elements.as_ref();
        let mut bytes = evaluated_body(index, elements, &proof)?;
        let running = self.answer_running()?;
        let signature = key.sign(&message(
            Kind::EvaluatedChunk,
            &self.session,
            index,
            &running,
            &bytes[HEADER_BYTES..],
        ));
        bytes.extend_from_slice(&signature);
        let frame = Frame::behind_room(Kind::EvaluatedChunk, bytes)?;
        self.take_evaluated(&frame, elements.len())?;
        Ok(frame)
    }

    /// Checks index and signature of the next evaluated chunk and takes it in.
    pub(super) fn accept_evaluated(
        &mut self,
        frame: &Frame,
        key: &VerifyKey,
    ) -> Result<EvaluatedChunk, Error> {
        let chunk = EvaluatedChunk::parse(frame)?;
        if chunk.index != Self::next_index(&self.evaluated_tree)? {
            return Err(Error::Mismatch {
                what: "evaluated chunk",
                field: "index",
            });
        }
        let (unsigned, signature) = split(frame)?;
        let running = self.answer_running()?;
        let message = message(
            Kind::EvaluatedChunk,
            &self.session,
            chunk.index,
            &running,
            unsigned,
        );
        key.verify("evaluated chunk", &message, signature)?;
        self.take_evaluated(frame, chunk.elements.len())?;
        Ok(chunk)
    }

    fn take_evaluated(&mut self, frame: &Frame, count: usize) -> Result<(), Error> {
        let asked = self.unanswered.pop_front().map_or(0, |(_, count)| count);
        if asked != count {
            return Err(Error::Mismatch {
                what: "evaluated chunk",
                field: "count",
            });
        }
        self.evaluated_tree.push(split(frame)?.0);
        self.evaluated = chain(&self.evaluated, frame);
        self.answered_elements += count as u64;
        Ok(())
    }
}

fn chain(running: &[u8; 32], frame: &Frame) -> [u8; 32] {
    Sha256::new()
        .chain_update(running)
        .chain_update(frame.digest())
        .finalize()
        .into()
}
