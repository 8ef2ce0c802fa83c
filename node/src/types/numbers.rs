//! Positions and ids. Conversions are named; arithmetic that could overflow is checked where it is done. In JSON each is
//! the plain number.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A shard of the cluster, `0..ShardCount`.
    ShardId(u16)
);
number!(
    /// A lane: one physical log file series, which carries the records of all shards that map to it.
    LaneId(u16)
);
number!(
    /// A byte position in a lane, counted over the whole life of the lane; never used twice.
    LanePosition(u64)
);
number!(
    /// Position of a record in the log of one shard: dense, the first record is 1; 0 means "before the first".
    LogIndex(u64)
);
number!(
    /// The part of an epoch that the record of the cluster assigns: +1 for every leader change.
    RecordEpoch(u64)
);
number!(
    /// How often the volume was started; fsynced before anything of that start is written.
    Boot(u64)
);
number!(
    /// Running hash over (epoch, index, kind, payload) of all records of a shard up to a point.
    Chain(u64)
);
number!(
    /// A stream of one shard. Assigned in log order, never used again, so it also tells a re-created stream from the old one.
    StreamId(u64)
);
number!(
    /// A fork's hold on its source: drawn at random by whoever creates the fork.
    PinId(u64)
);
number!(
    /// Wall-clock time in milliseconds since 1970. Written into records by the leader; never compared to order events.
    UnixMillis(i64)
);

/// (record epoch, leader boot), ordered lexicographically.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// Assigned by compare-and-set in the cluster's record; a single node stays at 1.
    pub record: RecordEpoch,
    /// The leader's boot in which it leads.
    pub boot: Boot,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.record, self.boot)
    }
}

impl LogIndex {
    /// The index of the record that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl LanePosition {
    /// The position `bytes` further on.
    #[must_use]
    pub const fn advanced(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

impl UnixMillis {
    /// The moment `millis` later; saturates, so that no lifetime can overflow a date.
    #[must_use]
    pub const fn plus(self, millis: u64) -> Self {
        let step = if millis > i64::MAX as u64 { i64::MAX } else { millis.cast_signed() };
        Self(self.0.saturating_add(step))
    }
}

/// How many shards a cluster has: a power of two in `1..=256`, fixed for life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShardCount(u16);

/// A shard count that is no power of two in `1..=256`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the number of shards must be a power of two from 1 to 256, not {0}")]
pub struct ShardCountError(pub u64);

impl ShardCount {
    /// What a node without a wish gets (the reason stands with the setting).
    pub const DEFAULT: Self = Self(16);

    /// Checks the number.
    pub fn new(count: u64) -> Result<Self, ShardCountError> {
        match u16::try_from(count) {
            Ok(small) if small.is_power_of_two() && small <= 256 => Ok(Self(small)),
            _ => Err(ShardCountError(count)),
        }
    }

    /// The plain number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// All shards in order.
    pub fn shards(self) -> impl Iterator<Item = ShardId> {
        (0..self.0).map(ShardId)
    }

    /// The shard of a hash (policy `seahash-v1`): the low bits.
    #[must_use]
    pub const fn shard_of_hash(self, hash: u64) -> ShardId {
        // The mask keeps at most eight bits, so nothing is cut off.
        #[expect(clippy::cast_possible_truncation, reason = "masked to at most 255")]
        ShardId((hash & (self.0 as u64 - 1)) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_powers_of_two_up_to_256_are_shard_counts() {
        for good in [1, 2, 4, 8, 16, 32, 64, 128, 256] {
            assert!(ShardCount::new(good).is_ok(), "{good}");
        }
        for bad in [0, 3, 15, 257, 512, u64::MAX] {
            assert_eq!(ShardCount::new(bad), Err(ShardCountError(bad)));
        }
    }

    #[test]
    fn a_lifetime_of_any_length_never_overflows_a_date() {
        assert_eq!(UnixMillis(5).plus(u64::MAX), UnixMillis(i64::MAX));
    }

    #[test]
    fn epochs_order_by_record_then_boot() {
        let epoch = |record, boot| Epoch { record: RecordEpoch(record), boot: Boot(boot) };
        assert!(epoch(1, 9) < epoch(2, 1) && epoch(2, 1) < epoch(2, 2));
    }
}
