//! A table, read in as many passes as needed.

use std::{fmt, path::Path};

use crate::{
    detect,
    error::TableError,
    format::{Delimiter, Layout, Packing, RowFormat, Shape, TableFormat, named},
    header::HeaderKind,
    input::{Input, Place, TableInput},
    json_lines::JsonReader,
    reader::{RecordReader, Row},
};

pub use crate::header::Header;

/// A table: CSV and the like, or JSON lines, packed or not (see the crate's head). Names and values
/// are trimmed; blank lines are skipped.
#[derive(Debug)]
pub struct Source {
    place: Place,
    layout: Layout,
    header: Header,
}

impl Source {
    /// Opens a table in a file and reads its header; all of how it is read is detected.
    ///
    /// # Errors
    /// `NotAFile`, `Io`, `Empty`, `UnnamedColumn`, `DuplicateColumn`, and those of reading a row.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TableError> {
        TableInput::file(path.as_ref(), TableFormat::default()).open()
    }

    /// The same, as far as it is not stated.
    ///
    /// # Errors
    /// Those of [`Source::open`], and `Format`.
    pub(crate) fn of(input: &TableInput) -> Result<Self, TableError> {
        let layout = layout(input)?;
        let place = input.place.clone();
        let (_, header) = start(&place, &layout)?;
        Ok(Self {
            place,
            layout,
            header,
        })
    }

    /// The path as it was given, or what errors call the table.
    pub fn path(&self) -> &Path {
        self.header.file()
    }

    /// The columns.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// How the table is read: two tables of the same bytes that are read alike have the same rows.
    /// One line, for programs.
    pub fn read_as(&self) -> String {
        let Layout {
            packing,
            encoding,
            shape,
        } = &self.layout;
        let encoding = encoding.map(|encoding| encoding.name());
        format!("{packing:?} {encoding:?} {shape:?}")
    }

    /// Size as it is stored now, in bytes: what progress is measured against.
    ///
    /// # Errors
    /// `Io`.
    pub fn size(&self) -> Result<u64, TableError> {
        self.place.size()
    }

    /// Begins a pass over the rows. Any number of passes may be made, also at once.
    ///
    /// # Errors
    /// Those of [`Source::open`]; `Changed` if the header is another by now.
    pub fn rows(&self) -> Result<Rows, TableError> {
        let (reader, header) = start(&self.place, &self.layout)?;
        if header != self.header {
            return Err(self.changed());
        }
        Ok(Rows {
            reader,
            last_line: header.line(),
            header,
            rows: 0,
            failed: false,
        })
    }

    /// Refuses a file whose two passes read different bytes. What was made from the first pass
    /// must then be thrown away.
    ///
    /// # Errors
    /// `Changed`.
    pub fn verify_same(&self, before: &FileDigest, now: &FileDigest) -> Result<(), TableError> {
        if before == now {
            Ok(())
        } else {
            Err(self.changed())
        }
    }

    fn changed(&self) -> TableError {
        TableError::Changed {
            file: self.path().to_owned(),
        }
    }
}

/// How a table is read: what is stated, then what its name says, then what its first records show.
fn layout(input: &TableInput) -> Result<Layout, TableError> {
    let TableInput { place, format } = input;
    let (named_packing, named_format) = match place {
        Place::File(path) => named(path),
        Place::Copy(_) => (Packing::Plain, RowFormat::Csv),
    };
    let packing = place.packing()?.unwrap_or(named_packing);
    let rows = format.format.unwrap_or(named_format);
    if let Some(problem) = format.contradiction(rows) {
        return Err(TableError::Format {
            file: place.name().to_owned(),
            problem,
        });
    }
    let encoding = format.encoding;
    let shape = match rows {
        RowFormat::JsonLines => Shape::JsonLines,
        RowFormat::Csv | RowFormat::Tsv => {
            let tab = (rows == RowFormat::Tsv).then_some(Delimiter::TAB);
            let input = Input::open(place, packing, encoding)?;
            let delimiter = format.delimiter.or(tab);
            Shape::Delimited {
                dialect: detect::dialect(input, format, delimiter, place.name())?,
                header: format.header.unwrap_or(true),
            }
        }
    };
    Ok(Layout {
        packing,
        encoding,
        shape,
    })
}

/// What one whole pass read.
///
/// The hash is over the raw bytes without a salt: whoever has it can test a guess of the whole
/// file. It stays in memory and is not for records.
#[derive(Clone, PartialEq, Eq)]
pub struct FileDigest {
    /// SHA-256 of all bytes of the file.
    pub sha256: [u8; 32],
    /// Bytes in the file.
    pub bytes: u64,
    /// Rows without the header.
    pub rows: u64,
}

impl fmt::Debug for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "FileDigest({} bytes, {} rows, ..)",
            self.bytes, self.rows
        )
    }
}

/// One pass over the rows of a table. Holds one row.
pub struct Rows {
    reader: Reader,
    header: Header,
    last_line: u64,
    rows: u64,
    failed: bool,
}

