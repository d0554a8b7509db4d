//! The page: its four files, as they stand in the program. Nothing of it comes from elsewhere.

use axum::{
    Router,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

use super::problem::JSON;

/// Path, kind and bytes.
const FILES: [(&str, &str, &str); 5] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("page/index.html"),
    ),
    (
        "/desk.css",
        "text/css; charset=utf-8",
        include_str!("page/desk.css"),
    ),
    (
        "/desk.js",
        "text/javascript; charset=utf-8",
        include_str!("page/desk.js"),
    ),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/v1/openapi.json", JSON, include_str!("openapi.json")),
];

/// What anybody on this machine may see: it says nothing of this desk.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES
        .iter()
        .fold(Router::new(), |router, (path, kind, text)| {
            router.route(path, get(|| async { file(kind, text) }))
        })
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let kind = HeaderValue::from_static(kind);
    ([(CONTENT_TYPE, kind)], text).into_response()
}
