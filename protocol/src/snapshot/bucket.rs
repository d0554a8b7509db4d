//! One bucket: `index u32 ‖ count u32 ‖ count tags, ascending ‖ count sealed labels`.

use crate::{
    error::Error,
    frame::{Cursor, Frame, HEADER_BYTES, Kind},
    statements::SnapshotPreamble,
};

use super::bucket_of;

/// The most tags of a bucket. Tags are uniform and a bucket holds 511 of them on average at most:
/// 1,024 in one have a probability below 2^-80.
pub(super) const MAX_BUCKET_TAGS: usize = 1024;

/// A parsed bucket: tags ascend strictly and all carry the bucket's prefix.
#[derive(Debug)]
pub struct Bucket<'a> {
    index: u32,
    tags: &'a [u8],
    sealed: &'a [u8],
    tag_len: usize,
    sealed_len: usize,
}

impl<'a> Bucket<'a> {
    /// Parses the body of a bucket frame.
    ///
    /// # Errors
    /// [`Error::Malformed`] for any form that a builder does not write.
    pub fn parse(frame: &'a Frame, preamble: &SnapshotPreamble) -> Result<Self, Error> {
        let bucket = Self::cut(frame.expect(Kind::SnapshotBucket)?, preamble)?;
        let mut tags = bucket.tags.chunks_exact(bucket.tag_len);
        if !tags.clone().is_sorted_by(|a, b| a < b) {
            return Err(malformed("tags do not ascend"));
        }
        let bits = preamble.bucket_bits.get();
        if tags.any(|tag| bucket_of(tag, bits) != u64::from(bucket.index)) {
            return Err(malformed("a tag stands in another bucket's place"));
        }
        Ok(bucket)
    }

    /// The same for the bytes of a whole frame, on the caller's word: the order of the tags and the bucket
    /// that they belong to are not looked at. The caller must have had [`Self::parse`] succeed on these very
    /// bytes before, and must know by an authenticator of its own that they are the same. Of other bytes
    /// [`Self::find`] may give wrong answers, and nothing worse.
    ///
    /// # Errors
    /// [`Error::Malformed`] for bytes that are no bucket with this index.
    pub fn parse_assumed(
        frame: &'a [u8],
        preamble: &SnapshotPreamble,
        index: u64,
    ) -> Result<Self, Error> {
        let (head, body) = frame
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(malformed("shorter than its header"))?;
        let [kind, length @ ..] = *head;
        if kind != Kind::SnapshotBucket as u8 || u32::from_be_bytes(length) as usize != body.len() {
            return Err(malformed("not one bucket"));
        }
        let bucket = Self::cut(body, preamble)?;
        match u64::from(bucket.index) == index {
            true => Ok(bucket),
            false => Err(malformed("another bucket")),
        }
    }

    /// Finds the parts of a body by their lengths.
    fn cut(body: &'a [u8], preamble: &SnapshotPreamble) -> Result<Self, Error> {
        let what = Kind::SnapshotBucket.name();
        let mut cursor = Cursor::new(what, body);
        let (tag_len, sealed_len) = (preamble.tag_len(), preamble.sealed_len());
        let index = cursor.u32()?;
        let count = cursor.u32()? as usize;
        if count > MAX_BUCKET_TAGS {
            return Err(malformed("more tags than tags spread evenly can be"));
        }
        let size = |each: usize| {
            count
                .checked_mul(each)
                .ok_or(malformed("count is too large"))
        };
        let tags = cursor.take(size(tag_len)?)?;
        let sealed = cursor.take(size(sealed_len)?)?;
        cursor.end()?;
        Ok(Self {
            index,
            tags,
            sealed,
            tag_len,
            sealed_len,
        })
    }

    /// Which bucket it is.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Tags in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tags.len() / self.tag_len
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// The tags, ascending.
    pub fn tags(&self) -> impl Iterator<Item = &'a [u8]> {
        self.tags.chunks_exact(self.tag_len)
    }

    /// Position of a tag. Variable time: the reader's own tags against public ones, on the
    /// reader's own machine.
    #[must_use]
    pub fn find(&self, tag: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.tags[middle * self.tag_len..][..self.tag_len].cmp(tag) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    /// The sealed label at a position; empty in a collection without labels.
    #[must_use]
    pub fn sealed_label(&self, position: usize) -> Option<&'a [u8]> {
        self.sealed
            .get(position * self.sealed_len..(position + 1) * self.sealed_len)
    }
}

fn malformed(why: &'static str) -> Error {
    let what = Kind::SnapshotBucket.name();
    Error::Malformed { what, why }
}

/// Writes the body of a bucket.
pub(super) fn encode(index: u32, tags: &[u8], sealed: &[u8], count: u32) -> Result<Frame, Error> {
    let mut body = Vec::with_capacity(8 + tags.len() + sealed.len());
    body.extend_from_slice(&index.to_be_bytes());
    body.extend_from_slice(&count.to_be_bytes());
    body.extend_from_slice(tags);
    body.extend_from_slice(sealed);
    Frame::new(Kind::SnapshotBucket, &body)
}
