//! Evaluated elements, spooled by the prefix of their tags.
//!
//! There are as many partitions as the table's size suggests, so that one is sorted in little memory;
//! one that became larger all the same is split again when it is read ([`super::sort`]).

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{
    blocks::{BlockKey, Blocks, Extent, MAX_BLOCK},
    record::{Layout, Record, prefix},
};
use crate::error::{AgencyError, Result};

/// Bytes of records gathered before a block is sealed. All partitions have one such buffer.
const BLOCK_BYTES: usize = 16 << 10;
/// The most bits of a partition's number: 512 buffers of 16 KiB, twice.
pub(super) const MOST_BITS: u32 = 9;
/// Bits by which a partition that is too large is split.
pub(super) const SPLIT_BITS: u32 = 4;

/// Records by partition.
pub(super) struct Spool {
    blocks: Blocks,
    /// Where the blocks are, also for what is split off them.
    folder: PathBuf,
    layout: Layout,
    buffers: Vec<Zeroizing<Vec<u8>>>,
    /// Bits of the tag before those that number the partitions, and how many do.
    used: u32,
    bits: u32,
}

/// Which of the two kinds of elements: they are sorted apart, because how much padding is needed is
/// known when all others were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Real,
    Padding,
}

impl Spool {
    /// A spool that goes on after a kill, at `path`: each of the two sides has `2^bits` partitions.
    pub(super) fn create(path: &Path, key: &BlockKey, layout: Layout, bits: u32) -> Result<Self> {
        let blocks = Blocks::create(path, key, 2 << bits)?;
        Self::over(blocks, path, layout, bits)
    }

    /// Goes on with one.
    pub(super) fn reopen(
        path: &Path,
        key: &BlockKey,
        layout: Layout,
        bits: u32,
        extent: Extent,
    ) -> Result<Self> {
        let blocks = Blocks::reopen(path, key, 2 << bits, extent)?;
        Self::over(blocks, path, layout, bits)
    }

    fn over(blocks: Blocks, path: &Path, layout: Layout, bits: u32) -> Result<Self> {
        let folder = crate::fs::parent_of(path)?.to_owned();
        Ok(Self {
            blocks,
            folder,
            layout,
            buffers: (0..2usize << bits).map(|_| Zeroizing::default()).collect(),
            used: 0,
            bits,
        })
    }

    /// A spool without a name, gone with this process: one side, `2^bits` partitions.
    pub(super) fn nameless(folder: &Path, layout: Layout, bits: u32) -> Result<Self> {
        let partitions = 1usize << bits;
        Ok(Self {
            blocks: Blocks::nameless(folder, partitions)?,
            folder: folder.to_owned(),
            layout,
            buffers: (0..partitions).map(|_| Zeroizing::default()).collect(),
            used: 0,
            bits,
        })
    }

    /// A spool without a name for the records of one partition, by the bits that follow.
    pub(super) fn split(&self) -> Result<Self> {
        let partitions = 1usize << SPLIT_BITS;
        Ok(Self {
            blocks: Blocks::nameless(&self.folder, partitions)?,
            folder: self.folder.clone(),
            layout: self.layout,
            buffers: (0..partitions).map(|_| Zeroizing::default()).collect(),
            used: self.used + self.bits,
            bits: SPLIT_BITS,
        })
    }

