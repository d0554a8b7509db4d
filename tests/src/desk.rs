//! A desk by hand: a shift flight by flight, without a client's good manners and limits. Whoever attacks
//! writes a program of his own.

use std::{collections::HashSet, net::SocketAddr, sync::Arc, time::Duration};

use tallystick_agency::{
    build, clock, collections::snapshot_path, home::Home, peers::own_reference, store::Store,
};
use tallystick_protocol::{
    frame::Frame,
    group,
    identifiers::{Element, padding_element},
    oprf::Output,
    session::{Answer, Asking, Finish, Matching, SessionSeed},
    signing::{SigningKey, VerifyKey},
    snapshot::{Bucket, SnapshotVerifier},
    statements::{
        Catalogue, CatalogueEntry, Hex, Int, Legal, Mode, PROTOCOL, Query, Receiver, Refusal,
        Request, SUITE, SenderClosing, SenderReference, SessionClass, SnapshotPreamble, open,
        open_as_named,
    },
};
use tallystick_wire::CatalogueRequest;
use tonic::Status;

use crate::{
    forge::frames,
    place::Place,
    wire::{self, Call},
};

/// A call that waits longer hangs.
const LONGEST: Duration = Duration::from_secs(30);

/// The keys of an agency that asks, and what a peer offers it.
#[derive(Debug)]
pub struct Desk {
    home: Home,
    address: SocketAddr,
    peer: SenderReference,
    key: Arc<SigningKey>,
}

/// A type of a shift: its name, the most elements, the sizes of its flights.
pub type Ask<'a> = (&'a str, u64, &'a [u64]);

/// A granted shift.
#[derive(Debug)]
pub struct Shift {
    call: Call,
    matching: Option<Matching>,
    /// The frames in the order of the record.
    pub frames: Vec<Frame>,
    asked: u64,
}

fn int(n: u64) -> Int {
    Int::new(n).unwrap()
}

impl Desk {
    /// The desk of `home`, which asks `peer` at an address.
    #[must_use]
    pub fn new(place: &Place, home: &str, peer: &str, address: SocketAddr) -> Self {
        let home = place.home(home);
        Self {
            key: Arc::new(home.signing_key().unwrap().into()),
            peer: own_reference(&place.home(peer)).unwrap(),
            home,
            address,
        }
    }

    /// The same desk, where the peer listens now.
    pub fn lead_to(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// What is offered of this name.
    pub async fn offer(&self, collection: &str) -> CatalogueEntry {
        let peer = self.peer.agency.as_str();
        let mut client = wire::connect(&self.home, peer, self.address).await;
        let envelope = client.catalogue(CatalogueRequest {}).await.unwrap();
        let frame = Frame::try_from(envelope.into_inner()).unwrap();
        let catalogue: Catalogue = open(&frame, &self.peer.signing_key.into()).unwrap();
        let mut entries = catalogue.collections.into_iter();
        let name = |entry: &CatalogueEntry| entry.collection.as_str() == collection;
        entries.find(name).unwrap()
    }

    /// A request of a shift.
    #[must_use]
    pub fn asking(&self, session: u8, offer: &CatalogueEntry, asks: &[Ask<'_>]) -> Asking {
        let me = own_reference(&self.home).unwrap();
        let now = u64::try_from(clock::now_ms()).unwrap();
        let rules = |name: &str| {
            let profile = tallystick_protocol::identifiers::Profile::exact();
            let name = name.parse().unwrap();
            tallystick_agency::collections::rule_names(profile, &name).unwrap()
        };
        let queries = asks.iter().map(|(name, most, flights)| Query {
            type_name: name.parse().unwrap(),
            rules: rules(name),
            records: int(*most),
            elements: int(*most),
            flights: Some(flights.iter().map(|size| int(*size)).collect()),
        });
        let request = Request {
            protocol: PROTOCOL.to_owned(),
            suite: SUITE.to_owned(),
            session: Hex([session; 16]),
            build: build::line().unwrap(),
            receiver: Receiver {
                agency: me.agency,
                state: None,
                signing_key: me.signing_key,
                tls_spki: Hex(self.home.tls_identity().unwrap().spki_sha256().unwrap()),
            },
            sender: self.peer.clone(),
            collection: offer.collection.clone(),
            mode: Mode::Elements,
            profile: offer.profile.clone(),
            legal: Legal {
                class: SessionClass::BorderDesk,
                ..legal()
            },
            persons: None,
            queries: queries.collect(),
            set_commitment: None,
            authorisation: None,
            nonce_commitment: Hex([0; 32]),
            previous: None,
            issued_ms: int(now),
            expires_ms: int(now + 3_600_000),
        };
        let seed = SessionSeed::new([session; 32]);
        Asking::new(group::best(), request, Arc::clone(&self.key), seed).unwrap()
    }

    /// Begins a shift.
    ///
    /// # Errors
    /// The code of the refusal.
    pub async fn begin(&self, asking: Asking) -> Result<Shift, &'static str> {
        let request = asking.frame().clone();
        let mut call = self.call(&request).await;
        let frame = next(&mut call).await.unwrap().unwrap();
        match asking.answer(frame.clone()).unwrap() {
            Answer::Granted(matching) => Ok(Shift {
                call,
                matching: Some(*matching),
                frames: vec![request, frame],
                asked: 0,
            }),
            Answer::Refused { refusal, .. } => Err(code(&refusal)),
        }
    }

    /// Takes a shift up again on a new connection; it must be granted as before.
    pub async fn resume(&self, shift: &mut Shift) {
        shift.call = self.call(&shift.frames[0]).await;
        let grant = next(&mut shift.call).await.unwrap().unwrap();
        assert!(grant == shift.frames[1], "another grant");
    }

    /// Says the request of a shift once more, whatever comes of it.
    pub async fn say_again(&self, shift: &mut Shift) {
        shift.call = self.call(&shift.frames[0]).await;
    }

    async fn call(&self, first: &Frame) -> Call {
        let peer = self.peer.agency.as_str();
        let mut client = wire::connect(&self.home, peer, self.address).await;
        let call = tokio::time::timeout(LONGEST, wire::call(&mut client, first));
        call.await.unwrap().unwrap()
    }
}

fn legal() -> Legal {
    Legal {
        class: SessionClass::NotStated,
        purpose: "not stated".parse().unwrap(),
        legal_basis: None,
        offence_category: None,
        subject_category: None,
        case: None,
        dpia: None,
        handling_code: None,
        source_code: None,
    }
}

fn code(refusal: &Refusal) -> &'static str {
    refusal.code.name()
}

