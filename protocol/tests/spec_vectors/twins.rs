//! Negative twins: one edit each that a verifier must refuse. Where a signature would give an edit
//! away at once, the twin is signed anew, so that the rule behind the signature is what refuses it.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    scene::{RECEIVER_SEED, SENDER_SEED, Scene},
    stranger,
};

/// One edit: `remove` bytes at `offset` are replaced by `insert`.
pub struct Twin {
    pub name: String,
    pub offset: usize,
    pub remove: usize,
    pub insert: Vec<u8>,
    /// The check that fails.
    pub fails: &'static str,
}

impl Twin {
    pub fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let (head, rest) = bytes.split_at(self.offset);
        [head, &self.insert, &rest[self.remove..]].concat()
    }
}

pub fn to_json(twins: &[Twin]) -> Value {
    let twin = |t: &Twin| {
        json!({
            "name": t.name, "offset": t.offset, "remove": t.remove,
            "insert": hex::encode(&t.insert), "fails": t.fails,
        })
    };
    twins.iter().map(twin).collect()
}

/// A frame in a file.
struct Part {
    offset: usize,
    kind: u8,
    whole: Vec<u8>,
}

fn parts(bytes: &[u8]) -> Vec<Part> {
    let mut offset = 0;
    let part = |frame: stranger::Framed<'_>| {
        let part = Part {
            offset,
            kind: frame.kind,
            whole: frame.whole.to_vec(),
        };
        offset += frame.whole.len();
        part
    };
    stranger::frames(bytes)
        .unwrap()
        .into_iter()
        .map(part)
        .collect()
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &(body.len() as u32).to_be_bytes()[..], body].concat()
}

impl Part {
    fn body(&self) -> &[u8] {
        &self.whole[5..]
    }

    /// The whole frame is replaced; the twin states only what differs.
    fn becomes(&self, name: &str, whole: Vec<u8>, fails: &'static str) -> Twin {
        let same = |pair: &(&u8, &u8)| pair.0 == pair.1;
        let head = self.whole.iter().zip(&whole).take_while(same).count();
        let (old, new) = (&self.whole[head..], &whole[head..]);
        let pairs = old.iter().rev().zip(new.iter().rev());
        let tail = pairs.take_while(same).count();
        Twin {
            name: name.to_owned(),
            offset: self.offset + head,
            remove: old.len() - tail,
            insert: new[..new.len() - tail].to_vec(),
            fails,
        }
    }

    /// One byte of the body, counted from its end if negative, is flipped.
    fn flipped(&self, name: &str, at: isize, fails: &'static str) -> Twin {
        let at = if at < 0 {
            self.whole.len() as isize + at
        } else {
            at + 5
        } as usize;
        let byte = self.whole[at] ^ 1;
        Twin {
            name: name.to_owned(),
            offset: self.offset + at,
            remove: 1,
            insert: vec![byte],
            fails,
        }
    }
}

/// A statement taken apart, to be put together again otherwise.
struct Statement<'a> {
    part: &'a Part,
    payload: String,
    payload_type: String,
    key: SigningKey,
}

impl<'a> Statement<'a> {
    fn of(part: &'a Part, seed: [u8; 32]) -> Self {
        let envelope: Value = serde_json::from_slice(part.body()).unwrap();
        let payload = BASE64
            .decode(envelope["payload"].as_str().unwrap())
            .unwrap();
        Self {
            part,
            payload: String::from_utf8(payload).unwrap(),
            payload_type: envelope["payloadType"].as_str().unwrap().to_owned(),
            key: SigningKey::from_bytes(&seed),
        }
    }

    fn keyid(&self) -> String {
        hex::encode(Sha256::digest(self.key.verifying_key().to_bytes()))
    }

    fn signature(&self, payload: &str) -> String {
        let (ty, n) = (&self.payload_type, payload.len());
        let message = format!("DSSEv1 {} {ty} {n} {payload}", ty.len());
        BASE64.encode(self.key.sign(message.as_bytes()).to_bytes())
    }

