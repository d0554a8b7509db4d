//! Spilling to disk what must be sorted: partitions, sealed under a key that lives only in memory.
//!
//! The files have no name (they are unlinked as they are made), so a crash leaves nothing behind;
//! and whoever reads the disk finds ciphertext whose key is gone.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::error::{AgencyError, Result};

/// Plaintext bytes gathered before a block is sealed.
const BLOCK_BYTES: usize = 32 * 1024;

/// Records in a fixed number of partitions, each read back whole.
pub struct Spool {
    key: LessSafeKey,
    dir: PathBuf,
    partitions: Vec<Partition>,
}

struct Partition {
    file: File,
    block: Zeroizing<Vec<u8>>,
    /// Sealed lengths of the blocks written; a block's position is part of its nonce.
    blocks: Vec<u32>,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spool({} partitions)", self.partitions.len())
    }
}

impl Spool {
    /// Opens nameless files in `dir`.
    ///
    /// # Errors
    /// An IO error.
    pub fn create(dir: &Path, partitions: usize) -> Result<Self> {
        let mut key = Zeroizing::new([0u8; 32]);
        crate::keys::fill_random(&mut key[..])?;
        let key = UnboundKey::new(&AES_256_GCM, &key[..])
            .map_err(|_| AgencyError::Bug("a spool key".to_owned()))?;
        let open = |_| {
            let file =
                tempfile::tempfile_in(dir).map_err(AgencyError::io("create a file in", dir))?;
            Ok(Partition {
                file,
                block: Zeroizing::new(Vec::new()),
                blocks: Vec::new(),
            })
        };
        Ok(Self {
            key: LessSafeKey::new(key),
            dir: dir.to_owned(),
            partitions: (0..partitions).map(open).collect::<Result<_>>()?,
        })
    }

    /// How many partitions there are.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Adds a record.
    ///
    /// # Errors
    /// An IO error, a full disk among them.
    pub fn push(&mut self, partition: usize, record: &[&[u8]]) -> Result<()> {
        let length: usize = record.iter().map(|part| part.len()).sum();
        let length = u32::try_from(length)
            .map_err(|_| AgencyError::Bug("a spooled record is too long".to_owned()))?;
        let block = &mut self.partitions[partition].block;
        // Reserved whole: a vector that grows leaves copies of what it held.
        if block.capacity() == 0 {
            block.reserve_exact(BLOCK_BYTES);
        }
        if block.len() + 4 + length as usize > BLOCK_BYTES {
            self.seal(partition)?;
        }
        let block = &mut self.partitions[partition].block;
        block.extend_from_slice(&length.to_be_bytes());
        for part in record {
            block.extend_from_slice(part);
        }
        Ok(())
    }

    /// Writes the gathered block of a partition out.
    fn seal(&mut self, partition: usize) -> Result<()> {
        let index = partition;
        let partition = &mut self.partitions[index];
        if partition.block.is_empty() {
            return Ok(());
        }
        let nonce = nonce(index, partition.blocks.len());
        // Sealed in a copy, so that the gathering buffer can be wiped and used again.
        let mut sealed = partition.block.to_vec();
        self.key
            .seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed)
            .map_err(|_| AgencyError::Bug("sealing a spooled block".to_owned()))?;
        partition
            .file
            .write_all(&sealed)
            .map_err(AgencyError::io("write to", &self.dir))?;
        let length = u32::try_from(sealed.len())
            .map_err(|_| AgencyError::Bug("a spooled block is too long".to_owned()))?;
        partition.blocks.push(length);
        zeroize::Zeroize::zeroize(&mut partition.block[..]);
        partition.block.clear();
        Ok(())
    }

    /// All records of a partition, in the order they came in, as one buffer and their places in it.
    ///
    /// # Errors
    /// An IO error, or `SealBroken` if the file was changed underneath.
    pub fn read(&mut self, partition: usize) -> Result<Records> {
        self.seal(partition)?;
        let index = partition;
        let partition = &mut self.partitions[index];
        let read = AgencyError::io("read from", &self.dir);
        partition.file.seek(SeekFrom::Start(0)).map_err(read)?;
        let total: usize = partition.blocks.iter().map(|length| *length as usize).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(total));
        let mut block = Zeroizing::new(Vec::new());
        for (position, length) in partition.blocks.iter().enumerate() {
            block.resize(*length as usize, 0);
            let read = AgencyError::io("read from", &self.dir);
            partition.file.read_exact(&mut block).map_err(read)?;
            let opened = self
                .key
                .open_in_place(nonce(index, position), Aad::empty(), &mut block)
                .map_err(|_| AgencyError::SealBroken {
                    what: "a spooled block".to_owned(),
                })?;
            bytes.extend_from_slice(opened);
        }
        // The next write goes after what is there.
        let seek = AgencyError::io("read from", &self.dir);
        partition.file.seek(SeekFrom::End(0)).map_err(seek)?;
        Records::parse(bytes)
    }
}

