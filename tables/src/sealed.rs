//! A stream that can be read only once, kept so that it can be read again: sealed, under a key that
//! lives only in memory, in a file without a name.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    rand,
};
use zeroize::Zeroizing;

/// Bytes sealed at a time.
const BLOCK: usize = 64 << 10;
/// Bytes that sealing adds to a block.
const TAG: usize = 16;

/// The copy. Clones share it; it goes with the last of them, also when the process is killed.
#[derive(Clone)]
pub struct SealedCopy {
    inner: Arc<Inner>,
}

struct Inner {
    file: File,
    key: LessSafeKey,
    bytes: u64,
}

/// A stream on its way into a nameless file, sealed.
pub struct SealedWriter {
    file: File,
    key: LessSafeKey,
    block: Zeroizing<Vec<u8>>,
    bytes: u64,
    index: u64,
}

impl fmt::Debug for SealedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedWriter({} bytes)", self.bytes)
    }
}

impl SealedWriter {
    /// Begins one in a nameless file in `folder`, under a key of its own.
    ///
    /// # Errors
    /// Of the file: a full disk, a folder that is not there.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let file = tempfile::tempfile_in(folder)?;
        let mut key = Zeroizing::new([0u8; 32]);
        rand::fill(&mut key[..]).map_err(|_| io::Error::other("no random bytes"))?;
        let key = UnboundKey::new(&AES_256_GCM, &key[..]).map_err(|_| io::Error::other("a key"))?;
        Ok(Self {
            file,
            key: LessSafeKey::new(key),
            block: Zeroizing::new(Vec::with_capacity(BLOCK + TAG)),
            bytes: 0,
            index: 0,
        })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// Of the file.
    pub fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            self.seal_if_full()?;
            bytes = rest;
        }
        Ok(())
    }

    /// Whole blocks but for the last: a place in the stream is a place in the file.
    fn seal_if_full(&mut self) -> io::Result<()> {
        match self.block.len() {
            BLOCK => self.seal(),
            _ => Ok(()),
        }
    }

    fn seal(&mut self) -> io::Result<()> {
        self.key
            .seal_in_place_append_tag(nonce(self.index), Aad::empty(), &mut *self.block)
            .map_err(|_| io::Error::other("sealing a block"))?;
        self.file.write_all(&self.block)?;
        self.block.clear();
        self.index += 1;
        Ok(())
    }

    /// Writes out what is left; what was written can be read from then on.
    ///
    /// # Errors
    /// Of the file.
    pub fn finish(mut self) -> io::Result<SealedCopy> {
        if !self.block.is_empty() {
            self.seal()?;
        }
        Ok(SealedCopy {
            inner: Arc::new(Inner {
                file: self.file,
                key: self.key,
                bytes: self.bytes,
            }),
        })
    }
}

impl fmt::Debug for SealedCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedCopy({} bytes)", self.bytes())
    }
}

