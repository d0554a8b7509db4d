//! The listener: TLS first, then the allow-list, then gRPC; draining when asked.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use tallystick_agency::{AgencyError, Result, clock, tls};
use tallystick_wire::{MAX_MESSAGE_BYTES, exchange_server::ExchangeServer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic_health::pb::health_server::HealthServer;

use crate::{
    connections::Connection, gates::Gate, health, metrics::Stage, node::Node, service::Service,
    session,
};

/// How long, and how many bytes, a refused peer may go on sending.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024;
/// How often the allow-list is read again. A revoked peer's sessions end within this and a session's
/// tick, its connections three ticks later: all of it within 5 s.
const REFRESH: Duration = Duration::from_secs(1);
/// The largest question about health: the name of a service.
const HEALTH_BYTES: usize = 1024;
/// How often sessions that nobody will resume are closed.
const SWEEP: Duration = Duration::from_secs(30);
/// How long sessions may take to let go when the node stops.
const LET_GO: Duration = Duration::from_secs(5);

/// Serves until `shutdown` is ready; then takes no new session, lets those under way end for the
/// configured time, and returns. Sessions cut by then can be resumed.
///
/// # Errors
/// Those of the listener and of TLS set-up. A bad connection ends itself only.
pub async fn serve(
    listener: TcpListener,
    node: Arc<Node>,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    session::tidy(&node).await?;
    let config = tls::server_config(&node.home.tls_identity()?, Arc::clone(&node.pins) as _)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let limits = &node.home.config().limits;
    let drain = Duration::from_secs(limits.drain_timeout_seconds.into());
    let draining = CancellationToken::new();
    let (accepted, incoming) = mpsc::channel(16);

    let accepting = tokio::spawn(accept(
        listener,
        acceptor,
        Arc::clone(&node),
        accepted,
        draining.clone(),
    ));
    // To the very end: who is revoked while the node drains is cut as at any time.
    let ended = CancellationToken::new();
    let watching = tokio::spawn(watch_the_list(Arc::clone(&node), ended.clone()));
    let sweeping = tokio::spawn(sweep(Arc::clone(&node), draining.clone()));
    let looking = tokio::spawn(health::watch(Arc::clone(&node), ended.clone()));
    let asked = health::Service::new(Arc::clone(&node), draining.clone());

    let largest = MAX_MESSAGE_BYTES.min(limits.max_message_bytes as usize);
    let service = ExchangeServer::new(Service::new(Arc::clone(&node), draining.clone()))
        .max_decoding_message_size(largest)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(2 << 20)
        // One too many calls is told so; many too many wait outside.
        .max_concurrent_streams(limits.max_calls_per_peer.saturating_add(8))
        .tcp_nodelay(true)
        .add_service(service)
        .add_service(HealthServer::new(asked).max_decoding_message_size(HEALTH_BYTES))
        .serve_with_incoming_shutdown(
            ReceiverStream::new(incoming),
            draining.clone().cancelled_owned(),
        );
    let mut server = std::pin::pin!(server);
    let failed = |e: tonic::transport::Error| AgencyError::Network(e.to_string());
    let result = tokio::select! {
        done = &mut server => done.map_err(failed),
        () = shutdown => {
            tracing::info!(seconds = drain.as_secs(), "draining");
            node.health.drain();
            draining.cancel();
            match tokio::time::timeout(drain, &mut server).await {
                Ok(done) => done.map_err(failed),
                Err(_) => {
                    tracing::warn!("sessions under way were cut; they can be resumed");
                    Ok(())
                }
            }
        }
    };
    draining.cancel();
    // Nobody writes any more when the store is closed.
    node.stop.cancel();
    // Both end at the token; what they return was logged.
    let _ = tokio::join!(accepting, sweeping);
    node.sessions.close();
    if tokio::time::timeout(LET_GO, node.sessions.wait())
        .await
        .is_err()
    {
        tracing::error!("a session does not let go; it can be resumed");
    }
    ended.cancel();
    // Both end at the token.
    let _ = tokio::join!(watching, looking);
    node.store.close().await;
    result
}

/// Accepts, shakes hands beside each other, and hands over who may come in.
async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    node: Arc<Node>,
    accepted: mpsc::Sender<io::Result<Connection>>,
    draining: CancellationToken,
) {
    let limits = &node.home.config().limits;
    let timeout = Duration::from_secs(limits.handshake_timeout_seconds.into());
    let slots = Arc::new(Semaphore::new(limits.max_handshakes_total as usize));
    let addresses = Gate::new(
        limits.max_handshakes_per_address,
        limits.max_handshakes_total,
    );
    loop {
        let next = async {
            // Never closed, so this cannot fail.
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (slot, listener.accept().await)
        };
        let (slot, stream) = tokio::select! {
            next = next => next,
            () = draining.cancelled() => return,
        };
        let (stream, address) = match stream {
            Ok(pair) => pair,
            Err(error) => {
                // Out of file handles, or a connection that died in the queue.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = addresses.enter(&network(address.ip())) else {
            let code = "too-many-handshakes";
            node.metrics.connection_refused(code);
            tracing::warn!(code, %address, "connection refused");
            continue;
        };
        let (acceptor, node, accepted) = (acceptor.clone(), Arc::clone(&node), accepted.clone());
        tokio::spawn(async move {
            let started = Instant::now();
            let handshake = handshake(stream, &acceptor, &node);
            match tokio::time::timeout(timeout, handshake).await {
                Ok(Ok(connection)) => {
                    let peer = &connection.peer.agency;
                    match connection.peer.state.is_admitted() {
                        true => tracing::debug!(peer, %address, "connected"),
                        false => {
                            let code = "too-many-connections";
                            node.metrics.connection_refused(code);
                            tracing::warn!(peer, code, %address, "connection refused");
                        }
                    }
                    node.metrics.stage(Stage::Handshake, started);
                    // Fails only when the server is gone.
                    let _ = accepted.send(Ok(connection)).await;
                }
                Ok(Err(error)) => {
                    node.metrics.connection_refused(error.code());
                    tracing::warn!(code = error.code(), %address, "connection refused: {error}");
                }
                Err(_) => {
                    let code = "handshake-timeout";
                    node.metrics.connection_refused(code);
                    let what = "connection refused: the handshake took too long";
                    tracing::warn!(code, %address, "{what}");
                }
            }
            drop((slot, place));
        });
    }
}

/// What is counted as one address: of IPv6 the network, since one host has all of a /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (!0 << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

async fn handshake(stream: TcpStream, acceptor: &TlsAcceptor, node: &Node) -> Result<Connection> {
    // A failure leaves the delays of Nagle's algorithm, nothing else.
    let _ = stream.set_nodelay(true);
    let stream = match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => stream,
        Err((error, stream)) => {
            linger(stream).await;
            return Err(tls::classify(&error));
        }
    };
    let (_, connection) = stream.get_ref();
    let spki = tls::peer_spki(connection)?;
    let agency = tls::peer_agency(connection, &*node.pins)?;
    let stream = node.metrics.counted(stream);
    Ok(node.connections.admit(stream, agency, spki))
}

