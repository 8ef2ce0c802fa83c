//! What is committed and waits to be applied to the tables, in log order per shard.
//!
//! Bounded: when more bytes wait than the budget allows, the lane's owner waits here before it takes more work, and that
//! in turn holds back admission. The applier lowers the budget as the volume fills up, and says here when it is full.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::types::{Chain, Epoch, LaneId, LanePosition, LogIndex, Op, ShardId};

/// One committed record.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) index: LogIndex,
    pub(crate) epoch: Epoch,
    /// The chain after this record.
    pub(crate) chain: Chain,
    /// Where it begins in the lane.
    pub(crate) position: LanePosition,
    pub(crate) ops: Vec<Op>,
    /// What it holds in memory until it is applied; lane and applier ask for it again and again.
    pub(crate) bytes: u64,
}

impl Committed {
    pub(crate) fn new(
        index: LogIndex,
        (epoch, chain): (Epoch, Chain),
        position: LanePosition,
        ops: Vec<Op>,
    ) -> Self {
        let bytes = record_bytes(&ops);
        Self { index, epoch, chain, position, ops, bytes }
    }
}

/// What takes the place of a shard's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Successor {
    /// What was made of a leader's snapshot.
    Image,
    /// An empty one: the file is damaged, and set aside; as the first one, or one that was begun since the first damage.
    Nothing { is_first: bool },
}

/// Everything that waited at one moment.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// In log order.
    pub(crate) shards: BTreeMap<ShardId, Vec<Committed>>,
    /// For each lane, the position behind the last record that it had committed: whatever lies before is in here or was
    /// taken earlier.
    pub(crate) lane_ends: BTreeMap<LaneId, LanePosition>,
    /// All lanes have ended: nothing will come any more.
    pub(crate) ended: bool,
    /// A write found no room in the log; whether one of them was a deletion.
    pub(crate) log_begs: Option<bool>,
    /// Shards whose files are to be replaced, behind all that is in here of them, and by what.
    pub(crate) replaced: BTreeMap<ShardId, Successor>,
}

/// The queue of all shards.
#[derive(Debug)]
pub(crate) struct ApplyQueue {
    bytes_max: u64,
    inner: Mutex<Inner>,
    work: Condvar,
    room: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Work,
    bytes: u64,
    hurry: bool,
    lanes_running: usize,
    /// What waits cannot be applied now: it stays, and nobody waits for it.
    stalled: bool,
    /// Bytes that may wait now; at most `bytes_max`.
    limit: u64,
    refused: Refused,
    /// A write found no room in the log; whether one of them was a deletion.
    log_begs: Option<bool>,
}

/// Whose writes are refused because the volume is full.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Refused {
    #[default]
    Nobodys,
    /// All but those to shards whose own file has free pages.
    AllBut(BTreeSet<ShardId>),
}

