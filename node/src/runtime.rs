//! The running engine: one owner per shard, group commit, views, reads, sweeps, shutdown.

mod answer;
mod engine;

pub use answer::{Failure, ReadBatch, ReadError, ReadFrom, Segment, StreamState, TailEvent};
pub use engine::{Engine, EngineError, ForkRequest, Listed, Tailer};
