//! A strict RFC 4180 reader over buffers that are bounded and wiped.
//!
//! The csv crate is not used to read: it grows a field without bound, forgives a quote that never
//! closes (and so swallows rows), and keeps rows in buffers that cannot be wiped. A property
//! compares this reader with it on well-formed input.
//!
//! Records end with LF or CRLF. Blank lines are skipped. A UTF-8 byte order mark is stripped; UTF-16,
//! UTF-32 and zero bytes are refused: other encodings are turned into UTF-8 before they come here.

use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::{error::TableError, format::Dialect, input::read_error};

/// The longest field, in bytes.
pub const MAX_FIELD_BYTES: usize = 1 << 20;
/// The longest row, in bytes, without separators and quotes.
pub const MAX_ROW_BYTES: usize = 16 << 20;
/// The most columns.
pub const MAX_COLUMNS: usize = 4096;

const BUFFER: usize = 64 << 10;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// One row. Its fields are sensitive: they live in a buffer that is wiped, and Debug hides them.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    line: u64,
    text: &'a str,
    ends: &'a [usize],
    /// Bytes between a field and the next.
    gap: usize,
}

impl<'a> Row<'a> {
    /// A row of `text`, its fields ending at `ends`: ascending, on character boundaries.
    pub(crate) const fn new(line: u64, text: &'a str, ends: &'a [usize]) -> Self {
        Self {
            line,
            text,
            ends,
            gap: 0,
        }
    }

    /// The line of the file on which the row begins, from 1.
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// The number of fields: that of the header.
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Never: a row has at least one field.
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Field `index`, from 0, trimmed of white space.
    pub fn get(&self, index: usize) -> Option<&'a str> {
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)? + self.gap,
            None => 0,
        };
        self.text.get(start..end).map(str::trim)
    }

    /// All fields in order, trimmed.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = &'a str> + '_ {
        // Every index is in range, and the ends are on character boundaries: checked when read.
        (0..self.ends.len()).map(|i| self.get(i).unwrap_or_default())
    }
}

impl std::fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Row(line {}, ..)", self.line)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// At the first byte of a field.
    FieldStart,
    /// Inside a field without quotes.
    Plain,
    /// Inside quotes.
    Quoted,
    /// Behind a quote inside quotes: the end, or the first half of a doubled quote.
    QuoteSeen,
    /// Behind the closing quote and blanks.
    QuoteClosed,
    /// Behind a CR that may end the record; the flag says whether the field was quoted.
    CarriageReturn { quoted: bool },
}

/// What a byte is to the reader.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    Delimiter,
    Quote,
    LineFeed,
    CarriageReturn,
    Blank,
    Other,
}

/// Reads records from bytes.
pub(crate) struct RecordReader<R> {
    input: R,
    dialect: Dialect,
    /// Bytes that end a run of ordinary ones.
    special: [bool; 256],
    buffer: Zeroizing<Vec<u8>>,
    at: usize,
    filled: usize,
    /// The line that the next byte stands on.
    line: u64,
    record: Zeroizing<Vec<u8>>,
    ends: Vec<usize>,
    /// Bytes between a field of the record and the next: its delimiters stand in a plain one.
    gap: usize,
    /// The line of the record that is given once more.
    held: Option<u64>,
    started: bool,
    done: bool,
    lone_cr: bool,
}

impl<R: Read> RecordReader<R> {
    pub(crate) fn new(input: R, dialect: Dialect) -> Self {
        let mut special = [false; 256];
        for byte in [dialect.delimiter.byte(), b'\n', b'\r'] {
            special[usize::from(byte)] = true;
        }
        special[usize::from(b'"')] |= dialect.quotes;
        Self {
            input,
            dialect,
            special,
            buffer: Zeroizing::new(vec![0; BUFFER]),
            at: 0,
            filled: 0,
            line: 1,
            record: Zeroizing::new(Vec::with_capacity(4096)),
            ends: Vec::new(),
            gap: 0,
            held: None,
            started: false,
            done: false,
            lone_cr: false,
        }
    }

    /// Whether a CR outside quotes was seen that no LF follows.
    pub(crate) const fn lone_cr(&self) -> bool {
        self.lone_cr
    }

    /// Where the bytes come from.
    pub(crate) const fn input(&self) -> &R {
        &self.input
    }

    /// Whether the end was reached.
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    /// Gives the record that was read last, which begins on `line`, once more.
    pub(crate) const fn hold(&mut self, line: u64) {
        self.held = Some(line);
    }

