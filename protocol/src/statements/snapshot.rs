//! The signed header of a snapshot (spec section 3.11).

use serde::{Deserialize, Serialize};

use super::{Hex, Int, Line, Mode, Name, ProfileReference, SenderReference, Statement, TypeKey};
use crate::{error::Error, frame::Kind, signing::VerifyKey};

/// What stands on a list, by its publisher's word: what a hit or a miss means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListKind {
    /// Persons or documents that somebody looks for.
    Watchlist,
    /// Documents reported stolen, lost or revoked, stolen blanks among them.
    StolenDocuments,
    /// A register: all documents that its states have issued. A miss says something there.
    IssuedDocuments,
}

impl ListKind {
    /// All kinds, in the order of messages.
    pub const ALL: [Self; 3] = [
        Self::Watchlist,
        Self::StolenDocuments,
        Self::IssuedDocuments,
    ];

    /// The name in statements and flags.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Watchlist => "watchlist",
            Self::StolenDocuments => "stolen-documents",
            Self::IssuedDocuments => "issued-documents",
        }
    }
}

impl std::fmt::Display for ListKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for ListKind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut kinds = Self::ALL.into_iter();
        let found = kinds.find(|kind| kind.name() == text);
        found.ok_or("one of watchlist, stolen-documents, issued-documents")
    }
}

/// What a register says it is complete for: on this a "never issued" rests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// Issuing states, as ICAO Doc 9303-3 writes them, ascending.
    pub states: Vec<Line>,
    /// Every document that they had issued by then stands on the list.
    pub complete_ms: Int,
}

impl Coverage {
    /// Whether a later snapshot of the same list may say `now` where an earlier said `was`: a register
    /// gets complete for later days; for which states never changes within a chain of deltas.
    #[must_use]
    pub fn may_follow(was: Option<&Self>, now: Option<&Self>) -> bool {
        match (was, now) {
            (None, None) => true,
            (Some(was), Some(now)) => {
                was.states == now.states && was.complete_ms <= now.complete_ms
            }
            _ => false,
        }
    }
}

/// A list's kind and what it covers, in a preamble as in a catalogue: a register covers something, and
/// nothing else does.
pub(super) fn check_kind(
    kind: Option<ListKind>,
    covers: Option<&Coverage>,
) -> Result<(), &'static str> {
    if (kind == Some(ListKind::IssuedDocuments)) != covers.is_some() {
        return Err("a register says what it covers, and no other list does");
    }
    match covers {
        Some(covers) if !(1..=256).contains(&covers.states.len()) => {
            Err("a register covers 1 to 256 states")
        }
        Some(covers) if !covers.states.is_sorted_by(|a, b| a < b) => {
            Err("states must ascend without repetition")
        }
        _ => Ok(()),
    }
}

/// What a snapshot is: leaf 0 of its tree, so that the digest covers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotPreamble {
    /// Who publishes.
    pub sender: SenderReference,
    /// Collection.
    pub collection: Name,
    /// Epoch of the keys.
    pub epoch: Int,
    /// Mode the tags are for.
    pub mode: Mode,
    /// Profile of the elements.
    pub profile: ProfileReference,
    /// Public keys of its types, ascending.
    pub keys: Vec<TypeKey>,
    /// Tags, padding included.
    pub elements: Int,
    /// Bytes of a tag.
    pub tag_bytes: Int,
    /// Buckets are the first `bucket_bits` bits of a tag.
    pub bucket_bits: Int,
    /// Bytes of a label's padded plaintext; 0 where there are no labels.
    pub label_bytes: Int,
    /// Names of the columns in a label.
    pub label_columns: Vec<Line>,
    /// 32 random bytes, so that the digest tests no guess.
    pub salt: Hex<32>,
    /// When it was made.
    pub published_ms: Int,
    /// What stands on it; not said where absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<ListKind>,
    /// What a register covers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub covers: Option<Coverage>,
}

impl SnapshotPreamble {
    /// The bytes of leaf 0.
    ///
    /// # Errors
    /// [`Error::Bug`] only.
    pub fn leaf(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|_| Error::Bug("a preamble does not serialise"))
    }

    /// How many buckets there are.
    #[must_use]
    pub fn buckets(&self) -> u64 {
        1 << self.bucket_bits.get()
    }

    /// Bytes of a tag.
    #[must_use]
    pub fn tag_len(&self) -> usize {
        usize::try_from(self.tag_bytes.get()).unwrap_or(32)
    }

    /// Bytes of a sealed label, nonce and authenticator included; 0 where there are none.
    #[must_use]
    pub fn sealed_len(&self) -> usize {
        match usize::try_from(self.label_bytes.get()).unwrap_or(0) {
            0 => 0,
            n => n + crate::snapshot::SEAL_OVERHEAD,
        }
    }
}

/// The header: preamble and root, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotHeader {
    /// Leaf 0.
    pub preamble: SnapshotPreamble,
    /// RFC 6962 root over leaf 0 and the buckets: the snapshot's digest.
    pub root: Hex<32>,
}

impl Statement for SnapshotHeader {
    const PAYLOAD_TYPE: &'static str = "application/vnd.tallystick.snapshot.v1+json";
    const KIND: Kind = Kind::SnapshotHeader;

    fn author(&self) -> VerifyKey {
        self.preamble.sender.signing_key.into()
    }

    fn check(&self) -> Result<(), &'static str> {
        let p = &self.preamble;
        p.profile.check()?;
        check_kind(p.kind, p.covers.as_ref())?;
        if !(5..=32).contains(&p.tag_bytes.get()) {
            return Err("tag_bytes must be 5 to 32");
        }
        if p.bucket_bits.get() > 32 {
            return Err("bucket_bits must be at most 32");
        }
        if !super::grant::distinct(&p.keys) {
            return Err("two types have one public key");
        }
        if p.label_bytes.get() > crate::snapshot::MAX_LABEL_BYTES as u64 {
            return Err("label_bytes is too large");
        }
        if (p.label_bytes.get() == 0) != p.label_columns.is_empty() {
            return Err("labels have columns, and columns have labels");
        }
        if p.label_columns.len() > 256 {
            return Err("more than 256 label columns");
        }
        if p.keys.is_empty()
            || p.keys.len() > 32
            || !p.keys.is_sorted_by(|a, b| a.type_name < b.type_name)
        {
            return Err("types of keys must ascend without repetition, 1 to 32 of them");
        }
        Ok(())
    }
}
