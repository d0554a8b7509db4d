use proptest::prelude::*;

use super::*;

type Records = Vec<(u64, Vec<String>)>;

/// Hands out one byte at a time.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.0.len().min(1).min(buffer.len());
        buffer[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

fn collect(input: impl Read) -> Result<Records, TableError> {
    let mut reader = JsonReader::new(input);
    let file = Path::new("t.jsonl");
    let Some(first) = reader.columns(file)? else {
        assert!(reader.is_done());
        return Ok(Vec::new());
    };
    let mut all = vec![first];
    while let Some(row) = reader.next(file)? {
        all.push((row.line(), row.fields().map(str::to_owned).collect()));
    }
    assert!(reader.is_done());
    Ok(all)
}

fn read(bytes: &[u8]) -> Result<Records, TableError> {
    let whole = collect(bytes);
    assert_eq!(format!("{whole:?}"), format!("{:?}", collect(Drip(bytes))));
    whole
}

#[test]
fn objects_are_rows_and_members_are_columns() {
    let text = "\u{feff}{\"number\": \"L898902C3\", \" state \":\"UTO\",\"lane\":1}\r\n\
                \n\
                {\"lane\":2,\"number\":\" X\\u00e9\\n \"}\n  \n{}\n{\"state\":null,\"lane\":true}";
    let rows = read(text.as_bytes()).unwrap();
    let shown: Vec<_> = rows
        .iter()
        .map(|(line, fields)| (*line, fields.join("|")))
        .collect();
    let want = [
        (1, "number|state|lane"),
        (1, "L898902C3|UTO|1"),
        (3, "Xé||2"),
        (5, "||"),
        (6, "||true"),
    ];
    assert_eq!(shown, want.map(|(line, text)| (line, text.to_owned())));
    for empty in ["", "\n\n", "\u{feff}", "\u{feff}\n", "  "] {
        assert_eq!(read(empty.as_bytes()).unwrap(), [], "{empty:?}");
    }
}

/// No number goes through floating point.
#[test]
fn numbers_are_as_they_are_written() {
    for number in [
        "0.10",
        "12345678901234567890123",
        "1e400",
        "-0",
        "1.000",
        "9007199254740993",
    ] {
        let rows = read(format!("{{\"a\":{number}}}").as_bytes()).unwrap();
        assert_eq!(rows[1].1, [number]);
    }
}

#[test]
fn what_is_no_row_is_refused_with_its_line_and_shows_nothing() {
    let first = "{\"a\":\"1\",\"b\":2}\n";
    for (line, problem) in [
        ("{\"a\":\"L898902C3\"", NO_OBJECT),
        ("{\"a\":\"L898902C3\"} x", NO_OBJECT),
        ("{\"a\":L898902C3}", NO_OBJECT),
        ("{\"a\":01}", NO_OBJECT),
        ("[{\"a\":1}]", NO_OBJECT),
        ("\"L898902C3\"", NO_OBJECT),
        ("{'a':1}", NO_OBJECT),
        ("{\"a\":\"tab\there\"}", NO_OBJECT),
        ("{\"a\":1,}", NO_OBJECT),
        ("{\"a\":[\"L898902C3\"]}", NESTED),
        ("{\"b\":{\"a\":1}}", NESTED),
        ("{\"a\":1,\"a\":1}", TWICE),
        ("{\"a\":1,\" a\":1}", TWICE),
        ("{\"L898902C3\":1}", UNKNOWN),
        ("{\"a\":\"\\ud800\"}", BAD_TEXT),
    ] {
        let e = read(format!("{first}\n{line}\n").as_bytes()).unwrap_err();
        match &e {
            TableError::Json {
                line: 3,
                problem: found,
                ..
            } => assert_eq!(*found, problem, "{line}"),
            other => panic!("{line}: {other}"),
        }
        assert!(!format!("{e}{e:?}").contains("L898"));
    }
    assert_eq!(read(b"{}\n").unwrap_err().code(), "table-json");
    let e = read(b"{\"a\":\"\\u0000\"}").unwrap_err();
    assert_eq!(e.code(), "table-zero-byte");
    assert_eq!(
        read(b"{\"a\":1}\n\0\n").unwrap_err().code(),
        "table-zero-byte"
    );
    assert_eq!(
        read(b"{\"a\":\"\xe9\"}").unwrap_err().code(),
        "table-not-utf8"
    );
    let deep = format!("{{\"a\":{}", "[".repeat(1 << 20));
    assert_eq!(read(deep.as_bytes()).unwrap_err().code(), "table-json");
}

/// Endless bytes of one kind.
struct Endless(u8);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(self.0);
        Ok(buffer.len())
    }
}

#[test]
fn sizes_are_capped() {
    let e = collect(Endless(b'x')).unwrap_err();
    assert_eq!(e.code(), "table-row-too-long");
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_FIELD_BYTES + 1));
    assert_eq!(
        collect(long.as_bytes()).unwrap_err().code(),
        "table-field-too-long"
    );
    let wide: Vec<String> = (0..=MAX_COLUMNS).map(|n| format!("\"{n}\":1")).collect();
    let wide = format!("{{{}}}", wide.join(","));
    assert_eq!(
        collect(wide.as_bytes()).unwrap_err().code(),
        "table-too-many-columns"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Texts come back as they were, whatever they hold.
    #[test]
    fn texts_come_back(rows in prop::collection::vec(("[^\0]{0,12}", "[^\0]{0,12}"), 1..6)) {
        let mut text = String::new();
        for (a, b) in &rows {
            text += &format!("{}\n", serde_json::json!({ "a": a, "b": b }));
        }
        let found = read(text.as_bytes()).unwrap();
        let want: Vec<Vec<String>> =
            rows.iter().map(|(a, b)| vec![a.trim().to_owned(), b.trim().to_owned()]).collect();
        let found: Vec<Vec<String>> = found.into_iter().skip(1).map(|(_, row)| row).collect();
        prop_assert_eq!(found, want);
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(prop::sample::select(b"{}[]\":,\\u0an \n\xc3\xa9".to_vec()), 0..40)) {
        let _ = read(&bytes);
    }
}
