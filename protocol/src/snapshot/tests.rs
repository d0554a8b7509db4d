use proptest::prelude::*;

use super::*;
use crate::{
    error::Error,
    frame::{Frame, Kind},
    identifiers::Element,
    log::{inclusion_proof, leaf_hash, verify_inclusion},
    oprf::{self, Output},
    statements::{Mode, SnapshotPreamble},
    test_support::*,
};

#[test]
fn tags_have_the_bytes_that_the_rule_gives() {
    for (n, m, bytes) in [
        // 10^4 elements against 10^8: 40 + 39.86 bits, so 80.
        (10_000, 100_000_000, 10),
        (10_000, 1_000_000, 10),
        (1_000, 1_000, 8),
        (0, 0, 5),
        (1, 1, 5),
        (1, 2, 6),
        (16, 16, 6),
        (1 << 8, 1 << 8, 7),
        (1 << 8, (1 << 8) + 1, 8),
        (1 << 12, 1 << 12, 8),
        (1 << 12, (1 << 12) + 1, 9),
        (1, u64::MAX, 13),
        (1 << 32, 1 << 32, 13),
        (u64::MAX, u64::MAX, 21),
    ] {
        assert_eq!(tag_bytes(n, m), bytes, "{n} x {m}");
        assert_eq!(tag_bytes(m, n), bytes, "{m} x {n}");
    }
}

proptest! {
    #[test]
    fn tags_are_long_enough_and_no_longer(n in 1u64.., m in 1u64..) {
        let (bits, product) = (8 * tag_bytes(n, m), u128::from(n) * u128::from(m));
        prop_assert!(tag_bytes(n, m) <= 32);
        // 2^(bits - 40) >= n·m, and one byte less would not do.
        prop_assert!(bits - 40 >= 128 || 1u128 << (bits - 40) >= product);
        prop_assert!(bits < 48 || 1u128 << (bits - 48) < product);
    }

    #[test]
    fn the_bucket_of_a_tag_is_its_first_bits(tag in prop::collection::vec(any::<u8>(), 5..33), bits in 0u64..33) {
        let text: String = tag.iter().map(|b| format!("{b:08b}")).collect();
        let want = u64::from_str_radix(&text[..bits as usize], 2).unwrap_or(0);
        prop_assert_eq!(bucket_of(&tag, bits), want);
    }
}

#[test]
fn buckets_hold_some_hundreds_of_tags() {
    for (m, bits) in [
        (0, 0),
        (1, 0),
        (511, 0),
        (512, 1),
        (1023, 1),
        (1024, 2),
        (1 << 20, 12),
    ] {
        assert_eq!(bucket_bits(m), bits, "{m}");
        assert!(m >> bits < 512);
    }
    assert_eq!(bucket_of(&[0xff; 32], 64), u64::MAX);
    assert_eq!(bucket_of(&[], 8), 0);
}

#[test]
fn label_sizes_are_steps() {
    for (longest, bytes) in [
        (0, 32),
        (30, 32),
        (31, 64),
        (62, 64),
        (63, 128),
        (4094, 4096),
    ] {
        assert_eq!(label_bytes(longest).unwrap(), bytes, "{longest}");
    }
    assert_eq!(label_bytes(4095).unwrap_err().code(), "usage");
}

#[test]
fn what_is_built_verifies_and_holds_its_tags() {
    let world = World::new();
    for count in [0, 1, 2, 40] {
        for bits in [0, 1, 3, 6] {
            for label in [0, 32, 64] {
                let set: Vec<u32> = (0..count).collect();
                let published = world.publish(&[("bytes", set), ("text", vec![7])], bits, label);
                let verified = published.verify(&world);
                assert_eq!(verified.digest(), published.root);
                assert_eq!(verified.preamble(), &published.preamble);
                assert_eq!(published.buckets.len(), 1 << bits);
                let tags: usize = published.buckets.iter().map(|b| parse(&published, b)).sum();
                assert_eq!(tags as u64, u64::from(count) + 1);
            }
        }
    }
}

