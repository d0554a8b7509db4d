//! What an agency says about itself: its manifest of keys, and its catalogue for one peer
//! (spec sections 3.9 and 3.10).

use serde::{Deserialize, Serialize};

use super::{
    Block, Coverage, Hex, Int, Line, ListKind, Mode, Name, ProfileReference, SenderReference,
    Statement, TypeKey, snapshot::check_kind,
};
use crate::{frame::Kind, signing::VerifyKey};

/// How an agency is recognised on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsIdentity {
    /// Certificate of the authority its certificates chain to, PEM.
    pub authority: Block,
    /// SHA-256 of the SubjectPublicKeyInfo of each accepted certificate.
    pub spki: Vec<Hex<32>>,
}

/// The agency manifest: its long-lived keys in one signed place. It is what `peer export` writes
/// and `peer add` pins; nobody vouches for it but who compares the fingerprint out of band.
///
/// OPRF keys live for an epoch and stand in the signed catalogue, grant and snapshot header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name.
    pub agency: Name,
    /// State, an ICAO three-letter code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<Line>,
    /// Signs statements and chunks.
    pub signing_key: Hex<32>,
    /// Signs log checkpoints.
    pub log_key: Hex<32>,
    /// TLS identity.
    pub tls: TlsIdentity,
    /// Signs as a witness of other logs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub witness_key: Option<Hex<32>>,
    /// Keys of officers who approve.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub officer_keys: Option<Vec<Hex<32>>>,
    /// Key that annexes are sealed to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub annex_key: Option<Hex<32>>,
    /// Where its node listens, `host:port`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<Line>,
    /// Time of the manifest.
    pub issued_ms: Int,
    /// After this it must be renewed.
    pub expires_ms: Int,
}

impl Statement for Manifest {
    const PAYLOAD_TYPE: &'static str = "application/vnd.tallystick.manifest.v1+json";
    const KIND: Kind = Kind::Manifest;

    fn author(&self) -> VerifyKey {
        self.signing_key.into()
    }

    fn check(&self) -> Result<(), &'static str> {
        if !(1..=8).contains(&self.tls.spki.len()) {
            return Err("a TLS identity lists 1 to 8 keys");
        }
        if self.signing_key == self.log_key
            || self
                .witness_key
                .is_some_and(|k| k == self.signing_key || k == self.log_key)
        {
            return Err("keys of different use must be different keys");
        }
        if self.officer_keys.as_ref().is_some_and(|k| k.len() > 64) {
            return Err("more than 64 officer keys");
        }
        if self.expires_ms <= self.issued_ms {
            return Err("expires before it is issued");
        }
        Ok(())
    }
}

/// One collection, as one peer may ask it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    /// Collection.
    pub collection: Name,
    /// Modes served.
    pub modes: Vec<Mode>,
    /// Epoch.
    pub epoch: Int,
    /// Profile.
    pub profile: ProfileReference,
    /// Public keys of the types it offers, ascending.
    pub keys: Vec<TypeKey>,
    /// Digest of the snapshot.
    pub snapshot: Hex<32>,
    /// Tags in it, padding included.
    pub elements: Int,
    /// Names of the columns that a label carries.
    pub label_columns: Vec<Line>,
    /// Elements one session may carry.
    pub max_session_elements: Int,
    /// Elements this peer may still have evaluated in this epoch, under each type of `keys`.
    pub quota_left: Vec<Int>,
    /// When it was published.
    pub published_ms: Int,
    /// What stands on it; not said where absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<ListKind>,
    /// What a register covers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub covers: Option<Coverage>,
}

/// The catalogue: the collections one peer may ask, and no others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Whose collections.
    pub sender: SenderReference,
    /// Who may ask them.
    pub receiver: SenderReference,
    /// Ascending by name.
    pub collections: Vec<CatalogueEntry>,
    /// Time of the catalogue.
    pub issued_ms: Int,
}

impl Statement for Catalogue {
    const PAYLOAD_TYPE: &'static str = "application/vnd.tallystick.catalogue.v1+json";
    const KIND: Kind = Kind::Catalogue;

    fn author(&self) -> VerifyKey {
        self.sender.signing_key.into()
    }

    fn check(&self) -> Result<(), &'static str> {
        if !self
            .collections
            .is_sorted_by(|a, b| a.collection < b.collection)
        {
            return Err("collections must ascend without repetition");
        }
        if self
            .collections
            .iter()
            .any(|c| c.keys.len() != c.quota_left.len())
        {
            return Err("quota_left has one number for each key");
        }
        self.collections.iter().try_for_each(|c| {
            check_kind(c.kind, c.covers.as_ref())?;
            c.profile.check()
        })
    }
}
