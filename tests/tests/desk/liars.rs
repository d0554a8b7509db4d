//! Peers with the right signing key that say what is not so, or grant less than was asked.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tallystick_agency::{
    clock,
    collections::{EpochKeys, Meta, epoch_keys, public_keys},
    peers::{own_reference, reference},
    store::Store,
};
use tallystick_client::desk::{Ended, LinkState};
use tallystick_protocol::{
    dleq::Weights,
    frame::{Frame, Kind},
    group,
    oprf::{self, SecretKey},
    session::{Asked, ChargeReceipt, Terms},
    signing::SigningKey,
    statements::{
        Charge, GrantLimits, Hex, Int, Mode, Name, SenderReference, SnapshotReference, digest_of,
    },
};
use tallystick_tests::{
    forge::{Chunks, elements},
    tamper::{Keys, Middle, Talk},
};

use super::{Post, asks_well, hits, missed, only, traveller};

/// What is not as it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lie {
    /// The second flight's first proof is another's.
    Proof,
    /// The second flight is evaluated, and proven, under the key of the other type.
    Key,
    /// A grant lives this long, in milliseconds.
    Short(i64),
}

/// The sender's keys.
struct Sender {
    signing: ed25519_dalek::SigningKey,
    oprf: EpochKeys,
    me: SenderReference,
    asker: SenderReference,
    tls_spki: [u8; 32],
    snapshot: SnapshotReference,
    epoch: Int,
    /// Sessions so far.
    sessions: Mutex<u32>,
}

fn ms(at: i64) -> Int {
    Int::new(at.try_into().unwrap()).unwrap()
}

impl Sender {
    async fn new(post: &Post) -> Self {
        let home = post.place.home("holder");
        let store = home.store().await.unwrap();
        let known = store.collection("watchlist").await.unwrap().unwrap();
        let asker = store.peer("asker").await.unwrap().unwrap();
        store.close().await;
        let meta = Meta::of(&known).unwrap();
        let name: Name = "watchlist".parse().unwrap();
        let kernel = group::reference();
        Self {
            signing: home.signing_key().unwrap(),
            oprf: epoch_keys(
                &home,
                kernel,
                &name,
                known.epoch,
                Mode::Elements,
                &meta.types,
            )
            .unwrap(),
            me: own_reference(&home).unwrap(),
            asker: reference(&asker).unwrap(),
            tls_spki: home.tls_identity().unwrap().spki_sha256().unwrap(),
            snapshot: SnapshotReference {
                digest: Hex(known.snapshot_digest.unwrap()),
                elements: Int::new(meta.elements).unwrap(),
                tag_bytes: meta.tag_bytes.into(),
            },
            epoch: Int::new(known.epoch).unwrap(),
            sessions: Mutex::new(0),
        }
    }

    fn evaluate(key: &SecretKey, blinded: &[[u8; 32]]) -> (Vec<[u8; 32]>, Vec<u8>) {
        let evaluated = oprf::blind_evaluate(group::reference(), key, blinded).unwrap();
        let proof = evaluated.prove(Weights::WholeChunk, &[7; 32]);
        (evaluated.into_elements(), proof.as_bytes().to_vec())
    }

