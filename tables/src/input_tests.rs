use std::{io::Write, path::PathBuf};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::source::FileDigest;

const PLAIN: &str = "number,state,name\nL898902C3,UTO,Ærø\nX1,D,\"a,b\"\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A frame of one raw block for each 64 KiB, with a checksum if one is given.
fn zstd(bytes: &[u8], checksum: Option<u32>) -> Vec<u8> {
    // RFC 8878, 3.1.1: magic, descriptor (no single segment), window of 128 KiB, blocks.
    let descriptor = if checksum.is_some() { 4 } else { 0 };
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, descriptor, 7 << 3];
    let blocks: Vec<&[u8]> = bytes.chunks(64 << 10).collect();
    for (at, block) in blocks.iter().enumerate() {
        let last = u32::from(at + 1 == blocks.len());
        let header = (block.len() as u32) << 3 | last;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.extend_from_slice(block);
    }
    frame.extend(checksum.into_iter().flat_map(u32::to_le_bytes));
    frame
}

fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2], mark: bool) -> Vec<u8> {
    let mark = mark.then_some(0xfeff);
    let units = mark.into_iter().chain(text.encode_utf16());
    units.flat_map(to_bytes).collect()
}

type Table = (Vec<String>, Vec<(u64, Vec<String>)>);

fn pass(input: &TableInput) -> Result<(Table, FileDigest), TableError> {
    let source = input.open()?;
    let mut rows = source.rows()?;
    let mut found = Vec::new();
    while let Some(row) = rows.next_row()? {
        found.push((row.line(), row.fields().map(str::to_owned).collect()));
    }
    assert_eq!(rows.bytes_read(), source.size()?);
    Ok(((source.header().names().to_vec(), found), rows.finish()?))
}

fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

/// Reads a table in a file; the digest is over the file's bytes, and two passes agree.
fn read(name: &str, bytes: &[u8], format: TableFormat) -> Result<Table, TableError> {
    let (_dir, path) = file(name, bytes);
    let input = TableInput::file(&path, format);
    let (table, digest) = pass(&input)?;
    let want: [u8; 32] = Sha256::digest(bytes).into();
    assert_eq!((digest.sha256, digest.bytes), (want, bytes.len() as u64));
    assert_eq!(pass(&input)?, (table.clone(), digest));
    Ok(table)
}

/// Options by name.
fn stated(options: &str) -> TableFormat {
    toml::from_str(options).unwrap()
}

fn default() -> TableFormat {
    TableFormat::default()
}

fn plain() -> Table {
    read("t.csv", PLAIN.as_bytes(), default()).unwrap()
}

#[test]
fn one_table_in_many_forms() {
    let other = |with: &str| {
        PLAIN
            .replace("\"a,b\"", "a,b!")
            .replace(',', with)
            .replace(&format!("a{with}b!"), "\"a,b\"")
    };
    let json = "{\"number\":\"L898902C3\",\"state\":\"UTO\",\"name\":\"\\u00c6rø\"}\n\
                {\"number\":\"X1\",\"name\":\"a,b\",\"state\":\"D\"}\n";
    let (first, second) = PLAIN.split_at(30);
    let members = [gzip(first.as_bytes()), gzip(b""), gzip(second.as_bytes())].concat();
    let skipped = [&b"\x50\x2a\x4d\x18\x03\0\0\0abc"[..]].concat();
    let frames = [
        zstd(first.as_bytes(), None),
        skipped,
        zstd(second.as_bytes(), None),
    ]
    .concat();
    let latin: Vec<u8> = encoding_rs::WINDOWS_1252.encode(PLAIN).0.into_owned();
    for (name, bytes, options) in [
        ("t.csv", other(";").into_bytes(), ""),
        ("t.csv", other("\t").into_bytes(), ""),
        ("t.txt", other("|").into_bytes(), ""),
        ("t.csv", other(":").into_bytes(), "delimiter = \":\""),
        ("t.tsv", other("\t").into_bytes(), ""),
        ("t.jsonl", json.into(), ""),
        ("t", json.into(), "format = \"jsonl\""),
        ("t.csv.gz", gzip(PLAIN.as_bytes()), ""),
        ("t.csv.GZ", members, ""),
        ("t.ndjson.gz", gzip(json.as_bytes()), ""),
        ("t.csv.zst", zstd(PLAIN.as_bytes(), None), ""),
        ("t.zst", frames, ""),
        ("t.csv", utf16(PLAIN, u16::to_le_bytes, true), ""),
        (
            "t.csv",
            utf16(PLAIN, u16::to_be_bytes, true),
            "encoding = \"utf-16\"",
        ),
        (
            "t.csv",
            utf16(PLAIN, u16::to_be_bytes, false),
            "encoding = \"utf-16be\"",
        ),
        (
            "t.tab.gz",
            gzip(&utf16(&other("\t"), u16::to_le_bytes, true)),
            "",
        ),
        ("t.csv", latin.clone(), "encoding = \"windows-1252\""),
        (
            "t.csv",
            latin,
            "encoding = \"latin1\"\ndelimiter = \",\"\nquote = \"double\"",
        ),
        (
            "t.csv",
            format!("\u{feff}{PLAIN}").into_bytes(),
            "encoding = \"utf-8\"",
        ),
    ] {
        let found = read(name, &bytes, stated(options));
        let (names, rows) = found.unwrap_or_else(|e| panic!("{name} {options}: {e}"));
        let (want_names, want_rows) = plain();
        assert_eq!(names, want_names, "{name} {options}");
        // JSON lines have no header, so their rows stand a line higher.
        let rows: Vec<_> = rows.into_iter().map(|(_, fields)| fields).collect();
        let want: Vec<_> = want_rows.into_iter().map(|(_, fields)| fields).collect();
        assert_eq!(rows, want, "{name} {options}");
    }
}

