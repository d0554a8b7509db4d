//! The signed header of a delta between two snapshots of one epoch (spec section 3.12).

use serde::{Deserialize, Serialize};

use super::{Hex, Int, Mode, Name, SenderReference, Statement};
use crate::{frame::Kind, identifiers::padded_size, signing::VerifyKey};

/// From which snapshot to which, and how much of it changes.
///
/// The numbers are public steps and hold fakes (spec section 6.7), so they bound the true ones and
/// tell no more. It needs no salt of its own: both digests are over salted preambles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotDelta {
    /// Who publishes.
    pub sender: SenderReference,
    /// Collection.
    pub collection: Name,
    /// Epoch of both snapshots.
    pub epoch: Int,
    /// Mode of both.
    pub mode: Mode,
    /// Digest of the snapshot that is changed.
    pub from: Hex<32>,
    /// Digest of what it becomes.
    pub to: Hex<32>,
    /// Deltas since the whole snapshot that the chain began with, this one included: 1, 2, …
    pub sequence: Int,
    /// Tags in both.
    pub elements: Int,
    /// Tags that come, fakes included.
    pub added: Int,
    /// Tags that go, fakes included: as many.
    pub removed: Int,
    /// Tags that stay and whose label is sealed anew, fakes included; 0 without labels.
    pub relabelled: Int,
    /// When the later snapshot was made.
    pub published_ms: Int,
}

/// A delta changes at most this part of the tags: above it a whole snapshot is published.
const LARGEST_PART: u64 = 4;

/// Whether a delta of `elements` tags may exchange and relabel so many of them.
pub(crate) fn is_small(exchanged: u64, relabelled: u64, elements: u64) -> bool {
    exchanged.saturating_add(relabelled) <= elements / LARGEST_PART
}

/// Whether a number is a public step.
fn is_step(n: u64) -> bool {
    padded_size(n) == n
}

impl Statement for SnapshotDelta {
    const PAYLOAD_TYPE: &'static str = "application/vnd.tallystick.snapshot-delta.v1+json";
    const KIND: Kind = Kind::SnapshotDelta;

    fn author(&self) -> VerifyKey {
        self.sender.signing_key.into()
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.from == self.to {
            return Err("a delta leads to another snapshot");
        }
        if self.sequence.get() == 0 {
            return Err("sequence counts from 1");
        }
        if self.added != self.removed {
            return Err("as many tags go as come: the size of the snapshot stays");
        }
        if !is_step(self.added.get()) {
            return Err("the numbers of tags that come and go must be a padded size");
        }
        if self.relabelled.get() != 0 && !is_step(self.relabelled.get()) {
            return Err("the number of labels that change must be 0 or a padded size");
        }
        if !is_small(self.added.get(), self.relabelled.get(), self.elements.get()) {
            return Err("a delta changes at most a quarter of the tags");
        }
        Ok(())
    }
}
