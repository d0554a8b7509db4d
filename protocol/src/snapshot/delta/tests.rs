use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::{
    error::{Error, Fault},
    frame::{Frame, Kind},
    identifiers::padded_size,
    signing::SigningKey,
    snapshot::{SnapshotLeaves, SnapshotVerifier, bucket_of},
    statements::{
        Coverage, Hex, Int, ListKind, SnapshotDelta, SnapshotHeader, SnapshotPreamble, Statement,
        open_as_named, sign,
    },
    test_support::*,
};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// The tag and the sealed label of a number, as if they came of an element.
fn tag(number: u64, length: usize) -> Vec<u8> {
    Sha256::digest(number.to_be_bytes())[..length].to_vec()
}

fn sealed(number: u64, length: usize) -> Vec<u8> {
    let mut label = number.to_be_bytes().repeat(length.div_ceil(8));
    label.truncate(length);
    label
}

/// A snapshot of the numbers, its entries, and its proven leaves.
struct Stage {
    world: World,
    entries: Entries,
    published: Published,
    leaves: SnapshotLeaves,
}

fn leaves_of(world: &World, published: &Published) -> SnapshotLeaves {
    let mut verifier =
        SnapshotVerifier::new(&published.header, &world.sender.verify_key()).unwrap();
    for bucket in &published.buckets {
        verifier.push(bucket).unwrap();
    }
    verifier.finish_with_leaves().unwrap()
}

fn whole(world: &World, preamble: SnapshotPreamble, entries: &Entries) -> Published {
    let list: Vec<_> = entries.clone().into_iter().collect();
    Published::build(preamble, &list, &world.sender)
}

impl Stage {
    fn new(elements: u64, bits: u32, label: usize) -> Self {
        Self::of(elements, bits, label, None)
    }

    /// A register that covers something.
    fn of(elements: u64, bits: u32, label: usize, covers: Option<Coverage>) -> Self {
        let world = World::new();
        let mut preamble = world.preamble(&["text"], elements, bits, label);
        preamble.kind = covers.as_ref().map(|_| ListKind::IssuedDocuments);
        preamble.covers = covers;
        let entries: Entries = (0..elements)
            .map(|n| (tag(n, preamble.tag_len()), sealed(n, preamble.sealed_len())))
            .collect();
        let published = whole(&world, preamble, &entries);
        let leaves = leaves_of(&world, &published);
        Self {
            world,
            entries,
            published,
            leaves,
        }
    }

    fn preamble(&self) -> &SnapshotPreamble {
        self.leaves.snapshot().preamble()
    }

    fn terms(&self, exchanged: u64, relabelled: u64) -> DeltaTerms {
        DeltaTerms {
            plan: DeltaPlan {
                exchanged,
                relabelled,
                padding_added: 0,
                padding_removed: 0,
                resealed: 0,
            },
            sequence: int(1),
            salt: Hex([0x56; 32]),
            published_ms: int(self.preamble().published_ms.get() + 1),
            covers: self.preamble().covers.clone(),
        }
    }

    /// Makes the delta to other entries.
    fn to(&self, after: &Entries, terms: DeltaTerms) -> Made {
        let bits = self.preamble().bucket_bits.get();
        let mut by_bucket: BTreeMap<u64, BucketChanges<'_>> = BTreeMap::new();
        for tag in self.entries.keys().filter(|tag| !after.contains_key(*tag)) {
            by_bucket
                .entry(bucket_of(tag, bits))
                .or_default()
                .removed
                .push(tag);
        }
        for (tag, sealed) in after {
            let changes = by_bucket.entry(bucket_of(tag, bits)).or_default();
            match self.entries.get(tag) {
                None => changes.added.push(Entry { tag, sealed }),
                Some(was) if was != sealed => changes.relabelled.push(Entry { tag, sealed }),
                Some(_) => {}
            }
        }
        let mut builder = DeltaBuilder::new(self.leaves.clone(), terms).unwrap();
        let placeholders = builder.placeholders(&self.world.sender).unwrap();
        let (mut frames, mut touched) = (Vec::new(), BTreeMap::new());
        for (bucket, changes) in &by_bucket {
            if *changes == BucketChanges::default() {
                continue;
            }
            let old = &self.published.buckets[*bucket as usize];
            let (change, new) = builder.change(old, changes).unwrap();
            frames.push(change);
            touched.insert(*bucket as u32, new);
        }
        let BuiltDelta {
            delta,
            header,
            leaves,
        } = builder.finish(&self.world.sender).unwrap();
        for (placeholder, signed) in placeholders.iter().zip([&delta, &header]) {
            assert_eq!(placeholder.bytes().len(), signed.bytes().len());
            assert_ne!(placeholder, signed);
        }
        Made {
            delta,
            header,
            frames,
            touched,
            leaves,
        }
    }

