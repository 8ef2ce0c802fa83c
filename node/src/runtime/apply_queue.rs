//! What is committed and waits to be applied to the tables, in log order per shard.
//!
//! Bounded: when more bytes wait than the budget allows, the lane's owner waits here before it takes more work, and that
//! in turn holds back admission.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::types::{Chain, Epoch, LanePosition, LogIndex, Op, ShardId};

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
    shards: BTreeMap<ShardId, Vec<Committed>>,
    bytes: u64,
    hurry: bool,
    ended: bool,
}

impl ApplyQueue {
    /// A queue that lets about `bytes_max` bytes of records wait.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, inner: Mutex::default(), work: Condvar::new(), room: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the records of one commit.
    pub(crate) fn push(&self, records: impl Iterator<Item = (ShardId, Committed)>, bytes: u64) {
        let mut inner = self.lock();
        for (shard, record) in records {
            inner.shards.entry(shard).or_default().push(record);
        }
        let before = inner.bytes;
        inner.bytes += bytes;
        // Half full: the applier need not wait for its interval.
        if before < self.bytes_max / 2 && inner.bytes >= self.bytes_max / 2 {
            self.work.notify_one();
        }
    }

    /// Waits until less than the budget is waiting.
    pub(crate) fn wait_for_room(&self) {
        let mut inner = self.lock();
        if inner.bytes < self.bytes_max {
            return;
        }
        inner.hurry = true;
        self.work.notify_one();
        let waited = self.room.wait_while(inner, |inner| inner.bytes >= self.bytes_max && !inner.ended);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits up to `patience` for enough work; returns true when the queue has ended.
    pub(crate) fn wait_for_work(&self, patience: Duration) -> bool {
        let inner = self.lock();
        let enough = |inner: &mut Inner| inner.bytes < self.bytes_max / 2 && !inner.hurry && !inner.ended;
        let waited = self.work.wait_timeout_while(inner, patience, enough);
        let mut inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        inner.hurry = false;
        inner.ended
    }

    /// Asks the applier to begin at once.
    pub(crate) fn hurry(&self) {
        self.lock().hurry = true;
        self.work.notify_one();
    }

    /// Takes what waits for one shard.
    pub(crate) fn take(&self, shard: ShardId) -> Vec<Committed> {
        self.lock().shards.get_mut(&shard).map(std::mem::take).unwrap_or_default()
    }

    /// Puts records back in front: applying them failed for lack of room and will be tried again.
    pub(crate) fn put_back(&self, shard: ShardId, mut records: Vec<Committed>) {
        let mut inner = self.lock();
        let waiting = inner.shards.entry(shard).or_default();
        records.append(waiting);
        *waiting = records;
    }

    /// Applied records have left memory.
    pub(crate) fn done(&self, bytes: u64) {
        let mut inner = self.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes);
        drop(inner);
        self.room.notify_all();
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// No more records will come.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.work.notify_all();
        self.room.notify_all();
    }
}

/// What a record holds in memory until it is applied: its bytes in the batch buffer and the op itself.
pub(crate) fn record_bytes(ops: &[Op]) -> u64 {
    const OP_BYTES: u64 = 160;
    let wire = |op: &Op| match op {
        Op::Append(append) => append.messages.wire().len() as u64 + 4 * append.messages.count(),
        _ => 256,
    };
    ops.iter().map(|op| wire(op) + OP_BYTES).sum()
}
