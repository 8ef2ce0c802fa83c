//! Answers about subscriptions: `{"error":{"code","message"}}` for refusals, each code with its status.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::request::Malformed;
use crate::core::SubscriptionError;
use crate::http::api::format_instant;
use crate::runtime::subscriptions::wire::{jwks_url, link_type, offset_text, stream_json, wake_text};
use crate::runtime::subscriptions::{Claimed, LinkedStream, Shown, SubscriptionRefusal, Subscriptions};
use crate::runtime::{EngineError, Failure};
use crate::types::limits::FAILURES_SHOWN_MIN;
use crate::types::{Delivery, Glob};

type Error = EngineError<SubscriptionRefusal>;

fn json_answer(status: u16, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    headers.insert("cache-control", http::HeaderValue::from_static("no-store"));
    response
}

fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn error(status: u16, code: &str, message: &str) -> Response {
    json_answer(status, &json!({ "error": { "code": code, "message": message } }))
}

fn with(mut response: Response, name: &'static str, value: &'static str) -> Response {
    response.headers_mut().insert(name, http::HeaderValue::from_static(value));
    response
}

/// Nothing is here.
pub(super) fn not_found() -> Response {
    error(404, "NOT_FOUND", "there is no such endpoint")
}

/// The endpoint has other methods.
pub(super) fn method_not_allowed(allow: &'static str) -> Response {
    with(error(405, "METHOD_NOT_ALLOWED", "this endpoint has other methods"), "allow", allow)
}

/// The body is larger than any of these requests.
pub(super) fn too_large() -> Response {
    error(413, "INVALID_REQUEST", "the body is too large")
}

/// Subscriptions are not served.
#[must_use]
pub fn unavailable(reason: &str) -> Response {
    with(error(503, "UNAVAILABLE", reason), "retry-after", "1")
}

pub(super) fn malformed(malformed: &Malformed) -> Response {
    match malformed {
        Malformed::Request(reason) => error(400, "INVALID_REQUEST", reason),
        Malformed::Offset(reason) => error(409, "INVALID_OFFSET", reason),
    }
}

pub(super) fn refused(refusal: &Error) -> Response {
    match refusal {
        EngineError::Failure(failure) => failed(failure),
        EngineError::Refused(SubscriptionRefusal::State(state)) => state_refused(state),
        EngineError::Refused(refusal) => {
            let message = refusal.to_string();
            match refusal {
                SubscriptionRefusal::Url(_) => error(400, "WEBHOOK_URL_REJECTED", &message),
                SubscriptionRefusal::Token => {
                    with(error(401, "TOKEN_INVALID", &message), "www-authenticate", "Bearer")
                }
                SubscriptionRefusal::Offset { .. } => error(409, "INVALID_OFFSET", &message),
                SubscriptionRefusal::TooManyLinks { .. } | SubscriptionRefusal::State(_) => {
                    error(400, "INVALID_REQUEST", &message)
                }
            }
        }
    }
}

fn state_refused(state: &SubscriptionError) -> Response {
    let message = state.to_string();
    match state {
        SubscriptionError::NotFound => error(404, "SUBSCRIPTION_NOT_FOUND", &message),
        SubscriptionError::Exists => error(409, "SUBSCRIPTION_ALREADY_EXISTS", &message),
        SubscriptionError::Removing => unavailable(&message),
        SubscriptionError::TooMany
        | SubscriptionError::TooManyStreams
        | SubscriptionError::OwnWakeStream
        | SubscriptionError::WrongType => error(400, "INVALID_REQUEST", &message),
        SubscriptionError::Fenced => error(409, "FENCED", &message),
        SubscriptionError::NoPendingWork => error(409, "NO_PENDING_WORK", &message),
        SubscriptionError::Claimed { holder, generation } => json_answer(
            409,
            &json!({ "error": {
                "code": "ALREADY_CLAIMED",
                "message": message,
                "current_holder": holder,
                "generation": generation,
            } }),
        ),
    }
}