    /// What a change of `exchanged` tags and `relabelled` labels leaves, drawn from a seed.
    fn changed(&self, exchanged: u64, relabelled: u64, seed: u64) -> Entries {
        let mut order: Vec<_> = self.entries.keys().cloned().collect();
        order.sort_by_key(|tag| Sha256::digest([&seed.to_be_bytes(), &tag[..]].concat()));
        let mut after = self.entries.clone();
        for tag in &order[..exchanged as usize] {
            after.remove(tag);
        }
        for tag in &order[exchanged as usize..][..relabelled as usize] {
            after.get_mut(tag).unwrap()[0] ^= 0x80;
        }
        let (length, label) = (self.preamble().tag_len(), self.preamble().sealed_len());
        for n in 0..exchanged {
            let number = (seed + 1) * 1_000_000 + n;
            assert!(
                after
                    .insert(tag(number, length), sealed(number, label))
                    .is_none()
            );
        }
        after
    }

    fn made(&self) -> Made {
        let relabelled = if self.preamble().sealed_len() == 0 {
            0
        } else {
            16
        };
        self.to(&self.changed(16, relabelled, 1), self.terms(16, relabelled))
    }

    /// Follows a delta as a receiver does.
    fn follow(&self, delta: &Frame, header: &Frame, frames: &[Frame]) -> Result<Followed, Error> {
        let publisher = self.world.sender.verify_key();
        let mut applier = DeltaApplier::new(self.leaves.clone(), delta, header, &publisher, None)?;
        let mut touched = BTreeMap::new();
        for frame in frames {
            let index = applier.touches(frame)?;
            let old = &self.published.buckets[index as usize];
            touched.insert(index, applier.push(frame, old)?);
        }
        let leaves = applier.finish()?;
        Ok((leaves, touched))
    }

    fn refused(&self, made: &Made) -> Option<&'static str> {
        let followed = self.follow(&made.delta, &made.header, &made.frames);
        followed.err().map(|error| {
            assert_eq!(error.fault(), Fault::Peer, "{error}");
            error.code()
        })
    }
}

type Followed = (SnapshotLeaves, BTreeMap<u32, Frame>);

#[derive(Clone)]
struct Made {
    delta: Frame,
    header: Frame,
    frames: Vec<Frame>,
    touched: BTreeMap<u32, Frame>,
    leaves: SnapshotLeaves,
}

impl Made {
    /// The same delta with another statement, signed by its publisher.
    fn saying(&self, key: &SigningKey, change: impl FnOnce(&mut SnapshotDelta)) -> Self {
        let mut said: SnapshotDelta = open_as_named(&self.delta).unwrap();
        change(&mut said);
        Self {
            delta: sign(&said, key).unwrap(),
            ..self.clone()
        }
    }

