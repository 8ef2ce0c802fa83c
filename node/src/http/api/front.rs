//! What connections meet: the engine's face, or, while the engine starts, an answer that says so. Invariant: a connection
//! that came during the start goes on with the engine as soon as that is there; none is dropped for the change.

use std::future::{Future, ready};
use std::sync::{Arc, OnceLock};

use futures::future::Either;

use super::Sse;
use super::preflight::preflight;
use super::router::{Api, route};
use super::site::{Site, text};
use crate::http::forward::{STARTING, UNDONE};
use crate::http::wire::{Body, Exchange, Field, Method, Problem, Request, ResponseHead, Service};
use crate::runtime::StartProgress;
use crate::telemetry::{CONTENT_TYPE, Metrics};

/// The service of a node from its first moment on.
#[derive(Debug)]
pub struct Front {
    api: OnceLock<Api>,
    progress: Arc<StartProgress>,
    metrics: Arc<Metrics>,
}

impl Front {
    /// For a node that starts.
    #[must_use]
    pub fn new(progress: Arc<StartProgress>, metrics: Arc<Metrics>) -> Self {
        Self { api: OnceLock::new(), progress, metrics }
    }

    /// The engine runs: every request from now on is its.
    pub fn open(&self, api: Api) {
        let _already = self.api.set(api);
    }

    fn starting(&self, request: &Request<'_>, out: &mut ResponseHead) -> Body<Sse> {
        match (request.head.method, request.path()) {
            (Method::Options, _) => preflight(out),
            (Method::Get | Method::Head, b"/healthz") => Site::healthz(out),
            (Method::Get | Method::Head, b"/metrics") => text(out, CONTENT_TYPE, self.metrics.page()),
            _ => {
                let stage = self.progress.stage();
                let members = serde_json::json!({ "state": "starting", "start": stage });
                let detail = format!("the node is starting: {stage}");
                let body = NOT_READY.write_with(out, &detail, members);
                if request.field(Field::Forwarded).is_some() {
                    out.header(UNDONE, STARTING);
                }
                Body::Full(body)
            }
        }
    }
}

/// The node serves nothing now.
pub(super) const NOT_READY: Problem =
    Problem::refused(503, "not_ready", "The node is not ready").retry_after(1);

impl Service for Front {
    type Live = Sse;

    fn may_wait(&self, request: &Request<'_>) -> bool {
        self.api.get().is_some_and(|api| api.may_wait(request))
    }

    // Not `async`: the request would stand in the memory of every connection once more.
    fn call<'a>(
        &'a self,
        request: Request<'a>,
        exchange: &'a Exchange<'a>,
        out: &'a mut ResponseHead,
    ) -> impl Future<Output = Body<Sse>> + Send {
        if let Some(api) = self.api.get() {
            return Either::Left(api.call(request, exchange, out));
        }
        let body = self.starting(&request, out);
        self.metrics.requests.count(route(&request), out.status());
        Either::Right(ready(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::{Limits, Parsed, parse_head, task_bytes};

    #[test]
    fn a_node_that_starts_says_of_what_was_passed_on_to_it_that_nothing_was_done() {
        let front = Front::new(Arc::default(), Arc::new(Metrics::new(1)));
        for (mark, says) in [("", false), ("Thalweg-Forwarded: c.1.v\r\n", true)] {
            let raw = format!("POST /v1/stream/a HTTP/1.1\r\nHost: h\r\n{mark}\r\n");
            let Ok(Parsed::Complete(head)) = parse_head(raw.as_bytes(), &Limits::default()) else {
                panic!("{raw}");
            };
            let request = Request { head: &head, bytes: raw.as_bytes(), body: bytes::Bytes::new() };
            let mut out = ResponseHead::for_test();
            front.starting(&request, &mut out);
            assert_eq!((out.status(), out.text().contains("Thalweg-Undone: starting\r\n")), (503, says));
        }
    }

    /// Ten thousand idle subscribers are ten thousand of these.
    #[test]
    fn an_idle_connection_costs_little() {
        let bytes = task_bytes::<Front>();
        println!("{bytes} + {}", size_of::<Sse>());
        assert!(bytes <= 2048, "{bytes}");
    }
}
