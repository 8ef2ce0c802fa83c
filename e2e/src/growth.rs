//! What things cost as they grow: very many streams, a very long stream, very many idle subscribers.
//!
//! Each takes its size as a parameter, so that small sizes run in tests and big ones by hand.

mod messages;
mod streams;
mod subscribers;

pub use messages::{MessagesAt, messages};
pub use streams::{StreamsReport, streams};
pub use subscribers::{SubscribersReport, subscribers};

use std::time::Duration;

use crate::bench::Histogram;

/// Bytes per thing, from two resident sizes.
fn bytes_each(before: u64, after: u64, count: u64) -> u64 {
    after.saturating_sub(before) / count.max(1)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// p50 and p99 for people.
fn spread(latency: &Histogram) -> String {
    format!("p50 {:?}, p99 {:?}", latency.quantile(0.5), latency.quantile(0.99))
}