    /// With another header of the later snapshot, signed by its publisher; `to` follows its root.
    fn leading(&self, key: &SigningKey, change: impl FnOnce(&mut SnapshotHeader)) -> Self {
        let mut said: SnapshotHeader = open_as_named(&self.header).unwrap();
        change(&mut said);
        let made = Self {
            header: sign(&said, key).unwrap(),
            ..self.clone()
        };
        made.saying(key, |delta| delta.to = said.root)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_delta_gives_the_snapshot_that_is_built_from_its_tags(
        seed in 0u64..1000, bits in 0u32..6,
        (label, elements, exchanged, relabelled) in prop::sample::select(vec![
            (0usize, 64u64, 16u64, 0u64), (0, 320, 80, 0), (32, 128, 16, 16), (32, 384, 16, 80), (32, 384, 48, 40),
        ]),
    ) {
        let stage = Stage::new(elements, bits, label);
        let after = stage.changed(exchanged, relabelled, seed);
        let terms = stage.terms(exchanged, relabelled);
        let preamble = SnapshotPreamble {
            salt: terms.salt,
            published_ms: terms.published_ms,
            ..stage.preamble().clone()
        };
        let oracle = whole(&stage.world, preamble, &after);
        let made = stage.to(&after, terms);
        prop_assert_eq!(&made.header, &oracle.header);
        let (leaves, touched) = stage.follow(&made.delta, &made.header, &made.frames).unwrap();
        prop_assert_eq!(leaves.snapshot().digest(), oracle.root);
        prop_assert_eq!(leaves.snapshot().preamble(), &oracle.preamble);
        prop_assert_eq!(&touched, &made.touched);
        for (index, bucket) in oracle.buckets.iter().enumerate() {
            let old = &stage.published.buckets[index];
            let now = touched.get(&(index as u32));
            prop_assert_eq!(now.unwrap_or(old), bucket);
            // What is not in the delta did not change, and what is in it did.
            prop_assert_eq!(now.is_some(), old != bucket);
            prop_assert!(leaves.bucket(bucket).is_ok());
        }
        let oracle = leaves_of(&stage.world, &oracle);
        prop_assert_eq!(&leaves.hashes, &oracle.hashes);
        prop_assert_eq!(&leaves.hashes, &made.leaves.hashes);
    }

    #[test]
    fn no_bytes_make_a_delta_panic(
        index in 0u32..9, counts in prop::array::uniform3(prop_oneof![4 => 0u16..3, 1 => any::<u16>()]),
        rest in prop::collection::vec(any::<u8>(), 0..200), label in prop::sample::select(vec![0usize, 32]),
    ) {
        let stage = Stage::new(128, 3, label);
        let made = stage.made();
        let frame = body(index, counts, &rest);
        let parsed = DeltaBucket::parse(&frame, stage.preamble());
        if let Ok(parsed) = &parsed {
            prop_assert_eq!(parsed.index(), index);
            let again = parsed.changes().encode(index, stage.preamble()).unwrap();
            prop_assert_eq!(&again, &frame, "two forms of one change");
        }
        prop_assert!(stage.follow(&made.delta, &made.header, &[frame]).is_err());
        let raw = Frame::new(Kind::DeltaBucket, &rest).unwrap();
        let _ = DeltaBucket::parse(&raw, stage.preamble());
    }

    #[test]
    fn a_plan_adds_up_and_shows_steps_alone(
        added in 0u64..3000, removed in 0u64..3000, relabelled in 0u64..3000,
        padding in 0u64..4000, elements in 0u64..20_000, labelled in any::<bool>(),
    ) {
        let changes = Changes { added, removed, relabelled: if labelled { relabelled } else { 0 } };
        let Some(plan) = DeltaPlan::new(&changes, padding, elements, labelled) else {
            // A whole snapshot is due for one of these reasons alone.
            let exchanged = padded_size(added.max(removed) + MIN_FAKES);
            let new_labels = if labelled { padded_size(relabelled + MIN_FAKES) } else { 0 };
            let real = elements.checked_sub(padding);
            prop_assert!(
                (exchanged + new_labels) * 4 > elements
                    || exchanged - removed > padding
                    || real.is_none_or(|real| removed + changes.relabelled > real)
            );
            return Ok(());
        };
        prop_assert_eq!(plan.exchanged, added + plan.padding_added);
        prop_assert_eq!(plan.exchanged, removed + plan.padding_removed);
        prop_assert_eq!(plan.relabelled, changes.relabelled + plan.resealed);
        prop_assert!(plan.padding_removed <= padding);
        // No number is all real, also where the true one is a step.
        prop_assert!(plan.padding_added >= MIN_FAKES && plan.padding_removed >= MIN_FAKES);
        prop_assert!(!labelled || plan.resealed >= MIN_FAKES);
        prop_assert!(plan.resealed + plan.exchanged + changes.relabelled <= elements);
        // Real elements and padding after it still fill the snapshot.
        let real = elements - padding + added - removed;
        prop_assert_eq!(real + padding + plan.padding_added - plan.padding_removed, elements);
        prop_assert!((plan.exchanged + plan.relabelled) * 4 <= elements);
        prop_assert_eq!(plan.relabelled > 0, labelled);
        // What is shown is the same for everything up to the step.
        let other = Changes { added: removed, removed: added, ..changes };
        if let Some(other) = DeltaPlan::new(&other, padding, elements, labelled) {
            prop_assert_eq!((other.exchanged, other.relabelled), (plan.exchanged, plan.relabelled));
        }
        let nothing_removed = Changes { removed: 0, ..changes };
        if added >= removed && let Some(other) = DeltaPlan::new(&nothing_removed, padding, elements, labelled) {
            prop_assert_eq!((other.exchanged, other.relabelled), (plan.exchanged, plan.relabelled));
        }
    }
}

#[test]
fn plans_at_the_edges() {
    let plan = |added, removed, relabelled, padding, elements, labelled| {
        let changes = Changes {
            added,
            removed,
            relabelled,
        };
        DeltaPlan::new(&changes, padding, elements, labelled)
            .map(|plan| (plan.exchanged, plan.relabelled))
    };
    // Nothing changed: it looks like eight changes at most.
    assert_eq!(plan(0, 0, 0, 16, 64, false), Some((16, 0)));
    assert_eq!(plan(8, 0, 0, 16, 64, false), Some((16, 0)));
    assert_eq!(plan(0, 8, 0, 8, 64, false), Some((16, 0)));
    assert_eq!(plan(9, 0, 0, 20, 80, false), Some((20, 0)));
    // As many changes as a step has room for show the next one.
    assert_eq!(plan(16, 0, 0, 24, 96, false), Some((24, 0)));
    assert_eq!(plan(0, 16, 0, 8, 96, false), Some((24, 0)));
    assert_eq!(plan(0, 0, 0, 16, 128, true), Some((16, 16)));
    assert_eq!(plan(0, 0, 16, 16, 160, true), Some((16, 24)));
    assert_eq!(plan(3, 5, 17, 20, 200, true), Some((16, 28)));
    // No padding is left, or not enough.
    assert_eq!(plan(0, 0, 0, 15, 64, false), None);
    assert_eq!(plan(0, 8, 0, 7, 64, false), None);
    assert_eq!(plan(9, 4, 0, 15, 80, false), None);
    // Above a quarter.
    assert_eq!(plan(0, 0, 0, 16, 63, false), None);
    assert_eq!(plan(9, 0, 0, 20, 79, false), None);
    assert_eq!(plan(0, 0, 0, 16, 127, true), None);
    // What cannot be.
    assert_eq!(plan(0, 0, 1, 16, 128, false), None);
    assert_eq!(plan(0, 100, 0, 1000, 999, false), None);
    assert_eq!(plan(0, 40, 0, 990, 1000, false), None);
    assert_eq!(plan(u64::MAX, 0, 0, u64::MAX, u64::MAX, false), None);
}

#[test]
fn true_numbers_do_not_show_themselves() {
    let changes = Changes {
        added: 3,
        removed: 5,
        relabelled: 7,
    };
    insta::assert_snapshot!(format!("{changes:?}"), @"Changes(..)");
    let plan = DeltaPlan::new(&changes, 100, 1000, true).unwrap();
    insta::assert_snapshot!(format!("{plan:?}"), @"DeltaPlan { exchanged: 16, relabelled: 16, .. }");
}

#[test]
fn deltas_follow_one_another() {
    let mut stage = Stage::new(256, 4, 32);
    let first = stage.leaves.clone();
    let publisher = stage.world.sender.verify_key();
    let mut after = None;
    for sequence in 1..5u32 {
        let mut terms = stage.terms(16, 16);
        terms.sequence = sequence.into();
        terms.salt = Hex([sequence as u8; 32]);
        let entries = stage.changed(16, 16, sequence.into());
        let made = stage.to(&entries, terms);
        for (wrong, holds) in [
            (sequence - 1, true),
            (sequence, false),
            (sequence + 1, false),
        ] {
            let applier = DeltaApplier::new(
                stage.leaves.clone(),
                &made.delta,
                &made.header,
                &publisher,
                Some(wrong.into()),
            );
            assert_eq!(applier.is_ok(), holds, "{sequence} after {wrong}");
        }
        let mut applier = DeltaApplier::new(
            stage.leaves.clone(),
            &made.delta,
            &made.header,
            &publisher,
            after,
        )
        .unwrap();
        after = Some(applier.statement().sequence);
        for frame in &made.frames {
            let index = applier.touches(frame).unwrap() as usize;
            let new = applier
                .push(frame, &stage.published.buckets[index])
                .unwrap();
            stage.published.buckets[index] = new;
        }
        stage.leaves = applier.finish().unwrap();
        stage.published.header = made.header;
        stage.entries = entries;
        // It verifies as a snapshot like any other.
        let verified = leaves_of(&stage.world, &stage.published);
        assert_eq!(
            verified.snapshot().digest(),
            stage.leaves.snapshot().digest()
        );
    }
    assert_ne!(first.snapshot().digest(), stage.leaves.snapshot().digest());
}

#[test]
fn every_flipped_byte_of_a_delta_is_found() {
    let stage = Stage::new(128, 2, 32);
    let made = stage.made();
    assert_eq!(stage.refused(&made), None);
    let frames: Vec<Frame> = [&made.delta, &made.header]
        .into_iter()
        .chain(&made.frames)
        .cloned()
        .collect();
    for (i, frame) in frames.iter().enumerate() {
        for position in 0..frame.bytes().len() {
            let mut bytes = frame.bytes().to_vec();
            bytes[position] ^= 1 << (position % 8);
            let Ok(changed) = Frame::from_bytes(bytes) else {
                continue;
            };
            let mut frames = frames.clone();
            frames[i] = changed;
            let refused = stage.follow(&frames[0], &frames[1], &frames[2..]).err();
            assert_eq!(
                refused.map(|e| e.fault()),
                Some(Fault::Peer),
                "frame {i}, byte {position}"
            );
        }
    }
}

#[test]
fn missing_doubled_swapped_and_foreign_frames_are_found() {
    let stage = Stage::new(128, 2, 32);
    let made = stage.made();
    assert_eq!(made.frames.len(), 4);
    let with = |frames: Vec<Frame>| {
        stage.refused(&Made {
            frames,
            ..made.clone()
        })
    };
    for i in 0..4 {
        let mut dropped = made.frames.clone();
        dropped.remove(i);
        assert_eq!(with(dropped), Some("mismatch"), "{i} dropped");
        let mut doubled = made.frames.clone();
        doubled.insert(i, made.frames[i].clone());
        assert_eq!(with(doubled), Some("mismatch"), "{i} doubled");
        let mut swapped = made.frames.clone();
        swapped.swap(i, (i + 1) % 4);
        assert_eq!(with(swapped), Some("mismatch"), "{i} swapped");
        let mut bucket = made.frames.clone();
        bucket[i] = stage.published.buckets[i].clone();
        assert_eq!(
            with(bucket),
            Some("out-of-order"),
            "{i} is a bucket of a snapshot"
        );
        for cut in [1, 2, 40, made.frames[i].body().len() - 1] {
            let mut truncated = made.frames.clone();
            let body = made.frames[i].body();
            truncated[i] = Frame::new(Kind::DeltaBucket, &body[..body.len() - cut]).unwrap();
            assert_eq!(with(truncated), Some("malformed"), "{i} cut by {cut}");
        }
    }
    assert_eq!(with(vec![]), Some("mismatch"));
    // A whole frame of another delta from the same snapshot.
    let other = stage.to(&stage.changed(16, 16, 2), stage.terms(16, 16));
    for i in 0..4 {
        let mut foreign = made.frames.clone();
        foreign[i] = other.frames[i].clone();
        assert_eq!(with(foreign), Some("mismatch"), "{i} is another delta's");
    }
    assert_eq!(with(other.frames), Some("mismatch"));
    let swapped = stage.follow(&made.header, &made.delta, &made.frames);
    assert_eq!(swapped.unwrap_err().code(), "out-of-order");
}

#[test]
fn a_delta_of_another_publisher_base_epoch_or_collection_is_refused() {
    let stage = Stage::new(128, 2, 32);
    let (made, sender) = (stage.made(), &stage.world.sender);
    let publisher = sender.verify_key();
    let leaves = || stage.leaves.clone();

    let stranger = stage.world.receiver.verify_key();
    let refused = DeltaApplier::new(leaves(), &made.delta, &made.header, &stranger, None);
    assert_eq!(refused.unwrap_err().code(), "bad-signature");

    // Onto what it itself leads to, and onto a snapshot of other tags.
    let again = DeltaApplier::new(
        made.leaves.clone(),
        &made.delta,
        &made.header,
        &publisher,
        None,
    );
    let from = Error::Mismatch {
        what: "snapshot delta",
        field: "from",
    };
    assert_eq!(again.unwrap_err(), from);
    let mut entries = stage.entries.clone();
    entries.pop_first();
    entries.insert(
        tag(9999, stage.preamble().tag_len()),
        sealed(9999, stage.preamble().sealed_len()),
    );
    let other = leaves_of(
        &stage.world,
        &whole(&stage.world, stage.preamble().clone(), &entries),
    );
    let refused = DeltaApplier::new(other, &made.delta, &made.header, &publisher, None);
    assert_eq!(refused.unwrap_err(), from);

    let field = |made: &Made| match stage.follow(&made.delta, &made.header, &made.frames) {
        Err(Error::Mismatch { field, .. }) => field,
        other => panic!("{:?}", other.map(|_| ())),
    };
    assert_eq!(field(&made.saying(sender, |d| d.epoch = int(4))), "epoch");
    assert_eq!(
        field(&made.saying(sender, |d| d.collection = name("others"))),
        "collection"
    );
    assert_eq!(
        field(&made.saying(sender, |d| d.from = Hex([7; 32]))),
        "from"
    );
    assert_eq!(field(&made.saying(sender, |d| d.to = Hex([7; 32]))), "to");
    assert_eq!(
        field(&made.saying(sender, |d| d.elements = int(129))),
        "elements"
    );
    assert_eq!(
        field(&made.saying(sender, |d| d.sender.agency = name("somebody"))),
        "sender"
    );
    assert_eq!(
        field(&made.saying(sender, |d| d.mode = crate::statements::Mode::Count)),
        "mode"
    );
    assert_eq!(
        field(&made.saying(sender, |d| d.published_ms = int(NOW))),
        "published_ms"
    );
    // The later snapshot must be of the same form; its salt must be another, its time later.
    let root = made.leading(sender, |h| h.root = Hex([7; 32]));
    assert_eq!(field(&root), "root");
    type Change = fn(&mut SnapshotPreamble);
    let changes: [(&str, Change); 8] = [
        ("preamble", |p| p.elements = int(129)),
        ("preamble", |p| p.bucket_bits = int(1)),
        ("preamble", |p| p.tag_bytes = int(p.tag_bytes.get() + 1)),
        ("preamble", |p| p.epoch = int(4)),
        ("preamble", |p| p.label_bytes = int(64)),
        ("preamble", |p| p.label_columns.push(line("more"))),
        ("preamble", |p| p.keys[0].public_key = Hex([7; 32])),
        ("salt", |p| p.salt = Hex([0x55; 32])),
    ];
    for (i, (says, change)) in changes.into_iter().enumerate() {
        let made = made.leading(sender, |h| change(&mut h.preamble));
        assert_eq!(field(&made), says, "change {i}");
    }
    let before = made.leading(sender, |h| h.preamble.published_ms = int(NOW - 1000));
    let before = before.saying(sender, |d| d.published_ms = int(NOW - 1000));
    assert_eq!(field(&before), "published_ms");
    // Salt alone: sound in itself, but the root is over the other.
    let salted = made.leading(sender, |h| h.preamble.salt = Hex([0x57; 32]));
    assert_eq!(field(&salted), "root");
}

#[test]
fn counts_that_disagree_are_found() {
    let stage = Stage::new(512, 2, 32);
    let made = stage.to(&stage.changed(20, 24, 1), stage.terms(20, 24));
    assert_eq!(stage.refused(&made), None);
    let field = |change: fn(&mut SnapshotDelta)| {
        let made = made.saying(&stage.world.sender, change);
        match stage.follow(&made.delta, &made.header, &made.frames) {
            Err(Error::Mismatch { field, .. }) => field,
            other => panic!("{:?}", other.map(|_| ())),
        }
    };
    // More is found when it comes, less at the end.
    for more in [16, 24] {
        let set: [fn(&mut SnapshotDelta); 2] = [
            |d| (d.added, d.removed) = (int(16), int(16)),
            |d| (d.added, d.removed) = (int(24), int(24)),
        ];
        assert_eq!(field(set[usize::from(more == 24)]), "removed", "{more}");
    }
    assert_eq!(field(|d| d.relabelled = int(20)), "relabelled");
    assert_eq!(field(|d| d.relabelled = int(28)), "relabelled");
    assert_eq!(field(|d| d.relabelled = int(0)), "relabelled");
}

#[test]
fn numbers_that_are_no_public_steps_are_not_signed_and_not_taken() {
    let stage = Stage::new(512, 2, 32);
    let made = stage.made();
    let said: SnapshotDelta = open_as_named(&made.delta).unwrap();
    assert_eq!(said.check(), Ok(()));
    let changes: [fn(&mut SnapshotDelta); 11] = [
        |d| (d.added, d.removed) = (int(17), int(17)),
        |d| (d.added, d.removed) = (int(0), int(0)),
        |d| (d.added, d.removed) = (int(1), int(1)),
        |d| d.removed = int(20),
        |d| d.added = int(20),
        |d| d.relabelled = int(17),
        |d| d.relabelled = int(1),
        |d| d.sequence = int(0),
        |d| d.to = d.from,
        |d| d.elements = int(127),
        |d| (d.added, d.removed) = (Int::new(7 << 50).unwrap(), Int::new(7 << 50).unwrap()),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let mut bad = said.clone();
        change(&mut bad);
        assert!(bad.check().is_err(), "change {i}");
        assert_eq!(
            sign(&bad, &stage.world.sender).unwrap_err().code(),
            "usage",
            "change {i}"
        );
    }
    let mut largest = said.clone();
    (largest.added, largest.removed, largest.relabelled) = (int(112), int(112), int(16));
    assert_eq!(largest.check(), Ok(()));
    largest.relabelled = int(20);
    assert!(largest.check().is_err());
}

/// A frame of a delta with any counts.
fn body(index: u32, [removed, added, relabelled]: [u16; 3], rest: &[u8]) -> Frame {
    let counts = [removed, added, relabelled].map(u16::to_be_bytes).concat();
    let body = [&index.to_be_bytes()[..], &counts, rest].concat();
    Frame::new(Kind::DeltaBucket, &body).unwrap()
}

#[test]
fn changes_that_no_builder_writes_are_refused() {
    let stage = Stage::new(128, 1, 32);
    let made = stage.made();
    let (length, label) = (stage.preamble().tag_len(), stage.preamble().sealed_len());
    let publisher = stage.world.sender.verify_key();
    let push =
        |index: u32, removed: &[&[u8]], added: &[(&[u8], u8)], relabelled: &[(&[u8], &[u8])]| {
            let mut applier = DeltaApplier::new(
                stage.leaves.clone(),
                &made.delta,
                &made.header,
                &publisher,
                None,
            )
            .unwrap();
            let counts = [removed.len(), added.len(), relabelled.len()].map(|n| n as u16);
            let tags = [
                removed.concat(),
                added.iter().flat_map(|(tag, _)| tag.to_vec()).collect(),
                relabelled
                    .iter()
                    .flat_map(|(tag, _)| tag.to_vec())
                    .collect(),
                added
                    .iter()
                    .flat_map(|(_, byte)| vec![*byte; label])
                    .collect(),
                relabelled
                    .iter()
                    .flat_map(|(_, sealed)| sealed.to_vec())
                    .collect(),
            ];
            let frame = body(index, counts, &tags.concat());
            let old = &stage.published.buckets[index.min(1) as usize];
            match applier.push(&frame, old) {
                Ok(_) => "",
                Err(Error::Malformed {
                    what: "delta bucket",
                    why,
                }) => why,
                Err(Error::Mismatch { field, .. }) => field,
                Err(other) => panic!("{other}"),
            }
        };
    let held: Vec<&[u8]> = stage
        .entries
        .keys()
        .map(Vec::as_slice)
        .filter(|tag| tag[0] < 0x80)
        .collect();
    let there = |tag: &[u8]| stage.entries.contains_key(tag);
    let free: BTreeSet<Vec<u8>> = (1000..1400)
        .map(|n| tag(n, length))
        .filter(|tag| tag[0] < 0x80 && !there(tag))
        .collect();
    let free: Vec<&[u8]> = free.iter().map(Vec::as_slice).collect();
    let high: Vec<u8> = vec![0x80; length];
    let other = vec![3u8; label];
    let was: &[u8] = &stage.entries[held[2]];

    assert_eq!(
        push(
            0,
            &held[..2],
            &[(free[0], 1), (free[1], 1)],
            &[(held[2], &other)]
        ),
        ""
    );
    let cases: Vec<(&str, &str)> = vec![
        (
            "a tag goes that is not there",
            push(0, &[free[0]], &[], &[]),
        ),
        (
            "a tag goes that is not there",
            push(0, &[held[0], free[0].max(held[0]).max(free[20])], &[], &[]),
        ),
        (
            "a tag comes that is there",
            push(0, &[], &[(held[0], 1)], &[]),
        ),
        (
            "a tag comes that is there",
            push(0, &[held[0]], &[(held[0], 1)], &[]),
        ),
        (
            "a tag is relabelled that is not there, or goes",
            push(0, &[], &[], &[(free[0], &other)]),
        ),
        (
            "a tag is relabelled that is not there, or goes",
            push(0, &[held[2]], &[], &[(held[2], &other)]),
        ),
        (
            "a tag is relabelled that is not there, or goes",
            push(0, &[], &[(free[0], 1)], &[(free[0], &other)]),
        ),
        (
            "a label changes to what it was",
            push(0, &[], &[], &[(held[2], was)]),
        ),
        ("it changes nothing", push(0, &[], &[], &[])),
        ("tags do not ascend", push(0, &[held[1], held[0]], &[], &[])),
        ("tags do not ascend", push(0, &[held[0], held[0]], &[], &[])),
        (
            "tags do not ascend",
            push(0, &[], &[(free[1], 1), (free[0], 1)], &[]),
        ),
        (
            "tags do not ascend",
            push(0, &[], &[(free[0], 1), (free[0], 1)], &[]),
        ),
        (
            "tags do not ascend",
            push(0, &[], &[], &[(held[3], &other), (held[2], &other)]),
        ),
        (
            "tags do not ascend",
            push(0, &[], &[], &[(held[2], &other), (held[2], &other)]),
        ),
        (
            "a tag stands in another bucket's place",
            push(0, &[&high], &[], &[]),
        ),
        (
            "a tag stands in another bucket's place",
            push(0, &[], &[(&high, 1)], &[]),
        ),
        (
            "a tag stands in another bucket's place",
            push(0, &[], &[], &[(&high, &other)]),
        ),
        (
            "a tag stands in another bucket's place",
            push(1, &held[..1], &[], &[]),
        ),
        ("index", push(2, &[], &[], &[])),
    ];
    for (i, (want, got)) in cases.into_iter().enumerate() {
        // A frame of a bucket that does not exist is refused for its tags or for its number.
        let got = if want == "index" && got == "it changes nothing" {
            want
        } else {
            got
        };
        assert_eq!(got, want, "case {i}");
    }
    // Past the last bucket.
    let past = vec![0xffu8; length];
    let mut bits0 = stage.preamble().clone();
    bits0.bucket_bits = int(8);
    let frame = body(255, [1, 0, 0], &past);
    assert!(DeltaBucket::parse(&frame, &bits0).is_ok());
    let applier = DeltaApplier::new(
        stage.leaves.clone(),
        &made.delta,
        &made.header,
        &publisher,
        None,
    )
    .unwrap();
    assert_eq!(applier.touches(&frame).unwrap_err().code(), "malformed");
}

#[test]
fn more_changes_than_a_bucket_has_tags_are_refused() {
    let stage = Stage::new(64, 0, 0);
    let length = stage.preamble().tag_len();
    let tags: BTreeSet<Vec<u8>> = (5000..6100).map(|n| tag(n, length)).collect();
    let frame = |n: usize| {
        let tags: Vec<u8> = tags.iter().take(n).flatten().copied().collect();
        body(0, [0, n as u16, 0], &tags)
    };
    assert!(DeltaBucket::parse(&frame(1024), stage.preamble()).is_ok());
    assert!(DeltaBucket::parse(&frame(1025), stage.preamble()).is_err());
    // 64 stand there already.
    let (made, publisher) = (stage.made(), stage.world.sender.verify_key());
    let mut applier = DeltaApplier::new(
        stage.leaves.clone(),
        &made.delta,
        &made.header,
        &publisher,
        None,
    )
    .unwrap();
    let refused = applier
        .push(&frame(961), &stage.published.buckets[0])
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "malformed delta bucket: more tags in a bucket than tags spread evenly can be"
    );
    let refused = applier
        .push(&frame(960), &stage.published.buckets[0])
        .unwrap_err();
    assert_eq!(
        refused,
        Error::Mismatch {
            what: "delta bucket",
            field: "added"
        }
    );
    // A label in a collection without labels.
    let relabelled = body(0, [0, 0, 1], stage.entries.first_key_value().unwrap().0);
    assert_eq!(
        DeltaBucket::parse(&relabelled, stage.preamble())
            .unwrap_err()
            .code(),
        "malformed"
    );
}

