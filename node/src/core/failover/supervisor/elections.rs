//! Elections under way: who was asked, who answered, who was ordered to lead. Invariant: the seals of an election are
//! those of the row's epoch, and an order carries what the chosen one said when it was sealed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::choice::{Choice, Taste, Undecided, choose};
use super::super::suspicion::Reason;
use super::{Action, Learners, REPEAT, learners_of};
use crate::core::replication::{Phase, SealAnswer, ShardRow};
use crate::types::{RecordEpoch, ReplicaId, ShardId};

/// All elections, by shard.
#[derive(Debug, Default)]
pub(super) struct Elections(BTreeMap<ShardId, Election>);

#[derive(Debug)]
struct Election {
    row: ShardRow,
    seals: BTreeMap<ReplicaId, SealAnswer>,
    /// Since when the seals show every commit.
    enough: Option<Duration>,
    began: Duration,
    /// Why, if this supervisor began it.
    reason: Option<Reason>,
    /// When it asked or ordered last.
    asked: Duration,
    /// Who leads, is to be told so, and has not said so yet.
    ordered: Option<ReplicaId>,
}

impl Elections {
    /// The record says this of a shard.
    pub(super) fn follow(
        &mut self,
        shard: ShardId,
        row: &ShardRow,
        now: Duration,
        reason: Option<Reason>,
        learners: &Learners,
        out: &mut Vec<Action>,
    ) {
        let known = self.0.get_mut(&shard).filter(|election| election.row.epoch == row.epoch);
        match (row.phase, known) {
            (Phase::Sealing, Some(_)) => {}
            (Phase::Sealing, None) => {
                let (row, seals) = (row.clone(), BTreeMap::new());
                let election =
                    Election { row, seals, enough: None, began: now, reason, asked: now, ordered: None };
                election.ask(shard, out);
                self.0.insert(shard, election);
            }
            (Phase::Active { leader }, Some(election)) => {
                let first = election.row.phase == Phase::Sealing;
                let from = election.row.last_leader;
                election.row = row.clone();
                if first {
                    let (epoch, reason, took) =
                        (row.epoch, election.reason, now.saturating_sub(election.began));
                    out.push(Action::Moved { shard, from, to: leader, epoch, reason, took });
                    (election.ordered, election.asked) = (Some(leader), now);
                    election.order(shard, learners, out);
                }
            }
            (Phase::Active { .. }, None) => drop(self.0.remove(&shard)),
        }
    }

    /// A replica is sealed.
    pub(super) fn sealed(&mut self, shard: ShardId, from: ReplicaId, answer: SealAnswer, now: Duration) {
        let Some(election) = self.0.get_mut(&shard) else { return };
        if answer.promised.record != election.row.epoch || election.row.phase != Phase::Sealing {
            return;
        }
        election.seals.insert(from, answer);
        let missing =
            choose(&election.row, &election.seals, None, Duration::ZERO, |_| false, |_| Taste::default());
        if !matches!(missing, Err(Undecided::Missing(_))) {
            election.enough.get_or_insert(now);
        }
    }

    /// The leader of this epoch says that it leads: nothing more is to be said to it.
    pub(super) fn leads(&mut self, shard: ShardId, epoch: RecordEpoch) {
        if self.0.get(&shard).is_some_and(|election| election.row.epoch == epoch) {
            self.0.remove(&shard);
        }
    }

    /// Who leads next, if that is decided.
    pub(super) fn choice(
        &self,
        shard: ShardId,
        now: Duration,
        is_gone: impl Fn(ReplicaId) -> bool,
        taste: impl Fn(ReplicaId) -> Taste,
    ) -> Result<Choice, Undecided> {
        let Some(election) = self.0.get(&shard) else { return Err(Undecided::NotSealing) };
        let waited = election.enough.map_or(Duration::ZERO, |enough| now.saturating_sub(enough));
        choose(&election.row, &election.seals, election.reason, waited, is_gone, taste)
    }

    /// For how long an election has been under way.
    pub(super) fn age(&self, shard: ShardId, now: Duration) -> Duration {
        self.0.get(&shard).map_or(Duration::ZERO, |election| now.saturating_sub(election.began))
    }

    /// Asks and orders again where nothing came back.
    pub(super) fn repeat(&mut self, now: Duration, learners: &Learners, out: &mut Vec<Action>) {
        for (shard, election) in self.0.iter_mut().filter(|(_, election)| election.asked + REPEAT <= now) {
            election.asked = now;
            election.ask(*shard, out);
            election.order(*shard, learners, out);
        }
    }
}

impl Election {
    fn ask(&self, shard: ShardId, out: &mut Vec<Action>) {
        if self.row.phase != Phase::Sealing {
            return;
        }
        let epoch = self.row.epoch;
        let silent = self.row.configs.everybody().into_iter().filter(|id| !self.seals.contains_key(id));
        out.extend(silent.map(|to| Action::Seal { shard, epoch, to }));
    }

    fn order(&self, shard: ShardId, learners: &Learners, out: &mut Vec<Action>) {
        let Some(to) = self.ordered else { return };
        // Whoever did not see its seal cannot order it to lead; the next failover will.
        let Some(seal) = self.seals.get(&to) else { return };
        let (epoch, configs, expected) = (self.row.epoch, self.row.configs.clone(), seal.standing);
        let learners = learners_of(learners, shard);
        out.push(Action::Lead { shard, epoch, to, configs, learners, expected });
    }
}
