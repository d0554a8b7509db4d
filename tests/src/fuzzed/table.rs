//! The table reader, beside the csv crate.
//!
//! The two differ by intent where input is not well formed (see the decision on the reader): a quote
//! that never closes, text around quotes, a CR that ends no line. Elsewhere no row may be lost,
//! and none may change.

use std::{cell::RefCell, fs, io::Write};

use sha2::{Digest, Sha256};
use tallystick_tables::{Source, TableError};
use tempfile::NamedTempFile;

use super::input::Input;

/// Lines and fields, the header first; or a code.
type Read = Result<Vec<(u64, Vec<String>)>, &'static str>;

thread_local! {
    static FILE: RefCell<NamedTempFile> = RefCell::new(NamedTempFile::new().unwrap());
}

fn read(bytes: &[u8]) -> Read {
    FILE.with_borrow_mut(|file| {
        // Written over, not made anew: thousands a second.
        file.as_file().set_len(0).unwrap();
        fs::File::create(file.path())
            .unwrap()
            .write_all(bytes)
            .unwrap();
        passes(file, bytes).map_err(|error| {
            let shown = error.to_string();
            assert!(!shown.contains('\n'), "an error is one line");
            error.code()
        })
    })
}

fn passes(file: &NamedTempFile, bytes: &[u8]) -> Result<Vec<(u64, Vec<String>)>, TableError> {
    let source = Source::open(file.path())?;
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
    Ok(found)
}

/// What the csv crate reads; `None` where a row has another number of fields.
fn oracle(bytes: &[u8]) -> Option<Vec<Vec<String>>> {
    let mut reader = csv::ReaderBuilder::new()
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

fn check(bytes: &[u8]) {
    let read = read(bytes);
    let plain = !bytes.contains(&b'"') && !bytes.contains(&b'\r');
    if let Ok(found) = &read {
        let quotes = bytes.iter().filter(|byte| **byte == b'"').count();
        assert!(quotes.is_multiple_of(2), "a quote is never closed");
        let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
        assert!(lines.is_sorted_by(|a, b| a < b), "lines ascend");
        let most = 1 + bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert!(lines.iter().all(|line| (1..=most).contains(line)));
        if plain {
            let text = std::str::from_utf8(bytes).unwrap();
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            let written: Vec<&str> = text.split('\n').collect();
            for (line, fields) in found {
                let there = written[usize::try_from(*line).unwrap() - 1];
                let there: Vec<&str> = there.split(',').map(str::trim).collect();
                assert_eq!(&there, fields, "what stands on line {line}");
            }
        }
    }
    if !same_meaning(bytes) {
        return;
    }
    let oracle = oracle(bytes);
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

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let lines = input.u8();
    let text = input.rest();
    match lines {
        // Blank lines up to the end of the reader's buffer and around it.
        200.. => check(&[&vec![b'\n'; (64 << 10) - usize::from(lines - 200)], text].concat()),
        _ => check(text),
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
    ]
    .map(<[u8]>::to_vec)
    .into()
}
