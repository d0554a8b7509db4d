//! What is spooled of an element.
//!
//! Without labels only the tag, as long as any tag of this collection may be. With labels: tag ‖
//! label key material, 32 bytes ‖ flags u8 ‖ length u32 ‖ label, as [`tallystick_tables::LabelRecords`]
//! writes it. Fixed lengths have no length before them: a record without a label is 13 bytes by default.

use tallystick_protocol::{oprf::Output, snapshot::tag_bytes};

use super::blocks::MAX_BLOCK;
use crate::error::{AgencyError, Result};

/// More elements than a snapshot can have: its buckets are counted in 32 bits.
const MOST_ELEMENTS: u64 = 1 << 41;
/// Bytes of label key material.
const MATERIAL: usize = 32;
/// Behind tag and material: flags and the length of the label.
const LABEL_HEAD: usize = 1 + 4;
/// Flag: a padding element.
pub(super) const PADDING: u8 = 1;
/// Flag: a label of which some records were left out.
pub(super) const CUT: u8 = 2;

/// How records of one publication are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes of a spooled tag, 16 at most.
    pub(super) tag: usize,
    /// Whether there are labels.
    pub(super) labels: bool,
}

/// A tag as a number, its first byte the highest: numbers are compared faster than bytes.
pub(super) type Tag = u128;

/// A record, lent from a block.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) tag: Tag,
    /// 32 bytes, or none without labels.
    pub(super) material: &'a [u8],
    pub(super) flags: u8,
    pub(super) label: &'a [u8],
    /// All of it, as it is spooled.
    pub(super) whole: &'a [u8],
}

impl Layout {
    /// The layout for a collection: the tag's length in the snapshot follows from the number of
    /// elements, which nobody knows before all are evaluated; spooled is as much as could be needed.
    pub(super) fn new(max_session_elements: u64, labels: bool) -> Self {
        let tag = tag_bytes(max_session_elements, MOST_ELEMENTS) as usize;
        Self {
            tag: tag.min(size_of::<Tag>()),
            labels,
        }
    }

    /// Bytes of a record with this label.
    pub(super) fn size(self, label: usize) -> usize {
        match self.labels {
            true => self.tag + MATERIAL + LABEL_HEAD + label,
            false => self.tag,
        }
    }

    /// Appends the record of an evaluated element.
    pub(super) fn write(
        self,
        to: &mut Vec<u8>,
        output: &Output,
        flags: u8,
        label: &[u8],
    ) -> Result<()> {
        self.write_parts(
            to,
            output.tag(self.tag),
            output.label_key_material(),
            flags,
            label,
        )
    }

    /// Appends a record.
    pub(super) fn write_parts(
        self,
        to: &mut Vec<u8>,
        tag: &[u8],
        material: &[u8],
        flags: u8,
        label: &[u8],
    ) -> Result<()> {
        to.extend_from_slice(tag);
        if self.labels {
            let length = u32::try_from(label.len()).ok();
            let length = length.filter(|_| self.size(label.len()) <= MAX_BLOCK);
            let length =
                length.ok_or_else(|| AgencyError::Bug("a label is too long".to_owned()))?;
            to.extend_from_slice(material);
            to.push(flags);
            to.extend_from_slice(&length.to_be_bytes());
            to.extend_from_slice(label);
        }
        Ok(())
    }

    /// The first record in `bytes`, and what is behind it; `None` at the end.
    ///
    /// # Errors
    /// `Bug` for bytes that no [`Layout::write`] made: blocks are authenticated.
    pub(super) fn next(self, bytes: &[u8]) -> Result<Option<(Record<'_>, &[u8])>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let cut = || AgencyError::Bug("a spooled record is cut short".to_owned());
        let (tag, rest) = bytes.split_at_checked(self.tag).ok_or_else(cut)?;
        let mut number = [0u8; size_of::<Tag>()];
        number
            .iter_mut()
            .zip(tag)
            .for_each(|(to, from)| *to = *from);
        let tag = Tag::from_be_bytes(number);
        if !self.labels {
            let whole = &bytes[..self.tag];
            let (material, flags, label) = (&[][..], 0, &[][..]);
            let record = Record {
                tag,
                material,
                flags,
                label,
                whole,
            };
            return Ok(Some((record, rest)));
        }
        let (material, rest) = rest.split_at_checked(MATERIAL).ok_or_else(cut)?;
        let (head, rest) = rest.split_first_chunk::<LABEL_HEAD>().ok_or_else(cut)?;
        let [flags, length @ ..] = *head;
        let length = u32::from_be_bytes(length) as usize;
        let (label, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        let whole = &bytes[..bytes.len() - rest.len()];
        let record = Record {
            tag,
            material,
            flags,
            label,
            whole,
        };
        Ok(Some((record, rest)))
    }
}

/// The first `bits` bits of a tag behind `used` of them.
pub(super) fn prefix(tag: Tag, used: u32, bits: u32) -> usize {
    match bits {
        0 => 0,
        bits => ((tag << used) >> (Tag::BITS - bits)) as usize,
    }
}
