//! One function per parser: what must hold for any bytes. `tests/corpus.rs` runs each over its stored corpus on the
//! stable toolchain; `libfuzzer/` hands the same functions to libFuzzer, which grows the corpus.
//!
//! Invariant: a target panics exactly when a promise of its parser is broken; an error value is a fine answer.
//! To add one: a function, a row here, inputs in `corpus/`, five lines in `libfuzzer/fuzz_targets`, a `[[bin]]` there.

mod cluster;
mod disk;
mod edge;
mod links;
mod request;
mod subscriptions;

pub use cluster::{admin, cluster_file};
pub use disk::{chunk, op, record, segment, snapshot};
pub use edge::{config, json, name};
pub use links::{errand, frame};
pub use request::{chunked, http_head, query, sse};
pub use subscriptions::{glob, subscription_body, subscription_fact, webhook_url};

/// A parser under test: takes any bytes, and panics only if they break a promise.
pub type Target = fn(&[u8]);

/// All targets by name; the name is also that of the corpus directory and of the file in `libfuzzer/fuzz_targets`.
pub const TARGETS: &[(&str, Target)] = &[
    ("admin", admin),
    ("chunk", chunk),
    ("chunked", chunked),
    ("cluster_file", cluster_file),
    ("config", config),
    ("errand", errand),
    ("frame", frame),
    ("glob", glob),
    ("http_head", http_head),
    ("json", json),
    ("name", name),
    ("op", op),
    ("query", query),
    ("record", record),
    ("segment", segment),
    ("snapshot", snapshot),
    ("sse", sse),
    ("subscription_body", subscription_body),
    ("subscription_fact", subscription_fact),
    ("webhook_url", webhook_url),
];
