//! Two agencies with fixed keys, seeds and times: what the vectors are made of.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tallystick_protocol::{
    error::Error,
    frame::Frame,
    identifiers::{Element, IdentifierType, Profile, normalise, padding_element},
    oprf::{self, Output, SecretKey, SessionSeed},
    record,
    session::{
        Accepted, Answer, Asked, Asking, ChargeReceipt, Evaluation, Finish, Matching, Serving,
        Terms, claim_commitment,
    },
    signing::SigningKey,
    snapshot::{LabelContext, LabelKey, SnapshotBuilder},
    statements::{
        Charge, GrantLimits, Hex, Int, Legal, Line, Mode, Name, PROTOCOL, Persons,
        ProfilePartReference, ProfileReference, Query, Receiver, RefusalCode, Request, SUITE,
        SenderReference, SessionClass, SnapshotPreamble, SnapshotReference, TypeKey,
    },
};

use super::tested_kernel;

pub const RECEIVER_SEED: [u8; 32] = [0x11; 32];
pub const SENDER_SEED: [u8; 32] = [0x22; 32];
const OPRF_SEED: [u8; 32] = [0x66; 32];
const SESSION_SEED: [u8; 32] = [0x55; 32];
const SENDER_NONCE: [u8; 32] = [0x99; 32];
const NOW: u64 = 1_800_000_000_000;
const BUDGET: u64 = 1000;
const CHUNK: usize = 12;
const TAG: usize = 7;
const LABEL: usize = 32;

/// The rules and tables of `exact/1`, part by part, at one pair of Unicode versions, so that the
/// vectors do not change with the compiler.
pub fn profile_text() -> String {
    let version = |(a, b, c): (u8, u8, u8)| format!("{a}.{b}.{c}");
    let built = format!(
        "normalisation {}, case {}",
        version(unicode_normalization::UNICODE_VERSION),
        version(char::UNICODE_VERSION)
    );
    let parts = Profile::exact().parts().iter();
    let parts = parts.map(|part| format!("[{}]\n{}", part.name, part.text));
    let text: String = parts.collect();
    text.replace(&built, "normalisation 16.0.0, case 16.0.0")
}

