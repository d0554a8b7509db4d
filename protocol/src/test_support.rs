//! Two agencies in memory, for the tests of sessions, snapshots and records.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, OnceLock},
};

use crate::{
    frame::Frame,
    group::{self, Kernel},
    identifiers::{Element, IdentifierType, normalise, padding_element},
    oprf::{self, Output, SecretKey},
    record,
    session::{
        Accepted, Answer, Asked, Asking, ChargeReceipt, Evaluation, Finish, Matching, Sent,
        Serving, SessionSeed, Terms,
    },
    signing::SigningKey,
    snapshot::{self, Bucket, LabelContext, LabelKey, SnapshotBuilder, SnapshotVerifier},
    statements::{
        Charge, GrantLimits, Hex, Int, Legal, Line, Mode, Name, PROTOCOL, ProfilePartReference,
        ProfileReference, Query, Receiver, Request, SUITE, SenderReference, SessionClass,
        SnapshotPreamble, SnapshotReference, TypeKey,
    },
};

/// Values from here on stand for padding elements.
pub(crate) const PADDING: u32 = 1 << 20;
/// Time of every request.
pub(crate) const NOW: u64 = 1_800_000_000_000;
/// Elements that the quota allows before a session.
pub(crate) const QUOTA: u64 = 1_000_000;
/// Secret bytes of the session seed: looked for in whatever must not show them.
pub(crate) const SEED: [u8; 32] = [0xa7; 32];

/// The kernel that `TALLY_KERNEL` names, or the fastest one.
pub(crate) fn kernel() -> &'static dyn Kernel {
    static KERNEL: OnceLock<&'static dyn Kernel> = OnceLock::new();
    *KERNEL.get_or_init(|| match std::env::var("TALLY_KERNEL") {
        Ok(name) => group::by_name(&name).unwrap(),
        Err(_) => group::best(),
    })
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn line(text: &str) -> Line {
    text.parse().unwrap()
}

pub(crate) fn int(value: u64) -> Int {
    Int::new(value).unwrap()
}

/// The element of a number; numbers from [`PADDING`] on are padding.
pub(crate) fn element(type_name: &str, value: u32) -> Element {
    if value >= PADDING {
        let mut random = [0x5a; 32];
        random[..4].copy_from_slice(&value.to_be_bytes());
        return padding_element(&random);
    }
    let text = format!("value {value}");
    let ty: IdentifierType = type_name.parse().unwrap();
    normalise(ty, &[&text]).unwrap().unwrap().element
}

/// What the label of a number says.
pub(crate) fn payload(type_name: &str, value: u32) -> Vec<u8> {
    format!("{type_name} record of {value}").into_bytes()
}

/// Two agencies, their keys and the keys of one epoch.
pub(crate) struct World {
    pub(crate) receiver: Arc<SigningKey>,
    pub(crate) sender: Arc<SigningKey>,
    pub(crate) keys: BTreeMap<Name, SecretKey>,
}

impl World {
    pub(crate) fn new() -> Self {
        let keys = ["bytes", "text"].map(|ty| {
            let key = SecretKey::from_seed(kernel(), &[0x6b; 32], ty.as_bytes()).unwrap();
            (name(ty), key)
        });
        Self {
            receiver: Arc::new(SigningKey::from_seed(&[0x11; 32])),
            sender: Arc::new(SigningKey::from_seed(&[0x22; 32])),
            keys: keys.into(),
        }
    }

    pub(crate) fn receiver_reference(&self) -> SenderReference {
        SenderReference {
            agency: name("police-a"),
            signing_key: self.receiver.verify_key().into(),
        }
    }

    pub(crate) fn sender_reference(&self) -> SenderReference {
        SenderReference {
            agency: name("border-b"),
            signing_key: self.sender.verify_key().into(),
        }
    }

