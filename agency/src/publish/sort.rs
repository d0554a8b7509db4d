//! Sorting a spool, one partition in memory at a time.
//!
//! A partition that fills the memory it may have is merged where it stands, so that a key that very
//! many rows share takes the room of one. If that is not enough, it is split by the next bits of the tag
//! and its parts are sorted one after another.

use zeroize::Zeroizing;

use super::{
    labels::merge,
    record::{CUT, Layout, PADDING, Record, Tag},
    spool::{Side, Sorted, Spool},
};
use crate::error::{AgencyError, Result};

/// Bytes that one partition may take in memory.
pub(super) const BUDGET: usize = 16 << 20;

/// Sorts spools of one publication.
pub(super) struct Sorter {
    /// Columns of a label.
    pub(super) columns: usize,
    /// Bytes that one partition may take; [`BUDGET`] but in tests.
    pub(super) budget: usize,
}

/// What was sorted.
pub(super) struct Counted {
    /// The distinct elements, in the order of their tags.
    pub(super) sorted: Sorted,
    /// Bytes of the longest label.
    pub(super) longest: usize,
    /// Labels of which some records were left out.
    pub(super) cut_labels: u64,
}

impl Sorter {
    /// Sorts one side of a spool; equal elements become one, their labels too. `done` is told each
    /// partition.
    pub(super) fn sort(
        &self,
        spool: &Spool,
        side: Side,
        mut done: impl FnMut(usize),
    ) -> Result<Counted> {
        let mut out = Counted {
            sorted: Sorted::create(spool.folder(), spool.layout())?,
            longest: 0,
            cut_labels: 0,
        };
        for partition in 0..spool.partitions() {
            self.partition(spool, side, partition, &mut out)?;
            done(partition + 1);
        }
        Ok(out)
    }

    fn partition(
        &self,
        spool: &Spool,
        side: Side,
        partition: usize,
        out: &mut Counted,
    ) -> Result<()> {
        let size = usize::try_from(spool.size(side, partition)).unwrap_or(usize::MAX);
        let mut held = Held::new(spool.layout(), self.columns, size, self.budget);
        let mut parts: Option<Spool> = None;
        spool.read(side, partition, |record| {
            if let Some(parts) = &mut parts {
                return parts.push(Side::Real, record);
            }
            if !held.fits(record) {
                held.compact()?;
                // Half of it must be free, or merging would come with every few records.
                if held.bytes() > self.budget / 2 && spool.shared_bits() + 8 < Tag::BITS {
                    let mut into = spool.split()?;
                    held.each(|record| into.push(Side::Real, &record))?;
                    held.clear();
                    into.push(Side::Real, record)?;
                    parts = Some(into);
                    return Ok(());
                }
            }
            held.push(record)
        })?;
        match parts {
            None => held.finish(out),
            Some(mut parts) => {
                drop(held);
                parts.rest()?;
                for part in 0..parts.partitions() {
                    self.partition(&parts, Side::Real, part, out)?;
                }
                Ok(())
            }
        }
    }
}

/// The records of one partition, in memory.
struct Held {
    layout: Layout,
    columns: usize,
    budget: usize,
    /// Tags, and with labels where in `bytes` the record lies: equal tags keep their order.
    tags: Vec<(Tag, u32)>,
    /// The tags alone, without labels: half the memory.
    plain: Vec<Tag>,
    /// Records with labels.
    bytes: Zeroizing<Vec<u8>>,
    /// What tags of records take more than the records.
    places: usize,
}

impl Held {
    fn new(layout: Layout, columns: usize, sealed: usize, budget: usize) -> Self {
        let mut held = Self {
            layout,
            columns,
            budget,
            tags: Vec::new(),
            plain: Vec::new(),
            bytes: Zeroizing::default(),
            places: size_of::<(Tag, u32)>(),
        };
        // Reserved whole: a vector that grows copies, and is twice there while it does.
        match layout.labels {
            true => {
                let records = sealed.min(budget) / layout.size(0);
                held.tags
                    .reserve_exact(records.min(budget / held.places / 4));
                held.bytes.reserve_exact(sealed.min(budget));
            }
            false => {
                let records = sealed / layout.tag;
                held.plain
                    .reserve_exact(records.min(budget / size_of::<Tag>()));
            }
        }
        held
    }

    fn bytes(&self) -> usize {
        match self.layout.labels {
            true => self.bytes.len() + self.tags.len() * self.places,
            false => self.plain.len() * size_of::<Tag>(),
        }
    }

    fn fits(&self, record: &Record<'_>) -> bool {
        let more = match self.layout.labels {
            true => record.whole.len() + self.places,
            false => size_of::<Tag>(),
        };
        self.bytes() + more <= self.budget
    }

