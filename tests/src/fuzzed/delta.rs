//! Deltas: any changes of a bucket, well signed, beside a plain model; and deltas that were changed on
//! their way or said otherwise by their publisher.

use std::{collections::BTreeMap, sync::OnceLock};

use tallystick_protocol::{
    frame::{Frame, Kind},
    snapshot::{
        Bucket, BucketChanges, Changes, DeltaApplier, DeltaBucket, DeltaBuilder, DeltaPlan,
        DeltaTerms, Entry, SnapshotLeaves, SnapshotVerifier, bucket_of,
    },
    statements::{Hex, SnapshotDelta, SnapshotHeader, SnapshotPreamble, open_as_named},
};

use super::{
    input::{Input, edited},
    world::{Published, built, int, payload_of, world},
};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Tags of the snapshot that is changed, and bits of its buckets.
const TAGS: usize = 128;
const BITS: u64 = 3;
/// Bytes of a tag.
const TAG: usize = 7;

/// A snapshot that deltas lead from.
struct Base {
    entries: Entries,
    published: Published,
    leaves: SnapshotLeaves,
}

/// The n-th tag; past [`TAGS`] it is none of the snapshot's.
fn tag(n: usize) -> Vec<u8> {
    let mut tag = vec![(n * 37 % 256) as u8; TAG];
    tag[1..3].copy_from_slice(&(n as u16).to_be_bytes());
    tag
}

/// One snapshot without labels and one with.
fn base(labelled: bool) -> &'static Base {
    static BASES: [OnceLock<Base>; 2] = [OnceLock::new(), OnceLock::new()];
    BASES[usize::from(labelled)].get_or_init(|| {
        let mut preamble = world().snapshot.preamble.clone();
        preamble.elements = int(TAGS as u64);
        preamble.tag_bytes = int(TAG as u64);
        preamble.bucket_bits = int(BITS);
        if !labelled {
            preamble.label_bytes = int(0);
            preamble.label_columns.clear();
        }
        let sealed = preamble.sealed_len();
        let entries: Entries = (0..TAGS).map(|n| (tag(n), vec![n as u8; sealed])).collect();
        let list: Vec<_> = entries.clone().into_iter().collect();
        let published = built(preamble, &list, &world().sender);
        let publisher = world().sender.key.verify_key();
        let mut verifier = SnapshotVerifier::new(&published.header, &publisher).unwrap();
        published
            .buckets
            .iter()
            .for_each(|b| verifier.push(b).unwrap());
        Base {
            entries,
            published,
            leaves: verifier.finish_with_leaves().unwrap(),
        }
    })
}

/// The preamble of what a delta leads to.
fn later(base: &Base) -> SnapshotPreamble {
    SnapshotPreamble {
        salt: Hex([0x56; 32]),
        published_ms: int(base.published.preamble.published_ms.get() + 1),
        ..base.published.preamble.clone()
    }
}

/// A delta in frames: both headers and the buckets.
struct Delta {
    headers: [Frame; 2],
    buckets: Vec<Frame>,
}

impl Base {
    fn labelled(&self) -> bool {
        self.published.preamble.sealed_len() > 0
    }

    /// Entries after decided changes: sixteen tags go and come, sixteen labels change.
    fn changed(&self, input: &mut Input<'_>) -> Entries {
        let (first, step) = (input.below(TAGS), 2 * input.below(TAGS / 2) + 1);
        let chosen: Vec<Vec<u8>> = (0..32).map(|n| tag((first + n * step) % TAGS)).collect();
        let fresh = TAGS + input.below(1000);
        let mut after = self.entries.clone();
        for (n, gone) in chosen[..16].iter().enumerate() {
            let label = vec![input.u8(); self.published.preamble.sealed_len()];
            after.remove(gone);
            after.insert(tag(fresh + n), label);
        }
        for kept in &chosen[16..] {
            if let Some(first) = after.get_mut(kept).and_then(|sealed| sealed.first_mut()) {
                *first ^= 1 + (input.u8() >> 1);
            }
        }
        after
    }

