//! What leaders were told of who votes and who learns. Invariant: a leader is told the same at most twice a second, because
//! it says no sooner what it goes by; what is new it is told at once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::REPEAT;
use crate::core::replication::ShardRow;
use crate::types::{ConfigVersion, RecordEpoch, ReplicaId, ShardId};

/// The last that each shard's leader was told.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<ShardId, Words>);

#[derive(Debug)]
struct Words {
    epoch: RecordEpoch,
    version: ConfigVersion,
    learners: Vec<ReplicaId>,
    at: Duration,
}

impl Told {
    /// Whether a leader that goes by the sets from `oldest` to `newest` is to be told now; if so, it counts as told.
    pub(super) fn is_due(
        &mut self,
        shard: ShardId,
        row: &ShardRow,
        (newest, oldest): (ConfigVersion, ConfigVersion),
        learners: &[ReplicaId],
        now: Duration,
    ) -> bool {
        let (epoch, version) = (row.epoch, row.configs.last().version);
        let last = self.0.get(&shard);
        let is_same =
            |last: &Words| (last.epoch, last.version) == (epoch, version) && last.learners == learners;
        let is_lately = last.is_some_and(|last| is_same(last) && now < last.at + REPEAT);
        // A leader does not say whom it feeds: as long as somebody learns, it is told so again, and once when nobody does.
        // One that confirmed a set and crashed before that was on its disk goes by the older ones again, whose voters may be no more.
        let goes_by = newest >= version && oldest >= row.configs.oldest().version;
        let is_known = goes_by && learners.is_empty();
        let was_fed = last.is_some_and(|last| !last.learners.is_empty());
        if is_lately || (is_known && !was_fed) {
            return false;
        }
        self.0.insert(shard, Words { epoch, version, learners: learners.to_vec(), at: now });
        true
    }
}
