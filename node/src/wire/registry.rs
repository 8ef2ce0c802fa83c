//! Which connections of peers count: of each peer the newest one. Invariant: a newer connection counts only once the
//! threads of the older one are done, so nothing of the old one is heard behind something of the new one.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::line::{Ended, Line};
use crate::types::ReplicaId;

#[derive(Debug, Default)]
struct Slot {
    /// The newest that asked to count.
    newest: u64,
    line: Option<Arc<Line>>,
}

#[derive(Debug, Default)]
struct Slots {
    by_peer: BTreeMap<ReplicaId, Slot>,
    closed: bool,
}

/// The accepted connections.
#[derive(Debug, Default)]
pub(super) struct Registry {
    slots: Mutex<Slots>,
    changed: Condvar,
}

impl Registry {
    // Each change is one assignment, or harmless when the next one is missing.
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a connection the one that counts, once the older one is done; `false` when it need not be any more: a newer
    /// one came meanwhile, or the node stops.
    pub(super) fn enter(&self, number: u64, line: &Arc<Line>) -> bool {
        let peer = line.peer.id;
        let mut slots = self.slots();
        let slot = slots.by_peer.entry(peer).or_default();
        if slot.newest > number {
            return false;
        }
        slot.newest = number;
        if let Some(old) = &slot.line {
            old.close(Ended::Superseded);
        }
        // One waits for each peer: an older one that waits gives up.
        self.changed.notify_all();
        let waits = |slots: &mut Slots| {
            let slot = slots.by_peer.entry(peer).or_default();
            !slots.closed && slot.newest == number && slot.line.is_some()
        };
        let mut slots = self.changed.wait_while(slots, waits).unwrap_or_else(PoisonError::into_inner);
        let closed = slots.closed;
        let slot = slots.by_peer.entry(peer).or_default();
        if closed || slot.newest != number {
            return false;
        }
        slot.line = Some(Arc::clone(line));
        true
    }

    /// The threads of a connection that counted are done.
    pub(super) fn leave(&self, peer: ReplicaId) {
        self.slots().by_peer.entry(peer).or_default().line = None;
        self.changed.notify_all();
    }

    /// Nobody enters any more, and whoever is in is closed.
    pub(super) fn close(&self) {
        let mut slots = self.slots();
        slots.closed = true;
        slots
            .by_peer
            .values()
            .filter_map(|slot| slot.line.as_ref())
            .for_each(|line| line.close(Ended::Stopped));
        self.changed.notify_all();
    }
}
