//! Marks of snapshots that were verified: what opens a cached one without reading all of it.
//!
//! A mark lies beside the file, in `DIGEST.index`. It says which file was verified (its length, times,
//! inode and device), where each bucket lies, and holds the hash of the header's frame and an authenticator of
//! each bucket; all of it is authenticated under a key of this home. A file that was swapped or written to since is verified anew;
//! a byte that is another when it is read, for whatever reason, is found in its bucket.
//!
//! ```text
//! magic ‖ digest 32 ‖ publisher 32 ‖ salt 32 ‖ SHA-256 of the header's frame 32 ‖ length, mtime, mtime_ns, ctime, ctime_ns, inode, device,
//! start of the first bucket, buckets: u64 each ‖ buckets × (length u32 ‖ authenticator 16) ‖ authenticator 16
//! ```
//!
//! Authenticators are AES-256-GCM over nothing, with the bucket's frame as associated data, under
//! HMAC-SHA256(key of this home, salt ‖ digest). The salt is fresh for each mark, and the nonce is the
//! number of the bucket, so it is used once; that of the mark itself is all ones, so a mark is saved once.

use std::{
    fs::{File, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};
use sha2::{Digest, Sha256};

use crate::{
    error::{AgencyError, Result},
    fs::{OWNER_FILE, atomic_write},
    keystore::KeyStore,
};

const MAGIC: &[u8; 16] = b"tally-index/2\n\0\0";
/// Name of the secret under which marks are made.
const SECRET: &str = "snapshot-marks";
/// Bytes of an authenticator.
const TAG: usize = 16;
/// Bytes of a bucket's entry.
const ENTRY: usize = 4 + TAG;
/// Numbers in the head, behind magic, digest, publisher, salt and the header's hash.
const NUMBERS: usize = 9;
/// Bytes before the entries.
const HEAD: usize = 16 + 4 * 32 + 8 * NUMBERS;

/// The key of this home's marks.
#[derive(Clone)]
pub struct MarkKey(Arc<hmac::Key>);

impl std::fmt::Debug for MarkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MarkKey(..)")
    }
}

impl MarkKey {
    /// Opens the key; makes its secret when it is first needed.
    ///
    /// # Errors
    /// Those of the key store.
    pub fn of(keys: &KeyStore) -> Result<Self> {
        let base = keys.keyed_digest(SECRET, b"tallystick/snapshot-mark/v1");
        let base = base.map_err(|error| match error {
            AgencyError::SealBroken { what } => AgencyError::MarksBroken(what.into()),
            other => other,
        })?;
        let base = zeroize::Zeroizing::new(base);
        Ok(Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &base[..]))))
    }

    fn of_file(&self, salt: &[u8; 32], digest: &[u8; 32]) -> Result<LessSafeKey> {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(salt);
        context.update(digest);
        let key = UnboundKey::new(&AES_256_GCM, context.sign().as_ref());
        let key = key.map_err(|_| AgencyError::Bug("the key of a mark".to_owned()))?;
        Ok(LessSafeKey::new(key))
    }
}

/// What tells a file from another, and from itself before it was written to. Nobody but the
/// administrator can set the time of the last change of a file's state.
fn identity(meta: &Metadata) -> [u64; 7] {
    [
        meta.len(),
        meta.mtime().cast_unsigned(),
        meta.mtime_nsec().cast_unsigned(),
        meta.ctime().cast_unsigned(),
        meta.ctime_nsec().cast_unsigned(),
        meta.ino(),
        meta.dev(),
    ]
}

fn nonce(number: Option<u64>) -> Nonce {
    let mut bytes = [0u8; NONCE_LEN];
    match number {
        Some(number) => bytes[4..].copy_from_slice(&number.to_be_bytes()),
        None => bytes = [0xff; NONCE_LEN],
    }
    Nonce::assume_unique_for_key(bytes)
}

fn authenticate(key: &LessSafeKey, number: Option<u64>, bytes: &[u8]) -> Result<[u8; TAG]> {
    let tag = key.seal_in_place_separate_tag(nonce(number), Aad::from(bytes), &mut []);
    let tag = tag.map_err(|_| AgencyError::Bug("an authenticator".to_owned()))?;
    let mut out = [0u8; TAG];
    out.copy_from_slice(tag.as_ref());
    Ok(out)
}

