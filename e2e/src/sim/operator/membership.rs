//! Voters that come and go: a replaced disk is another voter; whims add, remove and take back. Invariant: a voter comes
//! in once it has the log, and one change is over before the next begins.

use thalweg_node::core::replication::ShardRow;
use thalweg_node::types::ReplicaId;

use super::{Do, Operator, Question, ShardStatus, Whim, home};
use crate::sim::event::{NodeId, Shard};
use crate::sim::plant::Plant;
use crate::sim::queue::{Micros, SECOND};
use crate::sim::record::Put;

/// How often a leader is told what the record says while it does not seem to know.
const CONFIGURE_EVERY: Micros = SECOND;
/// A learner that is so close to the commit index may vote.
const LAG_MAX: u64 = 16;

impl Operator {
    /// The leader leads: confirms what it has confirmed, tells it what it does not know, changes what is to be changed.
    pub(super) fn keep_voters(
        &mut self,
        now: Micros,
        shard: Shard,
        (row, leader): (&ShardRow, ReplicaId),
        homes: &[NodeId],
        out: &mut Vec<Do>,
    ) {
        let Some(status) = self.heard(now, leader, homes).map(|status| status.shards[shard].clone()) else {
            return;
        };
        let Some((oldest, newest)) = status.versions else { return };
        let seen = self.desks[shard].version;
        let changed = if row.configs.is_changing() {
            let unasked = self.plant == Some(Plant::ConfirmsUnasked);
            let confirmed = if unasked { row.configs.last().version } else { oldest };
            match self.desks[shard].whim.take_if(|whim| *whim == Whim::Withdraw) {
                Some(_) => row.withdraw(),
                None => row.confirm(row.epoch, confirmed),
            }
            .ok()
        } else {
            self.change(now, shard, (row, leader), &status, homes)
        };
        if let Some(row) = changed {
            return out.push(Do::Put(Put { shard, seen, row }));
        }
        let desk = &mut self.desks[shard];
        if (newest < row.configs.last().version || desk.adding.is_some())
            && now >= desk.configured + CONFIGURE_EVERY
        {
            desk.configured = now;
            let learners = desk.adding.into_iter().collect();
            let (epoch, configs) = (row.epoch, row.configs.clone());
            let question = Question::Configure { to: leader, shard, epoch, configs, learners };
            out.push(Do::Ask(home(homes, leader), question));
        }
    }

    /// The next change of the voters, if there is reason for one.
    fn change(
        &mut self,
        now: Micros,
        shard: Shard,
        (row, leader): (&ShardRow, ReplicaId),
        led: &ShardStatus,
        homes: &[NodeId],
    ) -> Option<ShardRow> {
        let voters = row.configs.last().voters;
        if let Some(id) = self.desks[shard].adding {
            let status = self.heard(now, id, homes).map(|status| &status.shards[shard]);
            let fit = status.is_some() && !voters.contains(id);
            if !fit {
                self.desks[shard].adding = None;
                return None;
            }
            let near = status.is_some_and(|status| status.end.0 + LAG_MAX >= led.committed.0);
            return near.then(|| row.change(voters.with(id)?).ok()).flatten();
        }
        let current = |id| self.current(now, home(homes, id)).filter(|now| *now != id);
        let replaced = voters.iter().find_map(|old| Some((old, current(old)?)));
        if let Some((old, new)) = replaced {
            if voters.contains(new) {
                return row.change(voters.without(old)?).ok();
            }
            self.desks[shard].adding = Some(new);
            return None;
        }
        match self.desks[shard].whim.take() {
            Some(Whim::Add) => {
                let nodes = 0..self.seen.len();
                let spare = nodes.filter_map(|node| self.current(now, node));
                self.desks[shard].adding = spare.into_iter().find(|id| !voters.contains(*id));
                None
            }
            Some(Whim::Remove) if voters.count() > 3 => {
                let out = voters.iter().find(|id| *id != leader)?;
                row.change(voters.without(out)?).ok()
            }
            _ => None,
        }
    }

    /// Who lives on a node now.
    fn current(&self, now: Micros, node: NodeId) -> Option<ReplicaId> {
        let (at, status) = self.seen[node].as_ref()?;
        (*at + super::SILENCE_MAX >= now).then_some(status.replica)
    }
}
