//! The record's row in eleven bytes, and its transitions, which are the product's.

use super::rules::{ConfigVersion, Configs, Phase, RecordEpoch, ShardRow};
use super::sets::{Sets, id, small};
use super::world::{Id, replica};

/// What the record says of the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Row {
    /// +1 for every leader change.
    pub epoch: u8,
    /// Who leads; nobody while the voters are being sealed.
    pub leader: Option<Id>,
    /// Who led last.
    pub last_leader: Id,
    /// Who votes.
    pub sets: Sets,
}

impl Row {
    /// The same for the product.
    #[must_use]
    pub(super) fn shard_row(&self) -> Option<ShardRow> {
        let phase = self.leader.map_or(Phase::Sealing, |leader| Phase::Active { leader: replica(leader) });
        let epoch = RecordEpoch(u64::from(self.epoch));
        Some(ShardRow { epoch, phase, last_leader: replica(self.last_leader), configs: self.configs()? })
    }

    /// Who votes, for the product.
    #[must_use]
    pub(super) fn configs(&self) -> Option<Configs> {
        self.sets.configs()
    }

    /// A failover begins.
    #[must_use]
    pub(super) fn seal(&self) -> Option<Self> {
        Some(Self::from(&self.shard_row()?.seal().ok()?))
    }

    /// A failover ends.
    #[must_use]
    pub(super) fn activate(&self, leader: Id) -> Option<Self> {
        Some(Self::from(&self.shard_row()?.activate(replica(leader)).ok()?))
    }

    /// This replica votes from now on, or no longer.
    #[must_use]
    pub(super) fn change(&self, who: Id) -> Option<Self> {
        let row = self.shard_row()?;
        let (voters, who) = (row.configs.last().voters, replica(who));
        let next = if voters.contains(who) { voters.without(who) } else { voters.with(who) };
        Some(Self::from(&row.change(next?).ok()?))
    }

    /// As [`Self::change`], though the replica leads.
    #[must_use]
    pub(super) fn without_leader(&self) -> Option<Self> {
        let configs = self.configs().filter(|configs| !configs.is_changing())?;
        let next = configs.last().voters.without(replica(self.leader?))?;
        Some(Self { sets: Sets::from(&configs.with_next(next)), ..*self })
    }

    /// A change is taken back.
    #[must_use]
    pub(super) fn withdraw(&self) -> Option<Self> {
        Some(Self::from(&self.shard_row()?.withdraw().ok()?))
    }

    /// A leader lets this set stand alone.
    #[must_use]
    pub(super) fn confirm(&self, version: u8) -> Option<Self> {
        let (epoch, version) = (RecordEpoch(u64::from(self.epoch)), ConfigVersion(u64::from(version)));
        Some(Self::from(&self.shard_row()?.confirm(epoch, version).ok()?))
    }
}

impl From<&ShardRow> for Row {
    fn from(row: &ShardRow) -> Self {
        Self {
            epoch: small(row.epoch.0),
            leader: row.leader().ok().map(id),
            last_leader: id(row.last_leader),
            sets: Sets::from(&row.configs),
        }
    }
}
