use super::*;
use crate::{KeySpec, Source};

fn score(own: &str, keys: &str, label: &[&str], record: &[&str]) -> Option<u16> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    std::fs::write(&path, own).unwrap();
    let source = Source::open(&path).unwrap();
    let mapping = Mapping::from_flags(vec![KeySpec::parse(keys).unwrap()], vec![]).unwrap();
    let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let recheck = Recheck::new(source.header(), &mapping, &owned(label)).unwrap();
    let mut rows = source.rows().unwrap();
    let row = rows.next_row().unwrap().unwrap();
    let alike = recheck.score(&row, 0, &owned(record));
    alike.map(|alike| alike.thousandths)
}

#[test]
fn label_columns_are_found_by_part_by_their_kin_and_by_own_name() {
    let own = "vorname,nachname,geboren\nAnna,Smith,1974-08-12\n";
    let key = "person=vorname,nachname,geboren";
    let same = ["ANNA", "Smith", "12.08.1974"];
    for label in [
        ["given_name", "surname", "birth_date"],
        ["First Name", "family-name", "DOB"],
        ["Vorname", "NACHNAME", "geboren"],
    ] {
        assert_eq!(score(own, key, &label, &same), Some(1000), "{label:?}");
        let other = score(own, key, &label, &["Anna", "Smyth", "1974-08-12"]);
        assert!(
            other.is_some_and(|score| (900..1000).contains(&score)),
            "{other:?}"
        );
    }
    // What both say, and nothing else.
    assert_eq!(
        score(own, key, &["case", "surname"], &["C-1", "Smith"]),
        Some(1000)
    );
    assert_eq!(score(own, key, &["case"], &["C-1"]), None);
    assert_eq!(score(own, key, &["surname"], &[""]), None);
}

#[test]
fn documents_have_no_re_check() {
    let own = "number,state\nL898902C3,UTO\n";
    assert_eq!(
        score(own, "document=number,state", &["number"], &["L898902C3"]),
        None
    );
}
