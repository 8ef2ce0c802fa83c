//! The running engine: one owner per shard, group commit, views, reads, sweeps, shutdown.

mod answer;
mod appending;
mod applied_shard;
mod applier;
mod apply_queue;
mod assembly;
mod cache;
mod carry;
mod commit;
mod condemning;
mod condition;
mod contact;
mod control;
mod deadlines;
mod deciding;
mod demand;
mod engine;
mod errands;
mod fatal;
mod figures;
mod findings;
mod flight;
mod fork;
mod giving_up;
mod group;
mod health;
mod hold;
mod lane;
mod line;
mod links;
mod listing;
mod look;
mod mailbox;
mod membership;
mod owner;
mod progress;
mod read_index;
mod read_times;
mod reader;
mod replay;
mod reseed;
mod room;
mod salvage;
mod seeding;
mod seeds;
mod service;
mod shared;
mod snapshots;
mod sources;

mod stall;
mod start;
mod start_report;
pub mod subscriptions;
mod sweeper;
mod tailer;
mod tally;
mod touches;
mod trouble;
mod vault;
mod view;
mod views;
mod volume;
mod watch;
mod whereabouts;

pub use crate::store::snapshots::ProgressNow;
pub use crate::types::Segment;
pub use answer::{Failure, ReadBatch, ReadError, ReadFrom, StreamState, TailEvent};
pub use condition::{Condition, Refusing};
pub use control::{
    Control, FollowerReport, JoinError, NodeReport, Order, ShardReport, ShardRole, Unanswered,
};
pub use engine::{Engine, EngineError, ForkRequest};
pub use errands::said_again as errand_said_again;
pub use fatal::Fatal;
pub use listing::Listed;
pub use progress::{GivenUp, StartPhase, StartProgress, StartStage};
pub use seeding::SeedingReport;
pub use snapshots::{NoSnapshot, SnapshotReport};
pub use start::{Running, start, start_on, start_watched, start_watched_on};
pub use start_report::StartReport;
pub use tailer::Tailer;
pub use whereabouts::Whereabouts;

#[cfg(test)]
mod tests;
