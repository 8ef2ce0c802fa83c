//! The running engine: one owner per shard, group commit, views, reads, sweeps, shutdown.

mod answer;
mod applier;
mod condition;
mod control;
mod engine;
mod fatal;
mod figures;
mod health;
mod lane;
mod links;
mod mailbox;
mod owner;
mod reader;
mod seeding;
mod shared;
mod snapshots;
mod start;
pub mod subscriptions;
mod sweeper;
mod vault;
mod views;
mod watch;
mod whereabouts;

pub use crate::store::snapshots::ProgressNow;
pub use crate::types::Segment;
pub use answer::{Failure, ReadBatch, ReadError, ReadFrom, StreamState, TailEvent};
pub use condition::{Condition, Refusing};
pub use control::{Control, FollowerReport, JoinError, NodeReport, ShardReport, ShardRole, Unanswered};
pub use engine::{Engine, EngineError, ForkRequest};
pub use fatal::Fatal;
pub use links::said_again as errand_said_again;
pub use mailbox::Order;
pub use reader::{Listed, Tailer};
pub use seeding::SeedingReport;
pub use snapshots::{NoSnapshot, SnapshotReport};
pub use start::{
    GivenUp, Running, StartPhase, StartProgress, StartReport, StartStage, start, start_on, start_watched,
    start_watched_on,
};
pub use whereabouts::Whereabouts;

#[cfg(test)]
mod tests;
