//! A snapshot in a file: verified once, then opened by its mark, and read bucket by bucket.
//!
//! Buckets are read with `pread` and not mapped into memory: it measures the same (docs/adr/0025), needs
//! no unsafe code, and a disk that fails gives an error and not a signal.

use std::{
    fs::File,
    io::BufReader,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use tallystick_agency::{
    AgencyError,
    exit::Outcome,
    marks::{MarkKey, NewMark, SnapshotMark},
};
use tallystick_protocol::{
    error::Error,
    frame::{FrameReader, ReadError},
    signing::VerifyKey,
    snapshot::{Bucket, SnapshotVerifier, VerifiedSnapshot},
    statements::Hex,
};

use super::{io, io_error};

/// The most bytes read at once, unless a single bucket is longer.
const READ_BYTES: u64 = 256 << 10;
/// Buckets that nobody asks for and that are read all the same, to save a call.
const GAP: u64 = 1;

/// A snapshot on disk, verified to its last byte, with the places of its buckets in memory.
#[derive(Debug)]
pub(crate) struct CachedSnapshot {
    file: File,
    verified: VerifiedSnapshot,
    mark: SnapshotMark,
    /// Where the mark lies, to be removed should the file turn out to be another.
    index: PathBuf,
    came: Came,
}

/// How a snapshot came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// It was in the cache.
    Cache,
    /// By deltas onto one that was in the cache.
    Deltas,
    /// It was fetched whole.
    Whole,
}

impl Came {
    /// Stable, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Deltas => "deltas",
            Self::Whole => "whole",
        }
    }
}

/// A snapshot whose every byte was verified, and which is not marked yet.
#[derive(Debug)]
pub(super) struct JustVerified {
    file: File,
    verified: VerifiedSnapshot,
    mark: NewMark,
    index: PathBuf,
}

impl JustVerified {
    /// What it is.
    pub(super) fn digest(&self) -> Hex<32> {
        self.verified.digest()
    }

    /// Marks the file as verified, once it has its name in the cache.
    pub(super) fn mark(self, publisher: &VerifyKey, came: Came) -> CachedSnapshot {
        let Self {
            file,
            verified,
            mark,
            index,
        } = self;
        let (mark, saved) = mark.save(&index, &verified.digest().0, &publisher.0, &file);
        if let Err(error) = saved {
            // It is verified again next time.
            tracing::warn!("a snapshot that was verified cannot be marked: {error}");
        }
        CachedSnapshot {
            file,
            verified,
            mark,
            index,
            came,
        }
    }
}

/// Where a tag stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TagPlace {
    bucket: u32,
    position: u32,
}

impl TagPlace {
    /// Bytes of one that is kept.
    pub(crate) const BYTES: usize = 8;

    /// As it is kept.
    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        ((u64::from(self.bucket) << 32) | u64::from(self.position)).to_be_bytes()
    }

    /// Takes up one that was kept.
    pub(crate) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let both = u64::from_be_bytes(bytes);
        Self {
            bucket: (both >> 32) as u32,
            position: both as u32,
        }
    }
}

fn frames(file: &File) -> FrameReader<BufReader<&File>> {
    FrameReader::new(BufReader::with_capacity(1 << 20, file))
}

/// Where the mark of a snapshot lies.
pub(super) fn index_path(cache: &Path, digest: Hex<32>) -> PathBuf {
    cache.join(format!("{digest}.index"))
}