    pub(crate) fn type_keys<'a>(&self, types: impl Iterator<Item = &'a Name>) -> Vec<TypeKey> {
        types
            .map(|ty| TypeKey {
                type_name: ty.clone(),
                public_key: Hex(*self.keys[ty].public_bytes()),
            })
            .collect()
    }

    /// A request; `queries` are types, ascending, with their numbers of elements.
    pub(crate) fn request(&self, session: u8, queries: &[(&str, u64)]) -> Request {
        Request {
            protocol: PROTOCOL.to_owned(),
            suite: SUITE.to_owned(),
            session: Hex([session; 16]),
            build: line("tally 0.1.0"),
            receiver: Receiver {
                agency: name("police-a"),
                state: Some(line("UTO")),
                signing_key: self.receiver.verify_key().into(),
                tls_spki: Hex([0x31; 32]),
            },
            sender: self.sender_reference(),
            collection: name("fighters"),
            mode: Mode::Elements,
            profile: ProfileReference::new(
                line("exact/1"),
                vec![ProfilePartReference {
                    name: name("document"),
                    hash: Hex([0x33; 32]),
                }],
            ),
            legal: Legal {
                class: SessionClass::IndividualCase,
                purpose: line("Case 7 — Łódź"),
                legal_basis: None,
                offence_category: None,
                subject_category: None,
                case: None,
                dpia: None,
                handling_code: None,
                source_code: None,
            },
            persons: None,
            queries: queries
                .iter()
                .map(|(ty, elements)| Query {
                    type_name: name(ty),
                    rules: vec![line("exact")],
                    records: int(*elements),
                    elements: int(*elements),
                    flights: None,
                })
                .collect(),
            set_commitment: None,
            authorisation: None,
            nonce_commitment: Hex([0; 32]),
            previous: None,
            issued_ms: int(NOW),
            expires_ms: int(NOW + 60_000),
        }
    }

    pub(crate) fn terms(&self, request: &Request, chunk: u64, window: u64) -> Terms {
        Terms {
            build: line("tallyd 0.1.0"),
            state: None,
            tls_spki: Hex([0x32; 32]),
            epoch: int(3),
            keys: self.type_keys(request.queries.iter().map(|q| &q.type_name)),
            snapshot: SnapshotReference {
                digest: Hex([0x44; 32]),
                elements: int(16),
                tag_bytes: int(7),
            },
            limits: GrantLimits {
                chunk_elements: int(chunk),
                window_chunks: int(window),
            },
            discloses_count: false,
            previous: None,
            expires_ms: int(NOW + 3_600_000),
        }
    }

    pub(crate) fn ask(&self, request: Request) -> Asking {
        let seed = SessionSeed::new(SEED);
        Asking::new(kernel(), request, Arc::clone(&self.receiver), seed).unwrap()
    }

    pub(crate) fn asked(&self, asking: &Asking) -> Asked {
        let frame = asking.frame().clone();
        Asked::open(frame, &self.receiver_reference(), self.sender_reference()).unwrap()
    }

    /// Both sides of a granted session, and the grant.
    pub(crate) fn granted(
        &self,
        request: Request,
        chunk: u64,
        window: u64,
    ) -> (Matching, Serving, [Frame; 2]) {
        let terms = self.terms(&request, chunk, window);
        self.granted_with(request, terms)
    }

    pub(crate) fn granted_with(
        &self,
        request: Request,
        terms: Terms,
    ) -> (Matching, Serving, [Frame; 2]) {
        let asking = self.ask(request);
        let asked = self.asked(&asking);
        let key = Arc::clone(&self.sender);
        let (serving, grant) = asked.grant(kernel(), terms, NONCE, NOW + 5, key).unwrap();
        let request = asking.frame().clone();
        (
            expect_grant(asking.answer(grant.clone()).unwrap()),
            serving,
            [request, grant],
        )
    }

    /// Evaluates a chunk as a sender should.
    pub(crate) fn evaluate(&self, accepted: Accepted, session: Hex<16>) -> Evaluation {
        let receipt = ChargeReceipt::committed(session, accepted.index(), accepted.digest());
        let key = &self.keys[accepted.type_name()];
        accepted.evaluate(&receipt, key, &[0x77; 32]).unwrap()
    }

    /// Takes a chunk, evaluates and answers it.
    pub(crate) fn serve(&self, serving: Serving, frame: &Frame) -> (Serving, Frame) {
        let session = serving.agreement().request().session;
        let (serving, accepted) = serving.receive(frame).unwrap();
        serving.answer(self.evaluate(accepted, session)).unwrap()
    }

    /// Runs a whole session. `sets` are types, ascending, with the numbers the receiver holds.
    pub(crate) fn run(&self, session: u8, sets: &[(&str, Vec<u32>)], limits: (u64, u64)) -> Run {
        let queries: Vec<_> = sets
            .iter()
            .map(|(ty, set)| (*ty, set.len() as u64))
            .collect();
        let (matching, serving, opening) =
            self.granted(self.request(session, &queries), limits.0, limits.1);
        self.run_on(matching, serving, opening, sets, limits)
    }

    pub(crate) fn run_on(
        &self,
        mut matching: Matching,
        mut serving: Serving,
        opening: [Frame; 2],
        sets: &[(&str, Vec<u32>)],
        (chunk, window): (u64, u64),
    ) -> Run {
        let mut due: VecDeque<(&str, u64, &[u32])> = VecDeque::new();
        for (ty, set) in sets {
            let chunks = set.chunks(chunk as usize).enumerate();
            due.extend(chunks.map(|(i, values)| (*ty, i as u64 * chunk, values)));
        }
        let mut run = Run {
            frames: opening.into(),
            outputs: BTreeMap::new(),
            most_under_way: 0,
        };
        let mut under_way: VecDeque<(Sent, Frame, &str, &[u32])> = VecDeque::new();
        loop {
            // The window is filled before anything is answered: so chunks really are under way.
            while under_way.len() < window as usize
                && let Some((ty, first, values)) = due.pop_front()
            {
                let elements: Vec<_> = values.iter().map(|v| element(ty, *v)).collect();
                let blinded = matching.blinder(&name(ty)).unwrap().blind(first, elements);
                let (next, frame, sent) = matching.send(blinded.unwrap()).unwrap();
                matching = next;
                under_way.push_back((sent, frame, ty, values));
            }
            run.most_under_way = run.most_under_way.max(under_way.len());
            let Some((sent, frame, ty, values)) = under_way.pop_front() else {
                break;
            };
            let (next, answer) = self.serve(serving, &frame);
            serving = next;
            let (next, answered) = matching.receive(&answer).unwrap();
            matching = next;
            let outputs = sent.finalize(answered).unwrap();
            run.outputs
                .entry(name(ty))
                .or_default()
                .extend(values.iter().copied().zip(outputs));
            run.frames.extend([frame, answer]);
        }
        let charged = charges(&serving);
        let finish = Finish::Complete { matches: 0 };
        let closing = matching
            .close(finish, Some((NOW + 10, NOW + 20)), NOW + 30)
            .unwrap();
        let closed = serving
            .close(closing.frame().clone(), charged, NOW + 40)
            .unwrap();
        let settled = closing.settle(closed.sender.clone()).unwrap();
        assert_eq!(settled.receiver, closed.receiver);
        run.frames.extend([closed.receiver, closed.sender]);
        run
    }

    pub(crate) fn preamble(
        &self,
        types: &[&str],
        elements: u64,
        bits: u32,
        label: usize,
    ) -> SnapshotPreamble {
        let names: Vec<_> = types.iter().map(|ty| name(ty)).collect();
        SnapshotPreamble {
            sender: self.sender_reference(),
            collection: name("fighters"),
            epoch: int(3),
            mode: Mode::Elements,
            profile: ProfileReference::new(
                line("exact/1"),
                vec![ProfilePartReference {
                    name: name("document"),
                    hash: Hex([0x33; 32]),
                }],
            ),
            keys: self.type_keys(names.iter()),
            elements: int(elements),
            tag_bytes: snapshot::tag_bytes(1000, elements).into(),
            bucket_bits: bits.into(),
            label_bytes: int(label as u64),
            label_columns: if label == 0 {
                vec![]
            } else {
                vec![line("file")]
            },
            salt: Hex([0x55; 32]),
            published_ms: int(NOW - 1000),
            kind: None,
            covers: None,
        }
    }

    /// Builds the snapshot of what the sender holds. A number held twice is one element.
    pub(crate) fn publish(&self, sets: &[(&str, Vec<u32>)], bits: u32, label: usize) -> Published {
        let types: Vec<_> = sets.iter().map(|(ty, _)| *ty).collect();
        let sets: Vec<(&str, BTreeSet<u32>)> = sets
            .iter()
            .map(|(ty, set)| (*ty, set.iter().copied().collect()))
            .collect();
        let total = sets.iter().map(|(_, set)| set.len() as u64).sum();
        let preamble = self.preamble(&types, total, bits, label);
        let context = LabelContext::new(&preamble.collection, preamble.epoch.get());
        let mut entries = Vec::new();
        for (ty, set) in &sets {
            let elements: Vec<_> = set.iter().map(|v| element(ty, *v)).collect();
            let inputs: Vec<_> = elements.iter().map(Element::as_bytes).collect();
            let outputs = oprf::evaluate(kernel(), &inputs, &self.keys[&name(ty)]).unwrap();
            for (value, output) in set.iter().zip(outputs) {
                let tag = output.tag(preamble.tag_len()).to_vec();
                let sealed = match label {
                    0 => Vec::new(),
                    _ => LabelKey::derive(&output, &context)
                        .unwrap()
                        .seal(
                            &payload(ty, *value),
                            label,
                            &context,
                            &tag,
                            [*value as u8; 24],
                        )
                        .unwrap(),
                };
                entries.push((tag, sealed));
            }
        }
        entries.sort();
        Published::build(preamble, &entries, &self.sender)
    }
}

