//! The table reader, beside the csv crate.
//!
//! The two differ by intent where input is not well formed (see the decision on the reader): a quote
//! that never closes, text around quotes, a CR that ends no line. Elsewhere no row may be lost,
//! and none may change. JSON lines are held against `serde_json`. In other forms (packed, encoded,
//! detected) a table must read the same from a file and from a sealed copy.

use std::{cell::RefCell, fs, io::Write};

use sha2::{Digest, Sha256};
use tallystick_tables::{SealedCopy, TableError, TableFormat, TableInput};
use tempfile::NamedTempFile;

use super::input::Input;

/// Lines and fields, the header first; or a code.
type Read = Result<Vec<(u64, Vec<String>)>, &'static str>;

thread_local! {
    static FILE: RefCell<NamedTempFile> = RefCell::new(NamedTempFile::new().unwrap());
}

fn stated(options: &str) -> TableFormat {
    toml::from_str(options).unwrap()
}

/// Reads it from a file without an extension.
fn read(bytes: &[u8], options: &str) -> Read {
    FILE.with_borrow_mut(|file| {
        // Written over, not made anew: thousands a second.
        file.as_file().set_len(0).unwrap();
        fs::File::create(file.path())
            .unwrap()
            .write_all(bytes)
            .unwrap();
        one_line(passes(
            &TableInput::file(file.path(), stated(options)),
            bytes,
        ))
    })
}

fn one_line<T>(read: Result<T, TableError>) -> Result<T, &'static str> {
    read.map_err(|error| {
        let shown = error.to_string();
        assert!(!shown.contains('\n'), "an error is one line");
        error.code()
    })
}

fn passes(input: &TableInput, bytes: &[u8]) -> Result<Vec<(u64, Vec<String>)>, TableError> {
    let source = input.open()?;
    let header = source.header();
    let mut found = vec![(header.line(), header.names().to_vec())];
    let mut rows = source.rows()?;
    while let Some(row) = rows.next_row()? {
        let fields: Vec<String> = row.fields().map(str::to_owned).collect();
        assert_eq!(fields.len(), row.len());
        assert_eq!(row.get(row.len()), None);
        found.push((row.line(), fields));
    }
    let digest = rows.finish()?;
    assert_eq!(digest.rows as usize, found.len() - 1);
    assert_eq!(digest.bytes, bytes.len() as u64);
    assert_eq!(digest.sha256[..], Sha256::digest(bytes)[..]);
    let (header, rows) = found.split_first().unwrap();
    assert!(rows.is_sorted_by(|(a, _), (b, _)| a < b), "lines ascend");
    assert!(rows.first().is_none_or(|(line, _)| *line >= header.0));
    Ok(found)
}

/// What the csv crate reads; `None` where a row has another number of fields.
fn oracle(bytes: &[u8], delimiter: u8) -> Option<Vec<Vec<String>>> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .from_reader(bytes);
    let rows = reader.records().map(|row| {
        let row = row.ok()?;
        Some(row.iter().map(|field| field.trim().to_owned()).collect())
    });
    rows.collect()
}

/// Whether both readers mean the same by these bytes.
fn same_meaning(bytes: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let lone_cr = |i: usize| bytes[i] == b'\r' && bytes.get(i + 1) != Some(&b'\n');
    let near_blank = |i: usize| {
        let before = i.checked_sub(1).and_then(|i| bytes.get(i));
        bytes[i] == b'"' && (blank(before) || blank(bytes.get(i + 1)))
    };
    !(0..bytes.len()).any(|i| lone_cr(i) || near_blank(i))
}

fn check(bytes: &[u8], delimiter: u8) {
    let between = char::from(delimiter);
    let read = read(
        bytes,
        &format!("delimiter = {between:?}\nquote = \"double\""),
    );
    let plain = !bytes.contains(&b'"') && !bytes.contains(&b'\r');
    if let Ok(found) = &read {
        let quotes = bytes.iter().filter(|byte| **byte == b'"').count();
        assert!(quotes.is_multiple_of(2), "a quote is never closed");
        let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
        let most = 1 + bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert!(lines.iter().all(|line| (1..=most).contains(line)));
        if plain {
            let text = std::str::from_utf8(bytes).unwrap();
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            let written: Vec<&str> = text.split('\n').collect();
            for (line, fields) in found {
                let there = written[usize::try_from(*line).unwrap() - 1];
                let there: Vec<&str> = there.split(between).map(str::trim).collect();
                assert_eq!(&there, fields, "what stands on line {line}");
            }
        }
    }
    if !same_meaning(bytes) {
        return;
    }
    let oracle = oracle(bytes, delimiter);
    match read {
        Ok(found) => {
            let found: Vec<Vec<String>> = found.into_iter().map(|(_, fields)| fields).collect();
            assert_eq!(
                Some(found),
                oracle,
                "rows differ from what the csv crate reads"
            );
        }
        // Without quotes nothing is malformed but the number of fields, the header, UTF-8 and zero
        // bytes.
        Err(code) if plain => {
            let known = [
                "ragged-row",
                "not-utf8",
                "empty",
                "unnamed-column",
                "duplicate-column",
                "too-many-columns",
                "zero-byte",
            ]
            .map(|code| format!("table-{code}"));
            assert!(known.iter().any(|known| known == code), "{code}");
            if code == "table-ragged-row" {
                assert_eq!(oracle, None, "no row is ragged");
            }
        }
        Err(_) => {}
    }
}

