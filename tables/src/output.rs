//! Matches out.
//!
//! The own columns come first, unchanged and in order; then [`MATCH_COLUMNS`]; then
//! `their_<column>` for each label column. One line for each own row and distinct record behind
//! its hits; one line for each own row where there are no labels.
//!
//! Values go out as they came in: a cell that begins with `=`, `+`, `-` or `@` is a formula to a
//! spreadsheet. Changing it would break the contract that own columns are unchanged, so whoever
//! opens a result should import it as text.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tallystick_protocol::identifiers::{IdentifierType, Rule};

use crate::error::TableError;
use crate::new_file::NewFile;
use crate::reader::Row;
use crate::recheck::Recheck;
use crate::source::{Header, io_error};

/// The columns that stand between the own and theirs.
pub const MATCH_COLUMNS: [&str; 4] = ["tally_type", "tally_rule", "tally_score", "tally_key"];
/// What the names of label columns begin with.
pub const THEIR_PREFIX: &str = "their_";

/// Joins several types, rules or keys that found one pair. A key of free text may hold it, too.
const JOINT: char = ';';

/// One hit of a row: which key found it, and the records behind it.
#[derive(Clone, Copy)]
pub struct RowHit<'a> {
    /// Which key of the mapping it is.
    pub key_index: usize,
    /// Type of the key.
    pub ty: IdentifierType,
    /// Rule of the key.
    pub rule: Rule,
    /// The key in canonical form, for people. Sensitive.
    pub key_text: &'a str,
    /// The opened label's records, each with the label columns in order; empty without labels.
    pub records: &'a [Vec<String>],
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Lines, without the header.
    pub lines: u64,
    /// Own rows that have at least one line.
    pub rows: u64,
}

enum Sink {
    File(NewFile),
    Stream(Box<dyn Write + Send>),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

/// Writes matches as CSV, to a file (mode 0600, whole or not at all) or to a stream.
///
/// A file is written under a temporary name in the same directory; [`MatchWriter::finish`] syncs
/// and renames it. Dropping the writer removes it; what a killed process left goes with the next
/// output in that folder. Its buffers are not wiped: what they hold goes
/// to the output in clear.
pub struct MatchWriter {
    csv: csv::Writer<BufWriter<Sink>>,
    name: PathBuf,
    their_columns: usize,
    recheck: Recheck,
    written: Written,
}

impl MatchWriter {
    /// Whether an output can have these columns: for a caller that would know before it asks.
    ///
    /// # Errors
    /// `OutputColumn`.
    pub fn check_columns(own: &Header, their_columns: &[String]) -> Result<(), TableError> {
        columns(own, their_columns).map(drop)
    }

    /// Writes to `path`. Without `force` an existing path is refused, now and again at the end;
    /// with it a regular file is replaced, never a directory, device or link.
    ///
    /// # Errors
    /// `OutputIsInput`, `Exists`, `OutputColumn`, `Io`.
    pub fn to_file(
        path: impl AsRef<Path>,
        force: bool,
        own: &Header,
        their_columns: &[String],
    ) -> Result<Self, TableError> {
        let path = path.as_ref();
        let columns = columns(own, their_columns)?;
        let sink = Sink::File(NewFile::create(path, force, own)?);
        Self::start(sink, path, &columns, their_columns.len())
    }

    /// Writes to a stream; `name` is for errors, such as `stdout`.
    ///
    /// # Errors
    /// `OutputColumn`, `Io`.
    pub fn to_stream(
        stream: Box<dyn Write + Send>,
        name: &str,
        own: &Header,
        their_columns: &[String],
    ) -> Result<Self, TableError> {
        let columns = columns(own, their_columns)?;
        Self::start(
            Sink::Stream(stream),
            Path::new(name),
            &columns,
            their_columns.len(),
        )
    }

    fn start(
        sink: Sink,
        name: &Path,
        columns: &[String],
        their_columns: usize,
    ) -> Result<Self, TableError> {
        let mut writer = Self {
            csv: csv::Writer::from_writer(BufWriter::new(sink)),
            name: name.to_owned(),
            their_columns,
            recheck: Recheck::default(),
            written: Written { lines: 0, rows: 0 },
        };
        let result = writer.csv.write_record(columns);
        result.map_err(|e| write_error(&writer.name, e))?;
        Ok(writer)
    }

    /// The same, which scores hits by a re-check.
    #[must_use]
    pub fn rechecked(mut self, recheck: Recheck) -> Self {
        self.recheck = recheck;
        self
    }

