//! Tables larger than memory: what a pass takes.
//!
//! How long a pass takes is measured by
//! `cargo test --release -p tallystick-tables --test streams -- --ignored --nocapture`, with
//! `ROWS=5000000` before it for a table of 300 MB.

#![allow(clippy::unwrap_used)]

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Read, Write},
    path::Path,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use ruzstd::encoding::{CompressionLevel, compress};
use tallystick_tables::{SealedCopy, TableFormat, TableInput};

/// Some 60 bytes a row.
fn write_rows(path: &Path, rows: u64) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    out.write_all(b"passport,country,name,birth_date,lane\n")
        .unwrap();
    for row in 0..rows {
        writeln!(
            out,
            "L{:08},UTO,\"Specimen, Number {row}\",1974-08-12,{}",
            row * 7919 % 100_000_000,
            row % 40
        )
        .unwrap();
    }
    out.flush().unwrap();
}

/// The rows of the same table as JSON lines.
fn write_lines(path: &Path, rows: u64) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    for row in 0..rows {
        writeln!(
            out,
            "{{\"passport\":\"L{:08}\",\"country\":\"UTO\",\"name\":\"Specimen, Number {row}\",\
             \"birth_date\":\"1974-08-12\",\"lane\":{}}}",
            row * 7919 % 100_000_000,
            row % 40
        )
        .unwrap();
    }
    out.flush().unwrap();
}

/// Rows, bytes in all fields, and how long the pass took.
fn pass(input: &TableInput) -> (u64, usize, Duration) {
    let source = input.open().unwrap();
    let started = Instant::now();
    let mut rows = source.rows().unwrap();
    let mut bytes = 0;
    while let Some(row) = rows.next_row().unwrap() {
        bytes += row.fields().map(str::len).sum::<usize>();
    }
    (rows.finish().unwrap().rows, bytes, started.elapsed())
}

/// The same table in every form.
fn forms(dir: &Path, rows: u64) -> Vec<(&'static str, TableInput)> {
    let file = |name: &str| File::create(dir.join(name)).unwrap();
    let plain = dir.join("plain.csv");
    write_rows(&plain, rows);
    write_lines(&dir.join("lines.jsonl"), rows);
    let open = || File::open(&plain).unwrap();
    let mut gzip = GzEncoder::new(file("packed.csv.gz"), Compression::fast());
    std::io::copy(&mut open(), &mut gzip).unwrap();
    gzip.finish().unwrap();
    compress(open(), file("packed.csv.zst"), CompressionLevel::Fastest);
    let mut wide = BufWriter::new(file("wide.csv"));
    wide.write_all(b"\xff\xfe").unwrap();
    for byte in BufReader::new(open()).bytes() {
        wide.write_all(&[byte.unwrap(), 0]).unwrap();
    }
    wide.flush().unwrap();
    let copy = SealedCopy::make(open(), dir, |_| {}).unwrap();
    let names = [
        "plain.csv",
        "packed.csv.gz",
        "packed.csv.zst",
        "wide.csv",
        "lines.jsonl",
    ];
    let file = |name| {
        (
            name,
            TableInput::file(dir.join(name), TableFormat::default()),
        )
    };
    let mut all: Vec<_> = names.map(file).into();
    all.push((
        "a sealed copy",
        TableInput::copy(copy, TableFormat::default()),
    ));
    all
}

/// The most memory that this process had since it was asked to forget, bytes; `None` where the
/// system does not say.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// Tables of some 20 MB, and more where they are packed or wide.
#[test]
fn memory_does_not_grow_with_a_table() {
    const ROWS: u64 = 400_000;
    let dir = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    for (name, input) in forms(dir.path(), ROWS) {
        // Forgets the peak so far.
        let forgot = fs::write("/proc/self/clear_refs", "5").is_ok();
        let before = peak();
        let (rows, bytes, _) = pass(&input);
        assert_eq!(rows, ROWS, "{name}");
        found.push(bytes);
        if let (true, Some(before), Some(after)) = (forgot, before, peak()) {
            // A window of zstd, and some buffers.
            let most = 12 << 20;
            assert!(after - before < most, "{name}: {} bytes", after - before);
        }
    }
    assert!(found.iter().all(|bytes| *bytes == found[0]), "{found:?}");
}

#[test]
#[ignore = "a measurement"]
fn how_long_a_pass_takes() {
    let rows = std::env::var("ROWS")
        .ok()
        .and_then(|rows| rows.parse().ok());
    let rows = rows.unwrap_or(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    for (name, input) in forms(dir.path(), rows) {
        let size = input.size().unwrap() >> 20;
        let best = (0..5).map(|_| pass(&input).2).min().unwrap();
        let row = best.as_nanos() / u128::from(rows);
        let peak = peak().unwrap_or_default() >> 20;
        println!("{name}: {size} MiB, {row} ns a row, {peak} MiB of memory at most so far");
    }
}
