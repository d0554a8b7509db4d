//! A cached snapshot follows its publisher by deltas (spec sections 6.7 and 9.5).
//!
//! Deltas are fetched into a file of their own, resumably, and then made on the cached snapshot. What comes
//! of it is written where a fetched snapshot would be, and verified like one. Whatever does not fit at
//! home, was not kept by the peer or is damaged leads to the whole snapshot, which must verify: a bad sector
//! under a delta is not to stop all who follow.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, BufWriter, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use tallystick_agency::{
    AgencyError,
    exit::{Exit, Failure, Outcome},
};
use tallystick_protocol::{
    error::{Error, Fault},
    frame::{Frame, FrameReader, Kind, ReadError},
    signing::VerifyKey,
    snapshot::{DeltaApplier, SnapshotLeaves, SnapshotVerifier},
    statements::{Hex, SnapshotDelta, open},
};
use tallystick_wire::SnapshotRequest;

use super::{
    blocking, io,
    kept::{Wanted, first_frame, held},
    next_frame, open_part, reopen, snapshot_path,
};
use crate::{connect::Connected, progress::Progress};

/// Snapshots that are named to a peer, and deltas that are followed, at most.
const MOST: usize = 16;

fn mismatch(field: &'static str) -> AgencyError {
    let what = Kind::SnapshotDelta.name();
    AgencyError::from(Error::Mismatch { what, field })
}

/// Brings a cached snapshot to the one of this digest by deltas, into the file `part`. False if that
/// cannot be done, and the whole snapshot is to be fetched.
pub(super) async fn follow(
    cache: &Path,
    part: &Path,
    connected: &mut Connected,
    wanted: &Wanted,
    progress: &Progress,
) -> Outcome<bool> {
    let digest = wanted.digest;
    let publisher = VerifyKey(connected.peer.signing_key);
    let deltas = deltas_path(cache, digest);
    // A whole snapshot that is partly there is gone on with.
    if part.metadata().is_ok_and(|meta| meta.len() > 0) {
        return Ok(false);
    }
    let (looking, of) = (cache.to_owned(), wanted.clone());
    // They are verified when one of them is changed.
    let mut held = blocking(move || Ok(held(&looking, &publisher, &of))).await?;
    held.truncate(MOST);
    if held.is_empty() {
        return Ok(false);
    }
    let fetched = fetch(cache, &deltas, connected, digest, held, progress).await;
    let from = match fetched {
        Ok(Some(from)) => from,
        Ok(None) => {
            let _ = std::fs::remove_file(&deltas);
            return Ok(false);
        }
        Err(failure) if can_do_without(&failure) => {
            // Nothing of what breaks the protocol is gone on with.
            if failure.exit == Exit::PeerFault {
                let _ = std::fs::remove_file(&deltas);
            }
            return Ok(false);
        }
        Err(failure) => return Err(failure),
    };
    let (base, made, into) = (snapshot_path(cache, from), deltas.clone(), part.to_owned());
    let done = blocking(move || make(&base, &made, &into, &publisher, digest)).await;
    // Used up, or of no use.
    std::fs::remove_file(&deltas).map_err(|e| io("remove", &deltas, e))?;
    if !matches!(done, Ok(true)) {
        let emptied = open_part(part)?.set_len(0);
        emptied.map_err(|e| io("cut", part, e))?;
    }
    match done {
        Err(failure) if can_do_without(&failure) => Ok(false),
        done => done,
    }
}

/// Whether the whole snapshot may be had although deltas fail so: whatever is wrong with them, none of it
/// was used, and the whole one is verified alone. If it is the connection or the disk that failed, the
/// whole one fails as well, and what came of the deltas is gone on with next time.
fn can_do_without(failure: &Failure) -> bool {
    let may = failure.exit != Exit::Bug;
    if may {
        let code = failure.code.as_str();
        tracing::warn!(
            code,
            "deltas cannot be followed, the whole snapshot is fetched: {failure}"
        );
        if failure.exit == Exit::PeerFault {
            tracing::warn!("tell the peer: its `tallyd check` finds damaged deltas");
        }
    }
    may
}

/// Where deltas are fetched to.
pub(super) fn deltas_path(cache: &Path, digest: Hex<32>) -> PathBuf {
    cache.join(format!("{digest}.deltas"))
}

