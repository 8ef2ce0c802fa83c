//! When the volume counts as full, and what is done about it. Full: hardly anything is left beside the reserve, or the
//! reserve is not whole, or the tables could not write something. Then writes are refused, checkpoints follow each other at
//! once, and the log keeps no more than it needs, until there is room; deletions go on meanwhile and make it.
//!
//! Pages that are free inside a shard's file are room, too, but only for that shard, and nobody sees them on the volume: a
//! small file is compacted, which gives them back; a large one goes on as long as half of the reserve is there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::applied_shard::ShardApplier;
use super::apply_queue::{ApplyQueue, Refused};
use crate::store::reserve::Reserve;
use crate::telemetry::StoreMetrics;
use crate::types::ShardId;

/// Waiting records, and log behind the last checkpoint, may each be this part of the room that is left, reserve included:
/// they become about three times as much in the tables (pages are powers of two), so that less than half of the reserve
/// is used by what was accepted before the volume was found full.
const ROOM_PART: u64 = 8;
/// Less would make each append wait for a checkpoint.
const WAITING_BYTES_MIN: u64 = 256 * 1024;
/// Between two looks at a full volume.
const PATIENCE_FULL: Duration = Duration::from_millis(100);
/// Free pages that let a shard go on: some chunks of full size.
const SLACK_BYTES_MIN: u64 = 1 << 20;
/// Files up to this size are compacted: a second or two in which the shard serves only what is in memory.
const COMPACTED_BYTES_MAX: u64 = 128 << 20;

/// The applier's eye on the volume.
#[derive(Debug)]
pub(crate) struct Room {
    /// `None`: the volume is never full (tests).
    pub(crate) reserve: Option<Arc<Reserve>>,
    /// What a deletion needs that finds no room in the log: a segment of the smallest size.
    pub(crate) segment_bytes: u64,
    /// Bytes that are left, as of the last look.
    left: u64,
    full: bool,
    /// Whether anybody was told that writes are refused.
    told: bool,
}

impl Room {
    pub(crate) fn new(reserve: Option<Arc<Reserve>>, segment_bytes: u64) -> Self {
        Self { reserve, segment_bytes, left: u64::MAX, full: false, told: false }
    }

    /// Whether the volume was full at the last look.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// `bytes`, or less when the volume is filling up.
    pub(crate) fn bounded(&self, bytes: u64) -> u64 {
        bytes.min((self.left / ROOM_PART).max(WAITING_BYTES_MIN))
    }

    /// How long the applier waits for company for what it has to apply: not long while a deletion may make room.
    pub(crate) fn patience(&self, usual: Duration) -> Duration {
        if self.full { usual.min(PATIENCE_FULL) } else { usual }
    }

    /// Makes room for a segment of the log, from the reserve.
    pub(crate) fn lend_to_the_log(&self) {
        let Some(reserve) = &self.reserve else { return };
        if let Err(error) = reserve.lend(self.segment_bytes + WAITING_BYTES_MIN) {
            tracing::warn!(%error, "the reserve cannot be given up");
        }
    }

    /// The shard whose file should be compacted now, if one should.
    pub(crate) fn wasteful<'a>(&self, mut shards: impl Iterator<Item = &'a ShardApplier>) -> Option<ShardId> {
        let wasteful = |shard: &&ShardApplier| {
            let (stored, slack) = (shard.tables.stored_bytes(), shard.slack_bytes());
            let small = stored <= COMPACTED_BYTES_MAX && shard.tables.late_bytes() == 0;
            small && slack >= SLACK_BYTES_MIN.max(stored / 8)
        };
        shards.find(|shard| self.full && wasteful(shard)).map(|shard| shard.shard)
    }

    /// Looks how things are, makes the reserve again if there is room, and tells the lanes.
    pub(crate) fn look<'a>(
        &mut self,
        shards: impl Iterator<Item = &'a ShardApplier> + Clone,
        queue: &ApplyQueue,
        metrics: &StoreMetrics,
    ) {
        let late = waiting_bytes(shards.clone());
        let waiting = late > 0 || shards.clone().any(|shard| shard.full);
        self.full = self.refill() || waiting;
        let refused =
            if self.full { Refused::AllBut(self.with_slack(waiting, shards)) } else { Refused::Nobodys };
        queue.bound(self.bounded(u64::MAX), refused);
        match (self.full, std::mem::replace(&mut self.told, self.full)) {
            (true, false) => tracing::warn!(
                late_bytes = late,
                "the volume is full: writes are refused, reads and deletions go on"
            ),
            (false, true) => tracing::info!("there is room on the volume again, writes go on"),
            _ => {}
        }
        metrics.full.set(i64::from(self.full));
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        metrics.late.set(gauge(late));
        let missing =
            self.reserve.as_ref().map_or(0, |reserve| reserve.wanted().saturating_sub(reserve.bytes()));
        metrics.reserve_missing.set(gauge(missing));
    }

    /// Whether there is too little room. What was full must have twice as much to count as not full.
    fn refill(&mut self) -> bool {
        let Some(reserve) = &self.reserve else { return false };
        let whole = reserve.refill();
        match whole.and_then(|whole| Ok((whole, reserve.free()?))) {
            Ok((whole, free)) => {
                self.left = free.saturating_add(reserve.bytes());
                let needed = reserve.wanted() / if self.full { 2 } else { 4 };
                !whole || free < needed
            }
            Err(error) => {
                tracing::warn!(%error, "the volume does not say how much room it has");
                false
            }
        }
    }

    fn with_slack<'a>(
        &self,
        waiting: bool,
        shards: impl Iterator<Item = &'a ShardApplier>,
    ) -> BTreeSet<ShardId> {
        let held = self.reserve.as_ref().is_none_or(|reserve| reserve.bytes() >= reserve.wanted() / 2);
        if waiting || !held {
            return BTreeSet::new();
        }
        let free = |shard: &&ShardApplier| shard.slack_bytes() >= SLACK_BYTES_MIN;
        shards.filter(free).map(|shard| shard.shard).collect()
    }
}

/// Bytes that are applied and wait in memory for room.
fn waiting_bytes<'a>(shards: impl Iterator<Item = &'a ShardApplier>) -> u64 {
    shards.map(|shard| shard.tables.late_bytes()).sum()
}
