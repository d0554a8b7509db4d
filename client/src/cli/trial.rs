//! `tally try`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::json;
use tallystick_agency::{
    AgencyError,
    exit::{Exit, Failure, Outcome},
    profiles,
    report::Report,
    table_flags::RejectFlags,
};
use tallystick_protocol::statements::Name;
use tallystick_tables::{Rejects, TableFormat, TableInput};

use super::{Context, PROGRAM, facts, list, matching::mebibytes, tables::KeyArgs};
use crate::try_out::{self, Tried, TryOptions};

/// What to try; without tables, sample data.
#[derive(Debug, Args)]
pub(crate) struct TryArgs {
    /// The asking side's table
    #[arg(long, value_name = "FILE", requires = "theirs")]
    ours: Option<PathBuf>,
    /// The asked side's table
    #[arg(long, value_name = "FILE", requires = "ours")]
    theirs: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Keys of --theirs, where they differ
    #[arg(long, value_name = "TYPE=COLUMN[,COLUMN]")]
    theirs_key: Vec<String>,
    /// Mapping file of --theirs, where it differs
    #[arg(long, value_name = "FILE", conflicts_with = "theirs_key")]
    theirs_mapping: Option<PathBuf>,
    /// Columns of --theirs that a match hands over
    #[arg(long, value_name = "COLUMN[,COLUMN]", value_delimiter = ',')]
    label: Vec<String>,
    /// Folder that keeps homes, records and the trust file; a new one if not given
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where the matches go; matches.csv in the folder if not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the output, and the file of --rejects, if they exist
    #[arg(long)]
    force: bool,
    /// What becomes of rejected keys; the list is that of --ours
    #[command(flatten)]
    rejects: RejectFlags,
}

/// The peer's side.
#[derive(Debug, Args)]
pub(crate) struct SenderArgs {
    #[arg(long)]
    collection: Name,
    #[arg(long)]
    input: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
    #[arg(long, value_delimiter = ',')]
    label: Vec<String>,
    #[arg(long)]
    stop_on_rejects: bool,
    #[arg(long)]
    asked: u64,
}

pub(crate) fn send(context: &Context, args: &SenderArgs) -> Outcome<Exit> {
    let table = args.keys.source(args.input.clone(), args.label.clone())?;
    let rejects = Rejects {
        stop: args.stop_on_rejects,
        ..Rejects::default()
    };
    let name = args.collection.clone();
    try_out::send(context.open_home()?, name, table, rejects, args.asked)?;
    Ok(Exit::Done)
}

pub(crate) fn run(context: &Context, args: &TryArgs) -> Outcome<Exit> {
    if let Some(name) = &args.keys.profile {
        profiles::load(name)?;
    }
    let ours = args
        .ours
        .clone()
        .map(|input| args.keys.source(input, Vec::new()));
    let ours = ours.transpose()?;
    let theirs = args.theirs.clone().map(|input| -> Outcome<_> {
        let mut table = args.keys.source(input, args.label.clone())?;
        if !args.theirs_key.is_empty() || args.theirs_mapping.is_some() {
            table.keys = args.theirs_key.clone();
            table.mapping = args.theirs_mapping.clone();
        }
        // It says itself how the table is read.
        if args.theirs_mapping.is_some() {
            table.format = TableFormat::default();
        }
        Ok(table)
    });
    let theirs = theirs.transpose()?;
    // What can be wrong with flags and tables is said before anything is made.
    for table in [&ours, &theirs].into_iter().flatten() {
        let mapping = table.mapping()?;
        if TableInput::is_standard(&table.input) {
            return Err(Failure::usage(
                "usage",
                "standard input cannot be tried: two processes read the tables",
                "save it to a file; `tally match --input -` reads standard input",
            ));
        }
        let input = TableInput::file(&table.input, table.format(&mapping));
        input.open().map_err(AgencyError::from)?;
    }
    let tried = try_out::run(TryOptions {
        ours,
        theirs,
        dir: args.dir.clone(),
        out: args.out.clone(),
        force: args.force,
        profile: args.keys.profile.clone(),
        rejects: args.rejects.rejects(args.force),
        quiet: context.quiet,
    })?;
    let exit = if tried.verified {
        Exit::Done
    } else {
        Exit::Verification
    };
    context.print(PROGRAM, &Trial(tried))?;
    Ok(exit)
}

/// The report. Serialises to the members that INTERFACE names.
struct Trial(Tried);

impl Serialize for Trial {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tried = &self.0;
        let seconds: serde_json::Map<String, serde_json::Value> = tried
            .seconds
            .iter()
            .map(|(stage, s)| ((*stage).to_owned(), json!(s)))
            .collect();
        json!({
            "hits": tried.hits,
            "elements_matched": tried.elements_matched,
            "ours": tried.ours,
            "theirs": tried.theirs,
            "charged": tried.charged,
            "seconds": seconds,
            "bytes": { "sent": tried.sent, "received": tried.received },
            "records": tried.records,
            "trust": tried.trust,
            "dir": tried.dir,
            "out": tried.out,
            "verified": tried.verified,
            "kernel": tried.kernel,
        })
        .serialize(serializer)
    }
}

