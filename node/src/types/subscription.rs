//! What a subscription is: its definition, its state at its home shard, its share on every other, and its links.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::limits::SUBSCRIPTION_ID_BYTES_MAX;
use super::{Glob, Offset, ShardCount, ShardId, StreamName, UnixMillis};

/// The id that a client chose: one path segment, UTF-8, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(Arc<str>);

/// The text is no id of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a subscription id has 1 to {SUBSCRIPTION_ID_BYTES_MAX} bytes, no control characters, and is not '.' or '..'"
)]
pub struct SubscriptionIdError;

impl SubscriptionId {
    /// Checks decoded text.
    pub fn parse(text: &str) -> Result<Self, SubscriptionIdError> {
        let known = (1..=SUBSCRIPTION_ID_BYTES_MAX).contains(&text.len());
        if !known || text.chars().any(char::is_control) || text == "." || text == ".." {
            return Err(SubscriptionIdError);
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shard that decides about it (policy `seahash-v1`).
    #[must_use]
    pub fn home(&self, count: ShardCount) -> ShardId {
        count.shard_of_hash(seahash::hash(self.0.as_bytes()))
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tells a subscription from an earlier one of the same id. Drawn at random at definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionUid(pub u64);

/// Names one wake. Drawn at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WakeId(pub u128);

/// One wake as its worker knows it: what fences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Counts the wakes of the subscription.
    pub generation: u64,
    /// Names it.
    pub wake: WakeId,
}

/// How workers learn of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A POST to this URL.
    Webhook {
        /// Where.
        url: String,
    },
    /// An event in this stream; a worker that reads it claims the work.
    Pull {
        /// Where.
        wake_stream: StreamName,
    },
}

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// How workers learn of work.
    pub delivery: Delivery,
    /// Streams by name pattern, those of the future included.
    pub pattern: Option<Glob>,
    /// Streams by name, whether they exist or not.
    pub streams: BTreeSet<StreamName>,
    /// How long a worker may be silent.
    pub lease_ms: u32,
    /// For people.
    pub description: Option<String>,
    /// `http://host` as the client addressed the node: URLs that workers get begin so.
    pub base: String,
}

impl Definition {
    /// Whether a stream belongs to the subscription.
    #[must_use]
    pub fn covers(&self, name: &StreamName) -> bool {
        self.streams.contains(name) || self.pattern.as_ref().is_some_and(|pattern| pattern.matches(name))
    }
}

/// How far the definition has reached the shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Shards are being told; streams are being linked.
    Linking,
    /// All shards know it.
    Serving,
    /// Deleted; links are being swept. Answers as if it did not exist.
    Removing,
}

/// What is in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    Idle,
    /// Workers are being told, or were told and none has answered.
    Announced {
        /// The wake.
        wake: WakeId,
    },
    /// A worker works on it.
    Leased {
        /// The wake.
        wake: WakeId,
        /// Who, if it said.
        holder: Option<String>,
        /// Until when unless it says something (leader's clock).
        until: UnixMillis,
    },
}

impl Phase {
    /// The wake in flight.
    #[must_use]
    pub fn wake(&self) -> Option<WakeId> {
        match self {
            Self::Idle => None,
            Self::Announced { wake } | Self::Leased { wake, .. } => Some(*wake),
        }
    }
}

/// The durable state of a subscription, at its home shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Which.
    pub id: SubscriptionId,
    /// Which of that id.
    pub uid: SubscriptionUid,
    /// What it is; streams that were added and removed since included.
    pub definition: Definition,
    /// Of the definition as it was first given: a PUT that repeats it confirms it.
    pub config_hash: [u8; 32],
    /// When it was defined (leader's clock).
    pub created_at: UnixMillis,
    /// How far the definition has reached.
    pub stage: Stage,
    /// Counts wakes.
    pub generation: u64,
    /// What is in flight.
    pub phase: Phase,
    /// Deliveries that failed since the last that did not.
    pub failures: u32,
    /// No wake before this moment (leader's clock).
    pub retry_at: UnixMillis,
}

impl Subscription {
    /// The wake in flight, as its worker knows it.
    #[must_use]
    pub fn grant(&self) -> Option<Grant> {
        self.phase.wake().map(|wake| Grant { generation: self.generation, wake })
    }

    /// When something is due without anybody asking.
    #[must_use]
    pub fn deadline(&self) -> Option<UnixMillis> {
        match &self.phase {
            Phase::Idle if self.failures > 0 => Some(self.retry_at),
            Phase::Idle | Phase::Announced { .. } => None,
            Phase::Leased { until, .. } => Some(*until),
        }
    }
}

/// What one shard must know of a subscription in order to link streams by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Which subscription of its id.
    pub uid: SubscriptionUid,
    /// Its pattern.
    pub pattern: Option<Glob>,
    /// Those of its explicit streams that belong to this shard.
    pub streams: BTreeSet<StreamName>,
}

impl Share {
    /// Whether a stream of this shard belongs to the subscription.
    #[must_use]
    pub fn covers(&self, name: &StreamName) -> bool {
        self.streams.contains(name) || self.pattern.as_ref().is_some_and(|pattern| pattern.matches(name))
    }

    /// Whether no stream can ever belong to it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pattern.is_none() && self.streams.is_empty()
    }
}

/// A stream that exists belongs to a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Which subscription of its id.
    pub uid: SubscriptionUid,
    /// The stream's name.
    pub name: StreamName,
    /// How far workers have come; `None`: from the start.
    pub acked: Option<Offset>,
}

impl Link {
    /// Whether there is something behind what workers have seen.
    #[must_use]
    pub fn pending(&self, tail: Offset) -> bool {
        tail > self.acked.unwrap_or(Offset::ZERO)
    }
}