fn is_authentic(key: &LessSafeKey, number: Option<u64>, bytes: &[u8], mut tag: [u8; TAG]) -> bool {
    let opened = key.open_in_place(nonce(number), Aad::from(bytes), &mut tag);
    opened.is_ok()
}

/// Where the buckets of a verified snapshot lie, and what tells that one is what it was.
pub struct SnapshotMark {
    key: LessSafeKey,
    salt: [u8; 32],
    /// SHA-256 of the header's frame.
    header: [u8; 32],
    /// Where each bucket's frame begins, and where the last ends.
    offsets: Vec<u64>,
    tags: Vec<[u8; TAG]>,
}

impl std::fmt::Debug for SnapshotMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SnapshotMark({} buckets)", self.tags.len())
    }
}

/// The mark of a snapshot that is being verified. It is saved once, or never.
#[derive(Debug)]
pub struct NewMark(SnapshotMark);

impl NewMark {
    /// Begins the mark of a snapshot that is being verified: `header` are the bytes of its header's
    /// frame, and its first bucket begins at `start`.
    ///
    /// # Errors
    /// `Bug` only.
    pub fn begin(
        key: &MarkKey,
        digest: &[u8; 32],
        header: &[u8],
        start: u64,
        buckets: u64,
    ) -> Result<Self> {
        let mut salt = [0u8; 32];
        crate::keys::fill_random(&mut salt)?;
        // What a header says of a file that is shorter costs nothing before it is read.
        let buckets = usize::try_from(buckets.min(1 << 20)).unwrap_or_default();
        let mut offsets = Vec::with_capacity(buckets + 1);
        offsets.push(start);
        Ok(Self(SnapshotMark {
            key: key.of_file(&salt, digest)?,
            salt,
            header: Sha256::digest(header).into(),
            offsets,
            tags: Vec::with_capacity(buckets),
        }))
    }

    /// Adds the next bucket, by the bytes of its frame.
    ///
    /// # Errors
    /// `Bug` only.
    pub fn push(&mut self, frame: &[u8]) -> Result<()> {
        let mark = &mut self.0;
        let tag = authenticate(&mark.key, Some(mark.tags.len() as u64), frame)?;
        mark.tags.push(tag);
        let end = mark.offsets.last().copied().unwrap_or_default();
        mark.offsets.push(end + frame.len() as u64);
        Ok(())
    }

    /// Writes the mark of a snapshot that was verified as a whole, once its file has its final name.
    /// It takes the mark, because a second one under its key and nonce would let a mark be forged, and
    /// gives one that buckets can be read by.
    ///
    /// # Errors
    /// Beside the mark, IO errors; the snapshot can be used all the same.
    pub fn save(
        self,
        path: &Path,
        digest: &[u8; 32],
        publisher: &[u8; 32],
        file: &File,
    ) -> (SnapshotMark, Result<()>) {
        let saved = self.0.write(path, digest, publisher, file);
        (self.0, saved)
    }
}

impl SnapshotMark {
    /// Called once for a mark.
    fn write(
        &self,
        path: &Path,
        digest: &[u8; 32],
        publisher: &[u8; 32],
        file: &File,
    ) -> Result<()> {
        let meta = file.metadata().map_err(AgencyError::io("read", path))?;
        let mut text = Vec::with_capacity(HEAD + self.tags.len() * ENTRY + TAG);
        text.extend_from_slice(MAGIC);
        for part in [digest, publisher, &self.salt, &self.header] {
            text.extend_from_slice(part);
        }
        let start = self.offsets.first().copied().unwrap_or_default();
        let numbers = identity(&meta).into_iter();
        for number in numbers.chain([start, self.tags.len() as u64]) {
            text.extend_from_slice(&number.to_be_bytes());
        }
        for (ends, tag) in self.offsets.windows(2).zip(&self.tags) {
            let length = ends.iter().rev().copied().reduce(|end, start| end - start);
            let length = u32::try_from(length.unwrap_or_default());
            let length = length.map_err(|_| AgencyError::Bug("a bucket's length".to_owned()))?;
            text.extend_from_slice(&length.to_be_bytes());
            text.extend_from_slice(tag);
        }
        let tag = authenticate(&self.key, None, &text)?;
        text.extend_from_slice(&tag);
        atomic_write(path, &text, OWNER_FILE)
    }

