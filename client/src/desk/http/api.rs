//! What programs ask: one document, and which lists answer.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;

use super::{
    super::{DeskStatus, Presented, Verdict},
    Endpoint,
    problem::{JSON, Problem, json},
};

/// The largest body, in bytes: more than any document with its names.
const BODY_BYTES: usize = 8 * 1024;
/// Until the body is there.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What whoever has the token may ask.
pub(super) fn routes() -> Router<Arc<Endpoint>> {
    Router::new()
        .route("/v1/check", post(check))
        .route("/v1/status", get(status))
}

/// One document in, its verdict out. What cannot be read gets a verdict that says so.
async fn check(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let text = match body(request).await {
        Ok(text) => text,
        Err(problem) => return problem.into_response(),
    };
    let verdict = match Presented::from_line(&text) {
        Ok(presented) => endpoint.desk.ask(&presented).await,
        Err(unreadable) => Verdict::unreadable(None, unreadable),
    };
    json(StatusCode::OK, &verdict)
}

/// The text of a JSON body of bearable size. Memory that held it is wiped when it is freed.
async fn body(request: Request) -> Result<String, Problem> {
    let (parts, body) = request.into_parts();
    // A page elsewhere cannot send this kind without asking first, which nobody answers.
    let kind = parts.headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case(JSON) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content-type",
            "send the document as application/json",
        ));
    }
    let bytes = read(body).await?;
    let text = String::from_utf8(bytes.into()).ok();
    text.filter(|text| text.trim_start().starts_with('{'))
        .ok_or_else(|| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "body",
                "the body is no JSON object; /v1/openapi.json says which members it may have",
            )
        })
}

async fn read(body: Body) -> Result<axum::body::Bytes, Problem> {
    let all = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES)).await;
    let late = |_| {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow",
            "the body did not come within 5 s",
        )
    };
    // A connection that broke has nobody left to tell.
    let large = |_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "size",
            "the body is longer than 8 KiB; send one document at a time",
        )
    };
    all.map_err(late)?.map_err(large)
}

#[derive(Serialize)]
struct Status {
    #[serde(flatten)]
    desk: DeskStatus,
    /// After how long the page forgets a verdict; 0 for never.
    clear_after_seconds: u64,
}

async fn status(State(endpoint): State<Arc<Endpoint>>) -> Response {
    let status = Status {
        desk: endpoint.desk.status(),
        clear_after_seconds: endpoint.clear_after.as_secs(),
    };
    json(StatusCode::OK, &status)
}
