//! Which columns make keys, and which a match hands over.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use tallystick_protocol::identifiers::IdentifierType;

use crate::error::TableError;
use crate::format::TableFormat;
use crate::source::io_error;

/// The largest mapping file, in bytes.
const MAX_MAPPING_BYTES: u64 = 1 << 20;

/// One part of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// The value of this column.
    Column(String),
    /// The same text in each row.
    Constant(String),
}

impl Part {
    /// `=TEXT` is a constant, anything else a column. Both are trimmed; a column whose own name
    /// begins with `=` cannot be named.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let part = match text.strip_prefix('=') {
            Some(constant) => Self::Constant(constant.trim().to_owned()),
            None => Self::Column(text.to_owned()),
        };
        let (Self::Column(inner) | Self::Constant(inner)) = &part;
        (!inner.is_empty()).then_some(part)
    }
}

/// How one key is made from a row: a type and its parts, in the order of
/// [`IdentifierType::parts`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeySpec {
    ty: IdentifierType,
    parts: Vec<Part>,
}

impl KeySpec {
    /// Reads `TYPE=COLUMN[,COLUMN…]`, where a part written `=TEXT` is a constant:
    /// `document=passport,=UTO`. Columns with a comma in their name need a mapping file.
    ///
    /// # Errors
    /// `Key`, `KeyParts`.
    pub fn parse(flag: &str) -> Result<Self, TableError> {
        let origin = || format!("--key {}", flag.escape_debug());
        let key_error = |problem| TableError::Key {
            origin: origin(),
            problem,
        };
        let (ty, parts) = flag
            .split_once('=')
            .ok_or_else(|| key_error("there is no '=' behind the type"))?;
        let ty: IdentifierType = ty
            .trim()
            .parse()
            .map_err(|_| key_error("the type is unknown"))?;
        let parts: Option<Vec<Part>> = parts.split(',').map(Part::parse).collect();
        let parts = parts.ok_or_else(|| key_error("a part is empty"))?;
        if parts.len() != ty.parts().len() {
            return Err(TableError::KeyParts {
                origin: origin(),
                ty,
                found: parts.len(),
            });
        }
        Ok(Self { ty, parts })
    }

    /// The type of the key.
    pub const fn ty(&self) -> IdentifierType {
        self.ty
    }

    /// Its parts.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}

/// As `--key` takes it, up to columns that a flag cannot name.
impl fmt::Display for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.ty)?;
        for (i, part) in self.parts.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match part {
                Part::Column(name) => f.write_str(name)?,
                Part::Constant(text) => write!(f, "={text}")?,
            }
        }
        Ok(())
    }
}

/// The keys of a table, at least one, and its label columns, perhaps none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    keys: Vec<KeySpec>,
    label: Vec<String>,
    table: TableFormat,
}

impl Mapping {
    /// From `--key` (parsed) and `--label` (split at commas).
    ///
    /// # Errors
    /// `NoKeys`, `Repeated`, `LabelColumn`.
    pub fn from_flags(keys: Vec<KeySpec>, label: Vec<String>) -> Result<Self, TableError> {
        Self::new(keys, label, ("--key", "--label"))
    }