/// The sender's audit nonce in every session.
pub(crate) const NONCE: Hex<32> = Hex([0x99; 32]);

pub(crate) fn expect_grant(answer: Answer) -> Matching {
    match answer {
        Answer::Granted(matching) => *matching,
        Answer::Refused { .. } => panic!("refused"),
    }
}

/// What a sender's closing has to say was charged.
pub(crate) fn charges(serving: &Serving) -> Vec<Charge> {
    serving
        .progress()
        .spent()
        .map(|(type_name, spent)| Charge {
            type_name: type_name.clone(),
            elements: int(spent),
            quota_before: int(QUOTA),
            quota_after: int(QUOTA - spent),
        })
        .collect()
}

/// A session that was run.
pub(crate) struct Run {
    /// Request, grant, chunks and closings in the order of a record.
    pub(crate) frames: Vec<Frame>,
    /// For each type: the receiver's numbers with their outputs, in order.
    pub(crate) outputs: BTreeMap<Name, Vec<(u32, Output)>>,
    /// The most chunks that were under way at one time.
    pub(crate) most_under_way: usize,
}

impl Run {
    /// The record's frames.
    pub(crate) fn record(&self, session: u8) -> Vec<Frame> {
        let header = record::header(&Hex([session; 16])).unwrap();
        std::iter::once(header)
            .chain(self.frames.iter().cloned())
            .collect()
    }
}

