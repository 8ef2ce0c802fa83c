//! What callers send: read within a bound and a time, and parsed once. Invariant: whatever is sent, it is a valid value or
//! a refusal, and memory is bounded by [`BODY_BYTES_MAX`].

use std::time::Duration;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use http::header::{CONTENT_TYPE, HeaderMap, ORIGIN};
use serde::de::DeserializeOwned;

use super::words::Trouble;

/// Largest body: orders for 256 shards, each with a few sets of eight voters, take a quarter of it.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Time in which a body must arrive; those who call are in the same network.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the body of a call.
pub(super) async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Trouble> {
    let (parts, body) = request.into_parts();
    check_caller(&parts.headers)?;
    parse(&arrived(body).await?)
}

/// Parses the body of a call. Unknown members are refused; deeper nesting than serde_json's bound is, too.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Trouble> {
    serde_json::from_slice(body).map_err(|error| {
        Trouble::refused(400, "malformed_body", "The body is not what this call takes", error.to_string())
    })
}

/// A web page can send a form to an address of the machine that it is shown on; it cannot send JSON without asking, and it
/// cannot leave out where it comes from.
fn check_caller(headers: &HeaderMap) -> Result<(), Trouble> {
    if headers.contains_key(ORIGIN) {
        let detail = "this port is for programs; the request names the web page that it comes from";
        return Err(Trouble::refused(403, "web_page", "Web pages may not call this port", detail));
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = "send Content-Type: application/json";
    Err(Trouble::refused(415, "not_json", "The body is not said to be JSON", detail))
}

async fn arrived(body: Body) -> Result<bytes::Bytes, Trouble> {
    // What says that it will be too large is not waited for.
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => Err(too_large()),
        Ok(Err(error)) => {
            let title = "The body did not arrive whole";
            Err(Trouble::refused(400, "body_cut_off", title, error.to_string()))
        }
        Err(_) => {
            let detail = format!("it must be there within {} s", BODY_TIMEOUT.as_secs());
            Err(Trouble::refused(408, "body_too_slow", "The body took too long to arrive", detail))
        }
    }
}

fn too_large() -> Trouble {
    let detail = format!("at most {BODY_BYTES_MAX} bytes are taken");
    Trouble::refused(413, "body_too_large", "The body is too large", detail)
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<http_body_util::LengthLimitError>())
}
