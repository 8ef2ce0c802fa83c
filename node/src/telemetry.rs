//! What the node says about itself: log lines on standard error, and metrics.
//!
//! Invariant: counting costs a relaxed atomic addition, never a lock, on every path that a request takes. Other rooms
//! get an [`std::sync::Arc`] of [`Metrics`] and touch its fields; names, help texts and the page of `/metrics` are here.

mod histogram;
mod logging;
mod metrics;
mod peers;
mod requests;

pub use histogram::{CountHistogram, TimeHistogram};
pub use logging::{LoggingError, start_logging};
pub use metrics::{
    CONTENT_TYPE, Counter, EngineMetrics, Gauge, Held, HttpMetrics, LaneMetrics, Metrics, StoreMetrics,
    SubscriptionMetrics,
};
pub use peers::{FollowerFigures, LinkFigures, Peers};
pub use requests::{Requests, Route};