    /// The next record, or `None` at the end of the file. `file` is for errors. After an error the
    /// reader must not be used again.
    pub(crate) fn next(&mut self, file: &Path) -> Result<Option<Row<'_>>, TableError> {
        let line = match self.held.take() {
            Some(line) => Some(line),
            None => self.read_record(file)?,
        };
        let Some(line) = line else {
            return Ok(None);
        };
        // Halves of a character on both sides of a comma would pass as a whole where the comma was
        // taken away; where it stands (a plain record), it is a character of its own.
        let text = std::str::from_utf8(&self.record)
            .ok()
            .filter(|text| self.gap > 0 || self.ends.iter().all(|end| text.is_char_boundary(*end)));
        let Some(text) = text else {
            return Err(TableError::NotUtf8 {
                file: file.to_owned(),
                line,
                column: self.first_not_utf8() + 1,
            });
        };
        if self.gap > 0 {
            // There is no zero byte in a plain record.
            let mut row = Row::new(line, text, &self.ends);
            row.gap = self.gap;
            return Ok(Some(row));
        }
        if let Some(at) = text.find('\0') {
            return Err(TableError::Nul {
                file: file.to_owned(),
                line,
                column: self.ends.partition_point(|end| *end <= at) + 1,
            });
        }
        Ok(Some(Row::new(line, text, &self.ends)))
    }

    /// The index of the first field that is not UTF-8 by itself.
    fn first_not_utf8(&self) -> usize {
        let mut start = 0;
        self.ends
            .iter()
            .position(|end| {
                let field = &self.record[start..*end];
                start = end + self.gap;
                std::str::from_utf8(field).is_err()
            })
            .unwrap_or_default()
    }

    /// How many fields the next record has, whatever they hold.
    pub(crate) fn next_len(&mut self, file: &Path) -> Result<Option<usize>, TableError> {
        let line = self.read_record(file)?;
        Ok(line.map(|_| self.ends.len()))
    }

    const fn class(&self, byte: u8) -> Class {
        match byte {
            b'\n' => Class::LineFeed,
            b'\r' => Class::CarriageReturn,
            _ if byte == self.dialect.delimiter.byte() => Class::Delimiter,
            b'"' if self.dialect.quotes => Class::Quote,
            b' ' | b'\t' => Class::Blank,
            _ => Class::Other,
        }
    }

    /// Fills `record` and `ends`; gives the line on which the record begins.
    fn read_record(&mut self, file: &Path) -> Result<Option<u64>, TableError> {
        self.record.clear();
        self.ends.clear();
        if !self.started {
            self.started = true;
            self.skip_bom(file)?;
        }
        if self.plain_record() {
            self.line += 1;
            return Ok(Some(self.line - 1));
        }
        self.gap = 0;
        let mut first_line = self.line;
        let mut field_start = 0;
        let mut state = State::FieldStart;
        loop {
            if self.at == self.filled && !self.fill(file)? {
                if state == State::Quoted {
                    return Err(self.quote(file, first_line, "a quote is never closed"));
                }
                if self.is_blank(state) {
                    return Ok(None);
                }
                self.end_field(file, first_line)?;
                return Ok(Some(first_line));
            }
            // Runs of ordinary bytes go over at once.
            if matches!(state, State::Plain | State::Quoted) {
                let rest = &self.buffer[self.at..self.filled];
                let run = rest
                    .iter()
                    .position(|b| self.special[usize::from(*b)])
                    .unwrap_or(rest.len());
                if run > 0 {
                    self.append(run);
                    self.check_size(file, first_line, field_start)?;
                    continue;
                }
            }
            let byte = self.buffer[self.at];
            self.at += 1;
            self.lone_cr |= matches!(state, State::CarriageReturn { .. }) && byte != b'\n';
            if byte == b'\n' {
                self.line += 1;
            }
            state = match (state, self.class(byte)) {
                (State::Quoted, Class::Quote) => State::QuoteSeen,
                (State::Quoted, _) => {
                    self.push(byte);
                    State::Quoted
                }
                (State::QuoteSeen, Class::Quote) => {
                    self.push(byte);
                    State::Quoted
                }
                (State::FieldStart, Class::Quote) => State::Quoted,
                (_, Class::LineFeed) if self.is_blank(state) => {
                    first_line = self.line;
                    State::FieldStart
                }
                (_, Class::LineFeed) => {
                    self.end_field(file, first_line)?;
                    return Ok(Some(first_line));
                }
                // A CR that ends no line is data where there are no quotes.
                (State::CarriageReturn { quoted: false }, _) => {
                    self.push(b'\r');
                    self.at -= 1;
                    State::Plain
                }
                (
                    State::FieldStart | State::Plain | State::QuoteSeen | State::QuoteClosed,
                    Class::Delimiter,
                ) => {
                    self.end_field(file, first_line)?;
                    field_start = self.record.len();
                    State::FieldStart
                }
                (State::FieldStart | State::Plain, Class::CarriageReturn) => {
                    State::CarriageReturn { quoted: false }
                }
                (State::QuoteSeen | State::QuoteClosed, Class::CarriageReturn) => {
                    State::CarriageReturn { quoted: true }
                }
                // Values are trimmed, so blanks around quotes carry nothing.
                (State::QuoteSeen | State::QuoteClosed, Class::Blank) => State::QuoteClosed,
                (
                    State::QuoteSeen | State::QuoteClosed | State::CarriageReturn { quoted: true },
                    _,
                ) => {
                    let problem = "there is text behind the closing quote";
                    return Err(self.quote(file, first_line, problem));
                }
                (State::Plain, Class::Quote) => {
                    let blank = |b: &u8| matches!(b, b' ' | b'\t');
                    if !self.record[field_start..].iter().all(blank) {
                        let problem = "there is a quote inside a field without quotes";
                        return Err(self.quote(file, first_line, problem));
                    }
                    self.record.truncate(field_start);
                    State::Quoted
                }
                (State::FieldStart | State::Plain, _) => {
                    self.push(byte);
                    State::Plain
                }
            };
            self.check_size(file, first_line, field_start)?;
        }
    }

    /// Takes a record whole that most records of most tables are like: it lies in the buffer to its
    /// end, and has no quote, no CR but the one that ends it, and no zero byte. Whatever else comes,
    /// a blank line or too many columns too, is left to be read byte by byte.
    fn plain_record(&mut self) -> bool {
        let rest = &self.buffer[self.at..self.filled];
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return false;
        };
        let line = &rest[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || memchr::memchr3(b'"', b'\r', 0, line).is_some() {
            return false;
        }
        let delimiter = self.dialect.delimiter.byte();
        self.ends.extend(memchr::memchr_iter(delimiter, line));
        self.ends.push(line.len());
        if self.ends.len() > MAX_COLUMNS {
            self.ends.clear();
            return false;
        }
        let length = line.len();
        self.gap = 1;
        self.append(length);
        // The rest of what ends the line.
        self.at += end + 1 - length;
        true
    }

    fn quote(&self, file: &Path, line: u64, problem: &'static str) -> TableError {
        TableError::Quote {
            file: file.to_owned(),
            line,
            column: self.ends.len() + 1,
            problem,
        }
    }

    /// Nothing was read of this record but perhaps a CR. A pair of quotes is a field, not blank.
    fn is_blank(&self, state: State) -> bool {
        let nothing = matches!(
            state,
            State::FieldStart | State::CarriageReturn { quoted: false }
        );
        nothing && self.ends.is_empty() && self.record.is_empty()
    }

    fn end_field(&mut self, file: &Path, line: u64) -> Result<(), TableError> {
        if self.ends.len() == MAX_COLUMNS {
            return Err(TableError::TooManyColumns {
                file: file.to_owned(),
                line,
                limit: MAX_COLUMNS,
            });
        }
        self.ends.push(self.record.len());
        Ok(())
    }

    fn check_size(&self, file: &Path, line: u64, field_start: usize) -> Result<(), TableError> {
        if self.record.len() - field_start > MAX_FIELD_BYTES {
            return Err(TableError::FieldTooLong {
                file: file.to_owned(),
                line,
                column: self.ends.len() + 1,
                limit: MAX_FIELD_BYTES,
            });
        }
        if self.record.len() > MAX_ROW_BYTES {
            return Err(TableError::RowTooLong {
                file: file.to_owned(),
                line,
                limit: MAX_ROW_BYTES,
            });
        }
        Ok(())
    }

    fn push(&mut self, byte: u8) {
        self.make_room(1);
        self.record.push(byte);
    }

    /// Moves `n` bytes from the buffer to the record.
    fn append(&mut self, n: usize) {
        self.make_room(n);
        self.record
            .extend_from_slice(&self.buffer[self.at..self.at + n]);
        self.at += n;
    }

    /// Grows by hand: `Vec` would free the old bytes without wiping them.
    fn make_room(&mut self, n: usize) {
        let need = self.record.len() + n;
        if need > self.record.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(need.next_power_of_two()));
            larger.extend_from_slice(&self.record);
            self.record = larger;
        }
    }

    /// False at the end of the file.
    fn fill(&mut self, file: &Path) -> Result<bool, TableError> {
        if self.done {
            return Ok(false);
        }
        let n = self.read_at(0, file)?;
        self.at = 0;
        self.filled = n;
        self.done = n == 0;
        Ok(n > 0)
    }

    fn read_at(&mut self, from: usize, file: &Path) -> Result<usize, TableError> {
        loop {
            match self.input.read(&mut self.buffer[from..]) {
                Ok(n) => return Ok(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(read_error(file, source)),
            }
        }
    }

    fn skip_bom(&mut self, file: &Path) -> Result<(), TableError> {
        while self.filled < BOM.len() {
            let n = self.read_at(self.filled, file)?;
            if n == 0 {
                break;
            }
            self.filled += n;
        }
        match &self.buffer[..self.filled] {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, ..] | [_, 0, ..] => Err(TableError::Utf16 {
                file: file.to_owned(),
            }),
            text => {
                if text.starts_with(BOM) {
                    self.at = BOM.len();
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "reader_tests.rs"]
mod tests;
