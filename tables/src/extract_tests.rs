use super::*;
use crate::{KeySpec, Source};
use proptest::prelude::*;

fn mapping(flags: &[&str], label: &[&str]) -> Mapping {
    let keys = flags.iter().map(|f| KeySpec::parse(f).unwrap()).collect();
    Mapping::from_flags(keys, label.iter().map(|l| (*l).to_owned()).collect()).unwrap()
}

fn source(text: &str) -> (tempfile::TempDir, Source) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    std::fs::write(&path, text).unwrap();
    let source = Source::open(path).unwrap();
    (dir, source)
}

/// Key texts of each row, and the counts.
fn run(text: &str, flags: &[&str]) -> (Vec<Vec<String>>, Tally) {
    let (_dir, source) = source(text);
    let extractor = Extractor::new(source.header(), &mapping(flags, &[])).unwrap();
    let mut tally = Tally::default();
    let mut rows = source.rows().unwrap();
    let mut all = Vec::new();
    while let Some(row) = rows.next_row().unwrap() {
        let keys = extractor.keys(&row, &mut tally);
        all.push(
            keys.iter()
                .map(|k| k.normalised.key_text.to_string())
                .collect(),
        );
    }
    assert!(tally.adds_up(extractor.keys_per_row()));
    (all, tally)
}

#[test]
fn keys_and_counts() {
    let (keys, tally) = run(
        "number,state,name\nl898902c3,d<<,Anna\n,UTO,Bo\nAB 1,FR,\nN/A,UTO,x\n1,UT,\n",
        &["document=number,state", "text=name", "document=number,=uto"],
    );
    let want: [&[&str]; 5] = [
        &[
            "document:DEU:L898902C3",
            "text:ANNA",
            "document:UTO:L898902C3",
        ],
        &["text:BO"],
        &["document:UTO:AB1"],
        &["text:X"],
        &["document:UTO:1"],
    ];
    assert_eq!(keys, want);
    assert_eq!((tally.rows, tally.keys, tally.empty), (5, 7, 4));
    assert_eq!(tally.rejected_total(), 4);
    let two = &tally.rejected[&Reject::StateTwoLetters];
    assert_eq!((two.count, two.first_lines.as_slice()), (2, &[4, 6][..]));
    // Two keys of one row: two rejections, one line.
    let number = &tally.rejected[&Reject::NumberCharacter];
    assert_eq!((number.count, number.first_lines.as_slice()), (2, &[5][..]));
    assert!(!tally.adds_up(2));
}

/// A register's row is two elements: the document, and the document with its holder.
#[test]
fn one_row_of_a_register_is_a_document_and_a_holder() {
    let (keys, tally) = run(
        "n,s,surname,given,born\nL898902C3,UTO,Eriksson,Anna,1974-08-12\nM1,UTO,,,\n,,Li,Wei,1980\n",
        &["document=n,s", "holder=n,s,surname,given,born"],
    );
    let want: [&[&str]; 3] = [
        &[
            "document:UTO:L898902C3",
            "holder:UTO:L898902C3|740812|ERIKSSON|A",
        ],
        &["document:UTO:M1"],
        &[],
    ];
    assert_eq!(keys, want);
    assert_eq!((tally.rows, tally.keys, tally.empty), (3, 3, 2));
    assert_eq!(tally.rejected[&Reject::HolderMissing].count, 1);
}

#[test]
fn no_type_has_more_parts_than_fit() {
    assert!(
        IdentifierType::ALL
            .iter()
            .flat_map(|ty| ty.forms())
            .all(|form| form.len() <= MAX_PARTS)
    );
}

#[test]
fn first_lines_are_bounded() {
    let (_, tally) = run(&format!("n\n{}", "?\n".repeat(50)), &["document=n,=UTO"]);
    let rejected = &tally.rejected[&Reject::NumberCharacter];
    assert_eq!(
        (rejected.count, rejected.first_lines.len()),
        (50, FIRST_LINES)
    );
}

#[test]
fn key_fields_are_as_asked() {
    let (_dir, source) = source("a,b\n1,2\n");
    let extractor = Extractor::new(source.header(), &mapping(&["text=b", "bytes=a"], &[])).unwrap();
    let mut rows = source.rows().unwrap();
    let row = rows.next_row().unwrap().unwrap();
    let keys = extractor.keys(&row, &mut Tally::default());
    let shape: Vec<_> = keys.iter().map(|k| (k.key_index, k.ty, k.rule)).collect();
    assert_eq!(
        shape,
        [
            (0, IdentifierType::Text, Rule::Exact),
            (1, IdentifierType::Bytes, Rule::Exact)
        ]
    );
    assert!(!format!("{keys:?}").contains("TEXT:"));
}

#[test]
fn label_columns_come_in_the_order_asked() {
    let (_dir, source) = source("a,b,c\n1,2,3\n");
    let label = LabelColumns::new(source.header(), &mapping(&["text=a"], &["c", "a"])).unwrap();
    assert!(!label.is_empty());
    let mut rows = source.rows().unwrap();
    let row = rows.next_row().unwrap().unwrap();
    assert_eq!(label.record(&row), ["3", "1"]);
}

#[test]
fn columns_that_are_missing() {
    let (_dir, source) = source("a,b\n");
    let header = source.header();
    let e = Extractor::new(header, &mapping(&["text=x"], &[])).unwrap_err();
    assert_eq!(e.code(), "table-missing-column");
    let e = LabelColumns::new(header, &mapping(&["text=a"], &["x"])).unwrap_err();
    assert_eq!(e.code(), "table-missing-column");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// `run` asserts that the totals add up.
    #[test]
    fn totals_add_up(rows in prop::collection::vec(("[A-B0-1?<-]{0,3}", "[A-C]{0,4}"), 0..20)) {
        let mut text = String::from("n,s\n");
        for (n, s) in &rows {
            text.push_str(&format!("{n},{s}\n"));
        }
        let (keys, tally) = run(&text, &["document=n,s", "text=n", "bytes=s"]);
        prop_assert_eq!(tally.rows, rows.len() as u64);
        prop_assert_eq!(tally.keys, keys.iter().map(Vec::len).sum::<usize>() as u64);
    }
}