    fn envelope(&self, payload: &str) -> String {
        format!(
            r#"{{"payload":"{}","payloadType":"{}","signatures":[{{"keyid":"{}","sig":"{}"}}]}}"#,
            BASE64.encode(payload),
            self.payload_type,
            self.keyid(),
            self.signature(payload)
        )
    }

    /// Another payload, signed as it should be.
    fn says(&self, name: &str, from: &str, to: &str, fails: &'static str) -> Twin {
        assert!(
            self.payload.contains(from),
            "{name}: {from} in {}",
            self.payload
        );
        let payload = self.payload.replacen(from, to, 1);
        self.part.becomes(
            name,
            frame(self.part.kind, self.envelope(&payload).as_bytes()),
            fails,
        )
    }

    /// Another envelope around the same payload.
    fn wrapped(&self, name: &str, from: &str, to: &str, fails: &'static str) -> Twin {
        let envelope = self.envelope(&self.payload);
        assert_eq!(envelope.as_bytes(), self.part.body());
        assert!(envelope.contains(from), "{name}");
        let envelope = envelope.replacen(from, to, 1);
        self.part
            .becomes(name, frame(self.part.kind, envelope.as_bytes()), fails)
    }
}

/// What stands behind `"member":` up to the next comma or bracket.
fn member(payload: &str, member: &str) -> String {
    let start = payload.find(&format!("\"{member}\":")).unwrap();
    let end = payload[start..].find([',', '}', ']']).unwrap();
    payload[start..start + end].to_owned()
}

