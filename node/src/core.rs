//! Decisions. Pure: no file, socket, clock, randomness, task or hash order; `decide(state, command) -> ops + reply`.

mod append;
mod command;
mod create;
mod decision;
mod delete;
mod expiry;
pub mod failover;
mod fork;
mod hash;
mod head;
mod producer;
pub mod replication;
mod residents;
mod shard;
mod subscription;
mod trim;

pub use command::{
    Append, AppendError, Appended, BodyError, Command, Create, CreateError, Created, DeleteError, Deleted,
    Fork, Pin, PinError, Pinned, Reply,
};
pub use decision::{Decision, LastRead, Missing, Ops, Unready};
pub use head::advance;
pub use shard::{CoreLimits, ShardCore};
pub use subscription::{
    LinkAsk, LinkCommand, LinkError, LinkReply, Presented, SubscriptionAsk, SubscriptionCommand,
    SubscriptionError, SubscriptionOutcome,
};

#[cfg(test)]
mod tests;
