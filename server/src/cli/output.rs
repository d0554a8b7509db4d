//! Results: a table for people or an object for programs, on stdout.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use tallystick_agency::exit::{Failure, Outcome};
use time::{OffsetDateTime, macros::format_description};

use super::{Context, PROGRAM};

/// Days before an end at which it is warned about.
pub(super) const WARN_DAYS: i64 = 30;
const DAY_MS: i64 = 86_400_000;

/// What a command did or found. Its members are those of the object, in order.
pub(super) trait Report: Serialize {
    /// The middle of the schema's name: `peer-list` of `tallyd.peer-list/1`.
    const COMMAND: &'static str;

    /// The same for people.
    fn table(&self) -> Table;
}

/// The object: the schema first.
#[derive(Serialize)]
struct Document<'a, R> {
    schema: String,
    #[serde(flatten)]
    report: &'a R,
}

impl Context {
    /// Prints the result.
    pub(super) fn print<R: Report>(&self, report: &R) -> Outcome<()> {
        let mut text = match self.json {
            true => {
                let schema = format!("{PROGRAM}.{}/1", R::COMMAND);
                serde_json::to_string(&Document { schema, report }).map_err(unwritable)?
            }
            false => report.table().trim_fmt(),
        };
        text.push('\n');
        write_stdout(text.as_bytes())
    }
}

/// Writes the whole result. A reader that went away (`| head`) is no error.
pub(super) fn write_stdout(bytes: &[u8]) -> Outcome<()> {
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
pub(super) fn facts<const N: usize>(rows: [(&str, String); N]) -> Table {
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
pub(super) fn list<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

/// `-` for nothing.
pub(super) fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

/// A fingerprint as two people read it to each other: groups of four, two lines of eight.
pub(super) fn grouped(hex: &str) -> String {
    let digits: Vec<char> = hex.chars().collect();
    let groups: Vec<String> = digits
        .chunks(4)
        .map(|group| group.iter().collect())
        .collect();
    let lines: Vec<String> = groups.chunks(8).map(|line| line.join(" ")).collect();
    lines.join("\n")
}

/// A time for people, in UTC to the minute.
pub(super) fn moment(ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000))
        .ok()
        .and_then(|time| time.format(format).ok())
        .unwrap_or_else(|| format!("{ms} ms"))
}

/// Whether a time lies within the next [`WARN_DAYS`] days, or in the past.
pub(super) fn ends_soon(end_ms: i64, now_ms: i64) -> bool {
    end_ms - now_ms < WARN_DAYS * DAY_MS
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
        assert_eq!(moment(0), "1970-01-01 00:00 UTC");
        assert_eq!(moment(1_700_000_000_000), "2023-11-14 22:13 UTC");
        assert_eq!(moment(i64::MAX), format!("{} ms", i64::MAX));
    }

    #[test]
    fn ends_are_announced() {
        assert!(ends_soon(0, 1));
        assert!(ends_soon(29 * DAY_MS, 0));
        assert!(!ends_soon(31 * DAY_MS, 0));
    }
}
