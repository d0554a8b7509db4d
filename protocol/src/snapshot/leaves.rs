//! The leaves of a snapshot's tree: what lets one bucket be checked, and one be changed, without
//! reading the others.

use crate::{
    error::Error,
    frame::{Frame, Kind},
    log::{TreeHasher, leaf_hash},
    statements::{Hex, SnapshotPreamble},
};

use super::{Bucket, VerifiedSnapshot};

/// The leaf hash of every bucket of a snapshot, proven by the root that its publisher signed: 32
/// bytes for some 256 to 511 tags.
///
/// Public values.
#[derive(Debug, Clone)]
pub struct SnapshotLeaves {
    pub(super) snapshot: VerifiedSnapshot,
    pub(super) hashes: Vec<[u8; 32]>,
}

/// The root over a preamble and the leaf hashes of the buckets.
pub(super) fn root_over(
    preamble: &SnapshotPreamble,
    hashes: &[[u8; 32]],
) -> Result<Hex<32>, Error> {
    let mut tree = TreeHasher::new();
    tree.push(&preamble.leaf()?);
    for hash in hashes {
        tree.push_hash(*hash);
    }
    Ok(Hex(tree.root()))
}

impl SnapshotLeaves {
    /// The snapshot that they are of.
    #[must_use]
    pub fn snapshot(&self) -> &VerifiedSnapshot {
        &self.snapshot
    }

    /// A bucket that was read from where the snapshot is kept: whole, and in its place.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is no bucket; [`Error::Mismatch`] for one that is not the
    /// snapshot's.
    pub fn bucket<'a>(&self, frame: &'a Frame) -> Result<Bucket<'a>, Error> {
        let bucket = Bucket::parse(frame, self.snapshot.preamble())?;
        let hash = usize::try_from(bucket.index())
            .ok()
            .and_then(|index| self.hashes.get(index));
        if hash == Some(&leaf_hash(frame.body())) {
            Ok(bucket)
        } else {
            Err(Error::Mismatch {
                what: Kind::SnapshotBucket.name(),
                field: "its hash is not that of the snapshot's root",
            })
        }
    }
}