/// Tags in a bucket, each found where it stands.
fn parse(published: &Published, frame: &Frame) -> usize {
    let bucket = Bucket::parse(frame, &published.preamble).unwrap();
    assert_eq!(bucket.is_empty(), bucket.tags().next().is_none());
    for (i, tag) in bucket.tags().enumerate() {
        assert_eq!(bucket.find(tag), Some(i));
        assert_eq!(
            bucket.sealed_label(i).unwrap().len(),
            published.preamble.sealed_len()
        );
        let mut other = tag.to_vec();
        other[4] ^= 1;
        assert!(bucket.find(&other).is_none_or(|at| at != i));
    }
    if published.preamble.sealed_len() > 0 {
        assert!(bucket.sealed_label(bucket.len()).is_none());
    }
    bucket.len()
}

/// Small enough to try every byte of it.
fn small(world: &World) -> Published {
    world.publish(&[("text", vec![1, 2, 3])], 1, 32)
}

fn verify(world: &World, header: &Frame, buckets: &[Frame]) -> Result<(), Error> {
    let mut verifier = SnapshotVerifier::new(header, &world.sender.verify_key())?;
    for (i, bucket) in buckets.iter().enumerate() {
        assert_eq!(verifier.next_bucket(), i as u64);
        verifier.push(bucket)?;
    }
    verifier.finish().map(|_| ())
}

#[test]
fn every_flipped_byte_of_a_snapshot_is_found() {
    let world = World::new();
    let published = small(&world);
    assert_eq!(
        verify(&world, &published.header, &published.buckets),
        Ok(())
    );
    let frames: Vec<Frame> = std::iter::once(&published.header)
        .chain(&published.buckets)
        .cloned()
        .collect();
    for (i, frame) in frames.iter().enumerate() {
        for position in 0..frame.bytes().len() {
            for mask in [0x01, 0x20, 0x80, 0xff] {
                let mut bytes = frame.bytes().to_vec();
                bytes[position] ^= mask;
                let mut frames = frames.clone();
                match Frame::from_bytes(bytes) {
                    Ok(changed) => frames[i] = changed,
                    Err(_) => continue,
                }
                let refused = verify(&world, &frames[0], &frames[1..]);
                assert!(
                    refused.is_err(),
                    "frame {i}, byte {position}, mask {mask:#x}"
                );
            }
        }
    }
}

#[test]
fn dropped_doubled_and_reordered_buckets_are_found() {
    let world = World::new();
    let set: Vec<u32> = (0..20).collect();
    let published = world.publish(&[("text", set)], 2, 0);
    let buckets = &published.buckets;
    let check = |buckets: &[Frame]| verify(&world, &published.header, buckets);
    assert_eq!(check(buckets), Ok(()));
    let field = |field| {
        Err(Error::Mismatch {
            what: "snapshot bucket",
            field,
        })
    };
    for i in 0..4 {
        let mut dropped = buckets.clone();
        dropped.remove(i);
        assert!(check(&dropped).is_err());
        let mut doubled = buckets.clone();
        doubled.insert(i, buckets[i].clone());
        assert_eq!(check(&doubled), field("index"));
        let mut swapped = buckets.clone();
        swapped.swap(i, (i + 1) % 4);
        assert_eq!(check(&swapped), field("index"));
    }
    let snapshot = |field| {
        Err(Error::Mismatch {
            what: "snapshot",
            field,
        })
    };
    assert_eq!(check(&buckets[..3]), snapshot("buckets"));
    assert_eq!(check(&[]), snapshot("buckets"));
    let fifth = [&buckets[..], &[bucket(4, 0, b"")]].concat();
    assert_eq!(check(&fifth), field("index"));
}

#[test]
fn buckets_of_another_snapshot_are_found() {
    let world = World::new();
    let (one, two) = (
        small(&world),
        world.publish(&[("text", vec![1, 2, 4])], 1, 32),
    );
    let refused = verify(&world, &one.header, &two.buckets);
    assert_eq!(
        refused,
        Err(Error::Mismatch {
            what: "snapshot",
            field: "root"
        })
    );
    let fewer = world.publish(&[("text", vec![1, 2])], 1, 32);
    let refused = verify(&world, &one.header, &fewer.buckets);
    assert_eq!(refused.unwrap_err().code(), "mismatch");
    let stranger = SnapshotVerifier::new(&one.header, &world.receiver.verify_key());
    assert_eq!(stranger.unwrap_err().code(), "bad-signature");
    let builder = SnapshotBuilder::new(one.preamble.clone()).unwrap();
    let placeholder = builder.placeholder(&world.sender).unwrap();
    assert_eq!(placeholder.bytes().len(), one.header.bytes().len());
    assert!(verify(&world, &placeholder, &one.buckets).is_err());
}

