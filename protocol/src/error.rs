//! The one error of this crate, ordered by whose fault it is.
//!
//! No variant can hold an identifier, a key or a label: what varies is a field name, an index or
//! a limit. [`Error::code`] is stable; programs and metrics may rely on it.

use crate::{dleq::ProofError, oprf::OprfError};

/// Whose fault an error is; the edge maps it to an exit code or a gRPC status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The bytes came from the other side (or from a file that claims to) and break the protocol.
    Peer,
    /// The caller passed something that can never work: wrong configuration or usage.
    Caller,
    /// This code broke its own rule.
    Bug,
}

/// What went wrong, in words that carry no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that do not parse, or that are not the one accepted form.
    #[error("malformed {what}: {why}")]
    Malformed {
        /// The frame or statement.
        what: &'static str,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// A signature that does not verify, or is by another key than the one expected.
    #[error("the signature on the {what} does not verify under the expected key")]
    Signature {
        /// The frame or statement.
        what: &'static str,
    },
    /// A frame that may not come at this point.
    #[error("unexpected {got}: {expected} was due")]
    Order {
        /// What came.
        got: &'static str,
        /// What was due.
        expected: &'static str,
    },
    /// A field that contradicts an earlier statement.
    #[error("the {what} disagrees with what was agreed: {field}")]
    Mismatch {
        /// The frame or statement.
        what: &'static str,
        /// The member that differs.
        field: &'static str,
    },
    /// More than was granted or than the format allows.
    #[error("the {what} exceeds the limit of {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A group element that is not canonical, or is the identity.
    #[error("element {index} of chunk {chunk} is not a valid group element")]
    Element {
        /// The chunk.
        chunk: u32,
        /// Position in the chunk.
        index: usize,
    },
    /// A DLEQ proof that does not verify under the key of the grant.
    #[error("the proof of chunk {chunk} does not verify under the key in the grant")]
    Proof {
        /// The chunk.
        chunk: u32,
    },
    /// A sealed label that does not open under the key of its own element.
    #[error("the label of a matched tag does not open: the snapshot is not what its header says")]
    Label,
    /// A key that is not a valid public key.
    #[error("the public key of type {what} is not a valid group element")]
    Key {
        /// The identifier type, when it is one of ours.
        what: &'static str,
    },
    /// A statement that is used outside its time.
    #[error("the {what} is {why}")]
    Time {
        /// The statement.
        what: &'static str,
        /// `expired`, `from the future`.
        why: &'static str,
    },
    /// The caller asked for something that cannot be done.
    #[error("{0}")]
    Usage(&'static str),
    /// A rule of this code was broken by this code.
    #[error("internal error: {0}")]
    Bug(&'static str),
}

impl Error {
    /// A stable, kebab-case code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::Signature { .. } => "bad-signature",
            Self::Order { .. } => "out-of-order",
            Self::Mismatch { .. } => "mismatch",
            Self::Limit { .. } => "over-limit",
            Self::Element { .. } => "bad-element",
            Self::Proof { .. } => "bad-proof",
            Self::Label => "bad-label",
            Self::Key { .. } => "bad-key",
            Self::Time { .. } => "bad-time",
            Self::Usage(_) => "usage",
            Self::Bug(_) => "bug",
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Usage(_) => Fault::Caller,
            Self::Bug(_) => Fault::Bug,
            _ => Fault::Peer,
        }
    }
}

/// Compares members of `what` with what was agreed before: a member that differs is named.
pub(crate) fn agreeing(what: &'static str) -> impl Fn(&'static str, bool) -> Result<(), Error> {
    move |field, same| match same {
        true => Ok(()),
        false => Err(Error::Mismatch { what, field }),
    }
}

/// Gives errors of the proof and of the OPRF the chunk they stand in.
pub(crate) trait InChunk<T> {
    fn in_chunk(self, chunk: u32) -> Result<T, Error>;
}

impl<T> InChunk<T> for Result<T, ProofError> {
    fn in_chunk(self, chunk: u32) -> Result<T, Error> {
        self.map_err(|error| match error {
            ProofError::InvalidBlinded { index } | ProofError::InvalidEvaluated { index } => {
                Error::Element { chunk, index }
            }
            _ => Error::Proof { chunk },
        })
    }
}

impl<T> InChunk<T> for Result<T, OprfError> {
    fn in_chunk(self, chunk: u32) -> Result<T, Error> {
        self.map_err(|error| match error {
            OprfError::InvalidElement { index } => Error::Element { chunk, index },
            OprfError::ChunkSize { .. } => Error::Limit {
                what: "number of elements in a chunk",
                limit: 65_535,
            },
            _ => Error::Bug("an OPRF step was called with something it cannot take"),
        })
    }
}
