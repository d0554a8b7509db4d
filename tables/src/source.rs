//! A table, read in as many passes as needed.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::{
    detect,
    error::TableError,
    format::{Delimiter, Layout, Packing, RowFormat, Shape, TableFormat, named},
    input::{Input, Place, TableInput},
    json_lines::JsonReader,
    reader::{RecordReader, Row},
};

/// How many column names an error lists.
const LISTED_COLUMNS: usize = 30;

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
        &self.header.file
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
            last_line: header.line,
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

/// The columns of a table.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    file: PathBuf,
    line: u64,
    names: Vec<String>,
    kind: HeaderKind,
}

/// What the names of columns come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HeaderKind {
    /// The first record, whose fields this separates.
    Record(Delimiter),
    /// They are numbers: the first record is a row. This separates its fields.
    Numbers(Delimiter),
    /// The members of the first object.
    Members,
}

impl Header {
    /// The names in order, trimmed, all different.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The file, as it was given.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// What separates the fields of a row.
    pub(crate) fn separator(&self) -> String {
        match self.kind {
            HeaderKind::Record(delimiter) | HeaderKind::Numbers(delimiter) => delimiter.to_string(),
            HeaderKind::Members => Delimiter::COMMA.to_string(),
        }
    }

    /// The line of the file the header stands on, from 1; that of the first row where there is none.
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// The index of a column, from 0. Names compare byte by byte.
    ///
    /// # Errors
    /// `MissingColumn`, which lists what there is.
    pub fn index(&self, column: &str) -> Result<usize, TableError> {
        self.find(column, false)
    }

    /// Whether one of these columns is there, in whatever case: then the line is a header.
    pub(crate) fn has_any<'a>(&self, mut columns: impl Iterator<Item = &'a str>) -> bool {
        let has = |column: &str| {
            self.names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(column))
        };
        columns.any(has)
    }

    /// The index of a column. A line that is not known to be a header is shown in the error only if
    /// it can hardly be a row of data.
    pub(crate) fn find(&self, column: &str, is_header: bool) -> Result<usize, TableError> {
        self.names
            .iter()
            .position(|name| name == column)
            .ok_or_else(|| TableError::MissingColumn {
                file: self.file.clone(),
                line: self.line,
                column: column.to_owned(),
                header: self.describe(is_header),
            })
    }

    fn describe(&self, is_header: bool) -> String {
        let count = self.names.len();
        match self.kind {
            HeaderKind::Numbers(_) => {
                return format!(
                    "without a header the columns are numbers, here 1 to {count}; name them so in \
                     --key, --label and mapping"
                );
            }
            HeaderKind::Members if !self.may_be_shown(is_header) => {
                return format!("its {count} members may be data, so they are not shown");
            }
            HeaderKind::Record(_) if !self.may_be_shown(is_header) => {
                return format!(
                    "its {count} columns may be a row of data, so they are not shown; the first line \
                     must name the columns, or --no-header says that it does not and numbers them"
                );
            }
            _ => {}
        }
        let shown: Vec<String> = self
            .names
            .iter()
            .take(LISTED_COLUMNS)
            .map(|n| shown(n))
            .collect();
        let more = match count.saturating_sub(LISTED_COLUMNS) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let separator = match (&self.names[..], self.kind) {
            // Names may hold these; a header of one column seldom does.
            ([only], HeaderKind::Record(delimiter)) if only.contains([',', ';', '\t', '|']) => {
                format!("the columns were to be separated by {delimiter}; state --delimiter; ")
            }
            _ => String::new(),
        };
        format!("{separator}the header has: {}{more}", shown.join(", "))
    }

    /// Whether an error may show the names: only if they can hardly be a row of data. Objects name
    /// their members, so there is no doubt about them but for keys that are data.
    fn may_be_shown(&self, is_header: bool) -> bool {
        if looks_like_data(&self.names) {
            return false;
        }
        match self.kind {
            HeaderKind::Numbers(_) => true,
            HeaderKind::Record(_) | HeaderKind::Members => {
                is_header
                    || self.names.iter().all(|n| plain(n)) && self.names.iter().any(|n| usual(n))
            }
        }
    }

    fn check(self) -> Result<Self, TableError> {
        let mut seen = std::collections::HashMap::new();
        for (i, name) in self.names.iter().enumerate() {
            if name.is_empty() {
                return Err(TableError::UnnamedColumn {
                    file: self.file.clone(),
                    line: self.line,
                    column: i + 1,
                });
            }
            if let Some(first) = seen.insert(name.as_str(), i) {
                let name = match self.may_be_shown(false) {
                    false => "not shown: the line may be data".to_owned(),
                    true => shown(name),
                };
                return Err(TableError::DuplicateColumn {
                    file: self.file.clone(),
                    line: self.line,
                    name,
                    first: first + 1,
                    second: i + 1,
                });
            }
        }
        Ok(self)
    }
}

/// Names are hidden when they may be data: Debug ends up in logs.
impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Header({}, {} columns)",
            self.file.display(),
            self.names.len()
        )
    }
}

/// A table without a header would have its first row of data shown in errors. Names of columns
/// seldom hold four digits in a row; document numbers and dates do.
fn looks_like_data(names: &[String]) -> bool {
    let four_digits = |name: &String| {
        let chars: Vec<char> = name.chars().collect();
        chars.windows(4).any(|w| w.iter().all(|c| c.is_numeric()))
    };
    names.iter().any(four_digits)
}

/// Whether a text is written as names of columns mostly are, and identifiers and names of people
/// hardly ever: small letters, and two digits at most.
fn plain(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b"_- .,;|\t".contains(&b);
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    digits <= 2 && name.bytes().all(|b| letter(b) || b.is_ascii_digit())
}

/// Words of which headers mostly hold one, and rows of data hardly ever.
const USUAL: [&str; 44] = [
    "id",
    "name",
    "surname",
    "forename",
    "given",
    "family",
    "first",
    "last",
    "middle",
    "full",
    "nationality",
    "citizenship",
    "country",
    "state",
    "issuer",
    "passport",
    "document",
    "number",
    "type",
    "date",
    "dob",
    "birth",
    "born",
    "sex",
    "gender",
    "phone",
    "telephone",
    "mobile",
    "email",
    "mail",
    "address",
    "street",
    "city",
    "postcode",
    "iban",
    "account",
    "plate",
    "vin",
    "case",
    "ref",
    "reference",
    "alias",
    "nr",
    "row",
];

/// Whether a name of a column has a word that such names mostly have.
fn usual(name: &str) -> bool {
    let words = name.split(|c: char| !c.is_ascii_lowercase());
    words.into_iter().any(|word| USUAL.contains(&word))
}

/// A name for an error: no control characters, not too long.
fn shown(name: &str) -> String {
    let short: String = name.chars().take(60).collect();
    short.escape_debug().to_string()
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
        let row = match self.reader.next(&self.header.file)? {
            Some(row) => row,
            None => {
                self.failed = false;
                return Ok(None);
            }
        };
        let expected = self.header.names.len();
        if row.len() != expected {
            return Err(TableError::Ragged {
                file: self.header.file.clone(),
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
            file: self.header.file.clone(),
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
        let header = Header {
            file: file.to_owned(),
            line,
            names,
            kind,
        };
        header.check()
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
