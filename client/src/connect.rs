//! A channel to one peer: our own TLS, bytes counted on the TCP stream.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tallystick_agency::{
    AgencyError, clock,
    exit::{Exit, Failure, Outcome},
    home::Home,
    store::{Peer, Store},
    tls::{self, PinSet, Stranger, TlsRefusal},
};
use tallystick_wire::{MAX_MESSAGE_BYTES, exchange_client::ExchangeClient};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::{
    Status,
    transport::{Channel, Endpoint, Uri},
};
use tower::service_fn;

use crate::error::from_status;

/// What is said to be charged by a word that comes before any chunk.
pub(crate) const NOTHING: &str = "nothing was charged for it";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that went over a TCP stream, TLS and all.
#[derive(Debug, Default)]
pub struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    /// Bytes sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes received.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// A connected peer. Clones share the connection.
#[derive(Debug, Clone)]
pub(crate) struct Connected {
    pub(crate) client: ExchangeClient<Channel>,
    pub(crate) peer: Peer,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) trouble: Trouble,
    pub(crate) patience: Patience,
}

/// How long a peer may say nothing, as configured: one that vanished sends no word of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience(Duration);

impl Patience {
    fn of(home: &Home) -> Self {
        let seconds = home.config().limits.idle_timeout_seconds;
        Self(Duration::from_secs(seconds.into()))
    }

    /// Waits for the peer's next word. `charged` says what was charged should it not come.
    /// Cancel-safe if `word` is.
    pub(crate) async fn wait<T>(
        self,
        charged: &str,
        word: impl Future<Output = Outcome<T>>,
    ) -> Outcome<T> {
        match tokio::time::timeout(self.0, word).await {
            Ok(word) => word,
            Err(_) => Err(Failure::new(
                Exit::Network,
                "network",
                format!(
                    "the peer said nothing for {} s ({charged})",
                    self.0.as_secs()
                ),
                "run the same command again to go on where it stopped",
            )),
        }
    }
}

/// Why the peer's TLS ended the connection. In TLS 1.3 the answer to our certificate comes with the
/// first read, after the handshake, and the layers above forget it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble(Arc<OnceLock<Failure>>);

impl Trouble {
    fn note(&self, error: &io::Error) {
        let error = tls::classify(error);
        if !matches!(error, AgencyError::Network(_)) {
            // The first reason is the one that counts.
            let _ = self.0.set(error.into());
        }
    }

    /// What a status means, given what TLS said.
    pub(crate) fn failure(&self, status: &Status, charged: &str) -> Failure {
        self.0
            .get()
            .cloned()
            .unwrap_or_else(|| from_status(status, charged))
    }
}

/// Finds the peer and connects to it. `address` overrides the one in its manifest.
pub(crate) async fn connect(
    home: &Home,
    store: &dyn Store,
    peer: &str,
    address: Option<&str>,
) -> Outcome<Connected> {
    let peer = store.peer(peer).await?.ok_or_else(|| {
        Failure::usage(
            "unknown-peer",
            format!("there is no peer {peer} in this home"),
            "add its manifest with `tallyd peer add FILE`; `tallyd peer list` shows the known ones",
        )
    })?;
    if peer.revoked_ms.is_some() {
        return Err(Failure::new(
            Exit::Refused,
            "revoked",
            format!("{} is revoked in this home", peer.name),
            "add its manifest again with --reinstate if that is meant to end",
        ));
    }
    if peer.expires_ms <= clock::now_ms() {
        return Err(Failure::new(
            Exit::Refused,
            "expired-pin",
            format!("the manifest of {} has expired", peer.name),
            "ask it for a new one (`tallyd peer export`) and add that",
        ));
    }
    let address = address.or(peer.address.as_deref()).ok_or_else(|| {
        Failure::usage(
            "no-address",
            format!("the manifest of {} gives no address", peer.name),
            "give --address HOST:PORT, or add the peer again with --address",
        )
    })?;
    let pins = Arc::new(PinSet::new());
    pins.refresh(store).await?;
    let identity = home.current_tls_identity(clock::now_ms())?;
    let config = tls::client_config(&identity, pins, &peer.name)?;
    let connector = TlsConnector::from(Arc::new(config));
    let traffic = Arc::new(Traffic::default());
    let trouble = Trouble::default();
    let patience = Patience::of(home);
    let seen = trouble.clone();
    let client = {
        let (address, traffic) = (address.to_owned(), Arc::clone(&traffic));
        let endpoint = Endpoint::from_static("http://peer")
            .connect_timeout(CONNECT_TIMEOUT.min(patience.0))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(2 << 20);
        let connector = service_fn(move |_: Uri| {
            let (address, traffic) = (address.clone(), Arc::clone(&traffic));
            let trouble = seen.clone();
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(&address).await?;
                stream.set_nodelay(true)?;
                let stream = Counted { stream, traffic };
                let stream = connector.connect(tls::server_name(), stream).await?;
                Ok::<_, io::Error>(TokioIo::new(Watched { stream, trouble }))
            }
        });
        endpoint.connect_with_connector(connector).await
    };
    let channel = client.map_err(|error| no_connection(&peer.name, address, &error))?;
    let client = ExchangeClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    Ok(Connected {
        client,
        peer,
        traffic,
        trouble,
        patience,
    })
}

/// Why there is no connection to `peer`.
fn no_connection(peer: &str, address: &str, error: &tonic::transport::Error) -> Failure {
    let network = |code, what, next| Failure::new(Exit::Network, code, what, next);
    match (tls::classify(error), tls::stranger(error)) {
        (AgencyError::Network(_), Some(Stranger::OtherTls)) => network(
            "tls-version",
            format!("what answers at {address} does not speak TLS 1.3 as {peer} must"),
            "check the address; if it is right, ask the peer what stands in between (a proxy?), or \
             which version it runs; nothing was charged",
        ),
        (AgencyError::Network(_), Some(Stranger::NoTls)) => network(
            "not-a-node",
            format!("what answers at {address} is no node: it does not speak TLS"),
            "check address and port, and ask the peer; nothing was charged",
        ),
        (AgencyError::Network(_), None) => network(
            "network",
            format!("cannot reach {peer} at {address}: {}", root_cause(error)),
            "check that its node runs (`tallyd serve`) and that the address is right",
        ),
        // Whoever answers there is not who was pinned: by mistake, or on purpose.
        (AgencyError::Tls(refusal), _) => Failure::new(
            Exit::Refused,
            refusal.code(),
            format!(
                "the server at {address} does not show the pinned certificate of {peer} ({refusal})"
            ),
            match refusal {
                TlsRefusal::ExpiredCertificate => {
                    "tell the peer's operator; look at this machine's clock, too"
                }
                _ => {
                    "check the address; if it is right, speak to the peer by telephone before you \
                     add another manifest: somebody may stand in between"
                }
            },
        ),
        (other, _) => other.into(),
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match cause.to_string() {
        // The words of the timer.
        text if text == "deadline has elapsed" => {
            format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())
        }
        text => text,
    }
}

/// A TLS stream that keeps why it failed.
struct Watched<S> {
    stream: S,
    trouble: Trouble,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &result {
            self.trouble.note(error);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Err(error)) = &result {
            self.trouble.note(error);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A TCP stream that counts.
struct Counted {
    stream: TcpStream,
    traffic: Arc<Traffic>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        let read = (buf.filled().len() - before) as u64;
        self.traffic.received.fetch_add(read, Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = &result {
            self.traffic
                .sent
                .fetch_add(*written as u64, Ordering::Relaxed);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
