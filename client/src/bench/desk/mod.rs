//! What a desk takes: two agencies on this machine, a register, and travellers who come one by one, many
//! at once, and as a flight.
//!
//! ```text
//! parts     the agencies' processes: one publishes, one serves, one asks
//! asking    what the asking process does and times
//! ```
//!
//! Each side is a process of its own, with its own home, over mutual TLS on loopback, so that processor
//! time and memory are each side's own. Both share the processors of this machine.

mod asking;
mod parts;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tallystick_agency::{
    AgencyError,
    exit::{Failure, Outcome},
    fs as files,
};

pub use asking::{AskPlan, ask};
pub use parts::{PublishPlan, publish};

use self::parts::{Homes, Node};
use crate::{datagen, progress::Progress};

/// Seed of the made-up documents.
const SEED: u64 = 1;

/// What to measure.
#[derive(Debug, Clone)]
pub struct DeskBench {
    /// Elements of the register: two for each document.
    pub elements: u64,
    /// Folder that keeps table and publication for the next run; thrown away when `None`.
    pub dir: Option<PathBuf>,
    /// Seconds that each kind of asking is measured.
    pub seconds: u32,
    /// Whether to publish once more with a hundredth of the register changed.
    pub delta: bool,
    /// No progress.
    pub quiet: bool,
}

/// Times of answers, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Half of them took no longer.
    pub p50: f64,
    /// Of twenty, nineteen took no longer.
    pub p95: f64,
    /// Of a hundred, ninety-nine took no longer.
    pub p99: f64,
    /// The longest.
    pub most: f64,
}

impl Times {
    /// Of all times, in seconds; `None` of none.
    #[must_use]
    pub fn of(mut seconds: Vec<f64>) -> Option<Self> {
        seconds.sort_by(f64::total_cmp);
        let last = seconds.len().checked_sub(1)?;
        let at = |hundredths: usize| {
            let rank = (seconds.len() * hundredths).div_ceil(100).max(1);
            seconds.get(rank - 1).map(|s| s * 1e3)
        };
        Some(Self {
            p50: at(50)?,
            p95: at(95)?,
            p99: at(99)?,
            most: seconds.get(last)? * 1e3,
        })
    }
}

/// One way to ask, for some seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Asking {
    /// Travellers who wait at the same time.
    pub at_once: u64,
    /// Travellers who were answered.
    pub travellers: u64,
    /// Answers that were missing.
    pub missing: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// Travellers a second.
    pub per_second: f64,
    /// Milliseconds that one waited.
    pub milliseconds: Times,
    /// Microseconds of processor of the asking side for each traveller.
    pub ours_cpu_us: f64,
    /// The same of the node, where the system tells it.
    pub theirs_cpu_us: Option<f64>,
}

/// What the asking process found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Asked {
    /// Seconds from nothing to a desk that is ready: the snapshot fetched and verified.
    pub first_seconds: f64,
    /// Seconds of a second start: the snapshot opened by its mark, a session begun.
    pub again_seconds: f64,
    /// One traveller after the other.
    pub one: Asking,
    /// Many at once.
    pub many: Vec<Asking>,
    /// Manifests of 400, one after the other: a traveller is a manifest here.
    pub flight: Asking,
    /// A session and a record for each traveller, one after the other and some at once.
    pub record_each: Vec<Asking>,
}

/// What a publication took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Publishing {
    /// Seconds.
    pub seconds: f64,
    /// Processor seconds.
    pub cpu_seconds: f64,
    /// Tags of the snapshot, padding included.
    pub tags: u64,
    /// Bytes of the snapshot.
    pub bytes: u64,
    /// Bytes of the delta, if one was published.
    pub delta_bytes: Option<u64>,
    /// The most resident memory, in bytes.
    pub peak_rss_bytes: u64,
}

