//! Rows to keys and labels.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use tallystick_protocol::identifiers::{
    IdentifierType, Key, Made, Normalised, Profile, Reject, Rule,
};

use crate::error::TableError;
use crate::mapping::{Mapping, Part};
use crate::reader::Row;
use crate::source::Header;

/// How many line numbers are kept for each reason of rejection.
const FIRST_LINES: usize = 5;

/// At least the parts of any form: a row's parts need no allocation.
const MAX_PARTS: usize = 8;

/// One key of one row. Secret, as [`Normalised`] is.
#[derive(Debug)]
pub struct RowKey {
    /// Which key of the mapping made it, from 0.
    pub key_index: usize,
    /// Its type.
    pub ty: IdentifierType,
    /// What it stands for.
    pub rule: Rule,
    /// Its canonical form.
    pub normalised: Normalised,
}

/// One key of one row that was rejected. Holds no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowReject {
    /// The line on which the row begins, from 1.
    pub line: u64,
    /// Which key of the mapping, from 0.
    pub key_index: usize,
    /// Why.
    pub reason: Reject,
}

/// The keys of a row, in lists that are used again for the next. Secret.
#[derive(Debug, Default)]
pub struct RowKeys {
    keys: Vec<RowKey>,
    /// Keys on their way: all of the row, whose number the profile limits.
    made: Vec<Key>,
    /// Which key of the mapping, and which type, those up to a place are of.
    of: Vec<(usize, usize, IdentifierType)>,
}

impl RowKeys {
    /// The keys of the row that was read last, in the order of the mapping.
    #[must_use]
    pub fn as_slice(&self) -> &[RowKey] {
        &self.keys
    }
}

/// A mapping tied to the columns of one table.
#[derive(Debug)]
pub struct Extractor {
    profile: Arc<Profile>,
    keys: Vec<KeyFields>,
}

/// Where the parts of one key come from.
#[derive(Debug)]
struct KeyFields {
    ty: IdentifierType,
    form: usize,
    fields: Vec<Field>,
}

#[derive(Debug)]
enum Field {
    Column(usize),
    Constant(String),
    Absent,
}

impl Extractor {
    /// Finds the mapping's key columns in the header.
    ///
    /// # Errors
    /// `MissingColumn`.
    pub fn new(header: &Header, mapping: &Mapping) -> Result<Self, TableError> {
        let known = header.has_any(mapping.columns());
        let field = |part: &Option<Part>| match part {
            Some(Part::Column(name)) => header.find(name, known).map(Field::Column),
            Some(Part::Constant(text)) => Ok(Field::Constant(text.clone())),
            None => Ok(Field::Absent),
        };
        let keys = mapping
            .keys()
            .iter()
            .map(|key| {
                let fields: Result<_, _> = key.parts().iter().map(field).collect();
                Ok(KeyFields {
                    ty: key.ty(),
                    form: key.form(),
                    fields: fields?,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            profile: Arc::clone(mapping.profile()),
            keys,
        })
    }

    /// The keys of one row, in the order of the mapping; counts them, and what was empty or
    /// rejected, in `tally`. Two keys of a row may hold the same element.
    pub fn keys(&self, row: &Row<'_>, tally: &mut Tally) -> Vec<RowKey> {
        let keys = self.keys_and_rejects(row, tally, |_| Ok::<_, Infallible>(()));
        keys.unwrap_or_else(|never| match never {})
    }

    /// The same; `on_reject` is told each key that is rejected, in the order of the mapping.
    ///
    /// # Errors
    /// Those of `on_reject`, which end it.
    pub fn keys_and_rejects<E>(
        &self,
        row: &Row<'_>,
        tally: &mut Tally,
        on_reject: impl FnMut(RowReject) -> Result<(), E>,
    ) -> Result<Vec<RowKey>, E> {
        let mut keys = RowKeys::default();
        self.keys_into(row, tally, &mut keys, on_reject)?;
        Ok(keys.keys)
    }

    /// The same, into a list that is used again for each row of a table.
    ///
    /// # Errors
    /// Those of `on_reject`, which end it.
    pub fn keys_into<E>(
        &self,
        row: &Row<'_>,
        tally: &mut Tally,
        into: &mut RowKeys,
        mut on_reject: impl FnMut(RowReject) -> Result<(), E>,
    ) -> Result<(), E> {
        tally.rows += 1;
        let RowKeys { keys, made, of } = into;
        keys.clear();
        made.clear();
        of.clear();
        for (key_index, key) in self.keys.iter().enumerate() {
            let mut parts = [""; MAX_PARTS];
            for (part, field) in parts.iter_mut().zip(&key.fields) {
                *part = match field {
                    Field::Column(i) => row.get(*i).unwrap_or_default(),
                    Field::Constant(text) => text,
                    Field::Absent => "",
                };
            }
            let parts = &parts[..key.fields.len().min(MAX_PARTS)];
            let before = made.len();
            match self.profile.keys(key.ty, key.form, parts, made) {
                Ok(Made::Nothing) => tally.empty += 1,
                Ok(what) => {
                    tally.keys += 1;
                    tally.elements += (made.len() - before) as u64;
                    tally.cut += u64::from(what == Made::Cut);
                }
                Err(reason) => {
                    // What was made before it was refused.
                    made.truncate(before);
                    let line = row.line();
                    tally.reject(reason, line);
                    on_reject(RowReject {
                        line,
                        key_index,
                        reason,
                    })?;
                }
            }
            of.push((made.len(), key_index, key.ty));
        }
        let mut made = made.drain(..);
        for (end, key_index, ty) in of.drain(..) {
            let more = end - keys.len();
            keys.extend(made.by_ref().take(more).map(|made| RowKey {
                key_index,
                ty,
                rule: made.rule,
                normalised: made.normalised,
            }));
        }
        Ok(())
    }

    /// How many keys the mapping makes of a row at most.
    pub fn keys_per_row(&self) -> usize {
        self.keys.len()
    }
}

/// What became of the rows of a table. Holds counts and line numbers, no value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows seen.
    pub rows: u64,
    /// Keys of the mapping that gave elements, repeated ones included.
    pub keys: u64,
    /// Elements they gave, repeated ones included: one for each rule and form under the profile.
    pub elements: u64,
    /// Keys of which the profile's limit on the elements of a row left some out.
    pub cut: u64,
    /// Keys without a value.
    pub empty: u64,
    /// Keys refused, by reason.
    pub rejected: BTreeMap<Reject, Rejected>,
}

/// Keys refused for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// How many.
    pub count: u64,
    /// The lines of the first of them, at most five, each once.
    pub first_lines: Vec<u64>,
}

