use super::*;
use proptest::prelude::*;

type Records = Vec<(u64, Vec<String>)>;

/// Hands out one byte at a time: every state meets a buffer's end.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.0.len().min(1).min(buffer.len());
        buffer[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

fn dialect(delimiter: u8, quotes: bool) -> Dialect {
    let delimiter = char::from(delimiter).to_string().parse().unwrap();
    Dialect { delimiter, quotes }
}

fn collect(input: impl Read) -> Result<Records, TableError> {
    collect_as(input, Dialect::default())
}

fn collect_as(input: impl Read, dialect: Dialect) -> Result<Records, TableError> {
    let mut reader = RecordReader::new(input, dialect);
    let mut all = Vec::new();
    while let Some(row) = reader.next(Path::new("t.csv"))? {
        all.push((row.line(), row.fields().map(str::to_owned).collect()));
    }
    assert!(reader.is_done());
    Ok(all)
}

fn read(bytes: &[u8]) -> Result<Records, TableError> {
    read_as(bytes, Dialect::default())
}

fn read_as(bytes: &[u8], dialect: Dialect) -> Result<Records, TableError> {
    let whole = collect_as(bytes, dialect);
    let dripped = collect_as(Drip(bytes), dialect);
    assert_eq!(format!("{whole:?}"), format!("{dripped:?}"));
    whole
}

fn lines(bytes: &str) -> Vec<(u64, String)> {
    let records = read(bytes.as_bytes()).unwrap();
    records.into_iter().map(|(l, r)| (l, r.join("|"))).collect()
}

fn own(rows: &[(u64, &str)]) -> Vec<(u64, String)> {
    rows.iter().map(|(l, r)| (*l, (*r).to_owned())).collect()
}

/// A zero byte, a quote, a CR, a character cut by a comma: what a plain record must not have.
#[test]
fn records_that_are_nearly_plain() {
    let rows = lines("a,b\nc,\rd\ne\r,f\r\n");
    assert_eq!(rows, own(&[(1, "a|b"), (2, "c|d"), (3, "e|f")]));
    for (bytes, column) in [
        (&b"a,b\nc,\xc3,\xa9\n"[..], 2),
        (b"a,b\nc\xc3,\xa9\n", 1),
        (b"a,b\nc,d\xff\n", 2),
        // The first column at fault, also where its half would make a character with the next.
        (b"a,b\n\xc3,\xa9\xff\n", 1),
        (b"a,b\n\"\xc3\",\xa9\xff\n", 1),
    ] {
        let error = read(bytes).unwrap_err();
        let expected =
            matches!(error, TableError::NotUtf8 { line: 2, column: c, .. } if c == column);
        assert!(expected, "{error:?}");
    }
    let error = read(b"a,b\nc,\0\n").unwrap_err();
    assert!(
        matches!(
            error,
            TableError::Nul {
                line: 2,
                column: 2,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn records_and_their_lines() {
    let table: [(&str, &[(u64, &str)]); 15] = [
        ("", &[]),
        ("\n\r\n\n", &[]),
        ("a,b\n1,2\n", &[(1, "a|b"), (2, "1|2")]),
        ("a,b\r\n1,2", &[(1, "a|b"), (2, "1|2")]),
        ("a\n\n\nb\n", &[(1, "a"), (4, "b")]),
        ("a\r\n\r\nb\r\n", &[(1, "a"), (3, "b")]),
        ("\u{feff}a,b\n", &[(1, "a|b")]),
        ("\u{feff}\"a\",b\n", &[(1, "a|b")]),
        (",\n,,\n", &[(1, "|"), (2, "||")]),
        ("\"\"\nx\n", &[(1, ""), (2, "x")]),
        (
            "\"a\nb\",\"c\"\"d\"\ne,f\n",
            &[(1, "a\nb|c\"d"), (3, "e|f")],
        ),
        ("\"a,b\" , \"c\"\t\r\n", &[(1, "a,b|c")]),
        (" a ,\tb\u{a0}\n", &[(1, "a|b")]),
        ("a\rb,c\n", &[(1, "a\rb|c")]),
        ("a,\r", &[(1, "a|")]),
    ];
    for (text, want) in table {
        assert_eq!(lines(text), own(want), "{text:?}");
    }
}

#[test]
fn other_delimiters_and_no_quotes() {
    let rows = |text: &str, delimiter, quotes| {
        let rows = read_as(text.as_bytes(), dialect(delimiter, quotes)).unwrap();
        let rows = rows.into_iter().map(|(_, fields)| fields.join("/"));
        rows.collect::<Vec<_>>().join("#")
    };
    assert_eq!(rows("a;b,c\n\"1;2\" ;3", b';', true), "a/b,c#1;2/3");
    assert_eq!(rows("a\tb\n\"1\t2\"\t 3\r\n", b'\t', true), "a/b#1\t2/3");
    assert_eq!(rows("a\t\n\t\n", b'\t', true), "a/#/");
    assert_eq!(rows("a|\"b\n5\" pipe|c\n", b'|', false), "a/\"b#5\" pipe/c");
    assert_eq!(rows("a,b\n1,2", b';', true), "a,b#1,2");
}

#[test]
fn bad_quotes_are_refused() {
    let bad = [
        ("a,\"b", 1, 2),
        ("a\n\"b\nc\n", 2, 1),
        ("a\n1,x\"y\"\n", 2, 2),
        ("\"a\"b,c\n", 1, 1),
        ("\"a\"\rb\n", 1, 1),
        ("\"a\"\r,b\n", 1, 1),
        ("\"a\" \"b\"\n", 1, 1),
    ];
    for (text, want_line, want_column) in bad {
        match read(text.as_bytes()).unwrap_err() {
            TableError::Quote { line, column, .. } => {
                assert_eq!((line, column), (want_line, want_column), "{text:?}");
            }
            other => panic!("{text:?}: {other}"),
        }
    }
}

#[test]
fn bytes_outside_utf8_are_placed() {
    let bad: [(&[u8], u64, usize); 4] = [
        (b"a,b\n1,\xff\n", 2, 2),
        (b"\xe9t\xe9,b\n", 1, 1),
        // Two halves of one character around a comma.
        (b"a,b\n\xc3,\xa9\n", 2, 1),
        (b"a,b,c\n1,2,\xc3", 2, 3),
    ];
    for (bytes, want_line, want_column) in bad {
        match read(bytes).unwrap_err() {
            TableError::NotUtf8 { line, column, .. } => {
                assert_eq!((line, column), (want_line, want_column));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn zero_bytes_are_placed() {
    for (bytes, want_line, want_column) in [
        (&b"a,b\n1,\0\n"[..], 2, 2),
        (b"a,b\n\x00x,2\n", 2, 1),
        (b"ab\0,c\n", 1, 1),
        (b"a,\"x\0\"\n", 1, 2),
    ] {
        match read(bytes).unwrap_err() {
            TableError::Nul { line, column, .. } => {
                assert_eq!((line, column), (want_line, want_column), "{bytes:?}");
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn wider_encodings_are_recognised() {
    for bytes in [
        &b"\xff\xfea\0"[..],
        b"\xfe\xff\0a",
        b"a\0,\0b\0",
        b"\0a\0,",
        b"\xff\xfe\0\0a\0\0\0",
        b"\0\0\xfe\xff",
    ] {
        let e = read(bytes).unwrap_err();
        assert!(matches!(e, TableError::Utf16 { .. }), "{bytes:?}: {e}");
    }
}

/// An endless input: the reader must stop by itself.
struct Endless(u8);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(self.0);
        Ok(buffer.len())
    }
}

#[test]
fn sizes_are_bounded() {
    let limit = "x".repeat(MAX_FIELD_BYTES);
    assert_eq!(read(limit.as_bytes()).unwrap().len(), 1);
    let code = |input: &mut dyn Read| collect(input).unwrap_err().code();
    assert_eq!(code(&mut Endless(b'x')), "table-field-too-long");
    assert_eq!(
        code(&mut b"a\n\"".chain(Endless(b'\n'))),
        "table-field-too-long"
    );
    assert_eq!(
        code(&mut b"\"".chain(Endless(b'"'))),
        "table-field-too-long"
    );
    assert_eq!(code(&mut Endless(b',')), "table-too-many-columns");
    let field = format!("{limit},");
    let row = field.repeat(MAX_ROW_BYTES / MAX_FIELD_BYTES + 1);
    assert_eq!(code(&mut row.as_bytes()), "table-row-too-long");
}

#[test]
fn read_errors_are_passed_on() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk gone"))
        }
    }
    let e = collect(b"a\nb".chain(Broken)).unwrap_err();
    assert_eq!(e.code(), "table-io");
    assert_eq!(e.to_string(), "t.csv: cannot read the table: disk gone");
}

proptest! {
    /// A record that is taken whole reads as it does byte by byte, its faults too: `read_as` reads
    /// both ways.
    #[test]
    fn a_plain_record_reads_as_any_other(
        bytes in prop::collection::vec(
            prop::sample::select(b"ab,, \n\n\r\"\0\xc3\xa9\xe2\x82\xac".to_vec()), 0..40),
        quotes in any::<bool>(),
    ) {
        // Nothing that is taken for UTF-16 at once.
        let bytes = [b"ab".as_slice(), &bytes].concat();
        let _ = read_as(&bytes, dialect(b',', quotes));
    }

    /// What the csv crate writes and reads is what this reader reads, with any delimiter.
    #[test]
    fn agrees_with_the_csv_crate(
        delimiter in prop::sample::select(b",;\t|".to_vec()),
        records in prop::collection::vec(
            prop::collection::vec("[a-c ,;|\"\n\rä]{0,6}", 2..4), 0..6),
        crlf in any::<bool>(),
    ) {
        let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer = csv::WriterBuilder::new()
            .flexible(true)
            .delimiter(delimiter)
            .terminator(terminator)
            .from_writer(Vec::new());
        for record in &records {
            writer.write_record(record).unwrap();
        }
        let bytes = writer.into_inner().unwrap();
        let ours: Vec<Vec<String>> = read_as(&bytes, dialect(delimiter, true)).unwrap().into_iter().map(|(_, r)| r).collect();
        let mut theirs = csv::ReaderBuilder::new()
            .flexible(true)
            .delimiter(delimiter)
            .has_headers(false)
            .trim(csv::Trim::All)
            .from_reader(bytes.as_slice());
        let theirs: Vec<Vec<String>> = theirs
            .records()
            .map(|r| r.unwrap().iter().map(|f| f.trim().to_owned()).collect())
            .collect();
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn any_bytes_are_safe(bytes in prop::collection::vec(prop_oneof![
        Just(b','), Just(b'"'), Just(b'\n'), Just(b'\r'), Just(b' '), any::<u8>()
    ], 0..60)) {
        let _ = read(&bytes);
    }
}