#[test]
fn a_damaged_copy_of_the_earlier_snapshot_is_the_readers_own_fault() {
    let stage = Stage::new(128, 2, 32);
    let (made, publisher) = (stage.made(), stage.world.sender.verify_key());
    let mut applier = DeltaApplier::new(
        stage.leaves.clone(),
        &made.delta,
        &made.header,
        &publisher,
        None,
    )
    .unwrap();
    let old = &stage.published.buckets[0];
    let mut changed = old.body().to_vec();
    *changed.last_mut().unwrap() ^= 1;
    let changed = Frame::new(Kind::SnapshotBucket, &changed).unwrap();
    for wrong in [
        &changed,
        &stage.published.buckets[1],
        &stage.published.header,
    ] {
        let error = applier.push(&made.frames[0], wrong).unwrap_err();
        assert_eq!(error.fault(), Fault::Caller);
    }
    // It goes on with the right one.
    applier.push(&made.frames[0], old).unwrap();
}

#[test]
fn a_bucket_is_told_by_its_leaf() {
    let stage = Stage::new(128, 3, 0);
    for (i, bucket) in stage.published.buckets.iter().enumerate() {
        assert_eq!(stage.leaves.bucket(bucket).unwrap().index(), i as u32);
        let mut changed = bucket.body().to_vec();
        *changed.last_mut().unwrap() ^= 1;
        let changed = Frame::new(Kind::SnapshotBucket, &changed).unwrap();
        assert!(stage.leaves.bucket(&changed).is_err());
    }
    // A bucket that the snapshot has not.
    let mut past = stage.published.buckets[7].body().to_vec();
    past[3] = 8;
    let past = Frame::new(Kind::SnapshotBucket, &past[..8]).unwrap();
    assert!(stage.leaves.bucket(&past).is_err());
}