/// The node's own trouble.
#[must_use]
pub fn failed(failure: &Failure) -> Response {
    let message = failure.to_string();
    match failure {
        Failure::DiskFull | Failure::NodeFull { .. } | Failure::LinksFull { .. } => {
            with(error(507, "STORAGE_FULL", &message), "retry-after", "1")
        }
        Failure::Overloaded
        | Failure::ShuttingDown
        | Failure::ShardDamaged { .. }
        | Failure::ShardReopening { .. }
        | Failure::ShardBusy { .. }
        | Failure::NotLeader { .. }
        | Failure::Ahead { .. }
        | Failure::NoLeader { .. } => unavailable(&message),
        Failure::Corrupt => error(500, "CORRUPT", &message),
        Failure::LogFailed | Failure::LeaderLost | Failure::Unreplicated { .. } => {
            error(500, "UNKNOWN", &message)
        }
    }
}

/// 204, or the refusal.
pub(super) fn empty(outcome: Result<(), Error>) -> Response {
    outcome.map_or_else(|refusal| refused(&refusal), |()| no_content())
}

/// A subscription.
pub(super) fn shown(status: u16, kid: &str, view: &Shown) -> Response {
    let subscription = &view.subscription;
    let definition = &subscription.definition;
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    set("id", subscription.id.as_str().into());
    set("subscription_id", subscription.id.as_str().into());
    match &definition.delivery {
        Delivery::Webhook { url } => {
            set("type", "webhook".into());
            let signing = json!({ "alg": "ed25519", "kid": kid, "jwks_url": jwks_url(subscription) });
            set("webhook", json!({ "url": url, "signing": signing }));
        }
        Delivery::Pull { wake_stream } => {
            set("type", "pull-wake".into());
            set("wake_stream", wake_stream.as_str().into());
        }
    }
    if let Some(pattern) = definition.pattern.as_ref().map(Glob::as_str) {
        set("pattern", pattern.into());
    }
    set("streams", view.streams.iter().map(linked).collect());
    if view.streams_total > view.streams.len() {
        set("streams_total", view.streams_total.into());
    }
    set("lease_ttl_ms", definition.lease_ms.into());
    set("created_at", format_instant(subscription.created_at).into());
    let failing = subscription.failures >= FAILURES_SHOWN_MIN;
    set("status", if failing { "failed" } else { "active" }.into());
    if let Some(description) = &definition.description {
        set("description", description.as_str().into());
    }
    json_answer(status, &Value::Object(fields))
}

fn linked(stream: &LinkedStream) -> Value {
    json!({
        "path": stream.name.as_str(),
        "link_type": link_type(stream),
        "acked_offset": offset_text(stream.acked),
    })
}

/// A lease.
pub(super) fn claimed(outcome: Result<Claimed, Error>) -> Response {
    match outcome {
        Err(refusal) => refused(&refusal),
        Ok(claimed) => json_answer(
            200,
            &json!({
                "wake_id": wake_text(claimed.grant.wake),
                "generation": claimed.grant.generation,
                "token": claimed.token,
                "streams": claimed.shown.streams.iter().map(stream_json).collect::<Vec<_>>(),
                "lease_ttl_ms": claimed.shown.subscription.definition.lease_ms,
            }),
        ),
    }
}

/// An acknowledgement.
pub(super) fn acknowledged(outcome: Result<bool, Error>) -> Response {
    match outcome {
        Err(refusal) => refused(&refusal),
        Ok(next_wake) => json_answer(200, &json!({ "ok": true, "next_wake": next_wake })),
    }
}

/// The keys that receivers verify with.
pub(super) fn jwks(subscriptions: &Subscriptions) -> Response {
    let keys = match subscriptions.jwks() {
        Ok(keys) => keys,
        Err(failure) => return failed(&failure),
    };
    let mut response = Response::new(Body::from(keys));
    let headers = response.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static("application/jwk-set+json"));
    headers.insert("cache-control", http::HeaderValue::from_static("public, max-age=300"));
    response
}
