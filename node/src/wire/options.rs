//! The bounds of links, each with its reason.

use std::sync::Arc;
use std::time::Duration;

use crate::seam::Clock;
use crate::store::aol::LaneReader;
use crate::types::{ShardCount, ShardId};

/// How links are kept.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// How many shards the cluster has.
    pub shards: ShardCount,
    /// Where the lanes' files are read: shard `s` stands in lane `s % lanes`.
    pub lanes: Vec<LaneReader>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Entries that a lane may put in before a writer takes them.
    pub ring_entries: usize,
    /// Bytes of those entries, unless there is a single one.
    pub ring_bytes: usize,
    /// Bytes of control messages that may wait for a peer which reads slowly; with more it is taken for gone.
    pub outbox_bytes: usize,
    /// Bytes of a shard's entries that a follower may have been sent and not confirmed.
    pub window_bytes: u64,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long both sides may take to say who they are.
    pub handshake_timeout: Duration,
    /// How long a peer may take nothing of what is sent.
    pub write_timeout: Duration,
    /// How long a follower may say nothing while an answer is due.
    pub silence_timeout: Duration,
    /// Bytes in a second that are read from the lanes' files for one peer; `None`: as fast as it takes them.
    pub catch_up_bytes_per_second: Option<u64>,
}

impl LinkOptions {
    /// What fits most.
    #[must_use]
    pub fn new(shards: ShardCount, lanes: Vec<LaneReader>, clock: Arc<dyn Clock>) -> Self {
        Self {
            shards,
            lanes,
            clock,
            // Two groups of the usual size.
            ring_entries: 1024,
            // Two groups of the largest size: more is cheaper to read again than to hold.
            ring_bytes: 8 << 20,
            // A report for each of 256 shards, with a history of some hundred epochs.
            outbox_bytes: 8 << 20,
            // What a follower on a line of 1 Gbit/s and a disk that takes 60 ms for a sync needs to stay busy.
            window_bytes: 8 << 20,
            connect_timeout: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(2),
            write_timeout: Duration::from_secs(4),
            // Forty beats.
            silence_timeout: Duration::from_secs(4),
            catch_up_bytes_per_second: None,
        }
    }

    /// The lane in which a shard stands.
    pub(super) fn lane_of(&self, shard: ShardId) -> usize {
        usize::from(shard.0) % self.lanes.len().max(1)
    }
}
