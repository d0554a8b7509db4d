//! A record of which any byte was changed does not verify.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use rayon::prelude::*;
use tallystick_client::audit;
use tallystick_tests::place::Place;

/// At least so many, and each byte of the record at least once.
const FLIPS: usize = 10_000;
const SEED: u64 = 9497;

/// The record of a real session: sixteen documents and sixteen texts, in three chunks or more.
fn record() -> Vec<u8> {
    let place = Place::pair("holder", "asker");
    place.write("theirs.csv", "number,name\nA1,Ana\nB2,Bo\n");
    place.write("ours.csv", "number,name\nA1,Ana\nC3,Cy\n");
    let key = "--key document=number,=UTO --key text=name";
    place.does(&format!(
        "tallyd collection publish c --home holder --input theirs.csv {key} --label name"
    ));
    // Small chunks, so that there are several.
    let config = place.path("holder").join("node.toml");
    let text = fs::read_to_string(&config).unwrap();
    let small = text.replace("chunk_elements = 16384", "chunk_elements = 10");
    assert_ne!(small, text);
    fs::write(&config, small).unwrap();
    let serving = place.serve("holder");
    let report = place.json(&format!(
        "tally match --home asker --peer holder --address {} --collection c --input ours.csv {key} \
         --out hits.csv",
        serving.address
    ));
    assert_eq!(report["elements_matched"], 2);
    fs::read(place.path(report["record"].as_str().unwrap())).unwrap()
}

/// Whether these bytes verify, by what `tally audit verify` calls, with nobody's trust.
fn verifies(bytes: &[u8], file: &Path) -> bool {
    fs::write(file, bytes).unwrap();
    audit::verify(file, None, true).unwrap().report.verified
}

#[test]
fn every_flip_is_caught() {
    let record = record();
    let dir = tempfile::tempdir().unwrap();
    let file = || {
        let thread = rayon::current_thread_index().unwrap_or(usize::MAX);
        dir.path().join(thread.to_string())
    };
    assert!(verifies(&record, &file()));

    // Each byte once, in random order, and then bytes at random; by random changes.
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut places: Vec<usize> = (0..record.len()).collect();
    places.shuffle(&mut rng);
    while places.len() < FLIPS {
        places.push(rng.random_range(0..record.len()));
    }
    let flips: Vec<(usize, u8)> = places
        .into_iter()
        .map(|at| (at, rng.random_range(1..=255)))
        .collect();
    let missed: Vec<(usize, u8)> = flips
        .par_iter()
        .copied()
        .filter(|(at, change)| {
            let mut bytes = record.clone();
            bytes[*at] ^= change;
            verifies(&bytes, &file())
        })
        .collect();
    println!(
        "{} flips over {} bytes (seed {SEED}): {} caught",
        flips.len(),
        record.len(),
        flips.len() - missed.len()
    );
    assert!(missed.is_empty(), "these flips verify: {missed:?}");
}

#[test]
fn cuts_and_additions_are_caught() {
    let record = record();
    let dir = tempfile::tempdir().unwrap();
    let file = || {
        dir.path().join(
            rayon::current_thread_index()
                .unwrap_or(usize::MAX)
                .to_string(),
        )
    };
    let mut rng = StdRng::seed_from_u64(SEED);
    // Each cut near the edge of a frame, and cuts at random.
    let edges = edges(&record);
    let near = edges
        .iter()
        .flat_map(|edge| edge.saturating_sub(8)..edge + 8);
    let mut lengths: Vec<usize> = near.filter(|length| *length < record.len()).collect();
    lengths.extend((0..1000).map(|_| rng.random_range(0..record.len())));
    let short: Vec<usize> = lengths
        .into_par_iter()
        .filter(|length| verifies(&record[..*length], &file()))
        .collect();
    assert!(short.is_empty(), "records cut to {short:?} bytes verify");

    let mut longer: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    longer.extend((2..200).map(|length| (0..length).map(|_| rng.random()).collect()));
    // The whole record again, and its last frames again.
    longer.extend(edges.iter().map(|edge| record[*edge..].to_vec()));
    longer.retain(|more| !more.is_empty());
    let accepted = longer
        .par_iter()
        .filter(|more| verifies(&[&record[..], more].concat(), &file()));
    assert_eq!(accepted.count(), 0);

    // A frame left out, or said twice.
    for frame in edges.windows(2) {
        let (start, end) = (frame[0], frame[1]);
        let without = [&record[..start], &record[end..]].concat();
        assert!(!verifies(&without, &file()), "frame at {start} left out");
        let twice = [&record[..end], &record[start..]].concat();
        assert!(!verifies(&twice, &file()), "frame at {start} said twice");
    }
}

/// Where frames begin, and the end of the last: kind `u8`, length `u32`, body.
fn edges(record: &[u8]) -> Vec<usize> {
    let mut edges = vec![0];
    let mut at = 0;
    while at < record.len() {
        let length = u32::from_be_bytes(record[at + 1..at + 5].try_into().unwrap());
        at += 5 + length as usize;
        edges.push(at);
    }
    assert_eq!(at, record.len());
    assert!(edges.len() > 10);
    edges
}
