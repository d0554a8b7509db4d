//! Building a snapshot from entries in tag order, one bucket in memory at a time.

use crate::{
    error::Error,
    frame::Frame,
    log::TreeHasher,
    signing::SigningKey,
    statements::{Hex, SnapshotHeader, SnapshotPreamble, Statement, sign},
};

use super::{bucket, bucket_of};

/// Takes tags in ascending order and gives bucket frames in bucket order.
#[derive(Debug)]
pub struct SnapshotBuilder {
    preamble: SnapshotPreamble,
    tree: TreeHasher,
    bucket: u64,
    tags: Vec<u8>,
    sealed: Vec<u8>,
    count: u32,
    total: u64,
}

impl SnapshotBuilder {
    /// Starts with what the snapshot will be; `preamble.elements` tags must follow.
    ///
    /// # Errors
    /// [`Error::Usage`] if the preamble breaks a rule of its statement.
    pub fn new(preamble: SnapshotPreamble) -> Result<Self, Error> {
        let header = SnapshotHeader {
            preamble,
            root: Hex([0; 32]),
        };
        header.check().map_err(Error::Usage)?;
        let SnapshotHeader { preamble, .. } = header;
        let mut tree = TreeHasher::new();
        tree.push(&preamble.leaf()?);
        Ok(Self {
            preamble,
            tree,
            bucket: 0,
            tags: Vec::new(),
            sealed: Vec::new(),
            count: 0,
            total: 0,
        })
    }

    /// A signed header of the final length with a root of zeros: what a writer puts first, to
    /// overwrite it at the end. It verifies for no snapshot.
    ///
    /// # Errors
    /// As [`sign`].
    pub fn placeholder(&self, key: &SigningKey) -> Result<Frame, Error> {
        sign(
            &SnapshotHeader {
                preamble: self.preamble.clone(),
                root: Hex([0; 32]),
            },
            key,
        )
    }

    /// Adds an entry. Finished buckets go to `emit`, empty ones too.
    ///
    /// # Errors
    /// [`Error::Usage`] for wrong lengths or a tag that does not ascend; what `emit` returns.
    pub fn push<E: From<Error>>(
        &mut self,
        tag: &[u8],
        sealed: &[u8],
        emit: &mut dyn FnMut(Frame) -> Result<(), E>,
    ) -> Result<(), E> {
        if tag.len() != self.preamble.tag_len() || sealed.len() != self.preamble.sealed_len() {
            return Err(Error::Usage("an entry has another length than the preamble says").into());
        }
        let bucket = bucket_of(tag, self.preamble.bucket_bits.get());
        if bucket < self.bucket
            || (self.count > 0 && &self.tags[self.tags.len() - tag.len()..] >= tag)
        {
            return Err(Error::Usage("tags must ascend").into());
        }
        while self.bucket < bucket {
            self.flush(emit)?;
        }
        self.tags.extend_from_slice(tag);
        self.sealed.extend_from_slice(sealed);
        self.count += 1;
        self.total += 1;
        Ok(())
    }

    fn flush<E: From<Error>>(
        &mut self,
        emit: &mut dyn FnMut(Frame) -> Result<(), E>,
    ) -> Result<(), E> {
        let index = u32::try_from(self.bucket).map_err(|_| Error::Bug("bucket index"))?;
        let frame = bucket::encode(index, &self.tags, &self.sealed, self.count)?;
        self.tree.push(frame.body());
        self.tags.clear();
        self.sealed.clear();
        self.count = 0;
        self.bucket += 1;
        emit(frame)
    }

    /// Closes the last buckets and signs the header.
    ///
    /// # Errors
    /// [`Error::Usage`] if the number of tags is not what the preamble says; what `emit` returns.
    pub fn finish<E: From<Error>>(
        mut self,
        key: &SigningKey,
        emit: &mut dyn FnMut(Frame) -> Result<(), E>,
    ) -> Result<(Frame, Hex<32>), E> {
        while self.bucket < self.preamble.buckets() {
            self.flush(emit)?;
        }
        if self.total != self.preamble.elements.get() {
            return Err(Error::Usage("more or fewer tags than the preamble says").into());
        }
        let root = Hex(self.tree.root());
        let header = sign(
            &SnapshotHeader {
                preamble: self.preamble,
                root,
            },
            key,
        )?;
        Ok((header, root))
    }
}
