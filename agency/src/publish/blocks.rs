//! Sealed blocks appended to one file, each belonging to a partition.
//!
//! `partition u32 ‖ length u32 ‖ AES-256-GCM(block)`. Each run has a key of its
//! own, made of the file's key and fresh random bytes; a block's nonce is the number of the run and its
//! place in the file; both, with the partition and the length, are authenticated. So no block can stand
//! in another's place, and none that a killed run left behind is taken for the one that was written
//! instead of it. A disk that is set back and gone on with twice gives two runs of one number, but under
//! two keys: no nonce is used again under one.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hmac,
};
use zeroize::Zeroizing;

use crate::{
    error::{AgencyError, Result},
    fs::OWNER_FILE,
};

/// Partition and length.
const HEAD: usize = 8;
/// What sealing adds.
const TAG: usize = 16;
/// The most bytes of a block: a record is never split, and none is longer.
pub(super) const MAX_BLOCK: usize = 256 << 10;

/// The key of one file of blocks. Wiped on drop.
pub(super) struct BlockKey(Zeroizing<[u8; 32]>);

impl BlockKey {
    pub(super) fn fresh() -> Result<Self> {
        let mut key = Zeroizing::new([0u8; 32]);
        crate::keys::fill_random(&mut key[..])?;
        Ok(Self(key))
    }

    pub(super) fn new(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// The key of one run.
    fn of(&self, run: &Run) -> Result<LessSafeKey> {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0[..]));
        context.update(b"tallystick/spool-run/v1");
        context.update(&run.salt);
        let key = UnboundKey::new(&AES_256_GCM, context.sign().as_ref());
        let key = key.map_err(|_| AgencyError::Bug("a spool key".to_owned()))?;
        Ok(LessSafeKey::new(key))
    }

    /// For sealing it.
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// How far a file of blocks is good, and which runs wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Extent {
    /// Bytes.
    pub(super) bytes: u64,
    /// Blocks.
    pub(super) blocks: u64,
    /// The runs, by their first blocks, ascending; the first run begins at 0.
    pub(super) runs: Vec<Run>,
}

/// One run of a program that wrote to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Its first block.
    pub(super) first: u64,
    /// Fresh random bytes that make its key another than that of every other run.
    pub(super) salt: [u8; 32],
}

impl Run {
    fn begin(first: u64) -> Result<Self> {
        let mut salt = [0u8; 32];
        crate::keys::fill_random(&mut salt)?;
        Ok(Self { first, salt })
    }
}

/// Where a block lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    number: u64,
    offset: u64,
    /// Sealed bytes, without the head.
    length: u32,
}

/// The file, and where the blocks of each partition lie in it, in order.
pub(super) struct Blocks {
    file: File,
    path: PathBuf,
    /// One for each run.
    keys: Vec<LessSafeKey>,
    extent: Extent,
    places: Vec<Vec<Place>>,
}

impl Blocks {
    /// A file without a name, whose key nobody has.
    pub(super) fn nameless(folder: &Path, partitions: usize) -> Result<Self> {
        let file = tempfile::tempfile_in(folder);
        let file = file.map_err(AgencyError::io("create a file in", folder))?;
        Self::over(file, folder, &BlockKey::fresh()?, partitions)
    }