/// Each line that was read is an object of the same members and texts.
fn check_lines(bytes: &[u8]) {
    let Ok(found) = read(bytes, "format = \"jsonl\"") else {
        return;
    };
    let text = std::str::from_utf8(bytes).unwrap();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let objects: Vec<serde_json::Map<String, serde_json::Value>> = text
        .split('\n')
        .filter(|line| !line.trim_ascii().is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (header, rows) = found.split_first().unwrap();
    assert_eq!(objects.len(), rows.len());
    for (object, (_, row)) in objects.iter().zip(rows) {
        for (name, value) in object {
            let at = header.1.iter().position(|column| column == name.trim());
            let field = &row[at.unwrap()];
            match value {
                serde_json::Value::String(text) => assert_eq!(text.trim(), field),
                serde_json::Value::Null => assert_eq!(field, ""),
                other => assert_eq!(
                    &serde_json::from_str::<serde_json::Value>(field).unwrap(),
                    other
                ),
            }
        }
    }
}

/// What is read of a file is read of a sealed copy.
fn check_copy(bytes: &[u8], options: &str) {
    let copy = SealedCopy::make(bytes, &std::env::temp_dir(), |_| {}).unwrap();
    let copied = one_line(passes(&TableInput::copy(copy, stated(options)), bytes));
    // A copy may be packed: it has no name that says so.
    let packed = bytes.starts_with(b"\x1f\x8b") || bytes.starts_with(b"\x28\xb5\x2f\xfd");
    if !packed {
        assert_eq!(copied, read(bytes, options));
    }
}

/// A byte order mark of UTF-16: the table is decoded, and its bytes are no text to compare with.
fn is_utf_16(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xfe\xff") || bytes.starts_with(b"\xff\xfe")
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let form = input.u8();
    let text = input.rest();
    match form {
        // Read from a copy as from a file is all that can be said of it here.
        _ if is_utf_16(text) => check_copy(text, ""),
        // Blank lines up to the end of the reader's buffer and around it.
        200.. => check(
            &[&vec![b'\n'; (64 << 10) - usize::from(form - 200)], text].concat(),
            b',',
        ),
        190..200 => check_lines(text),
        180..190 => check(text, b";\t|"[usize::from(form) % 3]),
        174..180 => {
            let encoding = ["utf-16le", "windows-1252", "shift_jis"][usize::from(form) % 3];
            check_copy(text, &format!("encoding = \"{encoding}\""));
        }
        172 | 173 => check_copy(text, ""),
        171 => check_copy(text, "header = false\nquote = \"none\""),
        170 => check_copy(text, "format = \"jsonl\""),
        _ => check(text, b','),
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    [
        &b"\0number,name\nA1,Ana\n\nB2,\"Bo, the \"\"second\"\"\"\r\n"[..],
        b"\0\xef\xbb\xbfa,b\r\n1,\"2\r\n3\"\r\n4,5",
        b"\0a\n\"\"\n \n\"x\n\ny\"\n",
        b"\0a,b\n1\n",
        b"\0a,a\n",
        b"\0a,b\n\"1,2\n",
        b"\0a\n\"1,2\n",
        b"\0a,b\n\xc3,\xa9\n",
        b"\xd2a,b\n\"1\",\"2\"\n3,\xc3\xa9\n",
        b"\xcc\xc3\xa9,b\n1,2\n",
        b"\xbe{\"a\":\"x\",\"b\":1.50}\n\n{\"b\":null,\"a\":\"\\u00e9\\n\"}\n",
        b"\xbe{\"a\":[1]}\n",
        b"\xb4a;b\n1;\"2;3\"\n",
        b"\xb5a\tb\n1\t2\n",
        b"\xaea\0,\0b\0\n\x001\0,\x002\0\n\0",
        b"\xafa;b\n\xe9;\x80\n",
        b"\xaca|b\n1|2\n",
        b"\xac\x1f\x8b\x08\0\0\0\0\0\0\x03",
        b"\xac\x28\xb5\x2f\xfd\0\x38\x21\0\0a,b\n",
        b"\xab1,\"2\n",
        b"\xaa{\"a\":1}\n",
        b"\0\xfe\xff\xff\xff\xbf\x0a\x61\x0e",
        b"\xbe\xff\xfe{\0}\0\n\0",
    ]
    .map(<[u8]>::to_vec)
    .into()
}
