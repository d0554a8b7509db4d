//! The columns of a table, and what an error may show of them: a first line that may be a row of
//! data is never shown.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::{error::TableError, format::Delimiter};

/// How many column names an error lists.
const LISTED_COLUMNS: usize = 30;

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
pub(crate) enum HeaderKind {
    /// The first record, whose fields this separates.
    Record(Delimiter),
    /// They are numbers: the first record is a row. This separates its fields.
    Numbers(Delimiter),
    /// The members of the first object.
    Members,
}

impl Header {
    /// Names that are there and differ.
    ///
    /// # Errors
    /// `UnnamedColumn`, `DuplicateColumn`.
    pub(crate) fn new(
        file: PathBuf,
        line: u64,
        names: Vec<String>,
        kind: HeaderKind,
    ) -> Result<Self, TableError> {
        let header = Self {
            file,
            line,
            names,
            kind,
        };
        header.check()
    }

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
