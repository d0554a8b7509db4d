//! The metrics address: plain HTTP/1 for the operator's own machines, GET and HEAD only.
//!
//! ```text
//! /metrics  everything, for Prometheus
//! /healthz  200 while the process answers
//! /readyz   200 when it can serve, else 503 and the reasons as codes
//! ```
//! Nobody is asked who he is, so the address is off unless it is configured, and belongs on loopback
//! or a network of the operator's own. It never waits for the store or for sessions: what it tells
//! of them was looked at before. Connections are few, short, and closed after one answer.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use crate::node::Node;

/// Connections at once. More wait in the kernel's queue.
const CONNECTIONS: usize = 32;
/// Until the request is there.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Until the answer is taken.
const LONGEST: Duration = Duration::from_secs(10);
/// The largest request, headers included.
const REQUEST_BYTES: usize = 16 * 1024;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Answers until `ended`. Give it a listener of its own, never the peers'.
pub async fn serve(listener: TcpListener, node: Arc<Node>, ended: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let next = async {
            // Never closed, so this cannot fail.
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            next = next => next,
            () = ended.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file handles, or a connection that died in the queue.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let node = Arc::clone(&node);
        tokio::spawn(async move {
            // Whoever is too slow, or speaks something else, is left.
            let _ = tokio::time::timeout(LONGEST, connection(stream, node)).await;
            drop(slot);
        });
    }
}

async fn connection(stream: TcpStream, node: Arc<Node>) -> hyper::Result<()> {
    let service = service_fn(|request: Request<Incoming>| {
        let node = Arc::clone(&node);
        async move { Ok::<_, Infallible>(answer(&request, &node)) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(REQUEST_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// The answer to one request. Its body, if it has one, is not read.
fn answer(request: &Request<Incoming>, node: &Node) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET only\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match request.uri().path() {
        "/metrics" => match node.metrics.render() {
            Ok(metrics) => text(StatusCode::OK, OPENMETRICS, metrics),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "bug\n"),
        },
        "/healthz" => text(StatusCode::OK, TEXT, "live\n"),
        "/readyz" => {
            let reasons = node.health.reasons();
            let status = match reasons.is_empty() {
                true => StatusCode::OK,
                false => StatusCode::SERVICE_UNAVAILABLE,
            };
            let body = crate::health::Answer::new(&reasons).to_json();
            text(status, JSON, body)
        }
        _ => text(
            StatusCode::NOT_FOUND,
            TEXT,
            "see /metrics, /healthz, /readyz\n",
        ),
    }
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