    /// Writes the lines of one own row; gives how many. Without hits there are none. Records of
    /// several hits that are equal are one line: types, rules and for each rule its first key, joined by
    /// `;`, the surest rule first; and one score, that of the re-check if the record says something to
    /// compare, else that of the surest rule.
    ///
    /// # Errors
    /// `LabelMalformed` for a record with another number of columns, `Io`.
    pub fn write_row(&mut self, row: &Row<'_>, hits: &[RowHit<'_>]) -> Result<u64, TableError> {
        let mut lines = Lines::default();
        for hit in hits {
            if self.their_columns == 0 {
                lines.add(&[], hit);
                continue;
            }
            if hit.records.is_empty() || hit.records.iter().any(|r| r.len() != self.their_columns) {
                return Err(TableError::LabelMalformed {
                    problem: "a record has another number of columns",
                });
            }
            for record in hit.records {
                lines.add(record, hit);
            }
        }
        for (record, hits) in &mut lines.lines {
            let hits = surest_first(hits);
            let checked = hits
                .iter()
                .filter_map(|hit| self.recheck.score(row, hit.key_index, record))
                .max();
            let surest = hits.iter().map(|hit| hit.rule.score_thousandths()).max();
            // Who says little is soon alike: then it is no surer than what the rule rests on.
            let checked = checked.map(|alike| match alike.whole {
                true => alike.thousandths,
                false => alike.thousandths.min(surest.unwrap_or_default()),
            });
            let middle = [
                joined(&hits, |h| h.ty.name().to_owned()),
                joined(&hits, |h| h.rule.name().to_owned()),
                score(checked.or(surest).unwrap_or_default()),
                joined(&hits, |h| h.key_text.to_owned()),
            ];
            let line = row
                .fields()
                .chain(middle.iter().map(String::as_str))
                .chain(record.iter().map(String::as_str));
            let result = self.csv.write_record(line);
            result.map_err(|e| write_error(&self.name, e))?;
        }
        let count = lines.lines.len() as u64;
        self.written.lines += count;
        self.written.rows += u64::from(count > 0);
        Ok(count)
    }

    /// Flushes; for a file also syncs it and gives it its name.
    ///
    /// # Errors
    /// `Exists` when someone else made the path meanwhile, `Io`. Nothing new stands at the path then,
    /// unless it was the very last step that failed, syncing the directory.
    pub fn finish(self) -> Result<Written, TableError> {
        let name = self.name;
        let error = |e| io_error(&name, "write the output", e);
        let buffered = self.csv.into_inner().map_err(|e| error(e.into_error()))?;
        let mut sink = buffered.into_inner().map_err(|e| error(e.into_error()))?;
        sink.flush().map_err(error)?;
        if let Sink::File(file) = sink {
            file.finish()?;
        }
        Ok(self.written)
    }
}

impl std::fmt::Debug for MatchWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "MatchWriter({}, {:?})",
            self.name.display(),
            self.written
        )
    }
}

/// The lines of one row. The index keeps a label of very many records from costing their square.
#[derive(Default)]
struct Lines<'a, 'b> {
    lines: Vec<(&'a [String], Vec<&'b RowHit<'a>>)>,
    index: HashMap<&'a [String], usize>,
}

impl<'a, 'b> Lines<'a, 'b> {
    fn add(&mut self, record: &'a [String], hit: &'b RowHit<'a>) {
        let next = self.lines.len();
        match self.index.entry(record) {
            Entry::Occupied(at) => self.lines[*at.get()].1.push(hit),
            Entry::Vacant(free) => {
                free.insert(next);
                self.lines.push((record, vec![hit]));
            }
        }
    }
}

fn joined(hits: &[&RowHit<'_>], field: impl Fn(&RowHit<'_>) -> String) -> String {
    let mut distinct: Vec<String> = Vec::with_capacity(hits.len());
    for hit in hits {
        let value = field(hit);
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct.join(&JOINT.to_string())
}

/// One hit of each key of the mapping and rule, the surest rule first, without rules that a surer one
/// implies: who is exactly the same is also the same by every wider rule, and a list of all of them
/// would hide what was found.
fn surest_first<'a, 'b>(hits: &mut Vec<&'b RowHit<'a>>) -> Vec<&'b RowHit<'a>> {
    hits.sort_by_key(|hit| std::cmp::Reverse(hit.rule.score_thousandths()));
    let mut seen = HashSet::new();
    let mut first = std::mem::take(hits);
    first.retain(|hit| hit.rule == Rule::Exact || seen.insert((hit.key_index, hit.rule)));
    let surest: Vec<(usize, Rule)> = first.iter().map(|hit| (hit.key_index, hit.rule)).collect();
    let implied = |hit: &RowHit<'_>| {
        let by = |(key, rule): &(usize, Rule)| *key == hit.key_index && rule.implies(hit.rule);
        surest.iter().any(by)
    };
    first.retain(|hit| !implied(hit));
    first
}

fn score(thousandths: u16) -> String {
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

/// All columns of the output. Some of their names come from the other side, so the check is here.
fn columns(own: &Header, their_columns: &[String]) -> Result<Vec<String>, TableError> {
    let theirs = their_columns.iter().map(|c| format!("{THEIR_PREFIX}{c}"));
    let columns: Vec<String> = own
        .names()
        .iter()
        .cloned()
        .chain(MATCH_COLUMNS.map(str::to_owned))
        .chain(theirs)
        .collect();
    let mut seen = HashSet::new();
    match columns.iter().find(|c| !seen.insert(c.as_str())) {
        Some(column) => Err(TableError::OutputColumn {
            column: column.clone(),
        }),
        None => Ok(columns),
    }
}

/// A csv error is an I/O error or about lengths of records, which are equal here.
fn write_error(name: &Path, e: csv::Error) -> TableError {
    io_error(name, "write the output", io::Error::from(e))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "output_tests.rs"]
mod tests;
