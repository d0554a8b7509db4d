//! How a table is read: what was stated, what its name says, and what stands for the rest.
//!
//! [`TableFormat`] is what a person states, by flag or in a mapping file. [`Layout`] is what follows
//! for one table, once its name and its first records were looked at: the same in all passes.

use std::{fmt, path::Path, str::FromStr};

use encoding_rs::UTF_8;
use serde::{Deserialize, Serialize};

/// How a table is read, as far as it is stated. What is not stated is detected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableFormat {
    /// How rows are written; by the file's name if not stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<RowFormat>,
    /// What stands between fields; detected from the first records if not stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<Delimiter>,
    /// Whether fields may stand in quotes; if not stated they may, but see the crate's `detect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<Quote>,
    /// The encoding of the text; UTF-8, or what a byte order mark says, if not stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// Whether the first record names the columns; if not stated it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
}

impl TableFormat {
    /// What is stated here, and what `other` states of the rest.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            format: self.format.or(other.format),
            delimiter: self.delimiter.or(other.delimiter),
            quote: self.quote.or(other.quote),
            encoding: self.encoding.or(other.encoding),
            header: self.header.or(other.header),
        }
    }

    /// What is stated twice and otherwise, if anything.
    pub(crate) fn contradiction(&self, format: RowFormat) -> Option<&'static str> {
        let lines = format == RowFormat::JsonLines;
        match self {
            Self {
                delimiter: Some(_), ..
            } if lines => Some("JSON lines have no delimiter"),
            Self { quote: Some(_), .. } if lines => Some("JSON lines have quotes of their own"),
            Self {
                header: Some(false),
                ..
            } if lines => Some("JSON lines name their columns, so there is no --no-header"),
            _ => None,
        }
    }
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RowFormat {
    /// Fields between delimiters, which are detected.
    Csv,
    /// Fields between tabs.
    Tsv,
    /// A JSON object a line.
    JsonLines,
}

impl RowFormat {
    /// `csv`, `tsv` or `jsonl`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::JsonLines => "jsonl",
        }
    }

    /// By the end of a name; CSV if it says nothing.
    fn of(name: &str) -> Self {
        match name.rsplit_once('.').map_or("", |(_, end)| end) {
            "tsv" | "tab" => Self::Tsv,
            "jsonl" | "ndjson" => Self::JsonLines,
            _ => Self::Csv,
        }
    }
}

impl FromStr for RowFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "csv" => Ok(Self::Csv),
            "tsv" => Ok(Self::Tsv),
            "jsonl" | "ndjson" => Ok(Self::JsonLines),
            _ => Err("formats are csv, tsv and jsonl"),
        }
    }
}

/// One ASCII character that stands between fields: a tab or punctuation, no quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Delimiter(u8);

impl Delimiter {
    /// The comma.
    pub const COMMA: Self = Self(b',');
    /// The tab.
    pub const TAB: Self = Self(b'\t');
    /// Those that are detected, in the order in which one is preferred.
    pub(crate) const DETECTED: [Self; 4] = [Self::COMMA, Self(b';'), Self::TAB, Self(b'|')];

    /// The character.
    pub const fn byte(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b',' => f.write_str("comma"),
            b';' => f.write_str("semicolon"),
            b'\t' => f.write_str("tab"),
            b'|' => f.write_str("pipe"),
            other => write!(f, "{:?}", char::from(other)),
        }
    }
}

impl FromStr for Delimiter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "comma" => Ok(Self::COMMA),
            "semicolon" => Ok(Self(b';')),
            "tab" | "\\t" => Ok(Self::TAB),
            "pipe" => Ok(Self(b'|')),
            _ => match *text.as_bytes() {
                [byte] if byte == b'\t' || byte.is_ascii_punctuation() && byte != b'"' => {
                    Ok(Self(byte))
                }
                _ => Err("a delimiter is comma, semicolon, tab, pipe or one mark such as ':'"),
            },
        }
    }
}

/// Whether fields may stand in quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Quote {
    /// Fields may stand in `"`, a quote in them doubled.
    Double,
    /// A quote is a character like others: no field holds a delimiter or the end of a line.
    None,
}

impl FromStr for Quote {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "\"" | "double" => Ok(Self::Double),
            "none" => Ok(Self::None),
            _ => Err("quotes are double or none"),
        }
    }
}

/// The encoding of a text, by its name in the Encoding Standard of the WHATWG.
///
/// There ISO-8859-1 and ASCII are names of windows-1252, which has letters where ISO-8859-1 has
/// control characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Encoding(&'static encoding_rs::Encoding);

impl Encoding {
    /// UTF-8.
    pub const UTF_8: Self = Self(UTF_8);

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    pub(crate) const fn table(self) -> &'static encoding_rs::Encoding {
        self.0
    }

    /// Whether a byte order mark of UTF-16 may stand before it.
    pub(crate) fn is_utf16(self) -> bool {
        self.0 == encoding_rs::UTF_16LE || self.0 == encoding_rs::UTF_16BE
    }
}

