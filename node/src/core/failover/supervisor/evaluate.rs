//! What the rows should become, by what is seen. Invariant: a shard is sealed only when enough voters answer to elect, and
//! a row is changed only as it was just read.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::choice::{Choice, Taste, Undecided};
use super::super::pulse::RoleSeen;
use super::super::suspicion::{Reason, Verdict, judge};
use super::{Access, Action, RowChange, Supervisor, Trouble};
use crate::core::replication::{Phase, ShardRow, sees_every_commit};
use crate::types::{LogIndex, RecordEpoch, ReplicaId, ShardId};

/// Each further operator waits so much longer before it begins.
const RANK_WAIT: Duration = Duration::from_millis(500);
/// An election that takes so long is spoken of.
const SLOW: Duration = Duration::from_secs(1);
/// A damaged leader that nobody has relieved for so long is spoken of: somebody must look.
const UNRELIEVED: Duration = Duration::from_secs(30);
/// Whoever has all but so many entries can take over within a few milliseconds.
const CAUGHT_UP: u64 = 1000;

impl Supervisor {
    /// Looks whether a row should change; if one should, the record is read first.
    pub(super) fn look(&mut self, out: &mut Vec<Action>) {
        if self.record != Access::Idle {
            return;
        }
        let (changes, said) = self.changes(out);
        self.say(said, out);
        if !changes.is_empty() {
            self.record = Access::Reading(self.now);
            out.push(Action::Read);
        }
    }

    /// The record as it is: what should still change is written.
    pub(super) fn has_read(&mut self, rows: BTreeMap<ShardId, ShardRow>, out: &mut Vec<Action>) {
        self.record = Access::Idle;
        self.learn(rows, out);
        let (changes, said) = self.changes(out);
        self.say(said, out);
        if changes.is_empty() {
            return;
        }
        for change in changes.iter().filter(|change| change.after.phase == Phase::Sealing) {
            let plain = self.suspected.get(&change.shard).is_some_and(|(_, reason)| *reason == Reason::Ended);
            self.held.entry(change.shard).or_default().note(self.now, plain);
        }
        self.record = Access::Writing(self.now);
        out.push(Action::Write(changes));
    }

    /// Every row that should change now, and what is to be said of the others.
    fn changes(&mut self, wishes: &mut Vec<Action>) -> (Vec<RowChange>, BTreeMap<ShardId, Trouble>) {
        let (mut changes, mut said) = (Vec::<RowChange>::new(), BTreeMap::new());
        let rows = std::mem::take(&mut self.rows);
        for (shard, row) in &rows {
            // Whoever was just given a shard leads one more, so that all shards of one node do not go to one other.
            let given = |id| changes.iter().filter(|change| change.after.leader() == Ok(id)).count();
            let leads = |id| rows.values().filter(|row| row.leader() == Ok(id)).count() + given(id);
            match self.next_row(*shard, row, leads, wishes) {
                Ok(Some(after)) => changes.push(RowChange { shard: *shard, before: row.clone(), after }),
                Ok(None) => {}
                Err(trouble) => drop(said.insert(*shard, trouble)),
            }
            if let (Some(since), Ok(leader)) = (self.unrelieved.get(shard), row.leader())
                && self.now >= *since + UNRELIEVED
            {
                said.entry(*shard).or_insert(Trouble::LeaderDamaged(leader));
            }
        }
        self.rows = rows;
        (changes, said)
    }

    fn next_row(
        &mut self,
        shard: ShardId,
        row: &ShardRow,
        leads: impl Fn(ReplicaId) -> usize,
        wishes: &mut Vec<Action>,
    ) -> Result<Option<ShardRow>, Trouble> {
        if row.phase == Phase::Sealing {
            return self.elected(shard, leads);
        }
        let meant = |(id, epoch, _): &&(ReplicaId, RecordEpoch, Duration)| {
            row.leader() == Ok(*id) && row.epoch == *epoch
        };
        let not_leading =
            self.not_leading.get(&shard).filter(meant).map(|(_, _, since)| self.now.saturating_sub(*since));
        let verdict = judge(shard, row, &self.nodes, not_leading);
        match verdict {
            Verdict::HandOver(Reason::Damaged) => drop(self.unrelieved.entry(shard).or_insert(self.now)),
            _ => drop(self.unrelieved.remove(&shard)),
        }
        let reason = match verdict {
            Verdict::Fine => None,
            Verdict::Unreachable => {
                self.suspected.remove(&shard);
                return Err(Trouble::LeaderUnreachable(row.last_leader));
            }
            Verdict::Stuck => {
                self.suspected.remove(&shard);
                return Err(Trouble::LeaderStuck(row.last_leader));
            }
            Verdict::Replace(reason) => Some(reason),
            Verdict::HandOver(reason) => self.successor(shard, row, reason, &leads).map(|_| reason),
        };
        let Some(reason) = reason else {
            self.suspected.remove(&shard);
            // Of a leader that stays damaged it stays known how often others tried: they may come and go.
            if !self.unrelieved.contains_key(&shard) {
                self.successions.drop(shard);
            }
            return Ok(self.confirmed(shard, row));
        };
        let (since, _) = *self.suspected.entry(shard).or_insert((self.now, reason));
        let missing: Vec<ReplicaId> =
            row.configs.everybody().into_iter().filter(|id| !self.answers(*id)).collect();
        if !sees_every_commit(&row.configs, None, |id| self.answers(id)) {
            return Err(Trouble::FailoverBlocked(missing));
        }
        let held = self.held.entry(shard).or_default();
        if held.earliest(self.now, reason == Reason::Ended) > self.now {
            let (wait, failovers) = held.held();
            return Err(Trouble::HeldDown { wait, failovers });
        }
        if since + RANK_WAIT * self.rank > self.now {
            return Ok(None);
        }
        // Whoever can still be asked lets another have everything first, or the election would find its log the longest.
        let asked = reason.can_wait().then(|| self.successor(shard, row, reason, &leads)).flatten();
        if let (Some(successor), Ok(leader)) = (asked, row.leader())
            && !self.successions.is_ready((shard, row.epoch), (leader, successor), reason, self.now, wishes)
        {
            return Ok(None);
        }
        Ok(row.seal().ok())
    }

