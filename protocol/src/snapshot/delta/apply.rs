//! Following a delta: from a verified snapshot to the next, with the touched buckets alone read.

use crate::{
    error::{Error, agreeing},
    frame::{Frame, Kind},
    log::leaf_hash,
    signing::VerifyKey,
    statements::{Coverage, Int, SnapshotDelta, SnapshotHeader, SnapshotPreamble, open},
};

use super::{
    super::{SnapshotLeaves, VerifiedSnapshot, leaves::root_over},
    DeltaBucket,
    build::Counts,
};

/// Takes the frames of a delta in order, each with the bucket that it changes.
#[derive(Debug)]
pub struct DeltaApplier {
    base: SnapshotLeaves,
    statement: SnapshotDelta,
    header: SnapshotHeader,
    /// Leaf hashes of the later snapshot, as far as buckets were changed.
    hashes: Vec<[u8; 32]>,
    /// The first bucket that may still be changed.
    next: usize,
    counts: Counts,
}

impl DeltaApplier {
    /// Starts from the snapshot that is there. `delta` and `header` are the first two frames of the
    /// delta, both signed by `publisher`. `after` is the sequence number of the delta that made `base`,
    /// if one did: this must be the next.
    ///
    /// # Errors
    /// As [`open`]; [`Error::Mismatch`] if the delta does not lead from this snapshot to the one of the
    /// header, or the two differ in more than salt and time.
    pub fn new(
        base: SnapshotLeaves,
        delta: &Frame,
        header: &Frame,
        publisher: &VerifyKey,
        after: Option<Int>,
    ) -> Result<Self, Error> {
        let statement: SnapshotDelta = open(delta, publisher)?;
        let header: SnapshotHeader = open(header, publisher)?;
        let was = base.snapshot.preamble();
        let same = agreeing(Kind::SnapshotDelta.name());
        same("from", statement.from == base.snapshot.digest())?;
        same("to", statement.to == header.root)?;
        same("sender", statement.sender == was.sender)?;
        same("collection", statement.collection == was.collection)?;
        same("epoch", statement.epoch == was.epoch)?;
        same("mode", statement.mode == was.mode)?;
        same("elements", statement.elements == was.elements)?;
        let next = after.is_none_or(|after| statement.sequence.get() == after.get() + 1);
        same("sequence", next)?;
        let labels = was.sealed_len() > 0;
        same("relabelled", (statement.relabelled.get() > 0) == labels)?;
        let now = &header.preamble;
        same("published_ms", statement.published_ms == now.published_ms)?;

        let same = agreeing("snapshot header after a delta");
        same("published_ms", now.published_ms > was.published_ms)?;
        same("salt", now.salt != was.salt)?;
        let unchanged = SnapshotPreamble {
            salt: was.salt,
            published_ms: was.published_ms,
            covers: was.covers.clone(),
            ..now.clone()
        };
        same("preamble", unchanged == *was)?;
        let covers = Coverage::may_follow(was.covers.as_ref(), now.covers.as_ref());
        same("covers", covers)?;
        Ok(Self {
            hashes: base.hashes.clone(),
            base,
            statement,
            header,
            next: 0,
            counts: Counts::default(),
        })
    }

    /// What the delta says of itself.
    #[must_use]
    pub fn statement(&self) -> &SnapshotDelta {
        &self.statement
    }

    /// The bucket that a frame changes: the one that [`Self::push`] wants with it.
    ///
    /// # Errors
    /// As [`DeltaBucket::parse`]; [`Error::Mismatch`] for a bucket out of order.
    pub fn touches(&self, frame: &Frame) -> Result<u32, Error> {
        let index = DeltaBucket::parse(frame, &self.header.preamble)?.index();
        let at = index as usize;
        agreeing(Kind::DeltaBucket.name())("index", at >= self.next && at < self.hashes.len())?;
        Ok(index)
    }

    /// Takes the next frame with the bucket of the earlier snapshot that it changes; gives the bucket
    /// of the later one.
    ///
    /// # Errors
    /// [`Error::Usage`] if `old` is not that bucket: the copy that is kept is damaged.
    /// [`Error::Malformed`] for changes that do not fit the bucket, [`Error::Mismatch`] for a bucket out
    /// of order and for more changes than the delta states.
    pub fn push(&mut self, frame: &Frame, old: &Frame) -> Result<Frame, Error> {
        let index = self.touches(frame)?;
        let change = DeltaBucket::parse(frame, &self.header.preamble)?;
        let damaged =
            Error::Usage("the bucket is not that of the snapshot which the delta changes");
        let bucket = self.base.bucket(old).map_err(|_| damaged.clone())?;
        if bucket.index() != index {
            return Err(damaged);
        }
        let what = Kind::DeltaBucket.name();
        let after = change
            .changes()
            .apply(&bucket)
            .map_err(|error| error.blame(|why| Error::Malformed { what, why }))?;
        let counts = self.counts.and(change.changes());
        let (same, said) = (agreeing(what), &self.statement);
        same("removed", counts.removed <= said.removed.get())?;
        same("added", counts.added <= said.added.get())?;
        same("relabelled", counts.relabelled <= said.relabelled.get())?;
        let at = index as usize;
        if let Some(hash) = self.hashes.get_mut(at) {
            *hash = leaf_hash(after.body());
        }
        self.counts = counts;
        self.next = at + 1;
        Ok(after)
    }

    /// Compares counts and root. What comes of it is the later snapshot, every bucket of which was
    /// proven: the touched ones here, the others when the earlier snapshot was.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if a frame is missing or the result is not what was signed.
    pub fn finish(self) -> Result<SnapshotLeaves, Error> {
        let (same, said) = (agreeing(Kind::SnapshotDelta.name()), &self.statement);
        same("removed", self.counts.removed == said.removed.get())?;
        same("added", self.counts.added == said.added.get())?;
        same(
            "relabelled",
            self.counts.relabelled == said.relabelled.get(),
        )?;
        let SnapshotHeader { preamble, root } = self.header;
        same("root", root_over(&preamble, &self.hashes)? == root)?;
        Ok(SnapshotLeaves {
            snapshot: VerifiedSnapshot::new(preamble, root),
            hashes: self.hashes,
        })
    }
}
