//! The subscription endpoints below `/v1/stream/__ds`: a request becomes a call to [`Subscriptions`], its answer JSON.
//!
//! Invariant: a request is either malformed (answered here, nothing called) or passed on whole. Paths are taken apart here,
//! before decoding, so that an encoded slash never moves a border.

mod answer;
mod object;
mod request;

use std::borrow::Cow;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, Uri};

use crate::http::wire::forwarded_scheme;
use crate::runtime::subscriptions::{Subscriptions, TokenKind};
use crate::types::{StreamName, SubscriptionId};
use answer::{acknowledged, claimed, empty, jwks, shown};

pub use answer::{failed, unavailable};
pub use request::{Malformed, parse_ack, parse_claim, parse_definition, parse_release, parse_streams};

/// Largest request: a definition that names as many streams as it may, with room for JSON's escapes.
const BODY_BYTES_MAX: usize = 512 * 1024;

/// Longest host and port that are given to workers: the longest name of the domain name system, and a port.
const HOST_BYTES_MAX: usize = 253 + 6;

/// The routes.
pub fn router(subscriptions: Subscriptions) -> Router {
    Router::new().fallback(route).layer(DefaultBodyLimit::disable()).with_state(subscriptions)
}

/// The routes of a node whose subscriptions cannot be served, with the reason.
pub fn refusing(reason: &str) -> Router {
    let reason: std::sync::Arc<str> = reason.into();
    Router::new().fallback(move || {
        let reason = std::sync::Arc::clone(&reason);
        async move { unavailable(&reason) }
    })
}

/// What a request is about.
struct Call {
    subscriptions: Subscriptions,
    /// The name of the signing key.
    kid: String,
    headers: HeaderMap,
    body: Bytes,
}

async fn route(
    State(subscriptions): State<Subscriptions>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(rest) = uri.path().strip_prefix("/v1/stream/__ds/") else { return answer::not_found() };
    if body.len() > BODY_BYTES_MAX {
        return answer::too_large();
    }
    let kid = match subscriptions.kid() {
        Ok(kid) => kid.to_owned(),
        Err(failure) => return failed(&failure),
    };
    let call = Call { subscriptions, kid, headers, body };
    let outcome = match rest.split('/').collect::<Vec<_>>().as_slice() {
        ["jwks.json"] => match method {
            Method::GET | Method::HEAD => Ok(jwks(&call.subscriptions)),
            _ => Ok(answer::method_not_allowed("GET, HEAD")),
        },
        ["subscriptions", id] => call.subscription(&method, id).await,
        ["subscriptions", id, "streams", path @ ..] => call.streams(&method, id, path).await,
        ["subscriptions", id, verb] => call.worker(&method, id, verb).await,
        _ => Ok(answer::not_found()),
    };
    outcome.unwrap_or_else(|malformed| answer::malformed(&malformed))
}

impl Call {
    async fn subscription(&self, method: &Method, id: &str) -> Result<Response, Malformed> {
        let id = &subscription_id(id)?;
        let subscriptions = &self.subscriptions;
        Ok(match *method {
            Method::PUT => {
                let definition = parse_definition(&self.body, base(&self.headers))?;
                match subscriptions.define(id, definition).await {
                    Ok(defined) => shown(if defined.new { 201 } else { 200 }, &self.kid, &defined.shown),
                    Err(error) => answer::refused(&error),
                }
            }
            Method::GET | Method::HEAD => match subscriptions.show(id).await {
                Ok(found) => shown(200, &self.kid, &found),
                Err(error) => answer::refused(&error),
            },
            Method::DELETE => empty(subscriptions.remove(id).await),
            _ => answer::method_not_allowed("GET, HEAD, PUT, DELETE, OPTIONS"),
        })
    }

    async fn streams(&self, method: &Method, id: &str, path: &[&str]) -> Result<Response, Malformed> {
        let id = &subscription_id(id)?;
        Ok(match (method, path) {
            (&Method::POST, []) => {
                let streams = parse_streams(&self.body)?;
                empty(self.subscriptions.add_streams(id, streams).await)
            }
            (&Method::DELETE, [_, ..]) => {
                let stream = stream_name(&path.join("/"))?;
                empty(self.subscriptions.remove_stream(id, stream).await)
            }
            (_, []) => answer::method_not_allowed("POST, OPTIONS"),
            _ => answer::method_not_allowed("DELETE, OPTIONS"),
        })
    }

    async fn worker(&self, method: &Method, id: &str, verb: &str) -> Result<Response, Malformed> {
        let kind = match verb {
            "callback" => Some(TokenKind::Callback),
            "ack" => Some(TokenKind::Claim),
            "claim" | "release" => None,
            _ => return Ok(answer::not_found()),
        };
        if *method != Method::POST {
            return Ok(answer::method_not_allowed("POST, OPTIONS"));
        }
        let id = &subscription_id(id)?;
        let (subscriptions, token) = (&self.subscriptions, bearer(&self.headers));
        Ok(match (kind, verb) {
            (Some(kind), _) => {
                let request = parse_ack(&self.body)?;
                acknowledged(subscriptions.acknowledge(id, kind, token, request).await)
            }
            (None, "claim") => claimed(subscriptions.claim(id, parse_claim(&self.body)?).await),
            (None, _) => empty(subscriptions.release(id, token, parse_release(&self.body)?).await),
        })
    }
}

fn subscription_id(raw: &str) -> Result<SubscriptionId, Malformed> {
    SubscriptionId::parse(&decoded(raw)?).map_err(|error| Malformed::Request(error.to_string()))
}

fn stream_name(raw: &str) -> Result<StreamName, Malformed> {
    request::name(&decoded(raw)?)
}

fn decoded(raw: &str) -> Result<Cow<'_, str>, Malformed> {
    let decoded = percent_encoding::percent_decode_str(raw).decode_utf8();
    decoded.map_err(|_| Malformed::Request("the path is not UTF-8 after percent-decoding".to_owned()))
}

/// The node as this client addresses it; workers get URLs that begin so.
fn base(headers: &HeaderMap) -> String {
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let host = host.filter(|host| host.len() <= HOST_BYTES_MAX);
    let proto = headers.get("x-forwarded-proto").map_or(&[][..], |value| value.as_bytes());
    let scheme = forwarded_scheme(proto);
    host.map_or_else(String::new, |host| format!("{scheme}://{host}"))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
