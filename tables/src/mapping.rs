//! Which columns make keys, and which a match hands over.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use tallystick_protocol::identifiers::{Form, IdentifierType, Profile};

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

/// How one key is made from a row: a type and the parts of one of its forms, in order
/// ([`IdentifierType::forms`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeySpec {
    ty: IdentifierType,
    form: usize,
    parts: Vec<Option<Part>>,
}

impl KeySpec {
    /// Reads `TYPE=COLUMN[,COLUMN…]`, where a part written `=TEXT` is a constant:
    /// `document=passport,=UTO`. Another form of the type is named behind a colon:
    /// `document:mrz=zone`. Columns with a comma in their name need a mapping file.
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
        let (ty, form) = match ty.trim().split_once(':') {
            Some((ty, form)) => (ty, Some(form)),
            None => (ty.trim(), None),
        };
        let ty: IdentifierType = ty.parse().map_err(|_| key_error("the type is unknown"))?;
        let form = ty.form_named(form);
        let (form, names) = form.ok_or_else(|| key_error("the type has no such form"))?;
        let given: Vec<&str> = parts.split(',').collect();
        let needed = names.iter().filter(|part| !part.optional).count();
        if !(needed..=names.len()).contains(&given.len()) {
            return Err(TableError::KeyParts {
                origin: origin(),
                ty,
                found: given.len(),
            });
        }
        let mut parts = Vec::with_capacity(names.len());
        for (i, name) in names.iter().enumerate() {
            let part = given.get(i).and_then(|text| Part::parse(text));
            if part.is_none() && !name.optional {
                return Err(key_error("a part is empty"));
            }
            if !is_known(name.name, part.as_ref()) {
                return Err(key_error(WRONG_ORDER));
            }
            parts.push(part);
        }
        Ok(Self { ty, form, parts })
    }

    /// The type of the key.
    pub const fn ty(&self) -> IdentifierType {
        self.ty
    }

    /// Which of the type's forms its parts are.
    pub const fn form(&self) -> usize {
        self.form
    }

    /// Its parts, in the order of the form; `None` for an optional one that is left out.
    pub fn parts(&self) -> &[Option<Part>] {
        &self.parts
    }
}

/// As `--key` takes it, up to columns that a flag cannot name.
impl fmt::Display for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = self.ty.forms().get(self.form).filter(|_| self.form > 0);
        match form.and_then(|form| form.first()) {
            Some(part) => write!(f, "{}:{}=", self.ty, part.name)?,
            None => write!(f, "{}=", self.ty)?,
        }
        let last = self.parts.iter().rposition(Option::is_some);
        let parts = self.parts.get(..=last.unwrap_or(0)).unwrap_or_default();
        for (i, part) in parts.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match part {
                Some(Part::Column(name)) => f.write_str(name)?,
                Some(Part::Constant(text)) => write!(f, "={text}")?,
                None => {}
            }
        }
        Ok(())
    }
}

/// The keys of a table, at least one, the profile they are made under, and its label columns, perhaps
/// none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    keys: Vec<KeySpec>,
    label: Vec<String>,
    table: TableFormat,
    profile: Arc<Profile>,
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
    pub fn with_table(mut self, table: TableFormat) -> Self {
        self.table = table;
        self
    }

    /// What is stated of the table.
    pub const fn table(&self) -> TableFormat {
        self.table
    }

    /// The same mapping under another profile than `exact/1`.
    ///
    /// # Errors
    /// `NotInProfile` for a key whose type the profile does not have.
    pub fn with_profile(mut self, profile: Arc<Profile>) -> Result<Self, TableError> {
        if let Some(key) = self.keys.iter().find(|k| !profile.types().contains(&k.ty)) {
            return Err(TableError::NotInProfile {
                ty: key.ty,
                profile: profile.id().to_owned(),
            });
        }
        self.profile = profile;
        Ok(self)
    }

    /// The profile under which keys are made.
    pub const fn profile(&self) -> &Arc<Profile> {
        &self.profile
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
            profile: Arc::new(Profile::exact().clone()),
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
        let parts = self.keys.iter().flat_map(KeySpec::parts).flatten();
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
    let (form, names) = form_with(ty, &fields);
    let mut parts = Vec::with_capacity(names.len());
    for name in names {
        let text = fields.remove(name.name);
        if text.is_none() && !name.optional {
            return Err(field_error("needs the field", name.name));
        }
        let part = text.as_deref().map(Part::parse);
        if part == Some(None) {
            return Err(field_error("has an empty field", name.name));
        }
        if !is_known(name.name, part.as_ref().and_then(Option::as_ref)) {
            return Err(key_error(WRONG_ORDER));
        }
        parts.push(part.flatten());
    }
    match fields.keys().next() {
        Some(unknown) => Err(field_error("has no field", unknown)),
        None => Ok(KeySpec { ty, form, parts }),
    }
}

/// What is wrong with a stated order that is none: every row would be refused for it.
const WRONG_ORDER: &str = "date_order is none of =dmy, =mdy and =ymd";

/// Whether a constant that is one of a few words is one of them.
fn is_known(name: &str, part: Option<&Part>) -> bool {
    match (name, part) {
        ("date_order", Some(Part::Constant(order))) => {
            let order = order.to_ascii_lowercase();
            ["dmy", "mdy", "ymd"].contains(&order.as_str())
        }
        _ => true,
    }
}

/// The form that has the most of these fields: the one that was meant, also where it is wrong.
fn form_with(ty: IdentifierType, fields: &BTreeMap<String, String>) -> (usize, Form) {
    let known = |form: &Form| form.iter().filter(|p| fields.contains_key(p.name)).count();
    let forms = ty.forms().iter().copied().enumerate();
    // The first of several: those after it are the rarer ones.
    let best = forms.rev().max_by_key(|(_, form)| known(form));
    best.unwrap_or((0, &[]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "mapping_tests.rs"]
mod tests;