/// A snapshot in memory.
pub(crate) struct Published {
    pub(crate) preamble: SnapshotPreamble,
    pub(crate) header: Frame,
    pub(crate) buckets: Vec<Frame>,
    pub(crate) root: Hex<32>,
}

impl Published {
    pub(crate) fn build(
        preamble: SnapshotPreamble,
        entries: &[(Vec<u8>, Vec<u8>)],
        key: &SigningKey,
    ) -> Self {
        let mut builder = SnapshotBuilder::new(preamble.clone()).unwrap();
        let mut buckets = Vec::new();
        let mut emit = |frame| -> Result<(), crate::error::Error> {
            buckets.push(frame);
            Ok(())
        };
        for (tag, sealed) in entries {
            builder.push(tag, sealed, &mut emit).unwrap();
        }
        let (header, root) = builder.finish(key, &mut emit).unwrap();
        Self {
            preamble,
            header,
            buckets,
            root,
        }
    }

    /// Verifies it as a receiver does.
    pub(crate) fn verify(&self, world: &World) -> snapshot::VerifiedSnapshot {
        let key = world.sender.verify_key();
        let mut verifier = SnapshotVerifier::new(&self.header, &key).unwrap();
        for bucket in &self.buckets {
            verifier.push(bucket).unwrap();
        }
        verifier.finish().unwrap()
    }

    /// Looks an output up; the opened label of a hit, empty where there are no labels.
    pub(crate) fn look_up(&self, output: &Output) -> Option<Vec<u8>> {
        let preamble = &self.preamble;
        let tag = output.tag(preamble.tag_len());
        let index = snapshot::bucket_of(tag, preamble.bucket_bits.get());
        let bucket = Bucket::parse(&self.buckets[index as usize], preamble).unwrap();
        let position = bucket.find(tag)?;
        let sealed = bucket.sealed_label(position).unwrap();
        if sealed.is_empty() {
            return Some(Vec::new());
        }
        let context = LabelContext::new(&preamble.collection, preamble.epoch.get());
        let key = LabelKey::derive(output, &context).unwrap();
        Some(key.open(sealed, &context, tag).unwrap().to_vec())
    }
}

/// Some valid encoding.
pub(crate) fn encoding() -> [u8; 32] {
    let key = SecretKey::from_seed(kernel(), &[0x01; 32], b"some point").unwrap();
    *key.public_bytes()
}