/// Fetches deltas, going on with what is there. Gives the snapshot that the first of them leads from; `None`
/// if there are none, or they are larger than that.
async fn fetch(
    cache: &Path,
    deltas: &Path,
    connected: &mut Connected,
    digest: Hex<32>,
    mut held: Vec<Hex<32>>,
    progress: &Progress,
) -> Outcome<Option<Hex<32>>> {
    let publisher = VerifyKey(connected.peer.signing_key);
    let (mut file, mut have) = reopen(deltas)?;
    let begun = first_frame(deltas);
    if let Some(said) = begun
        .as_ref()
        .map(|frame| open::<SnapshotDelta>(frame, &publisher))
    {
        match said {
            Ok(said) if held.contains(&said.from) => held = vec![said.from],
            // The snapshot that it leads from is gone.
            _ => {
                file.set_len(0).map_err(|e| io("cut", deltas, e))?;
                file.seek(SeekFrom::Start(0))
                    .map_err(|e| io("cut", deltas, e))?;
                have = 0;
            }
        }
    }
    let request = SnapshotRequest {
        digest: digest.0.to_vec(),
        from_bucket: have,
        have: held.iter().map(|digest| digest.0.to_vec()).collect(),
    };
    let patience = connected.patience;
    let asking = async {
        // What is wrong comes up again when the whole snapshot is asked for.
        Ok(connected.client.snapshot(request).await.ok())
    };
    let Some(frames) = patience.wait(crate::connect::NOTHING, asking).await? else {
        return Ok(None);
    };
    let mut frames = frames.into_inner();
    let Some(first) = next_frame(&mut frames, connected).await? else {
        return Ok(None);
    };
    if first.kind() != Kind::SnapshotDelta {
        return Ok(None);
    }
    let said: SnapshotDelta = open(&first, &publisher).map_err(AgencyError::from)?;
    if !held.contains(&said.from) {
        return Err(mismatch("from").into());
    }
    let base = snapshot_path(cache, said.from);
    let most = base.metadata().map_err(|e| io("read", &base, e))?.len();
    let mut bytes = file.metadata().map_err(|e| io("read", deltas, e))?.len();
    let mut out = BufWriter::with_capacity(1 << 18, file);
    let mut due = match have {
        0 => Some(first),
        // Others than those that are there already.
        _ if begun.is_none_or(|begun| begun != first) => return Ok(None),
        _ => next_frame(&mut frames, connected).await?,
    };
    while let Some(frame) = due {
        bytes += frame.bytes().len() as u64;
        progress.set(bytes);
        if bytes > most {
            return Ok(None);
        }
        out.write_all(frame.bytes())
            .map_err(|e| io("write", deltas, e))?;
        due = match next_frame(&mut frames, connected).await {
            Ok(next) => next,
            Err(failure) => {
                // What came is gone on with.
                out.flush().map_err(|e| io("write", deltas, e))?;
                return Err(failure);
            }
        };
    }
    out.flush().map_err(|e| io("write", deltas, e))?;
    Ok(Some(said.from))
}

/// The snapshot that deltas change, and what they have changed so far in a file without a name.
struct Changed {
    base: File,
    path: PathBuf,
    leaves: SnapshotLeaves,
    /// Where each bucket lies in `base`.
    places: Vec<(u64, usize)>,
    over: File,
    end: u64,
    /// Where those that changed lie in `over`.
    moved: BTreeMap<u32, Room>,
}

impl Changed {
    /// Opens the snapshot and verifies it whole; `None` if it is not what it was.
    fn open(path: &Path, publisher: &VerifyKey) -> Outcome<Option<Self>> {
        let file = File::open(path).map_err(|e| io("open", path, e))?;
        let mut places = Vec::new();
        let verified = (|| {
            let mut reader = FrameReader::new(BufReader::with_capacity(1 << 20, &file));
            let header = reader.next_frame().ok()??;
            let mut verifier = SnapshotVerifier::new(&header, publisher).ok()?;
            while verifier.next_bucket() < verifier.preamble().buckets() {
                let at = reader.offset();
                let bucket = reader.next_frame().ok()??;
                verifier.push(&bucket).ok()?;
                places.push((at, bucket.bytes().len()));
            }
            verifier.finish_with_leaves().ok()
        })();
        let Some(leaves) = verified else {
            return Ok(None);
        };
        let folder = path.parent().unwrap_or(path);
        let over = tempfile::tempfile_in(folder).map_err(|e| io("create a file in", folder, e))?;
        Ok(Some(Self {
            base: file,
            path: path.to_owned(),
            leaves,
            places,
            over,
            end: 0,
            moved: BTreeMap::new(),
        }))
    }

