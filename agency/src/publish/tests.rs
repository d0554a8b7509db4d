//! Sorting against a plain map, in memory that is too small.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tallystick_tables::LabelRecords;

use super::{
    blocks::BlockKey,
    labels::merge,
    record::{CUT, Layout, Tag},
    sort::{Counted, Sorter},
    spool::{Side, Spool},
};

fn spooled(layout: Layout, bits: u32, records: &[(Tag, Vec<u8>)]) -> (tempfile::TempDir, Spool) {
    let dir = tempfile::tempdir().unwrap();
    let key = BlockKey::fresh().unwrap();
    let mut spool = Spool::create(&dir.path().join("spool"), &key, layout, bits).unwrap();
    for (tag, label) in records {
        let mut bytes = Vec::new();
        let tag = tag.to_be_bytes();
        let material = [tag[0]; 32];
        layout
            .write_parts(&mut bytes, &tag[..layout.tag], &material, 0, label)
            .unwrap();
        let (record, rest) = layout.next(&bytes).unwrap().unwrap();
        assert!(rest.is_empty());
        spool.push(Side::Real, &record).unwrap();
    }
    spool.rest().unwrap();
    (dir, spool)
}

/// Tag, label, and whether that was cut.
type Element = (Tag, Vec<u8>, bool);

/// The elements, the longest label, the labels that were cut.
fn sorted(spool: &Spool, budget: usize) -> (Vec<Element>, usize, u64) {
    let sorter = Sorter { columns: 1, budget };
    let mut partitions = 0;
    let counted = sorter.sort(spool, Side::Real, |done| partitions = done);
    let Counted {
        sorted,
        longest,
        cut_labels,
    } = counted.unwrap();
    assert_eq!(partitions, spool.partitions());
    let records = sorted.records();
    let mut reader = sorted.reader().unwrap();
    let mut all = Vec::new();
    while let Some(record) = reader.peek().unwrap() {
        all.push((record.tag, record.label.to_vec(), record.flags & CUT != 0));
        reader.advance().unwrap();
    }
    assert_eq!(all.len() as u64, records);
    (all, longest, cut_labels)
}

/// Tags of 13 bytes, some shared by very many records, and some that share all but their last bits.
fn tags() -> impl Strategy<Value = Vec<Tag>> {
    let tag = prop_oneof![
        3 => any::<Tag>(),
        1 => (0u32..20).prop_map(|n| Tag::from(n) << 24),
        2 => Just(7 << 90),
    ];
    prop::collection::vec(tag.prop_map(|tag| tag >> 24 << 24), 0..2000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn tags_come_out_once_and_in_order_whatever_memory_there_is(
        tags in tags(), bits in 0u32..4, budget in prop::sample::select(vec![500usize, 4000, 1 << 20]),
    ) {
        let layout = Layout { tag: 13, labels: false };
        let records: Vec<_> = tags.iter().map(|tag| (*tag, Vec::new())).collect();
        let (_dir, spool) = spooled(layout, bits, &records);
        let mut want = tags;
        want.sort_unstable();
        want.dedup();
        let (got, ..) = sorted(&spool, budget);
        prop_assert_eq!(got.into_iter().map(|(tag, ..)| tag).collect::<Vec<_>>(), want);
    }

    #[test]
    fn labels_are_merged_in_the_order_of_their_rows_whatever_memory_there_is(
        rows in prop::collection::vec((0u8..40, 0u16..300, 0usize..2), 1..400),
        budget in prop::sample::select(vec![3000usize, 20_000, 1 << 20]),
    ) {
        let layout = Layout { tag: 13, labels: true };
        let label = |n: u16, long: usize| {
            let text = format!("{n}{}", "x".repeat(long * 700));
            LabelRecords::encode(&[vec![text]]).unwrap().to_vec()
        };
        let records: Vec<(Tag, Vec<u8>)> = rows
            .iter()
            .map(|(tag, n, long)| ((Tag::from(*tag) * 0x0503_0109) << 90, label(*n, *long)))
            .collect();
        let mut want: BTreeMap<Tag, Vec<&[u8]>> = BTreeMap::new();
        for (tag, label) in &records {
            want.entry(*tag).or_default().push(label);
        }
        let merged = want.iter().map(|(tag, labels)| {
            let (label, cut) = merge(labels, 1, false).unwrap();
            (*tag, label.to_vec(), cut)
        });
        let want: Vec<_> = merged.collect();
        let (_dir, spool) = spooled(layout, 1, &records);
        let (got, longest, cut) = sorted(&spool, budget);
        prop_assert_eq!(longest, want.iter().map(|one| one.1.len()).max().unwrap());
        prop_assert_eq!(cut, want.iter().filter(|one| one.2).count() as u64);
        prop_assert_eq!(got, want);
    }
}

#[test]
fn labels_of_two_outputs_under_one_tag_are_not_mixed() {
    let layout = Layout {
        tag: 13,
        labels: true,
    };
    let (dir, mut spool) = spooled(layout, 0, &[(0, b"[[\"a\"]]".to_vec())]);
    let mut bytes = Vec::new();
    layout
        .write_parts(&mut bytes, &[0; 13], &[9; 32], 0, b"[[\"b\"]]")
        .unwrap();
    let (record, _) = layout.next(&bytes).unwrap().unwrap();
    spool.push(Side::Real, &record).unwrap();
    spool.rest().unwrap();
    let sorter = Sorter {
        columns: 1,
        budget: 1 << 20,
    };
    assert!(sorter.sort(&spool, Side::Real, |_| {}).is_err());
    drop(dir);
}
