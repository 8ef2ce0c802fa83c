//! What browsers ask before they ask, and what is answered to methods that a path does not know.

use super::Sse;
use crate::http::wire::{Body, Problem, ResponseHead};

/// OPTIONS, on every path.
pub(super) fn preflight(out: &mut ResponseHead) -> Body<Sse> {
    out.begin(204);
    out.lines(
        "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS\r\n\
         Access-Control-Allow-Methods: GET, HEAD, POST, PUT, DELETE, OPTIONS\r\n\
         Access-Control-Allow-Headers: authorization, content-type, if-match, if-none-match, stream-ttl, \
         stream-expires-at, stream-closed, stream-seq, producer-id, producer-epoch, producer-seq, \
         stream-forked-from, stream-fork-offset, stream-fork-sub-offset, stream-retain-seconds, \
         stream-retain-bytes, stream-retain-messages\r\n\
         Access-Control-Max-Age: 86400\r\n",
    );
    Body::Absent
}

/// A method that this path does not know.
pub(super) fn method_not_allowed(out: &mut ResponseHead, allow: &'static str) -> Body<Sse> {
    let problem = Problem::refused(405, "method_not_allowed", "The method is not known here");
    let body = problem.write(out, allow);
    out.header("Allow", allow.as_bytes());
    Body::Full(body)
}

/// A path that nobody serves.
pub(super) fn not_found(out: &mut ResponseHead) -> Body<Sse> {
    let problem = Problem::refused(404, "not_found", "Nothing is served here");
    Body::Full(problem.write(out, "streams live at /v1/stream/{name}, their listing at /v1/streams"))
}