/// A hundredth of the register changed.
#[derive(Debug, Clone, Serialize)]
pub struct Delta {
    /// What publishing it took.
    pub publish: Publishing,
    /// Seconds until a desk that has the earlier snapshot is ready with the later one.
    pub follow_seconds: f64,
    /// The same that fetches it whole.
    pub whole_seconds: f64,
    /// Its bytes over those of the snapshot.
    pub bytes_share: f64,
    /// Seconds to follow over seconds of a publication of everything.
    pub over_rebuild: f64,
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Memory {
    /// The most that was resident, pages of files among it.
    pub peak_rss_bytes: u64,
    /// The most anonymous memory.
    pub peak_anonymous_bytes: Option<u64>,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct DeskFigures {
    /// Elements of the register.
    pub elements: u64,
    /// Its documents.
    pub documents: u64,
    /// What publishing all of it took; as it was when it was published.
    pub publish: Publishing,
    /// What the asking process found.
    pub asked: Asked,
    /// The asking process.
    pub ours: Memory,
    /// The node, which serves and does not publish.
    pub theirs: Memory,
    /// A hundredth changed.
    pub delta: Option<Delta>,
}

/// What a folder that is kept holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    elements: u64,
    publish: Publishing,
    /// How often a hundredth was changed since.
    changes: u64,
}

/// Measures; `scratch` is an empty folder that nobody keeps.
///
/// # Errors
/// A failure of either side.
pub fn desk(scratch: &Path, options: &DeskBench) -> Outcome<DeskFigures> {
    let dir = options.dir.as_deref().unwrap_or(scratch);
    std::fs::create_dir_all(dir).map_err(|source| AgencyError::Io {
        action: "create",
        path: dir.to_owned(),
        source,
    })?;
    let documents = (options.elements / 2).max(1);
    let homes = Homes::open(dir)?;
    let mut kept = published(dir, &homes, documents, options)?;

    // A node knows at once whom it knew when it began.
    let asker = homes.asker()?;
    let node = Node::start(&homes)?;
    let bar = Progress::new("asking", 0, "", options.quiet);
    let plan = AskPlan {
        seed: SEED,
        documents,
        first: kept.changes * change(documents),
        seconds: options.seconds,
        only_open: false,
    };
    let (asked, ours) = parts::asked::<Asked>(&asker, &node, &plan)?;
    let theirs = node.stop()?;
    bar.finish();

    let delta = match options.delta {
        false => None,
        true => {
            kept.changes += 1;
            let made = table(dir, &kept, documents, options)?;
            let publish = homes.publish(&made, documents, options.quiet)?;
            keep(dir, &kept)?;
            let plan = AskPlan {
                first: kept.changes * change(documents),
                only_open: true,
                ..plan
            };
            let whole = homes.asker()?;
            let node = Node::start(&homes)?;
            let (follow_seconds, _) = parts::asked::<f64>(&asker, &node, &plan)?;
            let (whole_seconds, _) = parts::asked::<f64>(&whole, &node, &plan)?;
            node.stop()?;
            Some(Delta {
                follow_seconds,
                whole_seconds,
                bytes_share: publish.delta_bytes.unwrap_or(publish.bytes) as f64
                    / publish.bytes.max(1) as f64,
                over_rebuild: follow_seconds / kept.publish.seconds,
                publish,
            })
        }
    };
    Ok(DeskFigures {
        elements: documents * 2,
        documents,
        publish: kept.publish,
        asked,
        ours,
        theirs,
        delta,
    })
}

/// Documents that change in a change.
const fn change(documents: u64) -> u64 {
    documents.div_ceil(100)
}

/// The table of the register after so many changes: each time some go and as many come.
fn table(dir: &Path, kept: &Kept, documents: u64, options: &DeskBench) -> Outcome<PathBuf> {
    let path = dir.join("register.csv");
    let bar = Progress::new("writing the register", 0, "rows", options.quiet);
    let first = kept.changes * change(documents);
    datagen::desk::register(&path, first..first + documents, SEED)
        .map_err(|e| Failure::usage(e.code(), e.to_string(), ""))?;
    bar.finish();
    let mapping = dir.join("register.mapping.toml");
    let text = datagen::desk::REGISTER_MAPPING.as_bytes();
    files::atomic_write(&mapping, text, files::OWNER_FILE)?;
    Ok(path)
}

/// What is published in `dir`; publishes it if nothing is.
fn published(dir: &Path, homes: &Homes, documents: u64, options: &DeskBench) -> Outcome<Kept> {
    let path = dir.join("published.json");
    if let Ok(text) = std::fs::read_to_string(&path) {
        let kept: Option<Kept> = serde_json::from_str(&text).ok();
        return kept
            .filter(|kept| kept.elements == documents * 2)
            .ok_or_else(|| {
                Failure::usage(
                    "bench-dir",
                    format!("{} holds another measurement", dir.display()),
                    "choose another --dir",
                )
            });
    }
    let mut kept = Kept {
        elements: documents * 2,
        publish: Publishing {
            seconds: 0.0,
            cpu_seconds: 0.0,
            tags: 0,
            bytes: 0,
            delta_bytes: None,
            peak_rss_bytes: 0,
        },
        changes: 0,
    };
    let made = table(dir, &kept, documents, options)?;
    kept.publish = homes.publish(&made, documents, options.quiet)?;
    keep(dir, &kept)?;
    Ok(kept)
}

fn keep(dir: &Path, kept: &Kept) -> Outcome<()> {
    let path = dir.join("published.json");
    let text = serde_json::to_string(kept).map_err(|e| crate::error::bug(e.to_string()))?;
    Ok(files::atomic_write(
        &path,
        text.as_bytes(),
        files::OWNER_FILE,
    )?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_are_ranks_and_no_means() {
        let all: Vec<f64> = (1..=200).rev().map(|n| f64::from(n) / 1e3).collect();
        let times = Times::of(all).unwrap();
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        near(times.p50, 100.0);
        near(times.p95, 190.0);
        near(times.p99, 198.0);
        near(times.most, 200.0);
        let one = Times::of(vec![0.5]).unwrap();
        near(one.p50, 500.0);
        near(one.p99, 500.0);
        assert_eq!(Times::of(Vec::new()), None);
    }
}
