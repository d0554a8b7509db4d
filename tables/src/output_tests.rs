use std::fs;

use super::*;
use crate::Source;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

const EXACT: Rule = Rule::Exact;
const DOCUMENT: IdentifierType = IdentifierType::Document;
const TEXT: IdentifierType = IdentifierType::Text;

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn source(text: &str) -> (TempDir, Source) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.csv");
    fs::write(&path, text).unwrap();
    let source = Source::open(path).unwrap();
    (dir, source)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

fn hit<'a>(ty: IdentifierType, key_text: &'a str, records: &'a [Vec<String>]) -> RowHit<'a> {
    RowHit {
        key_index: 0,
        ty,
        rule: EXACT,
        key_text,
        records,
    }
}

/// The output for the first row of `own`.
fn stream(own: &str, theirs: &[&str], hits: &[RowHit<'_>]) -> Result<String, TableError> {
    let (_dir, source) = source(own);
    let out = Shared::default();
    let mut writer = MatchWriter::to_stream(
        Box::new(out.clone()),
        "stdout",
        source.header(),
        &names(theirs),
    )?;
    let mut rows = source.rows()?;
    let row = rows.next_row()?.unwrap();
    let lines = writer.write_row(&row, hits)?;
    let written = writer.finish()?;
    assert_eq!(
        written,
        Written {
            lines,
            rows: u64::from(lines > 0)
        }
    );
    let bytes = out.0.lock().unwrap().clone();
    Ok(String::from_utf8(bytes).unwrap())
}

#[test]
fn one_line_per_row_without_labels() {
    let hits = [
        hit(DOCUMENT, "document:UTO:1", &[]),
        hit(TEXT, "text:A", &[]),
        hit(DOCUMENT, "document:UTO:1", &[]),
    ];
    assert_eq!(
        stream("n,name\n 1 ,\"=a, \"\"b\"\"\"\n", &[], &hits).unwrap(),
        "n,name,tally_type,tally_rule,tally_score,tally_key\n\
         1,\"=a, \"\"b\"\"\",document;text,exact,1.000,document:UTO:1;text:A\n"
    );
}

#[test]
fn one_line_per_distinct_record() {
    let both = [names(&["C1", "H0"]), names(&["C2", "H1"])];
    let one = [names(&["C2", "H1"])];
    let hits = [
        hit(DOCUMENT, "document:UTO:1", &both),
        hit(TEXT, "text:A", &one),
    ];
    assert_eq!(
        stream("n\n1\n", &["case", "code"], &hits).unwrap(),
        "n,tally_type,tally_rule,tally_score,tally_key,their_case,their_code\n\
         1,document,exact,1.000,document:UTO:1,C1,H0\n\
         1,document;text,exact,1.000,document:UTO:1;text:A,C2,H1\n"
    );
}

#[test]
fn a_row_without_hits_has_no_line() {
    assert_eq!(
        stream("n\n1\n", &["case"], &[]).unwrap(),
        "n,tally_type,tally_rule,tally_score,tally_key,their_case\n"
    );
}

#[test]
fn records_must_fit_the_columns() {
    for records in [&[][..], &[names(&["a"])], &[names(&["a", "b"]), names(&[])]] {
        let e = stream("n\n1\n", &["x", "y"], &[hit(TEXT, "text:1", records)]).unwrap_err();
        assert_eq!(e.code(), "label-malformed");
    }
}

#[test]
fn columns_that_collide_are_refused() {
    let bad: [(&str, &[&str]); 4] = [
        ("n,tally_type\n1,2\n", &[]),
        ("tally_key\n1\n", &[]),
        ("n,their_case\n1,2\n", &["case"]),
        ("n\n1\n", &["case", "case"]),
    ];
    for (own, theirs) in bad {
        let e = stream(own, theirs, &[]).unwrap_err();
        assert_eq!(e.code(), "output-column", "{own}");
    }
    assert!(stream("case,type\n1,2\n", &["case"], &[]).is_ok());
}

fn to_file(path: &Path, force: bool) -> Result<MatchWriter, TableError> {
    let (_dir, source) = source("n\n1\n");
    let mut writer = MatchWriter::to_file(path, force, source.header(), &[])?;
    let mut rows = source.rows()?;
    let row = rows.next_row()?.unwrap();
    writer.write_row(&row, &[hit(TEXT, "text:1", &[])])?;
    Ok(writer)
}

fn entries(dir: &TempDir) -> usize {
    fs::read_dir(dir.path()).unwrap().count()
}

const WHOLE: &str = "n,tally_type,tally_rule,tally_score,tally_key\n1,text,exact,1.000,text:1\n";

#[test]
fn a_file_is_private_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.csv");
    let writer = to_file(&path, false).unwrap();
    assert!(!path.exists());
    assert_eq!(writer.finish().unwrap(), Written { lines: 1, rows: 1 });
    assert_eq!(fs::read_to_string(&path).unwrap(), WHOLE);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(entries(&dir), 1);
}