    /// The mark at `path`, if it is this home's and says that this very file was verified to be the
    /// snapshot `digest` of `publisher`; `None` for anything else.
    #[must_use]
    pub fn open(
        key: &MarkKey,
        path: &Path,
        digest: &[u8; 32],
        publisher: &[u8; 32],
        file: &File,
    ) -> Option<Self> {
        let text = std::fs::read(path).ok()?;
        let meta = file.metadata().ok()?;
        let (text, tag) = text.split_last_chunk::<TAG>()?;
        let (head, entries) = text.split_first_chunk::<HEAD>()?;
        let (magic, rest) = head.split_first_chunk::<16>()?;
        let (of, rest) = rest.split_first_chunk::<32>()?;
        let (by, rest) = rest.split_first_chunk::<32>()?;
        let (salt, rest) = rest.split_first_chunk::<32>()?;
        let (header, rest) = rest.split_first_chunk::<32>()?;
        let key = key.of_file(salt, digest).ok()?;
        if !is_authentic(&key, None, text, *tag)
            || magic != MAGIC
            || of != digest
            || by != publisher
        {
            return None;
        }
        let mut numbers = [0u64; NUMBERS];
        for (to, from) in numbers.iter_mut().zip(rest.as_chunks::<8>().0) {
            *to = u64::from_be_bytes(*from);
        }
        let [is @ .., start, buckets] = numbers;
        let (entries, odd) = entries.as_chunks::<ENTRY>();
        if is != identity(&meta) || entries.len() as u64 != buckets || !odd.is_empty() {
            return None;
        }
        let mut offsets = Vec::with_capacity(entries.len() + 1);
        let mut tags = Vec::with_capacity(entries.len());
        let mut end = start;
        offsets.push(end);
        for entry in entries {
            let (length, tag) = entry.split_first_chunk::<4>()?;
            end = end.checked_add(u32::from_be_bytes(*length).into())?;
            offsets.push(end);
            tags.push(tag.try_into().ok()?);
        }
        Some(Self {
            key,
            salt: *salt,
            header: *header,
            offsets,
            tags,
        })
    }

    /// Whether these are the bytes of the header's frame as they were when the snapshot was verified.
    #[must_use]
    pub fn is_header(&self, frame: &[u8]) -> bool {
        self.header == *Sha256::digest(frame)
    }

    /// Where the frame of a bucket begins and ends; `None` if there is none of this number.
    #[must_use]
    pub fn place(&self, bucket: u64) -> Option<(u64, u64)> {
        let bucket = usize::try_from(bucket).ok()?;
        Some((*self.offsets.get(bucket)?, *self.offsets.get(bucket + 1)?))
    }