pub fn of_record(scene: &Scene) -> Vec<Twin> {
    let parts = parts(&scene.record);
    let [
        header,
        asked,
        answer,
        chunks @ ..,
        receiver_closing,
        sender_closing,
    ] = &parts[..]
    else {
        panic!("another order");
    };
    let request = Statement::of(asked, RECEIVER_SEED);
    let grant = Statement::of(answer, SENDER_SEED);
    let said = Statement::of(receiver_closing, RECEIVER_SEED);
    let closed = Statement::of(sender_closing, SENDER_SEED);
    let at = |offset: usize, remove: usize, insert: Vec<u8>, name: &str, fails| Twin {
        name: name.to_owned(),
        offset,
        remove,
        insert,
        fails,
    };
    let end = scene.record.len();
    let keyid = request.keyid();
    let upper = |text: String| {
        let (name, value) = text.split_once(':').unwrap();
        format!("{name}:{}", value.to_uppercase())
    };
    let session = member(&request.payload, "session");
    let key = |s: &Statement<'_>| member(&s.payload, "signing_key");
    let issued = member(&request.payload, "issued_ms");
    let first = &chunks[0];
    let second = &chunks[2];

    vec![
        // Framing.
        at(end - 1, 1, vec![], "the last byte is missing", "framing"),
        at(end, 0, vec![0], "a byte follows the record", "framing"),
        at(
            end,
            0,
            frame(0x30, b""),
            "a frame follows the sender's closing",
            "framing",
        ),
        at(0, 0, header.whole.clone(), "two headers", "request"),
        at(0, header.whole.len(), vec![], "no header", "framing"),
        header.flipped("another magic", 0, "framing"),
        header.flipped("the header names another session", -1, "request"),
        at(
            asked.offset,
            1,
            vec![0x13],
            "a kind that is not known",
            "framing",
        ),
        // The one byte form, of the request and in general. All are signed as they stand.
        request.says(
            "a space in the payload",
            "{\"protocol\":",
            "{ \"protocol\":",
            "request",
        ),
        request.says("a line end behind the payload", "}", "}\n", "request"),
        request.says(
            "a profile whose hash is not that of its parts",
            "\"id\":\"exact/1\"",
            "\"id\":\"exact/2\"",
            "request",
        ),
        request.says(
            "an unknown member",
            "{\"protocol\":",
            "{\"x\":1,\"protocol\":",
            "request",
        ),
        request.says(
            "a member stands twice",
            &issued,
            &format!("{issued},{issued}"),
            "request",
        ),
        request.says(
            "members in another order",
            "\"protocol\":\"tallystick/1\",\"suite\":\"ristretto255-SHA512\"",
            "\"suite\":\"ristretto255-SHA512\",\"protocol\":\"tallystick/1\"",
            "request",
        ),
        request.says(
            "an absent member written as null",
            "\"case\":",
            "\"dpia\":null,\"case\":",
            "request",
        ),
        request.says(
            "upper-case hex digits",
            &key(&request),
            &upper(key(&request)),
            "request",
        ),
        request.says(
            "an integer with a fraction",
            &issued,
            &format!("{issued}.0"),
            "request",
        ),
        request.says(
            "an integer of 2^53",
            &issued,
            "\"issued_ms\":9007199254740992",
            "request",
        ),
        request.says(
            "an escape that is not needed: slash",
            "7/8",
            "7\\/8",
            "request",
        ),
        request.says(
            "an escape that is not needed: code point",
            "ó",
            "\\u00f3",
            "request",
        ),
        request.says("a control character", "Act 1", "Act\\n1", "request"),
        request.says(
            "a mark that turns the direction of text",
            "Act 1",
            "Act \u{202e}1",
            "request",
        ),
        request.says(
            "class count-only in mode elements",
            "individual-case",
            "count-only",
            "request",
        ),
        request.says(
            "an agency that asks itself",
            "\"sender\":{\"agency\":\"border-b\"",
            "\"sender\":{\"agency\":\"police-a\"",
            "request",
        ),
        request.wrapped(
            "base64 with a line end",
            "\",\"payloadType",
            "\\n\",\"payloadType",
            "request",
        ),
        request.wrapped(
            "a space in the envelope",
            ",\"payloadType",
            ", \"payloadType",
            "request",
        ),
        request.wrapped(
            "another payload type",
            "request.v1+json",
            "request.v2+json",
            "request",
        ),
        request.wrapped("another keyid", &keyid, &closed.keyid(), "request"),
        request.wrapped(
            "no signature",
            &format!(
                "{{\"keyid\":\"{keyid}\",\"sig\":\"{}\"}}",
                request.signature(&request.payload)
            ),
            "",
            "request",
        ),
        // What the request says.
        request.says(
            "another session than the header's",
            &session,
            &session.replace("5e5e", "5e5f"),
            "request",
        ),
        request.says(
            "another suite",
            "ristretto255-SHA512",
            "P256-SHA256",
            "request",
        ),
        request.says(
            "types that do not ascend",
            "\"type\":\"document\"",
            "\"type\":\"zzz\"",
            "request",
        ),
        request.says(
            "a query without elements",
            "\"elements\":16",
            "\"elements\":0",
            "request",
        ),
        // A request that is sound in itself, but is not the one that was granted.
        request.says("another purpose", "Act 1", "Act 2", "answer"),
        // What the grant says.
        grant.says(
            "a grant of another mode",
            "\"mode\":\"elements\"",
            "\"mode\":\"count\"",
            "answer",
        ),
        grant.says(
            "a grant of another collection",
            "\"collection\":\"watchlist\"",
            "\"collection\":\"blacklist\"",
            "answer",
        ),
        grant.says(
            "tags shorter than the rule",
            "\"tag_bytes\":7",
            "\"tag_bytes\":6",
            "answer",
        ),
        grant.says(
            "the key of one type only",
            &grant.payload[grant.payload.find(",{\"type\":\"text\"").unwrap()
                ..grant.payload.find("],\"snapshot\"").unwrap()],
            "",
            "answer",
        ),
        grant.says(
            "an OPRF key that is the identity",
            &member(&grant.payload, "public_key"),
            &format!("\"public_key\":\"{}\"", "00".repeat(32)),
            "answer",
        ),
        grant.says(
            "a grant after the request's expiry",
            &member(&grant.payload, "granted_ms"),
            "\"granted_ms\":1800003600001",
            "answer",
        ),
        // Sound, but the chunks were signed over the other grant.
        grant.says(
            "another window",
            "\"window_chunks\":2",
            "\"window_chunks\":3",
            "chunks",
        ),
        // Chunks.
        first.flipped("a blinded element", 4 + 9 + 2, "chunks"),
        first.flipped("the index of a chunk", 3, "chunks"),
        first.flipped("the signature of a blinded chunk", -1, "chunks"),
        chunks[1].flipped("a proof", -65, "chunks"),
        at(
            first.offset,
            first.whole.len() + chunks[1].whole.len(),
            vec![],
            "a pair of chunks left out",
            "chunks",
        ),
        at(
            first.offset,
            0,
            [&first.whole[..], &chunks[1].whole].concat(),
            "a pair of chunks twice",
            "chunks",
        ),
        at(
            second.offset,
            chunks[2].whole.len() + chunks[3].whole.len(),
            vec![],
            "the second pair left out",
            "chunks",
        ),
        at(
            chunks[1].offset,
            chunks[1].whole.len() + second.whole.len(),
            [&second.whole[..], &chunks[1].whole].concat(),
            "an answer that does not follow its own question",
            "chunks",
        ),
        forged(chunks, answer, asked),
        short(first, answer, asked),
        // Closings.
        said.says(
            "another number of elements",
            "\"elements\":32",
            "\"elements\":31",
            "closings",
        ),
        said.says(
            "a complete session called aborted",
            "\"status\":\"complete\"",
            "\"status\":\"aborted\"",
            "closings",
        ),
        said.says(
            "another set commitment",
            &member(&said.payload, "set_commitment"),
            &format!("\"set_commitment\":\"{}\"", "ab".repeat(32)),
            "closings",
        ),
        said.says(
            "another nonce than was committed to",
            &member(&said.payload, "nonce"),
            &format!("\"nonce\":\"{}\"", "ab".repeat(32)),
            "closings",
        ),
        said.says(
            "a match count that the grant does not ask for",
            "},\"nonce\"",
            ",\"matches\":3},\"nonce\"",
            "closings",
        ),
        closed.says(
            "another charge",
            "\"quota_after\":984",
            "\"quota_after\":985",
            "closings",
        ),
        closed.says(
            "another receiver's closing",
            &member(&closed.payload, "receiver_closing"),
            &format!("\"receiver_closing\":\"{}\"", "ab".repeat(32)),
            "closings",
        ),
        closed.says(
            "no receiver's closing",
            &format!("{},", member(&closed.payload, "receiver_closing")),
            "",
            "closings",
        ),
        at(
            sender_closing.offset,
            sender_closing.whole.len(),
            vec![],
            "the sender's closing is missing",
            "closings",
        ),
        at(
            receiver_closing.offset,
            receiver_closing.whole.len() + sender_closing.whole.len(),
            [&sender_closing.whole[..], &receiver_closing.whole].concat(),
            "closings in the other order",
            "closings",
        ),
    ]
}