impl Rows {
    /// The next row, or `None` at the end. It is lent: its buffer is used again.
    ///
    /// # Errors
    /// `Io`, `NotUtf8`, `Malformed`, `Packed`, `Ragged`, `Quote`, `Json`, `FieldTooLong`,
    /// `RowTooLong`, `TooManyColumns`. The pass is over after an error.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, TableError> {
        if self.failed {
            return Err(self.unfinished());
        }
        // Set until the row is good, so that no error is read past.
        self.failed = true;
        let row = match self.reader.next(self.header.file())? {
            Some(row) => row,
            None => {
                self.failed = false;
                return Ok(None);
            }
        };
        let expected = self.header.names().len();
        if row.len() != expected {
            return Err(TableError::Ragged {
                file: self.header.file().to_owned(),
                line: row.line(),
                expected,
                found: row.len(),
                separator: self.header.separator(),
            });
        }
        self.failed = false;
        self.last_line = row.line();
        self.rows += 1;
        Ok(Some(row))
    }

    /// Bytes read so far, as they are stored, for progress. Reads ahead by some 64 KiB.
    pub fn bytes_read(&self) -> u64 {
        self.reader.input().bytes()
    }

    /// Rows read so far.
    pub const fn rows_read(&self) -> u64 {
        self.rows
    }

    /// What the pass read. Rows must have been read until `None`.
    ///
    /// # Errors
    /// `Unfinished` before the end or after an error.
    pub fn finish(self) -> Result<FileDigest, TableError> {
        match self.reader.digest() {
            Some((sha256, bytes)) if !self.failed => Ok(FileDigest {
                sha256,
                bytes,
                rows: self.rows,
            }),
            _ => Err(self.unfinished()),
        }
    }

    fn unfinished(&self) -> TableError {
        TableError::Unfinished {
            file: self.header.file().to_owned(),
            line: self.last_line,
        }
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rows({:?}, line {})", self.header, self.last_line)
    }
}

/// What gives rows: **the seam for other kinds of tables**. A new one (a column store, a database)
/// is a variant that gives its columns, lends a [`Row`] at a time from a buffer that is wiped, and
/// says when all was read; a [`Shape`] that names it; and a [`Place`] with bytes whose digest tells
/// whether two passes read the same. Nothing else of this crate, and nothing outside, knows more of
/// a table than [`Header`] and [`Row`].
enum Reader {
    Delimited(RecordReader<Input>),
    JsonLines(JsonReader<Input>),
}

impl Reader {
    fn next(&mut self, file: &Path) -> Result<Option<Row<'_>>, TableError> {
        match self {
            Self::Delimited(reader) => reader.next(file),
            Self::JsonLines(reader) => reader.next(file),
        }
    }

    const fn input(&self) -> &Input {
        match self {
            Self::Delimited(reader) => reader.input(),
            Self::JsonLines(reader) => reader.input(),
        }
    }

    /// What was read, once the end was reached.
    fn digest(&self) -> Option<([u8; 32], u64)> {
        let done = match self {
            Self::Delimited(reader) => reader.is_done(),
            Self::JsonLines(reader) => reader.is_done(),
        };
        self.input().digest().filter(|_| done)
    }
}

/// Opens the table and reads the header.
fn start(place: &Place, layout: &Layout) -> Result<(Reader, Header), TableError> {
    let file = place.name();
    let input = Input::open(place, layout.packing, layout.encoding)?;
    let empty = || TableError::Empty {
        file: file.to_owned(),
    };
    let header = |kind: HeaderKind, (line, names): (u64, Vec<String>)| {
        Header::new(file.to_owned(), line, names, kind)
    };
    match layout.shape {
        Shape::JsonLines => {
            let mut reader = JsonReader::new(input);
            let columns = reader.columns(file)?.ok_or_else(empty)?;
            let header = header(HeaderKind::Members, columns)?;
            Ok((Reader::JsonLines(reader), header))
        }
        Shape::Delimited {
            dialect,
            header: has_header,
        } => {
            let mut reader = RecordReader::new(input, dialect);
            let first = reader.next(file).map(|row| {
                row.map(|row| match has_header {
                    true => (row.line(), row.fields().map(str::to_owned).collect()),
                    false => (row.line(), (1..=row.len()).map(|n| n.to_string()).collect()),
                })
            });
            // Whatever else a header of many lines looks like: too long, too many columns, repeated
            // names.
            if reader.lone_cr() {
                return Err(TableError::LineEnds {
                    file: file.to_owned(),
                });
            }
            let first = first?.ok_or_else(empty)?;
            let kind = match has_header {
                true => HeaderKind::Record(dialect.delimiter),
                false => {
                    reader.hold(first.0);
                    HeaderKind::Numbers(dialect.delimiter)
                }
            };
            Ok((Reader::Delimited(reader), header(kind, first)?))
        }
    }
}

pub(crate) fn io_error(file: &Path, action: &'static str, source: std::io::Error) -> TableError {
    TableError::Io {
        file: file.to_owned(),
        action,
        source,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "source_tests.rs"]
mod tests;
