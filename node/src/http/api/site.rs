//! What a node shows beside its streams: health, readiness, metrics, and the rare routes.

use std::fmt;

use bytes::Bytes;

use super::Sse;
use super::front::NOT_READY;
use crate::http::wire::{Body, ResponseHead};
use crate::runtime::Condition;
use crate::telemetry::CONTENT_TYPE;

/// What of the node is served.
type Readiness = Box<dyn Fn() -> Condition + Send + Sync>;
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
        let whole = || Condition {
            closing: false,
            shards: 1,
            refusing: Vec::new(),
            held_up: Vec::new(),
            causes: Vec::new(),
            trouble: None,
        };
        Self { readiness: Box::new(whole), metrics: Box::new(String::new), rare: axum::Router::new() }
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

    /// Ready means that requests are welcome here: a node with a damaged shard still serves the others, and who else
    /// would? `strict` asks for a node of which everything works.
    pub(super) fn readyz(&self, strict: bool, out: &mut ResponseHead) -> Body<Sse> {
        let condition = (self.readiness)();
        let state = match &condition {
            Condition { closing: true, .. } => "stopping",
            condition if condition.unserved().is_some() => "unserved",
            condition if condition.impaired().is_some() => "impaired",
            _ => "ready",
        };
        let members = serde_json::json!({
            "state": state,
            "shards": condition.shards,
            "shards_refusing": condition.refusing,
            "shards_held_up": condition.held_up,
            "causes": condition.causes,
            "trouble": condition.trouble,
        });
        let refused = if strict { condition.impaired() } else { condition.unserved() };
        match refused {
            None => text(out, "application/json", format!("{members}\n")),
            Some(reason) => Body::Full(NOT_READY.write_with(out, &reason, members)),
        }
    }

    pub(super) fn metrics(&self, out: &mut ResponseHead) -> Body<Sse> {
        text(out, CONTENT_TYPE, (self.metrics)())
    }
}

pub(super) fn text(out: &mut ResponseHead, content_type: &str, body: impl Into<String>) -> Body<Sse> {
    out.begin(200);
    out.header("Content-Type", content_type.as_bytes());
    out.lines("Cache-Control: no-store\r\n");
    Body::Full(Bytes::from(body.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Refusing;
    use crate::types::ShardId;

    /// Status and body of `/readyz` of a node of which this is served.
    fn asked(condition: &Condition, strict: bool) -> (u16, serde_json::Value) {
        let condition = condition.clone();
        let site = Site { readiness: Box::new(move || condition.clone()), ..Site::default() };
        let mut out = ResponseHead::for_test();
        let Body::Full(body) = site.readyz(strict, &mut out) else { panic!("no body") };
        assert_eq!(out.status() == 503, out.text().contains("Retry-After: 1\r\n"), "{}", out.text());
        (out.status(), serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn readyz_welcomes_requests_as_long_as_a_shard_is_served_and_strict_asks_for_all() {
        let (refused, held_up, causes) = (Vec::new(), Vec::new(), Vec::new());
        let whole =
            Condition { closing: false, shards: 2, refusing: refused, held_up, causes, trouble: None };
        let refusing =
            |shard| Refusing { shards: [ShardId(shard)].into(), reason: format!("damage {shard}") };
        let cases = [
            (whole.clone(), "ready", 200, 200),
            (Condition { held_up: vec![refusing(1)], ..whole.clone() }, "impaired", 200, 503),
            (Condition { refusing: vec![refusing(1)], ..whole.clone() }, "impaired", 200, 503),
            (Condition { trouble: Some("the hub".to_owned()), ..whole.clone() }, "impaired", 200, 503),
            (Condition { refusing: vec![refusing(0), refusing(1)], ..whole.clone() }, "unserved", 503, 503),
            (Condition { closing: true, ..whole.clone() }, "stopping", 503, 503),
        ];
        for (condition, state, lenient, strict) in cases {
            for (is_strict, status) in [(false, lenient), (true, strict)] {
                let (answered, body) = asked(&condition, is_strict);
                assert_eq!((answered, body["state"].as_str()), (status, Some(state)), "{body}");
                assert_eq!(body["shards_refusing"].as_array().unwrap().len(), condition.refusing.len());
                let code = (status == 503).then_some("not_ready");
                assert_eq!(body["code"].as_str(), code, "{body}");
            }
        }
        let (_, body) = asked(&Condition { refusing: vec![refusing(1)], ..whole }, false);
        assert_eq!(body["shards_refusing"][0]["shards"], "1", "{body}");
    }
}
