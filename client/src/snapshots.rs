//! The receiver's cache of snapshots: fetched by digest, resumably, and verified before use.

mod deltas;
mod file;
mod kept;

use std::{
    fs::{File, OpenOptions},
    io::{BufReader, BufWriter, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use tallystick_agency::{
    AgencyError,
    exit::{Exit, Failure, Outcome},
    fs::{OWNER_FILE, sync_dir},
    marks::MarkKey,
};
use tallystick_protocol::{
    error::Error,
    frame::{Frame, FrameReader, HEADER_BYTES},
    signing::VerifyKey,
    snapshot::{SnapshotVerifier, bucket_bits},
    statements::Hex,
};
use tallystick_wire::{Envelope, SnapshotRequest};

pub use self::file::Came;
use self::file::index_path;
pub(crate) use self::{
    file::{CachedSnapshot, TagPlace},
    kept::{Wanted, granted_in, remove_superseded},
};
use crate::{
    connect::{Connected, NOTHING},
    progress::Progress,
};

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

/// The snapshot of this digest from the cache, if it is there: by its mark if this home has verified
/// this very file before, else verified now. A damaged one is removed: it can be fetched again.
///
/// # Errors
/// An IO error: then nothing is known of the file, and it stays.
pub(crate) async fn cached(
    cache: &Path,
    digest: Hex<32>,
    publisher: VerifyKey,
    key: &MarkKey,
) -> Outcome<Option<CachedSnapshot>> {
    let path = snapshot_path(cache, digest);
    if !path.exists() {
        return Ok(None);
    }
    let (opening, index, key) = (path.clone(), index_path(cache, digest), key.clone());
    let open = move || {
        let marked = CachedSnapshot::open(&opening, index.clone(), digest, &publisher, &key);
        if let Some(snapshot) = marked {
            return Ok(Some(snapshot));
        }
        let snapshot = CachedSnapshot::verify(&opening, index, &publisher, &key)?;
        Ok((snapshot.digest() == digest).then(|| snapshot.mark(&publisher, Came::Cache)))
    };
    match blocking(open).await {
        Ok(Some(snapshot)) => Ok(Some(snapshot)),
        Err(failure) if !is_damaged(&failure) => Err(failure),
        _ => {
            // If it cannot be removed, fetching says so.
            let _ = std::fs::remove_file(&path);
            Ok(None)
        }
    }
}

/// Whether a file that could be read is no snapshot of its publisher.
fn is_damaged(failure: &Failure) -> bool {
    matches!(failure.exit, Exit::PeerFault | Exit::Verification)
}

fn snapshot_path(cache: &Path, digest: Hex<32>) -> PathBuf {
    cache.join(format!("{digest}.snapshot"))
}

/// Gives the snapshot of this digest from the cache, or fetches it. A fetch that was cut short goes
/// on where it stopped; what does not verify in the end is thrown away.
pub(crate) async fn get(
    cache: &Path,
    connected: &mut Connected,
    wanted: &Wanted,
    key: &MarkKey,
    progress: &Progress,
) -> Outcome<CachedSnapshot> {
    let digest = wanted.digest;
    let publisher = VerifyKey(connected.peer.signing_key);
    if let Some(snapshot) = cached(cache, digest, publisher, key).await? {
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
    if let Some(snapshot) = cached(cache, digest, publisher, key).await? {
        // Left by this process if the other had renamed its own before.
        let _ = std::fs::remove_file(&part);
        return Ok(snapshot);
    }
    let fetched = match deltas::follow(cache, &part, connected, wanted, progress).await {
        Ok(true) => Ok(Came::Deltas),
        Ok(false) => {
            let whole = fetch(&part, connected, digest, progress).await;
            whole.map(|()| Came::Whole)
        }
        Err(failure) => Err(failure),
    };
    let came = match fetched {
        Ok(came) => came,
        Err(failure) => {
            // Nothing of what breaks the protocol is gone on with: the next fetch would trip over it.
            if failure.exit == Exit::PeerFault {
                std::fs::remove_file(&part).map_err(|e| io("remove", &part, e))?;
            }
            return Err(failure);
        }
    };
    let (fetched, index, own) = (part.clone(), index_path(cache, digest), key.clone());
    let verify = move || CachedSnapshot::verify(&fetched, index, &publisher, &own);
    let snapshot = match blocking(verify).await {
        Ok(snapshot) if snapshot.digest() == digest => snapshot,
        Err(failure) if !is_damaged(&failure) => return Err(failure),
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
    let path = snapshot_path(cache, digest);
    std::fs::rename(&part, &path).map_err(|e| io("rename to", &path, e))?;
    sync_dir(cache)?;
    // What came of deltas before the whole was fetched.
    let _ = std::fs::remove_file(deltas::deltas_path(cache, digest));
    let snapshot = snapshot.mark(&publisher, came);
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
        have: Vec::new(),
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