    fn push(&mut self, record: &Record<'_>) -> Result<()> {
        if !self.layout.labels {
            self.plain.push(record.tag);
            return Ok(());
        }
        let at = u32::try_from(self.bytes.len());
        let at = at.map_err(|_| AgencyError::Bug("a partition is too large".to_owned()))?;
        self.tags.push((record.tag, at));
        self.bytes.extend_from_slice(record.whole);
        Ok(())
    }

    fn clear(&mut self) {
        self.tags.clear();
        self.plain.clear();
        self.bytes = Zeroizing::default();
    }

    /// Makes one record of those of each element, where it stands.
    fn compact(&mut self) -> Result<()> {
        if !self.layout.labels {
            self.plain.sort_unstable();
            self.plain.dedup();
            return Ok(());
        }
        let mut merged = Zeroizing::new(Vec::new());
        merged.reserve_exact(self.bytes.len());
        let mut tags = Vec::with_capacity(self.tags.len());
        let layout = self.layout;
        self.each_element(|element| {
            let at = u32::try_from(merged.len());
            let at = at.map_err(|_| AgencyError::Bug("a partition is too large".to_owned()))?;
            tags.push((element.tag, at));
            let tag = element.tag.to_be_bytes();
            let tag = tag.get(..layout.tag).unwrap_or(&tag);
            layout.write_parts(
                &mut merged,
                tag,
                element.material,
                element.flags,
                element.label,
            )
        })?;
        self.tags = tags;
        self.bytes = merged;
        Ok(())
    }

    /// Calls `each` for all records, in the order they came in, or that of their tags if they were
    /// compacted.
    fn each(&self, mut each: impl FnMut(Record<'_>) -> Result<()>) -> Result<()> {
        for tag in &self.plain {
            let bytes = tag.to_be_bytes();
            let whole = bytes.get(..self.layout.tag).unwrap_or(&bytes);
            let record = self.layout.next(whole)?.map(|(record, _)| record);
            record.map_or(Ok(()), &mut each)?;
        }
        let mut bytes = self.bytes.as_slice();
        while let Some((record, rest)) = self.layout.next(bytes)? {
            each(record)?;
            bytes = rest;
        }
        Ok(())
    }

    /// Sorts, and calls `each` for every distinct element with its merged label.
    fn each_element(&mut self, mut each: impl FnMut(Record<'_>) -> Result<()>) -> Result<()> {
        // The place makes it stable.
        self.tags.sort_unstable();
        let bytes = self.bytes.as_slice();
        let record = |at: u32| -> Result<Record<'_>> {
            let found = self
                .layout
                .next(bytes.get(at as usize..).unwrap_or_default())?;
            let missing = || AgencyError::Bug("a spooled record is not there".to_owned());
            Ok(found.ok_or_else(missing)?.0)
        };
        let mut labels: Vec<&[u8]> = Vec::new();
        for run in self.tags.chunk_by(|a, b| a.0 == b.0) {
            let Some((_, at)) = run.first() else { continue };
            let first = record(*at)?;
            labels.clear();
            for (_, at) in run {
                let next = record(*at)?;
                // Two outputs that differ, under tags that do not: what no search for a collision
                // of 100 bits finds. Their labels are not mixed.
                if next.material != first.material {
                    return Err(AgencyError::Bug("two elements have one tag".to_owned()));
                }
                labels.push(next.label);
            }
            if first.flags & PADDING != 0 {
                each(first)?;
                continue;
            }
            let (label, cut) = merge(&labels, self.columns, first.flags & CUT != 0)?;
            each(Record {
                flags: if cut { CUT } else { 0 },
                label: &label,
                ..first
            })?;
        }
        Ok(())
    }

    /// Gives what is held, sorted and merged, to `out`.
    fn finish(mut self, out: &mut Counted) -> Result<()> {
        let length = self.layout.tag;
        if !self.layout.labels {
            self.compact()?;
            for tag in &self.plain {
                let tag = tag.to_be_bytes();
                out.sorted
                    .push(tag.get(..length).unwrap_or(&tag), &[], 0, &[])?;
            }
            return Ok(());
        }
        let Counted {
            sorted,
            longest,
            cut_labels,
        } = out;
        self.each_element(|element| {
            *longest = (*longest).max(element.label.len());
            *cut_labels += u64::from(element.flags & CUT != 0);
            let tag = element.tag.to_be_bytes();
            let tag = tag.get(..length).unwrap_or(&tag);
            sorted.push(tag, element.material, element.flags, element.label)
        })
    }
}
