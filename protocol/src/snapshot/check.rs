//! Verifying a snapshot as it streams by, before a single tag of it is used.

use crate::{
    error::Error,
    frame::{Frame, Kind},
    log::TreeHasher,
    signing::VerifyKey,
    statements::{Hex, SnapshotHeader, SnapshotPreamble, open},
};

use super::Bucket;

/// Takes the frames of a snapshot in order.
#[derive(Debug)]
pub struct SnapshotVerifier {
    header: SnapshotHeader,
    tree: TreeHasher,
    next: u64,
    total: u64,
}

/// A snapshot whose every frame was checked against its signed root, now or before. Only
/// [`SnapshotVerifier`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedSnapshot {
    preamble: SnapshotPreamble,
    digest: Hex<32>,
}

impl VerifiedSnapshot {
    /// What it is.
    #[must_use]
    pub fn preamble(&self) -> &SnapshotPreamble {
        &self.preamble
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> Hex<32> {
        self.digest
    }
}

impl SnapshotVerifier {
    /// Starts with the header, which must be signed by `publisher`.
    ///
    /// # Errors
    /// As [`open`].
    pub fn new(header: &Frame, publisher: &VerifyKey) -> Result<Self, Error> {
        let header: SnapshotHeader = open(header, publisher)?;
        let mut tree = TreeHasher::new();
        tree.push(&header.preamble.leaf()?);
        Ok(Self {
            header,
            tree,
            next: 0,
            total: 0,
        })
    }

    /// What the header says.
    #[must_use]
    pub fn preamble(&self) -> &SnapshotPreamble {
        &self.header.preamble
    }

    /// The root that the header states; proven only by [`Self::finish`].
    #[must_use]
    pub fn stated_digest(&self) -> Hex<32> {
        self.header.root
    }

    /// Takes the caller's word that every frame of this snapshot was verified before, and that none has
    /// changed since: for a file that the caller marked as verified, under a key of its own, and whose
    /// buckets it authenticates as it reads them. The header's signature was checked by [`Self::new`].
    #[must_use]
    pub fn verified_before(self) -> VerifiedSnapshot {
        VerifiedSnapshot {
            preamble: self.header.preamble,
            digest: self.header.root,
        }
    }

    /// The bucket that is due.
    #[must_use]
    pub fn next_bucket(&self) -> u64 {
        self.next
    }

    /// Takes the next bucket.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Mismatch`] for a bucket out of order.
    pub fn push(&mut self, frame: &Frame) -> Result<(), Error> {
        let bucket = Bucket::parse(frame, &self.header.preamble)?;
        if u64::from(bucket.index()) != self.next || self.next >= self.header.preamble.buckets() {
            return Err(Error::Mismatch {
                what: Kind::SnapshotBucket.name(),
                field: "index",
            });
        }
        self.tree.push(frame.body());
        self.total += bucket.len() as u64;
        self.next += 1;
        Ok(())
    }

    /// Compares counts and root.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if a bucket is missing or any byte differs from what was signed.
    pub fn finish(self) -> Result<VerifiedSnapshot, Error> {
        let mismatch = |field| Error::Mismatch {
            what: "snapshot",
            field,
        };
        if self.next != self.header.preamble.buckets() {
            return Err(mismatch("buckets"));
        }
        if self.total != self.header.preamble.elements.get() {
            return Err(mismatch("elements"));
        }
        if Hex(self.tree.root()) != self.header.root {
            return Err(mismatch("root"));
        }
        Ok(VerifiedSnapshot {
            preamble: self.header.preamble,
            digest: self.header.root,
        })
    }
}
