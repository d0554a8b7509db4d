//! Snapshots: headers with any sizes, any bucket, and streams that were changed on their way.

use tallystick_protocol::{
    frame::{Frame, Kind},
    snapshot::{Bucket, SnapshotVerifier, bucket_of},
    statements::{Int, SnapshotHeader, SnapshotPreamble, open_as_named},
};

use super::{
    input::{Input, edited},
    world::{Published, built, int, payload_of, world},
};

/// A preamble with decided sizes. They may break the rules of the statement.
fn preamble(input: &mut Input<'_>) -> SnapshotPreamble {
    let mut preamble = world().snapshot.preamble.clone();
    preamble.tag_bytes = int(input.below(34) as u64);
    preamble.bucket_bits = int(input.one_of(&[0, 1, 2, 3, 5, 8, 31, 32, 33, 63, 64, 255]));
    preamble.label_bytes = int(input.one_of(&[0, 1, 2, 16, 32, 4096, 4097]));
    if preamble.label_bytes == Int::default() {
        preamble.label_columns.clear();
    }
    preamble
}

/// Any bytes as a bucket, under a header that was taken.
fn bucket(preamble: &SnapshotPreamble, body: &[u8]) {
    let header = SnapshotHeader {
        preamble: preamble.clone(),
        root: world().snapshot.root,
    };
    let payload = serde_json::to_vec(&header).unwrap();
    let Some(header) = world().sender.statement::<SnapshotHeader>(&payload) else {
        return;
    };
    let publisher = world().sender.key.verify_key();
    let Ok(mut verifier) = SnapshotVerifier::new(&header, &publisher) else {
        return;
    };
    let Ok(frame) = Frame::new(Kind::SnapshotBucket, body) else {
        return;
    };
    let parsed = Bucket::parse(&frame, preamble);
    let pushed = verifier.push(&frame).is_ok();
    let Ok(bucket) = parsed else {
        assert!(!pushed);
        return;
    };
    assert_eq!(pushed, bucket.index() == 0, "buckets come in order");
    let tags: Vec<&[u8]> = bucket.tags().collect();
    assert_eq!(tags.len(), bucket.len());
    assert_eq!(bucket.is_empty(), tags.is_empty());
    assert!(tags.is_sorted_by(|a, b| a < b));
    let mut sealed = 0;
    for (position, tag) in tags.iter().enumerate() {
        assert_eq!(tag.len(), preamble.tag_len());
        assert_eq!(
            bucket_of(tag, preamble.bucket_bits.get()),
            u64::from(bucket.index())
        );
        assert_eq!(bucket.find(tag), Some(position));
        let label = bucket.sealed_label(position).unwrap();
        assert_eq!(label.len(), preamble.sealed_len());
        sealed += label.len();
        let mut other = tag.to_vec();
        other[preamble.tag_len() - 1] ^= 1;
        assert_eq!(bucket.find(&other).is_some(), tags.contains(&&other[..]));
    }
    assert_eq!(frame.body().len(), 8 + tags.concat().len() + sealed);
    assert!(tags.is_empty() || bucket.sealed_label(tags.len()).is_none_or(<[u8]>::is_empty));
}

/// Whether a receiver takes header and buckets.
fn taken(header: &Frame, buckets: &[Frame]) -> bool {
    let publisher = world().sender.key.verify_key();
    let Ok(mut verifier) = SnapshotVerifier::new(header, &publisher) else {
        return false;
    };
    let pushed = buckets.iter().all(|bucket| verifier.push(bucket).is_ok());
    pushed && verifier.finish().is_ok()
}

/// A snapshot of decided entries, and the same with a change.
fn stream(mut preamble: SnapshotPreamble, input: &mut Input<'_>) {
    let (tag, sealed) = (preamble.tag_len(), preamble.sealed_len());
    let allowed = (5..=32).contains(&tag) && sealed < 1000 && preamble.bucket_bits.get() <= 8;
    if !allowed {
        return;
    }
    let count = input.below(20);
    let mut entries: Vec<(Vec<u8>, Vec<u8>)> = (0..count)
        .map(|_| {
            let mut bytes = input.take(2).to_vec();
            bytes.resize(tag, 0);
            (bytes, vec![count as u8; sealed])
        })
        .collect();
    entries.sort();
    entries.dedup_by(|a, b| a.0 == b.0);
    preamble.elements = int(entries.len() as u64);
    let Published {
        header, buckets, ..
    } = built(preamble, &entries, &world().sender);
    assert!(
        taken(&header, &buckets),
        "a snapshot that was built is refused"
    );

    let mut changed = buckets.clone();
    let at = input.below(changed.len());
    let other = input.below(changed.len());
    match input.below(4) {
        0 => changed.swap(at, other),
        1 => {
            changed.remove(at);
        }
        2 => changed.insert(at, buckets[other].clone()),
        _ => {
            let body = edited(buckets[at].body(), input);
            if let Ok(frame) = Frame::new(Kind::SnapshotBucket, &body) {
                changed[at] = frame;
            }
        }
    }
    assert_eq!(
        taken(&header, &changed),
        changed == buckets,
        "a changed snapshot is taken"
    );
    let body = edited(header.body(), input);
    if let Ok(forged) = Frame::new(Kind::SnapshotHeader, &body) {
        assert_eq!(taken(&forged, &buckets), forged == header);
    }
    // Signed anew by its publisher, it is another snapshot: with the same buckets only its own.
    let payload = edited(&payload_of(&header), input);
    let resigned = world().sender.statement::<SnapshotHeader>(&payload);
    if let Some(resigned) = resigned.filter(|resigned| taken(resigned, &buckets)) {
        let said: SnapshotHeader = open_as_named(&resigned).unwrap();
        let truth: SnapshotHeader = open_as_named(&header).unwrap();
        assert_eq!(said, truth);
    }
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.below(2);
    let preamble = preamble(&mut input);
    match kind {
        0 => bucket(&preamble, input.rest()),
        _ => stream(preamble, &mut input),
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let body = world().snapshot.buckets[0].body();
    let tag = world().snapshot.preamble.tag_bytes.get() as u8;
    let stream = [1, tag, 2, 4, 9, 1, 2, 65, 66, 129, 130, 193, 194, 250, 251];
    vec![
        [&[0, tag, 2, 4], body].concat(),
        [&[0, 5, 0, 0], &[0, 0, 0, 0, 0, 0, 0, 2][..], b"aaaaabbbbb"].concat(),
        [&[0, 5, 0, 0], &[0, 0, 0, 0, 0, 0, 0, 2][..], b"bbbbbaaaaa"].concat(),
        [&stream[..], &[0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0, 0, 3, 0, 9]].concat(),
        [
            &stream[..],
            &[0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 1, 66],
        ]
        .concat(),
    ]
}