/// Until when a register is complete moves with each delta, and never back; its states do not.
#[test]
fn a_delta_of_a_register_moves_the_day_it_is_complete_for() {
    let covering = |states: &[&str], complete| Coverage {
        states: states.iter().map(|state| line(state)).collect(),
        complete_ms: int(complete),
    };
    let was = covering(&["UTO"], 1000);
    let stage = Stage::of(128, 2, 0, Some(was.clone()));
    let with = |covers: Option<Coverage>| {
        let mut terms = stage.terms(16, 0);
        terms.covers = covers;
        terms
    };
    for covers in [was.clone(), covering(&["UTO"], 2000)] {
        let made = stage.to(&stage.changed(16, 0, 1), with(Some(covers.clone())));
        let (leaves, _) = stage
            .follow(&made.delta, &made.header, &made.frames)
            .unwrap();
        assert_eq!(leaves.snapshot().preamble().covers, Some(covers));
    }
    for covers in [
        None,
        Some(covering(&["UTO"], 999)),
        Some(covering(&["UTO", "XXA"], 2000)),
    ] {
        assert!(DeltaBuilder::new(stage.leaves.clone(), with(covers.clone())).is_err());
        // A publisher that writes one all the same is not followed.
        let made = stage.made();
        let mut preamble = made.leaves.snapshot().preamble().clone();
        preamble.kind = covers.as_ref().and(preamble.kind);
        preamble.covers = covers;
        let header = whole(&stage.world, preamble, &stage.changed(16, 0, 1));
        let delta = made
            .saying(&stage.world.sender, |d| d.to = header.root)
            .delta;
        let refused = stage.follow(&delta, &header.header, &made.frames);
        let field = |error| match error {
            Error::Mismatch { field, .. } => field,
            other => panic!("{other}"),
        };
        let field = field(refused.map(|_| ()).unwrap_err());
        assert!(["covers", "preamble"].contains(&field), "{field}");
    }
}

