//! What is said on the admin port, as plain types: a node and whoever drives it use the very same ones.
//!
//! Invariants: a value is valid once it was read (sets of voters, histories), so turning it into a type of the core cannot
//! fail; unknown members are refused. Ids, indexes and epochs are numbers, identities 32 hexadecimal digits, times whole
//! milliseconds. Names are persisted in other people's programs: keep stable.

mod asks;
mod log;
mod outcome;
mod pulse;
mod shards;
mod snapshots;
mod status;
mod trouble;

use std::time::Duration;

pub use asks::{Addressee, Batch, ConfigAsk, Drain, HandOverAsk, LeadAsk, SealAsk, Shutdown};
pub use log::{EpochStart, History, HistoryWords, Standing, VoterSet, VoterSets};
pub use outcome::{Answered, Answers, Halt, Outcome, Refused, RefusedWhy, Seal, Unanswered, UnansweredWhy};
pub use pulse::{Pulse, Role, ShardPulse};
pub use shards::{Follower, Seeding, Shard, ShardRole, Shards};
pub use snapshots::{ShardSnapshot, SnapshotAsk, Snapshots, UnderWay};
pub use status::{Member, MemberList, Members, Status};
pub use trouble::{Fate, Trouble};

#[cfg(test)]
mod tests;

/// Whole milliseconds; what does not fit is the longest time that does.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
