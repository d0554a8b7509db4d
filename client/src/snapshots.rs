//! The receiver's cache of snapshots: fetched by digest, resumably, and verified before use.

use std::{
    fs::{File, OpenOptions},
    io::{BufReader, BufWriter, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use tallystick_agency::{
    AgencyError,
    exit::{Exit, Failure, Outcome},
    fs::{OWNER_FILE, sync_dir},
};
use tallystick_protocol::{
    error::Error,
    frame::{Frame, FrameReader, HEADER_BYTES, ReadError},
    signing::VerifyKey,
    snapshot::{SnapshotVerifier, VerifiedSnapshot, bucket_bits, bucket_of},
    statements::Hex,
};
use tallystick_wire::{Envelope, SnapshotRequest};

use crate::{
    connect::{Connected, NOTHING},
    progress::Progress,
};

/// What stands before the tags of a bucket: the frame's header, its index, its count.
const BEFORE_TAGS: usize = HEADER_BYTES + 8;

/// A snapshot on disk, verified to its last byte, with the places of its buckets in memory.
#[derive(Debug)]
pub(crate) struct CachedSnapshot {
    file: File,
    verified: VerifiedSnapshot,
    /// Offset of each bucket's frame, and the end of the last.
    offsets: Vec<u64>,
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

impl CachedSnapshot {
    /// Opens a file, verifying every frame of it against the root that `publisher` signed.
    fn open(path: &Path, publisher: &VerifyKey) -> Outcome<Self> {
        let file = File::open(path).map_err(|source| io("open", path, source))?;
        let mut reader = FrameReader::new(BufReader::with_capacity(1 << 20, &file));
        let mut next = |what| match reader.next_frame() {
            Ok(Some(frame)) => Ok((frame, reader.offset())),
            Ok(None) => Err(AgencyError::from(Error::Malformed {
                what: "snapshot",
                why: what,
            })),
            Err(ReadError::Frame(error)) => Err(error.into()),
            Err(ReadError::Io(source)) => Err(io_error("read", path, source)),
        };
        let (header, mut end) = next("it is empty")?;
        let mut verifier = SnapshotVerifier::new(&header, publisher).map_err(AgencyError::from)?;
        let mut offsets = Vec::new();
        while verifier.next_bucket() < verifier.preamble().buckets() {
            let (frame, after) = next("it ends before its last bucket")?;
            verifier.push(&frame).map_err(AgencyError::from)?;
            offsets.push(end);
            end = after;
        }
        offsets.push(end);
        let verified = verifier.finish().map_err(AgencyError::from)?;
        drop(reader);
        Ok(Self {
            file,
            verified,
            offsets,
        })
    }

    /// What it is.
    pub(crate) fn verified(&self) -> &VerifiedSnapshot {
        &self.verified
    }

    /// Where a bucket's frame lies: its offset and length.
    fn place(&self, index: u64) -> Outcome<(u64, usize)> {
        let place = usize::try_from(index).ok().and_then(|i| {
            let (start, end) = (self.offsets.get(i)?, self.offsets.get(i + 1)?);
            Some((*start, usize::try_from(end - start).ok()?))
        });
        place.ok_or_else(|| crate::error::bug("a bucket out of range"))
    }

    /// Tags in a bucket whose frame has this length.
    fn tags_in(&self, frame: usize) -> usize {
        let preamble = self.verified.preamble();
        let entry = preamble.tag_len() + preamble.sealed_len();
        frame.saturating_sub(BEFORE_TAGS) / entry.max(1)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Outcome<()> {
        let read = self.file.read_exact_at(bytes, offset);
        read.map_err(|source| io("read", Path::new("the cached snapshot"), source))
    }

    /// Looks tags up: for each, its place or `None`. The tags of a bucket are read once each, and
    /// no label is. Nothing is checked again that was when the snapshot was opened.
    pub(crate) fn find_all(&self, tags: &[&[u8]]) -> Outcome<Vec<Option<TagPlace>>> {
        let preamble = self.verified.preamble();
        let (tag_len, bits) = (preamble.tag_len(), preamble.bucket_bits.get());
        // By their first bytes, which are few to move and tell most tags apart.
        let mut order: Vec<(u64, u32)> = Vec::with_capacity(tags.len());
        for (i, tag) in (0u32..).zip(tags) {
            order.push((head(tag), i));
        }
        order.sort_unstable();
        let mut places = vec![None; tags.len()];
        let mut read = Vec::new();
        let bucket = |(head, _): &(u64, u32)| bucket_of(&head.to_be_bytes(), bits);
        for run in order.chunk_by(|a, b| bucket(a) == bucket(b)) {
            let Some(first) = run.first() else { continue };
            let index = bucket(first);
            let (start, length) = self.place(index)?;
            let count = self.tags_in(length);
            read.resize(count * tag_len, 0);
            self.read_at(&mut read, start + BEFORE_TAGS as u64)?;
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            let at = |position: usize| read.get(position * tag_len..(position + 1) * tag_len);
            // Both ascend: what is below one tag is below the next.
            let mut position = 0;
            for (head_of, i) in run {
                while at(position).is_some_and(|tag| head(tag) < *head_of) {
                    position += 1;
                }
                let wanted = tags.get(*i as usize).copied();
                let mut candidate = position;
                while at(candidate).is_some_and(|tag| head(tag) == *head_of) {
                    if at(candidate) == wanted
                        && let Some(place) = places.get_mut(*i as usize)
                    {
                        *place = Some(TagPlace {
                            bucket: number,
                            position: u32::try_from(candidate).unwrap_or(u32::MAX),
                        });
                    }
                    candidate += 1;
                }
            }
        }
        Ok(places)
    }

    /// The tag and the sealed label at a place.
    pub(crate) fn entry(&self, place: TagPlace) -> Outcome<(Vec<u8>, Vec<u8>)> {
        let preamble = self.verified.preamble();
        let (tag_len, sealed_len) = (preamble.tag_len(), preamble.sealed_len());
        let (start, length) = self.place(place.bucket.into())?;
        let (count, position) = (self.tags_in(length), place.position as usize);
        if position >= count {
            return Err(crate::error::bug("a tag out of range"));
        }
        let tags = start + BEFORE_TAGS as u64;
        let (mut tag, mut sealed) = (vec![0; tag_len], vec![0; sealed_len]);
        self.read_at(&mut tag, tags + (position * tag_len) as u64)?;
        let before = count * tag_len + position * sealed_len;
        self.read_at(&mut sealed, tags + before as u64)?;
        Ok((tag, sealed))
    }
}

/// The first eight bytes of a tag as a number, zeros behind a shorter one: tags compare as these do.
fn head(tag: &[u8]) -> u64 {
    match tag.first_chunk::<8>() {
        Some(head) => u64::from_be_bytes(*head),
        None => {
            let mut head = [0u8; 8];
            head[..tag.len()].copy_from_slice(tag);
            u64::from_be_bytes(head)
        }
    }
}

fn io_error(action: &'static str, path: &Path, source: std::io::Error) -> AgencyError {
    AgencyError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> Failure {
    io_error(action, path, source).into()
}

/// The snapshot of this digest from the cache, if it is there and verifies. A damaged one is
/// removed: it can be fetched again.
pub(crate) async fn cached(
    cache: &Path,
    digest: Hex<32>,
    publisher: VerifyKey,
) -> Option<CachedSnapshot> {
    let path = cache.join(format!("{digest}.snapshot"));
    if !path.exists() {
        return None;
    }
    let opening = path.clone();
    match blocking(move || CachedSnapshot::open(&opening, &publisher)).await {
        Ok(snapshot) if snapshot.verified().digest() == digest => Some(snapshot),
        _ => {
            // If it cannot be removed, fetching says so.
            let _ = std::fs::remove_file(&path);
            None
        }
    }
}

/// Gives the snapshot of this digest from the cache, or fetches it. A fetch that was cut short goes
/// on where it stopped; what does not verify in the end is thrown away.
pub(crate) async fn get(
    cache: &Path,
    connected: &mut Connected,
    digest: Hex<32>,
    progress: &Progress,
) -> Outcome<CachedSnapshot> {
    let publisher = VerifyKey(connected.peer.signing_key);
    if let Some(snapshot) = cached(cache, digest, publisher).await {
        return Ok(snapshot);
    }
    let part = cache.join(format!("{digest}.part"));
    // Another process may be fetching the same: then this one waits, and finds it in the cache.
    let waiting = part.clone();
    let lock = blocking(move || {
        let file = open_part(&waiting)?;
        file.lock().map_err(|e| io("lock", &waiting, e))?;
        Ok(file)
    })
    .await?;
    if let Some(snapshot) = cached(cache, digest, publisher).await {
        // Left by this process if the other had renamed its own before.
        let _ = std::fs::remove_file(&part);
        return Ok(snapshot);
    }
    if let Err(failure) = fetch(&part, connected, digest, progress).await {
        // Nothing of what breaks the protocol is gone on with: the next fetch would trip over it.
        if failure.exit == Exit::PeerFault {
            std::fs::remove_file(&part).map_err(|e| io("remove", &part, e))?;
        }
        return Err(failure);
    }
    let fetched = part.clone();
    let snapshot = match blocking(move || CachedSnapshot::open(&fetched, &publisher)).await {
        Ok(snapshot) if snapshot.verified().digest() == digest => snapshot,
        other => {
            std::fs::remove_file(&part).map_err(|e| io("remove", &part, e))?;
            return Err(match other {
                Ok(_) => Failure::new(
                    Exit::PeerFault,
                    "mismatch",
                    "the snapshot that the peer sent is not the one that its statement names",
                    "nothing was asked or charged; tell the peer",
                ),
                Err(failure) => failure,
            });
        }
    };
    let path = cache.join(format!("{digest}.snapshot"));
    std::fs::rename(&part, &path).map_err(|e| io("rename to", &path, e))?;
    sync_dir(cache)?;
    drop(lock);
    Ok(snapshot)
}

async fn fetch(
    part: &Path,
    connected: &mut Connected,
    digest: Hex<32>,
    progress: &Progress,
) -> Outcome<()> {
    let (file, frames_there) = reopen(part)?;
    // The first frame is the header.
    let have = frames_there.saturating_sub(1);
    let request = SnapshotRequest {
        digest: digest.0.to_vec(),
        from_bucket: have,
    };
    let (trouble, patience) = (connected.trouble.clone(), connected.patience);
    let asking = async {
        let answer = connected.client.snapshot(request).await;
        answer.map_err(|status| trouble.failure(&status, NOTHING))
    };
    let mut frames = patience.wait(NOTHING, asking).await?.into_inner();
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut bytes = 0u64;
    // The header comes first with each fetch; it stands in the file once.
    let header = next_frame(&mut frames, connected).await?;
    let header = header.ok_or_else(|| {
        let error = Error::Malformed {
            what: "snapshot",
            why: "nothing was sent",
        };
        AgencyError::from(error)
    })?;
    let most = check_header(&header, connected, digest)?;
    if frames_there == 0 {
        out.write_all(header.bytes())
            .map_err(|e| io("write", part, e))?;
    }
    while let Some(frame) = next_frame(&mut frames, connected).await? {
        bytes += frame.bytes().len() as u64;
        progress.set(bytes);
        if bytes > most {
            let error = Error::Limit {
                what: "snapshot",
                limit: most,
            };
            return Err(AgencyError::from(error).into());
        }
        out.write_all(frame.bytes())
            .map_err(|e| io("write", part, e))?;
    }
    out.flush().map_err(|e| io("write", part, e))?;
    out.get_ref().sync_all().map_err(|e| io("write", part, e))
}

async fn next_frame(
    frames: &mut tonic::Streaming<Envelope>,
    connected: &Connected,
) -> Outcome<Option<Frame>> {
    let message = async {
        let message = frames.message().await;
        message.map_err(|status| connected.trouble.failure(&status, NOTHING))
    };
    match connected.patience.wait(NOTHING, message).await? {
        Some(envelope) => Ok(Some(Frame::try_from(envelope).map_err(AgencyError::from)?)),
        None => Ok(None),
    }
}

/// Refuses a snapshot by its header before its body is fetched; gives the bytes that the body may
/// have, so that a peer cannot fill the disk with what is not a snapshot.
fn check_header(frame: &Frame, connected: &Connected, digest: Hex<32>) -> Outcome<u64> {
    let publisher = VerifyKey(connected.peer.signing_key);
    let verifier = SnapshotVerifier::new(frame, &publisher).map_err(AgencyError::from)?;
    if verifier.stated_digest() != digest {
        let error = Error::Mismatch {
            what: "snapshot",
            field: "root",
        };
        return Err(AgencyError::from(error).into());
    }
    let preamble = verifier.preamble();
    // The publisher's choice would be a channel: a stuffed bucket takes longer to look up, and many
    // buckets take memory.
    if preamble.bucket_bits.get() != u64::from(bucket_bits(preamble.elements.get())) {
        let error = Error::Mismatch {
            what: "snapshot",
            field: "bucket_bits is not what the number of elements gives",
        };
        return Err(AgencyError::from(error).into());
    }
    let entry = (preamble.tag_len() + preamble.sealed_len()) as u64;
    let bucket = (HEADER_BYTES + 8) as u64;
    let entries = preamble.elements.get().saturating_mul(entry);
    Ok(entries.saturating_add(preamble.buckets().saturating_mul(bucket)))
}

fn open_part(part: &Path) -> Outcome<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWNER_FILE)
        .open(part)
        .map_err(|e| io("open", part, e))
}

/// A partial file, cut to its last whole frame, and the frames in it.
fn reopen(part: &Path) -> Outcome<(File, u64)> {
    let mut file = open_part(part)?;
    let mut reader = FrameReader::new(BufReader::new(&file));
    let mut frames = 0u64;
    let whole = loop {
        let whole = reader.offset();
        match reader.next_frame() {
            Ok(Some(_)) => frames += 1,
            _ => break whole,
        }
    };
    drop(reader);
    file.set_len(whole).map_err(|e| io("cut", part, e))?;
    file.seek(SeekFrom::Start(whole))
        .map_err(|e| io("open", part, e))?;
    Ok((file, frames))
}

/// Work on the disk and the processor, off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> Outcome<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(crate::error::bug(e.to_string())))
}
