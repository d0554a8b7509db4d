//! Frames of which bytes are changed, missing or too many.

use tallystick_protocol::frame::{HEADER_BYTES, Kind};

use crate::case::{Case, Scene, Want::Broken, changed};

/// One of each kind; of those that come often, one in the middle.
const KINDS: [(Kind, usize); 10] = [
    (Kind::Catalogue, 0),
    (Kind::SnapshotHeader, 0),
    (Kind::SnapshotBucket, 1),
    (Kind::Request, 0),
    (Kind::Grant, 0),
    (Kind::BlindedChunk, 1),
    (Kind::EvaluatedChunk, 1),
    (Kind::ReceiverClosing, 0),
    (Kind::SenderClosing, 0),
    // The last one: nothing comes behind it that could give it away.
    (Kind::EvaluatedChunk, 2),
];

/// Where a bit is flipped.
type Place = (&'static str, fn(&[u8]) -> usize);

/// Behind these words in a statement's envelope.
fn behind(frame: &[u8], words: &str) -> usize {
    let body = String::from_utf8_lossy(&frame[HEADER_BYTES..]);
    HEADER_BYTES + body.find(words).unwrap() + words.len()
}

const EVERYWHERE: [Place; 6] = [
    ("its kind", |_| 0),
    ("its length", |_| 4),
    ("its length, above", |_| 1),
    ("the first byte of its body", |_| HEADER_BYTES),
    ("its middle", |frame| frame.len() / 2),
    ("its last byte", |frame| frame.len() - 1),
];
const STATEMENT: [Place; 4] = [
    ("its payload", |frame| behind(frame, r#""payload":""#) + 40),
    ("its type", |frame| behind(frame, r#""payloadType":""#) + 30),
    ("its key", |frame| behind(frame, r#""keyid":""#) + 7),
    ("its signature", |frame| behind(frame, r#""sig":""#) + 20),
];
const BLINDED: [Place; 4] = [
    ("its index", |_| HEADER_BYTES + 3),
    ("its type", |_| HEADER_BYTES + 5),
    ("an element", |_| HEADER_BYTES + 5 + 8 + 2 + 32),
    ("its signature", |frame| frame.len() - 60),
];
const EVALUATED: [Place; 4] = [
    ("its index", |_| HEADER_BYTES + 3),
    ("an element", |_| HEADER_BYTES + 6 + 32),
    ("its proof", |frame| frame.len() - 120),
    ("its signature", |frame| frame.len() - 60),
];
const BUCKET: [Place; 2] = [
    ("a tag", |_| HEADER_BYTES + 10),
    ("a label", |frame| frame.len() - 40),
];

fn places(kind: Kind) -> impl Iterator<Item = Place> {
    let own: &[Place] = match kind {
        Kind::BlindedChunk => &BLINDED,
        Kind::EvaluatedChunk => &EVALUATED,
        Kind::SnapshotBucket => &BUCKET,
        _ => &STATEMENT,
    };
    EVERYWHERE.into_iter().chain(own.iter().copied())
}

#[test]
fn a_bit_flipped_anywhere_in_any_frame_is_refused() {
    let scene = Scene::new();
    let mut cases: Vec<Case> = Vec::new();
    for (kind, nth) in KINDS {
        for (what, at) in places(kind) {
            cases.push(changed(kind, nth, what, Broken, move |mut frame| {
                let at = at(&frame);
                // The high bit of a length claims gigabytes; elsewhere the lowest is the subtlest.
                frame[at] ^= if at == 1 { 0x80 } else { 1 };
                frame
            }));
        }
    }
    scene.sweep(cases);
}

/// Makes a frame shorter or longer.
type Cut = fn(Vec<u8>) -> Vec<u8>;

/// Says in a frame's header how long its body is now.
fn mended(mut frame: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(frame.len() - HEADER_BYTES).unwrap();
    frame[1..HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
    frame
}

#[test]
fn a_frame_cut_short_or_made_longer_is_refused() {
    let scene = Scene::new();
    let mut cases: Vec<Case> = Vec::new();
    for (kind, nth) in KINDS {
        let changes: [(&str, Cut); 7] = [
            ("nothing at all", |_| Vec::new()),
            ("its header alone", |frame| frame[..HEADER_BYTES].to_vec()),
            ("half a header", |frame| frame[..3].to_vec()),
            ("without its last byte", |frame| {
                frame[..frame.len() - 1].to_vec()
            }),
            ("half of it, and says so", |frame| {
                mended(frame[..frame.len() / 2].to_vec())
            }),
            ("an empty body, and says so", |frame| {
                mended(frame[..HEADER_BYTES].to_vec())
            }),
            ("one byte more, and says so", |frame| {
                mended([frame, vec![0]].concat())
            }),
        ];
        for (what, change) in changes {
            cases.push(changed(kind, nth, what, Broken, change));
        }
    }
    scene.sweep(cases);
}