impl Tally {
    /// Rows, and why their keys are none: how many are empty, how many rejected for which reason,
    /// first in which line. For a message.
    #[must_use]
    pub fn why_no_keys(&self) -> String {
        let mut text = format!("{} rows, {} keys empty", self.rows, self.empty);
        for (reason, rejected) in &self.rejected {
            let line = rejected.first_lines.first().copied().unwrap_or_default();
            let (count, code) = (rejected.count, reason.code());
            text += &format!(", {count} rejected ({code}, first in line {line}: {reason})");
        }
        text.replace("; ", ", ")
    }

    /// The first line with a key that was refused, and why.
    pub fn first_rejected(&self) -> Option<(u64, Reject)> {
        let firsts = self.rejected.iter();
        let firsts = firsts.filter_map(|(reason, r)| Some((*r.first_lines.first()?, *reason)));
        firsts.min_by_key(|(line, _)| *line)
    }

    /// Keys refused for any reason.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().map(|r| r.count).sum()
    }

    /// Whether each key of each row was counted once: rows times keys per row is what was made,
    /// was empty or was rejected.
    pub fn adds_up(&self, keys_per_row: usize) -> bool {
        let all = u128::from(self.rows) * keys_per_row as u128;
        let counted =
            u128::from(self.keys) + u128::from(self.empty) + u128::from(self.rejected_total());
        all == counted
    }

    fn reject(&mut self, reject: Reject, line: u64) {
        let entry = self.rejected.entry(reject).or_default();
        entry.count += 1;
        if entry.first_lines.len() < FIRST_LINES && entry.first_lines.last() != Some(&line) {
            entry.first_lines.push(line);
        }
    }
}

/// The label columns of a mapping, tied to the columns of one table.
#[derive(Debug)]
pub struct LabelColumns {
    indexes: Vec<usize>,
}

impl LabelColumns {
    /// Finds the mapping's label columns in the header.
    ///
    /// # Errors
    /// `MissingColumn`.
    pub fn new(header: &Header, mapping: &Mapping) -> Result<Self, TableError> {
        let known = header.has_any(mapping.columns());
        let indexes = mapping.label().iter().map(|c| header.find(c, known));
        Ok(Self {
            indexes: indexes.collect::<Result<_, _>>()?,
        })
    }

    /// Whether the mapping hands over nothing.
    pub fn is_empty(&self) -> bool {
        self.indexes.is_empty()
    }

    /// The record of one row, in the order of the label columns. Sensitive.
    pub fn record(&self, row: &Row<'_>) -> Vec<String> {
        let field = |i: &usize| row.get(*i).unwrap_or_default().to_owned();
        self.indexes.iter().map(field).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "extract_tests.rs"]
mod tests;
