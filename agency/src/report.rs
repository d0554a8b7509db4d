//! Results of commands: a table for people or one object for programs, on stdout.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use tallystick_protocol::statements::{Coverage, Line, ListKind};
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
pub fn facts<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    for (name, value) in rows {
        table.add_row([name, &value]);
    }
    table
}

/// A table with a header, still empty.
pub fn list(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

/// `-` for nothing.
#[must_use]
pub fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

/// A fingerprint as two people read it to each other: groups of four, two lines of eight.
#[must_use]
pub fn grouped(hex: &str) -> String {
    let digits: Vec<char> = hex.chars().collect();
    let groups: Vec<String> = digits
        .chunks(4)
        .map(|group| group.iter().collect())
        .collect();
    let lines: Vec<String> = groups.chunks(8).map(|line| line.join(" ")).collect();
    lines.join("\n")
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

/// What a list says of itself, in words.
#[must_use]
pub fn kind_of_list(kind: Option<ListKind>, covers: Option<&Coverage>) -> String {
    let Some(covers) = covers else {
        return or_dash(kind.map(ListKind::name));
    };
    let states: Vec<&str> = covers.states.iter().map(Line::as_str).collect();
    let until = moment(covers.complete_ms.get().cast_signed());
    format!("register of {}, complete until {until}", states.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_grouped() {
        let hex = "0123456789abcdef".repeat(4);
        let line = "0123 4567 89ab cdef 0123 4567 89ab cdef";
        assert_eq!(grouped(&hex), format!("{line}\n{line}"));
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(moment(1_700_000_000_000), "2023-11-14 22:13:20 UTC");
        assert_eq!(moment(i64::MAX), format!("{} ms", i64::MAX));
    }
}
