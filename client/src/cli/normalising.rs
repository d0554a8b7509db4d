//! `tally normalise`: canonical forms and the keys a table emits. Needs no home and asks nobody.

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
};

use clap::Args;
use serde::Serialize;
use tallystick_agency::{
    AgencyError,
    exit::{Exit, Failure, Outcome},
    table_flags::RejectFlags,
};
use tallystick_protocol::identifiers::{IdentifierType, form_of};
use tallystick_tables::{Extractor, RejectsPass, RowKey, Source, Tally};
use zeroize::Zeroizing;

use super::{
    Context, facts,
    tables::{KeyArgs, left_out},
};
use crate::progress::Progress;

/// What to normalise.
#[derive(Debug, Args)]
pub(crate) struct NormaliseArgs {
    /// The table: CSV, TSV or JSON lines, also packed (.gz, .zst); - is standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    rejects: RejectFlags,
    /// One JSON object a key instead of a line of CSV
    #[arg(long, conflicts_with = "json")]
    json_lines: bool,
    /// Replace the file of --rejects if it exists
    #[arg(long, requires = "rejects")]
    force: bool,
}

/// What became of the table.
#[derive(Serialize)]
struct Normalised {
    profile: String,
    rows: u64,
    keys: u64,
    elements: u64,
    empty: u64,
    rejected: u64,
    cut: u64,
}

impl Normalised {
    fn text(&self) -> String {
        facts([
            ("profile", self.profile.clone()),
            ("rows", self.rows.to_string()),
            ("keys", self.keys.to_string()),
            ("elements", self.elements.to_string()),
            ("left out", left_out(self.empty, self.rejected, self.cut)),
        ])
    }
}

/// One key, as a JSON line.
#[derive(Serialize)]
struct Line<'a> {
    line: u64,
    #[serde(rename = "type")]
    ty: &'static str,
    rule: &'static str,
    key: &'a str,
}

/// Where keys go, in one of three forms.
enum Keys<W: Write> {
    Table(Box<csv::Writer<W>>),
    Lines(W),
    /// One object, whose member `emitted` is a list; whether one stands in it.
    Object(W, bool),
}

impl<W: Write> Keys<W> {
    fn begin(mut out: W, args: &NormaliseArgs, json: bool) -> io::Result<Self> {
        if args.json_lines {
            return Ok(Self::Lines(out));
        }
        if json {
            out.write_all(b"{\"schema\":\"tally.normalise/1\",\"emitted\":[")?;
            return Ok(Self::Object(out, false));
        }
        let mut table = csv::Writer::from_writer(out);
        // Into a buffer, which takes it.
        table.write_record(["line", "type", "rule", "key"])?;
        Ok(Self::Table(Box::new(table)))
    }

    fn write(&mut self, line: u64, key: &RowKey) -> io::Result<()> {
        // All that is emitted, while a hit shows the rule and the row's own fields alone.
        let people = matches!(key.ty, IdentifierType::Person | IdentifierType::Name);
        let form = people.then(|| form_of(&key.normalised.element)).flatten();
        let form = form.map(|form| Zeroizing::new(format!("{}:{}:{}", key.ty, key.rule, *form)));
        let entry = Line {
            line,
            ty: key.ty.name(),
            rule: key.rule.name(),
            key: form.as_ref().unwrap_or(&key.normalised.key_text),
        };
        match self {
            Self::Table(table) => {
                let line = line.to_string();
                let written = table.write_record([&line, entry.ty, entry.rule, entry.key]);
                written.map_err(|error| match error.into_kind() {
                    csv::ErrorKind::Io(error) => error,
                    _ => io::Error::other("not a line of CSV"),
                })
            }
            Self::Lines(out) => {
                serde_json::to_writer(&mut *out, &entry)?;
                out.write_all(b"\n")
            }
            Self::Object(out, any) => {
                if std::mem::replace(any, true) {
                    out.write_all(b",")?;
                }
                Ok(serde_json::to_writer(out, &entry)?)
            }
        }
    }