#[test]
fn without_a_header_columns_are_numbers_and_the_first_record_is_a_row() {
    let (names, rows) = read("t.csv", PLAIN.as_bytes(), stated("header = false")).unwrap();
    assert_eq!(names, ["1", "2", "3"]);
    assert_eq!(rows.len(), 3);
    assert_eq!((rows[0].0, rows[0].1[0].as_str()), (1, "number"));
    let (names, rows) = read(
        "t.csv",
        b"\n\nL898902C3;UTO\nX1;D\n",
        stated("header = false"),
    )
    .unwrap();
    assert_eq!((names.len(), rows[0].0, rows[1].0), (2, 3, 4));
    // Equal cells in the first row, and empty ones, are no fault then.
    read("t.csv", b"a,a,\nb,c,d\n", stated("header = false")).unwrap();
    let (_dir, path) = file("t.csv", b"L898902C3,UTO\n");
    let input = TableInput::file(path, stated("header = false"));
    let e = input
        .open()
        .unwrap()
        .header()
        .index("3")
        .unwrap_err()
        .to_string();
    assert!(e.contains("here 1 to 2") && !e.contains("L898"), "{e}");
}

#[test]
fn what_is_stated_may_not_contradict() {
    for (options, problem) in [
        ("delimiter = \";\"", "no delimiter"),
        ("quote = \"none\"", "quotes"),
        ("header = false", "--no-header"),
    ] {
        let e = read("t.jsonl", b"{\"a\":1}\n", stated(options)).unwrap_err();
        assert_eq!(e.code(), "table-format");
        assert!(e.to_string().contains(problem), "{e}");
    }
    for (bytes, options) in [
        (
            utf16("a,b\n", u16::to_le_bytes, true),
            "encoding = \"utf-8\"",
        ),
        (
            utf16("a,b\n", u16::to_le_bytes, true),
            "encoding = \"windows-1252\"",
        ),
        ("\u{feff}a\n".into(), "encoding = \"iso-8859-2\""),
    ] {
        let e = read("t.csv", &bytes, stated(options)).unwrap_err();
        assert_eq!(e.code(), "table-encoding");
        assert!(e.to_string().contains("leave out --encoding"), "{e}");
    }
}

#[test]
fn text_in_another_encoding_is_refused_with_a_hint() {
    let e = read("t.csv", b"a;b\n1;\xe9\n", default()).unwrap_err();
    assert_eq!(e.code(), "table-not-utf8");
    let shown = e.to_string();
    assert!(
        shown.contains("line 2, column 2") && shown.contains("--encoding"),
        "{shown}"
    );
    let e = read(
        "t.csv",
        b"a;b\n1;2\n3;\x81\n",
        stated("encoding = \"windows-1252\""),
    )
    .unwrap_err();
    assert_eq!(e.code(), "table-encoding");
    assert!(e.to_string().contains("line 3"), "{e}");
    for bytes in [&b"a\0,\0b\0\n\0"[..], b"\xff\xfe\0\0a\0\0\0"] {
        for name in ["t.csv", "t.jsonl"] {
            let e = read(name, bytes, default()).unwrap_err();
            assert_eq!(e.code(), "table-not-utf8", "{name}");
            assert!(e.to_string().contains("--encoding utf-16le"), "{e}");
        }
    }
}

