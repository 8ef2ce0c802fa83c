//! A shard whose tables are replaced by a leader's snapshot: the lane's part. Invariant: from the moment on at which the file is
//! being replaced until everything that was known of the old one is forgotten, readers are refused, and nothing is committed.

use std::sync::Arc;

use super::LaneOwner;
use crate::core::replication::{Image, Input};
use crate::runtime::applier::Successor;
use crate::runtime::mailbox::Installed;
use crate::runtime::owner::{Line, ShardOwner};
use crate::store::aol::LaneError;
use crate::store::tables::{TablesError, Unreplaced};
use crate::types::{LanePosition, LogIndex, ReplicaId, ShardId, Space};

impl LaneOwner {
    /// An image is to be fetched.
    pub(super) fn fetch(&self, shard: ShardId, from: ReplicaId, image: Image) {
        if let Some(cluster) = self.shared.cluster.get() {
            cluster.seeding.want(shard, from, image);
        }
    }

    /// Nothing need be fetched.
    pub(super) fn unfetch(&self, shard: ShardId) {
        if let Some(cluster) = self.shared.cluster.get() {
            cluster.seeding.unwant(shard);
        }
    }

    /// A start found damage: what the log has of the shard behind what is sound does not count any more, and the log says so. A
    /// copy of it is kept.
    pub(in crate::runtime) fn leave_out(&mut self, shard: ShardId, from: Option<LanePosition>) {
        let found = self.shards.get(&shard).and_then(|owner| owner.found.as_ref());
        let Some((to, chain)) = found.map(|log| (log.history.end(), log.history.chain())) else { return };
        let kept = from.is_none_or(|from| self.log.keep_taken_back(shard, from, self.log.tail()));
        tracing::warn!(
            shard = shard.0,
            sound = to.0,
            kept,
            "the shard is repaired from its leader behind here"
        );
        match self.append_cut(shard, to, chain) {
            Ok(()) => drop(self.duty.cuts.insert(shard, (to, chain))),
            // The next start finds the same again.
            Err(LaneError::Full) => {}
            Err(error) => {
                tracing::error!(%error, "what is left of a damaged shard was not noted in the log");
                self.broken = true;
            }
        }
    }

    /// The file that was made of an image takes the place of the shard's own.
    pub(super) fn install(&mut self, shard: ShardId) {
        let shared = Arc::clone(&self.shared);
        let Some(open) = shared.open_shard(shard) else { return };
        open.begin_replacing();
        // What is committed goes ahead of it: behind it, that would be older than the tables.
        self.hand_over();
        self.apply.replace(shard, Successor::Image);
    }

    /// It did, or not.
    pub(super) fn installed(&mut self, shard: ShardId, outcome: Result<Installed, Unreplaced>) {
        let shared = Arc::clone(&self.shared);
        let Some(open) = shared.open_shard(shard) else { return };
        match outcome {
            Ok(installed) => {
                let expected = self.replica(shard).and_then(|replica| replica.installing());
                if expected != Some(&installed.history) {
                    return open.condemn("its tables are others than the leader's snapshot was to be");
                }
                let (index, chain) = (installed.history.end(), installed.history.chain());
                if index == LogIndex(0) {
                    self.begin_with_nothing(shard, &installed);
                } else if let Some(owner) = self.shards.get_mut(&shard)
                    && let Err(error) = owner.begin_again_at(&installed)
                {
                    return open
                        .condemn(&format!("what a leader's snapshot brought cannot be read: {error}"));
                }
                // So the log says, too, where the shard goes on. Without room it goes unsaid: the tables say it.
                match self.append_cut(shard, index, chain) {
                    Ok(()) | Err(LaneError::Full) => {}
                    Err(error) => {
                        tracing::error!(%error, "a seeding was not taken by the log");
                        self.broken = true;
                    }
                }
                self.duty.seeded.insert(shard, installed);
            }
            Err(Unreplaced::Kept(error)) => {
                if self.is_being_emptied(shard) {
                    tracing::warn!(shard = shard.0, %error, "damaged tables were not set aside; tried again");
                    self.keep_what_is_there(shard);
                } else {
                    tracing::warn!(shard = shard.0, %error, "a leader's snapshot was not installed; tried again");
                    self.shared.metrics.seeding.failed.inc();
                    open.end_replacing();
                    if let Some(cluster) = self.shared.cluster.get() {
                        cluster.seeding.hold_back(shard, self.clock.elapsed());
                    }
                }
                self.step(shard, Input::Unseeded);
            }
            Err(Unreplaced::Unknown(error)) => {
                let what = if self.is_being_emptied(shard) {
                    "its damaged tables were not set aside"
                } else {
                    "a leader's snapshot was not installed"
                };
                open.condemn(&format!("{what}: {error}"));
            }
        }
    }

    /// It is all on the disk: the replica goes on from there.
    pub(super) fn seeded(&mut self, shard: ShardId, installed: Installed) {
        let Installed { history, voters, .. } = installed;
        if history.end() > LogIndex(0) {
            tracing::info!(
                shard = shard.0,
                index = history.end().0,
                "the shard was seeded with a leader's snapshot"
            );
            self.shared.metrics.seeding.seeded.inc();
            if let Some(cluster) = self.shared.cluster.get() {
                cluster.seeding.settle(shard);
            }
        }
        self.step(shard, Input::Seeded { history, voters });
        let views = self.shards.get_mut(&shard).map(|owner| std::mem::take(&mut owner.stirred));
        if let Some(open) = self.shared.open_shard(shard) {
            open.forget_rot();
            open.end_replacing();
        }
        // Those who follow a tail go on from where they are, in the new tables.
        views.iter().flatten().for_each(|view| view.changed().notify_waiters());
    }
}

impl ShardOwner {
    /// Forgets what was known of the tables before: what they hold now is committed, applied, and all there is.
    fn begin_again_at(&mut self, installed: &Installed) -> Result<(), TablesError> {
        let (index, chain) = (installed.history.end(), installed.history.chain());
        self.stop_serving();
        self.line = Line::new(index, chain);
        (self.applied, self.changed) = (index, index);
        self.marks.clear();
        let shared = Arc::clone(&self.shared);
        let Some(open) = shared.open_shard(self.shard) else { return Ok(()) };
        let tables = open.tables.patient();
        self.stirred = open.views.begin_again(index, |stream| {
            Ok::<_, TablesError>(tables.stream_by_id(stream)?.map(|entry| entry.meta))
        })?;
        shared.subscriptions.forget(self.shard, shared.count);
        for space in [Space::Subscription, Space::Pattern, Space::Secret, Space::Link] {
            for (key, value) in tables.facts(space)? {
                shared.subscriptions.load(self.shard, space, &key, &value, |stream| {
                    tables.stream_by_id(stream).map(|entry| entry.map(|entry| entry.meta.tail))
                })?;
            }
        }
        shared.subscriptions.wake_hub();
        open.grown.note(index, 0);
        Ok(())
    }
}
