//! What the record says of one shard, and the only ways in which that may change: each is one compare-and-set by whoever
//! holds the row as it was. Invariant: the epoch grows with every leader; while a shard is being sealed nothing else
//! about it changes; a set of voters is superseded, never forgotten.

use crate::types::{Config, ConfigVersion, Configs, RecordEpoch, ReplicaId, Voters};

/// Where a shard stands between two leaders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It has a leader, by one successful compare-and-set.
    Active {
        /// Who leads in the row's epoch.
        leader: ReplicaId,
    },
    /// Its voters are being sealed in the row's epoch; ends only with a leader.
    Sealing,
}

/// One shard's row of the record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ShardRow {
    /// +1 for every leader change.
    pub epoch: RecordEpoch,
    /// With a leader or on the way to one.
    pub phase: Phase,
    /// Who led last, kept while sealing: its seal alone shows every commit.
    pub last_leader: ReplicaId,
    /// Who votes.
    pub configs: Configs,
}

/// Why the row does not change so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// A shard that is being sealed changes in no other way until it has a leader.
    #[error("the shard is being sealed")]
    Sealing,
    /// Only a shard that is being sealed gets a leader.
    #[error("the shard has a leader")]
    HasLeader,
    /// One change at a time.
    #[error("a change of the voters is not confirmed yet")]
    Changing,
    /// There is no change to take back or to confirm.
    #[error("no change of the voters is under way")]
    NotChanging,
    /// Voters come and go one at a time.
    #[error("more than one voter would change")]
    Step,
    /// The leader hands over first.
    #[error("{0} leads: let another lead first")]
    Leads(ReplicaId),
    /// No room for one more voter.
    #[error("the shard has as many voters as it can have")]
    TooMany,
    /// A leader of an earlier epoch said it.
    #[error("said in epoch {0}, which is over")]
    Stale(RecordEpoch),
}

impl ShardRow {
    /// A shard that begins, led in its first epoch.
    #[must_use]
    pub fn first(voters: Voters, leader: ReplicaId) -> Self {
        Self {
            epoch: RecordEpoch(1),
            phase: Phase::Active { leader },
            last_leader: leader,
            configs: Configs::first(voters),
        }
    }

    /// A failover or a switchover begins: a new epoch without a leader.
    pub fn seal(&self) -> Result<Self, RowError> {
        self.leader()?;
        Ok(Self { epoch: RecordEpoch(self.epoch.0 + 1), phase: Phase::Sealing, ..self.clone() })
    }

    /// The election is over. Whoever won with the seals of an older set becomes a voter of the newest one, too.
    pub fn activate(&self, leader: ReplicaId) -> Result<Self, RowError> {
        if self.phase != Phase::Sealing {
            return Err(RowError::HasLeader);
        }
        let last = self.configs.last().voters;
        let configs = match last.contains(leader) {
            true => self.configs.clone(),
            false => self.configs.with_next(last.with(leader).ok_or(RowError::TooMany)?),
        };
        Ok(Self { epoch: self.epoch, phase: Phase::Active { leader }, last_leader: leader, configs })
    }

    /// A new epoch without a leader, in which one replica alone votes, whatever the others hold. The only change that forgets a set of
    /// voters; `core::failover::unclean` says when it may be made.
    #[must_use]
    pub fn go_on_with(&self, chosen: ReplicaId) -> Option<Self> {
        let version = ConfigVersion(self.configs.last().version.0 + 1);
        let configs = Configs::new(vec![Config { version, voters: Voters::new([chosen])? }])?;
        let epoch = RecordEpoch(self.epoch.0 + 1);
        Some(Self { epoch, phase: Phase::Sealing, last_leader: chosen, configs })
    }

    /// One voter more or less.
    pub fn change(&self, voters: Voters) -> Result<Self, RowError> {
        let leader = self.leader()?;
        if self.configs.is_changing() {
            return Err(RowError::Changing);
        }
        if self.configs.last().voters.distance(&voters) != 1 {
            return Err(RowError::Step);
        }
        if !voters.contains(leader) {
            return Err(RowError::Leads(leader));
        }
        Ok(Self { configs: self.configs.with_next(voters), ..self.clone() })
    }