fn sha(parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(parts.concat()).into()
}

/// Both running hashes before the first chunk.
fn start(asked: &Part, answer: &Part) -> [u8; 32] {
    sha(&[
        b"tallystick/running/v1\0",
        &sha(&[&asked.whole]),
        &sha(&[&answer.whole]),
    ])
}

/// What a chunk 0 becomes with this unsigned body, signed as its author would.
fn signed(kind: u8, seed: [u8; 32], domain: &[u8], running: &[u8; 32], unsigned: &[u8]) -> Vec<u8> {
    let message = [
        domain,
        &[0x5e; 16],
        &0u32.to_be_bytes(),
        running,
        &sha(&[unsigned]),
    ]
    .concat();
    let signature = SigningKey::from_bytes(&seed).sign(&message).to_bytes();
    frame(kind, &[unsigned, &signature].concat())
}

/// The first chunk without its last element, with the signature that its author would put on it.
fn short(first: &Part, answer: &Part, asked: &Part) -> Twin {
    let body = first.body();
    let mut unsigned = body[..body.len() - 64 - 32].to_vec();
    let count = 5 + usize::from(unsigned[4]);
    unsigned[count + 1] -= 1;
    let domain = b"tallystick/blinded-chunk/v1\0";
    let start = start(asked, answer);
    let whole = signed(0x20, RECEIVER_SEED, domain, &start, &unsigned);
    first.becomes("a chunk one short and not the last", whole, "chunks")
}

