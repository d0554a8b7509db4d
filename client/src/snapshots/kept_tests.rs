//! What is kept of the snapshots of several collections.

use std::{fs, io::Write};

use tallystick_protocol::{
    error::Error,
    group,
    identifiers::Profile,
    oprf::SecretKey,
    signing::SigningKey,
    snapshot::{SnapshotBuilder, bucket_bits, tag_bytes},
    statements::{Mode, ProfileReference, SenderReference, SnapshotPreamble, TypeKey},
};

use super::*;

const ELEMENTS: u64 = 16;

fn int(n: u64) -> Int {
    Int::new(n).unwrap()
}

/// Puts a snapshot and something for its mark into the cache.
fn put(cache: &Path, signer: &SigningKey, collection: &str, epoch: u64, at: u64) -> Hex<32> {
    let oprf = SecretKey::from_seed(group::reference(), &[3; 32], b"test").unwrap();
    let preamble = SnapshotPreamble {
        sender: SenderReference {
            agency: "holder".parse().unwrap(),
            signing_key: Hex(signer.verify_key().0),
        },
        collection: collection.parse().unwrap(),
        epoch: int(epoch),
        mode: Mode::Elements,
        profile: ProfileReference::try_from(Profile::exact()).unwrap(),
        keys: vec![TypeKey {
            type_name: "document".parse().unwrap(),
            public_key: Hex(*oprf.public_bytes()),
        }],
        elements: int(ELEMENTS),
        tag_bytes: tag_bytes(1 << 20, ELEMENTS).into(),
        bucket_bits: bucket_bits(ELEMENTS).into(),
        label_bytes: int(0),
        label_columns: vec![],
        salt: Hex([1; 32]),
        published_ms: int(at),
        kind: None,
        covers: None,
    };
    let length = preamble.tag_len();
    let mut builder = SnapshotBuilder::new(preamble).unwrap();
    let mut body = Vec::new();
    let mut emit = |frame: Frame| {
        body.extend_from_slice(frame.bytes());
        Ok::<_, Error>(())
    };
    for n in 0..ELEMENTS as u8 {
        builder.push(&vec![n; length], &[], &mut emit).unwrap();
    }
    let (header, digest) = builder.finish(signer, &mut emit).unwrap();
    let mut file = File::create(snapshot_path(cache, digest)).unwrap();
    file.write_all(header.bytes()).unwrap();
    file.write_all(&body).unwrap();
    fs::write(index_path(cache, digest), "a mark").unwrap();
    digest
}

fn wanted(digest: Hex<32>, collection: &str, epoch: u64) -> Wanted {
    Wanted {
        digest,
        collection: collection.parse().unwrap(),
        epoch: int(epoch),
    }
}

#[test]
fn a_busy_collection_does_not_hide_the_copy_of_a_slow_one() {
    let dir = tempfile::tempdir().unwrap();
    let signer = SigningKey::from_seed(&[7; 32]);
    let slow = put(dir.path(), &signer, "slow", 1, 5);
    let busy: Vec<Hex<32>> = (0..40)
        .map(|n| put(dir.path(), &signer, "busy", 1, 100 + n))
        .collect();
    let other = put(dir.path(), &signer, "slow", 2, 500);
    let key = signer.verify_key();
    let held = |name, epoch| held(dir.path(), &key, &wanted(Hex([0; 32]), name, epoch));
    assert_eq!(held("slow", 1), [slow]);
    assert_eq!(held("slow", 2), [other]);
    assert!(held("busy", 1).iter().eq(busy.iter().rev()));
    let stranger = SigningKey::from_seed(&[8; 32]).verify_key();
    let found = super::held(dir.path(), &stranger, &wanted(slow, "slow", 1));
    assert!(found.is_empty());
}

#[test]
fn the_last_two_of_a_collection_and_epoch_stay_and_what_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let signer = SigningKey::from_seed(&[7; 32]);
    let put = |name, epoch, at| put(dir.path(), &signer, name, epoch, at);
    let list: Vec<Hex<32>> = (1..=6).map(|at| put("list", 1, at)).collect();
    let others = [put("list", 2, 1), put("other", 1, 1), put("other", 1, 2)];
    fs::remove_file(index_path(dir.path(), list[1])).unwrap();
    let key = signer.verify_key();
    let remove = |digest, needed: &[_]| {
        remove_superseded(dir.path(), &key, &wanted(digest, "list", 1), needed).unwrap();
    };
    let there = |digest: &Hex<32>| {
        let there = snapshot_path(dir.path(), *digest).exists();
        assert!(there || !index_path(dir.path(), *digest).exists());
        there
    };
    // The third is what is read at the moment, the first what a run was granted.
    remove(list[2], &[list[0]]);
    let left: Vec<bool> = list.iter().map(there).collect();
    assert_eq!(left, [true, false, true, false, true, true]);
    remove(list[5], &[]);
    let left: Vec<bool> = list.iter().map(there).collect();
    assert_eq!(left, [false, false, false, false, true, true]);
    assert!(others.iter().all(there));
}

#[test]
fn a_record_without_a_grant_names_nothing_and_one_that_is_damaged_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    assert_eq!(granted_in(&path).unwrap(), None);
    fs::write(&path, b"").unwrap();
    assert_eq!(granted_in(&path).unwrap(), None);
    fs::write(&path, Frame::new(Kind::Grant, b"none").unwrap().bytes()).unwrap();
    assert!(granted_in(&path).is_err());
    fs::write(&path, b"no frames").unwrap();
    assert!(granted_in(&path).is_err());
}
