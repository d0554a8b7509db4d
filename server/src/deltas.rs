//! Deltas for readers that hold an earlier snapshot (spec section 9.5).

use std::{
    fs::File,
    io::{BufReader, Seek},
    path::Path,
};

use tallystick_agency::{collections::delta_path, home::Home};
use tallystick_protocol::{
    frame::{Frame, FrameReader},
    statements::{SnapshotDelta, open_as_named},
};
use tallystick_wire::Envelope;
use tokio::sync::mpsc;
use tonic::Status;

use crate::service::send_frame;

/// Snapshots that a reader may name, and deltas that it gets at most.
const MOST: usize = 16;

/// Refuses what no reader may name.
pub(crate) fn check(have: &[Vec<u8>]) -> Result<(), Status> {
    if have.len() > MOST || have.iter().any(|digest| digest.len() != 32) {
        let what = "malformed: at most 16 digests of 32 bytes each";
        return Err(Status::invalid_argument(what));
    }
    Ok(())
}

/// The deltas that lead to a snapshot from one of those that a reader holds, first to last; none if there
/// are none. They are open: a publication that removes them takes nothing from whoever reads them. Reads
/// from the disk.
pub(crate) fn leading(
    home: &Home,
    collection: &str,
    digest: [u8; 32],
    have: &[Vec<u8>],
) -> Vec<File> {
    let mut deltas = Vec::new();
    let mut to = digest;
    while !have.is_empty() && deltas.len() < MOST {
        let opened = opened(&delta_path(home, collection, &to));
        let Some((file, from)) = opened else { break };
        deltas.push(file);
        if have.iter().any(|digest| *digest == from) {
            deltas.reverse();
            return deltas;
        }
        to = from;
    }
    Vec::new()
}

/// A delta at its start, and the snapshot that it leads from.
fn opened(path: &Path) -> Option<(File, [u8; 32])> {
    let mut file = File::open(path).ok()?;
    let head = FrameReader::new(BufReader::new(&file))
        .next_frame()
        .ok()??;
    let said = open_as_named::<SnapshotDelta>(&head).ok()?;
    file.rewind().ok()?;
    Some((file, said.from.0))
}

/// Sends the first frame, then those from the one that is wanted.
pub(crate) fn send(
    deltas: Vec<File>,
    from_frame: u64,
    out: &mpsc::Sender<Result<Envelope, Status>>,
) {
    let damaged = || {
        tracing::error!("a published delta cannot be read");
        let _ = out.blocking_send(Err(Status::internal("io: a delta is damaged")));
    };
    let mut count = 0u64;
    for file in deltas {
        let mut reader = FrameReader::new(BufReader::with_capacity(1 << 18, file));
        loop {
            let frame: Frame = match reader.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return damaged(),
            };
            let wanted = count == 0 || count >= from_frame;
            count += 1;
            if wanted && !send_frame(frame, out) {
                return;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_no_reader_may_name_is_refused() {
        assert!(check(&vec![vec![0; 32]; MOST]).is_ok());
        assert!(check(&[]).is_ok());
        assert!(check(&vec![vec![0; 32]; MOST + 1]).is_err());
        assert!(check(&[vec![0; 31]]).is_err());
    }

    #[test]
    fn an_open_delta_is_read_from_its_start_after_its_name_is_gone() {
        let sample = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../docs/spec/vectors/sample.delta"
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("delta");
        std::fs::copy(sample, &path).unwrap();
        let (file, from) = opened(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut reader = FrameReader::new(file);
        let head = reader.next_frame().unwrap().unwrap();
        let said: SnapshotDelta = open_as_named(&head).unwrap();
        assert_eq!(said.from.0, from);
        while reader.next_frame().unwrap().is_some() {}
        assert_eq!(reader.offset(), std::fs::metadata(sample).unwrap().len());
        assert!(opened(&path).is_none());
    }
}