    /// The row of a shard that is being sealed, once its voters show who leads next.
    fn elected(
        &self,
        shard: ShardId,
        leads: impl Fn(ReplicaId) -> usize,
    ) -> Result<Option<ShardRow>, Trouble> {
        let is_gone = |id| self.nodes.get(&id).is_some_and(|seen| seen.ended);
        let taste = |id| self.taste(shard, id, leads(id));
        match self.elections.choice(shard, self.now, is_gone, taste) {
            Ok(Choice { row, .. }) => Ok(Some(row)),
            Err(Undecided::BelowCommit { committed, end }) => {
                Err(Trouble::ElectionBelowCommit { committed, end })
            }
            Err(Undecided::Missing(missing)) if self.elections.age(shard, self.now) >= SLOW => {
                Err(Trouble::FailoverBlocked(missing))
            }
            Err(Undecided::Missing(_) | Undecided::NotSealing | Undecided::Stragglers) => Ok(None),
        }
    }

    /// The leader says that older sets no longer count: the record should say so, too.
    fn confirmed(&self, shard: ShardId, row: &ShardRow) -> Option<ShardRow> {
        let pulse = self.nodes.get(&row.leader().ok()?)?.pulse.as_ref()?;
        match &pulse.shards.get(&shard)?.role {
            RoleSeen::Leading { epoch, oldest, .. } => row.confirm(epoch.record, *oldest).ok(),
            _ => None,
        }
    }

    fn answers(&self, id: ReplicaId) -> bool {
        self.nodes.get(&id).is_some_and(super::Seen::answers)
    }

    /// The voter that could take over without making anybody wait, the best of them. From one that ends soon, or is damaged, to another
    /// that is no better is no hand-over.
    fn successor(
        &self,
        shard: ShardId,
        row: &ShardRow,
        reason: Reason,
        leads: impl Fn(ReplicaId) -> usize,
    ) -> Option<ReplicaId> {
        let end = |id: ReplicaId| -> Option<LogIndex> {
            let pulse = self.nodes.get(&id).filter(|seen| seen.answers())?.pulse.as_ref()?;
            pulse.shards.get(&shard).map(|shard| shard.end)
        };
        let leader = row.leader().ok()?;
        let all = end(leader)?;
        let others = row.configs.last().voters;
        let near = others
            .iter()
            .filter(|id| *id != leader && end(*id).is_some_and(|end| end.0 + CAUGHT_UP >= all.0));
        let (relieved, tasted) =
            (self.taste(shard, leader, 0), near.map(|id| (self.taste(shard, id, leads(id)), id)));
        tasted.filter(|(taste, _)| taste.relieves(relieved, reason)).min().map(|(_, id)| id)
    }

    fn taste(&self, shard: ShardId, id: ReplicaId, leads: usize) -> Taste {
        let pulse = self.nodes.get(&id).and_then(|seen| seen.pulse.as_ref());
        let draining = pulse.is_none_or(|pulse| pulse.draining);
        let sick = pulse.is_some_and(|pulse| pulse.sick);
        let seen = pulse.and_then(|pulse| pulse.shards.get(&shard));
        let damaged = seen.is_some_and(|shard| shard.damaged);
        let refuses = seen.is_some_and(|shard| shard.refuses);
        Taste { sick, refuses, damaged, draining, full: pulse.is_none_or(|pulse| !pulse.has_room), leads }
    }

    /// Says what has changed about what is said.
    fn say(&mut self, said: BTreeMap<ShardId, Trouble>, out: &mut Vec<Action>) {
        let over = self.said.keys().filter(|shard| !said.contains_key(shard));
        out.extend(over.map(|shard| Action::Say(*shard, None)));
        let news = said.iter().filter(|(shard, trouble)| self.said.get(shard) != Some(trouble));
        out.extend(news.map(|(shard, trouble)| Action::Say(*shard, Some(trouble.clone()))));
        self.said = said;
    }
}
