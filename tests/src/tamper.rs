//! Somebody in the middle who holds the TLS keys of both agencies, and not their signing keys: to the
//! receiver it is the sender, to the sender it is the receiver. It reads and changes frames, in
//! sessions, snapshots and catalogues, both ways.
//!
//! With a script in the place of the sender's sessions, it is a sender that says what it likes.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use tallystick_agency::{
    home::Home,
    store::Store,
    tls::{self, PinSet},
};
use tallystick_protocol::frame::Kind;
use tallystick_wire::{
    CatalogueRequest, Envelope, SnapshotRequest,
    exchange_client::ExchangeClient,
    exchange_server::{Exchange, ExchangeServer},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Channel, Server, server::Connected},
};

use crate::wire;

/// What is done with one frame.
pub enum Act {
    /// It does not come.
    Drop,
    /// It comes twice.
    Repeat,
    /// It comes after the next one of its way; never, if there is no next one.
    Swap,
    /// Other bytes come. They get the frame's own.
    Change(Change),
    /// It and what is behind it come later.
    Delay(Duration),
    /// It does not come, and the call ends.
    Cut,
}

/// Makes other bytes of a frame's.
pub type Change = Box<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>;

/// What is done, and with which frame: the nth of its kind, counted from 0, over all calls. It is
/// done once.
pub struct Rule {
    /// Kind of the frame. It says in which call it goes, and which way.
    pub kind: Kind,
    /// How many of its kind come before it.
    pub nth: usize,
    /// What is done.
    pub act: Act,
}

/// A session call, held by a script in the sender's place.
pub struct Talk {
    /// What the receiver says.
    pub inbound: Streaming<Envelope>,
    /// What is said to it.
    pub out: mpsc::Sender<Result<Envelope, Status>>,
}

impl Talk {
    /// The receiver's next frame; `None` when it is gone.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        let envelope = self.inbound.message().await.ok()??;
        Some(envelope.frame)
    }

    /// Says a frame.
    pub async fn say(&self, frame: impl Into<Vec<u8>>) {
        let envelope = Envelope {
            frame: frame.into(),
        };
        let _ = self.out.send(Ok(envelope)).await;
    }
}

type Script = Arc<dyn Fn(Talk) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The keys of both sides, as far as TLS goes, and the sender's node.
pub struct Keys {
    towards_receiver: Arc<ServerConfig>,
    receiver: Home,
    sender: String,
    node: SocketAddr,
}

impl Keys {
    /// Takes both homes; `node` is where the sender's real node listens.
    pub async fn new(sender: &Home, receiver: Home, node: SocketAddr) -> Arc<Self> {
        let store = sender.store().await.unwrap();
        let pins = Arc::new(PinSet::new());
        pins.refresh(&store).await.unwrap();
        store.close().await;
        let config = tls::server_config(&sender.tls_identity().unwrap(), pins).unwrap();
        Arc::new(Self {
            towards_receiver: Arc::new(config),
            receiver,
            sender: sender.config().name.clone(),
            node,
        })
    }
}

/// One that stands in the middle, and does what its rules say.
pub struct Middle {
    /// Where the receiver finds it.
    pub address: SocketAddr,
    case: Arc<Case>,
    serving: tokio::task::JoinHandle<()>,
}

struct Case {
    state: Mutex<State>,
    script: Option<Script>,
    /// Nothing more comes, and calls end.
    cut: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// Those whose frame has not come yet.
    rules: Vec<Rule>,
    seen: HashMap<u8, usize>,
    held: Option<Vec<u8>>,
    passed: Vec<Vec<u8>>,
}

/// What a frame has become.
#[derive(Default)]
struct Fate {
    wait: Duration,
    frames: Vec<Vec<u8>>,
    cut: bool,
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Middle {
    /// Stands between, and does what the rules say; without any, it only looks.
    pub async fn tampering(keys: &Arc<Keys>, rules: Vec<Rule>) -> Self {
        Self::start(keys, rules, None).await
    }

    /// Stands between for catalogue and snapshots; sessions are the script's.
    pub async fn scripted<F>(
        keys: &Arc<Keys>,
        script: impl Fn(Talk) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let script: Script = Arc::new(move |talk| Box::pin(script(talk)));
        Self::start(keys, Vec::new(), Some(script)).await
    }

    async fn start(keys: &Arc<Keys>, rules: Vec<Rule>, script: Option<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            rules,
            ..State::default()
        };
        let case = Arc::new(Case {
            state: Mutex::new(state),
            script,
            cut: watch::Sender::new(false),
        });
        let relay = Relay {
            client: wire::connect(&keys.receiver, &keys.sender, keys.node)
                .await
                .max_decoding_message_size(usize::MAX),
            case: Arc::clone(&case),
        };
        let service = ExchangeServer::new(relay).max_decoding_message_size(usize::MAX);
        let (give, incoming) = mpsc::channel(4);
        let acceptor = TlsAcceptor::from(Arc::clone(&keys.towards_receiver));
        let serving = tokio::spawn(async move {
            let accepting = async {
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).unwrap();
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = give.send(io::Result::Ok(Accepted(stream))).await;
                    }
                }
            };
            let server = Server::builder()
                .add_service(service)
                .serve_with_incoming(ReceiverStream::new(incoming));
            let _ = tokio::join!(accepting, server);
        });
        Self {
            address,
            case,
            serving,
        }
    }

    /// Whether every rule's frame has come and was dealt with.
    #[must_use]
    pub fn done(&self) -> bool {
        let state = self.case.state.lock().unwrap();
        state.rules.is_empty() && state.held.is_none()
    }

    /// The frames that came, as they came, both ways.
    #[must_use]
    pub fn passed(&self) -> Vec<Vec<u8>> {
        self.case.state.lock().unwrap().passed.clone()
    }
}

