//! Subscriptions: what may be asked about one at its home shard and about its links at the shard of a stream, and every
//! answer. The rules stand in [`home`] and [`links`]; what a shard knows, in [`facts`].
//!
//! Invariant: at most one wake of a subscription is in flight; whoever does not name the wake in flight in every part is
//! fenced; an acknowledged offset never goes back and never passes the tail.

mod facts;
mod home;
mod links;

use crate::types::limits::{SUBSCRIPTION_STREAMS_MAX, SUBSCRIPTIONS_PER_SHARD_MAX};
use crate::types::{
    Definition, Grant, Link, Offset, Share, StreamId, StreamName, Subscription, SubscriptionId,
    SubscriptionUid, WakeId,
};

pub(super) use facts::Facts;
pub(super) use links::decide as decide_link;

/// A question to the home shard of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionCommand {
    /// Which.
    pub id: SubscriptionId,
    /// What.
    pub ask: SubscriptionAsk,
}

impl SubscriptionCommand {
    pub(super) fn frees_room(&self) -> bool {
        matches!(self.ask, SubscriptionAsk::Remove | SubscriptionAsk::Forget(_))
    }
}

/// What may be asked of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionAsk {
    /// Define it, or confirm that it is defined so.
    Define {
        /// How.
        definition: Box<Definition>,
        /// Over all that a confirmation must repeat.
        config_hash: [u8; 32],
        /// What tells it from an earlier one.
        uid: SubscriptionUid,
    },
    /// All shards know it as of when it had these many streams of its own.
    Linked {
        /// Which of that id.
        uid: SubscriptionUid,
        /// The explicit streams that the shards were told of.
        streams: usize,
    },
    /// Streams to name from now on.
    AddStreams(Vec<StreamName>),
    /// A stream not to name any more.
    RemoveStream(StreamName),
    /// It is over: links are swept from now on.
    Remove,
    /// Its links are swept.
    Forget(SubscriptionUid),
    /// Work is pending: begin a wake.
    Wake {
        /// The new wake's name.
        wake: WakeId,
        /// A wake that was announced counts as lost with whoever announced it.
        lost: bool,
    },
    /// A webhook was answered with success, but without being done.
    Delivered(Grant),
    /// A delivery failed.
    Failed {
        /// Which.
        grant: Grant,
        /// Random, `0..=1000`: spreads retries.
        jitter: u16,
    },
    /// Nothing is pending any more behind a wake that nobody claimed: workers find the next one announced.
    Withdraw(Grant),
    /// A worker wants the work.
    Claim {
        /// Who.
        worker: String,
        /// The wake's name if a new one begins.
        wake: WakeId,
        /// Whether there is work.
        pending: bool,
    },
    /// A worker says that it is still there.
    Renew(Presented),
    /// A worker ends its lease.
    Settle(Presented),
    /// A lease may have run out.
    Expire,
}

/// What a worker shows: what its token says, and what its request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented {
    /// The token's.
    pub token: Grant,
    /// The request's.
    pub stated: Grant,
}

/// The subscription after a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionOutcome {
    /// Whether anything changed: defined newly, woken, expired.
    pub changed: bool,
    /// Its state now; of a forgotten one, the last.
    pub subscription: Box<Subscription>,
}

/// Why a question about a subscription was refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// No such subscription.
    #[error("there is no subscription of this id")]
    NotFound,
    /// One of that id has another configuration.
    #[error("a subscription of this id exists with another configuration")]
    Exists,
    /// The earlier one of that id is still being swept.
    #[error("the subscription that had this id is still being removed; send the request again")]
    Removing,
    /// The shard has as many as it may.
    #[error("the node holds as many subscriptions as it may ({SUBSCRIPTIONS_PER_SHARD_MAX} per shard)")]
    TooMany,
    /// It names as many streams as it may.
    #[error("a subscription names at most {SUBSCRIPTION_STREAMS_MAX} streams; use a pattern")]
    TooManyStreams,
    /// Each wake would be new work: a loop without end.
    #[error("the wake_stream must not belong to the subscription itself")]
    OwnWakeStream,
    /// Another worker has it, or nobody any more.
    #[error("the wake is over, or belongs to another worker")]
    Fenced,
    /// Another worker has it.
    #[error("another worker holds the lease")]
    Claimed {
        /// Who.
        holder: String,
        /// Its wake.
        generation: u64,
    },
    /// Nothing to do.
    #[error("no stream of the subscription has anything that was not acknowledged")]
    NoPendingWork,
    /// Webhooks are not claimed, and pull-wakes have no callback.
    #[error("this is no request for a subscription of this type")]
    WrongType,
}

/// A question to the shard of a stream about a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkCommand {
    /// Which.
    pub id: SubscriptionId,
    /// What.
    pub ask: LinkAsk,
}

impl LinkCommand {
    pub(super) fn frees_room(&self) -> bool {
        match &self.ask {
            LinkAsk::Unlink { .. } => true,
            LinkAsk::Adopt(share) => share.is_empty(),
            LinkAsk::Link(_) | LinkAsk::Ack { .. } => false,
        }
    }
}

/// What may be asked of a shard about a subscription's links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkAsk {
    /// Link by this from now on. An empty share means: not at all.
    Adopt(Share),
    /// Link a stream that exists at its tail, if the share covers it and it is not linked.
    Link(StreamName),
    /// The link goes unless the share covers the stream.
    Unlink {
        /// The stream; it may be gone.
        stream: StreamId,
        /// Its name.
        name: StreamName,
    },
    /// Workers have come so far.
    Ack {
        /// For which of that id.
        uid: SubscriptionUid,
        /// Which stream.
        name: StreamName,
        /// How far.
        offset: Offset,
    },
}

/// Why a link was not moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No such stream, or it is not linked.
    #[error("the stream does not belong to the subscription")]
    NotLinked,
    /// Nothing is there yet.
    #[error("the offset lies beyond the stream's tail")]
    BeyondTail,
    /// More was acknowledged before.
    #[error("a later offset was acknowledged before")]
    GoesBack,
}

/// What became of a link.
pub type LinkReply = Result<Option<Link>, LinkError>;