/// Waits until the peer has read why it was refused. A socket that is closed over unread bytes
/// resets the connection, and the reset overtakes the reason.
async fn linger(mut stream: TcpStream) {
    let drained = async {
        stream.shutdown().await?;
        let mut bytes = [0u8; 1024];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut bytes).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    // A peer that does not close, or is gone, has had its time.
    let _ = tokio::time::timeout(LINGER, drained).await;
}

/// Reads the allow-list again and again, and cuts who is no longer on it.
async fn watch_the_list(node: Arc<Node>, ended: CancellationToken) {
    let idle = Duration::from_secs(node.home.config().limits.idle_timeout_seconds.into());
    let mut refresh = tokio::time::interval(REFRESH);
    loop {
        tokio::select! {
            () = ended.cancelled() => return,
            _ = refresh.tick() => {}
        }
        if let Err(error) = node.pins.refresh(&*node.store).await {
            node.metrics.fault(&error);
            tracing::error!(code = error.code(), "cannot read the allow-list: {error}");
        }
        node.connections.tick(&node.pins, clock::now_ms(), idle);
    }
}

/// Closes sessions that nobody can resume any more.
async fn sweep(node: Arc<Node>, draining: CancellationToken) {
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            () = draining.cancelled() => return,
            _ = sweep.tick() => {}
        }
        if let Err(error) = node.forget_old_epochs().await {
            tracing::error!(code = error.code(), "cannot read the collections: {error}");
        }
        if let Err(error) = session::sweep(&node, clock::now_ms()).await {
            tracing::error!(
                code = error.code(),
                "cannot close an abandoned session: {error}"
            );
        }
    }
}