/// An evaluated chunk whose elements 0 and 1 are swapped, with the signature that an honest sender
/// would put on it: only the proof gives it away.
fn forged(chunks: &[Part], answer: &Part, asked: &Part) -> Twin {
    let start = start(asked, answer);
    let through = sha(&[&start, &sha(&[&chunks[0].whole])]);
    let running = sha(&[&start, &through]);
    let body = chunks[1].body();
    let mut unsigned = body[..body.len() - 64].to_vec();
    let (one, other) = unsigned[6..70].split_at_mut(32);
    one.swap_with_slice(other);
    let domain = b"tallystick/evaluated-chunk/v1\0";
    let whole = signed(0x21, SENDER_SEED, domain, &running, &unsigned);
    chunks[1].becomes("two evaluations swapped and signed so", whole, "proofs")
}

/// Edits of the shift.
pub fn of_shift(shift: &[u8]) -> Vec<Twin> {
    let parts = parts(shift);
    let [_, asked, answer, chunks @ .., _, _] = &parts[..] else {
        panic!("another order");
    };
    let request = Statement::of(asked, RECEIVER_SEED);
    let grant = Statement::of(answer, SENDER_SEED);
    let says = |name, from: &str, to: &str| request.says(name, from, to, "request");
    let (small, sizes) = ("\"flights\":[2,4]", "\"elements\":16,\"flights\":[2,4]");
    // The first chunk once more, of another type or size, signed as it should be.
    let start = start(asked, answer);
    let domain = b"tallystick/blinded-chunk/v1\0";
    let first = &chunks[0];
    let unsigned = &first.body()[..first.body().len() - 64];
    let (head, elements) = unsigned.split_at(unsigned.len() - 64);
    let one = [&head[..head.len() - 1], &[1], &elements[..32]].concat();
    let three = [&head[..head.len() - 1], &[3], elements, &elements[..32]].concat();
    let other = [
        &[0, 0, 0, 0, 4][..],
        b"text",
        &[0, 3],
        elements,
        &elements[..32],
    ]
    .concat();
    let chunk = |name, unsigned: &[u8]| {
        let whole = signed(0x20, RECEIVER_SEED, domain, &start, unsigned);
        first.becomes(name, whole, "chunks")
    };
    vec![
        says(
            "class border-desk without flights",
            small,
            "\"elements\":16",
        ),
        says(
            "flights without class border-desk",
            "border-desk",
            "individual-case",
        ),
        says("no size", small, "\"flights\":[]"),
        says(
            "one size where another type has two",
            small,
            "\"flights\":[2]",
        ),
        says("sizes that do not ascend", small, "\"flights\":[4,2]"),
        says("a size of nothing", small, "\"flights\":[0,4]"),
        says(
            "a size above the elements",
            sizes,
            "\"elements\":3,\"flights\":[2,4]",
        ),
        says(
            "a set that is known before it is asked",
            "\"nonce_commitment\":",
            &format!(
                r#""set_commitment":"{}","nonce_commitment":"#,
                "00".repeat(32)
            ),
        ),
        grant.says(
            "a grant that wants the count",
            "\"discloses_count\":false",
            "\"discloses_count\":true",
            "answer",
        ),
        grant.says(
            "a grant into which the smallest flight does not fit",
            "\"chunk_elements\":12",
            "\"chunk_elements\":2",
            "answer",
        ),
        chunk("a chunk below the smallest size", &one),
        chunk("a chunk between the sizes", &three),
        chunk("a flight that begins with the second type", &other),
    ]
}