impl SealedCopy {
    /// Reads `from` to its end and seals what it holds into a nameless file in `folder`. `progress`
    /// is told the bytes read so far.
    ///
    /// # Errors
    /// Of reading `from`, and of the file: a full disk, a folder that is not there.
    pub fn make(
        mut from: impl Read,
        folder: &Path,
        mut progress: impl FnMut(u64),
    ) -> io::Result<Self> {
        let mut writer = SealedWriter::create(folder)?;
        loop {
            let room = (BLOCK - writer.block.len()) as u64;
            let n = (&mut from).take(room).read_to_end(&mut writer.block)?;
            if n == 0 {
                return writer.finish();
            }
            writer.bytes += n as u64;
            writer.seal_if_full()?;
            progress(writer.bytes);
        }
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> u64 {
        self.inner.bytes
    }

    /// Reads it from its beginning. Any number of readers may read at once.
    #[must_use]
    pub fn reader(&self) -> SealedReader {
        SealedReader {
            inner: Arc::clone(&self.inner),
            index: 0,
            block: Zeroizing::new(vec![0; BLOCK + TAG]),
            at: 0,
            filled: 0,
        }
    }
}

/// A block's number never repeats under one key.
fn nonce(index: u64) -> Nonce {
    let mut bytes = [0u8; 12];
    bytes[4..].copy_from_slice(&index.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// One reading of a [`SealedCopy`].
pub struct SealedReader {
    inner: Arc<Inner>,
    index: u64,
    block: Zeroizing<Vec<u8>>,
    at: usize,
    filled: usize,
}

impl fmt::Debug for SealedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedReader(block {})", self.index)
    }
}

impl SealedReader {
    fn next_block(&mut self) -> io::Result<()> {
        let before = self.index * BLOCK as u64;
        let left = self.inner.bytes.saturating_sub(before);
        let n = usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK));
        self.at = 0;
        self.filled = 0;
        if n == 0 {
            return Ok(());
        }
        let sealed = &mut self.block[..n + TAG];
        let place = self.index * (BLOCK + TAG) as u64;
        self.inner.file.read_exact_at(sealed, place)?;
        self.inner
            .key
            .open_in_place(nonce(self.index), Aad::empty(), sealed)
            .map_err(|_| io::Error::other("the sealed copy was changed"))?;
        self.filled = n;
        self.index += 1;
        Ok(())
    }
}

impl Read for SealedReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.filled {
            self.next_block()?;
        }
        let n = into.len().min(self.filled - self.at);
        into[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(copy: &SealedCopy) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        copy.reader().read_to_end(&mut all)?;
        Ok(all)
    }

    #[test]
    fn it_reads_again_and_the_disk_shows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7] {
            let content: Vec<u8> = b"canary-".iter().copied().cycle().take(bytes).collect();
            let mut told = 0;
            let copy = SealedCopy::make(&content[..], dir.path(), |n| told = n).unwrap();
            assert_eq!((copy.bytes(), told), (bytes as u64, bytes as u64));
            assert_eq!(read(&copy).unwrap(), content);
            assert_eq!(read(&copy.clone()).unwrap(), content);
            let mut raw = vec![0; copy.inner.file.metadata().unwrap().len() as usize];
            copy.inner.file.read_exact_at(&mut raw, 0).unwrap();
            assert!(!raw.windows(6).any(|w| w == b"canary"));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_appended_piece_by_piece_reads_as_one() {
        let dir = tempfile::tempdir().unwrap();
        for piece in [1, 100, BLOCK - 1, BLOCK, 2 * BLOCK + 3] {
            let content: Vec<u8> = (0..3 * BLOCK + 11).map(|i| (i / 7) as u8).collect();
            let mut writer = SealedWriter::create(dir.path()).unwrap();
            for part in content.chunks(piece) {
                writer.append(part).unwrap();
            }
            let copy = writer.finish().unwrap();
            assert_eq!(copy.bytes(), content.len() as u64);
            assert!(read(&copy).unwrap() == content, "pieces of {piece}");
        }
    }

    #[test]
    fn a_changed_copy_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let content = vec![7; 2 * BLOCK];
        let whole = || SealedCopy::make(&content[..], dir.path(), |_| {}).unwrap();
        let copy = whole();
        copy.inner.file.write_all_at(b"x", 5).unwrap();
        assert!(read(&copy).is_err());
        // Two blocks that changed places.
        let copy = whole();
        let mut both = vec![0; 2 * (BLOCK + TAG)];
        copy.inner.file.read_exact_at(&mut both, 0).unwrap();
        both.rotate_left(BLOCK + TAG);
        copy.inner.file.write_all_at(&both, 0).unwrap();
        assert!(read(&copy).is_err());
        let copy = whole();
        copy.inner.file.set_len(BLOCK as u64).unwrap();
        assert!(read(&copy).is_err());
    }
}
