//! A sender that lies: it holds the sender's signing key and the keys of the epoch, and a script of
//! what it says in sessions. Catalogue and snapshots are those of the real node.

use std::sync::{Arc, Mutex};

use tallystick_agency::{
    clock,
    collections::{EpochKeys, Meta, epoch_keys, public_keys},
    home::Home,
    peers::{own_reference, reference},
    store::Store,
};
use tallystick_protocol::{
    dleq::Weights,
    frame::{Frame, Kind},
    group,
    oprf::{self, SecretKey},
    session::{Asked, ChargeReceipt, Terms},
    signing::SigningKey,
    statements::{
        Charge, GrantLimits, Hex, Int, Mode, Name, SenderClosing, SenderReference,
        SnapshotReference, digest_of, open_as_named, sign,
    },
};
use tallystick_tests::{
    forge::{Chunks, elements},
    place::Serving,
    running::{Running, failure},
    stage::{PADDED, Stage},
    tamper::{Keys, Middle, Talk},
};

/// Evaluations of a chunk, and their proof.
pub struct Evaluations {
    pub elements: Vec<[u8; 32]>,
    pub proof: Vec<u8>,
}

/// Answers blinded elements.
pub type Answering = fn(&Sender, &[[u8; 32]]) -> Evaluations;

/// What is not as it should be; all that is left out is.
#[derive(Default)]
pub struct Lies {
    pub terms: Option<fn(&mut Terms)>,
    pub grant: Option<fn(&Sender, Frame) -> Frame>,
    /// The answer to the last chunk. It is well signed all the same.
    pub answer: Option<Answering>,
    pub closing: Option<fn(&mut SenderClosing)>,
}

/// The sender's keys.
pub struct Sender {
    pub signing: ed25519_dalek::SigningKey,
    key: Arc<SigningKey>,
    oprf: EpochKeys,
    me: SenderReference,
    asker: SenderReference,
    tls_spki: [u8; 32],
    snapshot: SnapshotReference,
    epoch: Int,
    /// Kinds of frames that came from the receiver in its last session.
    pub said: Mutex<Vec<Kind>>,
}

impl Sender {
    async fn new(home: &Home) -> Self {
        let store = home.store().await.unwrap();
        let known = store.collection("watchlist").await.unwrap().unwrap();
        let asker = store.peer("asker").await.unwrap().unwrap();
        store.close().await;
        let meta = Meta::of(&known).unwrap();
        let name: Name = "watchlist".parse().unwrap();
        let kernel = group::reference();
        let types = &meta.types;
        Self {
            signing: home.signing_key().unwrap(),
            key: Arc::new(home.signing_key().unwrap().into()),
            oprf: epoch_keys(home, kernel, &name, known.epoch, Mode::Elements, types).unwrap(),
            me: own_reference(home).unwrap(),
            asker: reference(&asker).unwrap(),
            tls_spki: home.tls_identity().unwrap().spki_sha256().unwrap(),
            snapshot: SnapshotReference {
                digest: Hex(known.snapshot_digest.unwrap()),
                elements: Int::new(meta.elements).unwrap(),
                tag_bytes: meta.tag_bytes.into(),
            },
            epoch: Int::new(known.epoch).unwrap(),
            said: Mutex::default(),
        }
    }

    /// The key under which documents are evaluated.
    pub fn document_key(&self) -> &SecretKey {
        self.oprf.values().next().unwrap()
    }

    /// Evaluates under a key, and proves it under that key.
    pub fn evaluate(key: &SecretKey, blinded: &[[u8; 32]]) -> Evaluations {
        let evaluated = oprf::blind_evaluate(group::reference(), key, blinded).unwrap();
        let proof = evaluated.prove(Weights::WholeChunk, &[7; 32]);
        Evaluations {
            proof: proof.as_bytes().to_vec(),
            elements: evaluated.into_elements(),
        }
    }

    async fn hear(&self, talk: &mut Talk) -> Option<Frame> {
        let frame = Frame::from_bytes(talk.next().await?).unwrap();
        self.said.lock().unwrap().push(frame.kind());
        Some(frame)
    }