pub fn of_snapshot(scene: &Scene) -> Vec<Twin> {
    let parts = parts(&scene.snapshot);
    let (header, buckets) = parts.split_first().unwrap();
    let statement = Statement::of(header, SENDER_SEED);
    let full = buckets
        .iter()
        .find(|bucket| bucket.body().len() > 8 + 2 * 7)
        .unwrap();
    let count = u32::from_be_bytes(full.body()[4..8].try_into().unwrap()) as usize;
    assert!(count > 1);
    let mut swapped = full.whole.clone();
    let (one, other) = swapped[13..27].split_at_mut(7);
    one.swap_with_slice(other);
    let end = scene.snapshot.len();
    let last = buckets.last().unwrap();
    let at = |offset: usize, remove: usize, insert: Vec<u8>, name: &str| Twin {
        name: name.to_owned(),
        offset,
        remove,
        insert,
        fails: "snapshot",
    };
    vec![
        full.flipped("a byte of a tag", 8 + 6, "snapshot"),
        full.flipped("a byte of a sealed label", -1, "snapshot"),
        full.becomes("tags that do not ascend", swapped, "snapshot"),
        full.flipped("the index of a bucket", 3, "snapshot"),
        full.flipped("the count of a bucket", 7, "snapshot"),
        at(
            last.offset,
            last.whole.len(),
            vec![],
            "the last bucket is missing",
        ),
        at(end, 0, last.whole.clone(), "a bucket too many"),
        at(
            buckets[0].offset,
            buckets[0].whole.len() + buckets[1].whole.len(),
            [&buckets[1].whole[..], &buckets[0].whole].concat(),
            "buckets in another order",
        ),
        statement.says(
            "another root",
            &member(&statement.payload, "root"),
            &format!("\"root\":\"{}\"", "ab".repeat(32)),
            "snapshot",
        ),
        statement.says(
            "another salt",
            &member(&statement.payload, "salt"),
            &format!("\"salt\":\"{}\"", "ab".repeat(32)),
            "snapshot",
        ),
        statement.says(
            "another number of tags",
            "\"elements\":16",
            "\"elements\":17",
            "snapshot",
        ),
        header.flipped("the signature of the header", -10, "snapshot"),
    ]
}

