//! A shard whose tables were found damaged while they are served, and are not needed any more: the lane's part of making it whole
//! without another start. Its replica begins with nothing, as after a start that found the same, and gets everything from its leader.
//!
//! Invariants: it is on the disk that the shard is damaged before anything is set aside; from before the tables are emptied until
//! everything is shown again that was ever shown here, readers are refused.

use std::sync::Arc;
use std::time::Duration;

use super::LaneOwner;
use crate::core::replication::{Input, Replica};
use crate::runtime::applier::Successor;
use crate::runtime::mailbox::Installed;
use crate::runtime::owner::{GivenUp, Line, ShardOwner};
use crate::types::{Chain, LogIndex, ShardId};

/// Where no empty tables could be made, they are tried again after so long: each attempt is remembered durably, and on a full volume one
/// comes to nothing like the other.
const AGAIN: Duration = Duration::from_secs(10);

impl LaneOwner {
    /// The tables of a shard are damaged, another node leads, and the others can do without this one. Nothing happens where the replica
    /// cannot begin anew at the moment; whoever asked asks again.
    pub(super) fn give_up(&mut self, shard: ShardId) {
        // An order that is late may find other tables than those that were meant.
        let rot = self.shared.open_shard(shard).and_then(|open| open.tables.rot());
        let Some(reason) = rot else { return };
        let seeds = |shard| self.shared.cluster.get().is_some_and(|cluster| cluster.seeding.is_busy(shard));
        if !self.replica(shard).is_some_and(Replica::can_give_up) || seeds(shard) {
            return;
        }
        let (now, before) = (self.clock.elapsed(), self.shards.get(&shard).and_then(|owner| owner.given_up));
        if before.is_some_and(|before| now < before.not_before) {
            return;
        }
        let is_first = !self.vault.is_damaged(shard);
        if let Err(error) = self.vault.note_damage(&[(shard, reason.to_string())]) {
            tracing::error!(%error, "that a shard is damaged could not be saved");
            self.broken = true;
            return;
        }
        tracing::warn!(
            shard = shard.0,
            %reason,
            "the shard's tables are damaged: they are set aside, and it gets from its leader what they held"
        );
        if let Some(owner) = self.shards.get_mut(&shard) {
            let since = before.map_or(now, |before| before.since);
            owner.given_up = Some(GivenUp { is_first, since, not_before: Duration::ZERO });
        }
        self.step(shard, Input::GiveUp);
    }

    /// Leaders know whether what they store is sound, and whoever looks after what is stored whether a leader can do without it.
    pub(super) fn note_rot(&mut self) {
        for owner in self.shards.values_mut() {
            let Some(open) = self.shared.open_shard(owner.shard) else { continue };
            let Some(replica) = &mut owner.replica else { continue };
            replica.note_rot(open.is_damaged());
            open.note_spare(replica.can_give_up());
        }
    }

    /// It is on the disk that the shard is damaged.
    pub(super) fn empty(&mut self, shard: ShardId) {
        let shared = Arc::clone(&self.shared);
        let Some(open) = shared.open_shard(shard) else { return };
        let given_up = self.shards.get(&shard).and_then(|owner| owner.given_up);
        shared.begin_emptying(open);
        // What is committed goes ahead, and is set aside with the rest.
        self.hand_over();
        let is_first = given_up.is_none_or(|given_up| given_up.is_first);
        self.apply.replace(shard, Successor::Nothing { is_first });
    }

    /// The tables of a shard are empty: what the log has of it does not count any more. A copy of what it has beyond the file that was
    /// set aside is kept, as far as such copies go.
    pub(super) fn begin_with_nothing(&mut self, shard: ShardId, emptied: &Installed) {
        let kept = emptied.left_out.is_none_or(|from| self.log.keep_taken_back(shard, from, self.log.tail()));
        tracing::info!(shard = shard.0, kept, "the shard's damaged tables are set aside");
        if let Some(owner) = self.shards.get_mut(&shard) {
            owner.begin_with_nothing();
        }
    }

    /// The tables could not be emptied, and are what they were.
    pub(super) fn keep_what_is_there(&mut self, shard: ShardId) {
        let not_before = self.clock.elapsed() + AGAIN;
        let Some(owner) = self.shards.get_mut(&shard) else { return };
        if let Some(given_up) = &mut owner.given_up {
            given_up.not_before = not_before;
        }
        if let Some(open) = self.shared.open_shard(shard) {
            // Unless they were emptied before, and have not got everything back.
            open.show(owner.line.committed());
        }
    }

    /// Whether what takes the place of a shard's tables is nothing.
    pub(super) fn is_being_emptied(&self, shard: ShardId) -> bool {
        let installing = self.replica(shard).and_then(|replica| replica.installing());
        installing.is_some_and(|history| history.end() == LogIndex(0))
    }

    /// A shard holds again all that its leader held.
    pub(super) fn note_repair(&mut self, shard: ShardId) {
        if self.shared.open_shard(shard).is_some_and(|open| open.tables.rot().is_some()) {
            // Its log is whole, and its tables could not be made anew yet.
            return;
        }
        let given_up = self.shards.get_mut(&shard).and_then(|owner| owner.given_up.take());
        let took = given_up.map(|given_up| self.clock.elapsed().saturating_sub(given_up.since));
        self.metrics.store.repaired_shards.inc();
        tracing::info!(shard = shard.0, ?took, "the shard is repaired: it holds all that its leader held");
    }
}

impl ShardOwner {
    /// Forgets what was known of the tables: nothing is committed, applied or shown by them.
    fn begin_with_nothing(&mut self) {
        self.stop_serving();
        self.line = Line::new(LogIndex(0), Chain(0));
        (self.applied, self.changed) = (LogIndex(0), LogIndex(0));
        self.marks.clear();
        let Some(open) = self.shared.open_shard(self.shard) else { return };
        open.begin_with_nothing();
        self.shared.subscriptions.forget(self.shard, self.shared.count);
        self.shared.subscriptions.wake_hub();
        open.grown.note(LogIndex(0), 0);
    }
}
