//! `tally match`.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use serde::Serialize;
use tallystick_agency::{
    exit::{Exit, Failure, Outcome},
    process,
    report::Report,
    table_flags::RejectFlags,
};
use tallystick_protocol::statements::{Charge, Name};

use super::{Context, PROGRAM, block_on_unless, grounds::GroundsArgs, tables::KeyArgs};
use crate::{
    error::bug,
    run::{self, Finishing, MatchOptions, MatchReport, STDOUT, SharedBuffer, Sink},
};

/// What to ask, of whom, on which grounds.
#[derive(Debug, Args)]
pub(crate) struct MatchArgs {
    /// The peer, as `tallyd peer list` names it
    #[arg(long, value_name = "NAME")]
    peer: String,
    /// Address of the peer, instead of the one in its manifest
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// The peer's collection
    #[arg(long, value_name = "NAME")]
    collection: Name,
    /// The own table: CSV, TSV or JSON lines, also packed (.gz, .zst); - is standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
    /// Where the matches go; without it they go to stdout, as CSV
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the output, and the file of --rejects, if they exist
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    rejects: RejectFlags,
    #[command(flatten)]
    grounds: GroundsArgs,
}

/// The own side of a session.
#[derive(Debug, Serialize)]
struct Ours {
    rows: u64,
    keys: u64,
    empty: u64,
    rejected: BTreeMap<&'static str, u64>,
    elements: u64,
    elements_padded: u64,
    cpu_seconds: f64,
    peak_rss_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Theirs {
    elements_padded: u64,
    snapshot: String,
    /// `cache`, `deltas` or `whole`.
    snapshot_from: &'static str,
}

#[derive(Debug, Serialize)]
struct Seconds {
    session: f64,
    total: f64,
}

#[derive(Debug, Serialize)]
struct Bytes {
    sent: u64,
    received: u64,
}

#[derive(Debug, Serialize)]
struct Matched {
    session: String,
    peer: String,
    collection: String,
    epoch: u64,
    resumed: bool,
    hits: u64,
    elements_matched: u64,
    spoiled_labels: u64,
    ours: Ours,
    theirs: Theirs,
    charged: Vec<Charge>,
    seconds: Seconds,
    bytes: Bytes,
    record: PathBuf,
    out: Option<PathBuf>,
    /// Where rejected keys are listed, if they are.
    rejects: Option<PathBuf>,
    /// The lines themselves, where they went to no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    matches: Option<Matches>,
    kernel: &'static str,
}

/// Matches as a program reads them: names of columns, then rows of values in their order.
#[derive(Debug, Serialize)]
struct Matches {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Matches {
    fn read(csv: &[u8]) -> Outcome<Self> {
        let unread = |e: csv::Error| bug(format!("reading the own output: {e}"));
        let text = |row: &csv::StringRecord| row.iter().map(str::to_owned).collect();
        let mut reader = csv::Reader::from_reader(csv);
        let columns = text(reader.headers().map_err(unread)?);
        let rows = reader.records().map(|row| Ok(text(&row.map_err(unread)?)));
        Ok(Self {
            columns,
            rows: rows.collect::<Outcome<_>>()?,
        })
    }
}

impl Report for Matched {
    const COMMAND: &'static str = "match";