async fn next(call: &mut Call) -> Result<Option<Frame>, Status> {
    let next = tokio::time::timeout(LONGEST, call.next()).await;
    next.expect("the node says nothing and does not end")
}

impl Shift {
    /// One flight: the elements of each type in order, as many as one of its sizes. Gives their outputs.
    ///
    /// # Errors
    /// The peer's status.
    pub async fn flight(&mut self, types: Vec<Vec<Element>>) -> Result<Vec<Vec<Output>>, Status> {
        let sent = self.send(types).await;
        let mut outputs = Vec::new();
        for (question, sent) in sent {
            let answer = self.answer(question).await?;
            let matching = self.matching.take().unwrap();
            let (matching, answered) = matching.receive(&answer).unwrap();
            self.matching = Some(matching);
            outputs.push(sent.finalize(answered).unwrap());
        }
        Ok(outputs)
    }

    /// Sends a flight and waits for nothing.
    pub async fn send(
        &mut self,
        types: Vec<Vec<Element>>,
    ) -> Vec<(Frame, tallystick_protocol::session::Sent)> {
        let mut all = Vec::new();
        let names = {
            let request = self.matching.as_ref().unwrap().agreement().request();
            let names = request.queries.iter().map(|query| query.type_name.clone());
            names.collect::<Vec<_>>()
        };
        for (name, elements) in names.iter().zip(types) {
            let matching = self.matching.take().unwrap();
            let blinder = matching.blinder(name).unwrap();
            let first = self.asked;
            self.asked += elements.len() as u64;
            let blinded = blinder.blind(first, elements).unwrap();
            let (matching, frame, sent) = matching.send(blinded).unwrap();
            self.matching = Some(matching);
            self.call.send(&frame).await;
            all.push((frame, sent));
        }
        all
    }

    /// The answer to a question, kept with it.
    ///
    /// # Errors
    /// The peer's status.
    pub async fn answer(&mut self, question: Frame) -> Result<Frame, Status> {
        let answer = next(&mut self.call).await?.expect("an answer");
        self.frames.extend([question, answer.clone()]);
        Ok(answer)
    }

    /// Says a question once more, as after a connection that broke.
    ///
    /// # Errors
    /// The peer's status.
    pub async fn again(&mut self, question: &Frame) -> Result<Frame, Status> {
        self.call.send(question).await;
        Ok(next(&mut self.call).await?.expect("an answer"))
    }

    /// Closes the shift; gives the sender's closing.
    pub async fn close(mut self, matches: u64) -> SenderClosing {
        let finish = Finish::Complete { matches };
        let now = u64::try_from(clock::now_ms()).unwrap();
        let closing = self
            .matching
            .take()
            .unwrap()
            .close(finish, None, now)
            .unwrap();
        self.call.send(closing.frame()).await;
        let frame = next(&mut self.call).await.unwrap().unwrap();
        let said: SenderClosing = open_as_named(&frame).unwrap();
        closing.settle(frame).unwrap();
        said
    }

    /// The peer's last word.
    ///
    /// # Errors
    /// The peer's status.
    pub async fn last_word(&mut self) -> Result<Option<Frame>, Status> {
        next(&mut self.call).await
    }
}

/// So many elements of padding that nobody has asked before.
#[must_use]
pub fn padding(many: usize) -> Vec<Element> {
    let random = std::iter::repeat_with(rand::random::<[u8; 32]>);
    random
        .take(many)
        .map(|random| padding_element(&random))
        .collect()
}

/// A collection's snapshot in force, as anybody reads it who may fetch it: what it says of itself, and all
/// its tags.
///
/// # Panics
/// When there is none, or it is damaged.
pub async fn snapshot(
    place: &Place,
    home: &str,
    collection: &str,
) -> (SnapshotPreamble, HashSet<Vec<u8>>) {
    let home = place.home(home);
    let store = home.store().await.unwrap();
    let known = store.collection(collection).await.unwrap().unwrap();
    store.close().await;
    let digest = known.snapshot_digest.unwrap();
    let frames = frames(&snapshot_path(&home, collection, &digest));
    let (header, buckets) = frames.split_first().unwrap();
    let publisher = VerifyKey(own_reference(&home).unwrap().signing_key.0);
    let verifier = SnapshotVerifier::new(header, &publisher).unwrap();
    let preamble = verifier.preamble().clone();
    let buckets = buckets
        .iter()
        .map(|bucket| Bucket::parse(bucket, &preamble).unwrap());
    let tags = buckets
        .flat_map(|bucket| bucket.tags().map(<[u8]>::to_vec).collect::<Vec<_>>())
        .collect();
    (preamble, tags)
}