/// A profile out of that text.
pub fn profile_of(text: &str) -> ProfileReference {
    let parts = text.strip_prefix('[').unwrap().split("\n[").map(|part| {
        let (name, text) = part.split_once("]\n").unwrap();
        let text = format!("{}\n", text.trim_end_matches('\n'));
        ProfilePartReference {
            name: name.parse().unwrap(),
            hash: Hex(Sha256::digest(text.as_bytes()).into()),
        }
    });
    ProfileReference::new(line("exact/1"), parts.collect())
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn line(text: &str) -> Line {
    text.parse().unwrap()
}

fn int(value: u64) -> Int {
    Int::new(value).unwrap()
}

fn document(number: &str, state: &str) -> Element {
    normalise(IdentifierType::Document, &[number, state])
        .unwrap()
        .unwrap()
        .element
}

fn text(value: &str) -> Element {
    normalise(IdentifierType::Text, &[value])
        .unwrap()
        .unwrap()
        .element
}

/// Where the elements of a type stand among padding (spec section 1.5).
fn mix(seed: &SessionSeed, session: &Hex<16>) -> Value {
    let (real, places) = (9u64, 24u64);
    let blocks: Vec<_> = (0..places.div_ceil(4))
        .map(|n| seed.derive(session, &format!("mix/document/{n}")))
        .collect();
    let mut draws = blocks.iter().flat_map(|block| {
        let (draws, _) = block.as_chunks::<8>();
        draws.iter().map(|draw| u64::from_be_bytes(*draw))
    });
    let mut at = Vec::new();
    for place in 0..places {
        let (elements_left, places_left) = (real - at.len() as u64, places - place);
        let is_element = elements_left == places_left || {
            let wide = u128::from(draws.next().unwrap()) * u128::from(places_left);
            ((wide >> 64) as u64) < elements_left
        };
        if is_element {
            at.push(place);
        }
    }
    assert_eq!(at.len() as u64, real);
    json!({
        "type": "document", "session": session.to_string(), "elements": real, "places": places,
        "elements_at": at,
    })
}

/// What was made.
pub struct Scene {
    pub record: Vec<u8>,
    pub aborted: Vec<u8>,
    pub refused: Vec<u8>,
    pub shift: Vec<u8>,
    pub snapshot: Vec<u8>,
    pub values: Value,
}

struct World {
    receiver: Arc<SigningKey>,
    sender: Arc<SigningKey>,
    keys: BTreeMap<Name, SecretKey>,
    snapshot: SnapshotReference,
}

/// The receiver's elements of a type in their places: real ones where stated, padding elsewhere.
fn asked(session: &Hex<16>, type_name: &str) -> Vec<(Element, bool)> {
    let seed = SessionSeed::new(SESSION_SEED);
    let mut real: BTreeMap<u64, Element> = match type_name {
        "document" => [
            (1, document("L898902C3", "UTO")),
            (5, document("d 23145890", "uto")),
            (12, document("C01X00T47", "D<<")),
        ]
        .into(),
        _ => [(0, text("Anna  Maria Eriksson")), (13, text("m/v example"))].into(),
    };
    (0..16)
        .map(|index| match real.remove(&index) {
            Some(element) => (element, true),
            None => {
                let usage = format!("padding/{type_name}/{index}");
                (padding_element(&seed.derive(session, &usage)), false)
            }
        })
        .collect()
}

impl World {
    fn new() -> Self {
        let keys = ["document", "text"].map(|ty| {
            let mut info = b"tallystick/oprf-key/v1".to_vec();
            for part in ["watchlist", "elements", ty] {
                info.push(part.len() as u8);
                info.extend_from_slice(part.as_bytes());
            }
            info.extend_from_slice(&1u64.to_be_bytes());
            (
                name(ty),
                SecretKey::from_seed(tested_kernel(), &OPRF_SEED, &info).unwrap(),
            )
        });
        Self {
            receiver: Arc::new(SigningKey::from_seed(&RECEIVER_SEED)),
            sender: Arc::new(SigningKey::from_seed(&SENDER_SEED)),
            keys: keys.into(),
            snapshot: SnapshotReference {
                digest: Hex([0; 32]),
                elements: int(16),
                tag_bytes: int(TAG as u64),
            },
        }
    }

    fn receiver_reference(&self) -> SenderReference {
        SenderReference {
            agency: name("police-a"),
            signing_key: self.receiver.verify_key().into(),
        }
    }

    fn sender_reference(&self) -> SenderReference {
        SenderReference {
            agency: name("border-b"),
            signing_key: self.sender.verify_key().into(),
        }
    }

    fn type_keys(&self) -> Vec<TypeKey> {
        let key = |(type_name, key): (&Name, &SecretKey)| TypeKey {
            type_name: type_name.clone(),
            public_key: Hex(*key.public_bytes()),
        };
        self.keys.iter().map(key).collect()
    }

    fn profile() -> ProfileReference {
        profile_of(&profile_text())
    }

    /// The sender's snapshot, and the labels by tag.
    fn publish(&mut self) -> (Vec<u8>, BTreeMap<Vec<u8>, String>) {
        let documents = [
            (document("L898902C3", "UTO"), r#"[["C-17","H1"]]"#),
            (document("C01X00T47", "DEU"), r#"[["C-90","H0"]]"#),
            (document("ZE184226B", "UTO"), r#"[["C-91","H0"]]"#),
        ];
        let texts = [
            (
                text("ANNA MARIA ERIKSSON"),
                r#"[["C-17","H1"],["\"é","H0"]]"#,
            ),
            (text("somebody else"), r#"[["C-18","H3"]]"#),
        ];
        let mut entries: Vec<(Output, Vec<u8>)> = Vec::new();
        let mut add = |ty: &str, list: Vec<(Element, Vec<u8>)>| {
            let inputs: Vec<&[u8]> = list.iter().map(|(element, _)| element.as_bytes()).collect();
            let outputs = oprf::evaluate(tested_kernel(), &inputs, &self.keys[&name(ty)]);
            let labels = list.iter().map(|(_, label)| label.clone());
            entries.extend(outputs.unwrap().into_iter().zip(labels));
        };
        let bytes = |(element, label): (Element, &str)| (element, label.as_bytes().to_vec());
        add("document", documents.into_iter().map(bytes).collect());
        add("text", texts.into_iter().map(bytes).collect());
        let padding =
            (0..11u8).map(|i| (padding_element(&[0xa0 + i; 32]), vec![0xb0 + i; LABEL - 2]));
        add("document", padding.collect());
        entries.sort_by(|(a, _), (b, _)| a.tag(32).cmp(b.tag(32)));

        let context = LabelContext::new(&name("watchlist"), 1);
        let mut builder = SnapshotBuilder::new(SnapshotPreamble {
            sender: self.sender_reference(),
            collection: name("watchlist"),
            epoch: int(1),
            mode: Mode::Elements,
            profile: Self::profile(),
            keys: self.type_keys(),
            elements: int(16),
            tag_bytes: int(TAG as u64),
            bucket_bits: int(2),
            label_bytes: int(LABEL as u64),
            label_columns: vec![line("case_ref"), line("handling")],
            salt: Hex([0x88; 32]),
            published_ms: int(NOW - 86_400_000),
            kind: None,
            covers: None,
        })
        .unwrap();
        let mut body = Vec::new();
        let mut emit = |frame: Frame| -> Result<(), Error> {
            body.extend_from_slice(frame.bytes());
            Ok(())
        };
        let mut labels = BTreeMap::new();
        for (at, (output, label)) in entries.iter().enumerate() {
            let tag = output.tag(TAG);
            let key = LabelKey::derive(output, &context).unwrap();
            let sealed = key
                .seal(label, LABEL, &context, tag, [at as u8; 24])
                .unwrap();
            builder.push(tag, &sealed, &mut emit).unwrap();
            if let Ok(label) = String::from_utf8(label.clone()) {
                labels.insert(tag.to_vec(), label);
            }
        }
        let (header, digest) = builder.finish(&self.sender, &mut emit).unwrap();
        self.snapshot.digest = digest;
        ([header.bytes(), &body].concat(), labels)
    }

    fn request(&self, session: u8) -> Request {
        let query = |ty: &str| Query {
            type_name: name(ty),
            rules: vec![line("exact")],
            records: int(16),
            elements: int(16),
            flights: None,
        };
        Request {
            protocol: PROTOCOL.to_owned(),
            suite: SUITE.to_owned(),
            session: Hex([session; 16]),
            build: line("example 1"),
            receiver: Receiver {
                agency: name("police-a"),
                state: Some(line("UTO")),
                signing_key: self.receiver.verify_key().into(),
                tls_spki: Hex([0x31; 32]),
            },
            sender: self.sender_reference(),
            collection: name("watchlist"),
            mode: Mode::Elements,
            profile: Self::profile(),
            legal: Legal {
                class: SessionClass::IndividualCase,
                purpose: line("\"Łódź\" \\ 7/8 \u{a0}\u{1f600}"),
                legal_basis: Some(line("Act 1, section 2")),
                offence_category: None,
                subject_category: None,
                case: Some(claim_commitment("case", &[0x41; 32], "Case 7")),
                dpia: None,
                handling_code: None,
                source_code: None,
            },
            persons: Some(Persons {
                runner: claim_commitment("runner", &[0x42; 32], "officer 12"),
                orderer: None,
                approver: None,
            }),
            queries: vec![query("document"), query("text")],
            set_commitment: None,
            authorisation: None,
            nonce_commitment: Hex([0; 32]),
            previous: Some(Hex([0x77; 32])),
            issued_ms: int(NOW),
            expires_ms: int(NOW + 3_600_000),
        }
    }

    /// A shift: small flights of 2 documents and 3 texts, large ones of 4 and 6.
    fn shift_request(&self, session: u8) -> Request {
        let mut request = self.request(session);
        request.legal.class = SessionClass::BorderDesk;
        for (query, sizes) in request.queries.iter_mut().zip([[2, 4], [3, 6]]) {
            query.flights = Some(sizes.map(int).to_vec());
        }
        request
    }

    fn open(&self, request: Request) -> (Asking, Asked) {
        let seed = SessionSeed::new(SESSION_SEED);
        let key = Arc::clone(&self.receiver);
        let asking = Asking::new(tested_kernel(), request, key, seed).unwrap();
        let frame = asking.frame().clone();
        let asked = Asked::open(frame, &self.receiver_reference(), self.sender_reference());
        (asking, asked.unwrap())
    }

    fn granted(&self, request: Request) -> (Matching, Serving, Vec<Frame>) {
        let session = request.session;
        let (asking, asked) = self.open(request);
        let terms = Terms {
            build: line("example 1"),
            state: None,
            tls_spki: Hex([0x32; 32]),
            epoch: int(1),
            keys: self.type_keys(),
            snapshot: self.snapshot.clone(),
            limits: GrantLimits {
                chunk_elements: int(CHUNK as u64),
                window_chunks: int(2),
            },
            discloses_count: false,
            previous: None,
            expires_ms: int(NOW + 3_600_000),
        };
        let key = Arc::clone(&self.sender);
        let kernel = tested_kernel();
        let granted = asked.grant(kernel, terms, Hex(SENDER_NONCE), NOW + 20, key);
        let (serving, grant) = granted.unwrap();
        let opening = vec![
            record::header(&session).unwrap(),
            asking.frame().clone(),
            grant.clone(),
        ];
        match asking.answer(grant).unwrap() {
            Answer::Granted(matching) => (*matching, serving, opening),
            Answer::Refused { .. } => panic!("refused"),
        }
    }

    fn evaluate(&self, accepted: Accepted, session: Hex<16>) -> Evaluation {
        let receipt = ChargeReceipt::committed(session, accepted.index(), accepted.digest());
        let key = &self.keys[accepted.type_name()];
        let fresh = [0xc0 + accepted.index() as u8; 32];
        accepted.evaluate(&receipt, key, &fresh).unwrap()
    }

    fn charges(serving: &Serving) -> Vec<Charge> {
        let charge = |(type_name, spent): (&Name, u64)| Charge {
            type_name: type_name.clone(),
            elements: int(spent),
            quota_before: int(BUDGET),
            quota_after: int(BUDGET - spent),
        };
        serving.progress().spent().map(charge).collect()
    }
}

fn bytes(frames: &[Frame]) -> Vec<u8> {
    frames
        .iter()
        .flat_map(|frame| frame.bytes().to_vec())
        .collect()
}

impl Scene {
    pub fn play() -> Self {
        let mut world = World::new();
        let (snapshot, labels) = world.publish();
        let session = Hex([0x5e; 16]);
        let (mut matching, mut serving, mut frames) = world.granted(world.request(0x5e));
        let seed = SessionSeed::new(SESSION_SEED);
        let mut elements = Vec::new();
        let mut matches = 0;
        for ty in ["document", "text"] {
            let mut list = asked(&session, ty);
            let mut first = 0u64;
            while !list.is_empty() {
                let rest = list.split_off(list.len().min(CHUNK));
                let (chunk, real): (Vec<Element>, Vec<bool>) = list.into_iter().unzip();
                list = rest;
                let known: Vec<Vec<u8>> = chunk.iter().map(|e| e.as_bytes().to_vec()).collect();
                let blinded = matching
                    .blinder(&name(ty))
                    .unwrap()
                    .blind(first, chunk)
                    .unwrap();
                let (question, sent);
                (matching, question, sent) = matching.send(blinded).unwrap();
                let accepted;
                (serving, accepted) = serving.receive(&question).unwrap();
                let answer;
                (serving, answer) = serving.answer(world.evaluate(accepted, session)).unwrap();
                let answered;
                (matching, answered) = matching.receive(&answer).unwrap();
                let outputs = sent.finalize(answered).unwrap();
                for (at, (output, known)) in outputs.iter().zip(&known).enumerate() {
                    let index = first + at as u64;
                    let kernel = tallystick_protocol::group::reference();
                    let blinds = seed.blinds(kernel, &session.0, ty, index, &[known]);
                    let blind = blinds.unwrap().remove(0);
                    let whole = [output.tag(32), output.label_key_material()].concat();
                    let label = labels.get(output.tag(TAG));
                    matches += u64::from(real[at] && label.is_some());
                    elements.push(json!({
                        "type": ty, "index": index, "padding": !real[at],
                        "element": hex::encode(known),
                        "blind": hex::encode(&blind.to_bytes()[..]),
                        "output": hex::encode(whole),
                        "label": label,
                    }));
                }
                first += known.len() as u64;
                frames.extend([question, answer]);
            }
        }
        assert_eq!(matches, 3);
        let times = Some((NOW + 40, NOW + 60));
        let closing = matching
            .close(Finish::Complete { matches }, times, NOW + 70)
            .unwrap();
        let charged = World::charges(&serving);
        let closed = serving
            .close(closing.frame().clone(), charged, NOW + 80)
            .unwrap();
        frames.extend([closed.receiver, closed.sender]);

        let secret = |key: &SecretKey| hex::encode(&key.to_bytes()[..]);
        let keys: Vec<Value> = world
            .keys
            .iter()
            .map(|(ty, key)| {
                json!({"type": ty.as_str(), "secret": secret(key), "public": hex::encode(key.public_bytes())})
            })
            .collect();
        let values = json!({
            "about": "The secrets behind record.tally and sample.snapshot, and what they give. A label stands where the element's tag is in the snapshot.",
            "receiver_signing_seed": hex::encode(RECEIVER_SEED),
            "sender_signing_seed": hex::encode(SENDER_SEED),
            "session_seed": hex::encode(SESSION_SEED),
            "sender_nonce": hex::encode(SENDER_NONCE),
            "epoch_seed": hex::encode(OPRF_SEED),
            "oprf_keys": keys,
            "case": {"salt": hex::encode([0x41; 32]), "text": "Case 7"},
            "runner": {"salt": hex::encode([0x42; 32]), "text": "officer 12"},
            "outcome": {"salt": hex::encode(&seed.derive(&session, "outcome")[..]), "matches": matches},
            "elements": elements,
            "mix": mix(&seed, &session),
        });
        Self {
            record: bytes(&frames),
            aborted: Self::aborted(&world),
            refused: Self::refused(&world),
            shift: Self::shift(&world),
            snapshot,
            values,
        }
    }

    /// One chunk answered, one charged and not answered; the sender alone closes.
    fn aborted(world: &World) -> Vec<u8> {
        let session = Hex([0x5f; 16]);
        let (mut matching, mut serving, mut frames) = world.granted(world.request(0x5f));
        let elements: Vec<Element> = asked(&session, "document")
            .into_iter()
            .map(|(e, _)| e)
            .collect();
        let mut elements = elements.into_iter();
        for (first, count, answered) in [(0, CHUNK, true), (CHUNK as u64, 4, false)] {
            let chunk: Vec<_> = elements.by_ref().take(count).collect();
            let blinded = matching
                .blinder(&name("document"))
                .unwrap()
                .blind(first, chunk);
            let question;
            (matching, question, _) = matching.send(blinded.unwrap()).unwrap();
            let accepted;
            (serving, accepted) = serving.receive(&question).unwrap();
            frames.push(question);
            if answered {
                let answer;
                (serving, answer) = serving.answer(world.evaluate(accepted, session)).unwrap();
                frames.push(answer);
            }
        }
        let charged = World::charges(&serving);
        frames.push(serving.abort(charged, NOW + 80).unwrap());
        bytes(&frames)
    }

    /// A small flight, in which one document is asked and no text, and a large one of nobody.
    fn shift(world: &World) -> Vec<u8> {
        let session = Hex([0x61; 16]);
        let (mut matching, mut serving, mut frames) =
            world.granted(world.shift_request(session.0[0]));
        let padding = |from: u8, count: u8| (from..from + count).map(|i| padding_element(&[i; 32]));
        let asked = [document("L898902C3", "UTO")];
        let flights: [(&str, u64, Vec<Element>); 4] = [
            ("document", 0, padding(0, 1).chain(asked).collect()),
            ("text", 0, padding(10, 3).collect()),
            ("document", 2, padding(20, 4).collect()),
            ("text", 3, padding(30, 6).collect()),
        ];
        for (ty, first, chunk) in flights {
            let blinded = matching.blinder(&name(ty)).unwrap().blind(first, chunk);
            let (question, accepted, answer);
            (matching, question, _) = matching.send(blinded.unwrap()).unwrap();
            (serving, accepted) = serving.receive(&question).unwrap();
            (serving, answer) = serving.answer(world.evaluate(accepted, session)).unwrap();
            (matching, _) = matching.receive(&answer).unwrap();
            frames.extend([question, answer]);
        }
        let finish = Finish::Complete { matches: 1 };
        let times = Some((NOW + 40, NOW + 60));
        let closing = matching.close(finish, times, NOW + 70).unwrap();
        let charged = World::charges(&serving);
        let closed = serving.close(closing.frame().clone(), charged, NOW + 80);
        let closed = closed.unwrap();
        frames.extend([closed.receiver, closed.sender]);
        bytes(&frames)
    }

    fn refused(world: &World) -> Vec<u8> {
        let (asking, asked) = world.open(world.request(0x60));
        let detail = Some(line("the budget of this epoch is spent"));
        let refused = asked.refuse(RefusalCode::QuotaExceeded, detail, NOW + 20, &world.sender);
        let (request, refusal) = refused.unwrap();
        assert_eq!(request, *asking.frame());
        bytes(&[record::header(&Hex([0x60; 16])).unwrap(), request, refusal])
    }

    /// The trust file; the sender stands first.
    pub fn trust(&self) -> Value {
        let world = World::new();
        json!({
            "schema": "tally.trust/1",
            "agencies": [world.sender_reference(), world.receiver_reference()],
        })
    }
}