    /// The delta to other entries; nothing else than [`DeltaBuilder`] makes it.
    fn delta(&self, after: &Entries) -> Delta {
        let changes = Changes {
            added: 8,
            removed: 8,
            relabelled: if self.labelled() { 8 } else { 0 },
        };
        let later = later(self);
        let terms = DeltaTerms {
            plan: DeltaPlan::new(&changes, 8, TAGS as u64, self.labelled()).unwrap(),
            sequence: int(1),
            salt: later.salt,
            published_ms: later.published_ms,
            covers: None,
        };
        let mut builder = DeltaBuilder::new(self.leaves.clone(), terms).unwrap();
        let mut buckets = Vec::new();
        for (index, old) in self.published.buckets.iter().enumerate() {
            let here = |tag: &[u8]| bucket_of(tag, BITS) == index as u64;
            let mut changes = BucketChanges::default();
            let gone = self
                .entries
                .keys()
                .filter(|tag| here(tag) && !after.contains_key(*tag));
            changes.removed.extend(gone.map(Vec::as_slice));
            for (tag, sealed) in after.iter().filter(|(tag, _)| here(tag)) {
                match self.entries.get(tag) {
                    None => changes.added.push(Entry { tag, sealed }),
                    Some(was) if was != sealed => changes.relabelled.push(Entry { tag, sealed }),
                    Some(_) => {}
                }
            }
            if changes != BucketChanges::default() {
                buckets.push(builder.change(old, &changes).unwrap().0);
            }
        }
        let built = builder.finish(&world().sender.key).unwrap();
        Delta {
            headers: [built.delta, built.header],
            buckets,
        }
    }

    /// Follows a delta; what it leads to, if it is taken.
    fn follow(
        &self,
        [delta, header]: &[Frame; 2],
        buckets: &[Frame],
    ) -> Option<(SnapshotLeaves, Vec<Frame>)> {
        let publisher = world().sender.key.verify_key();
        let mut applier =
            DeltaApplier::new(self.leaves.clone(), delta, header, &publisher, None).ok()?;
        let mut after = self.published.buckets.clone();
        for frame in buckets {
            let index = applier.touches(frame).ok()? as usize;
            after[index] = applier.push(frame, &self.published.buckets[index]).ok()?;
        }
        Some((applier.finish().ok()?, after))
    }
}

/// Any bytes as a bucket of a delta: what is taken is what sets and maps say.
fn bucket(base: &Base, body: &[u8]) {
    let Ok(frame) = Frame::new(Kind::DeltaBucket, body) else {
        return;
    };
    let delta = base.delta(&base.changed(&mut Input::new(&[])));
    let publisher = world().sender.key.verify_key();
    let [said, header] = &delta.headers;
    let mut applier =
        DeltaApplier::new(base.leaves.clone(), said, header, &publisher, None).unwrap();
    let preamble = &base.published.preamble;
    let parsed = DeltaBucket::parse(&frame, preamble);
    let touches = applier.touches(&frame);
    assert_eq!(
        touches.is_ok(),
        parsed.as_ref().is_ok_and(|b| b.index() < 1 << BITS)
    );
    let (Ok(parsed), Ok(index)) = (parsed, touches) else {
        return;
    };
    let old = &base.published.buckets[index as usize];
    let pushed = applier.push(&frame, old);

    let BucketChanges {
        removed,
        added,
        relabelled,
    } = parsed.changes();
    let mut model = base.entries.clone();
    let mut fits = added.iter().all(|entry| !model.contains_key(entry.tag));
    for tag in removed {
        fits &= model.remove(*tag).is_some();
    }
    for entry in relabelled {
        let was = model.insert(entry.tag.to_vec(), entry.sealed.to_vec());
        fits &= was.is_some_and(|was| was != entry.sealed);
    }
    for entry in added {
        model.insert(entry.tag.to_vec(), entry.sealed.to_vec());
    }
    fits &= removed.len() <= 16 && added.len() <= 16 && relabelled.len() <= 16;
    assert_eq!(pushed.is_ok(), fits);
    let Ok(after) = pushed else {
        return;
    };
    let after = Bucket::parse(&after, preamble).unwrap();
    let in_bucket = |tag: &[u8]| bucket_of(tag, BITS) == u64::from(index);
    let want: Vec<_> = model.iter().filter(|(tag, _)| in_bucket(tag)).collect();
    assert_eq!(after.len(), want.len());
    for (position, (tag, (want, sealed))) in after.tags().zip(want).enumerate() {
        assert_eq!(tag, want);
        assert_eq!(after.sealed_label(position), Some(&sealed[..]));
    }
}

