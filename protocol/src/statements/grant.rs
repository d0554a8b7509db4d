//! The sender's answer to a request: a grant or a refusal (spec sections 3.5 and 3.6).

use serde::{Deserialize, Serialize};

use super::{Hex, Int, Line, Mode, Name, ProfileReference, Receiver, SenderReference, Statement};
use crate::{frame::Kind, signing::VerifyKey};

/// The OPRF public key of one identifier type in this collection, epoch and mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeKey {
    /// Identifier type.
    #[serde(rename = "type")]
    pub type_name: Name,
    /// Canonical ristretto255 encoding.
    pub public_key: Hex<32>,
}

/// Whether each type has a key of its own: else an element could be charged as another type.
pub(super) fn distinct(keys: &[TypeKey]) -> bool {
    let mut publics: Vec<&Hex<32>> = keys.iter().map(|key| &key.public_key).collect();
    publics.sort_unstable();
    publics.windows(2).all(|pair| pair[0] != pair[1])
}

/// The snapshot against which the receiver will look up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotReference {
    /// RFC 6962 root over preamble and buckets.
    pub digest: Hex<32>,
    /// Tags in it, padding included.
    pub elements: Int,
    /// Bytes of a tag.
    pub tag_bytes: Int,
}

/// What the sender will accept in this session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantLimits {
    /// Elements in one chunk, at most 65,535.
    pub chunk_elements: Int,
    /// Chunks that may be under way unanswered.
    pub window_chunks: Int,
}

/// The grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Session id of the request.
    pub session: Hex<16>,
    /// SHA-256 of the request frame.
    pub request: Hex<32>,
    /// Build of the sender's software.
    pub build: Line,
    /// Who grants; same members as the receiver's.
    pub sender: Receiver,
    /// To whom.
    pub receiver: SenderReference,
    /// Collection.
    pub collection: Name,
    /// Mode.
    pub mode: Mode,
    /// Epoch of the keys.
    pub epoch: Int,
    /// Profile of the collection.
    pub profile: ProfileReference,
    /// Public keys of the requested types, ascending.
    pub keys: Vec<TypeKey>,
    /// Snapshot of this epoch.
    pub snapshot: SnapshotReference,
    /// Limits.
    pub limits: GrantLimits,
    /// Whether the closing must say the match count to the sender.
    pub discloses_count: bool,
    /// Commitment to the sender's audit nonce, revealed in its closing.
    pub nonce_commitment: Hex<32>,
    /// Digest of the last record closed with this peer when the request came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous: Option<Hex<32>>,
    /// Time of the grant.
    pub granted_ms: Int,
    /// After this no chunk is evaluated.
    pub expires_ms: Int,
}

impl Statement for Grant {
    const PAYLOAD_TYPE: &'static str = "application/vnd.tallystick.grant.v1+json";
    const KIND: Kind = Kind::Grant;

    fn author(&self) -> VerifyKey {
        self.sender.signing_key.into()
    }

    fn check(&self) -> Result<(), &'static str> {
        self.profile.check()?;
        if !(1..=65_535).contains(&self.limits.chunk_elements.get()) {
            return Err("chunk_elements must be 1 to 65,535");
        }
        if !(1..=64).contains(&self.limits.window_chunks.get()) {
            return Err("window_chunks must be 1 to 64");
        }
        if !(5..=32).contains(&self.snapshot.tag_bytes.get()) {
            return Err("tag_bytes must be 5 to 32");
        }
        if self.keys.is_empty() || !self.keys.is_sorted_by(|a, b| a.type_name < b.type_name) {
            return Err("types of keys must ascend without repetition");
        }
        if !distinct(&self.keys) {
            return Err("two types have one public key");
        }
        if self.keys.len() > 32 {
            return Err("more than 32 types");
        }
        if self.expires_ms <= self.granted_ms {
            return Err("expires before it is granted");
        }
        Ok(())
    }
}

/// Why a request is refused. Codes are stable. An unknown collection and one that this peer may
/// not ask give the same code, so that a refusal says nothing about what exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// No such collection for this peer.
    NotAvailable,
    /// The collection holds no key of a requested type.
    TypeNotOffered,
    /// The mode is not served.
    ModeNotOffered,
    /// Profile id or tables differ.
    ProfileMismatch,
    /// More elements than one session may carry.
    TooManyElements,
    /// The peer's budget of this collection, epoch and type is spent.
    QuotaExceeded,
    /// The clocks differ by more than 30 s.
    ClockSkew,
    /// The request is past its expiry.
    Expired,
    /// The request id was used before with other bytes, or its session is over.
    Replayed,
    /// Too many sessions at once.
    Busy,
    /// The node is shutting down.
    Draining,
}

impl RefusalCode {
    /// The stable code.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotAvailable => "not-available",
            Self::TypeNotOffered => "type-not-offered",
            Self::ModeNotOffered => "mode-not-offered",
            Self::ProfileMismatch => "profile-mismatch",
            Self::TooManyElements => "too-many-elements",
            Self::QuotaExceeded => "quota-exceeded",
            Self::ClockSkew => "clock-skew",
            Self::Expired => "expired",
            Self::Replayed => "replayed",
            Self::Busy => "busy",
            Self::Draining => "draining",
        }
    }
}

/// The refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Session id of the request.
    pub session: Hex<16>,
    /// SHA-256 of the request frame.
    pub request: Hex<32>,
    /// Who refuses.
    pub sender: SenderReference,
    /// Whom.
    pub receiver: SenderReference,
    /// Stable code.
    pub code: RefusalCode,
    /// What would help, for a person.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<Line>,
    /// Time of the refusal.
    pub refused_ms: Int,
}

impl Statement for Refusal {
    const PAYLOAD_TYPE: &'static str = "application/vnd.tallystick.refusal.v1+json";
    const KIND: Kind = Kind::Refusal;

    fn author(&self) -> VerifyKey {
        self.sender.signing_key.into()
    }
}
