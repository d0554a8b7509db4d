//! One label from those of all rows with an element.

use std::collections::HashSet;

use tallystick_protocol::snapshot::{MAX_LABEL_BYTES, label_bytes};
use tallystick_tables::LabelRecords;
use zeroize::{Zeroize, Zeroizing};

use crate::error::Result;

/// Merges the labels of one element: the distinct records, those of the first rows where all would not
/// fit, and then in an order of their own: the order of the rows is nobody's business. The flag says that some were left out. `cut` says that of the first
/// label, which may itself be merged: merging in steps comes to the same as at once.
///
/// Takes time in the number of the rows, of which a common key may have very many.
pub(super) fn merge(
    labels: &[&[u8]],
    columns: usize,
    cut: bool,
) -> Result<(Zeroizing<Vec<u8>>, bool)> {
    // Nearly all elements have one row. What is spooled is in the one accepted form.
    if let [label] = labels {
        label_bytes(label.len())?;
        return Ok((Zeroizing::new(label.to_vec()), cut));
    }
    let mut records = Wiped(Vec::new());
    let mut seen = HashSet::new();
    // The brackets, and the two bytes that say how long a label is.
    let mut size = 2 + 2;
    let mut cut = cut;
    'labels: for (i, label) in labels.iter().enumerate() {
        // Nothing is added to what was cut before.
        if cut && i > 0 {
            break;
        }
        // Most rows of one element have one label.
        if !seen.insert(*label) {
            continue;
        }
        let label = LabelRecords::decode(label, columns)?;
        for record in label.records() {
            // With the comma before it.
            let more = LabelRecords::encode(std::slice::from_ref(record))?.len() - 2 + 1;
            if records.0.contains(record) {
                continue;
            }
            if !records.0.is_empty() && size + more > MAX_LABEL_BYTES {
                cut = true;
                break 'labels;
            }
            size += more;
            records.0.push(record.clone());
        }
    }
    records.0.sort_unstable();
    let label = LabelRecords::encode(&records.0)?;
    // A record that is too long alone: it says which limit, and what to do.
    label_bytes(label.len())?;
    Ok((label, cut))
}

/// Records that are wiped however they end.
struct Wiped(Vec<Vec<String>>);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn label(text: &str) -> Vec<u8> {
        LabelRecords::encode(&[vec![text.to_owned()]])
            .unwrap()
            .to_vec()
    }

    proptest! {
        /// Where a partition is merged early, because it is full, its labels come to the same.
        #[test]
        fn merging_in_steps_is_merging_at_once(
            texts in prop::collection::vec((0u8..12, 0usize..3), 1..30), at in 0usize..30,
        ) {
            let text = |(n, long): &(u8, usize)| label(&format!("{n}{}", "x".repeat(long * 500)));
            let labels: Vec<Vec<u8>> = texts.iter().map(text).collect();
            let labels: Vec<&[u8]> = labels.iter().map(Vec::as_slice).collect();
            let (whole, was_cut) = merge(&labels, 1, false).unwrap();
            let (first, rest) = labels.split_at(at.clamp(1, labels.len()));
            let (early, cut) = merge(first, 1, false).unwrap();
            let mut steps: Vec<&[u8]> = vec![&early];
            steps.extend(rest);
            let (stepped, cut) = merge(&steps, 1, cut).unwrap();
            prop_assert_eq!(&*stepped, &*whole);
            prop_assert_eq!(cut, was_cut);
        }
    }

    #[test]
    fn the_order_of_the_rows_does_not_show() {
        let [a, b, c] = ["a", "b", "c"].map(label);
        let one = merge(&[&b, &a, &b, &c], 1, false).unwrap();
        assert_eq!(merge(&[&c, &b, &a], 1, false).unwrap(), one);
    }

    #[test]
    fn a_record_that_is_too_long_alone_is_refused_and_one_behind_others_is_cut() {
        let (short, long) = (label("a"), label(&"x".repeat(5000)));
        assert!(merge(&[&long], 1, false).is_err());
        assert!(merge(&[&long, &short], 1, false).is_err());
        let (merged, cut) = merge(&[&short, &long, &label("b")], 1, false).unwrap();
        assert_eq!((merged.to_vec(), cut), (short, true));
    }
}
