//! Results of commands: a table for people or one object for programs, on stdout.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use time::{OffsetDateTime, macros::format_description};

use crate::exit::{Failure, Outcome};

/// What a command did or found. Its members are those of the object, in order.
pub trait Report: Serialize {
    /// The middle of the schema's name: `peer-list` of `tallyd.peer-list/1`.
    const COMMAND: &'static str;

    /// The same for people.
    fn text(&self) -> String;
}

/// The object: the schema first.
#[derive(Serialize)]
struct Document<'a, R> {
    schema: String,
    #[serde(flatten)]
    report: &'a R,
}

/// Prints a result of `program`.
///
/// # Errors
/// A failure if stdout cannot be written.
pub fn print<R: Report>(program: &str, json: bool, report: &R) -> Outcome<()> {
    let mut text = match json {
        true => {
            let schema = format!("{program}.{}/1", R::COMMAND);
            serde_json::to_string(&Document { schema, report }).map_err(unwritable)?
        }
        false => report.text(),
    };
    text.push('\n');
    write_stdout(text.as_bytes())
}

/// Writes bytes to stdout. A reader that went away (`| head`) is no error.
///
/// # Errors
/// A failure if stdout cannot be written.
pub fn write_stdout(bytes: &[u8]) -> Outcome<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(unwritable(e)),
        _ => Ok(()),
    }
}

fn unwritable(error: impl std::fmt::Display) -> Failure {
    let what = format!("cannot write the result: {error}");
    Failure::usage("stdout", what, "check where stdout leads to")
}

/// A table of names and values.
pub fn facts<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    for (name, value) in rows {
        table.add_row([name, &value]);
    }
    table.trim_fmt()
}

/// A table with a header.
pub fn list(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table.add_rows(rows);
    table.trim_fmt()
}

/// A time for people, in UTC to the second.
#[must_use]
pub fn moment(ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000))
        .ok()
        .and_then(|time| time.format(format).ok())
        .unwrap_or_else(|| format!("{ms} ms"))
}
