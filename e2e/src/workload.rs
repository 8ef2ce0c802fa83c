//! Traffic for checking: clients that draw what to do, do it, and record what was answered.
//!
//! Streams live several lives: when nobody else uses one, it is read to its end, deleted, judged and created again
//! under the same name. Everything that an answer shows ends in the [`History`](crate::history::History) of its life.

mod answers;
mod choice;
mod client;
mod events;
mod payload;
mod stream;
mod target;

pub use choice::{Choice, Generator};
pub use client::Client;
pub use payload::{Format, Payload, parse_messages};
pub use stream::{Findings, Stream};
pub use target::{Target, TargetWatch};