impl ApplyQueue {
    /// A queue for this many lanes that lets about `bytes_max` bytes of records wait.
    pub(crate) fn new(bytes_max: u64, lanes: usize) -> Self {
        let inner = Inner { lanes_running: lanes, limit: bytes_max, ..Inner::default() };
        Self { bytes_max, inner: Mutex::new(inner), work: Condvar::new(), room: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the records of one commit.
    pub(crate) fn push(
        &self,
        lane: LaneId,
        end: LanePosition,
        records: impl Iterator<Item = (ShardId, Committed)>,
        bytes: u64,
    ) {
        let mut inner = self.lock();
        let mut records = records.peekable();
        // Those of a shard come in runs.
        while let Some(&(shard, _)) = records.peek() {
            let waiting = inner.waiting.shards.entry(shard).or_default();
            while let Some((_, record)) = records.next_if(|(next, _)| *next == shard) {
                waiting.push(record);
            }
        }
        inner.waiting.lane_ends.insert(lane, end);
        let before = inner.bytes;
        inner.bytes += bytes;
        // Half full: the applier need not wait for its interval.
        if before < inner.limit / 2 && inner.bytes >= inner.limit / 2 {
            self.work.notify_one();
        }
    }

    /// Waits up to `patience` until less than the budget is waiting; says whether that is so.
    pub(crate) fn wait_for_room(&self, patience: Duration) -> bool {
        let mut inner = self.lock();
        if inner.bytes < inner.limit {
            return true;
        }
        inner.hurry = true;
        self.work.notify_one();
        let full = |inner: &mut Inner| inner.bytes >= inner.limit && !inner.stalled;
        let (mut inner, _) =
            self.room.wait_timeout_while(inner, patience, full).unwrap_or_else(PoisonError::into_inner);
        !full(&mut inner)
    }

    /// Somebody waits until everything is applied.
    pub(crate) fn hurry(&self) {
        self.lock().hurry = true;
        self.work.notify_one();
    }

    /// The file of a shard is to be replaced.
    pub(crate) fn replace(&self, shard: ShardId, successor: Successor) {
        self.lock().waiting.replaced.insert(shard, successor);
        self.work.notify_one();
    }

    /// Waits up to `patience` for enough work, then takes all there is.
    pub(crate) fn take(&self, patience: Duration) -> Work {
        let inner = self.lock();
        // What stands still for lack of room is tried again at the usual pace, not at full speed.
        let idle = |inner: &mut Inner| {
            let calm = inner.stalled || (inner.bytes < inner.limit / 2 && !inner.hurry);
            calm && inner.log_begs.is_none() && inner.waiting.replaced.is_empty() && inner.lanes_running > 0
        };
        let waited = self.work.wait_timeout_while(inner, patience, idle);
        let mut inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        inner.hurry = false;
        let log_begs = std::mem::take(&mut inner.log_begs);
        let ended = inner.lanes_running == 0;
        Work { ended, log_begs, ..std::mem::take(&mut inner.waiting) }
    }

    /// Applied records have left memory.
    pub(crate) fn done(&self, bytes: u64) {
        let mut inner = self.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes);
        drop(inner);
        self.room.notify_all();
    }

    /// Whether applying stands still.
    pub(crate) fn stall(&self, stalled: bool) {
        self.lock().stalled = stalled;
        if stalled {
            self.room.notify_all();
        }
    }

    /// Whether more may be committed that is no deletion: not on a full volume, and not while applying stands still and
    /// the budget is used up.
    pub(crate) fn has_room(&self, shard: ShardId) -> bool {
        let inner = self.lock();
        let refused = matches!(&inner.refused, Refused::AllBut(shards) if !shards.contains(&shard));
        !refused && (!inner.stalled || inner.bytes < inner.limit)
    }

    /// Says how many bytes may wait, and whose writes are refused.
    pub(crate) fn bound(&self, limit: u64, refused: Refused) {
        let mut inner = self.lock();
        inner.limit = limit.min(self.bytes_max);
        inner.refused = refused;
    }

    /// A write found no room in the log: the applier makes some, for a deletion at any price.
    pub(crate) fn beg(&self, deletion: bool) {
        let mut inner = self.lock();
        inner.log_begs = Some(deletion || inner.log_begs == Some(true));
        self.work.notify_one();
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// A lane has ended.
    pub(crate) fn lane_ended(&self) {
        let mut inner = self.lock();
        inner.lanes_running = inner.lanes_running.saturating_sub(1);
        drop(inner);
        self.work.notify_all();
    }
}

/// What a record holds in memory until it is applied: its bytes in the batch buffer and the op itself.
fn record_bytes(ops: &[Op]) -> u64 {
    const OP_BYTES: u64 = 320;
    let wire = |op: &Op| match op {
        Op::Append(append) => append.messages.wire().len() as u64 + 4 * append.messages.count(),
        _ => 256,
    };
    ops.iter().map(|op| wire(op) + OP_BYTES).sum()
}
