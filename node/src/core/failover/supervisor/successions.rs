//! Hand-overs of leaders that can still be asked: first another voter gets everything, then the shard is sealed. Invariant: a shard is
//! sealed within a moment of its leader saying so, or not for this.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::suspicion::Reason;
use super::Action;
use crate::types::{RecordEpoch, ReplicaId, ShardId};

/// How long new writes may wait from the order to the next epoch: a few turns of the record and of the disks.
const PATIENCE: Duration = Duration::from_millis(500);
/// A hand-over that came to nothing is not tried again sooner, so that writers are not held up all the time.
const AGAIN: Duration = Duration::from_secs(3);
/// A leader that is damaged stays so, and serves what it can: after each hand-over that came to nothing the next one waits twice as long,
/// up to about six minutes.
const DOUBLINGS_MAX: u32 = 7;

/// All hand-overs, by shard.
#[derive(Debug, Default)]
pub(super) struct Successions(BTreeMap<ShardId, Succession>);

#[derive(Debug, Clone, Copy)]
struct Succession {
    epoch: RecordEpoch,
    asked: Duration,
    ready: bool,
    /// How often this leader was asked.
    attempts: u32,
}

impl Succession {
    /// When its leader may be asked again.
    fn again(&self, reason: Reason) -> Duration {
        let doublings = if reason == Reason::Damaged { self.attempts.min(DOUBLINGS_MAX) } else { 0 };
        self.asked + AGAIN * (1 << doublings)
    }
}

impl Successions {
    /// Whether the shard may be sealed now; if not, its leader is asked, unless it was a moment ago.
    pub(super) fn is_ready(
        &mut self,
        (shard, epoch): (ShardId, RecordEpoch),
        (leader, successor): (ReplicaId, ReplicaId),
        reason: Reason,
        now: Duration,
        wishes: &mut Vec<Action>,
    ) -> bool {
        let known = self.0.get(&shard).filter(|known| known.epoch == epoch);
        if let Some(known) = known.filter(|known| now < known.again(reason)) {
            return known.ready && now < known.asked + PATIENCE;
        }
        let attempts = known.map_or(0, |known| known.attempts + 1);
        self.0.insert(shard, Succession { epoch, asked: now, ready: false, attempts });
        wishes.push(Action::HandOver { shard, epoch, to: leader, successor, patience: PATIENCE });
        false
    }

    /// The leader of this epoch says that another voter has everything.
    pub(super) fn ready(&mut self, shard: ShardId, epoch: RecordEpoch) {
        if let Some(known) = self.0.get_mut(&shard).filter(|known| known.epoch == epoch) {
            known.ready = true;
        }
    }

    /// The shard need not be handed over, or is another leader's.
    pub(super) fn drop(&mut self, shard: ShardId) {
        self.0.remove(&shard);
    }
}