    /// A new file at `path`.
    pub(super) fn create(path: &Path, key: &BlockKey, partitions: usize) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(OWNER_FILE)
            .open(path)
            .map_err(AgencyError::io("create", path))?;
        Self::over(file, path, key, partitions)
    }

    fn over(file: File, path: &Path, key: &BlockKey, partitions: usize) -> Result<Self> {
        let run = Run::begin(0)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            keys: vec![key.of(&run)?],
            extent: Extent {
                runs: vec![run],
                ..Extent::default()
            },
            places: vec![Vec::new(); partitions],
        })
    }

    /// Goes on with a file that was left behind: cuts it to `extent`, and begins a run. The caller
    /// makes the new extent durable before the first block is appended.
    ///
    /// # Errors
    /// `SealBroken` if it is shorter or its heads are none; IO errors.
    pub(super) fn reopen(
        path: &Path,
        key: &BlockKey,
        partitions: usize,
        extent: Extent,
    ) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(AgencyError::io("open", path))?;
        let mut blocks = Self::over(file, path, key, partitions)?;
        let (mut offset, mut number) = (0u64, 0u64);
        while offset < extent.bytes {
            let mut head = [0u8; HEAD];
            let read = blocks.file.read_exact_at(&mut head, offset);
            read.map_err(|_| blocks.broken())?;
            let [a, b, c, d, length @ ..] = head;
            let partition = u32::from_be_bytes([a, b, c, d]) as usize;
            let length = u32::from_be_bytes(length);
            let Some(places) = blocks.places.get_mut(partition) else {
                return Err(blocks.broken());
            };
            offset += HEAD as u64;
            places.push(Place {
                number,
                offset,
                length,
            });
            offset += u64::from(length);
            number += 1;
        }
        if offset != extent.bytes || number != extent.blocks {
            return Err(blocks.broken());
        }
        let io = AgencyError::io("cut", path);
        blocks.file.set_len(extent.bytes).map_err(io)?;
        let io = AgencyError::io("read", path);
        blocks.file.seek(SeekFrom::Start(offset)).map_err(io)?;
        blocks.extent = extent;
        blocks.extent.runs.push(Run::begin(number)?);
        let keys = blocks.extent.runs.iter().map(|run| key.of(run));
        blocks.keys = keys.collect::<Result<_>>()?;
        Ok(blocks)
    }

    fn broken(&self) -> AgencyError {
        AgencyError::SealBroken {
            what: self.path.display().to_string(),
        }
    }

    /// How far it goes.
    pub(super) fn extent(&self) -> &Extent {
        &self.extent
    }

    /// How many blocks a partition has.
    pub(super) fn count(&self, partition: usize) -> usize {
        self.places.get(partition).map_or(0, Vec::len)
    }

    /// Sealed bytes of a partition.
    pub(super) fn size(&self, partition: usize) -> u64 {
        let places = self.places.get(partition).into_iter().flatten();
        places.map(|place| u64::from(place.length)).sum()
    }

    /// Seals a block where it lies and appends it. `block` begins with [`Blocks::begin`]; it is empty
    /// afterwards, and what it held was overwritten by the ciphertext.
    pub(super) fn append(&mut self, partition: usize, block: &mut Vec<u8>) -> Result<()> {
        if block.len() <= HEAD {
            return Ok(());
        }
        let bug = || AgencyError::Bug("sealing a spooled block".to_owned());
        let sealed = block.len() - HEAD + TAG;
        let length = u32::try_from(sealed).map_err(|_| bug())?;
        let number = self.extent.blocks;
        let run = self.extent.runs.len() as u32;
        let head = head(partition, length);
        let (first, plain) = block.split_at_mut_checked(HEAD).ok_or_else(bug)?;
        first.copy_from_slice(&head);
        let key = self.keys.last().ok_or_else(bug)?;
        let tag = key
            .seal_in_place_separate_tag(nonce(run, number), Aad::from(head), plain)
            .map_err(|_| bug())?;
        block.extend_from_slice(tag.as_ref());
        let io = AgencyError::io("write to", &self.path);
        self.file.write_all(block).map_err(io)?;
        block.clear();
        let place = Place {
            number,
            offset: self.extent.bytes + HEAD as u64,
            length,
        };
        self.places.get_mut(partition).ok_or_else(bug)?.push(place);
        self.extent.bytes += (HEAD + sealed) as u64;
        self.extent.blocks += 1;
        Ok(())
    }

    /// Makes `block` ready for records: room for its head, and reserved whole, because a vector that
    /// grows leaves copies of what it held.
    pub(super) fn begin(block: &mut Vec<u8>, capacity: usize) {
        block.clear();
        block.reserve_exact(HEAD + capacity + TAG);
        block.extend_from_slice(&[0; HEAD]);
    }

    /// Bytes of records in a block that is being filled.
    pub(super) fn filled(block: &[u8]) -> usize {
        block.len().saturating_sub(HEAD)
    }

    /// Opens the `index`-th block of a partition into `buffer`; gives its records.
    ///
    /// # Errors
    /// `SealBroken` if the file was changed underneath; IO errors.
    pub(super) fn read<'b>(
        &self,
        partition: usize,
        index: usize,
        buffer: &'b mut Vec<u8>,
    ) -> Result<&'b [u8]> {
        let places = self.places.get(partition);
        let place = places.and_then(|places| places.get(index));
        let place = *place.ok_or_else(|| AgencyError::Bug("a block out of range".to_owned()))?;
        let length = place.length as usize;
        if !(TAG..=MAX_BLOCK + TAG).contains(&length) {
            return Err(self.broken());
        }
        buffer.clear();
        buffer.resize(length, 0);
        let read = self.file.read_exact_at(buffer, place.offset);
        read.map_err(AgencyError::io("read", &self.path))?;
        let run = self
            .extent
            .runs
            .partition_point(|run| run.first <= place.number);
        let key = run.checked_sub(1).and_then(|at| self.keys.get(at));
        let key = key.ok_or_else(|| self.broken())?;
        let nonce = nonce(run as u32, place.number);
        let aad = Aad::from(head(partition, place.length));
        match key.open_in_place(nonce, aad, buffer) {
            Ok(plain) => Ok(plain),
            Err(_) => Err(self.broken()),
        }
    }

    /// Makes all that was appended durable.
    pub(super) fn sync(&self) -> Result<()> {
        let synced = self.file.sync_data();
        synced.map_err(AgencyError::io("sync", &self.path))
    }
}

