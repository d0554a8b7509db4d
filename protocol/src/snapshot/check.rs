//! Verifying a snapshot as it streams by, before a single tag of it is used.

use crate::{
    error::Error,
    frame::{Frame, Kind},
    log::leaf_hash,
    signing::VerifyKey,
    statements::{Hex, SnapshotHeader, SnapshotPreamble, open},
};

use super::{Bucket, SnapshotLeaves, leaves::root_over};

/// Takes the frames of a snapshot in order.
#[derive(Debug)]
pub struct SnapshotVerifier {
    header: SnapshotHeader,
    /// Leaf hashes of the buckets so far.
    hashes: Vec<[u8; 32]>,
    total: u64,
}

/// A snapshot whose every frame was checked against its signed root, now or before: by
/// [`SnapshotVerifier`], or, for one that is kept or follows from it by deltas, by its
/// [`SnapshotLeaves`].
#[derive(Debug, Clone)]
pub struct VerifiedSnapshot {
    preamble: SnapshotPreamble,
    digest: Hex<32>,
}

impl VerifiedSnapshot {
    pub(super) fn new(preamble: SnapshotPreamble, digest: Hex<32>) -> Self {
        Self { preamble, digest }
    }

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
        Ok(Self {
            header: open(header, publisher)?,
            hashes: Vec::new(),
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

    /// Takes the caller's word; nothing but the header's signature was checked, by [`Self::new`].
    ///
    /// The caller must have had [`Self::finish`] succeed on these very frames before, must know by an
    /// authenticator under a key of its own that the file is the one it was then, and must authenticate
    /// each bucket as it reads it ([`Bucket::parse_assumed`]). From a header alone the value means nothing:
    /// the peer may have signed a root over anything. A test of the house's structure knows all callers.
    #[must_use]
    pub fn assume_verified(self) -> VerifiedSnapshot {
        VerifiedSnapshot {
            preamble: self.header.preamble,
            digest: self.header.root,
        }
    }

    /// The bucket that is due.
    #[must_use]
    pub fn next_bucket(&self) -> u64 {
        self.hashes.len() as u64
    }

    /// Takes the next bucket.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Mismatch`] for a bucket out of order.
    pub fn push(&mut self, frame: &Frame) -> Result<(), Error> {
        let bucket = Bucket::parse(frame, &self.header.preamble)?;
        let due = self.next_bucket();
        if u64::from(bucket.index()) != due || due >= self.header.preamble.buckets() {
            return Err(Error::Mismatch {
                what: Kind::SnapshotBucket.name(),
                field: "index",
            });
        }
        self.total += bucket.len() as u64;
        self.hashes.push(leaf_hash(frame.body()));
        Ok(())
    }

    /// Compares counts and root.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if a bucket is missing or any byte differs from what was signed.
    pub fn finish(self) -> Result<VerifiedSnapshot, Error> {
        self.finish_with_leaves().map(|leaves| leaves.snapshot)
    }

    /// As [`Self::finish`]; keeps the hashes of the buckets, 32 bytes each.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn finish_with_leaves(self) -> Result<SnapshotLeaves, Error> {
        let mismatch = |field| Error::Mismatch {
            what: "snapshot",
            field,
        };
        let SnapshotHeader { preamble, root } = self.header;
        if self.hashes.len() as u64 != preamble.buckets() {
            return Err(mismatch("buckets"));
        }
        if self.total != preamble.elements.get() {
            return Err(mismatch("elements"));
        }
        if root_over(&preamble, &self.hashes)? != root {
            return Err(mismatch("root"));
        }
        Ok(SnapshotLeaves {
            snapshot: VerifiedSnapshot::new(preamble, root),
            hashes: self.hashes,
        })
    }
}