/// A delta of decided changes, and the same with a change.
fn stream(base: &Base, input: &mut Input<'_>) {
    let after = base.changed(input);
    let delta = base.delta(&after);
    let (leaves, buckets) = base
        .follow(&delta.headers, &delta.buckets)
        .expect("a delta that was built is refused");
    let list: Vec<_> = after.into_iter().collect();
    let whole = built(later(base), &list, &world().sender);
    assert_eq!(leaves.snapshot().digest(), whole.root);
    assert!(
        buckets == whole.buckets,
        "another snapshot than that of the same tags"
    );

    let mut changed = delta.buckets.clone();
    let (at, other) = (input.below(changed.len()), input.below(changed.len()));
    match input.below(4) {
        0 => changed.swap(at, other),
        1 => {
            changed.remove(at);
        }
        2 => changed.insert(at, delta.buckets[other].clone()),
        _ => {
            let body = edited(delta.buckets[at].body(), input);
            if let Ok(frame) = Frame::new(Kind::DeltaBucket, &body) {
                changed[at] = frame;
            }
        }
    }
    let taken = base.follow(&delta.headers, &changed).is_some();
    assert_eq!(taken, changed == delta.buckets, "a changed delta is taken");

    // Headers that were changed, and such as their publisher would sign.
    let [said, header] = &delta.headers;
    let forged = Frame::new(Kind::SnapshotDelta, &edited(said.body(), input));
    if let Ok(forged) = forged {
        let same = forged == *said;
        assert_eq!(
            base.follow(&[forged, header.clone()], &delta.buckets)
                .is_some(),
            same
        );
    }
    let by = &world().sender;
    let resigned = by.statement::<SnapshotDelta>(&edited(&payload_of(said), input));
    if let Some(resigned) = resigned
        && base
            .follow(&[resigned.clone(), header.clone()], &delta.buckets)
            .is_some()
    {
        // Its place in a chain is all that may be said otherwise.
        let mut claims: SnapshotDelta = open_as_named(&resigned).unwrap();
        let truth: SnapshotDelta = open_as_named(said).unwrap();
        assert!(claims.sequence.get() > 0);
        claims.sequence = truth.sequence;
        assert_eq!(claims, truth);
    }
    let resigned = by.statement::<SnapshotHeader>(&edited(&payload_of(header), input));
    if let Some(resigned) = resigned {
        let same = resigned == *header;
        let taken = base.follow(&[said.clone(), resigned], &delta.buckets);
        assert_eq!(taken.is_some(), same);
    }
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let base = base(input.below(2) == 1);
    match input.below(2) {
        0 => bucket(base, input.rest()),
        _ => stream(base, &mut input),
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let bodies = [false, true].map(|labelled| {
        let base = base(labelled);
        let delta = base.delta(&base.changed(&mut Input::new(&[3, 5, 7])));
        [&[u8::from(labelled), 0], delta.buckets[1].body()].concat()
    });
    let stream = |labelled: u8, rest: &[u8]| {
        let labels = [9; 32];
        [&[labelled, 1, 3, 5, 1, 7], &labels[..], rest].concat()
    };
    let more = [
        stream(0, &[1, 2, 0]),
        stream(1, &[1, 2, 1]),
        stream(1, &[1, 2, 2]),
        stream(0, &[1, 0, 3, 0, 0, 9, 0, 1]),
        stream(
            1,
            &[
                1, 0, 3, 0, 0, 60, 1, 7, 0, 0, 90, 1, 65, 0, 1, 40, 1, 50, 0, 2, 44, 1, 51,
            ],
        ),
    ];
    bodies.into_iter().chain(more).collect()
}
