//! A strict reader of JSON lines: an object a line, its members the fields.
//!
//! The columns are the members of the first object, in its order. A later line may leave members out,
//! which makes empty fields, and have them in another order. A member that the first line does not
//! have is refused: no column would show it. So are members that stand twice, arrays and objects
//! within. Numbers are taken as they are written, `null` is empty. Blank lines are skipped.

use std::{
    borrow::Cow,
    fmt,
    io::{self, Read},
    ops::Range,
    path::Path,
};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::{
    error::TableError,
    input::read_error,
    reader::{MAX_COLUMNS, MAX_FIELD_BYTES, MAX_ROW_BYTES, Row},
};

const BUFFER: usize = 64 << 10;
const BOM: &[u8] = b"\xef\xbb\xbf";

const NO_OBJECT: &str = "the line is no JSON object";
const NO_MEMBER: &str = "the object has no member";
const TWICE: &str = "a member stands twice";
const UNKNOWN: &str = "there is a member that the first line does not have";
const NESTED: &str = "a member is an array or an object";
const BAD_TEXT: &str = "a text has a \\u escape that is no character";

/// Reads objects from bytes.
pub(crate) struct JsonReader<R> {
    input: R,
    buffer: Zeroizing<Vec<u8>>,
    at: usize,
    filled: usize,
    /// The line that the next byte stands on.
    next_line: u64,
    line: Zeroizing<Vec<u8>>,
    columns: Vec<String>,
    record: Record,
    /// The line of the record that is given once more.
    held: Option<u64>,
    started: bool,
    done: bool,
}

/// Values as they come, and in the order of the columns.
struct Record {
    values: Zeroizing<String>,
    /// Where the value of each column stands.
    places: Vec<Option<Range<usize>>>,
    text: Zeroizing<String>,
    ends: Vec<usize>,
}

impl<R: Read> JsonReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            buffer: Zeroizing::new(vec![0; BUFFER]),
            at: 0,
            filled: 0,
            next_line: 1,
            line: Zeroizing::new(Vec::with_capacity(4096)),
            columns: Vec::new(),
            record: Record {
                values: Zeroizing::new(String::with_capacity(4096)),
                places: Vec::new(),
                text: Zeroizing::new(String::with_capacity(4096)),
                ends: Vec::new(),
            },
            held: None,
            started: false,
            done: false,
        }
    }

    /// Where the bytes come from.
    pub(crate) const fn input(&self) -> &R {
        &self.input
    }

    /// Whether the end was reached.
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    /// The line of the first object and its members, `None` for an empty file. The object itself is
    /// given by the next call of [`Self::next`].
    pub(crate) fn columns(
        &mut self,
        file: &Path,
    ) -> Result<Option<(u64, Vec<String>)>, TableError> {
        let Some(line) = self.read_line(file)? else {
            return Ok(None);
        };
        if matches!(self.line[..], [0, ..] | [_, 0, ..]) {
            return Err(TableError::Utf16 {
                file: file.to_owned(),
            });
        }
        let mut names = Vec::new();
        let text = text_of(&self.line, file, line)?;
        members(text, |name, _| {
            names.push(name.trim().to_owned());
            Ok(())
        })
        .map_err(|problem| json_error(file, line, problem))?;
        if names.is_empty() {
            return Err(json_error(file, line, NO_MEMBER));
        }
        if names.len() > MAX_COLUMNS {
            return Err(TableError::TooManyColumns {
                file: file.to_owned(),
                line,
                limit: MAX_COLUMNS,
            });
        }
        self.columns = names.clone();
        self.held = Some(line);
        Ok(Some((line, names)))
    }

    /// The next record, or `None` at the end. After an error the reader must not be used again.
    pub(crate) fn next(&mut self, file: &Path) -> Result<Option<Row<'_>>, TableError> {
        let line = match self.held.take() {
            Some(line) => Some(line),
            None => self.read_line(file)?,
        };
        let Some(line) = line else {
            return Ok(None);
        };
        let (columns, record) = (&self.columns, &mut self.record);
        let text = text_of(&self.line, file, line)?;
        record.begin(columns.len(), text.len());
        // Members mostly stand in the order of the first line.
        let mut expected = 0;
        members(text, |name, value| {
            let name = name.trim();
            let here = columns.get(expected).is_some_and(|column| column == name);
            let index = match here {
                true => expected,
                false => {
                    let found = columns.iter().position(|column| column == name);
                    found.ok_or(UNKNOWN)?
                }
            };
            expected = index + 1;
            record.put(index, &scalar(value)?)
        })
        .map_err(|problem| json_error(file, line, problem))?;
        record.finish(file, line)?;
        Ok(Some(Row::new(line, &record.text, &record.ends)))
    }

    /// Fills `line` with the next line that is not blank; gives its number.
    fn read_line(&mut self, file: &Path) -> Result<Option<u64>, TableError> {
        loop {
            self.line.clear();
            let number = self.next_line;
            let mut ended = false;
            while !ended {
                if self.at == self.filled && !self.fill(file)? {
                    break;
                }
                let rest = &self.buffer[self.at..self.filled];
                let run = rest.iter().position(|byte| *byte == b'\n');
                let n = run.unwrap_or(rest.len());
                let need = self.line.len() + n;
                if need > MAX_ROW_BYTES {
                    return Err(TableError::RowTooLong {
                        file: file.to_owned(),
                        line: number,
                        limit: MAX_ROW_BYTES,
                    });
                }
                // Grown by hand: `Vec` would free the old bytes without wiping them.
                if need > self.line.capacity() {
                    let mut larger = Zeroizing::new(Vec::with_capacity(need.next_power_of_two()));
                    larger.extend_from_slice(&self.line);
                    self.line = larger;
                }
                self.line
                    .extend_from_slice(rest.get(..n).unwrap_or_default());
                self.at += n;
                if run.is_some() {
                    self.at += 1;
                    self.next_line += 1;
                    ended = true;
                }
            }
            if !self.line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(number));
            }
            if !ended {
                return Ok(None);
            }
        }
    }

    /// False at the end of the file.
    fn fill(&mut self, file: &Path) -> Result<bool, TableError> {
        if self.done {
            return Ok(false);
        }
        self.at = 0;
        self.filled = 0;
        // The mark may come in parts.
        let enough = if self.started { 1 } else { BOM.len() };
        while self.filled < enough {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(0) => {
                    self.done = true;
                    break;
                }
                Ok(n) => self.filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(read_error(file, e)),
            }
        }
        if !self.started && self.buffer[..self.filled].starts_with(BOM) {
            self.at = BOM.len();
        }
        self.started = true;
        Ok(self.at < self.filled || !self.done)
    }
}