impl CachedSnapshot {
    /// Opens a file, verifying every frame of it against the root that `publisher` signed.
    pub(super) fn verify(
        path: &Path,
        index: PathBuf,
        publisher: &VerifyKey,
        key: &MarkKey,
    ) -> Outcome<JustVerified> {
        let file = File::open(path).map_err(|source| io("open", path, source))?;
        let mut reader = frames(&file);
        let mut next = |what| match reader.next_frame() {
            Ok(Some(frame)) => Ok((frame, reader.offset())),
            Ok(None) => Err(AgencyError::from(Error::Malformed {
                what: "snapshot",
                why: what,
            })),
            Err(ReadError::Frame(error)) => Err(error.into()),
            Err(ReadError::Io(source)) => Err(io_error("read", path, source)),
        };
        let (header, start) = next("it is empty")?;
        let mut verifier = SnapshotVerifier::new(&header, publisher).map_err(AgencyError::from)?;
        let (digest, buckets) = (verifier.stated_digest(), verifier.preamble().buckets());
        let mut mark = NewMark::begin(key, &digest.0, header.bytes(), start, buckets)?;
        while verifier.next_bucket() < buckets {
            let (frame, _) = next("it ends before its last bucket")?;
            verifier.push(&frame).map_err(AgencyError::from)?;
            mark.push(frame.bytes())?;
        }
        let verified = verifier.finish().map_err(AgencyError::from)?;
        drop(reader);
        Ok(JustVerified {
            file,
            verified,
            mark,
            index,
        })
    }

    /// Opens a file that was verified before and marked; `None` if its mark does not say so.
    pub(super) fn open(
        path: &Path,
        index: PathBuf,
        digest: Hex<32>,
        publisher: &VerifyKey,
        key: &MarkKey,
    ) -> Option<Self> {
        let file = File::open(path).ok()?;
        let mark = SnapshotMark::open(key, &index, &digest.0, &publisher.0, &file)?;
        let header = frames(&file).next_frame().ok()??;
        // The clock of a file's times is coarse, and a disk may fail: the header is compared too.
        if !mark.is_header(header.bytes()) {
            return None;
        }
        let verifier = SnapshotVerifier::new(&header, publisher).ok()?;
        let verified = verifier.assume_verified();
        (verified.digest() == digest).then_some(Self {
            file,
            verified,
            mark,
            index,
            came: Came::Cache,
        })
    }

    /// How it came.
    pub(crate) fn came(&self) -> Came {
        self.came
    }

    /// What it is.
    pub(crate) fn verified(&self) -> &VerifiedSnapshot {
        &self.verified
    }

    /// Where the frames of some buckets that stand together lie.
    fn span(&self, first: u64, last: u64) -> Outcome<(u64, usize)> {
        let span = || {
            let (start, _) = self.mark.place(first)?;
            let (_, end) = self.mark.place(last)?;
            Some((start, usize::try_from(end.checked_sub(start)?).ok()?))
        };
        span().ok_or_else(|| crate::error::bug("a bucket out of range"))
    }

    fn read(&self, start: u64, buffer: &mut [u8]) -> Outcome<()> {
        let read = self.file.read_exact_at(buffer, start);
        read.map_err(|source| io("read", Path::new("the cached snapshot"), source))
    }