/// Partition and block never repeat under one key.
fn nonce(partition: usize, block: usize) -> Nonce {
    let mut bytes = [0u8; 12];
    bytes[..4].copy_from_slice(&(partition as u32).to_be_bytes());
    bytes[4..].copy_from_slice(&(block as u64).to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// The records of one partition; wiped on drop.
pub struct Records {
    bytes: Zeroizing<Vec<u8>>,
    places: Vec<std::ops::Range<usize>>,
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Records({})", self.places.len())
    }
}

impl Records {
    fn parse(bytes: Zeroizing<Vec<u8>>) -> Result<Self> {
        let broken = || AgencyError::Bug("a spooled record is cut short".to_owned());
        let mut places = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let length = bytes[at..].first_chunk::<4>().ok_or_else(broken)?;
            let start = at + 4;
            at = start + u32::from_be_bytes(*length) as usize;
            if at > bytes.len() {
                return Err(broken());
            }
            places.push(start..at);
        }
        Ok(Self { bytes, places })
    }

    /// Sorts the records by their bytes; equal ones keep their order.
    pub fn sort(&mut self) {
        let bytes = &self.bytes;
        self.places
            .sort_by(|a, b| bytes[a.clone()].cmp(&bytes[b.clone()]));
    }

    /// The record at a position.
    pub fn get(&self, position: usize) -> Option<&[u8]> {
        let place = self.places.get(position)?;
        self.bytes.get(place.clone())
    }

    /// The records.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|place| &self.bytes[place.clone()])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_and_the_disk_shows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(dir.path(), 3).unwrap();
        let mut expected = vec![Vec::new(); 3];
        for i in 0..5000u32 {
            let record = [
                b"canary-".as_slice(),
                &i.to_be_bytes(),
                &vec![7; (i % 50) as usize],
            ]
            .concat();
            spool
                .push((i % 3) as usize, &[&record[..7], &record[7..]])
                .unwrap();
            expected[(i % 3) as usize].push(record);
        }
        for round in 0..2 {
            for (partition, expected) in expected.iter().enumerate() {
                let records = spool.read(partition).unwrap();
                let got: Vec<_> = records.iter().map(<[u8]>::to_vec).collect();
                assert_eq!(&got, expected, "round {round}");
            }
        }
        let mut raw = Vec::new();
        spool.partitions[0].file.seek(SeekFrom::Start(0)).unwrap();
        spool.partitions[0].file.read_to_end(&mut raw).unwrap();
        assert!(!raw.is_empty());
        assert!(!raw.windows(6).any(|w| w == b"canary"));
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            0,
            "files have no name"
        );
        // Written to after a read, it goes on where it stopped.
        spool.push(1, &[b"later"]).unwrap();
        assert_eq!(spool.read(1).unwrap().iter().last(), Some(&b"later"[..]));
    }

    #[test]
    fn a_changed_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(dir.path(), 1).unwrap();
        spool.push(0, &[b"record"]).unwrap();
        assert_eq!(spool.read(0).unwrap().iter().count(), 1);
        spool.partitions[0].file.seek(SeekFrom::Start(3)).unwrap();
        spool.partitions[0].file.write_all(b"x").unwrap();
        assert!(matches!(spool.read(0), Err(AgencyError::SealBroken { .. })));
    }
}
