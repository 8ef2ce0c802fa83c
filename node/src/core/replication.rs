//! Replication, decided: who must hold an entry before it is committed, whose seals show every commit, who leads next,
//! how a set of voters changes. Pure values and functions; leaders, operators, the simulator and the model call the same.

mod election;
mod quorum;
mod row;
mod voters;

pub use election::{Sealed, sees_every_commit, winners};
pub use quorum::{CommitRule, commit_rule, confirms, quorum_index};
pub use row::{Phase, RowError, ShardRow};
pub use voters::{Config, ConfigVersion, Configs, ReplicaId, VOTERS_MAX, Voters};
