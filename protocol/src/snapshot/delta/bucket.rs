//! What changes in one bucket: `index u32 ‖ removed u16 ‖ added u16 ‖ relabelled u16 ‖ removed tags ‖
//! added tags ‖ relabelled tags ‖ sealed labels of the added ‖ of the relabelled`.

use crate::{
    error::Error,
    frame::{Cursor, Frame, Kind},
    statements::SnapshotPreamble,
};

use super::super::{
    bucket::{self, Bucket, MAX_BUCKET_TAGS},
    bucket_of,
};

/// A tag with its sealed label; the label is empty without labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The tag.
    pub tag: &'a [u8],
    /// Its sealed label.
    pub sealed: &'a [u8],
}

/// What changes in a bucket. Each list ascends by tag, and no tag stands in two of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketChanges<'a> {
    /// Tags that go.
    pub removed: Vec<&'a [u8]>,
    /// Tags that come.
    pub added: Vec<Entry<'a>>,
    /// Tags that stay and have another sealed label.
    pub relabelled: Vec<Entry<'a>>,
}

/// A parsed frame of a delta.
#[derive(Debug)]
pub struct DeltaBucket<'a> {
    index: u32,
    changes: BucketChanges<'a>,
}

/// Bytes before the tags: index and three counts.
pub(super) const HEAD_BYTES: usize = 4 + 3 * 2;

impl<'a> DeltaBucket<'a> {
    /// Parses the body of a frame. `preamble` is that of the snapshots on both ends.
    ///
    /// # Errors
    /// [`Error::Malformed`] for any form that a builder does not write.
    pub fn parse(frame: &'a Frame, preamble: &SnapshotPreamble) -> Result<Self, Error> {
        let what = Kind::DeltaBucket.name();
        let malformed = |why| Error::Malformed { what, why };
        let mut cursor = Cursor::new(what, frame.expect(Kind::DeltaBucket)?);
        let (tag_len, sealed_len) = (preamble.tag_len(), preamble.sealed_len());
        let index = cursor.u32()?;
        let [removed, added, relabelled] =
            [cursor.u16()?, cursor.u16()?, cursor.u16()?].map(usize::from);
        // Counts of 16 bits: no product can be too large.
        let mut tags = |count: usize| Ok(cursor.take(count * tag_len)?.chunks_exact(tag_len));
        let (removed, added, relabelled) = (tags(removed)?, tags(added)?, tags(relabelled)?);
        let mut entries = |tags: std::slice::ChunksExact<'a, u8>| {
            tags.map(|tag| {
                let sealed = cursor.take(sealed_len)?;
                Ok(Entry { tag, sealed })
            })
            .collect::<Result<Vec<_>, Error>>()
        };
        let changes = BucketChanges {
            added: entries(added)?,
            relabelled: entries(relabelled)?,
            removed: removed.collect(),
        };
        cursor.end()?;
        changes.check(index, preamble).map_err(malformed)?;
        Ok(Self { index, changes })
    }

    /// Which bucket changes.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// What changes in it.
    #[must_use]
    pub fn changes(&self) -> &BucketChanges<'a> {
        &self.changes
    }
}