    fn bucket(&self, index: u32) -> Outcome<Frame> {
        let (file, place) = match self.moved.get(&index) {
            Some(room) => (&self.over, Some((room.at, room.length))),
            None => (&self.base, self.places.get(index as usize).copied()),
        };
        let missing = || crate::error::bug("a bucket out of range");
        let (at, length) = place.ok_or_else(missing)?;
        let mut bytes = vec![0u8; length];
        let read = file.read_exact_at(&mut bytes, at);
        read.map_err(|e| io("read", &self.path, e))?;
        Ok(Frame::from_bytes(bytes).map_err(AgencyError::from)?)
    }

    /// Keeps a bucket that changed. One that changes again takes the room it had, so that many deltas
    /// take little more of the disk than one.
    fn put(&mut self, index: u32, bucket: &Frame) -> Outcome<()> {
        let length = bucket.bytes().len();
        let fits = |room: &Room| length <= room.size;
        let room = match self.moved.get(&index).copied().filter(fits) {
            Some(room) => room,
            None => {
                let size = length + length / 4;
                let at = self.end;
                self.end += size as u64;
                Room { at, size, length }
            }
        };
        let written = self.over.write_all_at(bucket.bytes(), room.at);
        written.map_err(|e| io("write beside", &self.path, e))?;
        self.moved.insert(index, Room { length, ..room });
        Ok(())
    }
}

/// Where a bucket that changed lies, and how long it may become there.
#[derive(Debug, Clone, Copy)]
struct Room {
    at: u64,
    size: usize,
    length: usize,
}

/// Makes the deltas on the snapshot `base`, and writes what comes of it to `part`. False if the copy of
/// the snapshot is damaged, or there are more deltas than are followed.
fn make(
    base: &Path,
    deltas: &Path,
    part: &Path,
    publisher: &VerifyKey,
    digest: Hex<32>,
) -> Outcome<bool> {
    let Some(mut changed) = Changed::open(base, publisher)? else {
        return Ok(false);
    };
    let file = File::open(deltas).map_err(|e| io("open", deltas, e))?;
    let mut reader = FrameReader::new(BufReader::with_capacity(1 << 18, file));
    let mut next = || match reader.next_frame() {
        Ok(frame) => Ok(frame),
        Err(ReadError::Frame(error)) => Err(AgencyError::from(error).into()),
        Err(ReadError::Io(source)) => Err(io("read", deltas, source)),
    };
    let (mut due, mut after, mut header) = (next()?, None, None);
    let mut followed = 0;
    while let Some(head) = due {
        followed += 1;
        if followed > MOST {
            return Ok(false);
        }
        let later = next()?.ok_or_else(|| mismatch("it ends behind its header"))?;
        let leaves = changed.leaves.clone();
        let applier = DeltaApplier::new(leaves, &head, &later, publisher, after);
        let mut applier = applier.map_err(AgencyError::from)?;
        due = loop {
            let frame = match next()? {
                Some(frame) if frame.kind() != Kind::SnapshotDelta => frame,
                other => break other,
            };
            let index = applier.touches(&frame).map_err(AgencyError::from)?;
            let old = changed.bucket(index)?;
            match applier.push(&frame, &old) {
                Ok(bucket) => changed.put(index, &bucket)?,
                // The copy changed under our hands.
                Err(error) if error.fault() == Fault::Caller => return Ok(false),
                Err(error) => return Err(AgencyError::from(error).into()),
            }
        };
        after = Some(applier.statement().sequence);
        changed.leaves = applier.finish().map_err(AgencyError::from)?;
        header = Some(later);
    }
    let header = header.filter(|_| changed.leaves.snapshot().digest() == digest);
    let header = header.ok_or_else(|| mismatch("to"))?;

    let write = |e| io("write", part, e);
    let file = open_part(part)?;
    file.set_len(0).map_err(write)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    out.write_all(header.bytes()).map_err(write)?;
    let buckets = u32::try_from(changed.places.len());
    for index in 0..buckets.map_err(|_| crate::error::bug("buckets"))? {
        out.write_all(changed.bucket(index)?.bytes())
            .map_err(write)?;
    }
    out.flush().map_err(write)?;
    out.get_ref().sync_all().map_err(write)?;
    Ok(true)
}
