//! `tally document`: documents that cannot be true, and series of numbers. Needs no home.

mod check;
mod checked;

use std::{fmt, io::Write, path::PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use tallystick_agency::{
    exit::{Exit, Failure, Outcome},
    fs, report,
};
use tallystick_protocol::identifiers::{IdentifierType, mrz::is_known_state, normalise, series};
use zeroize::Zeroizing;

pub(super) use self::check::kind;
use super::{Context, PROGRAM, facts};

#[derive(Debug, Subcommand)]
pub(crate) enum DocumentCommand {
    /// Say what in a machine-readable zone, or in printed fields, cannot be true, and what no check
    /// digit can see
    Check(Box<check::CheckArgs>),
    /// Write all numbers of a series of stolen blanks, as a table that can be published
    Series(SeriesArgs),
}

/// An identifier on the command line: Debug hides it.
#[derive(Clone)]
pub(super) struct Hidden(Zeroizing<String>);

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(..)")
    }
}

impl Hidden {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What series to write.
#[derive(Debug, Args)]
pub(crate) struct SeriesArgs {
    /// First number
    #[arg(long, value_name = "NUMBER")]
    from: Hidden,
    /// Last number; it is part of the series
    #[arg(long, value_name = "NUMBER")]
    to: Hidden,
    /// Issuing state, three letters (UTO), or D
    #[arg(long, value_name = "STATE")]
    state: String,
    /// The most numbers to write
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    cap: u64,
    /// File for the table; without it the table goes to stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that exists
    #[arg(long, requires = "out")]
    force: bool,
}

/// What was written.
#[derive(Serialize)]
struct Written {
    numbers: u64,
    out: PathBuf,
    key: &'static str,
}

impl report::Report for Written {
    const COMMAND: &'static str = "document-series";

    fn text(&self) -> String {
        facts([
            ("numbers", self.numbers.to_string()),
            ("out", self.out.display().to_string()),
            ("key", self.key.to_owned()),
        ])
    }
}

pub(crate) fn run(context: &Context, command: &DocumentCommand) -> Outcome<Exit> {
    match command {
        DocumentCommand::Check(args) => check::run(context, args),
        DocumentCommand::Series(args) => write_series(context, args),
    }
}

fn write_series(context: &Context, args: &SeriesArgs) -> Outcome<Exit> {
    let refused = |code: &str, text: String| {
        let (what, next) = text.split_once("; ").unwrap_or((&text, ""));
        Failure::usage(code, what, next)
    };
    let numbers = series::expand(args.from.as_str(), args.to.as_str(), args.cap)
        .map_err(|error| refused(error.code(), error.to_string()))?;
    // The state is canonical in every line, so that the table can be read by anything.
    let document = normalise(IdentifierType::Document, &["1", &args.state])
        .map_err(|reject| refused(reject.code(), reject.to_string()))?;
    let text = document.map(|document| document.key_text);
    let state = text.as_ref().and_then(|text| text.split(':').nth(1));
    let state = state.unwrap_or_default();
    if !is_known_state(state) {
        context.hint("warning: no state has this code, unless it is newer than the list");
    }
    let count = numbers.left();
    let line = args.from.as_str().len() + 1 + state.len() + 1;
    let room = usize::try_from(count).unwrap_or(usize::MAX);
    let mut table = Zeroizing::new(Vec::with_capacity(room.saturating_mul(line).min(1 << 30)));
    let write = || -> std::io::Result<()> {
        table.write_all(b"number,state\n")?;
        for number in numbers {
            writeln!(table, "{},{state}", &*number)?;
        }
        Ok(())
    };
    // Memory takes every write.
    write().map_err(|error| Failure::usage("series-io", error.to_string(), ""))?;
    let Some(out) = &args.out else {
        if context.json {
            return Err(Failure::usage(
                "series-json",
                "with --json the table has no place on stdout",
                "name a file with --out",
            ));
        }
        report::write_stdout(&table)?;
        return Ok(Exit::Done);
    };
    if !args.force && out.symlink_metadata().is_ok() {
        return Err(Failure::usage(
            "output-exists",
            format!("{} exists and was left as it is", out.display()),
            "choose another name, or use --force to replace it",
        ));
    }
    fs::atomic_write(out, &table, fs::OWNER_FILE)?;
    let written = Written {
        numbers: count,
        out: out.clone(),
        key: "document=number,state",
    };
    context.print(PROGRAM, &written)?;
    Ok(Exit::Done)
}
