//! Two agencies that can sign anything, and an honest session between them.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::Signer;
use sha2::{Digest, Sha256};
use tallystick_protocol::{
    frame::{Frame, Kind},
    group::{self, Kernel},
    identifiers::{Element, IdentifierType, normalise},
    oprf::{self, Output, SecretKey},
    session::{
        Accepted, Answer, Asked, Asking, ChargeReceipt, Evaluation, Finish, Matching, Sent,
        Serving, SessionSeed, Terms,
    },
    signing::SigningKey,
    snapshot::{LabelContext, LabelKey, SnapshotBuilder, tag_bytes},
    statements::{
        Charge, GrantLimits, Hex, Int, Legal, Line, Mode, Name, PROTOCOL, ProfilePartReference,
        ProfileReference, Query, Receiver, Request, SUITE, SenderReference, SessionClass,
        SnapshotPreamble, SnapshotReference, Statement, TypeKey,
    },
};

/// Time of every request.
pub(super) const NOW: u64 = 1_800_000_000_000;
/// What the receiver asks: types, ascending, each with its numbers.
pub(super) static ASKED: [(&str, [u32; 5]); 2] =
    [("bytes", [1, 2, 3, 4, 5]), ("text", [1, 3, 5, 7, 9])];
/// What the sender holds of each type.
pub(super) const HELD: [u32; 8] = [2, 3, 5, 8, 13, 21, 34, 55];
/// Elements of a chunk, and chunks that may wait, in every grant.
pub(super) const CHUNK: usize = 2;
pub(super) const WINDOW: usize = 2;
/// Bytes of a padded label.
pub(super) const LABEL: usize = 32;
/// Elements that the budget allows before a session.
const QUOTA: u64 = 1000;
/// The sender's audit nonce.
pub(super) const NONCE: Hex<32> = Hex([0x99; 32]);

/// The kernel that `TALLY_KERNEL` names, or the fastest one.
pub(super) fn kernel() -> &'static dyn Kernel {
    let asked = std::env::var("TALLY_KERNEL").ok();
    group::choose(asked.as_deref()).unwrap().kernel()
}

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn line(text: &str) -> Line {
    text.parse().unwrap()
}

pub(super) fn int(value: u64) -> Int {
    Int::new(value).unwrap()
}

/// The element of a number.
pub(super) fn element(type_name: &str, value: u32) -> Element {
    let ty: IdentifierType = type_name.parse().unwrap();
    let text = format!("value {value}");
    normalise(ty, &[&text]).unwrap().unwrap().element
}

/// What the label of a number says.
pub(super) fn payload(type_name: &str, value: u32) -> Vec<u8> {
    format!("{type_name} {value}").into_bytes()
}

/// An agency, with its key in two forms: one for the protocol, one for what the protocol would never
/// sign.
pub(super) struct Agency {
    pub(super) reference: SenderReference,
    pub(super) key: Arc<SigningKey>,
    raw: ed25519_dalek::SigningKey,
}

impl Agency {
    fn new(agency: &str, seed: u8) -> Self {
        let key = SigningKey::from_seed(&[seed; 32]);
        Self {
            reference: SenderReference {
                agency: name(agency),
                signing_key: key.verify_key().into(),
            },
            key: Arc::new(key),
            raw: ed25519_dalek::SigningKey::from_bytes(&[seed; 32]),
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.raw.sign(message).to_bytes()
    }

    /// Any payload as a statement of `S`, well signed; `None` if it is larger than a frame.
    pub(super) fn statement<S: Statement>(&self, payload: &[u8]) -> Option<Frame> {
        let ty = S::PAYLOAD_TYPE;
        let mut message = format!("DSSEv1 {} {ty} {} ", ty.len(), payload.len()).into_bytes();
        message.extend_from_slice(payload);
        let body = format!(
            r#"{{"payload":"{}","payloadType":"{ty}","signatures":[{{"keyid":"{}","sig":"{}"}}]}}"#,
            BASE64.encode(payload),
            self.key.verify_key().key_id(),
            BASE64.encode(self.sign(&message)),
        );
        Frame::new(S::KIND, body.as_bytes()).ok()
    }
}

/// The payload of a signed statement.
pub(super) fn payload_of(frame: &Frame) -> Vec<u8> {
    let envelope: serde_json::Value = serde_json::from_slice(frame.body()).unwrap();
    BASE64
        .decode(envelope["payload"].as_str().unwrap())
        .unwrap()
}

/// The two running hashes of a session, for signing chunks without the protocol's consent.
#[derive(Clone)]
pub(super) struct Chains {
    session: Hex<16>,
    blinded: [u8; 32],
    evaluated: [u8; 32],
    /// The receiver's chain through each of its chunks.
    through: Vec<[u8; 32]>,
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

impl Chains {
    pub(super) fn new(session: Hex<16>, request: &Frame, grant: &Frame) -> Self {
        let start = hash(&[
            b"tallystick/running/v1\0",
            &request.digest(),
            &grant.digest(),
        ]);
        Self {
            session,
            blinded: start,
            evaluated: start,
            through: Vec::new(),
        }
    }