    /// Reads a `.mapping.toml` file:
    ///
    /// ```toml
    /// [[key]]
    /// type = "document"
    /// number = "passport"   # a column
    /// state = "=UTO"        # a constant
    ///
    /// [label]
    /// columns = ["case_ref"]
    ///
    /// [table]               # how the table is read, as far as it is not detected
    /// format = "csv"        # or tsv, jsonl
    /// delimiter = ";"
    /// quote = "none"        # or double
    /// encoding = "windows-1252"
    /// header = false
    /// ```
    ///
    /// # Errors
    /// `Io`, `MappingFile`, `Key`, `KeyField`, `NoKeys`, `Repeated`, `LabelColumn`.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TableError> {
        let path = path.as_ref();
        let mut text = String::new();
        File::open(path)
            .and_then(|f| f.take(MAX_MAPPING_BYTES + 1).read_to_string(&mut text))
            .map_err(|e| io_error(path, "read the mapping", e))?;
        if text.len() as u64 > MAX_MAPPING_BYTES {
            return Err(TableError::MappingFile {
                file: path.to_owned(),
                line: 1,
                problem: format!("the file is longer than {MAX_MAPPING_BYTES} bytes"),
            });
        }
        Self::from_toml(&text, path)
    }

    /// As [`Mapping::from_file`], from text; `path` is for errors.
    ///
    /// # Errors
    /// As [`Mapping::from_file`], without `Io`.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, TableError> {
        let line = |at: usize| {
            let before = text.get(..at);
            before.map_or(1, |b| b.matches('\n').count() as u64 + 1)
        };
        let file: MappingFile = toml::from_str(text).map_err(|e| TableError::MappingFile {
            file: path.to_owned(),
            line: e.span().map_or(1, |span| line(span.start)),
            problem: e.message().to_owned(),
        })?;
        let keys = file
            .key
            .into_iter()
            .enumerate()
            .map(|(i, fields)| {
                let (path, line) = (path.display(), line(fields.span().start));
                let origin = format!("{path}, line {line}, [[key]] {}", i + 1);
                key_from(fields.into_inner(), &origin)
            })
            .collect::<Result<_, _>>()?;
        let label = file.label.map(|l| l.columns).unwrap_or_default();
        let origin = path.display().to_string();
        let mapping = Self::new(keys, label, (&origin, &origin))?;
        Ok(mapping.with_table(file.table.unwrap_or_default()))
    }

    /// The same mapping for a table of which this is stated.
    #[must_use]
    pub const fn with_table(mut self, table: TableFormat) -> Self {
        self.table = table;
        self
    }

    /// What is stated of the table.
    pub const fn table(&self) -> TableFormat {
        self.table
    }

    fn new(
        keys: Vec<KeySpec>,
        label: Vec<String>,
        (keys_from, label_from): (&str, &str),
    ) -> Result<Self, TableError> {
        if keys.is_empty() {
            return Err(TableError::NoKeys {
                origin: keys_from.to_owned(),
            });
        }
        let label: Vec<String> = label.iter().map(|c| c.trim().to_owned()).collect();
        if label.iter().any(String::is_empty) {
            return Err(TableError::LabelColumn {
                origin: label_from.to_owned(),
            });
        }
        let repeated = |origin: &str, what| TableError::Repeated {
            origin: origin.to_owned(),
            what,
        };
        if has_repeat(&keys) {
            return Err(repeated(keys_from, "a key"));
        }
        if has_repeat(&label) {
            return Err(repeated(label_from, "a label column"));
        }
        Ok(Self {
            keys,
            label,
            table: TableFormat::default(),
        })
    }

    /// The keys, in the order they were given.
    pub fn keys(&self) -> &[KeySpec] {
        &self.keys
    }

    /// The label columns, in the order they were given.
    pub fn label(&self) -> &[String] {
        &self.label
    }

    /// All columns that are named, of keys and label.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        let parts = self.keys.iter().flat_map(KeySpec::parts);
        let keys = parts.filter_map(|part| match part {
            Part::Column(name) => Some(name.as_str()),
            Part::Constant(_) => None,
        });
        keys.chain(self.label.iter().map(String::as_str))
    }

    /// The types of the keys, each once, in the order of first appearance.
    pub fn types(&self) -> Vec<IdentifierType> {
        let mut types = Vec::new();
        for key in &self.keys {
            if !types.contains(&key.ty) {
                types.push(key.ty);
            }
        }
        types
    }
}

fn has_repeat<T: PartialEq>(items: &[T]) -> bool {
    items
        .iter()
        .enumerate()
        .any(|(i, item)| items[..i].contains(item))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MappingFile {
    #[serde(default)]
    key: Vec<toml::Spanned<BTreeMap<String, String>>>,
    label: Option<LabelTable>,
    table: Option<TableFormat>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelTable {
    columns: Vec<String>,
}

/// A key's fields depend on its type, so they are checked here and not by serde.
fn key_from(mut fields: BTreeMap<String, String>, origin: &str) -> Result<KeySpec, TableError> {
    let key_error = |problem| TableError::Key {
        origin: origin.to_owned(),
        problem,
    };
    let ty: IdentifierType = fields
        .remove("type")
        .ok_or_else(|| key_error("the type is missing"))?
        .parse()
        .map_err(|_| key_error("the type is unknown"))?;
    let field_error = |problem, field: &str| TableError::KeyField {
        origin: origin.to_owned(),
        ty,
        problem,
        field: field.to_owned(),
    };
    let mut parts = Vec::new();
    for &name in ty.parts() {
        let text = fields
            .remove(name)
            .ok_or_else(|| field_error("needs the field", name))?;
        parts.push(Part::parse(&text).ok_or_else(|| field_error("has an empty field", name))?);
    }
    match fields.keys().next() {
        Some(unknown) => Err(field_error("has no field", unknown)),
        None => Ok(KeySpec { ty, parts }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "mapping_tests.rs"]
mod tests;