fn bucket(index: u32, count: u32, rest: &[u8]) -> Frame {
    let body = [&index.to_be_bytes()[..], &count.to_be_bytes(), rest].concat();
    Frame::new(Kind::SnapshotBucket, &body).unwrap()
}

#[test]
fn buckets_that_no_builder_writes_are_malformed() {
    let world = World::new();
    let preamble = world.preamble(&["text"], 3, 1, 0);
    let len = preamble.tag_len();
    let tags = |firsts: &[u8]| {
        firsts
            .iter()
            .flat_map(|f| vec![*f; len])
            .collect::<Vec<u8>>()
    };
    let code = |frame: &Frame| {
        Bucket::parse(frame, &preamble)
            .map(|_| ())
            .map_err(|e| e.code())
    };
    assert_eq!(code(&bucket(0, 2, &tags(&[1, 2]))), Ok(()));
    assert_eq!(code(&bucket(1, 2, &tags(&[0x80, 0xff]))), Ok(()));
    for (what, bad) in [
        ("equal tags", bucket(0, 2, &tags(&[1, 1]))),
        ("descending tags", bucket(0, 2, &tags(&[2, 1]))),
        ("another bucket's tag", bucket(0, 2, &tags(&[1, 0x80]))),
        ("another bucket's index", bucket(1, 2, &tags(&[1, 2]))),
        ("fewer than counted", bucket(0, 3, &tags(&[1, 2]))),
        ("more than counted", bucket(0, 1, &tags(&[1, 2]))),
        ("the largest count", bucket(0, u32::MAX, &tags(&[1, 2]))),
        ("the largest count of nothing", bucket(0, u32::MAX, &[])),
        (
            "no count",
            Frame::new(Kind::SnapshotBucket, &[0; 7]).unwrap(),
        ),
        ("nothing", Frame::new(Kind::SnapshotBucket, &[]).unwrap()),
    ] {
        assert_eq!(code(&bad), Err("malformed"), "{what}");
    }
    let labelled = world.preamble(&["text"], 3, 1, 4096);
    let refused = Bucket::parse(&bucket(0, u32::MAX, &tags(&[1, 2])), &labelled).unwrap_err();
    assert_eq!(refused.code(), "malformed");
    let other = Frame::new(Kind::Manifest, &[]).unwrap();
    assert_eq!(code(&other), Err("out-of-order"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_buckets_panic(
        index in 0u32..3, count in prop_oneof![0u32..4, any::<u32>()],
        rest in prop::collection::vec(any::<u8>(), 0..80),
        label in prop::sample::select(vec![0usize, 32]), bits in 0u32..33,
    ) {
        let preamble = World::new().preamble(&["text"], 3, bits, label);
        if let Ok(parsed) = Bucket::parse(&bucket(index, count, &rest), &preamble) {
            prop_assert_eq!(parsed.len(), count as usize);
            prop_assert_eq!(parsed.tags().count(), count as usize);
        }
        let raw = Frame::new(Kind::SnapshotBucket, &rest).unwrap();
        let _ = Bucket::parse(&raw, &preamble);
    }
}

#[test]
fn a_bucket_that_is_known_is_read_alike_and_only_as_itself() {
    let world = World::new();
    let published = world.publish(&[("text", (0..40).collect())], 2, 32);
    for (i, frame) in published.buckets.iter().enumerate() {
        let strict = Bucket::parse(frame, &published.preamble).unwrap();
        let read = |bytes: &[u8], index| {
            let known = Bucket::parse_assumed(bytes, &published.preamble, index)?;
            let same = known.tags().eq(strict.tags())
                && (0..known.len()).all(|i| known.sealed_label(i) == strict.sealed_label(i));
            Ok::<_, Error>(same && known.index() == strict.index())
        };
        assert_eq!(read(frame.bytes(), i as u64), Ok(true));
        assert!(read(frame.bytes(), i as u64 + 1).is_err());
        for cut in 0..frame.bytes().len() {
            assert!(
                read(&frame.bytes()[..cut], i as u64).is_err(),
                "cut at {cut}"
            );
        }
        let mut longer = frame.bytes().to_vec();
        longer.push(0);
        assert!(read(&longer, i as u64).is_err());
        let header = published.header.bytes();
        assert!(read(header, i as u64).is_err());
    }
}

#[test]
fn a_snapshot_that_was_verified_before_is_what_its_signed_header_says() {
    let world = World::new();
    let published = small(&world);
    let publisher = world.sender.verify_key();
    let verifier = SnapshotVerifier::new(&published.header, &publisher).unwrap();
    let verified = verifier.assume_verified();
    assert_eq!(verified.digest(), published.root);
    assert_eq!(verified.preamble(), &published.preamble);
}

#[test]
fn a_builder_refuses_what_its_preamble_does_not_say() {
    let world = World::new();
    let preamble = world.preamble(&["text"], 2, 1, 0);
    let len = preamble.tag_len();
    let push = |tags: &[Vec<u8>]| {
        let mut emit = |_| Ok::<(), Error>(());
        let mut builder = SnapshotBuilder::new(preamble.clone())?;
        for tag in tags {
            builder.push(tag, &[], &mut emit)?;
        }
        builder.finish(&world.sender, &mut emit).map(|_| ())
    };
    let tag = |first: u8| vec![first; len];
    assert_eq!(push(&[tag(1), tag(0x80)]), Ok(()));
    for bad in [
        vec![tag(1)],
        vec![tag(1), tag(2), tag(3)],
        vec![tag(2), tag(1)],
        vec![tag(1), tag(1)],
        vec![tag(0x80), tag(1)],
        vec![tag(1), vec![2; len + 1]],
    ] {
        assert_eq!(push(&bad).unwrap_err().code(), "usage");
    }
    let changes: [fn(&mut SnapshotPreamble); 7] = [
        |p| p.bucket_bits = int(33),
        |p| p.bucket_bits = int(64),
        |p| p.tag_bytes = int(4),
        |p| p.tag_bytes = int(33),
        |p| p.label_bytes = int(32),
        |p| p.keys.clear(),
        |p| p.keys.push(p.keys[0].clone()),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let mut bad = preamble.clone();
        change(&mut bad);
        let refused = SnapshotBuilder::new(bad).map(|_| ()).map_err(|e| e.code());
        assert_eq!(refused, Err("usage"), "change {i}");
    }
}

#[test]
fn one_bucket_opens_with_its_path() {
    let world = World::new();
    let published = world.publish(&[("text", (0..20).collect())], 3, 32);
    let mut leaves = vec![leaf_hash(&published.preamble.leaf().unwrap())];
    leaves.extend(published.buckets.iter().map(|b| leaf_hash(b.body())));
    let size = leaves.len() as u64;
    for (i, frame) in published.buckets.iter().enumerate() {
        let path = inclusion_proof(&leaves, i + 1).unwrap();
        let holds = |body: &[u8], index: u64| {
            verify_inclusion(&leaf_hash(body), index, size, &path, &published.root.0)
        };
        assert!(holds(frame.body(), i as u64 + 1));
        assert!(!holds(frame.body(), i as u64));
        let mut changed = frame.body().to_vec();
        changed[5] ^= 1;
        assert!(!holds(&changed, i as u64 + 1));
    }
}

/// Outputs of numbers under the key of a type.
fn outputs(world: &World, ty: &str, values: &[u32]) -> Vec<Output> {
    let elements: Vec<_> = values.iter().map(|v| element(ty, *v)).collect();
    let inputs: Vec<_> = elements.iter().map(Element::as_bytes).collect();
    oprf::evaluate(kernel(), &inputs, &world.keys[&name(ty)]).unwrap()
}

#[test]
fn a_label_opens_for_its_own_element_tag_collection_and_epoch_only() {
    let world = World::new();
    let outputs = outputs(&world, "text", &[1, 2]);
    let context = LabelContext::new(&name("fighters"), 3);
    let (own, other) = (outputs[0].tag(8), outputs[1].tag(8));
    let key = |output: &Output, context: &LabelContext| LabelKey::derive(output, context).unwrap();
    let sealed = key(&outputs[0], &context)
        .seal(b"file 7", 32, &context, own, [9; 24])
        .unwrap();
    assert_eq!(sealed.len(), 32 + SEAL_OVERHEAD);
    let open = |output: &Output, key_context: &LabelContext, context: &LabelContext, tag: &[u8]| {
        key(output, key_context)
            .open(&sealed, context, tag)
            .map(|l| l.to_vec())
    };
    assert_eq!(
        open(&outputs[0], &context, &context, own).unwrap(),
        b"file 7"
    );
    assert_eq!(
        open(&outputs[1], &context, &context, other),
        Err(Error::Label)
    );
    assert_eq!(
        open(&outputs[1], &context, &context, own),
        Err(Error::Label)
    );
    assert_eq!(
        open(&outputs[0], &context, &context, other),
        Err(Error::Label)
    );
    assert_eq!(
        open(&outputs[0], &context, &context, &own[..7]),
        Err(Error::Label)
    );
    for elsewhere in [
        LabelContext::new(&name("fighters"), 4),
        LabelContext::new(&name("fighter"), 3),
        LabelContext::new(&name("others"), 3),
    ] {
        // Each of key and associated data is bound by itself.
        assert_eq!(
            open(&outputs[0], &elsewhere, &context, own),
            Err(Error::Label)
        );
        assert_eq!(
            open(&outputs[0], &context, &elsewhere, own),
            Err(Error::Label)
        );
        assert_eq!(
            open(&outputs[0], &elsewhere, &elsewhere, own),
            Err(Error::Label)
        );
    }
    for position in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[position] ^= 1;
        let refused = key(&outputs[0], &context).open(&changed, &context, own);
        assert_eq!(refused.unwrap_err(), Error::Label, "byte {position}");
    }
    for cut in [0, 23, 24, 39, sealed.len() - 1] {
        let refused = key(&outputs[0], &context).open(&sealed[..cut], &context, own);
        assert_eq!(refused.unwrap_err(), Error::Label, "cut at {cut}");
    }
}

#[test]
fn labels_swapped_between_tags_do_not_open() {
    let world = World::new();
    let published = world.publish(&[("text", vec![1, 2])], 0, 32);
    let preamble = &published.preamble;
    let parsed = Bucket::parse(&published.buckets[0], preamble).unwrap();
    let tags: Vec<_> = parsed.tags().map(<[u8]>::to_vec).collect();
    let labels = [0, 1].map(|i| parsed.sealed_label(i).unwrap().to_vec());
    let entries = [
        (tags[0].clone(), labels[1].clone()),
        (tags[1].clone(), labels[0].clone()),
    ];
    // The sender signs it so: it verifies, and its labels do not open.
    let swapped = Published::build(preamble.clone(), &entries, &world.sender);
    swapped.verify(&world);
    let context = LabelContext::new(&preamble.collection, 3);
    for output in outputs(&world, "text", &[1, 2]) {
        let bucket = Bucket::parse(&swapped.buckets[0], preamble).unwrap();
        let tag = output.tag(preamble.tag_len());
        let sealed = bucket.sealed_label(bucket.find(tag).unwrap()).unwrap();
        let key = LabelKey::derive(&output, &context).unwrap();
        assert_eq!(key.open(sealed, &context, tag).unwrap_err(), Error::Label);
        assert!(published.look_up(&output).is_some());
    }
}

#[test]
fn payloads_of_every_length_come_back_and_longer_ones_are_refused() {
    let world = World::new();
    let output = &outputs(&world, "text", &[1])[0];
    let context = LabelContext::new(&name("fighters"), 3);
    let key = LabelKey::derive(output, &context).unwrap();
    for length in 0..=30 {
        let payload: Vec<u8> = (0..length).collect();
        let sealed = key.seal(&payload, 32, &context, b"tag", [1; 24]).unwrap();
        assert_eq!(sealed.len(), 32 + SEAL_OVERHEAD);
        assert_eq!(*key.open(&sealed, &context, b"tag").unwrap(), payload);
    }
    for length in [31, 32, 70_000] {
        let refused = key.seal(&vec![0; length], 32, &context, b"tag", [1; 24]);
        assert_eq!(refused.unwrap_err().code(), "usage");
    }
}

#[test]
fn a_label_key_does_not_show_itself() {
    let world = World::new();
    let output = &outputs(&world, "text", &[1])[0];
    let key = LabelKey::derive(output, &LabelContext::new(&name("fighters"), 3)).unwrap();
    insta::assert_snapshot!(format!("{key:?} {key:#?}"), @"LabelKey(..) LabelKey(..)");
}

#[test]
fn tags_of_one_type_are_not_those_of_another() {
    let world = World::new();
    let one = &outputs(&world, "text", &[PADDING])[0];
    let other = &outputs(&world, "bytes", &[PADDING])[0];
    assert_ne!(one.tag(32), other.tag(32));
    assert_eq!(world.preamble(&["text"], 1, 0, 0).mode, Mode::Elements);
}
