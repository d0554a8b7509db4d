//! The values that go in and out of the store.

/// A session's id, chosen by the receiver; also the request's id.
pub type SessionId = [u8; 16];
/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// A peer and what pins it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Agency name.
    pub name: String,
    /// The signed manifest, as received.
    pub manifest: Vec<u8>,
    /// Ed25519 public key of its statements.
    pub signing_key: [u8; 32],
    /// SHA-256 of the SubjectPublicKeyInfo of each TLS key; sorted when read.
    pub tls_pins: Vec<Digest>,
    /// CA certificates, DER, in the order given.
    pub authorities: Vec<Vec<u8>>,
    /// `host:port`.
    pub address: Option<String>,
    /// When it was first added.
    pub added_ms: i64,
    /// When the manifest ends.
    pub expires_ms: i64,
    /// When it was revoked.
    pub revoked_ms: Option<i64>,
}

/// A collection that this node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// The current epoch.
    pub epoch: u64,
    /// JSON of the publisher, opaque here.
    pub meta: String,
    /// Digest of the current snapshot, once published.
    pub snapshot_digest: Option<Digest>,
    /// When that snapshot was published.
    pub published_ms: Option<i64>,
    /// Whether it is no longer offered.
    pub removed: bool,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStatus {
    /// Granted, not ended.
    Open,
    /// Ended with both closings.
    Closed,
    /// Ended without.
    Aborted,
    /// Never granted.
    Refused,
}

/// Elements of one type that a session may have evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Identifier type.
    pub element_type: String,
    /// Elements granted.
    pub granted: u64,
    /// Elements bound so far; 0 in a new session.
    pub used: u64,
}

/// A request that is about to be granted or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// Session and request id.
    pub session: SessionId,
    /// The authenticated peer.
    pub peer: String,
    /// The collection asked.
    pub collection: String,
    /// Its epoch now.
    pub epoch: u64,
    /// Digest of the signed request.
    pub request_digest: Digest,
    /// When the request expires.
    pub expires_ms: i64,
    /// What is granted, by type; `used` is ignored.
    pub grants: Vec<Grant>,
    /// Where the record will lie, relative to the home.
    pub record_path: String,
    /// Whether it is a shift: those are counted apart.
    pub shift: bool,
}

/// How many sessions may be in progress, of shifts or of others. A session counts while it is open and was active at or
/// after `active_since_ms`; abandoned ones do not block their peer for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Of all peers.
    pub max_total: u32,
    /// Of this peer.
    pub max_per_peer: u32,
    /// Sessions last active before this do not count.
    pub active_since_ms: i64,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// First time seen; the session is there.
    New,
    /// The same request of the same peer, seen before: resume or answer by this status.
    SameAgain {
        /// Where the session stands.
        status: SessionStatus,
    },
    /// The id was used by another request or another peer. Refuse.
    Replayed,
    /// The request has expired. Refuse.
    Expired,
    /// The peer has as many sessions as it may. Refuse for now.
    TooManyOfPeer,
    /// The node has as many sessions as it may. Refuse for now.
    TooManyTotal,
}

/// A session as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub session: SessionId,
    /// The peer.
    pub peer: String,
    /// The collection.
    pub collection: String,
    /// The epoch it was granted in.
    pub epoch: u64,
    /// Digest of the signed request.
    pub request_digest: Digest,
    /// When the request expires; no limit on the session itself.
    pub expires_ms: i64,
    /// Where it stands.
    pub status: SessionStatus,
    /// Granted and used elements, by type.
    pub grants: Vec<Grant>,
    /// Where its record lies, relative to the home.
    pub record_path: String,
    /// When it was admitted.
    pub created_ms: i64,
    /// When a chunk was last bound, or it was admitted.
    pub active_ms: i64,
    /// When it ended.
    pub closed_ms: Option<i64>,
}

/// A chunk that is about to be evaluated.
#[derive(Debug, Clone, Copy)]
pub struct ChunkBinding<'a> {
    /// The session.
    pub session: &'a SessionId,
    /// The chunk's index.
    pub index: u32,
    /// The type it is evaluated and charged as.
    pub element_type: &'a str,
    /// Its elements, padding included.
    pub elements: u32,
    /// Digest of its bytes.
    pub digest: &'a Digest,
    /// Its frame.
    pub question: &'a [u8],
    /// 32 fresh random bytes for its evaluation, to be kept with it.
    pub fresh: &'a [u8; 32],
    /// The most elements that this peer may ever be charged for this collection, epoch and type.
    pub budget: u64,
}

/// Where an answer's frame lies in the record file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Offset of its first byte.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u32,
}

/// What became of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Bound and charged: evaluate it.
    New {
        /// Elements charged to the peer under this key, this chunk included.
        charged_total: u64,
    },
    /// The same bytes were bound before; nothing is charged again. With an answer, send that; without
    /// one (a crash came between), evaluate.
    SameAgain {
        /// The stored answer.
        answer: Option<Answer>,
        /// What it was bound with, to be evaluated with again, so that the answer is the same. `None`
        /// once it is answered, and for a chunk that an earlier version bound.
        fresh: Option<[u8; 32]>,
    },
    /// The index is bound to other bytes. Refuse.
    Conflict,
    /// The chunk before it is not bound. Refuse.
    OutOfOrder,
    /// More than the session was granted of this type. Refuse.
    OverSessionGrant {
        /// Elements granted.
        granted: u64,
        /// Elements used before this chunk.
        used: u64,
    },
    /// More than the peer's budget. Refuse.
    OverBudget {
        /// Elements charged before this chunk.
        charged: u64,
    },
    /// There is no such session, or it is not open. Refuse.
    NotOpen,
}

/// A bound chunk as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its index.
    pub index: u32,
    /// Its type.
    pub element_type: String,
    /// Its elements.
    pub elements: u32,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Where its answer lies.
    pub answer: Option<Answer>,
    /// Its frame, while it has no answer.
    pub question: Option<Vec<u8>>,
    /// What its answer is computed with again, while it has none.
    pub fresh: Option<[u8; 32]>,
}

/// A run of the receiver that starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Session id.
    pub session: SessionId,
    /// The peer asked.
    pub peer: String,
    /// The collection asked.
    pub collection: String,
    /// Digest of the input, so that only the same input resumes.
    pub input_digest: Digest,
    /// The session seed, sealed under the master key.
    pub sealed_seed: Vec<u8>,
    /// Text of the client, opaque here.
    pub state: String,
    /// When it started.
    pub created_ms: i64,
}

/// A run as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Session id.
    pub session: SessionId,
    /// The peer asked.
    pub peer: String,
    /// The session seed, sealed under the master key.
    pub sealed_seed: Vec<u8>,
    /// Text of the client.
    pub state: String,
    /// When it started.
    pub created_ms: i64,
}

/// This node's part in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It held the collection.
    Sender,
    /// It asked.
    Receiver,
}

/// A closed record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordEntry {
    /// Session id.
    pub session: SessionId,
    /// This node's part.
    pub role: Role,
    /// The peer.
    pub peer: String,
    /// Where it lies, relative to the home.
    pub path: String,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// When it was closed.
    pub closed_ms: i64,
}

impl SessionStatus {
    /// The word in the database and in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Aborted => "aborted",
            Self::Refused => "refused",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        [Self::Open, Self::Closed, Self::Aborted, Self::Refused]
            .into_iter()
            .find(|s| s.as_str() == word)
    }
}

impl Role {
    /// The word in the database and in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Receiver => "receiver",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        [Self::Sender, Self::Receiver]
            .into_iter()
            .find(|r| r.as_str() == word)
    }
}