fn head(partition: usize, length: u32) -> [u8; HEAD] {
    let mut head = [0u8; HEAD];
    head[..4].copy_from_slice(&(partition as u32).to_be_bytes());
    head[4..].copy_from_slice(&length.to_be_bytes());
    head
}

/// Places never repeat under the key of a run.
fn nonce(run: u32, number: u64) -> Nonce {
    let mut bytes = [0u8; 12];
    bytes[..4].copy_from_slice(&run.to_be_bytes());
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(blocks: &mut Blocks, partition: usize, text: &[u8]) {
        let mut block = Vec::new();
        Blocks::begin(&mut block, 100);
        block.extend_from_slice(text);
        blocks.append(partition, &mut block).unwrap();
        assert!(block.is_empty());
    }

    fn all(blocks: &Blocks, partition: usize) -> Result<Vec<Vec<u8>>> {
        let mut buffer = Vec::new();
        let read = |i| Ok(blocks.read(partition, i, &mut buffer)?.to_vec());
        (0..blocks.count(partition)).map(read).collect()
    }

    #[test]
    fn blocks_come_back_by_partition_and_the_disk_shows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        let mut blocks = Blocks::create(&path, &BlockKey::fresh().unwrap(), 3).unwrap();
        for text in [&b"canary one"[..], b"canary two"] {
            append(&mut blocks, 2, text);
            append(&mut blocks, 0, b"canary");
        }
        assert_eq!(all(&blocks, 2).unwrap(), [b"canary one", b"canary two"]);
        assert_eq!(all(&blocks, 0).unwrap().len(), 2);
        assert_eq!(all(&blocks, 1).unwrap().len(), 0);
        let raw = std::fs::read(&path).unwrap();
        assert_eq!(raw.len() as u64, blocks.extent().bytes);
        assert!(!raw.windows(6).any(|w| w == b"canary"));
        let nameless = Blocks::nameless(dir.path(), 1).unwrap();
        assert_eq!(nameless.count(0), 0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_changed_moved_or_swapped_block_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        let key = BlockKey::fresh().unwrap();
        let mut blocks = Blocks::create(&path, &key, 2).unwrap();
        for partition in [0, 1, 0] {
            append(&mut blocks, partition, b"record");
        }
        let extent = blocks.extent().clone();
        let whole = std::fs::read(&path).unwrap();
        let each = whole.len() / 3;
        let opens = |bytes: &[u8], extent: &Extent| {
            std::fs::write(&path, bytes).unwrap();
            let blocks = Blocks::reopen(&path, &key, 2, extent.clone())?;
            Ok::<_, AgencyError>((all(&blocks, 0)?, all(&blocks, 1)?))
        };
        assert_eq!(opens(&whole, &extent).unwrap().0.len(), 2);
        for i in 0..whole.len() {
            let mut changed = whole.clone();
            changed[i] ^= 1;
            assert!(opens(&changed, &extent).is_err(), "byte {i}");
        }
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let mut parts: Vec<&[u8]> = whole.chunks(each).collect();
            parts.swap(a, b);
            assert!(opens(&parts.concat(), &extent).is_err(), "{a} and {b}");
        }
        assert!(opens(&whole[..2 * each], &extent).is_err());
        let mut fewer = extent.clone();
        fewer.blocks = 2;
        assert!(opens(&whole, &fewer).is_err());
    }

    #[test]
    fn a_run_that_goes_on_takes_no_block_that_the_one_before_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        let key = BlockKey::fresh().unwrap();
        let mut blocks = Blocks::create(&path, &key, 1).unwrap();
        append(&mut blocks, 0, b"kept");
        let extent = blocks.extent().clone();
        append(&mut blocks, 0, b"lost");
        drop(blocks);
        let with_lost = std::fs::read(&path).unwrap();
        let mut blocks = Blocks::reopen(&path, &key, 1, extent).unwrap();
        append(&mut blocks, 0, b"next");
        let firsts: Vec<u64> = blocks.extent().runs.iter().map(|run| run.first).collect();
        assert_eq!(firsts, [0, 1]);
        assert_eq!(all(&blocks, 0).unwrap(), [b"kept", b"next"]);
        let now = std::fs::read(&path).unwrap();
        assert_ne!(now, with_lost, "another nonce");
        // Of the same length and in the same place, but of the run before.
        std::fs::write(&path, &with_lost).unwrap();
        assert!(matches!(
            all(&blocks, 0),
            Err(AgencyError::SealBroken { .. })
        ));
    }

    #[test]
    fn a_file_that_is_gone_on_with_twice_has_two_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        let key = BlockKey::fresh().unwrap();
        let mut blocks = Blocks::create(&path, &key, 1).unwrap();
        append(&mut blocks, 0, b"kept");
        let (extent, then) = (blocks.extent().clone(), std::fs::read(&path).unwrap());
        drop(blocks);
        // The disk is set back between the two.
        let mut written = Vec::new();
        for _ in 0..2 {
            std::fs::write(&path, &then).unwrap();
            let mut blocks = Blocks::reopen(&path, &key, 1, extent.clone()).unwrap();
            append(&mut blocks, 0, b"the same");
            assert_eq!(all(&blocks, 0).unwrap(), [&b"kept"[..], b"the same"]);
            let after = blocks.extent().clone();
            drop(blocks);
            let again = Blocks::reopen(&path, &key, 1, after).unwrap();
            assert_eq!(all(&again, 0).unwrap().len(), 2);
            written.push(std::fs::read(&path).unwrap().split_off(then.len() + HEAD));
        }
        assert_eq!(written[0].len(), written[1].len());
        // Under one key and nonce the same text would be the same bytes.
        assert_ne!(written[0], written[1]);
    }
}
