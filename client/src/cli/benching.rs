//! `tally bench`: what this machine does. Needs no home and asks nobody.

pub(super) mod desk;

use std::path::Path;

use clap::{Args, value_parser};
use serde::Serialize;
use tallystick_agency::{
    AgencyError,
    exit::{Exit, Failure, Outcome},
    report::Report,
};
use tallystick_protocol::group;

use super::{Context, PROGRAM, block_on, facts, list, matching::mebibytes};
use crate::{
    bench::{
        self, Bench, Figure, Options, Rows, Session,
        estimate::{Estimate, estimate},
    },
    error::bug,
    progress::Progress,
};

/// Rows of the table that is read.
const ROWS: u64 = 20_000;

/// How much is measured, and what for.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Elements of the chunk that goes through the stages
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = value_parser!(u16).range(16..))]
    batch: u16,
    /// Times that each stage is measured; the table shows the median
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u16).range(1..=1000))]
    repeats: u16,
    /// Also run a whole session of N rows on each side, as `try` does
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(16..))]
    session: Option<u64>,
    /// Estimate a session of so many rows
    #[arg(long, value_name = "N", requires = "theirs", value_parser = value_parser!(u64).range(1..=1 << 40))]
    ours: Option<u64>,
    /// against a collection of so many
    #[arg(long, value_name = "N", requires = "ours", value_parser = value_parser!(u64).range(1..=1 << 40))]
    theirs: Option<u64>,
    #[command(flatten)]
    desk: desk::DeskArgs,
}

/// What was measured.
#[derive(Serialize)]
struct Measured {
    /// The kernel that is used, and why.
    kernel: &'static str,
    why: String,
    reference: &'static str,
    processor: Option<String>,
    threads: usize,
    /// What all threads do in a second, as a multiple of one thread's.
    speedup: f64,
    batch: u16,
    repeats: u16,
    /// `cpu` or `wall`.
    time: &'static str,
    stages: Vec<StageReport>,
    rows: Rows,
    session: Option<Session>,
    /// Processor time of the session as a multiple of what the figures of the stages give for its sizes.
    session_over_stages: Option<f64>,
    estimate: Option<Estimate>,
}

#[derive(Serialize)]
struct StageReport {
    stage: &'static str,
    what: &'static str,
    /// Nanoseconds for each element.
    ns: Figure,
    reference_ns: Option<Figure>,
    ratio: Option<f64>,
}

impl Report for Measured {
    const COMMAND: &'static str = "bench";

    fn text(&self) -> String {
        let times = match self.time {
            "cpu" => "of processor on one thread",
            _ => "on one thread, by the clock: other programs count",
        };
        let about = facts([
            ("kernel", format!("{} ({})", self.kernel, self.why)),
            (
                "processor",
                self.processor
                    .clone()
                    .unwrap_or_else(|| "unknown".to_owned()),
            ),
            (
                "all threads",
                format!("{}, together {:.2} times one", self.threads, self.speedup),
            ),
            (
                "times",
                format!(
                    "microseconds {times} for each element; median of {}, chunks of {}",
                    self.repeats, self.batch
                ),
            ),
        ]);
        let both = self.kernel != self.reference;
        let mut header = vec!["stage", self.kernel, "spread"];
        if both {
            header.extend([self.reference, "spread", "ratio"]);
        }
        let us = |figure: &Figure| {
            let spread = format!("{:.0} %", 100.0 * figure.spread());
            [format!("{:.3}", figure.median / 1e3), spread]
        };
        let rows = self.stages.iter().map(|stage| {
            let mut row = vec![stage.what.to_owned()];
            row.extend(us(&stage.ns));
            if let Some((reference, ratio)) = stage.reference_ns.as_ref().zip(stage.ratio) {
                row.extend(us(reference));
                row.push(format!("{ratio:.2}"));
            }
            row
        });
        let mut text = format!("{about}\n\n{}", list(&header, rows));
        let [reading, spread] = us(&self.rows.ns);
        text.push_str(&format!(
            "\n\nreading and normalising a row: {reading} microseconds, spread {spread}"
        ));
        if let Some(session) = &self.session {
            text.push_str(&format!(
                "\n\nA WHOLE SESSION, MEASURED\n{}",
                self.run(session)
            ));
        }
        if let Some(estimate) = &self.estimate {
            text.push_str(&format!(
                "\n\nAN ESTIMATE, NOT MEASURED\n{}",
                guess(estimate)
            ));
        }
        text
    }
}

impl Measured {
    fn run(&self, session: &Session) -> String {
        let side = |side: &crate::try_out::Side| {
            let anonymous = side.peak_anonymous_bytes.map_or_else(String::new, |bytes| {
                format!(" ({} of it anonymous)", mebibytes(bytes))
            });
            format!(
                "{:.2} s of processor, {} of memory at most{anonymous}",
                side.cpu_seconds,
                mebibytes(side.peak_rss_bytes)
            )
        };
        facts([
            (
                "sizes",
                format!(
                    "{0} rows x {0} rows, {1} charged",
                    session.rows, session.charged
                ),
            ),
            ("ours", side(&session.ours)),
            (
                "theirs",
                format!("{}, publishing included", side(&session.theirs)),
            ),
            (
                "time",
                format!(
                    "publish {:.2} s, session {:.2} s",
                    session.publish_seconds, session.session_seconds
                ),
            ),
            (
                "network",
                format!(
                    "{} sent, {} received, the snapshot included",
                    mebibytes(session.sent),
                    mebibytes(session.received)
                ),
            ),
            (
                "for each row",
                format!(
                    "{:.1} microseconds of processor of both sides, {:.1} bytes",
                    session.cpu_us_per_row, session.bytes_per_row
                ),
            ),
            (
                "of these, start",
                format!(
                    "{:.2} s of processor of both sides, whatever the size; without it {:.1} microseconds a row",
                    session.start_cpu_seconds, session.cpu_us_per_further_row
                ),
            ),
            (
                "of the stages",
                self.session_over_stages.map_or_else(String::new, |over| {
                    format!("{over:.2} times the processor time that they give for these sizes")
                }),
            ),
        ])
    }
}