    /// A bucket whose frame was read; refused unless it is what was verified.
    fn bucket<'b>(&self, index: u64, frame: &'b [u8]) -> Outcome<Bucket<'b>> {
        if !self.mark.is_bucket(index, frame) {
            // The next run verifies the file anew, and fetches it if need be.
            let _ = std::fs::remove_file(&self.index);
            return Err(AgencyError::SealBroken {
                what: format!(
                    "bucket {index} of the cached snapshot {}",
                    self.verified.digest()
                ),
            }
            .into());
        }
        let preamble = self.verified.preamble();
        Ok(Bucket::parse_assumed(frame, preamble, index).map_err(AgencyError::from)?)
    }

    /// Looks tags up: for each, its place or `None`. Each bucket is read once, and those that stand
    /// together at once.
    pub(crate) fn find_all(&self, tags: &[&[u8]]) -> Outcome<Vec<Option<TagPlace>>> {
        let bits = self.verified.preamble().bucket_bits.get();
        let bucket_of = |prefix: u64| match bits {
            0 => 0,
            bits => prefix >> (64 - bits.min(64)),
        };
        // Numbers sort faster than slices.
        let mut order: Vec<(u64, usize)> = Vec::with_capacity(tags.len());
        order.extend(tags.iter().enumerate().map(|(i, tag)| (prefix(tag), i)));
        order.sort_unstable();
        let mut places = vec![None; tags.len()];
        let mut buffer = Vec::new();
        let mut rest = order.as_slice();
        while let Some((prefix, _)) = rest.first() {
            let first = bucket_of(*prefix);
            let (mut last, mut count) = (first, 0);
            let (start, _) = self.span(first, first)?;
            for (prefix, _) in rest {
                let next = bucket_of(*prefix);
                if next != last {
                    let (_, end) = self.mark.place(next).unwrap_or_default();
                    if next - last > GAP + 1 || end.saturating_sub(start) > READ_BYTES {
                        break;
                    }
                    last = next;
                }
                count += 1;
            }
            let (start, length) = self.span(first, last)?;
            if buffer.len() < length {
                buffer.resize(length, 0);
            }
            let read = buffer.get_mut(..length).unwrap_or_default();
            self.read(start, read)?;
            let (here, behind) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            for run in here.chunk_by(|a, b| bucket_of(a.0) == bucket_of(b.0)) {
                let Some((prefix, _)) = run.first() else {
                    continue;
                };
                let index = bucket_of(*prefix);
                let (from, length) = self.span(index, index)?;
                let at = usize::try_from(from - start).unwrap_or(usize::MAX);
                let frame = read.get(at..at.saturating_add(length)).unwrap_or_default();
                let bucket = self.bucket(index, frame)?;
                find_run(&bucket, run, tags, &mut places);
            }
            rest = behind;
        }
        Ok(places)
    }

    /// The tag and the sealed label at a place.
    pub(crate) fn entry(&self, place: TagPlace) -> Outcome<(Vec<u8>, Vec<u8>)> {
        let (start, length) = self.span(place.bucket.into(), place.bucket.into())?;
        let mut frame = vec![0u8; length];
        self.read(start, &mut frame)?;
        let bucket = self.bucket(place.bucket.into(), &frame)?;
        let position = place.position as usize;
        let missing = || crate::error::bug("a tag out of range");
        let tag = bucket.tags().nth(position).ok_or_else(missing)?.to_vec();
        let sealed = bucket.sealed_label(position).ok_or_else(missing)?.to_vec();
        Ok((tag, sealed))
    }
}

/// The first eight bytes of a tag as a number, zeros behind a shorter one: tags compare as these do.
fn prefix(tag: &[u8]) -> u64 {
    match tag.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut first = [0u8; 8];
            first.iter_mut().zip(tag).for_each(|(to, from)| *to = *from);
            u64::from_be_bytes(first)
        }
    }
}

/// Tags of a bucket for each tag looked up in it, from which on walking beside them all is faster
/// than searching for each.
const FEW: usize = 16;

/// Looks up the tags of one bucket: `run` are their prefixes, ascending, and their places in `tags`.
fn find_run(
    bucket: &Bucket<'_>,
    run: &[(u64, usize)],
    tags: &[&[u8]],
    places: &mut [Option<TagPlace>],
) {
    let many = run.len() * FEW >= bucket.len();
    let mut walk = bucket.tags().enumerate().peekable();
    for (wanted, i) in run {
        let (Some(tag), Some(place)) = (tags.get(*i), places.get_mut(*i)) else {
            continue;
        };
        let position = if many {
            // Both ascend: what is below one tag is below the next.
            while walk.next_if(|(_, here)| prefix(here) < *wanted).is_some() {}
            match walk.peek() {
                Some((position, here)) if here == tag => Some(*position),
                // Tags that begin alike.
                Some((_, here)) if prefix(here) == *wanted => bucket.find(tag),
                _ => None,
            }
        } else {
            bucket.find(tag)
        };
        *place = position.map(|position| TagPlace {
            bucket: bucket.index(),
            position: u32::try_from(position).unwrap_or(u32::MAX),
        });
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