    fn signed(&self, domain: &str, by: &Agency, running: &[u8; 32], body: &[u8]) -> Vec<u8> {
        let mut index = [0; 4];
        let stated = body.len().min(4);
        index[..stated].copy_from_slice(&body[..stated]);
        let message = [
            domain.as_bytes(),
            &self.session.0,
            &index,
            running,
            &hash(&[body]),
        ]
        .concat();
        [body, &by.sign(&message)].concat()
    }

    /// Signs any body as the next blinded chunk.
    pub(super) fn blinded(&self, by: &Agency, body: &[u8]) -> Option<Frame> {
        let body = self.signed("tallystick/blinded-chunk/v1\0", by, &self.blinded, body);
        Frame::new(Kind::BlindedChunk, &body).ok()
    }

    /// Signs any body as the answer of chunk `index`.
    pub(super) fn evaluated(&self, by: &Agency, index: usize, body: &[u8]) -> Option<Frame> {
        let through = self.through.get(index).unwrap_or(&self.blinded);
        let running = hash(&[&self.evaluated, through]);
        let body = self.signed("tallystick/evaluated-chunk/v1\0", by, &running, body);
        Frame::new(Kind::EvaluatedChunk, &body).ok()
    }

    pub(super) fn took_blinded(&mut self, frame: &Frame) {
        self.blinded = hash(&[&self.blinded, &frame.digest()]);
        self.through.push(self.blinded);
    }

    pub(super) fn took_evaluated(&mut self, frame: &Frame) {
        self.evaluated = hash(&[&self.evaluated, &frame.digest()]);
    }

    /// What both closings state.
    pub(super) fn running(&self) -> Hex<32> {
        Hex(hash(&[&self.evaluated, &self.blinded]))
    }
}

/// The body of a chunk without its signature.
pub(super) fn unsigned(frame: &Frame) -> &[u8] {
    let body = frame.body();
    &body[..body.len() - 64]
}

/// A blinded chunk's body.
pub(super) fn blinded_body(index: u32, type_name: &[u8], elements: &[[u8; 32]]) -> Vec<u8> {
    let mut body = index.to_be_bytes().to_vec();
    body.push(type_name.len() as u8);
    body.extend_from_slice(type_name);
    body.extend_from_slice(&(elements.len() as u16).to_be_bytes());
    body.extend_from_slice(elements.as_flattened());
    body
}

/// An evaluated chunk's body.
pub(super) fn evaluated_body(index: u32, elements: &[[u8; 32]], proof: &[u8]) -> Vec<u8> {
    let mut body = index.to_be_bytes().to_vec();
    body.extend_from_slice(&(elements.len() as u16).to_be_bytes());
    body.extend_from_slice(elements.as_flattened());
    body.extend_from_slice(proof);
    body
}

/// A snapshot in memory.
pub(super) struct Published {
    pub(super) preamble: SnapshotPreamble,
    pub(super) header: Frame,
    pub(super) buckets: Vec<Frame>,
    pub(super) root: Hex<32>,
}

/// Both agencies, keys of one epoch, and what follows from them.
pub(super) struct World {
    pub(super) receiver: Agency,
    pub(super) sender: Agency,
    pub(super) keys: BTreeMap<Name, SecretKey>,
    pub(super) snapshot: Published,
    /// Of all that is asked, in order.
    outputs: Vec<Output>,
}

/// The one world.
pub(super) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::new)
}