    /// Holds a session as the lies have it.
    async fn session(&self, lies: &Lies, mut talk: Talk) {
        self.said.lock().unwrap().clear();
        let request = self.hear(&mut talk).await.unwrap();
        let asked = Asked::open(request.clone(), &self.asker, self.me.clone()).unwrap();
        let session = asked.request().session;
        let ms = |at: i64| Int::new(at.try_into().unwrap()).unwrap();
        let now = clock::now_ms();
        let mut terms = Terms {
            build: "a forger".parse().unwrap(),
            state: None,
            tls_spki: Hex(self.tls_spki),
            epoch: self.epoch,
            keys: public_keys(&self.oprf),
            snapshot: self.snapshot.clone(),
            limits: GrantLimits {
                chunk_elements: 16u32.into(),
                window_chunks: 4u32.into(),
            },
            discloses_count: false,
            previous: None,
            expires_ms: ms(now + 60_000),
        };
        if let Some(lie) = lies.terms {
            lie(&mut terms);
        }
        let honest = terms.keys == public_keys(&self.oprf);
        let (kernel, key) = (group::reference(), Arc::clone(&self.key));
        let (mut serving, mut grant) = asked
            .grant(kernel, terms, Hex([5; 32]), ms(now).get(), key)
            .unwrap();
        if let Some(lie) = lies.grant {
            grant = lie(self, grant);
        }
        talk.say(grant.bytes()).await;
        let mut chunks = Chunks::new(session.0, &request, &grant);
        let mut evaluated = 0;
        loop {
            let Some(frame) = self.hear(&mut talk).await else {
                return;
            };
            if frame.kind() != Kind::BlindedChunk {
                let charge = Charge {
                    type_name: "document".parse().unwrap(),
                    elements: Int::new(evaluated).unwrap(),
                    quota_before: Int::new(1_000_000).unwrap(),
                    quota_after: Int::new(1_000_000 - evaluated).unwrap(),
                };
                let now = ms(clock::now_ms()).get();
                let mut closing = serving.close(frame, vec![charge], now).unwrap().sender;
                if let Some(lie) = lies.closing {
                    let mut said: SenderClosing = open_as_named(&closing).unwrap();
                    lie(&mut said);
                    closing = sign(&said, &self.key).unwrap();
                }
                talk.say(closing.bytes()).await;
                // The receiver ends the call.
                while self.hear(&mut talk).await.is_some() {}
                return;
            }
            chunks.asked(&frame);
            let blinded = elements(&frame);
            evaluated += blinded.len() as u64;
            let lie = lies.answer.filter(|_| evaluated == PADDED);
            if let Some(lie) = lie {
                let Evaluations { elements, proof } = lie(self, &blinded);
                let answer = chunks.evaluated(&elements, &proof, &self.signing);
                talk.say(answer.bytes()).await;
                while self.hear(&mut talk).await.is_some() {}
                return;
            }
            let accepted;
            (serving, accepted) = serving.receive(&frame).unwrap();
            let receipt = ChargeReceipt::committed(session, accepted.index(), digest_of(&frame));
            if !honest {
                // It has promised another key: what the real node would not do.
                let Evaluations { elements, proof } = Self::evaluate(self.document_key(), &blinded);
                let answer = chunks.evaluated(&elements, &proof, &self.signing);
                talk.say(answer.bytes()).await;
                continue;
            }
            let evaluation = accepted
                .evaluate(&receipt, self.document_key(), &[9; 32])
                .unwrap();
            let answer;
            (serving, answer) = serving.answer(evaluation).unwrap();
            // The forger's own signature is the honest one where nothing is forged.
            let parts = answer.body();
            let proof = &parts[parts.len() - 128..parts.len() - 64];
            let again = chunks.evaluated(&elements(&answer), proof, &self.signing);
            assert_eq!(again, answer);
            talk.say(answer.bytes()).await;
        }
    }
}

/// Two agencies; the sender's real node, and a liar in front of it.
pub struct Liar {
    pub stage: Stage,
    _serving: Serving,
    keys: Arc<Keys>,
    sender: Arc<Sender>,
}

impl Liar {
    pub async fn new() -> Self {
        let stage = Stage::new();
        let serving = stage.place.serve("holder");
        let (holder, asker) = (stage.place.home("holder"), stage.place.home("asker"));
        let keys = Keys::new(&holder, asker, serving.address).await;
        let sender = Arc::new(Sender::new(&holder).await);
        Self {
            stage,
            _serving: serving,
            keys,
            sender,
        }
    }

    /// Runs a match against the liar. It must break off with exit 4, write nothing and keep what
    /// came. Gives the code of the error, and the kinds of frames that it had sent.
    pub async fn refused(&self, lies: Lies) -> (String, Vec<Kind>) {
        let before = self.stage.records("asker", ".broken").len();
        let middle = self.lying(lies).await;
        let line = self.stage.line("asker", middle.address, "hits.csv");
        let running = Running::start(&self.stage.place, &line);
        let (code, message) = tokio::task::spawn_blocking(|| running.failure(4))
            .await
            .unwrap();
        assert!(!message.is_empty());
        assert!(!self.stage.place.path("hits.csv").exists());
        assert_eq!(self.stage.records("asker", ".broken").len(), before + 1);
        let said = self.sender.said.lock().unwrap().clone();
        (code, said)
    }

    pub async fn lying(&self, lies: Lies) -> Middle {
        let (sender, lies) = (Arc::clone(&self.sender), Arc::new(lies));
        Middle::scripted(&self.keys, move |talk| {
            let (sender, lies) = (Arc::clone(&sender), Arc::clone(&lies));
            async move { sender.session(&lies, talk).await }
        })
        .await
    }
}

/// The code of the error of a match that was refused and wrote nothing.
pub fn refused(stage: &Stage, line: &str, exit: i32) -> String {
    let ended = Running::start(&stage.place, line).end();
    assert_eq!(ended.code, exit, "{}", ended.err);
    assert_eq!(ended.out, "");
    failure(&ended).0
}