    fn text(&self) -> String {
        let ours = &self.ours;
        let rejected: u64 = ours.rejected.values().sum();
        let charge = |c: &Charge| {
            format!(
                "{} {} (budget left: {})",
                c.elements, c.type_name, c.quota_after
            )
        };
        let charged: Vec<String> = self.charged.iter().map(charge).collect();
        let resumed = if self.resumed { " (resumed)" } else { "" };
        let listed = self.rejects.as_ref();
        let listed = listed.map_or(String::new(), |path| format!(" (see {})", path.display()));
        super::facts([
            ("session", format!("{}{resumed}", self.session)),
            (
                "asked",
                format!("{} / {}, epoch {}", self.peer, self.collection, self.epoch),
            ),
            (
                "own table",
                format!(
                    "{} rows, {} distinct elements, {} keys empty, {rejected} rejected{listed}",
                    ours.rows, ours.elements, ours.empty
                ),
            ),
            (
                "snapshot",
                match self.theirs.snapshot_from {
                    "cache" => "was in the cache",
                    "deltas" => "followed by deltas",
                    _ => "fetched whole",
                }
                .to_owned(),
            ),
            ("elements matched", self.elements_matched.to_string()),
            ("lines written", self.hits.to_string()),
            ("charged", charged.join("; ")),
            (
                "cost",
                format!(
                    "{:.1} s, {:.1} s of processor, {} sent, {} received",
                    self.seconds.total,
                    ours.cpu_seconds,
                    mebibytes(self.bytes.sent),
                    mebibytes(self.bytes.received)
                ),
            ),
            ("record", self.record.display().to_string()),
            (
                "matches",
                self.out
                    .as_ref()
                    .map_or("standard output".to_owned(), |p| p.display().to_string()),
            ),
        ])
    }
}

/// A size for people.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}

impl Matched {
    fn new(
        done: MatchReport,
        out: Option<PathBuf>,
        rejects: Option<PathBuf>,
        matches: Option<Matches>,
    ) -> Outcome<Self> {
        let usage = process::usage()?;
        let rejected = done
            .tally
            .rejected
            .iter()
            .map(|(why, r)| (why.code(), r.count));
        Ok(Self {
            session: done.session.to_string(),
            peer: done.peer,
            collection: done.collection.to_string(),
            epoch: done.epoch,
            resumed: done.resumed,
            hits: done.hits,
            elements_matched: done.matched,
            spoiled_labels: done.spoiled,
            ours: Ours {
                rows: done.tally.rows,
                keys: done.tally.keys,
                empty: done.tally.empty,
                rejected: rejected.collect(),
                elements: done.elements,
                elements_padded: done.padded,
                cpu_seconds: usage.cpu_seconds,
                peak_rss_bytes: usage.peak_rss_bytes,
            },
            theirs: Theirs {
                elements_padded: done.their_elements,
                snapshot: done.snapshot.to_string(),
                snapshot_from: done.came.name(),
            },
            charged: done.charged,
            seconds: Seconds {
                session: done.session_seconds,
                total: done.total_seconds,
            },
            bytes: Bytes {
                sent: done.sent,
                received: done.received,
            },
            record: done.record,
            out,
            rejects,
            matches,
            kernel: done.kernel,
        })
    }
}

pub(crate) fn run(context: &Context, args: &MatchArgs) -> Outcome<Exit> {
    let source = args.keys.source(args.input.clone(), Vec::new())?;
    let mapping = source.mapping()?;
    if args.out.is_some() && args.out == args.rejects.rejects {
        return Err(Failure::usage(
            "usage",
            "--out and --rejects are one file",
            "give each a name of its own",
        ));
    }
    let home = context.open_home()?;
    let buffer = SharedBuffer::default();
    let finishing = Finishing::default();
    let options = MatchOptions {
        peer: args.peer.clone(),
        address: args.address.clone(),
        collection: args.collection.clone(),
        input: args.input.clone(),
        format: source.format(&mapping),
        mapping,
        rejects: args.rejects.rejects(args.force),
        out: args.out.clone(),
        force: args.force,
        sink: match context.json {
            true => Sink::Memory(buffer.clone()),
            false => Sink::Stdout,
        },
        grounds: args.grounds.grounds(),
        quiet: context.quiet,
        finishing: finishing.clone(),
    };
    let done = block_on_unless(&finishing, run::run(&home, options)).map_err(|failure| {
        match args.out {
            // Standard output is gone (`| head`), full, or a device that takes nothing.
            None if failure.code == "table-io" && failure.what.starts_with(STDOUT) => Failure {
                next:
                    "the session is over and charged; the same command with --out FILE writes the \
                   result without asking, or charging, again"
                        .to_owned(),
                ..failure
            },
            _ => failure,
        }
    })?;
    let matches = match (&args.out, context.json) {
        (None, true) => Some(Matches::read(&buffer.take())?),
        _ => None,
    };
    let matched = Matched::new(
        done,
        args.out.clone(),
        args.rejects.rejects.clone(),
        matches,
    )?;
    match (&args.out, context.json) {
        // The matches are the result; what else there is to say goes beside.
        (None, false) => {
            if !context.quiet {
                eprintln!("{}", matched.text());
            }
        }
        _ => context.print(PROGRAM, &matched)?,
    }
    if matched.spoiled_labels > 0 {
        return Err(Failure::new(
            Exit::PeerFault,
            "bad-label",
            format!(
                "{} labels do not open: the peer's snapshot is spoiled",
                matched.spoiled_labels
            ),
            "the matches are right and were written, with those labels empty; tell the peer",
        ));
    }
    Ok(Exit::Done)
}