    /// Takes an unconfirmed change back by a further one to the oldest set: the leader may know of it already, so it is
    /// never forgotten.
    pub fn withdraw(&self) -> Result<Self, RowError> {
        let leader = self.leader()?;
        if !self.configs.is_changing() {
            return Err(RowError::NotChanging);
        }
        let old = self.configs.oldest().voters;
        if !old.contains(leader) {
            return Err(RowError::Leads(leader));
        }
        Ok(Self { configs: self.configs.with_next(old), ..self.clone() })
    }

    /// The leader of `epoch` has confirmed a set: older ones no longer count.
    pub fn confirm(&self, epoch: RecordEpoch, version: ConfigVersion) -> Result<Self, RowError> {
        self.leader()?;
        if epoch != self.epoch {
            return Err(RowError::Stale(epoch));
        }
        if self.configs.oldest().version >= version {
            return Err(RowError::NotChanging);
        }
        Ok(Self { configs: self.configs.confirmed(version), ..self.clone() })
    }

    /// Who leads now.
    pub fn leader(&self) -> Result<ReplicaId, RowError> {
        match self.phase {
            Phase::Active { leader } => Ok(leader),
            Phase::Sealing => Err(RowError::Sealing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u32]) -> Voters {
        Voters::new(ids.iter().copied().map(ReplicaId)).unwrap()
    }

    fn row() -> ShardRow {
        ShardRow::first(set(&[0, 1, 2]), ReplicaId(0))
    }

    #[test]
    fn a_sealing_shard_changes_in_no_way_but_to_a_leader_and_remembers_the_last_one() {
        let sealing = row().seal().unwrap();
        assert_eq!((sealing.epoch, sealing.last_leader), (RecordEpoch(2), ReplicaId(0)));
        assert_eq!(sealing.seal(), Err(RowError::Sealing));
        assert_eq!(sealing.change(set(&[0, 1])), Err(RowError::Sealing));
        assert_eq!(sealing.confirm(RecordEpoch(2), ConfigVersion(2)), Err(RowError::Sealing));
        let active = sealing.activate(ReplicaId(1)).unwrap();
        assert_eq!(
            (active.epoch, active.leader(), active.last_leader),
            (RecordEpoch(2), Ok(ReplicaId(1)), ReplicaId(1))
        );
        assert_eq!(active.activate(ReplicaId(2)), Err(RowError::HasLeader));
    }

    #[test]
    fn voters_change_one_at_a_time_and_never_the_leader() {
        assert_eq!(row().change(set(&[0])), Err(RowError::Step));
        assert_eq!(row().change(set(&[1, 2])), Err(RowError::Leads(ReplicaId(0))));
        let changed = row().change(set(&[0, 1])).unwrap();
        assert_eq!(changed.change(set(&[0, 1, 2])), Err(RowError::Changing));
        assert_eq!(changed.confirm(RecordEpoch(0), ConfigVersion(2)), Err(RowError::Stale(RecordEpoch(0))));
        let confirmed = changed.confirm(RecordEpoch(1), ConfigVersion(2)).unwrap();
        assert!(!confirmed.configs.is_changing());
        assert_eq!(confirmed.confirm(RecordEpoch(1), ConfigVersion(2)), Err(RowError::NotChanging));
    }

    #[test]
    fn a_change_is_taken_back_by_a_further_one_and_never_forgotten() {
        let withdrawn = row().change(set(&[0, 1])).unwrap().withdraw().unwrap();
        let versions: Vec<u64> = withdrawn.configs.as_slice().iter().map(|config| config.version.0).collect();
        assert_eq!(versions, [1, 2, 3]);
        assert_eq!(withdrawn.configs.last().voters, set(&[0, 1, 2]));
        assert_eq!(row().withdraw(), Err(RowError::NotChanging));
    }

    #[test]
    fn a_leader_that_an_older_set_elected_votes_in_the_newest() {
        let sealing = row().change(set(&[0, 1])).unwrap().seal().unwrap();
        let active = sealing.activate(ReplicaId(2)).unwrap();
        assert_eq!(active.configs.last().voters, set(&[0, 1, 2]));
        assert_eq!(active.configs.as_slice().len(), 3);
    }
}
