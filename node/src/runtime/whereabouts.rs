//! Who leads each shard, as far as this node knows: what a request that changes something needs to find its way.
//!
//! It is a hint. A leader that this names may have been deposed a moment ago, and says so itself: the log decides, not this.
//! Invariant: whoever subscribes to changes and looks afterwards misses none.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::types::{Party, ReplicaId, ShardCount, ShardId};

/// Where a shard's writes are decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// On this node. A node on its own leads every shard.
    Here,
    /// On the node with this client address, host and port. Somebody else may listen there by now, so it says who is meant.
    There(Arc<str>, Party),
    /// Nobody is known to lead; somebody will be elected.
    Nobody,
}

/// Those of all shards.
#[derive(Debug)]
pub(crate) struct Leaders {
    /// How many shards are anything but `Here`.
    away: AtomicUsize,
    known: Vec<Mutex<(Whereabouts, Option<ReplicaId>)>>,
    changes: watch::Sender<()>,
}

impl Leaders {
    /// Those of a node on its own.
    pub(crate) fn all_here(count: ShardCount) -> Self {
        let known = count.shards().map(|_| Mutex::new((Whereabouts::Here, None))).collect();
        Self { away: AtomicUsize::new(0), known, changes: watch::Sender::new(()) }
    }

    /// Those of a member of a cluster that knows of nobody yet.
    pub(crate) fn unknown(count: ShardCount) -> Self {
        let leaders = Self::all_here(count);
        count.shards().for_each(|shard| leaders.note(shard, None, Whereabouts::Nobody));
        leaders
    }

    /// Who leads, by id.
    pub(crate) fn leader(&self, shard: ShardId) -> Option<ReplicaId> {
        self.known.get(usize::from(shard.0))?.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Whether this node leads a shard.
    pub(crate) fn is_here(&self, shard: ShardId) -> bool {
        self.of(shard) == Whereabouts::Here
    }

    /// Changes whenever a leader does.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    pub(super) fn are_all_here(&self) -> bool {
        self.away.load(Ordering::Acquire) == 0
    }

    pub(super) fn of(&self, shard: ShardId) -> Whereabouts {
        match self.known.get(usize::from(shard.0)) {
            Some(known) if !self.are_all_here() => {
                known.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
            }
            _ => Whereabouts::Here,
        }
    }

    /// What was learnt of a shard's leader.
    pub(crate) fn note(&self, shard: ShardId, leader: Option<ReplicaId>, whereabouts: Whereabouts) {
        let Some(known) = self.known.get(usize::from(shard.0)) else { return };
        {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let next = (whereabouts, leader);
            match (known.0 == Whereabouts::Here, next.0 == Whereabouts::Here) {
                (true, false) => drop(self.away.fetch_add(1, Ordering::AcqRel)),
                (false, true) => drop(self.away.fetch_sub(1, Ordering::AcqRel)),
                _ if *known == next => return,
                _ => {}
            }
            *known = next;
        }
        self.changes.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ClusterId;

    #[tokio::test]
    async fn whoever_waits_for_a_leader_hears_of_it_once_it_is_another() {
        let leaders = Leaders::all_here(ShardCount::new(2).unwrap());
        let mut changes = leaders.changes.subscribe();
        leaders.note(ShardId(1), None, Whereabouts::Here);
        assert!(!changes.has_changed().unwrap());
        let party = Party { cluster: ClusterId([0; 16]), member: None, volume: None };
        for next in [Whereabouts::Nobody, Whereabouts::There("a:1".into(), party), Whereabouts::Here] {
            leaders.note(ShardId(1), None, next.clone());
            assert_eq!(leaders.are_all_here(), next == Whereabouts::Here);
            changes.changed().await.unwrap();
            assert_eq!((leaders.of(ShardId(1)), leaders.of(ShardId(0))), (next, Whereabouts::Here));
        }
        leaders.note(ShardId(7), None, Whereabouts::Nobody);
        assert_eq!(leaders.of(ShardId(7)), Whereabouts::Here, "no such shard: its owner says so");
    }
}
