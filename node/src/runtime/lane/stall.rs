//! A leader whose followers do not get on: those of whom nothing is heard, and those that live and take nothing, as with full disks.
//! Invariant: nobody waits for a majority without an end, and what waits for one is bounded in memory.

use std::time::Duration;

use super::LaneOwner;
use crate::runtime::Failure;
use crate::runtime::mailbox::Waiter;
use crate::types::ShardId;

/// An entry that has waited for a majority for so long: more would only wait, too. Longer than the suspicion that another leader would
/// do better, so that this is tried before.
const STALLED_AFTER: Duration = Duration::from_secs(5);
/// Whoever has waited for a majority for so long is told that the outcome is open: before another node, which passed the write on, gives
/// up by itself, and before most clients do. Not sooner for a leader that hears of too few: it cannot tell a cut from followers that
/// pause for a second or three, after which the write comes to be; whoever is told "unknown" has no such good end.
const ANSWERED_AFTER: Duration = Duration::from_secs(8);

impl LaneOwner {
    /// Too few voters are heard of: this replica can prove nothing to the reads that wait.
    pub(super) fn suspend(&mut self, shard: ShardId) {
        tracing::warn!(shard = shard.0, "too few voters are heard of: no writes until they are");
        let Some(owner) = self.shards.get_mut(&shard) else { return };
        for asker in owner.line.take_reads() {
            self.answer_read(shard, asker, None);
        }
    }

    /// Takes no more of what would only wait, and tells those who have waited for long.
    pub(super) fn look_for_stalls(&mut self, now: Duration) {
        if self.shared.cluster.get().is_none() {
            return;
        }
        let waited = |since: Option<Duration>| since.map(|since| now.saturating_sub(since));
        let shards: Vec<(ShardId, Option<Duration>)> =
            self.shards.iter().map(|(shard, owner)| (*shard, waited(owner.line.waiting_since()))).collect();
        for (shard, waited) in shards {
            let leads = self.replica(shard).is_some_and(|replica| replica.leads().is_some());
            let over = |bound| leads && waited.is_some_and(|waited| waited >= bound);
            self.note_stall(shard, over(STALLED_AFTER));
            if over(ANSWERED_AFTER) {
                self.answer_unreplicated(shard);
            }
        }
    }

    fn note_stall(&self, shard: ShardId, stalled: bool) {
        let is_new = self.shared.open_shard(shard).is_some_and(|open| open.stall(stalled));
        match (is_new, stalled) {
            (true, true) => tracing::warn!(
                shard = shard.0,
                "no majority takes what is written here: new messages are refused until it does; /admin/shards tells who lacks what"
            ),
            (true, false) => {
                tracing::info!(shard = shard.0, "a majority has what was written, or another leads")
            }
            (false, _) => {}
        }
    }

    fn answer_unreplicated(&mut self, shard: ShardId) {
        let Some(owner) = self.shards.get_mut(&shard) else { return };
        let waiters: Vec<Waiter> = owner.line.take_answers().map(|waiting| waiting.waiter).collect();
        waiters
            .into_iter()
            .for_each(|waiter| self.answer(shard, waiter, Err(Failure::Unreplicated { shard })));
    }
}
