//! What a node shows beside its streams: health, readiness, metrics, and the rare routes.

use std::fmt;

use bytes::Bytes;

use super::Sse;
use crate::http::wire::{Body, Problem, ResponseHead};
use crate::telemetry::CONTENT_TYPE;

/// Whether the node can serve; if not, why.
type Readiness = Box<dyn Fn() -> Result<(), String> + Send + Sync>;
/// The metrics in Prometheus' text form.
type Metrics = Box<dyn Fn() -> String + Send + Sync>;

/// Given by whoever assembles the node.
pub struct Site {
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/v1/stream/__ds/…`.
    pub rare: axum::Router,
}

impl Default for Site {
    fn default() -> Self {
        Self { readiness: Box::new(|| Ok(())), metrics: Box::new(String::new), rare: axum::Router::new() }
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").finish_non_exhaustive()
    }
}

impl Site {
    pub(super) fn healthz(out: &mut ResponseHead) -> Body<Sse> {
        text(out, "text/plain; charset=utf-8", "ok\n")
    }

    pub(super) fn readyz(&self, out: &mut ResponseHead) -> Body<Sse> {
        match (self.readiness)() {
            Ok(()) => text(out, "text/plain; charset=utf-8", "ready\n"),
            Err(reason) => {
                let problem = Problem::refused(503, "not_ready", "The node is not ready").retry_after(1);
                Body::Full(problem.write(out, &reason))
            }
        }
    }

    pub(super) fn metrics(&self, out: &mut ResponseHead) -> Body<Sse> {
        text(out, CONTENT_TYPE, (self.metrics)())
    }
}

fn text(out: &mut ResponseHead, content_type: &str, body: impl Into<String>) -> Body<Sse> {
    out.begin(200);
    out.header("Content-Type", content_type.as_bytes());
    out.lines("Cache-Control: no-store\r\n");
    Body::Full(Bytes::from(body.into()))
}
