//! The test vectors of the spec: made anew and compared byte by byte, then checked by this crate
//! and by a second verifier that was written from the spec's text ([`stranger`]). A format change
//! without new vectors fails here. To write new ones: `TALLY_WRITE_VECTORS=1 cargo test --release
//! -p tallystick-protocol --test spec_vectors`.

#![allow(clippy::unwrap_used)]

#[path = "spec_vectors/deltas.rs"]
mod deltas;
#[path = "spec_vectors/scene.rs"]
mod scene;
#[path = "spec_vectors/stranger.rs"]
mod stranger;
#[path = "spec_vectors/twins.rs"]
mod twins;

use std::path::PathBuf;

use serde_json::Value;
use tallystick_protocol::{
    frame::{FrameReader, ReadError},
    group::{self, Kernel},
    identifiers::Profile,
    snapshot::{Bucket, DeltaApplier, LabelContext, LabelKey, SnapshotVerifier},
    statements::{Name, ProfileReference},
    verify::{RecordVerifier, Report, Trust, Verdict},
};

use scene::{Scene, profile_of, profile_text};
use twins::Twin;

fn vector(name: &str) -> PathBuf {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned();
    workspace.join("docs/spec/vectors").join(name)
}

/// Compares with the file, or writes it.
fn same(name: &str, made: &[u8]) {
    let path = vector(name);
    if std::env::var_os("TALLY_WRITE_VECTORS").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let stands = std::fs::read(&path).unwrap_or_default();
    assert!(
        stands == made,
        "docs/spec/vectors/{name} is not what the code makes: if the format was meant to change, \
         change its version and the spec, then write the vectors anew"
    );
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).unwrap();
    text.push(b'\n');
    text
}

/// The trust file's agencies.
fn trusted() -> Vec<(String, Vec<u8>)> {
    let trust: Value =
        serde_json::from_slice(&std::fs::read(vector("trust.json")).unwrap()).unwrap();
    assert_eq!(trust["schema"], "tally.trust/1");
    let agencies = trust["agencies"].as_array().unwrap().iter();
    agencies
        .map(|a| {
            let key = hex::decode(a["signing_key"].as_str().unwrap()).unwrap();
            (a["agency"].as_str().unwrap().to_owned(), key)
        })
        .collect()
}

/// The kernel that `TALLY_KERNEL` names, or the fastest one.
fn tested_kernel() -> &'static dyn Kernel {
    match std::env::var("TALLY_KERNEL") {
        Ok(name) => group::by_name(&name).unwrap(),
        Err(_) => group::best(),
    }
}

/// This crate's verifier.
fn verify(bytes: &[u8]) -> Report {
    let mut trust = Trust::default();
    for (agency, key) in trusted() {
        let key: [u8; 32] = key.try_into().unwrap();
        trust.add(agency.parse::<Name>().unwrap(), key.into());
    }
    let mut verifier = RecordVerifier::new(tested_kernel(), Some(trust));
    let mut reader = FrameReader::new(bytes);
    loop {
        let frame = match reader.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return verifier.finish(),
            Err(ReadError::Frame(error)) => return verifier.fail_framing(error),
            Err(ReadError::Io(error)) => panic!("{error}"),
        };
        match verifier.push(frame) {
            Ok(None) => {}
            Ok(Some(job)) => match job.run() {
                Ok(proven) => verifier.settle(proven),
                Err(failure) => return verifier.fail(&failure),
            },
            Err(failure) => return verifier.fail(&failure),
        }
    }
}

/// The first check that fails, by both verifiers, which must agree; `None` if all hold.
fn verdict(what: &str, bytes: &[u8]) -> Option<&'static str> {
    let report = verify(bytes);
    let failed = report
        .checks
        .iter()
        .find(|check| check.verdict == Verdict::Fail);
    let ours = failed.map(|check| check.name);
    assert_eq!(report.verified, ours.is_none(), "{what}");
    let trusted = trusted();
    let trusted: Vec<_> = trusted
        .iter()
        .map(|(n, k)| (n.as_str(), k.clone()))
        .collect();
    let theirs = stranger::record(bytes, &trusted).err();
    assert_eq!(ours, theirs, "the two verifiers disagree: {what}");
    ours
}