#[test]
fn a_builder_refuses_what_would_not_be_followed() {
    let stage = Stage::new(128, 2, 32);
    let start = |change: fn(&mut DeltaTerms)| {
        let mut terms = stage.terms(16, 16);
        change(&mut terms);
        DeltaBuilder::new(stage.leaves.clone(), terms).map_err(|e| e.code())
    };
    assert!(start(|_| {}).is_ok());
    let wrong: [fn(&mut DeltaTerms); 7] = [
        |t| t.published_ms = int(NOW - 1000),
        |t| t.salt = Hex([0x55; 32]),
        |t| t.sequence = int(0),
        |t| t.plan.exchanged = 17,
        |t| t.plan.exchanged = 20,
        |t| t.plan.relabelled = 1,
        |t| t.plan.exchanged = 1 << 60,
    ];
    for (i, change) in wrong.into_iter().enumerate() {
        assert!(start(change).is_err(), "change {i}");
    }
    let unlabelled = Stage::new(128, 2, 0);
    assert!(DeltaBuilder::new(unlabelled.leaves.clone(), unlabelled.terms(16, 16)).is_err());

    let mut builder = start(|_| {}).unwrap();
    let buckets = &stage.published.buckets;
    let first = |bucket: usize| {
        let tag = stage
            .entries
            .keys()
            .find(|tag| usize::from(tag[0] >> 6) == bucket)
            .unwrap();
        BucketChanges {
            removed: vec![tag],
            ..Default::default()
        }
    };
    assert_eq!(
        builder.change(&buckets[1], &first(0)).unwrap_err().code(),
        "usage"
    );
    assert_eq!(
        builder
            .change(&buckets[1], &BucketChanges::default())
            .unwrap_err()
            .code(),
        "usage"
    );
    let (_, later) = builder.change(&buckets[1], &first(1)).unwrap();
    // Each bucket once, and none before it.
    assert_eq!(
        builder.change(&buckets[1], &first(1)).unwrap_err().code(),
        "usage"
    );
    assert_eq!(
        builder.change(&buckets[0], &first(0)).unwrap_err().code(),
        "usage"
    );
    let short = [1, 2, 3];
    let wrong = BucketChanges {
        added: vec![Entry {
            tag: &short,
            sealed: &[],
        }],
        ..Default::default()
    };
    assert_eq!(
        builder.change(&buckets[2], &wrong).unwrap_err().code(),
        "usage"
    );
    assert_eq!(
        builder.finish(&stage.world.sender).unwrap_err().code(),
        "usage"
    );
    // A bucket of the later snapshot in the place of one of the earlier.
    let mut builder = start(|_| {}).unwrap();
    assert_eq!(
        builder.change(&later, &first(1)).unwrap_err().code(),
        "mismatch"
    );
}
