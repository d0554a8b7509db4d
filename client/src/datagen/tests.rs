use super::people::{FIRST_DAY, NUMBERS_PER_STATE, STATES, date, number, room};
use super::prng::SplitMix;
use super::*;
use std::collections::{BTreeSet, HashSet};
use tallystick_tables::{Extractor, KeySpec, Mapping, Source, Tally};

/// SHA-256 of a file, and the canonical documents in it, in order.
fn read(path: &Path) -> (String, Vec<String>) {
    let source = Source::open(path).unwrap();
    let key = KeySpec::parse("document=document,state").unwrap();
    let mapping = Mapping::from_flags(vec![key], vec![]).unwrap();
    let extractor = Extractor::new(source.header(), &mapping).unwrap();
    let mut tally = Tally::default();
    let mut rows = source.rows().unwrap();
    let mut keys = Vec::new();
    while let Some(row) = rows.next_row().unwrap() {
        for key in extractor.keys(&row, &mut tally) {
            keys.push(key.normalised.key_text.to_string());
        }
    }
    // Every row has a key that normalises.
    assert_eq!(tally.keys, tally.rows);
    let digest = rows.finish().unwrap();
    let hex = digest.sha256.iter().map(|b| format!("{b:02x}")).collect();
    (hex, keys)
}

fn check(ours: u64, theirs: u64, overlap: u64, seed: u64) -> [String; 3] {
    let dir = tempfile::tempdir().unwrap();
    let summary = generate(dir.path(), ours, theirs, overlap, seed, false).unwrap();
    let tables = [&summary.ours, &summary.theirs, &summary.truth].map(|p| read(p));
    let sets = tables
        .each_ref()
        .map(|(_, keys)| keys.iter().collect::<BTreeSet<_>>());
    for ((table, set), rows) in tables.iter().zip(&sets).zip([ours, theirs, overlap]) {
        assert_eq!(table.1.len() as u64, rows);
        assert_eq!(set.len() as u64, rows, "a document stands twice");
    }
    assert_eq!(
        sets[0]
            .intersection(&sets[1])
            .copied()
            .collect::<BTreeSet<_>>(),
        sets[2]
    );
    tables.map(|(hash, _)| hash)
}

#[test]
fn bytes_are_pinned() {
    assert_eq!(check(200, 300, 40, 7), PINNED);
}

const PINNED: [&str; 3] = [
    "a860d30fba2e9dba57a08d06a315be669b83b311a79836f1858ca04a79d527c6",
    "2ddca5f48debaa8b9a032b1970cb8e9700f3e402866f07cb6a376c9d4fcc3f6c",
    "eff9ca8963dd581d71c99d157e1778d4ebdac4f177a54f49af2731f25f2d4854",
];

#[test]
fn overlap_is_exact_at_the_edges() {
    for (ours, theirs, overlap) in [
        (0, 0, 0),
        (1, 0, 0),
        (0, 5, 0),
        (1, 1, 1),
        (17, 17, 17),
        (5, 2000, 5),
        (2000, 5, 4),
        (3000, 3000, 0),
        (20_000, 9_000, 1_234),
    ] {
        check(ours, theirs, overlap, 42);
    }
}

#[test]
fn seeds_differ_and_repeat() {
    assert_eq!(check(50, 50, 10, 1), check(50, 50, 10, 1));
    assert_ne!(check(50, 50, 10, 1), check(50, 50, 10, 2));
}

#[test]
fn the_overlap_is_spread_over_both_lists() {
    let dir = tempfile::tempdir().unwrap();
    let summary = generate(dir.path(), 1000, 2000, 200, 3, false).unwrap();
    let truth: HashSet<String> = read(&summary.truth).1.into_iter().collect();
    for path in [&summary.ours, &summary.theirs] {
        let keys = read(path).1;
        let in_first_half = keys[..keys.len() / 2]
            .iter()
            .filter(|k| truth.contains(*k))
            .count();
        assert!((60..140).contains(&in_first_half), "{in_first_half}");
    }
}

#[test]
fn numbers_are_written_with_noise_on_our_side_only() {
    let dir = tempfile::tempdir().unwrap();
    let summary = generate(dir.path(), 4000, 4000, 4000, 5, false).unwrap();
    let noisy = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let number = |line: &str| line.split(',').next().unwrap().to_owned();
        let plain = |n: &str| {
            n.bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        };
        text.lines().skip(1).filter(|l| !plain(&number(l))).count()
    };
    assert!((120..400).contains(&noisy(&summary.ours)));
    assert_eq!(noisy(&summary.theirs), 0);
    assert_eq!(noisy(&summary.truth), 0);
}

#[test]
fn wrong_sizes_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("new");
    let code = |ours, theirs, overlap| {
        generate(&target, ours, theirs, overlap, 0, false)
            .unwrap_err()
            .code()
    };
    assert_eq!(code(5, 3, 4), "datagen-overlap");
    assert_eq!(code(3, 5, 4), "datagen-overlap");
    assert_eq!(code(u64::MAX, u64::MAX, 0), "datagen-too-many");
    assert_eq!(code(u64::MAX, u64::MAX, u64::MAX), "datagen-too-many");
    assert_eq!(code(MAX_PEOPLE, 1, 0), "datagen-too-many");
    assert!(!target.exists());
}

#[test]
fn existing_files_need_force() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(TRUTH), "old").unwrap();
    let e = generate(dir.path(), 1, 1, 1, 0, false).unwrap_err();
    assert_eq!(e.code(), "datagen-exists");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    generate(dir.path(), 1, 1, 1, 0, true).unwrap();
    assert_ne!(fs::read_to_string(dir.path().join(TRUTH)).unwrap(), "old");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn every_form_has_room() {
    for (state, form) in STATES {
        assert!(room(form) >= NUMBERS_PER_STATE, "{state}");
        assert!((7..=9).contains(&form.len()));
    }
    let highest = number("A9999AA", NUMBERS_PER_STATE - 1);
    assert_eq!(
        (number("A9999AA", 0).as_str(), highest.as_str()),
        ("B0000BB", "Z9999ZZ")
    );
}

#[test]
fn permutations_are_permutations() {
    for size in [1, 2, 3, 16, 17, 1000, 4097] {
        let p = Permutation::new(size, 9);
        let images: BTreeSet<u64> = (0..size).map(|i| p.get(i)).collect();
        assert_eq!(images.len() as u64, size);
        assert!(images.iter().all(|i| *i < size));
        assert!((0..size).all(|i| p.find(p.get(i)) == i));
    }
}

#[test]
fn splitmix_is_the_published_one() {
    let mut draws = SplitMix(1_234_567);
    let first = [draws.next(), draws.next(), draws.next()];
    assert_eq!(
        first,
        [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423
        ]
    );
}

#[test]
fn dates() {
    assert_eq!(date(0), (1970, 1, 1));
    assert_eq!(date(11_016), (2000, 2, 29));
    assert_eq!(date(FIRST_DAY), (2026, 1, 5));
}
