//! Who may ask: whoever has the token, from a page of this very address or from no page at all.
//!
//! The address is a loopback one, but every program and every web page on the machine can reach that. A
//! page elsewhere is kept out three times over: it has no token, its `Origin` is another, and a name of
//! its own that it lets lead to this machine (DNS rebinding) stands in `Host`.

use std::{fmt, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY,
            WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Endpoint, problem::Problem};

/// What whoever asks must show: 32 random bytes, made afresh at each start, in hexadecimal. Compared in
/// constant time, wiped on drop, hidden in `Debug`.
pub struct Token(Zeroizing<String>);

impl Token {
    /// A fresh one.
    #[must_use]
    pub fn fresh() -> Self {
        let bytes = Zeroizing::new(rand::random::<[u8; 32]>());
        Self(Zeroizing::new(hex::encode(bytes.as_slice())))
    }

    /// For the one place where it is handed over.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether this is it. How long that takes tells its length at most.
    fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The only sources a page may use: its own files and its own endpoint. Nothing inline, nothing from
/// elsewhere, no frame around it, no form that leaves it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of every answer, also of refusals.
const HEADERS: [(HeaderName, &str); 8] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=()",
    ),
];

/// Puts the headers on whatever comes back.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// Refuses what is addressed to another name than this machine's own, or comes from another page.
pub(super) async fn place(
    State(endpoint): State<Arc<Endpoint>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let Some(host) = only(headers, &HOST).filter(|host| endpoint.names.iter().any(|n| n == host))
    else {
        return Problem::new(
            StatusCode::FORBIDDEN,
            "host",
            "this address answers to the name of this machine alone; use 127.0.0.1 or localhost",
        )
        .into_response();
    };
    let origin = match headers.contains_key(ORIGIN) {
        true => only(headers, &ORIGIN).and_then(|origin| origin.strip_prefix("http://")),
        false => Some(host),
    };
    // Browsers say where a request comes from, also where they send no origin.
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let elsewhere = site.is_some_and(|site| site != b"same-origin" && site != b"none");
    if origin != Some(host) || elsewhere {
        return Problem::new(
            StatusCode::FORBIDDEN,
            "origin",
            "another page asked; only the page of this address may",
        )
        .into_response();
    }
    next.run(request).await
}

/// Refuses whoever has not the token.
pub(super) async fn token(
    State(endpoint): State<Arc<Endpoint>>,
    request: Request,
    next: Next,
) -> Response {
    let given = only(request.headers(), &AUTHORIZATION);
    let given = given.and_then(|text| text.split_once(' '));
    let shown = given.is_some_and(|(scheme, token)| {
        scheme.eq_ignore_ascii_case("bearer") && endpoint.token.is(token.as_bytes())
    });
    if shown {
        return next.run(request).await;
    }
    let refused = Problem::new(
        StatusCode::UNAUTHORIZED,
        "token",
        "the token is missing or of an earlier start; send it as `Authorization: Bearer`",
    );
    let mut response = refused.into_response();
    let scheme = HeaderValue::from_static("Bearer");
    response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    response
}

/// The value of a header that is there once, and is text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_itself_alone_and_is_not_shown() {
        let (one, other) = (Token::fresh(), Token::fresh());
        assert_eq!(one.reveal().len(), 64);
        assert!(one.is(one.reveal().as_bytes()));
        assert!(!one.is(other.reveal().as_bytes()));
        assert!(!one.is(b""));
        assert!(!one.is(&one.reveal().as_bytes()[1..]));
        assert_eq!(format!("{one:?}"), "Token(..)");
    }
}