impl Report for Trial {
    const COMMAND: &'static str = "try";

    fn text(&self) -> String {
        let tried = &self.0;
        let seconds = |stage: &str| {
            let found = tried.seconds.iter().find(|(name, _)| *name == stage);
            found.map_or(0.0, |(_, seconds)| *seconds)
        };
        let side = |side: &try_out::Side| {
            let rejected = match side.keys_rejected {
                0 => String::new(),
                n => format!(", {n} keys rejected"),
            };
            format!(
                "{} rows, {} distinct identifiers{rejected}",
                side.rows, side.elements
            )
        };
        let cost = |side: &try_out::Side| {
            let rss = mebibytes(side.peak_rss_bytes);
            format!(
                "{:.2} s of processor, {rss} of memory at most",
                side.cpu_seconds
            )
        };
        let who = facts([
            (
                "ours",
                format!(
                    "{}; asks, and learns which of its own matched",
                    side(&tried.ours)
                ),
            ),
            (
                "theirs",
                format!("{}; published as `watchlist`", side(&tried.theirs)),
            ),
            (
                "result",
                format!(
                    "{} identifiers matched, {} lines written",
                    tried.elements_matched, tried.hits
                ),
            ),
        ]);
        let cost = facts([
            ("ours", cost(&tried.ours)),
            (
                "theirs",
                format!("{}, publishing included", cost(&tried.theirs)),
            ),
            (
                "network",
                format!(
                    "{} sent, {} received",
                    mebibytes(tried.sent),
                    mebibytes(tried.received)
                ),
            ),
            (
                "time",
                format!(
                    "{:.2} s in all: publish {:.2}, session {:.2}, audit {:.2}",
                    seconds("total"),
                    seconds("publish"),
                    seconds("session"),
                    seconds("audit")
                ),
            ),
            (
                "charged",
                format!("{} evaluations, padding included", tried.charged),
            ),
            ("kernel", tried.kernel.clone()),
        ]);
        let verdicts = tried.audited.iter().map(|audited| {
            let passed = audited
                .report
                .checks
                .iter()
                .filter(|c| c.verdict.name() == "pass");
            let verdict = if audited.report.verified {
                "verified"
            } else {
                "NOT VERIFIED"
            };
            (
                verdict,
                format!(
                    "{} ({} checks passed, signers {})",
                    audited.path.display(),
                    passed.count(),
                    audited.report.signers.name()
                ),
            )
        });
        let agree = if tried.verified {
            "the copies agree"
        } else {
            "SEE `tally audit verify`"
        };
        let records = facts(verdicts);
        let learned = facts([
            (
                "ours",
                format!(
                    "of {} tags: nothing about those that it did not ask and hit; no label but of hits",
                    tried.tags
                ),
            ),
            (
                "theirs",
                format!(
                    "of {} blinded elements: not which they are, not which matched, not how many, \
                     and not how many were padding",
                    tried.charged
                ),
            ),
            ("auditor", "no identifier at all".to_owned()),
        ]);
        let tally =
            std::env::current_exe().map_or_else(|_| PROGRAM.to_owned(), |path| shortest(&path));
        let [first, second] = tried
            .records
            .each_ref()
            .map(|record| record.display().to_string());
        format!(
            "WHO HOLDS WHAT\n{who}\n\nFIVE OF THE HITS, {}\n{}\n\nWHAT IT COST\n{cost}\n\n\
             BOTH RECORDS, CHECKED OFFLINE: {agree}\n{records}\n\n\
             WHAT NOBODY LEARNED\n{learned}\n\nWHAT TO TYPE NEXT\n  \
             {tally} audit verify {first} {second} --trust {}\n  \
             {tally} audit show {first}\n  \
             {tally} try --ours {ours} --theirs {theirs} --key {key} --label {label}",
            tried.out.display(),
            sample(&tried.out),
            tried.trust.display(),
            ours = "OURS.csv",
            theirs = "THEIRS.csv",
            key = "document=NUMBER,STATE",
            label = "COLUMN",
        )
    }
}

/// A path as short as it can be typed from here.
fn shortest(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let short = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    short
        .unwrap_or_else(|| path.to_owned())
        .display()
        .to_string()
}

/// The first five lines of the matches.
fn sample(matches: &Path) -> String {
    let Ok(mut reader) = csv::Reader::from_path(matches) else {
        return String::new();
    };
    let Ok(header) = reader.headers().cloned() else {
        return String::new();
    };
    // The own key and what was opened tell the story; other own columns stand in the file.
    let wanted =
        |name: &str| name == "tally_key" || name == "tally_rule" || name.starts_with("their_");
    let shown: Vec<usize> = (0..header.len())
        .filter(|i| header.get(*i).is_some_and(wanted))
        .collect();
    let pick = |row: &csv::StringRecord| -> Vec<String> {
        shown
            .iter()
            .map(|i| row.get(*i).unwrap_or_default().to_owned())
            .collect()
    };
    let names = pick(&header);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> = reader
        .records()
        .flatten()
        .take(5)
        .map(|row| pick(&row))
        .collect();
    match rows.is_empty() {
        true => "none: nothing matched".to_owned(),
        false => list(&names, rows),
    }
}