#[test]
fn vectors_are_what_the_code_makes_and_every_verifier_agrees() {
    let scene = Scene::play();
    same("trust.json", &pretty(&scene.trust()));
    same("record.tally", &scene.record);
    same("aborted.tally", &scene.aborted);
    same("refused.tally", &scene.refused);
    same("shift.tally", &scene.shift);
    same("sample.snapshot", &scene.snapshot);
    same("values.json", &pretty(&scene.values));
    same("profile-exact-1.txt", profile_text().as_bytes());
    for name in [
        "record.tally",
        "aborted.tally",
        "refused.tally",
        "shift.tally",
    ] {
        assert_eq!(verdict(name, &std::fs::read(vector(name)).unwrap()), None);
    }
    refused("twins.json", &scene.record, &twins::of_record(&scene));
    refused(
        "shift-twins.json",
        &scene.shift,
        &twins::of_shift(&scene.shift),
    );
}

/// Both verifiers name the check that each twin says.
fn refused(file: &str, whole: &[u8], twins: &[Twin]) {
    same(file, &pretty(&twins::to_json(twins)));
    for twin in twins {
        let (name, bytes) = (&twin.name, twin.apply(whole));
        assert!(!twin.fails.is_empty() && bytes != whole, "{name}");
        assert_eq!(verdict(name, &bytes), Some(twin.fails), "{name}");
    }
}

#[test]
fn flipped_bits_are_caught_by_the_second_verifier_too() {
    let scene = Scene::play();
    let trusted = trusted();
    let trusted: Vec<_> = trusted
        .iter()
        .map(|(n, k)| (n.as_str(), k.clone()))
        .collect();
    // Every third byte; which of its bits is flipped goes round.
    for (at, bit) in (0..scene.record.len()).step_by(3).zip((0..8).cycle()) {
        let mut bytes = scene.record.clone();
        bytes[at] ^= 1 << bit;
        assert!(stranger::record(&bytes, &trusted).is_err(), "byte {at}");
    }
}

/// The crate's verdict over a snapshot.
fn snapshot_holds(bytes: &[u8], publisher: [u8; 32]) -> bool {
    let mut reader = FrameReader::new(bytes);
    let Ok(Some(header)) = reader.next_frame() else {
        return false;
    };
    let Ok(mut verifier) = SnapshotVerifier::new(&header, &publisher.into()) else {
        return false;
    };
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                if Bucket::parse(&frame, verifier.preamble()).is_err()
                    || verifier.push(&frame).is_err()
                {
                    return false;
                }
            }
            Ok(None) => return verifier.finish().is_ok(),
            Err(_) => return false,
        }
    }
}

#[test]
fn the_snapshot_opens_where_it_should_and_its_twins_are_refused() {
    let scene = Scene::play();
    let publisher: [u8; 32] = trusted()[0].1.clone().try_into().unwrap();
    let snapshot = std::fs::read(vector("sample.snapshot")).unwrap();
    assert!(snapshot_holds(&snapshot, publisher));
    let entries = stranger::snapshot(&snapshot, &publisher).unwrap().entries;

    // The receiver's outputs, as the values state them, against the snapshot's tags.
    let context = LabelContext::new(&"watchlist".parse().unwrap(), 1);
    let mut opened = 0;
    for element in scene.values["elements"].as_array().unwrap() {
        let output = hex::decode(element["output"].as_str().unwrap()).unwrap();
        let tag = &output[..7];
        let sealed = entries.get(tag);
        assert_eq!(sealed.is_some(), element["label"].is_string());
        if let Some(sealed) = sealed {
            let key = LabelKey::from_material(&output[32..], &context).unwrap();
            let label = key.open(sealed, &context, tag).unwrap();
            assert_eq!(element["label"], String::from_utf8(label.to_vec()).unwrap());
            opened += 1;
        }
    }
    assert_eq!(opened, 3);

    let twins = twins::of_snapshot(&scene);
    same("snapshot-twins.json", &pretty(&twins::to_json(&twins)));
    for twin in &twins {
        let bytes = twin.apply(&snapshot);
        assert_ne!(bytes, snapshot, "{}", twin.name);
        assert!(!snapshot_holds(&bytes, publisher), "{}", twin.name);
        assert!(
            stranger::snapshot(&bytes, &publisher).is_none(),
            "{}",
            twin.name
        );
    }
}