impl World {
    fn new() -> Self {
        let receiver = Agency::new("police-a", 0x11);
        let sender = Agency::new("border-b", 0x22);
        let key = |ty: &str| SecretKey::from_seed(kernel(), &[0x6b; 32], ty.as_bytes()).unwrap();
        let keys: BTreeMap<Name, SecretKey> =
            ASKED.iter().map(|(ty, _)| (name(ty), key(ty))).collect();
        let snapshot = publish(&sender, &keys);
        let output = |ty: &str, value: u32| {
            let element = element(ty, value);
            oprf::evaluate(kernel(), &[element.as_bytes()], &keys[&name(ty)]).unwrap()
        };
        let of_type = |(ty, set): &(&str, [u32; 5])| -> Vec<Output> {
            set.iter().flat_map(|value| output(ty, *value)).collect()
        };
        let outputs = ASKED.iter().flat_map(of_type).collect();
        Self {
            receiver,
            sender,
            keys,
            snapshot,
            outputs,
        }
    }

    /// The output of a number that is asked, as whoever holds the key computes it.
    pub(super) fn output(&self, type_name: &str, value: u32) -> &Output {
        let (at, (_, set)) = (0..)
            .zip(&ASKED)
            .find(|(_, (ty, _))| *ty == type_name)
            .unwrap();
        let place = set.iter().position(|asked| *asked == value).unwrap();
        &self.outputs[at * set.len() + place]
    }

    pub(super) fn request(&self, session: u8) -> Request {
        let query = |(ty, set): &(&str, [u32; 5])| Query {
            type_name: name(ty),
            rules: vec![line("exact")],
            records: int(set.len() as u64),
            elements: int(set.len() as u64),
            flights: None,
        };
        Request {
            protocol: PROTOCOL.to_owned(),
            suite: SUITE.to_owned(),
            session: Hex([session; 16]),
            build: line("tally 0.1.0"),
            receiver: Receiver {
                agency: self.receiver.reference.agency.clone(),
                state: Some(line("UTO")),
                signing_key: self.receiver.reference.signing_key,
                tls_spki: Hex([0x31; 32]),
            },
            sender: self.sender.reference.clone(),
            collection: name("fighters"),
            mode: Mode::Elements,
            profile: profile(),
            legal: Legal {
                class: SessionClass::IndividualCase,
                purpose: line("Case 7"),
                legal_basis: None,
                offence_category: None,
                subject_category: None,
                case: Some(Hex([0x41; 32])),
                dpia: None,
                handling_code: None,
                source_code: None,
            },
            persons: None,
            queries: ASKED.iter().map(query).collect(),
            set_commitment: None,
            authorisation: None,
            nonce_commitment: Hex([0; 32]),
            previous: None,
            issued_ms: int(NOW),
            expires_ms: int(NOW + 60_000),
        }
    }

    pub(super) fn terms(&self) -> Terms {
        Terms {
            build: line("tallyd 0.1.0"),
            state: None,
            tls_spki: Hex([0x32; 32]),
            epoch: int(3),
            keys: type_keys(&self.keys),
            snapshot: SnapshotReference {
                digest: self.snapshot.root,
                elements: self.snapshot.preamble.elements,
                tag_bytes: self.snapshot.preamble.tag_bytes,
            },
            limits: GrantLimits {
                chunk_elements: int(CHUNK as u64),
                window_chunks: int(WINDOW as u64),
            },
            discloses_count: false,
            previous: None,
            expires_ms: int(NOW + 3_600_000),
        }
    }

    pub(super) fn ask(&self, session: u8) -> Asking {
        let key = Arc::clone(&self.receiver.key);
        Asking::new(kernel(), self.request(session), key, seed()).unwrap()
    }

    pub(super) fn asked(&self, request: &Frame) -> Asked {
        let (receiver, sender) = (&self.receiver.reference, self.sender.reference.clone());
        Asked::open(request.clone(), receiver, sender).unwrap()
    }