impl Case {
    /// Deals with a frame. Which way it goes follows from its kind.
    fn fate(&self, frame: Vec<u8>) -> Fate {
        let mut state = self.state.lock().unwrap();
        state.passed.push(frame.clone());
        let kind = frame.first().copied().unwrap_or_default();
        let seen = state.seen.entry(kind).or_default();
        let nth = *seen;
        *seen += 1;
        let mut fate = Fate::default();
        let hit = |rule: &Rule| rule.kind as u8 == kind && rule.nth == nth;
        let Some(at) = state.rules.iter().position(hit) else {
            let held = match &state.held {
                Some(held) if same_way(held[0], kind) => state.held.take(),
                _ => None,
            };
            fate.frames.push(frame);
            fate.frames.extend(held);
            return fate;
        };
        match state.rules.swap_remove(at).act {
            Act::Drop => {}
            Act::Repeat => fate.frames.extend([frame.clone(), frame]),
            Act::Swap => state.held = Some(frame),
            Act::Change(change) => {
                let changed = change(frame.clone());
                assert_ne!(changed, frame, "nothing was changed");
                fate.frames.push(changed);
            }
            Act::Delay(time) => {
                fate.wait = time;
                fate.frames.push(frame);
            }
            Act::Cut => fate.cut = true,
        }
        fate
    }
}

fn same_way(one: u8, other: u8) -> bool {
    let up = |kind| matches!(kind, 0x10 | 0x20 | 0x30);
    up(one) == up(other)
}

/// A stream of frames, each as the case has it.
fn relay(
    case: &Arc<Case>,
    mut from: impl Stream<Item = Result<Envelope, Status>> + Send + Unpin + 'static,
) -> ReceiverStream<Result<Envelope, Status>> {
    let (to, frames) = mpsc::channel(1);
    let case = Arc::clone(case);
    let mut cut = case.cut.subscribe();
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                biased;
                () = to.closed() => return,
                _ = cut.wait_for(|cut| *cut) => Some(Err(Status::unavailable("the line is cut"))),
                next = from.next() => next,
            };
            let fate = match next {
                Some(Ok(envelope)) => case.fate(envelope.frame),
                Some(Err(status)) => {
                    let _ = to.send(Err(again(&status))).await;
                    return;
                }
                None => return,
            };
            tokio::time::sleep(fate.wait).await;
            for frame in fate.frames {
                if to.send(Ok(Envelope { frame })).await.is_err() {
                    return;
                }
            }
            if fate.cut {
                case.cut.send_replace(true);
            }
        }
    });
    ReceiverStream::new(frames)
}

/// A status, as if it were this node's own.
fn again(status: &Status) -> Status {
    Status::new(status.code(), status.message())
}

struct Relay {
    client: ExchangeClient<Channel>,
    case: Arc<Case>,
}

type Frames = ReceiverStream<Result<Envelope, Status>>;

#[tonic::async_trait]
impl Exchange for Relay {
    type SessionStream = Frames;
    type SnapshotStream = Frames;

    async fn session(
        &self,
        request: Request<Streaming<Envelope>>,
    ) -> Result<Response<Frames>, Status> {
        let inbound = request.into_inner();
        if let Some(script) = &self.case.script {
            let (out, frames) = mpsc::channel(64);
            tokio::spawn(script(Talk { inbound, out }));
            return Ok(Response::new(ReceiverStream::new(frames)));
        }
        self.case.cut.send_replace(false);
        let up = relay(&self.case, inbound).map_while(Result::ok);
        let down = self.client.clone().session(up).await;
        let down = down.map_err(|status| again(&status))?.into_inner();
        Ok(Response::new(relay(&self.case, down)))
    }

    async fn snapshot(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Response<Frames>, Status> {
        self.case.cut.send_replace(false);
        let down = self.client.clone().snapshot(request.into_inner()).await;
        let down = down.map_err(|status| again(&status))?.into_inner();
        Ok(Response::new(relay(&self.case, down)))
    }

    async fn catalogue(
        &self,
        request: Request<CatalogueRequest>,
    ) -> Result<Response<Envelope>, Status> {
        let answer = self.client.clone().catalogue(request.into_inner()).await;
        let answer = answer.map_err(|status| again(&status))?.into_inner();
        let fate = self.case.fate(answer.frame);
        tokio::time::sleep(fate.wait).await;
        match fate.frames.into_iter().next() {
            Some(frame) => Ok(Response::new(Envelope { frame })),
            None if fate.cut => Err(Status::unavailable("cut")),
            // Nothing ever comes.
            None => std::future::pending().await,
        }
    }
}

/// A connection of the receiver.
struct Accepted(TlsStream<TcpStream>);

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
