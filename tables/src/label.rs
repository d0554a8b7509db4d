//! What a label says: the records behind one element.
//!
//! A label's plaintext is a JSON array of records, each an array of strings in the order of the
//! collection's label columns: `[["C-17","H1"],["C-90","H0"]]`. One accepted byte form: no spaces,
//! serde_json's shortest escapes. Records that share an element share one label; equal ones stand
//! once. Padding to the collection's label size is done where labels are sealed.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::error::TableError;

/// The longest plaintext, in bytes.
pub const MAX_LABEL_BYTES: usize = 64 << 10;

/// The records of one label. Sensitive: wiped on drop, hidden in Debug.
pub struct LabelRecords {
    records: Vec<Vec<String>>,
}

impl LabelRecords {
    /// The plaintext for these records, equal ones once, in the order of first appearance.
    ///
    /// # Errors
    /// `LabelTooLarge`.
    pub fn encode(records: &[Vec<String>]) -> Result<Zeroizing<Vec<u8>>, TableError> {
        let distinct = distinct(records);
        // Writing cannot fail: strings have a JSON form, and a Vec takes them all.
        let malformed = |_| TableError::LabelMalformed {
            problem: "cannot be written",
        };
        let bytes = Zeroizing::new(serde_json::to_vec(&distinct).map_err(malformed)?);
        if bytes.len() > MAX_LABEL_BYTES {
            return Err(TableError::LabelTooLarge {
                found: bytes.len(),
                limit: MAX_LABEL_BYTES,
            });
        }
        Ok(bytes)
    }

    /// Reads a plaintext back. It comes from the other side: anything but what
    /// [`LabelRecords::encode`] writes for `columns` columns is refused, and nothing panics.
    ///
    /// # Errors
    /// `LabelMalformed`.
    pub fn decode(bytes: &[u8], columns: usize) -> Result<Self, TableError> {
        let malformed = |problem| TableError::LabelMalformed { problem };
        // Memory is bounded by the input: one empty record takes three bytes of it.
        if bytes.len() > MAX_LABEL_BYTES {
            return Err(malformed("too long"));
        }
        let records = serde_json::from_slice(bytes)
            .map_err(|_| malformed("not a list of lists of strings"))?;
        let label = Self { records };
        if label.records.is_empty() {
            return Err(malformed("no record"));
        }
        if label.records.iter().any(|r| r.len() != columns) {
            return Err(malformed("a record has another number of columns"));
        }
        if *Self::encode(&label.records)? != bytes {
            return Err(malformed("not in the one accepted form"));
        }
        Ok(label)
    }

    /// The records, in order, all different.
    pub fn records(&self) -> &[Vec<String>] {
        &self.records
    }
}

impl Drop for LabelRecords {
    fn drop(&mut self) {
        self.records.zeroize();
    }
}

impl fmt::Debug for LabelRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LabelRecords({} records)", self.records.len())
    }
}

/// Through a set: one element may stand for thousands of rows.
fn distinct(records: &[Vec<String>]) -> Vec<&Vec<String>> {
    let mut seen = std::collections::HashSet::with_capacity(records.len());
    records.iter().filter(|r| seen.insert(*r)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(fields: &[&str]) -> Vec<String> {
        fields.iter().map(|f| (*f).to_owned()).collect()
    }

    #[test]
    fn bytes_are_compact_json_without_repeats() {
        let records = [
            record(&["a", "é\""]),
            record(&["b", ""]),
            record(&["a", "é\""]),
        ];
        let bytes = LabelRecords::encode(&records).unwrap();
        assert_eq!(&*bytes, r#"[["a","é\""],["b",""]]"#.as_bytes());
        let label = LabelRecords::decode(&bytes, 2).unwrap();
        assert_eq!(label.records(), &records[..2]);
        assert_eq!(format!("{label:?}"), "LabelRecords(2 records)");
    }

    #[test]
    fn malformed_labels_are_refused() {
        let bad: [&[u8]; 12] = [
            b"",
            b"[]",
            b"{}",
            b"[[\"a\"]",
            b"[[\"a\",\"b\"]]",
            b"[[]]",
            b"[[\"a\"], [\"b\"]]",
            b"[[\"\\u0061\"]]",
            b"[[\"a\"],[\"a\"]]",
            b"[[1]]",
            b"[[\"\xff\"]]",
            b"[[\"\\ud800\"]]",
        ];
        for bytes in bad {
            let e = LabelRecords::decode(bytes, 1).unwrap_err();
            assert_eq!(e.code(), "label-malformed", "{}", bytes.escape_ascii());
        }
        let deep = vec![b'['; 60_000];
        assert!(LabelRecords::decode(&deep, 1).is_err());
    }

    #[test]
    fn too_large_is_refused_both_ways() {
        let e = LabelRecords::encode(&[vec!["x".repeat(MAX_LABEL_BYTES)]]).unwrap_err();
        assert_eq!(e.code(), "label-too-large");
        let bytes = format!("[[\"{}\"]]", "x".repeat(MAX_LABEL_BYTES));
        let e = LabelRecords::decode(bytes.as_bytes(), 1).unwrap_err();
        assert_eq!(e.code(), "label-malformed");
    }

    proptest! {
        #[test]
        fn roundtrip(records in prop::collection::vec(prop::collection::vec(any::<String>(), 2), 1..6)) {
            let bytes = LabelRecords::encode(&records).unwrap();
            let label = LabelRecords::decode(&bytes, 2).unwrap();
            for record in &records {
                prop_assert_eq!(label.records().iter().filter(|r| *r == record).count(), 1);
            }
        }

        #[test]
        fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..200), columns in 0usize..3) {
            if let Ok(label) = LabelRecords::decode(&bytes, columns) {
                prop_assert_eq!(&*LabelRecords::encode(label.records()).unwrap(), &bytes);
            }
        }
    }
}
