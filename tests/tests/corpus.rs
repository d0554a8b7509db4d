//! The inputs that fuzzers found, and the ones they start from, as ordinary tests.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use rayon::prelude::*;
use tallystick_tests::{
    fuzzed::{TARGETS, Target},
    fuzzed_home,
    programs::workspace,
};

/// Changes of seeds that are run of each function without a fuzz target.
const CHANGES: u64 = 2000;

/// The inputs kept for a target, by name of file.
fn kept(target: &Target) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = workspace().join("fuzz/corpus").join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// Runs an input; says which one broke the rule.
fn run(target: &Target, what: &str, data: &[u8]) {
    let ran = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(data)));
    assert!(
        ran.is_ok(),
        "{}: {what} breaks a rule, see above",
        target.name
    );
}

fn all(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seeds = (target.seeds)();
    assert!(seeds.len() > 2);
    seeds
        .par_iter()
        .enumerate()
        .for_each(|(i, seed)| run(target, &format!("seed {i}"), seed));
    let kept = kept(target);
    assert!(!kept.is_empty(), "no corpus of {name}");
    kept.par_iter()
        .for_each(|(path, data)| run(target, &path.display().to_string(), data));
    // Short of any decision.
    for data in [&[][..], &[0], &[255], &[1, 255]] {
        run(target, "a short input", data);
    }
}

#[test]
fn only_the_true_evaluation_of_a_chunk_is_taken() {
    all("chunk");
}

#[test]
fn a_changed_delta_is_not_followed() {
    all("delta");
}

#[test]
fn frames_are_the_bytes_they_came_in() {
    all("frames");
}

#[test]
fn two_keys_meet_only_if_their_documented_folding_does() {
    all("identifiers");
}

#[test]
fn a_label_opens_to_what_was_sealed_and_well_padded() {
    all("label");
}

#[test]
fn keys_of_a_mapping_read_back_as_they_are_shown() {
    all("mapping");
}

#[test]
fn a_path_holds_for_its_own_leaf_only() {
    all("merkle");
}

#[test]
fn a_zone_is_matched_only_if_its_check_digits_hold() {
    all("mrz");
}

#[test]
fn what_is_granted_is_what_was_asked() {
    all("opening");
}

#[test]
fn no_sender_makes_a_receiver_take_a_wrong_answer() {
    all("receiver");
}

#[test]
fn only_a_true_record_verifies() {
    all("record");
}

#[test]
fn no_receiver_is_served_beyond_what_it_is_charged() {
    all("sender");
}

#[test]
fn kernels_agree_on_any_chain_of_operations() {
    all("kernel");
}

#[test]
fn both_sides_of_a_shift_take_whole_flights_of_its_sizes() {
    all("shift");
}

#[test]
fn many_messages_hash_as_each_alone() {
    all("sha512");
}

#[test]
fn a_changed_snapshot_is_not_taken() {
    all("snapshot");
}

#[test]
fn a_statement_has_one_accepted_form() {
    all("statement");
}

#[test]
fn the_table_reader_loses_and_changes_no_row() {
    all("table");
}

/// A seed with a few bytes changed, cut out, doubled or put in.
fn changed(seed: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..=bytes.len());
        let end = (at + rng.random_range(1..20)).min(bytes.len());
        match rng.random_range(0..5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = rng.random(),
            2 => drop(bytes.drain(at..end)),
            3 => bytes.splice(at..at, bytes[at..end].to_vec()).for_each(drop),
            _ => bytes.insert(at, b"\0\xff\"9,[\n="[rng.random_range(0..8)]),
        }
    }
    bytes
}

/// Parsers that need a home, TLS or the database's crates have no fuzz target: see `fuzz/README.md`.
#[test]
fn changed_files_of_a_home_and_of_peers_break_no_rule() {
    for target in fuzzed_home::TARGETS {
        let seeds = (target.seeds)();
        seeds.iter().for_each(|seed| run(&target, "a seed", seed));
        (0..CHANGES).into_par_iter().for_each(|number| {
            let mut rng = StdRng::seed_from_u64(number);
            let seed = &seeds[rng.random_range(0..seeds.len())];
            let data = changed(seed, &mut rng);
            run(&target, &format!("change {number}"), &data);
        });
    }
}

/// With `TALLY_WRITE_SEEDS` set, seeds are written where the fuzzers start: after a change of format.
#[test]
fn every_target_has_a_test_a_fuzz_target_and_a_corpus() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    let tests = include_str!("corpus.rs");
    let fuzz = workspace().join("fuzz");
    let manifest: toml::Table = fs::read_to_string(fuzz.join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let binaries = manifest["bin"].as_array().unwrap().iter();
    let binaries: Vec<&str> = binaries.map(|bin| bin["name"].as_str().unwrap()).collect();
    assert_eq!(names, binaries);
    for target in TARGETS {
        let test = format!("all(\"{}\");", target.name);
        assert!(tests.contains(&test), "{test}");
        let source = fuzz.join(format!("fuzz_targets/{}.rs", target.name));
        let call = format!("run(\"{}\", data)", target.name);
        assert!(
            fs::read_to_string(source).unwrap().contains(&call),
            "{call}"
        );
        if std::env::var_os("TALLY_WRITE_SEEDS").is_some() {
            let folder = fuzz.join("corpus").join(target.name);
            fs::create_dir_all(&folder).unwrap();
            for (i, seed) in (target.seeds)().iter().enumerate() {
                fs::write(folder.join(format!("seed-{i}")), seed).unwrap();
            }
        }
    }
}

/// The fuzzers must run what the programs run.
#[test]
fn both_lock_files_name_the_same_versions() {
    let versions = |path: &str| -> BTreeMap<String, BTreeSet<String>> {
        let text = fs::read_to_string(workspace().join(path)).unwrap();
        let lock: toml::Table = text.parse().unwrap();
        let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for package in lock["package"].as_array().unwrap() {
            let word = |key: &str| package[key].as_str().unwrap().to_owned();
            versions
                .entry(word("name"))
                .or_default()
                .insert(word("version"));
        }
        versions
    };
    let (programs, fuzzers) = (versions("Cargo.lock"), versions("fuzz/Cargo.lock"));
    let differ: Vec<_> = fuzzers
        .iter()
        .filter(|(name, _)| programs.contains_key(*name))
        .filter(|(name, versions)| !versions.is_subset(&programs[*name]))
        .collect();
    assert!(
        differ.is_empty(),
        "run `cargo update` in fuzz/ to the versions of Cargo.lock: {differ:?}"
    );
}
