//! Signed statements: DSSE over JSON, one byte form each (spec section 3).
//!
//! Members stand in the order they are declared here; optional ones are absent until used; unknown
//! ones are refused, so that nothing unsigned by intent rides along. A new member means a new
//! version of the payload type.

mod closing;
mod delta;
mod directory;
mod dsse;
mod fields;
mod grant;
mod profile;
mod request;
mod snapshot;

pub use closing::{Charge, Outcome, ReceiverClosing, SenderClosing, Status};
pub use delta::SnapshotDelta;
pub(crate) use delta::is_small;
pub use directory::{Catalogue, CatalogueEntry, Manifest, TlsIdentity};
pub use dsse::{Statement, digest_of, open, open_as_named, sign};
pub use fields::{Block, Hex, Int, Line, Name};
pub use grant::{Grant, GrantLimits, Refusal, RefusalCode, SnapshotReference, TypeKey};
pub use profile::{ProfilePartReference, ProfileReference};
pub use request::{
    Legal, MAX_FLIGHT_SIZES, Mode, Persons, Query, Receiver, Request, SenderReference, SessionClass,
};
pub use snapshot::{Coverage, ListKind, SnapshotHeader, SnapshotPreamble};

/// The protocol's name and version in every request.
pub const PROTOCOL: &str = "tallystick/1";
/// The suite: RFC 9497's identifier of group and hash, mode VOPRF.
pub const SUITE: &str = "ristretto255-SHA512";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
