use super::*;
use crate::{
    extract::Extractor,
    mapping::{KeySpec, Mapping},
};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use tempfile::TempDir;

fn table(bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn open_error(bytes: &[u8]) -> TableError {
    let (_dir, path) = table(bytes);
    Source::open(path).unwrap_err()
}

fn pass(source: &Source) -> Result<FileDigest, TableError> {
    let mut rows = source.rows()?;
    while rows.next_row()?.is_some() {}
    rows.finish()
}

#[test]
fn passes_over_one_file_agree() {
    let (_dir, path) = table("\u{feff} name , number\r\nÄ, 1 \r\n\r\nB,\"2\"\r\n".as_bytes());
    let source = Source::open(&path).unwrap();
    assert_eq!(source.header().names(), ["name", "number"]);
    let mut rows = source.rows().unwrap();
    let row = rows.next_row().unwrap().unwrap();
    assert_eq!((row.line(), row.len()), (2, 2));
    assert_eq!(
        (row.get(0), row.get(1), row.get(2)),
        (Some("Ä"), Some("1"), None)
    );
    assert_eq!(format!("{row:?}"), "Row(line 2, ..)");
    let row = rows.next_row().unwrap().unwrap();
    assert_eq!((row.line(), row.get(1)), (4, Some("2")));
    assert!(rows.next_row().unwrap().is_none());
    assert!(rows.next_row().unwrap().is_none());
    let first = rows.finish().unwrap();
    assert_eq!((first.rows, first.bytes), (2, source.size().unwrap()));
    source.verify_same(&first, &pass(&source).unwrap()).unwrap();
}

#[test]
fn a_changed_file_is_refused() {
    let (_dir, path) = table(b"a\n1\n2\n");
    let source = Source::open(&path).unwrap();
    let first = pass(&source).unwrap();
    fs::write(&path, "a\n1\n3\n").unwrap();
    let e = source
        .verify_same(&first, &pass(&source).unwrap())
        .unwrap_err();
    assert_eq!(e.code(), "table-changed");
    assert!(e.to_string().contains("nothing was written"));
    fs::write(&path, "b\n1\n2\n").unwrap();
    assert_eq!(source.rows().unwrap_err().code(), "table-changed");
    fs::remove_file(&path).unwrap();
    assert_eq!(source.rows().unwrap_err().code(), "table-io");
}

/// A byte that only trimming hides still counts.
#[test]
fn invisible_changes_are_changes() {
    let (_dir, path) = table(b"a\n1\n");
    let source = Source::open(&path).unwrap();
    let first = pass(&source).unwrap();
    fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"\n")
        .unwrap();
    assert!(source.verify_same(&first, &pass(&source).unwrap()).is_err());
}

#[test]
fn missing_column_lists_the_header() {
    let (_dir, path) = table(b"name,passport\n");
    let source = Source::open(path).unwrap();
    assert_eq!(source.header().index("passport").unwrap(), 1);
    let e = source.header().index("Passport").unwrap_err();
    assert_eq!(e.code(), "table-missing-column");
    let shown = e.to_string();
    assert!(
        shown.contains("line 1: there is no column \"Passport\""),
        "{shown}"
    );
    assert!(shown.ends_with("the header has: name, passport"), "{shown}");
}

/// Without a header line the first row of data would be printed.
#[test]
fn data_in_the_place_of_a_header_is_not_shown() {
    let (_dir, path) = table(b"Eriksson,L898902C3\n");
    let source = Source::open(path).unwrap();
    let shown = source.header().index("passport").unwrap_err().to_string();
    assert!(
        !shown.contains("Eriksson") && !shown.contains("L898"),
        "{shown}"
    );
    assert!(shown.contains("must name the columns"), "{shown}");
    assert!(!format!("{source:?}").contains("Eriksson"));
    let shown = open_error(b"Eriksson,Eriksson,L898902C3\n").to_string();
    assert!(!shown.contains("Eriksson"), "{shown}");
    // Nor where no four digits stand together.
    for line in [
        &b"ZK3QW8YV5TJX,UTO\n"[..],
        b"Eriksson,Anna\n",
        b"12-34-56\n",
    ] {
        let (_dir, path) = table(line);
        let source = Source::open(path).unwrap();
        let shown = source.header().index("passport").unwrap_err().to_string();
        assert!(shown.contains("must name the columns"), "{shown}");
    }
    let shown = open_error(b"Eriksson,Eriksson\n").to_string();
    assert!(!shown.contains("Eriksson"), "{shown}");
}

#[test]
fn names_of_columns_are_shown_where_one_of_those_asked_for_is_there() {
    let (_dir, path) = table(b"PassportNo,State\n");
    let source = Source::open(path).unwrap();
    let shown = |keys: &str| {
        let mapping = Mapping::from_flags(vec![KeySpec::parse(keys).unwrap()], vec![]).unwrap();
        Extractor::new(source.header(), &mapping)
            .unwrap_err()
            .to_string()
    };
    let there = shown("document=passport,state");
    assert!(there.contains("PassportNo, State"), "{there}");
    let not = shown("document=passport,country");
    assert!(!not.contains("PassportNo"), "{not}");
}

