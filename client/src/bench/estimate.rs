//! What a pair of sizes costs, from the figures of the stages and the formulas of the spec.
//!
//! It counts the arithmetic and the reading. It leaves out TLS, disks, databases, labels and the
//! network; `--session` shows how much they are on this machine.

use serde::Serialize;
use tallystick_agency::config::Policy;
use tallystick_protocol::{
    identifiers::padded_size,
    snapshot::{bucket_bits, tag_bytes},
};

use super::{Bench, Rows};

/// Elements of a chunk, as nodes grant them to small sessions; large ones have larger chunks, and a few
/// bytes less.
const CHUNK: u64 = 8192;
/// Bytes of a blinded chunk of type `document` without its elements, frame included (spec 2.1, 4.1).
const BLINDED_OVERHEAD: u64 = 5 + 4 + 1 + 8 + 2 + 64;
/// The same of an evaluated chunk.
const EVALUATED_OVERHEAD: u64 = 5 + 4 + 2 + 64 + 64;
/// Bytes of an empty bucket, frame included (spec 2.1, 6.2).
const BUCKET_OVERHEAD: u64 = 5 + 8;

/// An estimate, and no measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// Rows that ask, one element each.
    pub ours: u64,
    /// Rows of the collection, one element each.
    pub theirs: u64,
    /// Processor seconds of the asking side.
    pub ours_cpu_seconds: f64,
    /// Processor seconds of the asked side in the session.
    pub theirs_cpu_seconds: f64,
    /// Processor seconds of the asked side for publishing, once an epoch.
    pub publish_cpu_seconds: f64,
    /// Wall seconds of the session between two machines like this one.
    pub session_seconds: f64,
    /// Wall seconds of publishing on a machine like this one.
    pub publish_seconds: f64,
    /// Bytes of all blinded chunks.
    pub sent: u64,
    /// Bytes of all evaluated chunks.
    pub received: u64,
    /// Bytes of the snapshot without labels and header, as a node publishes it by default (its tags are as
    /// long as the largest session that it grants wants them): fetched once, then kept.
    pub snapshot: u64,
}

/// Estimates `ours` rows against a collection of `theirs`.
#[must_use]
pub fn estimate(bench: &Bench, rows: &Rows, ours: u64, theirs: u64) -> Estimate {
    let (asked, tags) = (padded_size(ours), padded_size(theirs));
    let seconds = |elements: u64, stages: &[&str]| {
        let ns: f64 = stages.iter().map(|stage| bench.ns(stage)).sum();
        elements as f64 * ns / 1e9
    };
    let read = |rows_read: u64| rows_read as f64 * rows.ns.median / 1e9;
    // Below one other programs had the processors: threads do not slow each other down by themselves.
    let at_once = bench.speedup.max(1.0);
    let ours_cpu_seconds =
        read(ours) + seconds(asked, &["derive_blind", "blind", "verify", "finalize"]);
    let theirs_cpu_seconds = seconds(asked, &["evaluate", "prove"]);
    let publish_cpu_seconds = read(theirs) + seconds(tags, &["publish"]);
    let chunks = asked.div_ceil(CHUNK);
    let buckets = 1u64 << bucket_bits(tags).min(63);
    // A node that publishes for larger sessions than the default has longer tags.
    let most = Policy::default().max_elements_per_session.max(asked);
    let tag = u64::from(tag_bytes(most, tags));
    Estimate {
        ours,
        theirs,
        ours_cpu_seconds,
        theirs_cpu_seconds,
        publish_cpu_seconds,
        // Both sides work at once.
        session_seconds: ours_cpu_seconds.max(theirs_cpu_seconds) / at_once,
        publish_seconds: publish_cpu_seconds / at_once,
        sent: (asked * 32).saturating_add(chunks * BLINDED_OVERHEAD),
        received: (asked * 32).saturating_add(chunks * EVALUATED_OVERHEAD),
        snapshot: tags
            .saturating_mul(tag)
            .saturating_add(buckets.saturating_mul(BUCKET_OVERHEAD)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Figure, STAGES, Stage};

    /// Every stage takes 1 µs, and so does a row.
    fn bench() -> (Bench, Rows) {
        let figure = Figure {
            median: 1000.0,
            min: 1000.0,
            max: 1000.0,
        };
        let stage = |(name, what): &(&'static str, &'static str)| Stage {
            name,
            what,
            used: figure,
            reference: None,
        };
        let bench = Bench {
            stages: STAGES.iter().map(stage).collect(),
            threads: 2,
            speedup: 2.0,
        };
        let rows = Rows {
            rows: 1,
            bytes: 1,
            ns: figure,
        };
        (bench, rows)
    }

    #[test]
    fn sizes_follow_the_spec() {
        let (bench, rows) = bench();
        // 16,384 pads to itself: two chunks. 1,000 pads to 1,024: four buckets.
        let found = estimate(&bench, &rows, 16_384, 1_000);
        assert_eq!(found.sent, 32 * 16_384 + 2 * (84));
        assert_eq!(found.received, 32 * 16_384 + 2 * (139));
        // 40 bits, 20 of the largest session by default and 10: nine bytes a tag, however few ask.
        assert_eq!(found.snapshot, 1_024 * 9 + 4 * 13);
    }

    #[test]
    fn times_are_those_of_the_stages() {
        let (bench, rows) = bench();
        let found = estimate(&bench, &rows, 1 << 20, 1_000);
        let million = f64::from(1 << 20) / 1e6;
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(found.ours_cpu_seconds, 5.0 * million));
        assert!(near(found.theirs_cpu_seconds, 2.0 * million));
        assert!(near(found.publish_cpu_seconds, (1_000.0 + 1_024.0) / 1e6));
        assert!(near(found.session_seconds, 2.5 * million));
    }

    #[test]
    fn sizes_that_nobody_has_do_not_overflow() {
        let (bench, rows) = bench();
        let found = estimate(&bench, &rows, 1 << 50, 1 << 50);
        assert!(found.snapshot > 1 << 53 && found.session_seconds.is_finite());
    }
}