#[test]
fn an_aborted_file_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(to_file(&dir.path().join("out.csv"), false).unwrap());
    assert_eq!(entries(&dir), 0);
}

#[test]
fn an_existing_file_needs_force() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.csv");
    fs::write(&path, "old").unwrap();
    let e = to_file(&path, false).unwrap_err();
    assert_eq!(e.code(), "output-exists");
    assert!(e.to_string().contains("--force"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    to_file(&path, true).unwrap().finish().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), WHOLE);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn a_file_made_meanwhile_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.csv");
    let writer = to_file(&path, false).unwrap();
    fs::write(&path, "theirs").unwrap();
    assert_eq!(writer.finish().unwrap_err().code(), "output-exists");
    assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    assert_eq!(entries(&dir), 1);
}

#[test]
fn force_replaces_files_only() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for path in [dir.path(), Path::new("/dev/null"), &link] {
        assert_eq!(to_file(path, true).unwrap_err().code(), "output-exists");
    }
    let e = to_file(&dir.path().join("none/out.csv"), true).unwrap_err();
    assert_eq!(e.code(), "table-io");
}

#[test]
fn a_broken_stream_is_an_error() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (_dir, source) = source("n\n1\n");
    let writer = MatchWriter::to_stream(Box::new(Broken), "stdout", source.header(), &[]).unwrap();
    match writer.finish().unwrap_err() {
        TableError::Io { source, .. } => assert_eq!(source.kind(), io::ErrorKind::BrokenPipe),
        other => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever is in a row and a record reads back unchanged, one line per distinct record.
    #[test]
    fn lines_read_back(
        own in prop::collection::vec("[a;,\"\n =é]{0,5}", 2),
        records in prop::collection::vec(prop::collection::vec("[b,\"\n]{0,2}", 1), 1..5),
    ) {
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(["x", "y"]).unwrap();
        table.write_record(&own).unwrap();
        let table = String::from_utf8(table.into_inner().unwrap()).unwrap();
        let hits = [hit(TEXT, "text:k", &records)];
        let out = stream(&table, &["r"], &hits).unwrap();
        let mut reader = csv::Reader::from_reader(out.as_bytes());
        let lines: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let mut distinct = records.clone();
        let mut seen = HashSet::new();
        distinct.retain(|r| seen.insert(r.clone()));
        prop_assert_eq!(lines.len(), distinct.len());
        for (line, record) in lines.iter().zip(&distinct) {
            prop_assert_eq!(&line[0], own[0].trim());
            prop_assert_eq!(&line[1], own[1].trim());
            prop_assert_eq!(line.iter().skip(2).take(4).collect::<Vec<_>>(), ["text", "exact", "1.000", "text:k"]);
            prop_assert_eq!(&line[6], record[0].as_str());
        }
    }
}