    /// Evaluates a chunk as a sender should.
    pub(super) fn evaluate(&self, accepted: Accepted, session: Hex<16>) -> Evaluation {
        let receipt = ChargeReceipt::committed(session, accepted.index(), accepted.digest());
        let key = &self.keys[accepted.type_name()];
        accepted.evaluate(&receipt, key, &[0x77; 32]).unwrap()
    }
}

pub(super) fn seed() -> SessionSeed {
    SessionSeed::new([0xa7; 32])
}

fn profile() -> ProfileReference {
    ProfileReference::new(
        line("exact/1"),
        vec![ProfilePartReference {
            name: name("document"),
            hash: Hex([0x33; 32]),
        }],
    )
}

fn type_keys(keys: &BTreeMap<Name, SecretKey>) -> Vec<TypeKey> {
    let key = |(ty, key): (&Name, &SecretKey)| TypeKey {
        type_name: ty.clone(),
        public_key: Hex(*key.public_bytes()),
    };
    keys.iter().map(key).collect()
}

fn publish(sender: &Agency, keys: &BTreeMap<Name, SecretKey>) -> Published {
    let elements = (keys.len() * HELD.len()) as u64;
    let preamble = SnapshotPreamble {
        sender: sender.reference.clone(),
        collection: name("fighters"),
        epoch: int(3),
        mode: Mode::Elements,
        profile: profile(),
        keys: type_keys(keys),
        elements: int(elements),
        tag_bytes: tag_bytes(100, elements).into(),
        bucket_bits: int(2),
        label_bytes: int(LABEL as u64),
        label_columns: vec![line("file")],
        salt: Hex([0x55; 32]),
        published_ms: int(NOW - 1000),
        kind: None,
        covers: None,
    };
    let context = LabelContext::new(&preamble.collection, 3);
    let mut entries = Vec::new();
    for (ty, key) in keys {
        for value in HELD {
            let element = element(ty.as_str(), value);
            let outputs = oprf::evaluate(kernel(), &[element.as_bytes()], key).unwrap();
            let label = LabelKey::derive(&outputs[0], &context).unwrap();
            let tag = outputs[0].tag(preamble.tag_len()).to_vec();
            let text = payload(ty.as_str(), value);
            let sealed = label.seal(&text, LABEL, &context, &tag, [value as u8; 24]);
            entries.push((tag, sealed.unwrap()));
        }
    }
    entries.sort();
    built(preamble, &entries, sender)
}

/// Builds a snapshot of entries in order.
pub(super) fn built(
    preamble: SnapshotPreamble,
    entries: &[(Vec<u8>, Vec<u8>)],
    sender: &Agency,
) -> Published {
    let mut builder = SnapshotBuilder::new(preamble.clone()).unwrap();
    let mut buckets = Vec::new();
    let mut emit = |frame| -> Result<(), tallystick_protocol::error::Error> {
        buckets.push(frame);
        Ok(())
    };
    for (tag, sealed) in entries {
        builder.push(tag, sealed, &mut emit).unwrap();
    }
    let (header, root) = builder.finish(&sender.key, &mut emit).unwrap();
    Published {
        preamble,
        header,
        buckets,
        root,
    }
}

/// The chunks that the receiver sends: type, index of the first element in its type, numbers.
pub(super) fn plan() -> Vec<(&'static str, u64, &'static [u32])> {
    let of_type = |(ty, set): &'static (&'static str, [u32; 5])| {
        let chunks = set.chunks(CHUNK).enumerate();
        chunks.map(move |(i, values)| (*ty, (i * CHUNK) as u64, values))
    };
    ASKED.iter().flat_map(of_type).collect()
}

/// An honest session, every frame of it. All is fixed, so that its frames are the same each time.
pub(super) struct Honest {
    pub(super) session: Hex<16>,
    pub(super) request: Frame,
    pub(super) grant: Frame,
    pub(super) blinded: Vec<Frame>,
    pub(super) evaluated: Vec<Frame>,
    pub(super) receiver_closing: Frame,
    pub(super) sender_closing: Frame,
}