pub fn of_delta(delta: &[u8]) -> Vec<Twin> {
    let parts = parts(delta);
    let [first, second, buckets @ ..] = &parts[..] else {
        panic!("another order");
    };
    let statement = Statement::of(first, SENDER_SEED);
    let later = Statement::of(second, SENDER_SEED);
    let (one, two) = (&buckets[0], &buckets[1]);
    let end = delta.len();
    let at = |offset: usize, remove: usize, insert: Vec<u8>, name: &str| Twin {
        name: name.to_owned(),
        offset,
        remove,
        insert,
        fails: "delta",
    };
    let hash = |member: &str| format!("\"{member}\":\"{}\"", "ab".repeat(32));
    let says = |name: &str, from: &str, to: &str| statement.says(name, from, to, "delta");
    let leads = |name: &str, from: &str, to: &str| later.says(name, from, to, "delta");
    // Both headers, well signed, where a change must stand in both.
    let both = |name: &str, from: &str, to: &str| {
        let (a, b) = (says(name, from, to), leads(name, from, to));
        let between = &delta[a.offset + a.remove..b.offset];
        Twin {
            remove: b.offset + b.remove - a.offset,
            insert: [&a.insert, between, &b.insert].concat(),
            ..a
        }
    };
    let mut twins = vec![
        // The delta's header.
        says(
            "from another snapshot",
            &member(&statement.payload, "from"),
            &hash("from"),
        ),
        says(
            "to another snapshot",
            &member(&statement.payload, "to"),
            &hash("to"),
        ),
        says("sequence of zero", "\"sequence\":1", "\"sequence\":0"),
        says("another epoch", "\"epoch\":1", "\"epoch\":2"),
        says(
            "another collection",
            "\"collection\":\"watchlist\"",
            "\"collection\":\"blacklist\"",
        ),
        says(
            "another mode",
            "\"mode\":\"elements\"",
            "\"mode\":\"count\"",
        ),
        says(
            "another number of tags",
            "\"elements\":128",
            "\"elements\":160",
        ),
        says("fewer tags come than go", "\"added\":16", "\"added\":20"),
        says(
            "more changes than there are",
            "\"added\":16,\"removed\":16,\"relabelled\":16",
            "\"added\":20,\"removed\":20,\"relabelled\":16",
        ),
        says(
            "a number that is no step",
            "\"relabelled\":16",
            "\"relabelled\":15",
        ),
        says(
            "more labels than may change",
            "\"relabelled\":16",
            "\"relabelled\":20",
        ),
        says("no new labels", "\"relabelled\":16", "\"relabelled\":0"),
        says(
            "another time than the header's",
            &member(&statement.payload, "published_ms"),
            "\"published_ms\":1799920000000",
        ),
        first.flipped("the signature of the delta", -10, "delta"),
        // The later snapshot's.
        leads(
            "another root",
            &member(&later.payload, "root"),
            &hash("root"),
        ),
        leads(
            "another salt",
            &member(&later.payload, "salt"),
            &hash("salt"),
        ),
        leads(
            "the salt of the earlier snapshot",
            &member(&later.payload, "salt"),
            &format!("\"salt\":\"{}\"", "89".repeat(32)),
        ),
        leads(
            "another number of buckets",
            "\"bucket_bits\":3",
            "\"bucket_bits\":2",
        ),
        leads(
            "another length of tags",
            "\"tag_bytes\":7",
            "\"tag_bytes\":8",
        ),
        leads("other label columns", "\"handling\"", "\"handler\""),
        both(
            "a time that is not later",
            &member(&statement.payload, "published_ms"),
            "\"published_ms\":1799913600000",
        ),
        second.flipped("the signature of the later header", -10, "delta"),
        // Frames.
        at(
            second.offset,
            second.whole.len(),
            vec![],
            "the later header is missing",
        ),
        at(
            0,
            one.offset,
            [&second.whole[..], &first.whole].concat(),
            "headers in the other order",
        ),
        at(
            one.offset,
            one.whole.len(),
            vec![],
            "the first bucket is missing",
        ),
        at(
            end,
            0,
            buckets.last().unwrap().whole.clone(),
            "the last bucket twice",
        ),
        at(
            one.offset,
            one.whole.len() + two.whole.len(),
            [&two.whole[..], &one.whole].concat(),
            "buckets in another order",
        ),
        at(end - 1, 1, vec![], "the last byte is missing"),
        at(
            end,
            0,
            frame(0x43, &[0, 0, 0, 9, 0, 0, 0, 0, 0, 0]),
            "a bucket that changes nothing",
        ),
        at(one.offset, 1, vec![0x41], "a bucket of a snapshot"),
        one.flipped("the index of a bucket", 3, "delta"),
        one.flipped("the prefix of a tag", 10, "delta"),
        one.flipped("the last byte of a sealed label", -1, "delta"),
    ];
    // Lists of a bucket, taken apart and put together otherwise.
    let full = buckets.iter().map(|part| (part, Lists::of(part.body())));
    let full: Vec<_> = full.collect();
    let with = |name: &str, fits: fn(&Lists) -> bool, change: fn(&mut Lists)| {
        let (part, lists) = full.iter().find(|(_, lists)| fits(lists)).unwrap();
        let mut lists = lists.clone();
        change(&mut lists);
        part.becomes(name, frame(0x43, &lists.body()), "delta")
    };
    twins.extend([
        with(
            "tags that go do not ascend",
            |l| l.gone.len() > 1,
            |l| l.gone.swap(0, 1),
        ),
        with(
            "tags that come do not ascend",
            |l| l.come.len() > 1,
            |l| l.come.swap(0, 1),
        ),
        with(
            "relabelled tags do not ascend",
            |l| l.changed.len() > 1,
            |l| l.changed.swap(0, 1),
        ),
        with(
            "a tag goes twice",
            |l| !l.gone.is_empty(),
            |l| l.gone.insert(0, l.gone[0].clone()),
        ),
        with(
            "a tag comes twice",
            |l| !l.come.is_empty(),
            |l| l.come.insert(0, l.come[0].clone()),
        ),
        with(
            "a tag goes that is not there",
            |l| !l.gone.is_empty(),
            |l| l.gone[0][6] ^= 1,
        ),
        with(
            "a tag comes that is there",
            |l| !l.changed.is_empty(),
            |l| {
                let entry = l.changed.remove(0);
                l.come.push(entry);
                l.come.sort();
            },
        ),
        with(
            "a tag is relabelled that is not there",
            |l| !l.changed.is_empty(),
            |l| l.changed[0].0[6] ^= 1,
        ),
        with(
            "a tag goes and is relabelled",
            |l| !l.changed.is_empty(),
            |l| {
                l.gone.push(l.changed[0].0.clone());
                l.gone.sort();
            },
        ),
        with(
            "a tag goes and comes back",
            |l| !l.changed.is_empty(),
            |l| {
                let entry = l.changed.remove(0);
                l.gone.push(entry.0.clone());
                l.come.push(entry);
                l.gone.sort();
                l.come.sort();
            },
        ),
        with(
            "a byte too many",
            |l| !l.changed.is_empty(),
            |l| l.changed.last_mut().unwrap().1.push(0),
        ),
    ]);
    twins
}