impl BucketChanges<'_> {
    /// The rules of the form. Text says which is broken.
    fn check(&self, index: u32, preamble: &SnapshotPreamble) -> Result<(), &'static str> {
        let entries = || self.added.iter().chain(&self.relabelled);
        let tags = || {
            let removed = self.removed.iter().copied();
            removed.chain(entries().map(|entry| entry.tag))
        };
        let (tag_len, sealed_len) = (preamble.tag_len(), preamble.sealed_len());
        if tags().any(|tag| tag.len() != tag_len)
            || entries().any(|entry| entry.sealed.len() != sealed_len)
        {
            return Err("an entry has another length than the snapshot's");
        }
        if tags().next().is_none() {
            return Err("it changes nothing");
        }
        if self.removed.len() > MAX_BUCKET_TAGS
            || self.added.len() + self.relabelled.len() > MAX_BUCKET_TAGS
        {
            return Err("more changes than a bucket has tags");
        }
        if sealed_len == 0 && !self.relabelled.is_empty() {
            return Err("a new label in a collection without labels");
        }
        let ascend = |list: &[Entry<'_>]| list.is_sorted_by(|a, b| a.tag < b.tag);
        if !self.removed.is_sorted_by(|a, b| a < b)
            || !ascend(&self.added)
            || !ascend(&self.relabelled)
        {
            return Err("tags do not ascend");
        }
        let bits = preamble.bucket_bits.get();
        if tags().any(|tag| bucket_of(tag, bits) != u64::from(index)) {
            return Err("a tag stands in another bucket's place");
        }
        Ok(())
    }

    /// Writes the frame.
    ///
    /// # Errors
    /// [`Error::Usage`] if a rule of the form is broken.
    pub(super) fn encode(&self, index: u32, preamble: &SnapshotPreamble) -> Result<Frame, Error> {
        self.check(index, preamble).map_err(Error::Usage)?;
        let entries = self.added.len() + self.relabelled.len();
        let tags = (self.removed.len() + entries) * preamble.tag_len();
        let mut body = Vec::with_capacity(HEAD_BYTES + tags + entries * preamble.sealed_len());
        body.extend_from_slice(&index.to_be_bytes());
        for count in [self.removed.len(), self.added.len(), self.relabelled.len()] {
            let count = u16::try_from(count).map_err(|_| Error::Bug("changes of a bucket"))?;
            body.extend_from_slice(&count.to_be_bytes());
        }
        self.removed
            .iter()
            .for_each(|tag| body.extend_from_slice(tag));
        let entries = || self.added.iter().chain(&self.relabelled);
        entries().for_each(|entry| body.extend_from_slice(entry.tag));
        entries().for_each(|entry| body.extend_from_slice(entry.sealed));
        Frame::new(Kind::DeltaBucket, &body)
    }

    /// The bucket after the changes. Text says what does not fit the bucket before them.
    pub(super) fn apply(&self, old: &Bucket<'_>) -> Result<Frame, ApplyError> {
        let count = (old.len() + self.added.len())
            .checked_sub(self.removed.len())
            .ok_or("a tag goes that is not there")?;
        if count > MAX_BUCKET_TAGS {
            return Err("more tags in a bucket than tags spread evenly can be".into());
        }
        let mut removed = self.removed.iter().peekable();
        let mut added = self.added.iter().peekable();
        let mut relabelled = self.relabelled.iter().peekable();
        let (mut tags, mut sealed) = (Vec::new(), Vec::new());
        let mut keep = |tag: &[u8], label: &[u8]| {
            tags.extend_from_slice(tag);
            sealed.extend_from_slice(label);
        };
        for (position, tag) in old.tags().enumerate() {
            while let Some(entry) = added.next_if(|entry| entry.tag < tag) {
                keep(entry.tag, entry.sealed);
            }
            // Also if it goes at the same time: what stays with another label is relabelled.
            if added.peek().is_some_and(|entry| entry.tag == tag) {
                return Err("a tag comes that is there".into());
            }
            if removed.next_if(|gone| **gone == tag).is_some() {
                continue;
            }
            let label = old
                .sealed_label(position)
                .ok_or(Error::Bug("a label out of range"))?;
            match relabelled.next_if(|entry| entry.tag == tag) {
                Some(entry) if entry.sealed == label => {
                    return Err("a label changes to what it was".into());
                }
                Some(entry) => keep(tag, entry.sealed),
                None => keep(tag, label),
            }
        }
        added.for_each(|entry| keep(entry.tag, entry.sealed));
        // Both ascend as the bucket does, so what is not there is never passed.
        if removed.next().is_some() {
            return Err("a tag goes that is not there".into());
        }
        if relabelled.next().is_some() {
            return Err("a tag is relabelled that is not there, or goes".into());
        }
        let count = u32::try_from(count).map_err(|_| Error::Bug("tags of a bucket"))?;
        Ok(bucket::encode(old.index(), &tags, &sealed, count)?)
    }
}

/// Why changes cannot be made.
pub(super) enum ApplyError {
    /// They do not fit the bucket: the fault of whoever made them.
    Unfit(&'static str),
    Other(Error),
}

impl From<&'static str> for ApplyError {
    fn from(why: &'static str) -> Self {
        Self::Unfit(why)
    }
}

impl From<Error> for ApplyError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl ApplyError {
    pub(super) fn blame(self, unfit: impl FnOnce(&'static str) -> Error) -> Error {
        match self {
            Self::Unfit(why) => unfit(why),
            Self::Other(error) => error,
        }
    }
}