    /// Whether these are the bytes of a bucket as they were when the snapshot was verified.
    #[must_use]
    pub fn is_bucket(&self, bucket: u64, frame: &[u8]) -> bool {
        let tag = usize::try_from(bucket)
            .ok()
            .and_then(|at| self.tags.get(at));
        tag.is_some_and(|tag| is_authentic(&self.key, Some(bucket), frame, *tag))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Seek, Write},
    };

    use super::*;
    use crate::keys::Passphrase;

    fn key() -> (tempfile::TempDir, MarkKey) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        crate::fs::create_owner_dir(&path).unwrap();
        let keys = KeyStore::create(&path, &Passphrase::new("words").unwrap()).unwrap();
        let key = MarkKey::of(&keys).unwrap();
        (dir, key)
    }

    const FRAMES: [&[u8]; 3] = [b"first", b"", b"the third"];

    fn marked(dir: &Path, key: &MarkKey) -> (File, std::path::PathBuf) {
        let path = dir.join("file");
        fs::write(&path, [b"head".as_slice(), &FRAMES.concat()].concat()).unwrap();
        let file = File::open(&path).unwrap();
        let mut mark = NewMark::begin(key, &[1; 32], b"head", 4, 3).unwrap();
        for frame in FRAMES {
            mark.push(frame).unwrap();
        }
        let index = dir.join("index");
        let (mark, saved) = mark.save(&index, &[1; 32], &[2; 32], &file);
        saved.unwrap();
        assert!(mark.is_bucket(0, FRAMES[0]));
        (file, index)
    }

    #[test]
    fn a_damaged_key_of_marks_says_that_it_may_be_removed_and_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        crate::fs::create_owner_dir(&path).unwrap();
        let keys = KeyStore::create(&path, &Passphrase::new("words").unwrap()).unwrap();
        MarkKey::of(&keys).unwrap();
        let secret = path.join("snapshot-marks.sealed");
        let mut bytes = fs::read(&secret).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&secret, bytes).unwrap();
        let error = MarkKey::of(&keys).unwrap_err();
        assert_eq!(error.code(), "marks-broken");
        let failure = crate::exit::Failure::from(error);
        assert!(failure.what.contains("snapshot-marks.sealed"));
        assert!(failure.next.starts_with("remove it"), "{}", failure.next);
        fs::remove_file(&secret).unwrap();
        MarkKey::of(&keys).unwrap();
    }

    #[test]
    fn a_mark_gives_places_and_knows_its_buckets() {
        let (dir, key) = key();
        let (file, index) = marked(dir.path(), &key);
        let mark = SnapshotMark::open(&key, &index, &[1; 32], &[2; 32], &file).unwrap();
        let mut at = 4;
        for (i, frame) in (0..).zip(FRAMES) {
            let end = at + frame.len() as u64;
            assert_eq!(mark.place(i), Some((at, end)));
            at = end;
            assert!(mark.is_bucket(i, frame));
            assert!(!mark.is_bucket(i + 1, frame));
            assert!(!mark.is_bucket(i, b"other"));
        }
        assert!(mark.is_header(b"head"));
        assert!(!mark.is_header(b"heap"));
        assert!(!mark.is_header(b""));
        assert_eq!(mark.place(3), None);
        assert_eq!(mark.place(u64::MAX), None);
        assert!(!mark.is_bucket(u64::MAX, b""));
    }

    #[test]
    fn a_mark_is_of_one_file_one_snapshot_one_publisher_and_one_home() {
        let (dir, key) = key();
        let (file, index) = marked(dir.path(), &key);
        let opens = |key: &MarkKey, digest: u8, publisher: u8, file: &File| {
            SnapshotMark::open(key, &index, &[digest; 32], &[publisher; 32], file).is_some()
        };
        assert!(opens(&key, 1, 2, &file));
        assert!(!opens(&key, 3, 2, &file));
        assert!(!opens(&key, 1, 3, &file));
        let (_other, others) = self::key();
        assert!(!opens(&others, 1, 2, &file));
        // A copy, and the same file after a byte was written and the time set back.
        let copy = dir.path().join("copy");
        fs::copy(dir.path().join("file"), &copy).unwrap();
        assert!(!opens(&key, 1, 2, &File::open(&copy).unwrap()));
        let modified = file.metadata().unwrap().modified().unwrap();
        let mut again = File::options()
            .write(true)
            .open(dir.path().join("file"))
            .unwrap();
        // The clock of a file system may tick seldom.
        let ticked = || {
            let meta = file.metadata().unwrap();
            (meta.ctime(), meta.ctime_nsec())
        };
        let before = ticked();
        while ticked() == before {
            again.rewind().unwrap();
            again.write_all(b"h").unwrap();
            again.set_modified(modified).unwrap();
        }
        assert!(!opens(&key, 1, 2, &file));
    }

    #[test]
    fn every_changed_byte_of_a_mark_is_found_and_so_is_a_cut() {
        let (dir, key) = key();
        let (file, index) = marked(dir.path(), &key);
        let whole = fs::read(&index).unwrap();
        let opens = |bytes: &[u8]| {
            fs::write(&index, bytes).unwrap();
            SnapshotMark::open(&key, &index, &[1; 32], &[2; 32], &file).is_some()
        };
        assert!(opens(&whole));
        for i in 0..whole.len() {
            let mut changed = whole.clone();
            changed[i] ^= 1;
            assert!(!opens(&changed), "byte {i}");
            assert!(!opens(&whole[..i]), "cut at {i}");
        }
    }
}
