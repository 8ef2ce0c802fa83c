//! Replication, decided: who must hold an entry before it is committed, whose seals show every commit, who leads next,
//! how a set of voters changes; and the state machine of one replica. Pure values and functions; leaders, operators, the
//! simulator and the model call the same.

mod effect;
mod election;
mod history;
mod image;
mod input;
mod memory;
mod message;
mod quorum;
mod replica;
mod row;
mod starts;

pub use effect::{Answer, Effect, Halt, Refusal, SealAnswer};
pub use election::{Sealed, sees_every_commit, winners};
pub use history::{Common, EpochStart, History, HistoryError};
pub use image::Image;
pub use input::{Ask, HandOver, Input, Lead, Standing};
pub use memory::{Memory, Ticket};
pub use message::{Entry, Message, Records, Report};
pub use quorum::{CommitRule, commit_rule, confirms, quorum_index};
pub use replica::{FollowerSeen, Found, Part, Place, Replica};
pub use row::{Phase, RowError, ShardRow};
pub use starts::{PutBack, is_news, recognise};

#[cfg(test)]
mod tests;
