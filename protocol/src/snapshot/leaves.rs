//! The leaves of a snapshot's tree: what lets one bucket be checked, and one be changed, without
//! reading the others.

use crate::{
    error::Error,
    frame::{Frame, Kind},
    log::{TreeHasher, leaf_hash},
    signing::VerifyKey,
    statements::{Hex, SnapshotHeader, SnapshotPreamble, open},
};

use super::{Bucket, VerifiedSnapshot};

/// The leaf hash of every bucket of a snapshot, proven by the root that its publisher signed: 32
/// bytes for some 256 to 511 tags.
///
/// Public values. A reader may keep the hashes beside the snapshot ([`Self::hashes`]) and take them
/// up again ([`Self::check`]).
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
    /// Takes up hashes that were kept of a snapshot that was verified whole. `header` is its header,
    /// `publisher` who signed it. They are proven by the root; that the buckets hold as many tags as
    /// the header says is not counted again.
    ///
    /// Time: one hash of 65 bytes for each bucket.
    ///
    /// # Errors
    /// As [`open`] for the header; [`Error::Mismatch`] if the hashes are not those of its root.
    pub fn check(
        header: &Frame,
        publisher: &VerifyKey,
        hashes: Vec<[u8; 32]>,
    ) -> Result<Self, Error> {
        let SnapshotHeader { preamble, root } = open(header, publisher)?;
        let mismatch = |field| Error::Mismatch {
            what: "snapshot",
            field,
        };
        if hashes.len() as u64 != preamble.buckets() {
            return Err(mismatch("buckets"));
        }
        if root_over(&preamble, &hashes)? != root {
            return Err(mismatch("root"));
        }
        Ok(Self {
            snapshot: VerifiedSnapshot::new(preamble, root),
            hashes,
        })
    }

    /// The snapshot that they are of.
    #[must_use]
    pub fn snapshot(&self) -> &VerifiedSnapshot {
        &self.snapshot
    }

    /// The leaf hash of each bucket, in order.
    #[must_use]
    pub fn hashes(&self) -> &[[u8; 32]] {
        &self.hashes
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