fn guess(estimate: &Estimate) -> String {
    facts([
        (
            "sizes",
            format!("{} rows against {}", estimate.ours, estimate.theirs),
        ),
        (
            "publishing",
            format!(
                "{:.1} s of processor once an epoch, {:.1} s on all threads",
                estimate.publish_cpu_seconds, estimate.publish_seconds
            ),
        ),
        (
            "session",
            format!(
                "ours {:.1} s of processor, theirs {:.1} s; {:.1} s between two machines like this",
                estimate.ours_cpu_seconds, estimate.theirs_cpu_seconds, estimate.session_seconds
            ),
        ),
        (
            "network",
            format!(
                "{} sent, {} received; the snapshot once, {}",
                mebibytes(estimate.sent),
                mebibytes(estimate.received),
                mebibytes(estimate.snapshot)
            ),
        ),
        (
            "left out",
            "TLS, disks, databases, labels and the network itself".to_owned(),
        ),
    ])
}

/// Removes the folder of a session that was cut short. Its processes end with this one, and write until
/// then: they find the folder under its name no more.
fn take_away(folder: &Path) {
    let aside = folder.with_extension("ended");
    if std::fs::rename(folder, &aside).is_ok() {
        // What cannot be removed lies in the temporary folder, which is cleaned by others.
        let _ = std::fs::remove_dir_all(&aside);
    }
}

pub(crate) fn run(context: &Context, args: &BenchArgs) -> Outcome<Exit> {
    let options = Options {
        batch: args.batch.into(),
        repeats: args.repeats.into(),
    };
    let (sizes, rows) = (args.ours.zip(args.theirs), args.session);
    let quiet = context.quiet;
    if let Some(bench) = args.desk.bench(quiet) {
        let measured = in_a_folder(move |path| bench::desk::desk(path, &bench))?;
        return desk::print(context, measured);
    }
    let measured = in_a_folder(move |path| measure(path, options, rows, sizes, quiet))?;
    context.print(PROGRAM, &measured)?;
    Ok(Exit::Done)
}

/// Measures with a folder that is removed in the end.
fn in_a_folder<T: Send + 'static>(
    measure: impl FnOnce(&Path) -> Outcome<T> + Send + 'static,
) -> Outcome<T> {
    let temporary = std::env::temp_dir();
    let dir = tempfile::Builder::new()
        .prefix("tally-bench-")
        .tempdir_in(&temporary)
        .map_err(|source| AgencyError::Io {
            action: "create",
            path: temporary,
            source,
        })?;
    let path = dir.path().to_owned();
    let folder = path.clone();
    // The folder is removed also when a signal ends the wait: it belongs to this function.
    let measured = block_on(async move {
        tokio::task::spawn_blocking(move || measure(&path))
            .await
            .unwrap_or_else(|_| Err(bug("the measurement panicked")))
    });
    if measured.is_err() {
        take_away(&folder);
    }
    measured.map_err(|failure| match failure.exit {
        Exit::Interrupted => Failure {
            what: "interrupted; nothing was kept but what --dir names".to_owned(),
            next: "fewer --repeats, a smaller --batch, --session or --desk take less time"
                .to_owned(),
            ..failure
        },
        _ => failure,
    })
}

fn measure(
    dir: &Path,
    options: Options,
    session: Option<u64>,
    sizes: Option<(u64, u64)>,
    quiet: bool,
) -> Outcome<Measured> {
    let (chosen, reference) = (group::chosen(), group::reference());
    let kernel = chosen.kernel();
    let total = bench::passes(kernel, reference, options);
    let bar = Progress::new("measuring", total, "passes", quiet);
    let found = bench::stages(kernel, reference, options, |done| bar.set(done))?;
    bar.finish();
    let rows = bench::rows(dir, ROWS, options.repeats)?;
    let session = session.map(|rows| {
        let bar = Progress::new("session", 0, "rows", quiet);
        bar.set(rows);
        let ran = bench::session(dir, rows);
        bar.finish();
        ran
    });
    let session = session.transpose()?;
    Ok(Measured {
        kernel: kernel.name(),
        why: chosen.why(),
        reference: reference.name(),
        processor: processor(),
        threads: found.threads,
        speedup: found.speedup,
        batch: options.batch as u16,
        repeats: options.repeats as u16,
        time: if bench::counts_cpu() { "cpu" } else { "wall" },
        session_over_stages: session.as_ref().map(|session| over(session, &found, &rows)),
        estimate: sizes.map(|(ours, theirs)| estimate(&found, &rows, ours, theirs)),
        stages: reports(&found),
        rows,
        session,
    })
}

/// Processor time of a session over the estimate for its sizes.
fn over(session: &Session, found: &Bench, rows: &Rows) -> f64 {
    let stages = estimate(found, rows, session.rows, session.rows);
    let stages = stages.ours_cpu_seconds + stages.theirs_cpu_seconds + stages.publish_cpu_seconds;
    (session.ours.cpu_seconds + session.theirs.cpu_seconds) / stages
}

fn reports(found: &Bench) -> Vec<StageReport> {
    let report = |stage: &bench::Stage| StageReport {
        stage: stage.name,
        what: stage.what,
        ns: stage.used,
        reference_ns: stage.reference,
        ratio: stage.ratio(),
    };
    found.stages.iter().map(report).collect()
}

/// The name of the processor, where the system tells it.
fn processor() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
