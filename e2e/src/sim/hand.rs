//! The hand that changes voters: a replaced disk is another voter; whims add, remove, take back and seal without reason. It
//! stands for people and for the part of the operator that keeps the number of voters; who is to get the log before it votes the
//! operators hear from it. Invariant: a voter comes in once it
//! has the log, one change is over before the next begins, and each is one compare-and-set on the row that it rests on.

use thalweg_node::core::failover::RowChange;
use thalweg_node::core::replication::{Phase, ShardRow};
use thalweg_node::types::ReplicaId;

use super::event::{Event, Shard};
use super::network::{chance, trip};
use super::queue::{Micros, SECOND};
use super::record::shard_id;
use super::world::World;

/// How often it looks.
pub(super) const LOOKS: Micros = SECOND;
/// A learner that is so close to the commit index may vote.
const LAG_MAX: u64 = 16;

/// Something that nobody needs and that must do no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whim {
    Seal,
    Add,
    Remove,
    Withdraw,
}

const WHIMS: [Whim; 4] = [Whim::Seal, Whim::Add, Whim::Remove, Whim::Withdraw];

impl World {
    /// Looks at each shard, and changes what it has reason or whim to change.
    pub(super) fn hand_looks(&mut self) {
        self.queue.after(LOOKS, Event::Hand);
        self.tell_of_learners();
        for shard in 0..self.ledgers.len() {
            let whim = chance(&mut self.dice, self.faults.whims_per_mille);
            let whim = if whim { self.dice.pick(&WHIMS).copied() } else { None };
            let row = self.record.now(shard).clone();
            let Phase::Active { leader } = row.phase else { continue };
            if let Some(after) = self.next_row(shard, (&row, leader), whim) {
                let change = RowChange { shard: shard_id(shard), before: row, after };
                let delay = trip(&self.faults, &mut self.dice);
                self.queue.after(delay, Event::Changed(Box::new(change)));
            }
        }
    }

    /// A change reaches the record.
    pub(super) fn hand_changes(&mut self, change: &RowChange) {
        if self.queue.now() >= self.outage && self.record.write(std::slice::from_ref(change)) {
            let now = self.queue.now();
            self.trace.say(now, || format!("a hand  writes of {}", super::office::written(change)));
        }
    }

    fn next_row(
        &mut self,
        shard: Shard,
        (row, leader): (&ShardRow, ReplicaId),
        whim: Option<Whim>,
    ) -> Option<ShardRow> {
        match whim {
            Some(Whim::Seal) => return row.seal().ok(),
            Some(Whim::Withdraw) if row.configs.is_changing() => return row.withdraw().ok(),
            _ if row.configs.is_changing() => return None,
            _ => {}
        }
        let home = &self.nodes[self.homes[leader.0 as usize]];
        let replica = home.locals[shard].replica.as_ref().filter(|_| home.up && home.id == leader)?;
        replica.leads().filter(|epoch| epoch.record == row.epoch)?;
        let committed = replica.committed();
        if let Some(id) = self.adding[shard] {
            return self.brings_in(shard, row, id, committed.0);
        }
        let voters = row.configs.last().voters;
        let current = |old: ReplicaId| self.nodes[self.homes[old.0 as usize]].id;
        if let Some((old, new)) = voters.iter().map(|old| (old, current(old))).find(|(old, new)| old != new) {
            if voters.contains(new) {
                return row.change(voters.without(old)?).ok();
            }
            self.adding[shard] = Some(new);
            return None;
        }
        match whim {
            Some(Whim::Add) => {
                self.adding[shard] = self.nodes.iter().map(|node| node.id).find(|id| !voters.contains(*id));
                None
            }
            Some(Whim::Remove) if voters.count() > 3 => {
                let out = voters.iter().find(|id| *id != leader)?;
                row.change(voters.without(out)?).ok()
            }
            _ => None,
        }
    }

    /// A newcomer gets the log first; once it has nearly all of it, it votes.
    fn brings_in(&mut self, shard: Shard, row: &ShardRow, id: ReplicaId, committed: u64) -> Option<ShardRow> {
        let voters = row.configs.last().voters;
        let there = &self.nodes[self.homes[id.0 as usize]];
        if there.id != id || voters.contains(id) {
            self.adding[shard] = None;
            return None;
        }
        if there.up && there.locals[shard].log.end().0 + LAG_MAX >= committed {
            return row.change(voters.with(id)?).ok();
        }
        None
    }
}
