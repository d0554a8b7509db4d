//! The desk for other programs of this machine, and for a browser: HTTP on a loopback address.
//!
//! ```text
//! POST /v1/check         one document: fields or zone in, verdict out
//! GET  /v1/status        which lists answer
//! GET  /v1/openapi.json  what these two take and give
//! GET  /                 the page for a guard
//! ```
//!
//! ```text
//! guard    who may ask; the headers of every answer
//! api      what programs ask
//! page     the files of the page
//! problem  refusals
//! ```
//! Nothing of a request or an answer is logged or kept. There is no TLS: the bytes never leave the
//! machine, and whoever can read its loopback traffic can read its memory.

mod api;
mod guard;
mod page;
mod problem;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, middleware};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tallystick_agency::{
    AgencyError,
    exit::{Failure, Outcome},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

pub use self::guard::Token;
use self::problem::Problem;
use super::Answering;

/// Connections at once. More wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// Until the head of a request is there.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest head of a request.
const HEAD_BYTES: usize = 16 * 1024;
/// How long requests that are under way may take when the endpoint ends.
const DRAIN: Duration = Duration::from_secs(10);

/// How the endpoint behaves.
#[derive(Debug)]
pub struct HttpOptions {
    /// What whoever asks must show.
    pub token: Token,
    /// After how long the page forgets a verdict; zero for never.
    pub clear_after: Duration,
}

/// What the handlers share.
struct Endpoint {
    desk: Arc<dyn Answering>,
    token: Token,
    clear_after: Duration,
    /// What this address may be called: `HOST:PORT`, as it stands in `Host`.
    names: [String; 2],
}

/// Listens on a loopback address.
///
/// # Errors
/// `Usage` for any other address, `Network` if it is taken.
pub async fn listen(address: SocketAddr) -> Outcome<TcpListener> {
    if !address.ip().is_loopback() {
        return Err(Failure::usage(
            "not-loopback",
            format!("{address} can be reached by other machines, and the desk speaks no TLS"),
            "use an address of this machine alone, such as 127.0.0.1:7480",
        ));
    }
    let listener = TcpListener::bind(address).await;
    listener.map_err(|e| AgencyError::Network(format!("cannot listen on {address}: {e}")).into())
}

/// Answers until `ended`, then until what is under way is answered, 10 seconds at most. `listener` is
/// one of [`listen`].
///
/// # Errors
/// `Bug` if the listener has no address.
pub async fn serve(
    listener: TcpListener,
    desk: Arc<dyn Answering>,
    options: HttpOptions,
    ended: impl Future<Output = ()>,
) -> Outcome<()> {
    let address = listener.local_addr();
    let address = address.map_err(|e| AgencyError::Bug(format!("a listener: {e}")))?;
    let router = router(desk, options, address);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let (end, ending) = watch::channel(false);
    let mut open = JoinSet::new();
    let mut ended = std::pin::pin!(ended);
    loop {
        let next = async {
            // Never closed, so this cannot fail.
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            next = next => next,
            () = &mut ended => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file handles, or a connection that died in the queue.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (router, ending) = (router.clone(), ending.clone());
        open.spawn(async move {
            connection(stream, router, ending).await;
            drop(slot);
        });
        while open.try_join_next().is_some() {}
    }
    drop(listener);
    // Nobody may be left to be told.
    let _ = end.send(true);
    let drained = async { while open.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, drained).await;
    Ok(())
}

fn router(desk: Arc<dyn Answering>, options: HttpOptions, address: SocketAddr) -> Router {
    let endpoint = Arc::new(Endpoint {
        desk,
        token: options.token,
        clear_after: options.clear_after,
        names: [address.to_string(), format!("localhost:{}", address.port())],
    });
    let asks = api::routes().route_layer(middleware::from_fn_with_state(
        Arc::clone(&endpoint),
        guard::token,
    ));
    Router::new()
        .merge(asks)
        .merge(page::routes())
        .fallback(|| async {
            Problem::new(
                StatusCode::NOT_FOUND,
                "path",
                "see /v1/openapi.json for what there is",
            )
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "see /v1/openapi.json for what there is",
            )
        })
        // The last is the first that a request meets.
        .layer(middleware::from_fn_with_state(
            Arc::clone(&endpoint),
            guard::place,
        ))
        .layer(middleware::from_fn(guard::headers))
        .with_state(endpoint)
}

async fn connection(stream: TcpStream, router: Router, mut ending: watch::Receiver<bool>) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = std::pin::pin!(served);
    let over = async {
        let _ = ending.wait_for(|ended| *ended).await;
    };
    // Whoever is too slow, speaks something else or goes away is left: there is nobody to tell.
    tokio::select! {
        _ = served.as_mut() => {}
        () = over => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
    }
}