#[test]
fn packed_files_that_are_cut_short_or_damaged_are_refused() {
    let long: String = (0..5000).map(|n| format!("{n},{}\n", n * 7919)).collect();
    let long = format!("a,b\n{long}");
    let (gz, zst) = (gzip(long.as_bytes()), zstd(long.as_bytes(), None));
    for (name, packed) in [("t.gz", &gz), ("t.zst", &zst)] {
        read(name, packed, default()).unwrap();
        for cut in [0, 1, 4, 9, packed.len() / 2, packed.len() - 1] {
            let e = read(name, &packed[..cut], default()).unwrap_err();
            assert_eq!(e.code(), "table-does-not-unpack", "{name} {cut}");
            assert!(
                e.to_string().contains("ends too early"),
                "{name} {cut}: {e}"
            );
        }
        let trailing = [&packed[..], b"more than that"].concat();
        let e = read(name, &trailing, default()).unwrap_err();
        assert_eq!(e.code(), "table-does-not-unpack", "{name}");
        let e = read(name, long.as_bytes(), default()).unwrap_err();
        assert_eq!(e.code(), "table-does-not-unpack", "{name}");
    }
    // Sums at the end.
    let mut wrong = gz.clone();
    let at = wrong.len() - 6;
    wrong[at] ^= 1;
    assert_eq!(
        read("t.gz", &wrong, default()).unwrap_err().code(),
        "table-does-not-unpack"
    );
    let wrong = zstd(long.as_bytes(), Some(1));
    assert_eq!(
        read("t.zst", &wrong, default()).unwrap_err().code(),
        "table-does-not-unpack"
    );
    // The sum of RFC 8878, 3.1.1: XXH64 of nothing begins so.
    read(
        "t.zst",
        &[zstd(b"a,b\n", None), zstd_of_nothing(0x51d8_e999)].concat(),
        default(),
    )
    .unwrap();
}

/// A frame of one empty block, with its sum.
fn zstd_of_nothing(sum: u32) -> Vec<u8> {
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 4, 7 << 3, 1, 0, 0];
    [&frame[..], &sum.to_le_bytes()].concat()
}

/// What unpacks to far more than it is costs no memory: a field is capped.
#[test]
fn a_bomb_is_refused_at_the_cap() {
    let bomb = gzip(&vec![b'x'; 64 << 20]);
    assert!(bomb.len() < 1 << 17);
    let e = read("t.csv.gz", &bomb, default()).unwrap_err();
    assert_eq!(e.code(), "table-field-too-long");
}

#[test]
fn a_sealed_copy_reads_as_the_file_does() {
    let dir = tempfile::tempdir().unwrap();
    let copy = |bytes: &[u8], options: &str| {
        let copy = SealedCopy::make(bytes, dir.path(), |_| {}).unwrap();
        let (table, digest) = pass(&TableInput::copy(copy, stated(options)))?;
        let want: [u8; 32] = Sha256::digest(bytes).into();
        assert_eq!(digest.sha256, want);
        Ok::<_, TableError>(table)
    };
    let semicolons = b"number;state\nL1;UTO\n";
    assert_eq!(copy(PLAIN.as_bytes(), "").unwrap(), plain());
    assert_eq!(copy(semicolons, "").unwrap().0.len(), 2);
    // What has no name is told by its first bytes.
    assert_eq!(copy(&gzip(PLAIN.as_bytes()), "").unwrap(), plain());
    assert_eq!(copy(&zstd(PLAIN.as_bytes(), None), "").unwrap(), plain());
    let json = copy(b"{\"a\":1}\n", "format = \"jsonl\"").unwrap();
    assert_eq!(json.1, [(1, vec!["1".to_owned()])]);
    let e = copy(b"", "").unwrap_err();
    assert_eq!(e.code(), "table-empty");
    assert!(e.to_string().starts_with("standard input"), "{e}");
}

#[test]
fn how_a_table_is_read_tells_two_apart() {
    let as_read = |name: &str, options: &str| {
        let (_dir, path) = file(name, b"a;b\n1;2\n");
        TableInput::file(path, stated(options))
            .open()
            .unwrap()
            .read_as()
    };
    assert_eq!(as_read("t.csv", ""), as_read("u.txt", "delimiter = \";\""));
    for options in [
        "delimiter = \",\"",
        "header = false",
        "quote = \"none\"",
        "encoding = \"koi8-r\"",
    ] {
        assert_ne!(as_read("t.csv", ""), as_read("t.csv", options), "{options}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever stands in a packed or an encoded file, nothing panics.
    #[test]
    fn nothing_panics(
        name in prop::sample::select(vec!["t.gz", "t.zst", "t.jsonl", "t.csv", "t.tsv"]),
        encoding in prop::sample::select(vec!["", "encoding = \"utf-16le\"", "encoding = \"shift_jis\""]),
        magic in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let magic: &[u8] = match (magic, name) {
            (true, "t.gz") => b"\x1f\x8b\x08",
            (true, "t.zst") => b"\x28\xb5\x2f\xfd",
            (true, "t.jsonl") => b"{\"",
            _ => b"",
        };
        let _ = read(name, &[magic, &bytes].concat(), stated(encoding));
    }

    /// Cut anywhere, a packed table is refused: no half of it is taken for the whole.
    #[test]
    fn no_cut_is_taken_for_an_end(rows in 1usize..200, cut in 0.0f64..1.0) {
        let text: String = (0..rows).map(|n| format!("{n},{}\n", n * 7919)).collect();
        for (name, packed) in [("t.gz", gzip(text.as_bytes())), ("t.zst", zstd(text.as_bytes(), None))] {
            let at = (packed.len() as f64 * cut) as usize;
            let cut = read(name, &packed[..at], stated("header = false"));
            prop_assert_eq!(cut.unwrap_err().code(), "table-does-not-unpack");
        }
    }
}