    fn end(self, done: &Normalised) -> io::Result<()> {
        match self {
            Self::Table(mut table) => table.flush(),
            Self::Lines(mut out) => out.flush(),
            Self::Object(mut out, _) => {
                // What follows the list are the members of the totals.
                let totals = serde_json::to_string(done)?;
                let members = totals.strip_prefix('{').unwrap_or(&totals);
                writeln!(out, "],{members}")?;
                out.flush()
            }
        }
    }
}

/// A reader that went away (`| head`) ends it without a word.
fn unwritten(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::new(Exit::Done, "stdout", "the reader went away", "");
    }
    let what = format!("cannot write the keys: {error}");
    Failure::usage("stdout", what, "check where stdout leads to")
}

pub(crate) fn run(context: &Context, args: &NormaliseArgs) -> Outcome<Exit> {
    match normalise(context, args) {
        Ok(done) => {
            if !context.json {
                context.hint(&done.text());
            }
            Ok(Exit::Done)
        }
        Err(failure) if failure.exit == Exit::Done => Ok(Exit::Done),
        Err(failure) => Err(failure),
    }
}

/// Reads the table, and writes each key; with `--stop-on-rejects` only once it has been read to its end
/// without any.
fn normalise(context: &Context, args: &NormaliseArgs) -> Outcome<Normalised> {
    let (input, mapping) = args.keys.input(args.input.clone(), context.quiet)?;
    let source = input.open().map_err(AgencyError::from)?;
    let extractor = Extractor::new(source.header(), &mapping).map_err(AgencyError::from)?;
    let begin = || {
        let rejects = args.rejects.rejects(args.force);
        rejects.begin(source.header(), &mapping)
    };
    let bar = || Progress::new("reading", input.size().unwrap_or(0), "bytes", context.quiet);
    if args.rejects.stop_on_rejects {
        let mut rejects = begin().map_err(AgencyError::from)?;
        let tally = each_key(&source, &extractor, &mut rejects, &bar(), |_, _| Ok(()))?;
        rejects
            .end(source.path(), &tally)
            .map_err(AgencyError::from)?;
    }
    let mut rejects = begin().map_err(AgencyError::from)?;
    let out = BufWriter::new(io::stdout());
    let mut keys = Keys::begin(out, args, context.json).map_err(unwritten)?;
    let tally = each_key(&source, &extractor, &mut rejects, &bar(), |line, key| {
        keys.write(line, key).map_err(unwritten)
    })?;
    let done = Normalised {
        profile: mapping.profile().id().to_owned(),
        rows: tally.rows,
        keys: tally.keys,
        elements: tally.elements,
        empty: tally.empty,
        rejected: tally.rejected_total(),
        cut: tally.cut,
    };
    // The list first: whoever reads the keys may go away before their end.
    let rejects = rejects.end(source.path(), &tally);
    if let Some(rejects) = rejects.map_err(AgencyError::from)? {
        rejects.finish().map_err(AgencyError::from)?;
    }
    keys.end(&done).map_err(unwritten)?;
    Ok(done)
}

/// One pass over the table; gives what became of its rows.
fn each_key(
    source: &Source,
    extractor: &Extractor,
    rejects: &mut RejectsPass,
    bar: &Progress,
    mut each: impl FnMut(u64, &RowKey) -> Outcome<()>,
) -> Outcome<Tally> {
    let mut tally = Tally::default();
    let mut rows = source.rows().map_err(AgencyError::from)?;
    while let Some(row) = rows.next_row().map_err(AgencyError::from)? {
        let found = extractor.keys_and_rejects(&row, &mut tally, |reject| rejects.note(&reject));
        for key in found.map_err(AgencyError::from)? {
            each(row.line(), &key)?;
        }
        if tally.rows.is_multiple_of(4096) {
            bar.set(rows.bytes_read());
        }
    }
    bar.finish();
    Ok(tally)
}
