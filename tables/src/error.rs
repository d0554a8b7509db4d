//! One error for the crate. Whose fault it is: the file's or the command line's, except `Io`.

use std::io;
use std::path::PathBuf;

use tallystick_protocol::identifiers::{IdentifierType, Reject};

/// What went wrong with a table, its mapping or its output, where, and what to do next.
///
/// File names, line numbers, and names of columns are shown. What a row holds never is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried: "open the table".
        action: &'static str,
        /// The system's own words.
        source: io::Error,
    },
    /// The path is a directory, pipe or device.
    #[error(
        "{}: is not a regular file; a table is read more than once, so save it to a file first, or \
         give it to standard input and name that: -",
        .file.display()
    )]
    NotAFile {
        /// The path.
        file: PathBuf,
    },
    /// No header line.
    #[error(
        "{}, line 1: the file is empty; its first line must name the columns",
        .file.display()
    )]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// A column without a name.
    #[error(
        "{}, line {line}: column {column} of the header has no name; name it or remove it",
        .file.display()
    )]
    UnnamedColumn {
        /// The file.
        file: PathBuf,
        /// Line of the header, from 1.
        line: u64,
        /// Number of the column, from 1.
        column: usize,
    },
    /// Two columns with one name.
    #[error(
        "{}, line {line}: columns {first} and {second} of the header have the same name ({name}); \
         rename one",
        .file.display()
    )]
    DuplicateColumn {
        /// The file.
        file: PathBuf,
        /// Line of the header, from 1.
        line: u64,
        /// The name, escaped; hidden when the line looks like data.
        name: String,
        /// Number of the first, from 1.
        first: usize,
        /// Number of the second, from 1.
        second: usize,
    },
    /// A mapping names a column that the table lacks.
    #[error(
        "{}, line {line}: there is no column {column:?}; {header}",
        .file.display()
    )]
    MissingColumn {
        /// The file.
        file: PathBuf,
        /// Line of the header, from 1.
        line: u64,
        /// The name that was asked for.
        column: String,
        /// What the header has, or that it looks like data.
        header: String,
    },
    /// Bytes that are not UTF-8.
    #[error(
        "{}, line {line}, column {column}: the text is not UTF-8; state its encoding, such as \
         --encoding windows-1252, or save the table as \"CSV UTF-8\"",
        .file.display()
    )]
    NotUtf8 {
        /// The file.
        file: PathBuf,
        /// Line on which the row begins, from 1.
        line: u64,
        /// Number of the column, from 1.
        column: usize,
    },
    /// A row with more or fewer fields than the header.
    #[error(
        "{}, line {line}: the row has {found} fields, the header has {expected}; look for a missing \
         or extra {separator}, or one that needs quotes; if another character separates the fields, \
         state it with --delimiter",
        .file.display()
    )]
    Ragged {
        /// The file.
        file: PathBuf,
        /// Line on which the row begins, from 1.
        line: u64,
        /// Fields in the header.
        expected: usize,
        /// Fields in the row.
        found: usize,
        /// What was taken to separate them.
        separator: String,
    },
    /// A file in two or four bytes a character that does not say which.
    #[error(
        "{}, line 1, column 1: the file is UTF-16 without a byte order mark, or UTF-32; state \
         --encoding utf-16le (or utf-16be), or save the table as \"CSV UTF-8\"",
        .file.display()
    )]
    Utf16 {
        /// The file.
        file: PathBuf,
    },
    /// A zero byte: no text has one. Often the end of a file whose disk was full or whose machine
    /// went down.
    #[error(
        "{}, line {line}, column {column}: there is a zero byte; the file is damaged or not a text, \
         so write it anew from its source",
        .file.display()
    )]
    Nul {
        /// The file.
        file: PathBuf,
        /// Line on which the row begins, from 1.
        line: u64,
        /// Number of the column, from 1.
        column: usize,
    },
    /// Bytes that are no text in the encoding stated, or that a byte order mark stands for.
    #[error(
        "{}, line {line}: there are bytes that are no {encoding}; look whether the table has another \
         encoding, and state that with --encoding",
        .file.display()
    )]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The line on which they stand, from 1.
        line: u64,
        /// The encoding's name.
        encoding: &'static str,
    },
    /// A byte order mark that contradicts the encoding stated.
    #[error(
        "{}, line 1: the file begins with the byte order mark of {mark}, but {stated} is stated; \
         leave out --encoding",
        .file.display()
    )]
    Mark {
        /// The file.
        file: PathBuf,
        /// What the mark says.
        mark: &'static str,
        /// What was stated.
        stated: &'static str,
    },
    /// A packed file that does not unpack.
    #[error(
        "{}: the file does not unpack: {problem}; fetch it again, or unpack it yourself and look",
        .file.display()
    )]
    Packed {
        /// The file.
        file: PathBuf,
        /// What is wrong: cut short or damaged.
        problem: &'static str,
    },
    /// A line that is no row of JSON lines.
    #[error(
        "{}, line {line}: {problem}; each line is one JSON object with texts, numbers, true, false or \
         null, and the first has all members, with null where there is no value",
        .file.display()
    )]
    Json {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// What was stated of a table cannot all be true.
    #[error("{}: {problem}; leave that out, or state --format csv", .file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// What contradicts.
        problem: &'static str,
    },
    /// Standard input is a terminal.
    #[error(
        "standard input is a terminal, and no table comes from there; give a file or a pipe to it: \
         … | tally …, or name a file"
    )]
    Terminal,
    /// Lines that end with CR alone: the whole file would be its header.
    #[error(
        "{}, line 1: the lines end with CR alone; save the table with LF or CRLF at the end of lines",
        .file.display()
    )]
    LineEnds {
        /// The file.
        file: PathBuf,
    },
    /// Quotes that RFC 4180 does not allow.
    #[error(
        "{}, line {line}, column {column}: {problem}; a field with a quote in it stands in quotes, \
         the quote itself doubled",
        .file.display()
    )]
    Quote {
        /// The file.
        file: PathBuf,
        /// Line on which the row begins, from 1.
        line: u64,
        /// Number of the column, from 1.
        column: usize,
        /// What is wrong with the quotes.
        problem: &'static str,
    },
    /// A field above the cap: most often a quote that never closes.
    #[error(
        "{}, line {line}, column {column}: the field is longer than {limit} bytes; look for a quote \
         that is never closed",
        .file.display()
    )]
    FieldTooLong {
        /// The file.
        file: PathBuf,
        /// Line on which the row begins, from 1.
        line: u64,
        /// Number of the column, from 1.
        column: usize,
        /// The cap in bytes.
        limit: usize,
    },
    /// A row above the cap.
    #[error(
        "{}, line {line}: the row is longer than {limit} bytes; leave out columns that are not \
         needed",
        .file.display()
    )]
    RowTooLong {
        /// The file.
        file: PathBuf,
        /// Line on which the row begins, from 1.
        line: u64,
        /// The cap in bytes.
        limit: usize,
    },
    /// More columns than the cap.
    #[error(
        "{}, line {line}: there are more than {limit} columns; leave out those that are not needed",
        .file.display()
    )]
    TooManyColumns {
        /// The file.
        file: PathBuf,
        /// Line on which the row begins, from 1.
        line: u64,
        /// The cap.
        limit: usize,
    },
    /// Two passes over the file read different bytes.
    #[error(
        "{}: the file changed while it was read, so nothing was written; let no program write to \
         it and start again",
        .file.display()
    )]
    Changed {
        /// The file.
        file: PathBuf,
    },
    /// A digest was asked for before the pass came to its end, or after it failed.
    #[error(
        "{}, line {line}: the pass over the table did not come to its end; this is a bug, please \
         report it",
        .file.display()
    )]
    Unfinished {
        /// The file.
        file: PathBuf,
        /// Line of the last row read, 0 for none.
        line: u64,
    },
    /// `--key` without type, or with a type nobody knows.
    #[error(
        "{origin}: {problem}; write TYPE=COLUMN[,COLUMN…], such as document=passport,=UTO, with a \
         type of: {}",
        IdentifierType::names()
    )]
    Key {
        /// Flag or file, with the number of the key.
        origin: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A key with another number of parts than its type has.
    #[error(
        "{origin}: a key of type {ty} takes the parts {}, not {found} of them; a part is a column \
         or a constant written =TEXT",
        .ty.forms_text()
    )]
    KeyParts {
        /// Flag or file, with the number of the key.
        origin: String,
        /// The type.
        ty: IdentifierType,
        /// Parts given.
        found: usize,
    },
    /// A key of a type that the profile does not have.
    #[error(
        "the profile {profile} makes no keys of type {ty}; choose another profile with --profile, or \
         leave the key out"
    )]
    NotInProfile {
        /// The type.
        ty: IdentifierType,
        /// Id of the profile.
        profile: String,
    },
    /// A field of a key that its type does not have, or lacks.
    #[error(
        "{origin}: a key of type {ty} {problem} {field:?}; its fields are: type, {}",
        .ty.forms_text()
    )]
    KeyField {
        /// File and number of the key.
        origin: String,
        /// The type.
        ty: IdentifierType,
        /// "has no field" or "needs the field".
        problem: &'static str,
        /// The field.
        field: String,
    },
    /// No key at all.
    #[error(
        "{origin}: there is no key; say which columns to match, such as --key document=passport,=UTO"
    )]
    NoKeys {
        /// Flag or file.
        origin: String,
    },
    /// The same key or label column twice.
    #[error("{origin}: {what} is given twice; remove one")]
    Repeated {
        /// Flag or file.
        origin: String,
        /// "a key" or "a label column".
        what: &'static str,
    },
    /// A label column without a name.
    #[error("{origin}: a label column has no name; write --label COLUMN[,COLUMN…]")]
    LabelColumn {
        /// Flag or file.
        origin: String,
    },
    /// A mapping file that is not the TOML expected.
    #[error(
        "{}, line {line}: {problem}; a mapping file has [[key]] with type = \"document\", number = \"COLUMN\", \
         state = \"=UTO\", and [label] with columns = [\"COLUMN\"]",
        .file.display()
    )]
    MappingFile {
        /// The file.
        file: PathBuf,
        /// Line, from 1; 1 when it is not known.
        line: u64,
        /// The parser's words.
        problem: String,
    },
    /// Keys were rejected, and that was to end the run.
    #[error(
        "{}, line {line}: a key is rejected ({}: {}), the first of {total} keys, and --stop-on-rejects \
         was given; correct the rows (--rejects FILE lists them), or leave that out",
        .file.display(), .reason.code(), .reason.to_string().replace("; ", ", ")
    )]
    RowsRejected {
        /// The table.
        file: PathBuf,
        /// The first line with a key that was rejected, from 1.
        line: u64,
        /// Why.
        reason: Reject,
        /// Keys rejected in all.
        total: u64,
    },
    /// A record that does not fit in a label.
    #[error(
        "the label of one element takes {found} bytes, more than {limit}; hand over fewer or shorter \
         columns, or look for a key that stands for very many rows"
    )]
    LabelTooLarge {
        /// Bytes needed.
        found: usize,
        /// The cap.
        limit: usize,
    },
    /// An opened label that is no list of records. The sender's fault.
    #[error(
        "a label of the other side is malformed ({problem}); ask them to publish the collection anew"
    )]
    LabelMalformed {
        /// What is wrong.
        problem: &'static str,
    },
    /// A column of the output that would stand twice.
    #[error(
        "the output would have two columns {column:?}; rename that column of the own table, or leave \
         it out of the label"
    )]
    OutputColumn {
        /// The name.
        column: String,
    },
    /// The output exists.
    #[error(
        "{}: exists already and was left as it is; choose another name, or use --force to replace it",
        .file.display()
    )]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// The output is the table that is read.
    #[error(
        "{}: is the table that is read, and was left as it is; choose another name for the output",
        .file.display()
    )]
    OutputIsInput {
        /// The file.
        file: PathBuf,
    },
}

