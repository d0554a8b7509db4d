//! What went wrong, as an answer: the same object that a program shows on stderr.

use axum::{
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::cli::PROGRAM;

/// Kind of what is answered to programs.
pub(super) const JSON: &str = "application/json";

/// A refusal. Its words hold nothing of the request.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: String,
    message: String,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: String,
    code: &'a str,
    message: &'a str,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = Document {
            schema: format!("{PROGRAM}.error/1"),
            code: &self.code,
            message: &self.message,
        };
        json(self.status, &document)
    }
}

/// An answer for programs.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Response {
    // What is answered has names of fixed text and numbers that are finite: it always has a form.
    let Ok(bytes) = serde_json::to_vec(document) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = (status, bytes).into_response();
    let kind = HeaderValue::from_static(JSON);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