impl FromStr for Encoding {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Of no replacement: some names stand for encodings that are refused as unsafe.
        let known = encoding_rs::Encoding::for_label_no_replacement(text.as_bytes());
        known
            .map(Self)
            .ok_or("encodings are utf-8, utf-16le, utf-16be, windows-1252, iso-8859-2 and so on")
    }
}

impl From<RowFormat> for String {
    fn from(format: RowFormat) -> Self {
        format.name().to_owned()
    }
}

impl From<Delimiter> for String {
    fn from(delimiter: Delimiter) -> Self {
        char::from(delimiter.0).to_string()
    }
}

impl From<Quote> for String {
    fn from(quote: Quote) -> Self {
        match quote {
            Quote::Double => "double".to_owned(),
            Quote::None => "none".to_owned(),
        }
    }
}

impl From<Encoding> for String {
    fn from(encoding: Encoding) -> Self {
        encoding.name().to_owned()
    }
}

macro_rules! from_string {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
    )*};
}

from_string!(RowFormat, Delimiter, Quote, Encoding);

/// How the bytes of a file are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// As they are.
    Plain,
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames.
    Zstd,
}

impl Packing {
    /// By the first bytes: for what has no name. No text begins like this.
    pub(crate) const fn of_bytes(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// How fields are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: Delimiter,
    pub(crate) quotes: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            delimiter: Delimiter::COMMA,
            quotes: true,
        }
    }
}

/// How rows are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Records of fields; whether the first of them names the columns.
    Delimited { dialect: Dialect, header: bool },
    /// A JSON object a line.
    JsonLines,
}

/// How one table is read, in each pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) packing: Packing,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) shape: Shape,
}

/// What a file's name says of packing and rows.
pub(crate) fn named(path: &Path) -> (Packing, RowFormat) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_ascii_lowercase();
    let (packing, inner) = match name.rsplit_once('.') {
        Some((inner, "gz" | "gzip")) => (Packing::Gzip, inner),
        Some((inner, "zst" | "zstd")) => (Packing::Zstd, inner),
        _ => (Packing::Plain, &*name),
    };
    (packing, RowFormat::of(inner))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_say_how_they_are_read() {
        for (name, packing, format) in [
            ("a.csv", Packing::Plain, RowFormat::Csv),
            ("a", Packing::Plain, RowFormat::Csv),
            ("a.TSV", Packing::Plain, RowFormat::Tsv),
            ("a.tab.gz", Packing::Gzip, RowFormat::Tsv),
            ("b/a.jsonl.zst", Packing::Zstd, RowFormat::JsonLines),
            ("a.NDJSON.GZ", Packing::Gzip, RowFormat::JsonLines),
            ("tsv/a.gz", Packing::Gzip, RowFormat::Csv),
            (".gz", Packing::Gzip, RowFormat::Csv),
            ("", Packing::Plain, RowFormat::Csv),
        ] {
            assert_eq!(named(Path::new(name)), (packing, format), "{name}");
        }
    }

    #[test]
    fn what_is_stated_reads_back() {
        for text in [",", ";", "\t", "|", ":", "^", "~"] {
            let delimiter: Delimiter = text.parse().unwrap();
            assert_eq!(String::from(delimiter), text);
        }
        assert_eq!("tab".parse::<Delimiter>(), Ok(Delimiter::TAB));
        assert_eq!("\\t".parse::<Delimiter>(), Ok(Delimiter::TAB));
        for bad in ["", "\"", "a", "1", " ", "\n", "\r", ";;", "§"] {
            assert!(bad.parse::<Delimiter>().is_err(), "{bad:?}");
        }
        for text in ["double", "none"] {
            assert_eq!(String::from(text.parse::<Quote>().unwrap()), text);
        }
        assert!("'".parse::<Quote>().is_err());
        for (text, name) in [
            ("latin1", "windows-1252"),
            ("ISO-8859-1", "windows-1252"),
            ("ISO-8859-2", "ISO-8859-2"),
            ("utf8", "UTF-8"),
            ("UTF-16", "UTF-16LE"),
        ] {
            assert_eq!(text.parse::<Encoding>().unwrap().name(), name);
        }
        for bad in ["", "cp850", "iso-2022-kr", "utf-32", "utf-7"] {
            assert!(bad.parse::<Encoding>().is_err(), "{bad}");
        }
        assert!("parquet".parse::<RowFormat>().is_err());
    }

    #[test]
    fn flags_stand_before_the_file() {
        let flags = TableFormat {
            delimiter: "tab".parse().ok(),
            ..TableFormat::default()
        };
        let file = TableFormat {
            delimiter: ";".parse().ok(),
            header: Some(false),
            ..TableFormat::default()
        };
        let both = flags.or(file);
        assert_eq!(both.delimiter, Some(Delimiter::TAB));
        assert_eq!(both.header, Some(false));
        let text = toml::to_string(&both).unwrap();
        assert_eq!(toml::from_str::<TableFormat>(&text).unwrap(), both);
    }
}
