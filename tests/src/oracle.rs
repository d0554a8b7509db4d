//! Matching in plain lines: what the programs must find, computed without their code.

use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization;

/// A table: header and rows, trimmed.
#[derive(Debug, Clone)]
pub struct Table {
    /// Column names.
    pub header: Vec<String>,
    /// Rows.
    pub rows: Vec<Vec<String>>,
}

/// A key: type and columns, as `--key` has them.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a>(pub &'a str, pub &'a [&'a str]);

impl Table {
    /// Reads CSV.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let cells = |row: csv::StringRecord| row.iter().map(str::to_owned).collect();
        let mut rows = reader.records().map(|row| cells(row.unwrap()));
        Self {
            header: rows.next().unwrap(),
            rows: rows.collect(),
        }
    }

    fn cell<'a>(&self, row: &'a [String], column: &str) -> &'a str {
        let at = self.header.iter().position(|name| name == column);
        &row[at.unwrap_or_else(|| panic!("no column {column}"))]
    }

    /// The canonical key of a row, in the form of `tally_key`; `None` where there is none.
    fn key(&self, row: &[String], key: Key<'_>) -> Option<String> {
        let part = |i: usize| match key.1[i].strip_prefix('=') {
            Some(constant) => constant.to_owned(),
            None => self.cell(row, key.1[i]).to_owned(),
        };
        match key.0 {
            "document" => document(&part(0), &part(1)),
            "text" => Some(text(&part(0))).filter(|text| !text.is_empty()),
            "bytes" => Some(part(0)).filter(|bytes| !bytes.is_empty()),
            other => panic!("no type {other}"),
        }
        .map(|value| format!("{}:{value}", key.0))
    }
}

fn document(number: &str, state: &str) -> Option<String> {
    let dropped = |c: &char| !(c.is_whitespace() || ['-', '\u{2010}', '<'].contains(c));
    let number: String = number.nfkc().filter(dropped).collect();
    let number = number.to_uppercase();
    let state = state.replace('<', "").to_uppercase();
    let state = if state == "D" {
        "DEU".to_owned()
    } else {
        state
    };
    let good = (1..=30).contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_alphanumeric())
        && state.len() == 3
        && state.bytes().all(|b| b.is_ascii_uppercase());
    good.then(|| format!("{state}:{number}"))
}

fn text(raw: &str) -> String {
    let upper: String = raw
        .nfkc()
        .collect::<String>()
        .to_uppercase()
        .nfkc()
        .collect();
    upper.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a match must write: header and lines, in order.
#[must_use]
pub fn matches(
    ours: &Table,
    our_keys: &[Key<'_>],
    theirs: &Table,
    their_keys: &[Key<'_>],
    label: &[&str],
) -> Vec<Vec<String>> {
    let mut held: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for row in &theirs.rows {
        for key in their_keys {
            let Some(key) = theirs.key(row, *key) else {
                continue;
            };
            let record: Vec<String> = label
                .iter()
                .map(|column| theirs.cell(row, column).to_owned())
                .collect();
            let records = held.entry(key).or_default();
            if !records.contains(&record) {
                records.push(record);
            }
        }
    }
    // The holder's order of rows is nobody's business: records come sorted.
    held.values_mut().for_each(|records| records.sort());
    let mut header = ours.header.clone();
    header.extend(["tally_type", "tally_rule", "tally_score", "tally_key"].map(str::to_owned));
    header.extend(label.iter().map(|column| format!("their_{column}")));
    let mut lines = vec![header];
    for row in &ours.rows {
        // Records in the order in which the row's keys find them, and the keys that found each.
        let mut found: Vec<(&Vec<String>, Vec<String>)> = Vec::new();
        for key in our_keys.iter().filter_map(|key| ours.key(row, *key)) {
            for record in held.get(&key).into_iter().flatten() {
                let at = found.iter().position(|(known, _)| *known == record);
                let at = at.unwrap_or_else(|| {
                    found.push((record, Vec::new()));
                    found.len() - 1
                });
                if !found[at].1.contains(&key) {
                    found[at].1.push(key.clone());
                }
            }
        }
        for (record, keys) in found {
            let mut types: Vec<&str> = Vec::new();
            for ty in keys.iter().filter_map(|key| key.split(':').next()) {
                if !types.contains(&ty) {
                    types.push(ty);
                }
            }
            let middle = [
                types.join(";"),
                "exact".to_owned(),
                "1.000".to_owned(),
                keys.join(";"),
            ];
            lines.push(
                row.iter()
                    .cloned()
                    .chain(middle)
                    .chain(record.iter().cloned())
                    .collect(),
            );
        }
    }
    lines
}
