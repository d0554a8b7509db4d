//! A whole session of two processes, through the code of `try`.

use std::path::Path;

use serde::Serialize;
use tallystick_agency::{
    collections::TableSource,
    exit::{Exit, Failure, Outcome},
};
use tallystick_tables::{Rejects, TableFormat};

use crate::{
    datagen,
    try_out::{self, SAMPLE_KEY, Side, Tried, TryOptions},
};

/// One session over loopback, publishing and the audit of both records included.
#[derive(Debug, Serialize)]
pub struct Session {
    /// Rows of either side; a tenth of them match.
    pub rows: u64,
    /// Elements that were charged, padding included.
    pub charged: u64,
    /// The asking side.
    pub ours: Side,
    /// The asked side, publishing included.
    pub theirs: Side,
    /// Microseconds of processor time of both sides for each row.
    pub cpu_us_per_row: f64,
    /// Processor seconds of both sides in a session of a few rows, run before: passphrases, keys,
    /// databases, the handshake, which a session costs whatever its size.
    pub start_cpu_seconds: f64,
    /// Microseconds of processor time of both sides for each row, without those.
    pub cpu_us_per_further_row: f64,
    /// Wall seconds until the snapshot was published.
    pub publish_seconds: f64,
    /// Wall seconds of the session.
    pub session_seconds: f64,
    /// Bytes on the TCP stream, from the asking side.
    pub sent: u64,
    /// Bytes on the TCP stream, to the asking side, the snapshot included.
    pub received: u64,
    /// Bytes both ways for each row.
    pub bytes_per_row: f64,
}

/// Rows of a session whose arithmetic is no matter: the fewest that are not padded.
const FEW: u64 = 16;

/// Runs a session of `rows` rows on each side in a folder below `dir`, and one of a few before.
///
/// # Errors
/// A failure of either side; `Verification` if the records do not verify.
pub fn session(dir: &Path, rows: u64) -> Outcome<Session> {
    let start_cpu_seconds = cpu(&tried(&dir.join("few"), FEW)?);
    let tried = tried(&dir.join("whole"), rows)?;
    let seconds = |stage: &str| {
        let found = tried.seconds.iter().find(|(name, _)| *name == stage);
        found.map_or(f64::NAN, |(_, seconds)| *seconds)
    };
    let each = rows.max(1) as f64;
    let further = rows.saturating_sub(FEW).max(1) as f64;
    Ok(Session {
        rows,
        charged: tried.charged,
        cpu_us_per_row: cpu(&tried) * 1e6 / each,
        start_cpu_seconds,
        cpu_us_per_further_row: (cpu(&tried) - start_cpu_seconds) * 1e6 / further,
        publish_seconds: seconds("publish"),
        session_seconds: seconds("session"),
        sent: tried.sent,
        received: tried.received,
        bytes_per_row: (tried.sent + tried.received) as f64 / each,
        ours: tried.ours,
        theirs: tried.theirs,
    })
}

/// Processor seconds of both sides.
fn cpu(tried: &Tried) -> f64 {
    tried.ours.cpu_seconds + tried.theirs.cpu_seconds
}

/// A session whose records verify.
fn tried(dir: &Path, rows: u64) -> Outcome<Tried> {
    let data = dir.join("tables");
    datagen::generate(&data, rows, rows, rows / 10, 1, false)
        .map_err(|e| Failure::usage(e.code(), e.to_string(), ""))?;
    let source = |file: &str| TableSource {
        profile: None,
        input: data.join(file),
        keys: vec![SAMPLE_KEY.to_owned()],
        mapping: None,
        label: Vec::new(),
        format: TableFormat::default(),
    };
    let tried = try_out::run(TryOptions {
        ours: Some(source(datagen::OURS)),
        theirs: Some(source(datagen::THEIRS)),
        dir: Some(dir.join("session")),
        out: None,
        force: false,
        profile: None,
        rejects: Rejects::default(),
        quiet: true,
    })?;
    if !tried.verified {
        return Err(Failure::new(
            Exit::Verification,
            "not-verified",
            "the records of the session do not verify",
            "run `tally try` and see what `tally audit verify` says",
        ));
    }
    Ok(tried)
}
