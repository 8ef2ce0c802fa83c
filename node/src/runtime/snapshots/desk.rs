//! Where snapshots are ordered, and what is known of those that are there. Invariants: whoever orders one hears what became
//! of it, also when the node ends; a shard waits in line once, however many ask.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::report::{NoSnapshot, SnapshotReport};
use crate::core::replication::History;
use crate::runtime::shared::Shared;
use crate::store::snapshots::{Pinned, Progress};
use crate::types::{LanePosition, LogIndex, ShardId, UnixMillis};

/// What comes of an order.
pub(crate) type Ordered = oneshot::Receiver<Result<Pinned, NoSnapshot>>;

/// The newest snapshot of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) index: LogIndex,
    pub(crate) taken_at: UnixMillis,
    pub(crate) bytes: u64,
}

/// A log of which a snapshot is wanted that it goes on from: one that is there may do.
#[derive(Debug, Clone)]
pub(crate) struct Continued {
    /// Not of an earlier entry.
    pub(crate) least: LogIndex,
    /// The log as it is now.
    pub(crate) history: History,
    /// At or before what follows in the lane.
    pub(crate) from: LanePosition,
}

/// Orders and knowledge of a node.
#[derive(Debug, Default)]
pub(crate) struct SnapshotDesk {
    inner: Mutex<Inner>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    orders: VecDeque<Order>,
    ended: bool,
    newest: BTreeMap<ShardId, Newest>,
    /// Why the last attempt failed.
    failures: BTreeMap<ShardId, String>,
    under_way: Option<(ShardId, Arc<Progress>)>,
}

/// A snapshot that somebody wants now.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) shard: ShardId,
    /// One that is there does, if this log goes on from it.
    pub(super) log: Option<Continued>,
    waiters: Vec<oneshot::Sender<Result<Pinned, NoSnapshot>>>,
}

impl Order {
    /// Tells everybody who waits for it.
    pub(super) fn answer(self, outcome: impl Fn() -> Result<Pinned, NoSnapshot>) {
        for waiter in self.waiters {
            // Whoever does not wait any more lets go of it again.
            drop(waiter.send(outcome()));
        }
    }
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Task {
    Order(Order),
    /// Nothing was ordered: look what is due.
    Look,
    End,
}

impl SnapshotDesk {
    // Each change is one step, or leaves what was there.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a snapshot of a shard taken now, behind those that were ordered before. It comes once the snapshot is durable
    /// under its name; what comes keeps the file. A node that ends drops the order.
    pub(crate) fn order(&self, shard: ShardId) -> Ordered {
        self.order_for(shard, None)
    }

    /// The same, and one that is there does if this log goes on from it.
    pub(crate) fn order_for(&self, shard: ShardId, log: Option<Continued>) -> Ordered {
        let (waiter, outcome) = oneshot::channel();
        self.put(shard, log, Some(waiter));
        outcome
    }

    /// Of which entry the newest snapshot of a shard is, as far as is known.
    pub(crate) fn newest(&self, shard: ShardId) -> Option<LogIndex> {
        self.lock().newest.get(&shard).map(|newest| newest.index)
    }

    /// The same for somebody who does not wait.
    pub(super) fn order_only(&self, shard: ShardId) {
        self.put(shard, None, None);
    }

    fn put(
        &self,
        shard: ShardId,
        log: Option<Continued>,
        waiter: Option<oneshot::Sender<Result<Pinned, NoSnapshot>>>,
    ) {
        let mut inner = self.lock();
        if inner.ended {
            return;
        }
        match inner.orders.iter_mut().find(|order| order.shard == shard) {
            Some(order) => {
                // Whoever wants a new one gets it, and so does everybody who waits with him. Of two logs the later one counts.
                order.log = order.log.take().and(log);
                order.waiters.extend(waiter);
            }
            None => inner.orders.push_back(Order { shard, log, waiters: waiter.into_iter().collect() }),
        }
        self.bell.notify_all();
    }

    /// Waits for an order, for `patience` at most.
    pub(super) fn next(&self, patience: Option<Duration>) -> Task {
        let idle = |inner: &mut Inner| inner.orders.is_empty() && !inner.ended;
        let inner = self.lock();
        let mut inner = match patience {
            Some(patience) => {
                self.bell.wait_timeout_while(inner, patience, idle).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.bell.wait_while(inner, idle).unwrap_or_else(PoisonError::into_inner),
        };
        if inner.ended {
            return Task::End;
        }
        inner.orders.pop_front().map_or(Task::Look, Task::Order)
    }

    /// Nothing more is taken: those who wait hear that the node ends.
    pub(crate) fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        inner.orders.clear();
        self.bell.notify_all();
    }

    /// One of this shard is begun.
    pub(super) fn begin(&self, shard: ShardId) -> Arc<Progress> {
        let progress = Arc::<Progress>::default();
        self.lock().under_way = Some((shard, Arc::clone(&progress)));
        progress
    }

    /// Nothing is under way.
    pub(super) fn rest(&self) {
        self.lock().under_way = None;
    }

    /// A snapshot is there.
    pub(super) fn note(&self, shard: ShardId, newest: Newest) {
        let mut inner = self.lock();
        inner.newest.insert(shard, newest);
        inner.failures.remove(&shard);
    }

    /// None could be taken.
    pub(super) fn note_failure(&self, shard: ShardId, reason: String) {
        self.lock().failures.insert(shard, reason);
    }

    /// Of all shards that are there: how many have no snapshot, and when the oldest of the newest ones was taken.
    pub(super) fn summary(&self, shared: &Shared) -> (usize, Option<UnixMillis>) {
        let inner = self.lock();
        let missing = shared.open_shards().filter(|shard| !inner.newest.contains_key(&shard.id)).count();
        (missing, inner.newest.values().map(|newest| newest.taken_at).min())
    }

    /// How the snapshots of these shards stand.
    pub(super) fn reports(&self, shards: impl Iterator<Item = ShardId>) -> Vec<SnapshotReport> {
        let inner = self.lock();
        let under_way = |shard| {
            let (_, progress) = inner.under_way.as_ref().filter(|(other, _)| *other == shard)?;
            Some(progress.now())
        };
        let report = |shard| {
            let newest = inner.newest.get(&shard);
            SnapshotReport {
                shard,
                index: newest.map(|newest| newest.index),
                taken_at: newest.map(|newest| newest.taken_at),
                bytes: newest.map_or(0, |newest| newest.bytes),
                is_ordered: inner.orders.iter().any(|order| order.shard == shard),
                under_way: under_way(shard),
                failure: inner.failures.get(&shard).cloned(),
            }
        };
        shards.map(report).collect()
    }
}
