//! Deltas for readers that hold an earlier snapshot (spec section 9.5).

use std::{fs::File, io::BufReader, path::PathBuf};

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

/// The deltas that lead to a snapshot from one of those that a reader holds, first to last; none if there
/// are none.
pub(crate) fn leading(
    home: &Home,
    collection: &str,
    digest: [u8; 32],
    have: &[Vec<u8>],
) -> Result<Vec<PathBuf>, Status> {
    if have.len() > MOST || have.iter().any(|digest| digest.len() != 32) {
        let what = "malformed: at most 16 digests of 32 bytes each";
        return Err(Status::invalid_argument(what));
    }
    let mut deltas = Vec::new();
    let mut to = digest;
    while !have.is_empty() && deltas.len() < MOST {
        let path = delta_path(home, collection, &to);
        let Some(from) = from_of(&path) else { break };
        deltas.push(path);
        if have.iter().any(|digest| *digest == from) {
            deltas.reverse();
            return Ok(deltas);
        }
        to = from;
    }
    Ok(Vec::new())
}

fn frames(path: &PathBuf) -> Option<FrameReader<BufReader<File>>> {
    let file = File::open(path).ok()?;
    Some(FrameReader::new(BufReader::with_capacity(1 << 18, file)))
}

/// The snapshot that a delta leads from.
fn from_of(path: &PathBuf) -> Option<[u8; 32]> {
    let head = frames(path)?.next_frame().ok()??;
    let said = open_as_named::<SnapshotDelta>(&head).ok()?;
    Some(said.from.0)
}

/// Sends the first frame, then those from the one that is wanted.
pub(crate) fn send(
    deltas: &[PathBuf],
    from_frame: u64,
    out: &mpsc::Sender<Result<Envelope, Status>>,
) {
    let damaged = || {
        tracing::error!("a published delta cannot be read");
        let _ = out.blocking_send(Err(Status::internal("io: a delta is damaged")));
    };
    let mut count = 0u64;
    for path in deltas {
        // One that was removed since: the reader asks again.
        let Some(mut reader) = frames(path) else {
            return damaged();
        };
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