/// The crate's verdict over a delta from a snapshot.
fn delta_holds(base: &[u8], bytes: &[u8], publisher: [u8; 32]) -> bool {
    let publisher = publisher.into();
    let frames = |bytes: &[u8]| {
        let mut reader = FrameReader::new(bytes);
        let frames = std::iter::from_fn(|| reader.next_frame().transpose());
        frames.collect::<Result<Vec<_>, _>>()
    };
    let base = frames(base).unwrap();
    let mut verifier = SnapshotVerifier::new(&base[0], &publisher).unwrap();
    base[1..].iter().for_each(|b| verifier.push(b).unwrap());
    let leaves = verifier.finish_with_leaves().unwrap();
    let Ok(delta) = frames(bytes) else {
        return false;
    };
    let [delta, header, changes @ ..] = &delta[..] else {
        return false;
    };
    let Ok(mut applier) = DeltaApplier::new(leaves, delta, header, &publisher, None) else {
        return false;
    };
    for change in changes {
        let pushed = applier.touches(change).and_then(|index| {
            let old = &base[1 + index as usize];
            applier.push(change, old)
        });
        if pushed.is_err() {
            return false;
        }
    }
    applier.finish().is_ok()
}

#[test]
fn the_delta_is_followed_and_its_twins_are_refused() {
    let (base, delta, after) = deltas::play(&Scene::play().snapshot);
    same("delta-base.snapshot", &base);
    same("sample.delta", &delta);
    let publisher: [u8; 32] = trusted()[0].1.clone().try_into().unwrap();
    let base = std::fs::read(vector("delta-base.snapshot")).unwrap();
    let delta = std::fs::read(vector("sample.delta")).unwrap();
    assert!(delta_holds(&base, &delta, publisher));
    let before = stranger::snapshot(&base, &publisher).unwrap();
    assert_eq!(stranger::delta(&before, &delta, &publisher), Some(after));
    // It leads from its own base only.
    let sample = std::fs::read(vector("sample.snapshot")).unwrap();
    let other = stranger::snapshot(&sample, &publisher).unwrap();
    assert_eq!(stranger::delta(&other, &delta, &publisher), None);
    assert!(!delta_holds(&sample, &delta, publisher));

    let twins = twins::of_delta(&delta);
    same("delta-twins.json", &pretty(&twins::to_json(&twins)));
    for twin in &twins {
        let bytes = twin.apply(&delta);
        assert_ne!(bytes, delta, "{}", twin.name);
        assert!(!delta_holds(&base, &bytes, publisher), "{}", twin.name);
        let theirs = stranger::delta(&before, &bytes, &publisher);
        assert!(theirs.is_none(), "{}", twin.name);
    }
    // Each byte of it, one bit each.
    for (at, bit) in (0..delta.len()).zip((0..8).cycle()) {
        let mut bytes = delta.clone();
        bytes[at] ^= 1 << bit;
        let theirs = stranger::delta(&before, &bytes, &publisher);
        assert!(theirs.is_none(), "byte {at}");
        assert!(!delta_holds(&base, &bytes, publisher), "byte {at}");
    }
}

/// The text of the spec, at the Unicode versions of this build, gives the hash that statements carry.
#[test]
fn the_profile_is_the_text_of_the_spec() {
    let version = |(a, b, c): (u8, u8, u8)| format!("{a}.{b}.{c}");
    let text = std::fs::read_to_string(vector("profile-exact-1.txt")).unwrap();
    let text = text.replace(
        "normalisation 16.0.0, case 16.0.0",
        &format!(
            "normalisation {}, case {}",
            version(unicode_normalization::UNICODE_VERSION),
            version(char::UNICODE_VERSION)
        ),
    );
    let reference = ProfileReference::try_from(Profile::exact()).unwrap();
    assert_eq!(profile_of(&text), reference);
    assert_eq!(reference.tables.0, Profile::exact().tables_hash());
}