    /// Holds a session, with the lie in it.
    async fn session(&self, lie: Lie, mut talk: Talk) {
        let request = Frame::from_bytes(talk.next().await.unwrap()).unwrap();
        *self.sessions.lock().unwrap() += 1;
        let asked = Asked::open(request.clone(), &self.asker, self.me.clone()).unwrap();
        let session = asked.request().session;
        let now = clock::now_ms();
        let lives = match lie {
            Lie::Short(lives) => lives,
            _ => 3_600_000,
        };
        let terms = Terms {
            build: "a forger".parse().unwrap(),
            state: None,
            tls_spki: Hex(self.tls_spki),
            epoch: self.epoch,
            keys: public_keys(&self.oprf),
            snapshot: self.snapshot.clone(),
            limits: GrantLimits {
                chunk_elements: 1024u32.into(),
                window_chunks: 4u32.into(),
            },
            discloses_count: false,
            previous: None,
            expires_ms: ms(now + lives),
        };
        let key: Arc<SigningKey> = Arc::new(self.signing.clone().into());
        let (mut serving, grant) = asked
            .grant(group::reference(), terms, Hex([5; 32]), ms(now).get(), key)
            .unwrap();
        talk.say(grant.bytes()).await;
        let mut chunks = Chunks::new(session.0, &request, &grant);
        let mut charged = 0;
        for nth in 0.. {
            let Some(frame) = talk.next().await else {
                return;
            };
            let frame = Frame::from_bytes(frame).unwrap();
            if frame.kind() != Kind::BlindedChunk {
                let charges = self.oprf.keys().map(|type_name| Charge {
                    type_name: type_name.clone(),
                    elements: Int::new(charged / 2).unwrap(),
                    quota_before: Int::new(1_000_000).unwrap(),
                    quota_after: Int::new(1_000_000 - charged / 2).unwrap(),
                });
                let now = ms(clock::now_ms()).get();
                let closing = serving.close(frame, charges.collect(), now).unwrap().sender;
                talk.say(closing.bytes()).await;
                while talk.next().await.is_some() {}
                return;
            }
            chunks.asked(&frame);
            let blinded = elements(&frame);
            charged += blinded.len() as u64;
            let accepted;
            (serving, accepted) = serving.receive(&frame).unwrap();
            let mut keys = self.oprf.iter();
            let own = keys.find(|(ty, _)| *ty == accepted.type_name()).unwrap().1;
            let other = self.oprf.iter().find(|(ty, _)| *ty != accepted.type_name());
            let receipt = ChargeReceipt::committed(session, accepted.index(), digest_of(&frame));
            let evaluation = accepted.evaluate(&receipt, own, &[9; 32]).unwrap();
            let honest;
            (serving, honest) = serving.answer(evaluation).unwrap();
            let (evaluated, proof) = match lie {
                Lie::Proof if nth == 2 => {
                    let (mut evaluated, proof) = Self::evaluate(own, &blinded);
                    // Each is a true evaluation: of another place.
                    evaluated.swap(0, 1);
                    (evaluated, proof)
                }
                Lie::Key if nth >= 2 => Self::evaluate(other.unwrap().1, &blinded),
                _ => {
                    let body = honest.body();
                    let proof = body[body.len() - 128..body.len() - 64].to_vec();
                    (elements(&honest), proof)
                }
            };
            let answer = chunks.evaluated(&evaluated, &proof, &self.signing);
            talk.say(answer.bytes()).await;
        }
    }
}

async fn lying(
    post: &Post,
    sender: &Arc<Sender>,
    lie: Lie,
) -> (Middle, tallystick_tests::place::Serving) {
    let serving = post.place.serve("holder");
    let (holder, asker) = (post.place.home("holder"), post.place.home("asker"));
    let keys = Keys::new(&holder, asker, serving.address).await;
    let sender = Arc::clone(sender);
    let middle = Middle::scripted(&keys, move |talk| {
        let sender = Arc::clone(&sender);
        async move { sender.session(lie, talk).await }
    });
    (middle.await, serving)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_proof_or_another_key_is_no_miss_and_ends_the_shift() {
    for lie in [Lie::Proof, Lie::Key] {
        let post = Post::new();
        let sender = Arc::new(Sender::new(&post).await);
        let (middle, _serving) = lying(&post, &sender, lie).await;
        let desk = post.open(post.options(middle.address)).await;
        // The forger's answers are right where it does not lie.
        let answer = desk.answers(&traveller("W1", "Berg")).await;
        assert_eq!(hits(&answer[0]).len(), 1);
        // One that is not on the list: under a wrong key it would be a miss just as well.
        let answer = desk.answers(&traveller("P2", "Berg")).await;
        let (code, why) = missed(&answer[0]);
        assert_eq!(code, "bad-proof", "{lie:?}: {why}");
        let (code, _) = missed(&desk.answers(&traveller("W3", "Berg")).await[0]);
        assert_eq!(code, "bad-proof");
        assert_eq!(desk.status().collections[0].state, LinkState::Over);
        assert_eq!(*sender.sessions.lock().unwrap(), 1, "not asked again");
        assert_eq!(post.records("asker", ".broken").len(), 1);
        assert_eq!(post.records("asker", ".shift"), [""; 0]);
        let report = desk.close().await.unwrap();
        assert_eq!(only(&report).sessions[0].ended, Ended::Broken);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_ends_is_followed_by_another() {
    let post = Post::new();
    let sender = Arc::new(Sender::new(&post).await);
    let (middle, _serving) = lying(&post, &sender, Lie::Short(4000)).await;
    let desk = post.open(post.options(middle.address)).await;
    asks_well(&desk, 1).await;
    let first = desk.status().collections[0].session.clone();
    for n in 2..12 {
        asks_well(&desk, n).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_ne!(desk.status().collections[0].session, first);
    let report = desk.close().await.unwrap();
    let sessions = &only(&report).sessions;
    assert!(sessions.len() >= 2, "{report:?}");
    for session in sessions {
        assert_eq!(session.ended, Ended::Complete, "{report:?}");
    }
}
