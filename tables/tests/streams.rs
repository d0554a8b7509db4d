//! Tables larger than memory: what a pass takes.
//!
//! How long a pass takes is measured by
//! `cargo test --release -p tallystick-tables --test streams -- --ignored --nocapture`.

#![allow(clippy::unwrap_used)]

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::{Duration, Instant},
};

use tallystick_tables::Source;

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

fn pass(path: &Path) -> (u64, Duration) {
    let source = Source::open(path).unwrap();
    let started = Instant::now();
    let mut rows = source.rows().unwrap();
    let mut bytes = 0;
    while let Some(row) = rows.next_row().unwrap() {
        bytes += row.fields().map(str::len).sum::<usize>();
    }
    assert!(bytes > 0);
    (rows.finish().unwrap().rows, started.elapsed())
}

#[test]
#[ignore = "a measurement"]
fn how_long_a_pass_takes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plain.csv");
    write_rows(&path, 1_000_000);
    let best = (0..7).map(|_| pass(&path).1).min().unwrap();
    println!("plain.csv: {} ns a row", best.as_nanos() / 1_000_000);
}
