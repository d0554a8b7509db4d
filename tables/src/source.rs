//! A table on disk, read in as many passes as needed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::TableError;
use crate::reader::{RecordReader, Row};

/// How many column names an error lists.
const LISTED_COLUMNS: usize = 30;

/// A CSV file with a header: comma, RFC 4180 quotes, UTF-8 with or without byte order mark, LF or
/// CRLF. Names and values are trimmed; blank lines are skipped.
#[derive(Debug)]
pub struct Source {
    header: Header,
}

impl Source {
    /// Opens a table and reads its header.
    ///
    /// # Errors
    /// `NotAFile`, `Io`, `Empty`, `UnnamedColumn`, `DuplicateColumn`, and those of reading a row.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TableError> {
        let (_, header) = start(path.as_ref())?;
        Ok(Self { header })
    }

    /// The path as it was given.
    pub fn path(&self) -> &Path {
        &self.header.file
    }

    /// The columns.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Size of the file now, in bytes: what progress is measured against.
    ///
    /// # Errors
    /// `Io`.
    pub fn size(&self) -> Result<u64, TableError> {
        let file = self.path();
        let meta = fs::metadata(file).map_err(|e| io_error(file, "look at the table", e))?;
        Ok(meta.len())
    }

    /// Begins a pass over the rows. Any number of passes may be made, also at once.
    ///
    /// # Errors
    /// Those of [`Source::open`]; `Changed` if the header is another by now.
    pub fn rows(&self) -> Result<Rows, TableError> {
        let (reader, header) = start(self.path())?;
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

impl std::fmt::Debug for FileDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

    /// The line of the file the header stands on, from 1.
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
        if looks_like_data(&self.names) || !(is_header || self.names.iter().all(|n| plain(n))) {
            return format!(
                "its {} columns may be a row of data, so they are not shown; the first line must \
                 name the columns",
                self.names.len()
            );
        }
        let shown: Vec<String> = self
            .names
            .iter()
            .take(LISTED_COLUMNS)
            .map(|n| shown(n))
            .collect();
        let more = match self.names.len().saturating_sub(LISTED_COLUMNS) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let separator = match &self.names[..] {
            // Names may hold these; a header of one column seldom does.
            [only] if only.contains([';', '\t', '|']) => {
                "the columns must be separated by commas; "
            }
            _ => "",
        };
        format!("{separator}the header has: {}{more}", shown.join(", "))
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
                let name = if looks_like_data(&self.names) || !plain(name) {
                    "not shown: the line may be data".to_owned()
                } else {
                    shown(name)
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
impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
    let letter = |b: u8| b.is_ascii_lowercase() || b"_- .;|\t".contains(&b);
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    digits <= 2 && name.bytes().all(|b| letter(b) || b.is_ascii_digit())
}

/// A name for an error: no control characters, not too long.
fn shown(name: &str) -> String {
    let short: String = name.chars().take(60).collect();
    short.escape_debug().to_string()
}

/// One pass over the rows of a table. Holds one row.
pub struct Rows {
    reader: RecordReader<File>,
    header: Header,
    last_line: u64,
    rows: u64,
    failed: bool,
}

impl Rows {
    /// The next row, or `None` at the end. It is lent: its buffer is used again.
    ///
    /// # Errors
    /// `Io`, `NotUtf8`, `Ragged`, `Quote`, `FieldTooLong`, `RowTooLong`, `TooManyColumns`. The
    /// pass is over after an error.
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
            });
        }
        self.failed = false;
        self.last_line = row.line();
        self.rows += 1;
        Ok(Some(row))
    }

    /// Bytes read so far, for progress. Reads ahead by at most 64 KiB.
    pub const fn bytes_read(&self) -> u64 {
        self.reader.bytes()
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

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({:?}, line {})", self.header, self.last_line)
    }
}

pub(crate) fn io_error(file: &Path, action: &'static str, source: std::io::Error) -> TableError {
    TableError::Io {
        file: file.to_owned(),
        action,
        source,
    }
}

/// Opens the file and reads the header. The kind of file is asked before it is opened: opening a
/// pipe would wait for its writer.
fn start(path: &Path) -> Result<(RecordReader<File>, Header), TableError> {
    let open_error = |e| io_error(path, "open the table", e);
    if !fs::metadata(path).map_err(open_error)?.is_file() {
        return Err(TableError::NotAFile {
            file: path.to_owned(),
        });
    }
    let mut reader = RecordReader::new(File::open(path).map_err(open_error)?);
    let header = reader.next(path).map(|row| {
        row.map(|row| Header {
            file: path.to_owned(),
            line: row.line(),
            names: row.fields().map(str::to_owned).collect(),
        })
    });
    // Whatever else a header of many lines looks like: too long, too many columns, repeated names.
    if reader.lone_cr() {
        return Err(TableError::LineEnds {
            file: path.to_owned(),
        });
    }
    let header = header?.ok_or_else(|| TableError::Empty {
        file: path.to_owned(),
    })?;
    Ok((reader, header.check()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "source_tests.rs"]
mod tests;
