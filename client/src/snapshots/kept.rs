//! Which snapshots of a collection the cache keeps.
//!
//! One collection has nothing to do with another: a list that changes every hour must not push out the
//! copy from which a list that changes once a month is followed.

use std::{
    fs::File,
    io::{BufReader, ErrorKind},
    path::Path,
};

use tallystick_agency::exit::Outcome;
use tallystick_protocol::{
    frame::{Frame, FrameReader, Kind},
    signing::VerifyKey,
    snapshot::SnapshotVerifier,
    statements::{Grant, Hex, Int, Name, open_as_named},
};

use super::{file::index_path, io, snapshot_path};

/// Snapshots of a collection and epoch that are kept: the latest, and the one before it, which a run that
/// began a moment ago may have been offered.
const KEPT: usize = 2;

/// A snapshot that is wanted, and what it is of.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) digest: Hex<32>,
    pub(crate) collection: Name,
    pub(crate) epoch: Int,
}

pub(super) fn first_frame(path: &Path) -> Option<Frame> {
    let file = File::open(path).ok()?;
    FrameReader::new(BufReader::new(file))
        .next_frame()
        .ok()
        .flatten()
}

/// Digests of the publisher's snapshots of the same collection and epoch in the cache, the latest first.
/// Only their headers are looked at.
pub(super) fn held(cache: &Path, publisher: &VerifyKey, wanted: &Wanted) -> Vec<Hex<32>> {
    let mut found: Vec<(Int, Hex<32>)> = Vec::new();
    let entries = std::fs::read_dir(cache).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path.extension().is_none_or(|ending| ending != "snapshot") {
            continue;
        }
        let Some(header) = first_frame(&path) else {
            continue;
        };
        if let Ok(said) = SnapshotVerifier::new(&header, publisher)
            && snapshot_path(cache, said.stated_digest()) == path
            && said.preamble().collection == wanted.collection
            && said.preamble().epoch == wanted.epoch
        {
            found.push((said.preamble().published_ms, said.stated_digest()));
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, digest)| digest).collect()
}

/// Removes snapshots that were superseded by later ones of the same collection and epoch, with their
/// marks: all but the last two, `wanted`, and those that are `needed` otherwise. A reader that has one
/// open goes on reading it.
pub(crate) fn remove_superseded(
    cache: &Path,
    publisher: &VerifyKey,
    wanted: &Wanted,
    needed: &[Hex<32>],
) -> Outcome<()> {
    for digest in held(cache, publisher, wanted).into_iter().skip(KEPT) {
        if digest == wanted.digest || needed.contains(&digest) {
            continue;
        }
        for path in [snapshot_path(cache, digest), index_path(cache, digest)] {
            match std::fs::remove_file(&path) {
                // Another process was faster, or there is no mark.
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(io("remove", &path, error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The snapshot that the grant in an own record names; `None` if there is no such record, or nothing was
/// granted in it yet.
///
/// # Errors
/// If the record cannot be read as one.
pub(crate) fn granted_in(record: &Path) -> Outcome<Option<Hex<32>>> {
    let file = match File::open(record) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("open", record, error)),
    };
    let mut reader = FrameReader::new(BufReader::new(file));
    // Header, request, answer.
    for _ in 0..3 {
        let frame = reader.next_frame();
        let frame = frame.map_err(|e| io("read", record, std::io::Error::other(e)))?;
        match frame {
            Some(frame) if frame.kind() == Kind::Grant => {
                let grant: Grant =
                    open_as_named(&frame).map_err(tallystick_agency::AgencyError::from)?;
                return Ok(Some(grant.snapshot.digest));
            }
            Some(_) => {}
            None => break,
        }
    }
    Ok(None)
}

#[cfg(test)]
#[path = "kept_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