impl TableError {
    /// The stable code, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "table-io",
            Self::NotAFile { .. } => "table-not-a-file",
            Self::Empty { .. } => "table-empty",
            Self::UnnamedColumn { .. } => "table-unnamed-column",
            Self::DuplicateColumn { .. } => "table-duplicate-column",
            Self::MissingColumn { .. } => "table-missing-column",
            Self::NotUtf8 { .. } | Self::Utf16 { .. } => "table-not-utf8",
            Self::Malformed { .. } | Self::Mark { .. } => "table-encoding",
            Self::Packed { .. } => "table-does-not-unpack",
            Self::Json { .. } => "table-json",
            Self::Format { .. } => "table-format",
            Self::Terminal => "table-terminal",
            Self::Nul { .. } => "table-zero-byte",
            Self::LineEnds { .. } => "table-line-ends",
            Self::Ragged { .. } => "table-ragged-row",
            Self::Quote { .. } => "table-quote",
            Self::FieldTooLong { .. } => "table-field-too-long",
            Self::RowTooLong { .. } => "table-row-too-long",
            Self::TooManyColumns { .. } => "table-too-many-columns",
            Self::Changed { .. } => "table-changed",
            Self::Unfinished { .. } => "table-unfinished",
            Self::Key { .. } => "mapping-key",
            Self::KeyParts { .. } => "mapping-key-parts",
            Self::NotInProfile { .. } => "type-not-in-profile",
            Self::KeyField { .. } => "mapping-key-field",
            Self::NoKeys { .. } => "mapping-no-keys",
            Self::Repeated { .. } => "mapping-repeated",
            Self::LabelColumn { .. } => "mapping-label-column",
            Self::MappingFile { .. } => "mapping-file",
            Self::RowsRejected { .. } => "rows-rejected",
            Self::LabelTooLarge { .. } => "label-too-large",
            Self::LabelMalformed { .. } => "label-malformed",
            Self::OutputColumn { .. } => "output-column",
            Self::Exists { .. } => "output-exists",
            Self::OutputIsInput { .. } => "output-is-input",
        }
    }
}