/// What stands in a delta bucket: tags of 7 bytes, sealed labels of 72.
#[derive(Clone)]
struct Lists {
    index: Vec<u8>,
    gone: Vec<Vec<u8>>,
    come: Vec<(Vec<u8>, Vec<u8>)>,
    changed: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Lists {
    fn of(body: &[u8]) -> Self {
        let count = |i: usize| usize::from(u16::from_be_bytes([body[4 + 2 * i], body[5 + 2 * i]]));
        let [gone, come, changed] = [0, 1, 2].map(count);
        let (tags, labels) = body[10..].split_at(7 * (gone + come + changed));
        let mut tags = tags.chunks(7).map(<[u8]>::to_vec);
        let mut labels = labels.chunks(72).map(<[u8]>::to_vec);
        let gone = tags.by_ref().take(gone).collect();
        let mut entries = |n: usize| (0..n).map(|_| tags.next().unwrap()).collect::<Vec<_>>();
        let (come, changed) = (entries(come), entries(changed));
        let mut labelled = |tags: Vec<Vec<u8>>| {
            let of = |tag| (tag, labels.next().unwrap());
            tags.into_iter().map(of).collect()
        };
        Self {
            index: body[..4].to_vec(),
            gone,
            come: labelled(come),
            changed: labelled(changed),
        }
    }

    fn body(&self) -> Vec<u8> {
        let counts = [self.gone.len(), self.come.len(), self.changed.len()];
        let counts = counts.map(|n| (n as u16).to_be_bytes()).concat();
        let entries = || self.come.iter().chain(&self.changed);
        let tags = entries().flat_map(|(tag, _)| tag.clone()).collect();
        let labels = entries().flat_map(|(_, label)| label.clone()).collect();
        [self.index.clone(), counts, self.gone.concat(), tags, labels].concat()
    }
}
