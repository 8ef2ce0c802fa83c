//! Who leads each shard, as far as this node knows: what a request that changes something needs to find its way.
//!
//! It is a hint. A leader that this names may have been deposed a moment ago, and says so itself: the log decides, not this.
//! Invariant: whoever subscribes to changes and looks afterwards misses none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::Engine;
use crate::types::{ReplicaId, ShardCount, ShardId, StreamName};

/// Where a shard's writes are decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// On this node. A node on its own leads every shard.
    Here,
    /// On the node with this client address, host and port.
    There(Arc<str>),
    /// Nobody is known to lead; somebody will be elected.
    Nobody,
}

/// One shard's.
#[derive(Debug)]
struct Slot {
    /// Whether `known` is anything but `Here`.
    away: AtomicBool,
    known: Mutex<(Whereabouts, Option<ReplicaId>)>,
}

/// Those of all shards.
#[derive(Debug)]
pub(crate) struct Leaders {
    slots: Vec<Slot>,
    changes: watch::Sender<()>,
}

impl Leaders {
    /// Those of a node on its own.
    pub(crate) fn all_here(count: ShardCount) -> Self {
        let here = |_| Slot { away: AtomicBool::new(false), known: Mutex::new((Whereabouts::Here, None)) };
        Self { slots: count.shards().map(here).collect(), changes: watch::Sender::new(()) }
    }

    /// Those of a member of a cluster that knows of nobody yet.
    pub(crate) fn unknown(count: ShardCount) -> Self {
        let leaders = Self::all_here(count);
        count.shards().for_each(|shard| leaders.note(shard, None, Whereabouts::Nobody));
        leaders
    }

    /// Who leads, by id.
    pub(crate) fn leader(&self, shard: ShardId) -> Option<ReplicaId> {
        let slot = self.slots.get(usize::from(shard.0))?;
        slot.known.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Changes whenever a leader does.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn of(&self, shard: ShardId) -> Whereabouts {
        match self.slots.get(usize::from(shard.0)) {
            Some(slot) if slot.away.load(Ordering::Acquire) => {
                slot.known.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
            }
            _ => Whereabouts::Here,
        }
    }

    /// What was learnt of a shard's leader.
    pub(crate) fn note(&self, shard: ShardId, leader: Option<ReplicaId>, whereabouts: Whereabouts) {
        let Some(slot) = self.slots.get(usize::from(shard.0)) else { return };
        {
            let mut known = slot.known.lock().unwrap_or_else(PoisonError::into_inner);
            let next = (whereabouts, leader);
            if *known == next {
                return;
            }
            slot.away.store(next.0 != Whereabouts::Here, Ordering::Release);
            *known = next;
        }
        self.changes.send_replace(());
    }
}

impl Engine {
    /// Where writes to a shard are decided. One atomic load for a shard that this node leads.
    #[must_use]
    pub fn leader(&self, shard: ShardId) -> Whereabouts {
        self.shared.leaders.of(shard)
    }

    /// Changes whenever the leader of any shard does. Subscribe first, then ask [`Self::leader`], then wait.
    #[must_use]
    pub fn leader_changed(&self) -> watch::Receiver<()> {
        self.shared.leaders.changes.subscribe()
    }

    /// What was learnt about a shard's leader.
    pub fn note_leader(&self, shard: ShardId, whereabouts: Whereabouts) {
        self.shared.leaders.note(shard, None, whereabouts);
    }

    /// The shard of a name.
    #[must_use]
    pub fn shard_of(&self, name: &StreamName) -> ShardId {
        name.shard(self.shared.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_for_a_leader_hears_of_it_once_it_is_another() {
        let leaders = Leaders::all_here(ShardCount::new(2).unwrap());
        let mut changes = leaders.changes.subscribe();
        leaders.note(ShardId(1), None, Whereabouts::Here);
        assert!(!changes.has_changed().unwrap());
        for next in [Whereabouts::Nobody, Whereabouts::There("a:1".into()), Whereabouts::Here] {
            leaders.note(ShardId(1), None, next.clone());
            changes.changed().await.unwrap();
            assert_eq!((leaders.of(ShardId(1)), leaders.of(ShardId(0))), (next, Whereabouts::Here));
        }
        leaders.note(ShardId(7), None, Whereabouts::Nobody);
        assert_eq!(leaders.of(ShardId(7)), Whereabouts::Here, "no such shard: its owner says so");
    }
}