/// One of two honest sessions.
pub(super) fn honest(which: usize) -> &'static Honest {
    static HONEST: [OnceLock<Honest>; 2] = [OnceLock::new(), OnceLock::new()];
    HONEST[which].get_or_init(|| Honest::run(which as u8 + 1))
}

impl Honest {
    fn run(session: u8) -> Self {
        let world = world();
        let asking = world.ask(session);
        let request = asking.frame().clone();
        let asked = world.asked(&request);
        let key = Arc::clone(&world.sender.key);
        let granted = asked.grant(kernel(), world.terms(), NONCE, NOW + 5, key);
        let (mut serving, grant) = granted.unwrap();
        let mut matching = granted_state(asking.answer(grant.clone()).unwrap());
        let session = matching.agreement().request().session;
        let (mut blinded, mut evaluated) = (Vec::new(), Vec::new());
        for chunk in plan() {
            let (next, frame, sent) = send(matching, chunk);
            let (state, accepted) = serving.receive(&frame).unwrap();
            let evaluation = world.evaluate(accepted, session);
            let (state, answer) = state.answer(evaluation).unwrap();
            serving = state;
            let (next, answered) = next.receive(&answer).unwrap();
            matching = next;
            sent.finalize(answered).unwrap();
            blinded.push(frame);
            evaluated.push(answer);
        }
        let charged = charges(&serving);
        let finish = Finish::Complete { matches: 5 };
        let closing = matching.close(finish, Some((NOW + 10, NOW + 20)), NOW + 30);
        let closing = closing.unwrap();
        let closed = serving.close(closing.frame().clone(), charged, NOW + 40);
        let closed = closed.unwrap();
        Self {
            session,
            request,
            grant,
            blinded,
            evaluated,
            receiver_closing: closed.receiver,
            sender_closing: closed.sender,
        }
    }

    /// The frames of its record.
    pub(super) fn record(&self) -> Vec<Frame> {
        let header = tallystick_protocol::record::header(&self.session).unwrap();
        let mut frames = vec![header, self.request.clone(), self.grant.clone()];
        for (blinded, evaluated) in self.blinded.iter().zip(&self.evaluated) {
            frames.extend([blinded.clone(), evaluated.clone()]);
        }
        frames.extend([self.receiver_closing.clone(), self.sender_closing.clone()]);
        frames
    }

    /// The receiver's state after the grant, as a run that is started again has it.
    pub(super) fn matching(&self) -> Matching {
        let key = Arc::clone(&world().receiver.key);
        let asking = Asking::resume(kernel(), self.request.clone(), key, seed()).unwrap();
        granted_state(asking.answer(self.grant.clone()).unwrap())
    }

    /// The sender's state after the grant.
    pub(super) fn serving(&self) -> Serving {
        let key = Arc::clone(&world().sender.key);
        let asked = world().asked(&self.request);
        asked.resume(kernel(), &self.grant, NONCE, key).unwrap()
    }

    pub(super) fn chains(&self) -> Chains {
        Chains::new(self.session, &self.request, &self.grant)
    }
}

fn granted_state(answer: Answer) -> Matching {
    match answer {
        Answer::Granted(matching) => *matching,
        Answer::Refused { .. } => panic!("refused"),
    }
}

/// Sends a chunk of the plan.
pub(super) fn send(
    matching: Matching,
    (ty, first, values): (&str, u64, &[u32]),
) -> (Matching, Frame, Sent) {
    let elements: Vec<_> = values.iter().map(|value| element(ty, *value)).collect();
    let blinder = matching.blinder(&name(ty)).unwrap();
    matching
        .send(blinder.blind(first, elements).unwrap())
        .unwrap()
}

/// What a sender's closing has to say was charged.
pub(super) fn charges(serving: &Serving) -> Vec<Charge> {
    let charge = |(type_name, spent): (&Name, u64)| Charge {
        type_name: type_name.clone(),
        elements: int(spent),
        quota_before: int(QUOTA),
        quota_after: int(QUOTA - spent),
    };
    serving.progress().spent().map(charge).collect()
}
