//! Making a delta and the snapshot it leads to, bucket by bucket.

use crate::{
    error::Error,
    frame::Frame,
    log::leaf_hash,
    signing::SigningKey,
    statements::{
        Coverage, Hex, Int, SnapshotDelta, SnapshotHeader, SnapshotPreamble, Statement, sign,
    },
};

use super::{
    super::{SnapshotLeaves, VerifiedSnapshot, leaves::root_over},
    BucketChanges, DeltaPlan,
};

/// What a publisher states of a delta.
#[derive(Debug, Clone)]
pub struct DeltaTerms {
    /// Its numbers. The publisher must make as many fakes as it says.
    pub plan: DeltaPlan,
    /// One more than that of the delta that made the earlier snapshot; 1 if it was published whole.
    pub sequence: Int,
    /// 32 fresh random bytes: the salt of the later snapshot.
    pub salt: Hex<32>,
    /// When the later snapshot is made; after the earlier.
    pub published_ms: Int,
    /// What the later snapshot covers, of a register: the same states, complete no earlier.
    pub covers: Option<Coverage>,
}

/// Takes the changes of each touched bucket in order.
#[derive(Debug)]
pub struct DeltaBuilder {
    base: VerifiedSnapshot,
    /// Leaf hashes of the later snapshot, as far as buckets were changed.
    hashes: Vec<[u8; 32]>,
    /// The first bucket that may still be changed.
    next: usize,
    terms: DeltaTerms,
    counts: Counts,
}

/// Changes so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) removed: u64,
    pub(super) added: u64,
    pub(super) relabelled: u64,
}

impl Counts {
    pub(super) fn and(self, changes: &BucketChanges<'_>) -> Self {
        Self {
            removed: self.removed + changes.removed.len() as u64,
            added: self.added + changes.added.len() as u64,
            relabelled: self.relabelled + changes.relabelled.len() as u64,
        }
    }
}

/// A finished delta. Its file is `delta`, `header`, and the frames that the builder gave, in order.
#[derive(Debug)]
pub struct BuiltDelta {
    /// The signed header of the delta.
    pub delta: Frame,
    /// The signed header of the later snapshot.
    pub header: Frame,
    /// The later snapshot.
    pub leaves: SnapshotLeaves,
}

impl DeltaBuilder {
    /// Starts with the earlier snapshot.
    ///
    /// # Errors
    /// [`Error::Usage`] if the terms cannot stand in a delta, or its time is not later.
    pub fn new(base: SnapshotLeaves, terms: DeltaTerms) -> Result<Self, Error> {
        let SnapshotLeaves { snapshot, hashes } = base;
        let builder = Self {
            base: snapshot,
            hashes,
            next: 0,
            terms,
            counts: Counts::default(),
        };
        let was = builder.base.preamble();
        if builder.terms.published_ms <= was.published_ms {
            return Err(Error::Usage(
                "a delta is later than the snapshot it changes",
            ));
        }
        if builder.terms.salt == was.salt {
            return Err(Error::Usage("each snapshot has a salt of its own"));
        }
        if !Coverage::may_follow(was.covers.as_ref(), builder.terms.covers.as_ref()) {
            return Err(Error::Usage(
                "a delta changes neither which states a register covers nor back until when",
            ));
        }
        if builder.terms.plan.relabelled > 0 && was.sealed_len() == 0 {
            return Err(Error::Usage("a collection without labels changes none"));
        }
        builder
            .statement(Hex([0; 32]))?
            .check()
            .map_err(Error::Usage)?;
        Ok(builder)
    }

    fn preamble(&self) -> SnapshotPreamble {
        SnapshotPreamble {
            salt: self.terms.salt,
            published_ms: self.terms.published_ms,
            covers: self.terms.covers.clone(),
            ..self.base.preamble().clone()
        }
    }

    fn statement(&self, to: Hex<32>) -> Result<SnapshotDelta, Error> {
        let base = self.base.preamble();
        let (plan, exchanged) = (&self.terms.plan, Int::new(self.terms.plan.exchanged)?);
        Ok(SnapshotDelta {
            sender: base.sender.clone(),
            collection: base.collection.clone(),
            epoch: base.epoch,
            mode: base.mode,
            from: self.base.digest(),
            to,
            sequence: self.terms.sequence,
            elements: base.elements,
            added: exchanged,
            removed: exchanged,
            relabelled: Int::new(plan.relabelled)?,
            published_ms: self.terms.published_ms,
        })
    }

    fn sign(&self, to: Hex<32>, key: &SigningKey) -> Result<[Frame; 2], Error> {
        let header = SnapshotHeader {
            preamble: self.preamble(),
            root: to,
        };
        Ok([sign(&self.statement(to)?, key)?, sign(&header, key)?])
    }

    /// Both headers in their final lengths, of a snapshot whose root is zeros: what a writer puts
    /// first, to overwrite it at the end.
    ///
    /// # Errors
    /// As [`sign`].
    pub fn placeholders(&self, key: &SigningKey) -> Result<[Frame; 2], Error> {
        self.sign(Hex([0; 32]), key)
    }

    /// Changes a bucket: gives its frame in the delta, and the bucket of the later snapshot. Buckets
    /// come in ascending order; those that nothing changes in are left out.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if `old` is no bucket of the earlier snapshot; [`Error::Usage`] for a bucket
    /// out of order and for changes that do not fit it. The builder is as before then.
    pub fn change(
        &mut self,
        old: &Frame,
        changes: &BucketChanges<'_>,
    ) -> Result<(Frame, Frame), Error> {
        let preamble = self.base.preamble();
        let bucket = super::super::Bucket::parse(old, preamble)?;
        let at = bucket.index() as usize;
        let hash = self.hashes.get_mut(at).filter(|_| at >= self.next);
        let hash = hash.ok_or(Error::Usage("buckets are changed in ascending order"))?;
        if *hash != leaf_hash(old.body()) {
            return Err(Error::Mismatch {
                what: "snapshot bucket",
                field: "it is not that of the earlier snapshot",
            });
        }
        let change = changes.encode(bucket.index(), preamble)?;
        let after = changes
            .apply(&bucket)
            .map_err(|error| error.blame(Error::Usage))?;
        *hash = leaf_hash(after.body());
        self.next = at + 1;
        self.counts = self.counts.and(changes);
        Ok((change, after))
    }

    /// Signs both headers.
    ///
    /// # Errors
    /// [`Error::Usage`] if there were more or fewer changes than the plan says.
    pub fn finish(self, key: &SigningKey) -> Result<BuiltDelta, Error> {
        let plan = &self.terms.plan;
        let planned = Counts {
            removed: plan.exchanged,
            added: plan.exchanged,
            relabelled: plan.relabelled,
        };
        if self.counts != planned {
            return Err(Error::Usage("more or fewer changes than the delta states"));
        }
        let preamble = self.preamble();
        let root = root_over(&preamble, &self.hashes)?;
        let [delta, header] = self.sign(root, key)?;
        Ok(BuiltDelta {
            delta,
            header,
            leaves: SnapshotLeaves {
                snapshot: VerifiedSnapshot::new(preamble, root),
                hashes: self.hashes,
            },
        })
    }
}
