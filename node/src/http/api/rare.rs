//! Routes that are too rare to be fast: served by an axum router over the same connections.

use axum::body::Body as AxumBody;
use axum::response::Response;
use http_body_util::{BodyExt, Limited};
use tower_service::Service as _;

use super::Sse;
use crate::http::wire::{Body, HEADER_COUNT_MAX, Problem, Request, ResponseHead, is_own_header};

/// Largest answer of a rare route.
const BODY_BYTES_MAX: usize = 8 << 20;
pub(super) async fn rare(router: &axum::Router, request: &Request<'_>, out: &mut ResponseHead) -> Body<Sse> {
    let Some(request) = convert(request) else {
        let problem = Problem::refused(400, "malformed_request", "The request is malformed");
        return Body::Full(problem.write(out, "the request target is no path"));
    };
    let response = match router.clone().call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    write_response(response, out).await
}

/// Answers with what axum gave.
pub(super) async fn write_response(response: Response, out: &mut ResponseHead) -> Body<Sse> {
    let (head, body) = response.into_parts();
    let Ok(collected) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        let problem = Problem::refused(500, "internal", "The answer could not be built").unknown();
        return Body::Full(problem.write(out, "the answer is too large, or was cut off"));
    };
    out.begin(head.status.as_u16());
    for (name, value) in &head.headers {
        if !is_own_header(name.as_str()) {
            out.header(name.as_str(), value.as_bytes());
        }
    }
    Body::Full(collected.to_bytes())
}

/// The same request in the form that axum takes.
fn convert(request: &Request<'_>) -> Option<http::Request<AxumBody>> {
    let mut slots = [httparse::EMPTY_HEADER; HEADER_COUNT_MAX];
    let mut parser = httparse::Request::new(&mut slots);
    if !parser.parse(request.bytes).ok()?.is_complete() {
        return None;
    }
    let mut builder = http::Request::builder().method(parser.method?).uri(parser.path?);
    for header in parser.headers.iter() {
        builder = builder.header(header.name, header.value);
    }
    builder.body(AxumBody::from(request.body.clone())).ok()
}
