//! A snapshot in a file, against what was put into it.

use std::{fs, os::unix::fs::MetadataExt};

use tallystick_agency::{fs::create_owner_dir, keys::Passphrase, keystore::KeyStore};
use tallystick_protocol::{
    frame::Frame,
    group,
    identifiers::Profile,
    oprf::SecretKey,
    signing::SigningKey,
    snapshot::{SnapshotBuilder, bucket_bits, tag_bytes},
    statements::{Int, Mode, ProfileReference, SenderReference, SnapshotPreamble, TypeKey},
};

use super::*;

struct Scene {
    dir: tempfile::TempDir,
    key: MarkKey,
    publisher: VerifyKey,
    digest: Hex<32>,
    tags: Vec<Vec<u8>>,
    tag_len: usize,
}

/// Numbers that look like tags.
fn mixed(mut n: u64) -> u64 {
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn tag(n: u64, length: usize) -> Vec<u8> {
    let bytes = [
        mixed(2 * n + 1).to_be_bytes(),
        mixed(2 * n + 2).to_be_bytes(),
    ];
    bytes.as_flattened()[..length].to_vec()
}

impl Scene {
    fn new(elements: u64, label_bytes: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        create_owner_dir(&keys).unwrap();
        let keys = KeyStore::create(&keys, &Passphrase::new("words").unwrap()).unwrap();
        let signer = SigningKey::from_seed(&[7; 32]);
        let publisher = signer.verify_key();
        let oprf = SecretKey::from_seed(group::reference(), &[3; 32], b"test").unwrap();
        let int = |n: u64| Int::new(n).unwrap();
        let tag_len = tag_bytes(1 << 20, elements);
        let preamble = SnapshotPreamble {
            sender: SenderReference {
                agency: "holder".parse().unwrap(),
                signing_key: Hex(publisher.0),
            },
            collection: "watchlist".parse().unwrap(),
            epoch: int(1),
            mode: Mode::Elements,
            profile: ProfileReference::try_from(Profile::exact()).unwrap(),
            keys: vec![TypeKey {
                type_name: "document".parse().unwrap(),
                public_key: Hex(*oprf.public_bytes()),
            }],
            elements: int(elements),
            tag_bytes: tag_len.into(),
            bucket_bits: bucket_bits(elements).into(),
            label_bytes: int(label_bytes as u64),
            label_columns: match label_bytes {
                0 => vec![],
                _ => vec!["case".parse().unwrap()],
            },
            salt: Hex([1; 32]),
            published_ms: int(1),
            kind: None,
            covers: None,
        };
        let (tag_len, sealed_len) = (preamble.tag_len(), preamble.sealed_len());
        let mut tags: Vec<Vec<u8>> = (0..elements).map(|n| tag(n, tag_len)).collect();
        tags.sort();
        let mut builder = SnapshotBuilder::new(preamble).unwrap();
        let mut body: Vec<u8> = Vec::new();
        let mut emit = |frame: Frame| {
            body.extend_from_slice(frame.bytes());
            Ok::<_, Error>(())
        };
        for tag in &tags {
            let sealed = vec![tag[0]; sealed_len];
            builder.push(tag, &sealed, &mut emit).unwrap();
        }
        let (header, digest) = builder.finish(&signer, &mut emit).unwrap();
        let whole = [header.bytes(), &body].concat();
        fs::write(dir.path().join("snapshot"), whole).unwrap();
        Self {
            key: MarkKey::of(&keys).unwrap(),
            dir,
            publisher,
            digest,
            tags,
            tag_len,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("snapshot")
    }

    fn index(&self) -> PathBuf {
        index_path(self.dir.path(), self.digest)
    }

    fn verify(&self) -> Outcome<JustVerified> {
        CachedSnapshot::verify(&self.path(), self.index(), &self.publisher, &self.key)
    }

    fn open(&self) -> Option<CachedSnapshot> {
        let (path, publisher) = (self.path(), &self.publisher);
        CachedSnapshot::open(&path, self.index(), self.digest, publisher, &self.key)
    }

    /// Verified, marked, and opened again.
    fn marked(&self) -> CachedSnapshot {
        assert!(self.open().is_none(), "no mark yet");
        self.verify().unwrap().mark(&self.publisher, Came::Whole);
        self.open().unwrap()
    }
}

#[test]
fn every_tag_is_found_where_it_stands_and_no_other() {
    for (elements, label_bytes) in [(16, 0), (1024, 32), (16_384, 0), (10_240, 0)] {
        let scene = Scene::new(elements, label_bytes);
        let opened = scene.marked();
        let verified = scene.verify().unwrap().mark(&scene.publisher, Came::Whole);
        assert_eq!(opened.verified().digest(), scene.digest);
        // Dense, sparse, doubled, and what is not there.
        let absent: Vec<Vec<u8>> = (0..500)
            .map(|n| tag((1 << 40) + n, scene.tag_len))
            .collect();
        for step in [1, 7, 333] {
            let asked = scene
                .tags
                .iter()
                .step_by(step)
                .chain(&absent)
                .chain(&scene.tags[..3]);
            let mut asked: Vec<&[u8]> = asked.map(Vec::as_slice).collect();
            asked.sort_by_key(|tag| mixed(u64::from_be_bytes(tag[..8].try_into().unwrap())));
            let places = opened.find_all(&asked).unwrap();
            assert_eq!(places, verified.find_all(&asked).unwrap());
            for (tag, place) in asked.iter().zip(places) {
                let there = scene
                    .tags
                    .binary_search_by(|t| t.as_slice().cmp(tag))
                    .is_ok();
                assert_eq!(place.is_some(), there);
                if let Some(place) = place {
                    let (found, sealed) = opened.entry(place).unwrap();
                    assert_eq!(found, *tag);
                    assert!(sealed.iter().all(|byte| *byte == tag[0]));
                    assert_eq!(sealed.is_empty(), label_bytes == 0);
                }
            }
        }
        assert!(opened.find_all(&[]).unwrap().is_empty());
    }
}

#[test]
fn a_byte_that_changed_since_is_found_when_its_bucket_is_read() {
    let scene = Scene::new(4096, 0);
    let opened = scene.marked();
    let asked: Vec<&[u8]> = scene.tags.iter().map(Vec::as_slice).collect();
    let length = fs::metadata(scene.path()).unwrap().len();
    let (first, _) = opened.span(0, 0).unwrap();
    let file = File::options()
        .write(true)
        .read(true)
        .open(scene.path())
        .unwrap();
    for at in (first..length).step_by(997) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        assert!(opened.find_all(&asked).is_err(), "byte {at}");
        assert!(!scene.index().exists(), "it is verified anew next time");
        file.write_all_at(&byte, at).unwrap();
        assert!(opened.find_all(&asked).is_ok());
    }
    file.set_len(length - 1).unwrap();
    assert!(opened.find_all(&asked).is_err());
}

#[test]
fn a_file_that_was_swapped_or_written_to_is_verified_anew() {
    let scene = Scene::new(1024, 0);
    scene.marked();
    let bytes = fs::read(scene.path()).unwrap();
    let aside = scene.dir.path().join("aside");
    fs::write(&aside, &bytes).unwrap();
    fs::rename(&aside, scene.path()).unwrap();
    assert!(scene.open().is_none(), "another file of the same bytes");
    scene.verify().unwrap().mark(&scene.publisher, Came::Whole);
    assert!(scene.open().is_some());
    let mut changed = bytes;
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    // The clock of a file system may tick seldom.
    let ticked = || {
        let meta = fs::metadata(scene.path()).unwrap();
        (meta.ctime(), meta.ctime_nsec())
    };
    let before = ticked();
    while ticked() == before {
        fs::write(scene.path(), &changed).unwrap();
    }
    assert!(scene.open().is_none());
    assert!(scene.verify().is_err());
}

#[test]
fn a_mark_of_another_header_opens_nothing() {
    let scene = Scene::new(1024, 0);
    let file = File::open(scene.path()).unwrap();
    let mut frames = FrameReader::new(BufReader::new(&file));
    let header = frames.next_frame().unwrap().unwrap();
    let (start, digest) = (frames.offset(), scene.digest);
    let mut buckets = Vec::new();
    while let Some(frame) = frames.next_frame().unwrap() {
        buckets.push(frame);
    }
    let mut other = header.bytes().to_vec();
    *other.last_mut().unwrap() ^= 1;
    for (header, opens) in [(header.bytes(), true), (&other[..], false)] {
        let count = buckets.len() as u64;
        let mut mark = NewMark::begin(&scene.key, &digest.0, header, start, count).unwrap();
        buckets.iter().for_each(|b| mark.push(b.bytes()).unwrap());
        let (_, saved) = mark.save(&scene.index(), &digest.0, &scene.publisher.0, &file);
        saved.unwrap();
        assert_eq!(scene.open().is_some(), opens);
    }
}

/// Not a test of anything: what opening and looking up cost. Run it with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn what_opening_and_looking_up_cost() {
    for log in [18, 20, 22, 24] {
        let scene = Scene::new(1 << log, 0);
        let at = std::time::Instant::now();
        let snapshot = scene.verify().unwrap();
        let verify = at.elapsed();
        let snapshot = snapshot.mark(&scene.publisher, Came::Whole);
        let open = (0..9).map(|_| {
            let at = std::time::Instant::now();
            assert!(scene.open().is_some());
            at.elapsed()
        });
        let open = open.min().unwrap();
        let find = (0..15u64).map(|round| {
            let asked: Vec<Vec<u8>> = (0..8192)
                .map(|n| tag(mixed(round * 8192 + n) >> (64 - log - 1), scene.tag_len))
                .collect();
            let asked: Vec<&[u8]> = asked.iter().map(Vec::as_slice).collect();
            let at = std::time::Instant::now();
            let places = snapshot.find_all(&asked).unwrap();
            assert!(places.iter().flatten().count() > 2000);
            at.elapsed()
        });
        let find = find.min().unwrap();
        println!(
            "2^{log}: verify {verify:?}, open {open:?}, find {:.3} us each of 8192",
            find.as_secs_f64() * 1e6 / 8192.0
        );
    }
}