#[test]
fn empty_file() {
    for bytes in [&b""[..], b"\n\n", b"\xef\xbb\xbf"] {
        let e = open_error(bytes);
        assert_eq!(e.code(), "table-empty");
        assert!(e.to_string().contains("must name the columns"));
    }
}

#[test]
fn header_names_must_be_there_and_differ() {
    let e = open_error(b"a,b, a\n");
    assert_eq!(e.code(), "table-duplicate-column");
    assert!(e.to_string().contains("line 1: columns 1 and 3"));
    let e = open_error(b"\na,,b\n");
    assert_eq!(e.code(), "table-unnamed-column");
    assert!(e.to_string().contains("line 2: column 2"));
}

#[test]
fn lines_that_end_with_cr_alone_are_no_header() {
    for bytes in [
        &b"a,b\r1,2\r3,4\r"[..],
        b"a,a\r1,2",
        b"a,\"b\"\r1,2\r",
        b"a\r1\r",
    ] {
        assert_eq!(open_error(bytes).code(), "table-line-ends", "{bytes:?}");
    }
    // In quotes, and in a row, it is data.
    let (_dir, path) = table(b"a,\"b\rc\"\n1,2\r3\n");
    assert_eq!(pass(&Source::open(path).unwrap()).unwrap().rows, 1);
}

#[test]
fn a_separator_that_was_stated_wrongly_is_hinted_at() {
    for (bytes, delimiter, hinted) in [
        (&b"name;number\n"[..], "comma", true),
        (b"name,number\n", "tab", true),
        (b"name;number,date\n", "comma", false),
    ] {
        let (_dir, path) = table(bytes);
        let format = TableFormat {
            delimiter: delimiter.parse().ok(),
            ..TableFormat::default()
        };
        let source = TableInput::file(path, format).open().unwrap();
        let shown = source.header().index("x").unwrap_err().to_string();
        assert_eq!(shown.contains("state --delimiter"), hinted, "{shown}");
    }
}

/// A table without a header whose cells are small letters: its first row is no list of names.
#[test]
fn a_first_row_of_small_letters_is_not_shown() {
    for (bytes, names) in [
        (&b"anna,eriksson,utopia\n"[..], false),
        (b"anna,anna\n", false),
        (b"nachname,vorname\n", false),
        (b"surname,vorname\n", true),
        (b"document_nr;country\n", true),
    ] {
        let (_dir, path) = table(bytes);
        let shown = match Source::open(path) {
            Ok(source) => source.header().index("passport").unwrap_err(),
            Err(e) => e,
        };
        let shown = shown.to_string();
        assert_eq!(shown.contains("the header has"), names, "{shown}");
        assert!(
            !shown.contains("anna") && !shown.contains("eriksson"),
            "{shown}"
        );
        let hint = shown.contains("--no-header") || shown.contains("the line may be data");
        assert_eq!(hint, !names, "{shown}");
    }
}

#[test]
fn ragged_rows_end_the_pass() {
    for (bytes, found) in [
        (&b"a,b\n1,2\n\nL898902C3\n"[..], 1),
        (b"a,b\n1,2\n\n1,2,L898902C3", 3),
    ] {
        let (_dir, path) = table(bytes);
        let source = Source::open(path).unwrap();
        let mut rows = source.rows().unwrap();
        rows.next_row().unwrap().unwrap();
        let e = rows.next_row().unwrap_err();
        assert_eq!(e.code(), "table-ragged-row");
        let shown = e.to_string();
        assert!(
            shown.contains("line 4") && shown.contains(&format!("{found} fields")),
            "{shown}"
        );
        assert!(!format!("{e:?}{shown}").contains("L898"));
        // Not to be read past, and no digest of half a file.
        assert_eq!(rows.next_row().unwrap_err().code(), "table-unfinished");
        assert_eq!(rows.finish().unwrap_err().code(), "table-unfinished");
    }
}

#[test]
fn no_digest_before_the_end() {
    let (_dir, path) = table(b"a\n1\n2\n");
    let source = Source::open(path).unwrap();
    let mut rows = source.rows().unwrap();
    rows.next_row().unwrap();
    assert_eq!(rows.finish().unwrap_err().code(), "table-unfinished");
}

#[test]
fn paths_that_are_no_files() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        Source::open(dir.path()).unwrap_err().code(),
        "table-not-a-file"
    );
    assert_eq!(
        Source::open("/dev/null").unwrap_err().code(),
        "table-not-a-file"
    );
    assert_eq!(
        Source::open(dir.path().join("x")).unwrap_err().code(),
        "table-io"
    );
}

#[test]
fn errors_of_rows_name_the_file() {
    let e = open_error(b"a,b\xff\n");
    assert_eq!(e.code(), "table-not-utf8");
    let shown = e.to_string();
    assert!(shown.contains("t.csv, line 1, column 2"), "{shown}");
}
