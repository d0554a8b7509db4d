//! A receiver that says what it likes, well signed or not, to a real node.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tallystick_agency::{
    clock,
    home::Home,
    store::{Session, Store},
};
use tallystick_protocol::{
    frame::Frame,
    group,
    identifiers::padding_element,
    session::{Answer, Asking, Matching, SessionSeed},
    signing::SigningKey,
    statements::{Hex, Int, Name, Refusal, Request, open_as_named},
};
use tallystick_tests::{
    forge::{Chunks, frames},
    place::Serving,
    running::{Running, wait_for},
    stage::Stage,
    wire::{self, Call},
};
use tonic::Status;

/// A call that waits longer hangs.
const LONGEST: Duration = Duration::from_secs(30);

/// The receiver's keys, and a request that its own program wrote, to be changed and signed anew.
pub struct Receiver {
    pub stage: Stage,
    pub address: SocketAddr,
    pub home: Home,
    pub signing: ed25519_dalek::SigningKey,
    /// The frames of the program's own session.
    pub said: Vec<Frame>,
    template: Request,
    key: Arc<SigningKey>,
    serving: Option<Serving>,
}

impl Receiver {
    pub fn new() -> Self {
        Self::on(Stage::new())
    }

    pub fn on(stage: Stage) -> Self {
        let serving = stage.place.serve("holder");
        let line = stage.line("asker", serving.address, "hits.csv");
        let report = Running::start(&stage.place, &line).report();
        let mut said = frames(&stage.place.path(report["record"].as_str().unwrap()));
        said.remove(0);
        let home = stage.place.home("asker");
        Self {
            address: serving.address,
            template: open_as_named(&said[0]).unwrap(),
            signing: home.signing_key().unwrap(),
            key: Arc::new(home.signing_key().unwrap().into()),
            said,
            home,
            stage,
            serving: Some(serving),
        }
    }

    /// Stops the node and starts it again.
    pub fn restart(&mut self) {
        let code = self.serving.take().unwrap().stop();
        assert_eq!(code, Some(0));
        let serving = self.stage.place.serve("holder");
        self.address = serving.address;
        self.serving = Some(serving);
    }

    /// The node.
    pub fn serving(&self) -> &Serving {
        self.serving.as_ref().unwrap()
    }

    /// A request for so many documents.
    pub fn asking(&self, session: u8, elements: u32) -> Asking {
        self.asking_as(Hex([session; 16]), elements)
    }

    /// A request under a session id.
    pub fn asking_as(&self, session: Hex<16>, elements: u32) -> Asking {
        self.asking_with(session, elements, |_| {})
    }

    /// The same, with a change.
    pub fn asking_with(
        &self,
        session: Hex<16>,
        elements: u32,
        change: impl FnOnce(&mut Request),
    ) -> Asking {
        let now = clock::now_ms();
        let ms = |at: i64| Int::new(at.try_into().unwrap()).unwrap();
        let mut request = Request {
            session,
            issued_ms: ms(now),
            expires_ms: ms(now + 600_000),
            ..self.template.clone()
        };
        request.queries[0].elements = elements.into();
        change(&mut request);
        let seed = SessionSeed::new([7; 32]);
        Asking::new(group::reference(), request, Arc::clone(&self.key), seed).unwrap()
    }

    /// Says a first frame on a new connection.
    pub async fn say(&self, first: &Frame) -> Call {
        let mut client = wire::connect(&self.home, "holder", self.address).await;
        let call = tokio::time::timeout(LONGEST, wire::call(&mut client, first));
        call.await.unwrap().unwrap()
    }

    /// Asks, is granted; chunks can be sent honestly, or signed by the forger.
    pub async fn granted(&self, session: u8, elements: u32) -> (Call, Matching, Chunks) {
        let asking = self.asking(session, elements);
        let request = asking.frame().clone();
        let mut call = self.say(&request).await;
        let grant = next(&mut call).await.unwrap().unwrap();
        let chunks = Chunks::new([session; 16], &request, &grant);
        match asking.answer(grant).unwrap() {
            Answer::Granted(matching) => (call, *matching, chunks),
            other @ Answer::Refused { .. } => panic!("{other:?}"),
        }
    }

    /// The request of a session, as the node has kept it.
    pub fn first(&self, session: u8) -> Frame {
        let path = format!("holder/records/{}.part", Hex([session; 16]));
        frames(&self.stage.place.path(&path))[1].clone()
    }

    /// What the node knows of a session, once it is over.
    pub async fn ended(&self, session: u8) -> Session {
        let store = self.stage.place.home("holder").store().await.unwrap();
        let path = format!("holder/records/{}.tally", Hex([session; 16]));
        wait_for("the record", || {
            self.stage.place.path(&path).exists().then_some(())
        });
        let verdict = self.stage.verify(&path);
        assert_eq!(verdict["records"][0]["status"], "aborted");
        let known = store.session(&[session; 16]).await.unwrap().unwrap();
        store.close().await;
        known
    }
}

pub async fn next(call: &mut Call) -> Result<Option<Frame>, Status> {
    let next = tokio::time::timeout(LONGEST, call.next()).await;
    next.expect("the node says nothing and does not end")
}

/// The code of the refusal that comes, and nothing behind it.
pub async fn refusal(call: &mut Call) -> &'static str {
    let frame = next(call).await.unwrap().unwrap();
    let refusal: Refusal = open_as_named(&frame).unwrap();
    assert!(next(call).await.unwrap().is_none());
    refusal.code.name()
}

/// The next chunk of so many elements, as an honest receiver sends it.
pub fn chunk(matching: Matching, elements: u8) -> (Matching, Frame) {
    let document: Name = "document".parse().unwrap();
    let spent = matching.progress().spent().next();
    let first = spent.map_or(0, |(_, spent)| spent);
    let element = |index: u8| padding_element(&[index; 32]);
    let elements: Vec<_> = (0..elements).map(element).collect();
    let blinder = matching.blinder(&document).unwrap();
    let blinded = blinder.blind(first, elements).unwrap();
    let (matching, frame, _) = matching.send(blinded).unwrap();
    (matching, frame)
}