    /// Partitions of one side.
    pub(super) fn partitions(&self) -> usize {
        1 << self.bits
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many of the tag's bits all records of one partition share.
    pub(super) fn shared_bits(&self) -> u32 {
        self.used + self.bits
    }

    /// Adds a record.
    ///
    /// # Errors
    /// An IO error, a full disk among them.
    pub(super) fn push(&mut self, side: Side, record: &Record<'_>) -> Result<()> {
        let bytes = record.whole;
        let partition = self.place(side, prefix(record.tag, self.used, self.bits));
        let out_of_range = || AgencyError::Bug("a partition out of range".to_owned());
        let buffer = self.buffers.get_mut(partition).ok_or_else(out_of_range)?;
        let filled = Blocks::filled(buffer);
        if filled > 0 && filled + bytes.len() > BLOCK_BYTES {
            self.blocks.append(partition, buffer)?;
        }
        if Blocks::filled(buffer) == 0 {
            if bytes.len() > MAX_BLOCK {
                return Err(AgencyError::Bug("a spooled record is too long".to_owned()));
            }
            Blocks::begin(buffer, BLOCK_BYTES.max(bytes.len()));
        }
        buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn place(&self, side: Side, partition: usize) -> usize {
        match side {
            Side::Real => partition,
            Side::Padding => partition + self.partitions(),
        }
    }

    /// Seals and writes what was gathered.
    pub(super) fn flush(&mut self) -> Result<()> {
        for (partition, buffer) in self.buffers.iter_mut().enumerate() {
            self.blocks.append(partition, buffer)?;
        }
        Ok(())
    }

    /// Gives the memory of the buffers back: nothing more is pushed.
    pub(super) fn rest(&mut self) -> Result<()> {
        self.flush()?;
        self.buffers
            .iter_mut()
            .for_each(|b| *b = Zeroizing::default());
        Ok(())
    }

    /// Flushes, and makes all that was pushed durable; gives how far it goes.
    pub(super) fn sync(&mut self) -> Result<&Extent> {
        self.flush()?;
        self.blocks.sync()?;
        Ok(self.blocks.extent())
    }

    /// How far it goes on the disk.
    pub(super) fn extent(&self) -> &Extent {
        self.blocks.extent()
    }

    /// Sealed bytes of a partition.
    pub(super) fn size(&self, side: Side, partition: usize) -> u64 {
        self.blocks.size(self.place(side, partition))
    }

    /// Calls `each` for all records of a partition that were flushed, in the order they came in.
    pub(super) fn read(
        &self,
        side: Side,
        partition: usize,
        mut each: impl FnMut(&Record<'_>) -> Result<()>,
    ) -> Result<()> {
        let place = self.place(side, partition);
        let mut buffer = Zeroizing::new(Vec::new());
        for index in 0..self.blocks.count(place) {
            let mut bytes = self.blocks.read(place, index, &mut buffer)?;
            while let Some((record, rest)) = self.layout.next(bytes)? {
                each(&record)?;
                bytes = rest;
            }
        }
        Ok(())
    }
}

/// Records in order, in a file without a name: written once, then read.
pub(super) struct Sorted {
    blocks: Blocks,
    layout: Layout,
    buffer: Zeroizing<Vec<u8>>,
    records: u64,
}

/// Bytes of a block of sorted records.
const SORTED_BLOCK: usize = 64 << 10;

impl Sorted {
    pub(super) fn create(folder: &Path, layout: Layout) -> Result<Self> {
        Ok(Self {
            blocks: Blocks::nameless(folder, 1)?,
            layout,
            buffer: Zeroizing::default(),
            records: 0,
        })
    }

    /// Adds a record that is behind all others.
    pub(super) fn push(
        &mut self,
        tag: &[u8],
        material: &[u8],
        flags: u8,
        label: &[u8],
    ) -> Result<()> {
        let size = self.layout.size(label.len());
        let filled = Blocks::filled(&self.buffer);
        if filled > 0 && filled + size > SORTED_BLOCK {
            self.blocks.append(0, &mut self.buffer)?;
        }
        if Blocks::filled(&self.buffer) == 0 {
            Blocks::begin(&mut self.buffer, SORTED_BLOCK.max(size));
        }
        self.records += 1;
        let (to, layout) = (&mut self.buffer, self.layout);
        layout.write_parts(to, tag, material, flags, label)
    }

    /// How many there are.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Begins to read them.
    pub(super) fn reader(mut self) -> Result<SortedReader> {
        self.blocks.append(0, &mut self.buffer)?;
        let mut reader = SortedReader {
            blocks: self.blocks,
            layout: self.layout,
            block: Zeroizing::default(),
            length: 0,
            at: 0,
            index: 0,
        };
        reader.fill()?;
        Ok(reader)
    }
}

/// Reads records that were sorted, one after another.
pub(super) struct SortedReader {
    blocks: Blocks,
    layout: Layout,
    block: Zeroizing<Vec<u8>>,
    /// Bytes of records in the block.
    length: usize,
    at: usize,
    /// The block that is next.
    index: usize,
}

impl SortedReader {
    fn fill(&mut self) -> Result<()> {
        while self.at == self.length && self.index < self.blocks.count(0) {
            self.length = self.blocks.read(0, self.index, &mut self.block)?.len();
            self.at = 0;
            self.index += 1;
        }
        Ok(())
    }

    /// Begins again with the first.
    pub(super) fn rewind(&mut self) -> Result<()> {
        (self.length, self.at, self.index) = (0, 0, 0);
        self.fill()
    }

    /// The record that is due; `None` behind the last.
    pub(super) fn peek(&self) -> Result<Option<Record<'_>>> {
        let rest = self.block.get(self.at..self.length).unwrap_or_default();
        Ok(self.layout.next(rest)?.map(|(record, _)| record))
    }

    /// Goes to the next.
    pub(super) fn advance(&mut self) -> Result<()> {
        let length = self.peek()?.map_or(0, |record| record.whole.len());
        self.at += length;
        self.fill()
    }
}
