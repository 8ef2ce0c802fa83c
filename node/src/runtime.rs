//! The running engine: one owner per shard, group commit, views, reads, sweeps, shutdown.

mod answer;
mod engine;

pub use answer::{Failure, ReadBatch, ReadError, ReadFrom, StreamState, TailEvent};
pub use engine::{Engine, EngineError, ForkRequest, Listed, Tailer};

pub use crate::types::Segment;
