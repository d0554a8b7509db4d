//! A snapshot of the scene's sender, larger than that of the record, and a delta from it.

use std::collections::BTreeMap;

use tallystick_protocol::{
    error::Error,
    frame::{Frame, FrameReader},
    group,
    identifiers::{Element, padding_element},
    oprf::{self, SecretKey},
    signing::{SigningKey, VerifyKey},
    snapshot::{
        BucketChanges, Changes, DeltaBuilder, DeltaPlan, DeltaTerms, Entry, LabelContext, LabelKey,
        SnapshotBuilder, SnapshotVerifier, bucket_of,
    },
    statements::{Hex, Int, SnapshotHeader, SnapshotPreamble, open_as_named},
};

use crate::scene::SENDER_SEED;

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Elements 0 to 143 with a sealed label each. `seal` stands in the nonce, `says` in the label.
fn entries(preamble: &SnapshotPreamble, seal: u8, says: u8) -> Vec<(Vec<u8>, Vec<u8>)> {
    let elements: Vec<Element> = (0..144u8).map(|n| padding_element(&[n; 32])).collect();
    let inputs: Vec<&[u8]> = elements.iter().map(Element::as_bytes).collect();
    let key = SecretKey::from_seed(group::reference(), &[0x66; 32], b"delta vectors").unwrap();
    let outputs = oprf::evaluate(group::reference(), &inputs, &key).unwrap();
    let context = LabelContext::new(&preamble.collection, preamble.epoch.get());
    let label_bytes = preamble.label_bytes.get() as usize;
    let sealed = outputs.iter().zip(0u8..).map(|(output, n)| {
        let tag = output.tag(preamble.tag_len());
        let label = format!(r#"[["C-{n}","H{says}"]]"#);
        let mut nonce = [n; 24];
        nonce[0] = seal;
        let key = LabelKey::derive(output, &context).unwrap();
        let sealed = key.seal(label.as_bytes(), label_bytes, &context, tag, nonce);
        (tag.to_vec(), sealed.unwrap())
    });
    sealed.collect()
}

/// The file of the earlier snapshot, the file of the delta, and the entries after it: elements 0 to 15
/// go, 128 to 143 come, 16 to 31 are relabelled. Half of each stand for the fakes: 24 to 31 say what they
/// did.
pub fn play(sample: &[u8]) -> (Vec<u8>, Vec<u8>, Entries) {
    let header = FrameReader::new(sample).next_frame().unwrap().unwrap();
    let SnapshotHeader { preamble, .. } = open_as_named(&header).unwrap();
    let int = |n: u64| Int::new(n).unwrap();
    let preamble = SnapshotPreamble {
        elements: int(128),
        bucket_bits: int(3),
        salt: Hex([0x89; 32]),
        ..preamble
    };
    let key = SigningKey::from_seed(&SENDER_SEED);
    let first = entries(&preamble, 1, 1);
    let (second, again) = (entries(&preamble, 2, 2), entries(&preamble, 2, 1));
    let before: Entries = first[..128].iter().cloned().collect();
    let mut after: Entries = first[16..].iter().cloned().collect();
    after.extend(second[16..24].iter().cloned());
    after.extend(again[24..32].iter().cloned());

    let mut buckets = Vec::new();
    let mut emit = |frame: Frame| -> Result<(), Error> {
        buckets.push(frame);
        Ok(())
    };
    let mut builder = SnapshotBuilder::new(preamble.clone()).unwrap();
    for (tag, sealed) in &before {
        builder.push(tag, sealed, &mut emit).unwrap();
    }
    let (header, _) = builder.finish(&key, &mut emit).unwrap();
    let publisher: VerifyKey = key.verify_key();
    let mut verifier = SnapshotVerifier::new(&header, &publisher).unwrap();
    buckets.iter().for_each(|b| verifier.push(b).unwrap());

    let changes = Changes {
        added: 8,
        removed: 8,
        relabelled: 8,
    };
    let terms = DeltaTerms {
        plan: DeltaPlan::new(&changes, 8, 128, true).unwrap(),
        sequence: int(1),
        salt: Hex([0x8a; 32]),
        published_ms: int(preamble.published_ms.get() + 3_600_000),
        covers: None,
    };
    let mut builder = DeltaBuilder::new(verifier.finish_with_leaves().unwrap(), terms).unwrap();
    let mut body = Vec::new();
    for (index, old) in buckets.iter().enumerate() {
        let here = |tag: &[u8]| bucket_of(tag, 3) == index as u64;
        let mut changes = BucketChanges::default();
        for tag in before.keys().filter(|tag| here(tag)) {
            if !after.contains_key(tag) {
                changes.removed.push(tag);
            }
        }
        for (tag, sealed) in after.iter().filter(|(tag, _)| here(tag)) {
            match before.get(tag) {
                None => changes.added.push(Entry { tag, sealed }),
                Some(was) if was != sealed => changes.relabelled.push(Entry { tag, sealed }),
                Some(_) => {}
            }
        }
        if changes != BucketChanges::default() {
            let (change, _) = builder.change(old, &changes).unwrap();
            body.extend_from_slice(change.bytes());
        }
    }
    let built = builder.finish(&key).unwrap();
    let mut base = header.into_bytes();
    buckets
        .iter()
        .for_each(|b| base.extend_from_slice(b.bytes()));
    let delta = [built.delta.bytes(), built.header.bytes(), &body].concat();
    (base, delta, after)
}
