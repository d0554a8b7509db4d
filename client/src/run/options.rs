//! What a run is asked to do, and what it did.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tallystick_protocol::statements::{Charge, Hex, Name};
use tallystick_tables::{Mapping, Rejects, TableFormat, Tally};

use crate::session::Grounds;
pub use crate::snapshots::Came;

/// What to ask, of whom, on which grounds.
#[derive(Debug)]
pub struct MatchOptions {
    /// The peer.
    pub peer: String,
    /// Overrides the address in its manifest.
    pub address: Option<String>,
    /// The collection.
    pub collection: Name,
    /// The own table.
    pub input: PathBuf,
    /// How it is read, as far as it is stated.
    pub format: TableFormat,
    /// Its keys.
    pub mapping: Mapping,
    /// What becomes of rejected keys.
    pub rejects: Rejects,
    /// Where matches go; to `sink` when `None`.
    pub out: Option<PathBuf>,
    /// Whether an existing output may be replaced.
    pub force: bool,
    /// Where matches go without `out`.
    pub sink: Sink,
    /// Grounds.
    pub grounds: Grounds,
    /// No progress.
    pub quiet: bool,
    /// Set by the run when its output gets its name.
    pub finishing: Finishing,
}

/// Whether a run has come so far that stopping it would only make its report untrue: its output is
/// there.
#[derive(Debug, Clone, Default)]
pub struct Finishing(Arc<AtomicBool>);

impl Finishing {
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it has.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What standard output is called in errors.
pub(crate) const STDOUT: &str = "standard output";

/// Where matches go that go to no file.
#[derive(Debug, Clone)]
pub enum Sink {
    /// Standard output, as CSV.
    Stdout,
    /// Memory, as CSV.
    Memory(SharedBuffer),
}

/// Bytes that a writer on another thread fills.
#[derive(Debug, Clone, Default)]
pub struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

impl SharedBuffer {
    /// Takes what was written.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::io::Write for SharedBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a run did.
#[derive(Debug)]
pub struct MatchReport {
    /// Session id.
    pub session: Hex<16>,
    /// The peer.
    pub peer: String,
    /// The collection.
    pub collection: Name,
    /// Its epoch.
    pub epoch: u64,
    /// Whether an interrupted session was taken up again.
    pub resumed: bool,
    /// What became of the own rows.
    pub tally: Tally,
    /// Distinct own elements.
    pub elements: u64,
    /// Elements sent, padding included.
    pub padded: u64,
    /// Tags of the peer's snapshot, padding included.
    pub their_elements: u64,
    /// Own elements that matched.
    pub matched: u64,
    /// Lines written.
    pub hits: u64,
    /// What the sender's closing charges.
    pub charged: Vec<Charge>,
    /// The closed record.
    pub record: PathBuf,
    /// Digest of the snapshot.
    pub snapshot: Hex<32>,
    /// How it came.
    pub came: Came,
    /// Bytes sent on the TCP stream.
    pub sent: u64,
    /// Bytes received on the TCP stream.
    pub received: u64,
    /// Seconds of the session alone, from the request to the closing.
    pub session_seconds: f64,
    /// Seconds of all of it.
    pub total_seconds: f64,
    /// Hits whose label does not open: the peer's snapshot is not what its header says.
    pub spoiled: u64,
    /// Name of the kernel.
    pub kernel: &'static str,
}
