//! The choice among sealed voters. Invariant: whoever is chosen has every entry that was ever committed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::suspicion::Reason;
use crate::core::replication::{Phase, SealAnswer, Sealed, ShardRow, sees_every_commit, winners};
use crate::types::{LogIndex, ReplicaId};

/// Those that have not answered yet may have as much and be the better leaders; so long they are waited for.
const STRAGGLERS: Duration = Duration::from_millis(200);
/// So long enough others are waited for before a leader that was relieved leads again: nothing
/// would come through it, and slow disks take their time for a promise. If they do not come, a leader that may recover is better than none.
const WITHOUT_IT: Duration = Duration::from_secs(1);

/// Which of several leaders with equal logs is the better one: the smaller, from the first field on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Taste {
    /// It says that it cannot serve as it should: it would be replaced at once.
    pub sick: bool,
    /// It serves nothing of the shard.
    pub refuses: bool,
    /// It will end soon.
    pub draining: bool,
    /// It cannot read all that it stores of the shard: better than one that is about to serve nothing.
    pub damaged: bool,
    /// Its volume is full.
    pub full: bool,
    /// How many shards it leads already.
    pub leads: usize,
}

impl Taste {
    /// Whether it leads better than one that is to be relieved for this reason. What serves the sound part of a shard is better than what
    /// serves nothing of it.
    pub(super) const fn relieves(self, leader: Self, reason: Reason) -> bool {
        match reason {
            Reason::Damaged if leader.refuses => !self.sick && !self.refuses && !self.draining,
            Reason::Damaged => !self.would_be_replaced(),
            Reason::Draining => !self.sick && !self.refuses && !self.draining,
            _ => true,
        }
    }

    /// Whether another would be wanted in its place as soon as it leads.
    pub(super) const fn would_be_replaced(self) -> bool {
        self.sick || self.refuses || self.damaged || self.draining
    }
}

/// Who leads next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Who.
    pub leader: ReplicaId,
    /// The row that says so.
    pub row: ShardRow,
}

/// Why nobody was chosen yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undecided {
    /// The shard is not being sealed in this epoch.
    NotSealing,
    /// Too few seals; these have not answered, or are damaged.
    Missing(Vec<ReplicaId>),
    /// Enough seals, and time to wait for the rest.
    Stragglers,
    /// Somebody knows of a commit that the best of them does not have: a promise was broken, and a human must look.
    BelowCommit {
        /// What is committed.
        committed: LogIndex,
        /// The end of the best log.
        end: LogIndex,
    },
}

/// Chooses, from the seals of the row's epoch; `waited` since enough of them had come. Whoever `is_gone`, its process having
/// plainly ended, is not waited for: it cannot answer.
///
/// A leader that is relieved because nothing comes through it (`reason`) does not lead again while enough others are sealed, whatever its
/// own log has. Else it would be elected for ever: each time it gets the entry with which an epoch begins, and nobody else does. No commit
/// is lost: an entry is committed when a write quorum of every listed set has it, and enough seals of every listed set meet each of these
/// in a voter; so the best of the others has all of them, as if the seal of the relieved one had not come. What only that one has was
/// never committed, and is cut.
pub fn choose(
    row: &ShardRow,
    seals: &BTreeMap<ReplicaId, SealAnswer>,
    reason: Option<Reason>,
    waited: Duration,
    is_gone: impl Fn(ReplicaId) -> bool,
    taste: impl Fn(ReplicaId) -> Taste,
) -> Result<Choice, Undecided> {
    if row.phase != Phase::Sealing {
        return Err(Undecided::NotSealing);
    }
    let everybody = row.configs.everybody();
    let counts = |id: ReplicaId| {
        seals.get(&id).filter(|seal| everybody.contains(&id) && seal.promised.record == row.epoch)
    };
    // What is damaged keeps its promise, and shows nothing of what was committed.
    let shows = |id: ReplicaId| counts(id).filter(|seal| seal.intact);
    let missing: Vec<ReplicaId> = everybody.iter().copied().filter(|id| shows(*id).is_none()).collect();
    if !sees_every_commit(&row.configs, Some(row.last_leader), |id| shows(id).is_some()) {
        return Err(Undecided::Missing(missing));
    }
    let answered = |id: ReplicaId| counts(id).is_some() || is_gone(id);
    let others_see = sees_every_commit(&row.configs, None, |id| id != row.last_leader && shows(id).is_some());
    let is_relieved = reason.is_some_and(Reason::is_in_the_way);
    // Entries of this epoch are written by a leader that was elected in it, whom this one may follow by now: the row is an older one.
    if is_relieved && counts(row.last_leader).is_some_and(|seal| seal.standing.last.record >= row.epoch) {
        return Err(Undecided::NotSealing);
    }
    let may_come = || missing.iter().any(|id| *id != row.last_leader && !answered(*id));
    if is_relieved && !others_see && waited < WITHOUT_IT && may_come() {
        return Err(Undecided::Stragglers);
    }
    let relieved = Some(row.last_leader).filter(|_| is_relieved && others_see);
    let answers: Vec<Sealed> = everybody
        .iter()
        .filter(|id| Some(**id) != relieved)
        .filter_map(|id| shows(*id).map(|seal| (id, seal.standing)))
        .map(|(id, standing)| Sealed { replica: *id, last: standing.last, end: standing.end })
        .collect();
    let best = winners(&row.configs, answers.iter()).min_by_key(|best| (taste(best.replica), best.replica));
    let Some(Sealed { replica: leader, end, .. }) = best.copied() else {
        return Err(Undecided::Missing(missing));
    };
    // Nobody has more than the last leader: once it is sealed, only a leader that would be replaced at once is worth a wait.
    let is_fine =
        || relieved.is_none() && shows(row.last_leader).is_some() && !taste(leader).would_be_replaced();
    if waited < STRAGGLERS && !missing.iter().all(|id| Some(*id) == relieved || answered(*id)) && !is_fine() {
        return Err(Undecided::Stragglers);
    }
    let committed = everybody.iter().filter_map(|id| counts(*id)).map(|seal| seal.committed).max();
    if let Some(committed) = committed.filter(|committed| *committed > end) {
        return Err(Undecided::BelowCommit { committed, end });
    }
    // A set that has no room for its own leader cannot be: voters change by one, and a set is small.
    let row = row.activate(leader).map_err(|_| Undecided::NotSealing)?;
    Ok(Choice { leader, row })
}