impl Record {
    /// Room is made at once: a text that grows leaves copies of what it held.
    fn begin(&mut self, columns: usize, bytes: usize) {
        for text in [&mut self.values, &mut self.text] {
            text.clear();
            text.reserve(bytes);
        }
        self.places.clear();
        self.places.resize(columns, None);
        self.ends.clear();
    }

    fn put(&mut self, index: usize, value: &str) -> Result<(), &'static str> {
        let place = self.places.get_mut(index).ok_or(UNKNOWN)?;
        if place.is_some() {
            return Err(TWICE);
        }
        let start = self.values.len();
        self.values.push_str(value);
        *place = Some(start..self.values.len());
        Ok(())
    }

    fn finish(&mut self, file: &Path, line: u64) -> Result<(), TableError> {
        for (at, place) in self.places.iter().enumerate() {
            let value = place.clone().and_then(|place| self.values.get(place));
            let value = value.unwrap_or_default();
            if value.len() > MAX_FIELD_BYTES {
                return Err(TableError::FieldTooLong {
                    file: file.to_owned(),
                    line,
                    column: at + 1,
                    limit: MAX_FIELD_BYTES,
                });
            }
            if value.contains('\0') {
                return Err(TableError::Nul {
                    file: file.to_owned(),
                    line,
                    column: at + 1,
                });
            }
            self.text.push_str(value);
            self.ends.push(self.text.len());
        }
        Ok(())
    }
}

fn text_of<'a>(bytes: &'a [u8], file: &Path, line: u64) -> Result<&'a str, TableError> {
    if bytes.contains(&0) {
        // Also what UTF-16 without a mark looks like.
        return Err(TableError::Nul {
            file: file.to_owned(),
            line,
            column: 1,
        });
    }
    std::str::from_utf8(bytes).map_err(|_| TableError::NotUtf8 {
        file: file.to_owned(),
        line,
        column: 1,
    })
}

fn json_error(file: &Path, line: u64, problem: &'static str) -> TableError {
    TableError::Json {
        file: file.to_owned(),
        line,
        problem,
    }
}

/// Calls `each` for every member of an object: its name, and its value as it is written.
fn members(
    text: &str,
    each: impl FnMut(&str, &str) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    let mut problem = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let walk = Walk {
        each,
        problem: &mut problem,
    };
    // What the parser says may hold what it read.
    let read = json.deserialize_map(walk).and_then(|()| json.end());
    match (problem, read) {
        (Some(problem), _) => Err(problem),
        (None, Err(_)) => Err(NO_OBJECT),
        (None, Ok(())) => Ok(()),
    }
}

struct Walk<'a, F> {
    each: F,
    problem: &'a mut Option<&'static str>,
}

impl<'de, F: FnMut(&str, &str) -> Result<(), &'static str>> Visitor<'de> for Walk<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<(), M::Error> {
        while let Some(Key(name)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            if let Err(problem) = (self.each)(&name, value.get()) {
                *self.problem = Some(problem);
                return Err(serde::de::Error::custom(problem));
            }
        }
        Ok(())
    }
}

/// The name of a member, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The text of a value that is no array and no object.
fn scalar(value: &str) -> Result<Cow<'_, str>, &'static str> {
    match value.as_bytes() {
        [b'{' | b'[', ..] => Err(NESTED),
        [b'n', ..] => Ok(Cow::Borrowed("")),
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => Ok(Cow::Borrowed(
            value.get(1..value.len() - 1).unwrap_or_default(),
        )),
        [b'"', ..] => serde_json::from_str(value)
            .map(Cow::Owned)
            .map_err(|_| BAD_TEXT),
        _ => Ok(Cow::Borrowed(value)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "json_lines_tests.rs"]
mod tests;
