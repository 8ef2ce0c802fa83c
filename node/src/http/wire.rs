//! The connection engine: HTTP/1.1 over tokio sockets. It owns accepting, parsing, framing, timers, budgets and
//! shutdown, and knows nothing of streams. Invariant: whatever a peer sends, memory per connection is bounded, and a
//! connection whose framing is in doubt is answered once and closed.

mod admission;
mod arriving;
mod body;
mod buffers;
mod bulk;
mod chunked;
mod connection;
mod date;
mod ending;
mod field;
mod framing;
mod grant;
mod limits;
mod listener;
mod problem;
mod registry;
mod request;
mod response;
mod room;
mod server;
mod service;
mod transfers;
mod writer;

pub use admission::{Admission, EventRoom, SMALL_ANSWER_BYTES_MAX};
pub use chunked::{ChunkDecoder, ChunkError, ChunkProgress};
#[cfg(test)]
pub(crate) use connection::task_bytes;
pub(crate) use date::civil;
pub use field::Field;
pub use framing::Framing;
pub use grant::Grant;
pub use limits::{FORWARDED_BYTES, HEADER_COUNT_MAX, Limits};
pub use listener::listen;
pub use problem::{Outcome, Problem};
pub use registry::{Interrupt, Registry};
pub use request::{Head, HeadError, Method, Parsed, Request, forwarded_scheme, parse_head};
pub use response::{Body, ResponseHead, common_headers, is_own_header};
pub use server::{Served, serve};
pub use service::{Exchange, Live, LiveStep, Service};
