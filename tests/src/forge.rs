//! Things well signed that no honest side signs. Written after the spec, with none of the code that
//! signs in the programs.

use std::{collections::VecDeque, fs, fs::File, io::BufReader, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tallystick_agency::{
    collections::snapshot_path,
    home::Home,
    store::{Collection, Store},
};
use tallystick_protocol::{
    error::Error,
    frame::{Frame, FrameReader, Kind},
    snapshot::{Bucket, SnapshotBuilder},
    statements::{SnapshotHeader, SnapshotPreamble, open_as_named},
};

/// All frames of a file.
#[must_use]
pub fn frames(path: &Path) -> Vec<Frame> {
    let mut reader = FrameReader::new(BufReader::new(File::open(path).unwrap()));
    std::iter::from_fn(|| reader.next_frame().unwrap()).collect()
}

/// The payload of a statement.
#[must_use]
pub fn payload(frame: &Frame) -> String {
    let envelope: Value = serde_json::from_slice(frame.body()).unwrap();
    let payload = BASE64
        .decode(envelope["payload"].as_str().unwrap())
        .unwrap();
    String::from_utf8(payload).unwrap()
}

/// The same statement with another payload, whatever it is, signed.
#[must_use]
pub fn with_payload(frame: &Frame, payload: &str, key: &SigningKey) -> Frame {
    let envelope: Value = serde_json::from_slice(frame.body()).unwrap();
    let kind = envelope["payloadType"].as_str().unwrap();
    let encoding = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
    let signature = BASE64.encode(key.sign(encoding.as_bytes()).to_bytes());
    let keyid: String = Sha256::digest(key.verifying_key().as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let payload = BASE64.encode(payload);
    let body = format!(
        r#"{{"payload":"{payload}","payloadType":"{kind}","signatures":[{{"keyid":"{keyid}","sig":"{signature}"}}]}}"#
    );
    Frame::new(frame.kind(), body.as_bytes()).unwrap()
}

/// The same statement with a member twice, signed.
#[must_use]
pub fn doubled(frame: &Frame, member: &str, key: &SigningKey) -> Frame {
    let text = payload(frame);
    // As it stands, the forger's statement is the honest one.
    assert_eq!(&with_payload(frame, &text, key), frame);
    let start = text.find(&format!("\"{member}\":")).unwrap();
    let length = text[start..].find(',').unwrap() + 1;
    let twice = [&text[..start + length], &text[start..]].concat();
    with_payload(frame, &twice, key)
}

/// Signs chunks of a session, whatever is in them.
#[derive(Debug)]
pub struct Chunks {
    session: [u8; 16],
    blinded: [u8; 32],
    evaluated: [u8; 32],
    /// The receiver's chain through each chunk that waits for its answer.
    waiting: VecDeque<[u8; 32]>,
    indices: [u32; 2],
}

fn sha(parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(parts.concat()).into()
}

impl Chunks {
    /// Starts behind the grant.
    #[must_use]
    pub fn new(session: [u8; 16], request: &Frame, grant: &Frame) -> Self {
        let start = sha(&[
            b"tallystick/running/v1\0",
            &request.digest(),
            &grant.digest(),
        ]);
        Self {
            session,
            blinded: start,
            evaluated: start,
            waiting: VecDeque::new(),
            indices: [0, 0],
        }
    }

    /// Notes a chunk that the receiver has sent.
    pub fn asked(&mut self, frame: &Frame) {
        self.blinded = sha(&[&self.blinded, &frame.digest()]);
        self.waiting.push_back(self.blinded);
        self.indices[0] += 1;
    }

    /// The receiver's next chunk.
    pub fn blinded(&mut self, kind: &str, elements: &[[u8; 32]], key: &SigningKey) -> Frame {
        let index = self.indices[0].to_be_bytes();
        let length = [u8::try_from(kind.len()).unwrap()];
        let count = u16::try_from(elements.len()).unwrap().to_be_bytes();
        let body: Vec<u8> = [
            &index,
            &length[..],
            kind.as_bytes(),
            &count,
            elements.as_flattened(),
        ]
        .concat();
        let domain = b"tallystick/blinded-chunk/v1\0";
        let running = self.blinded;
        let frame = self.signed(Kind::BlindedChunk, domain, index, &running, body, key);
        self.asked(&frame);
        frame
    }

    /// The sender's next answer.
    pub fn evaluated(&mut self, elements: &[[u8; 32]], proof: &[u8], key: &SigningKey) -> Frame {
        let index = self.indices[1].to_be_bytes();
        let count = u16::try_from(elements.len()).unwrap().to_be_bytes();
        let body = [&index, &count[..], elements.as_flattened(), proof].concat();
        let through = self.waiting.pop_front().unwrap();
        let running = sha(&[&self.evaluated, &through]);
        let domain = b"tallystick/evaluated-chunk/v1\0";
        let frame = self.signed(Kind::EvaluatedChunk, domain, index, &running, body, key);
        self.evaluated = sha(&[&self.evaluated, &frame.digest()]);
        self.indices[1] += 1;
        frame
    }

    fn signed(
        &self,
        kind: Kind,
        domain: &[u8],
        index: [u8; 4],
        running: &[u8; 32],
        mut body: Vec<u8>,
        key: &SigningKey,
    ) -> Frame {
        let message = [domain, &self.session, &index, running, &sha(&[&body])].concat();
        body.extend_from_slice(&key.sign(&message).to_bytes());
        Frame::new(kind, &body).unwrap()
    }
}

/// Elements of a chunk, of either kind.
#[must_use]
pub fn elements(chunk: &Frame) -> Vec<[u8; 32]> {
    let body = chunk.body();
    let start = match chunk.kind() {
        Kind::BlindedChunk => 5 + usize::from(body[4]),
        _ => 4,
    };
    let count = usize::from(u16::from_be_bytes([body[start], body[start + 1]]));
    let (elements, _) = body[start + 2..][..count * 32].as_chunks();
    elements.to_vec()
}

/// A tag and its sealed label.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Writes the snapshot of a collection anew, as `change` has it, well signed, and offers that.
pub async fn snapshot(
    home: &Home,
    collection: &str,
    change: impl FnOnce(&mut SnapshotPreamble, &mut Vec<Entry>),
) {
    let store = home.store().await.unwrap();
    let known = store.collection(collection).await.unwrap().unwrap();
    let old = frames(&snapshot_path(
        home,
        collection,
        &known.snapshot_digest.unwrap(),
    ));
    let header: SnapshotHeader = open_as_named(&old[0]).unwrap();
    let mut preamble = header.preamble;
    let mut entries: Vec<Entry> = Vec::new();
    for frame in &old[1..] {
        let bucket = Bucket::parse(frame, &preamble).unwrap();
        for (position, tag) in bucket.tags().enumerate() {
            let sealed = bucket.sealed_label(position).unwrap();
            entries.push((tag.to_vec(), sealed.to_vec()));
        }
    }
    change(&mut preamble, &mut entries);
    let key = tallystick_protocol::signing::SigningKey::from(home.signing_key().unwrap());
    let mut buckets: Vec<u8> = Vec::new();
    let mut emit = |frame: Frame| -> Result<(), Error> {
        buckets.extend_from_slice(frame.bytes());
        Ok(())
    };
    let mut builder = SnapshotBuilder::new(preamble).unwrap();
    for (tag, sealed) in &entries {
        builder.push(tag, sealed, &mut emit).unwrap();
    }
    let (header, digest) = builder.finish(&key, &mut emit).unwrap();
    let path = snapshot_path(home, collection, &digest.0);
    fs::write(path, [header.bytes(), &buckets].concat()).unwrap();
    let changed = Collection {
        snapshot_digest: Some(digest.0),
        ..known
    };
    store.upsert_collection(&changed).await.unwrap();
    store.close().await;
}
