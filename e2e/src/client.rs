//! An HTTP/1.1 client of our own for load and for tests: keep-alive, one request at a time on a connection,
//! preformatted requests, and no more work per answer than reading the few headers that matter.
//!
//! Invariant: it says whether a failed request can have reached the server ([`Failure::sent`]); the history depends on
//! that. What an answer means is for its callers.

mod chunked;
mod connection;
mod request;
mod sse;
mod wire;

pub use connection::{Answer, Connection, Failure};
pub use request::{Draft, Request};
pub use sse::{Event, EventStream};
pub use wire::{Head, OffsetText};
