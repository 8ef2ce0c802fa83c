//! Whether a leader is to be replaced. Invariant: it takes the leader's own word, its plain end, or the silence of so many
//! voters that it can commit nothing: never a missing answer to the operator alone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::pulse::{NodePulse, RoleSeen};
use crate::core::replication::{ShardRow, commit_rule, sees_every_commit};
use crate::types::{LogIndex, ReplicaId, ShardId, Voters};

/// A follower that has heard nothing for so long says that the leader is silent: ten heartbeats.
const SILENT: Duration = Duration::from_secs(1);
/// So long voters say so before a leader that the operator does hear is asked to hand over.
const SILENT_LONG: Duration = Duration::from_secs(2);
/// A leader whose oldest write has waited for so long has a disk that hangs.
const HUNG: Duration = Duration::from_secs(3);

/// What is seen of one node.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Its last answer.
    pub(super) pulse: Option<NodePulse>,
    /// It has not answered for so many questions in a row.
    pub(super) missed: u32,
    /// Its process or its pod has plainly ended, and nothing was heard of it since.
    pub(super) ended: bool,
}

/// So many missed answers in a row are a silence: two seconds.
pub(super) const MISSED_MAX: u32 = 4;

impl Seen {
    /// Whether it answers.
    pub(super) fn answers(&self) -> bool {
        self.pulse.is_some() && self.missed < MISSED_MAX && !self.ended
    }
}

/// Why a leader is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Its process or pod has ended.
    Ended,
    /// It says that it cannot serve.
    Sick,
    /// Its oldest write has waited for too long.
    Hung,
    /// The record says that it leads, and it says that it does not.
    NotLeading,
    /// Neither the operator nor enough voters hear of it.
    Silent,
    /// The operator hears of it, and enough voters do not.
    CutOff,
    /// It cannot read all that it stores of the shard.
    Damaged,
    /// It wants to hand over.
    Draining,
}

impl Reason {
    /// Whether the leader serves as well as any other until another one does: it is only ever relieved by one that is better off,
    /// and lets it have everything first.
    pub(super) const fn can_wait(self) -> bool {
        matches!(self, Self::Damaged | Self::Draining)
    }

    /// Whether nothing comes through the leader though it may well answer, so that it is not to lead again while others can.
    pub(super) const fn is_in_the_way(self) -> bool {
        matches!(self, Self::Sick | Self::Hung | Self::CutOff)
    }
}

/// What to do about a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// Nothing but to say that the operator does not hear of it: enough voters do.
    Unreachable,
    /// Nothing but to say that its writes wait: without it too few others could elect, or nobody would win who has all.
    Stuck,
    /// Another leads next, as soon as enough voters are sealed.
    Replace(Reason),
    /// Another leads next, if one has all that it has.
    HandOver(Reason),
}

/// Judges the leader of a shard by what is seen of it and of the voters.
pub(super) fn judge(
    shard: ShardId,
    row: &ShardRow,
    nodes: &BTreeMap<ReplicaId, Seen>,
    not_leading_for: Option<Duration>,
) -> Verdict {
    let Ok(leader) = row.leader() else { return Verdict::Fine };
    let unknown = Seen::default();
    let seen = nodes.get(&leader).unwrap_or(&unknown);
    if seen.ended {
        return Verdict::Replace(Reason::Ended);
    }
    let lost = |deaf: &dyn Fn(&RoleSeen) -> bool| {
        let deaf = |id: ReplicaId| id != leader && role_of(shard, nodes.get(&id)).is_some_and(deaf);
        row.configs.as_slice().iter().any(|config| loses_quorum(&config.voters, deaf))
    };
    if !seen.answers() {
        let deaf = |role: &RoleSeen| match role {
            RoleSeen::Following { silent } => *silent >= SILENT,
            // Whoever still leads an earlier epoch, as a leader that was down at the election does, follows nobody.
            RoleSeen::Leading { epoch, .. } => epoch.record < row.epoch,
            RoleSeen::Halted => true,
        };
        return match seen.missed >= MISSED_MAX {
            true if lost(&deaf) => Verdict::Replace(Reason::Silent),
            true => Verdict::Unreachable,
            false => Verdict::Fine,
        };
    }
    let Some(pulse) = &seen.pulse else { return Verdict::Fine };
    let seen = pulse.shards.get(&shard);
    let others_could = |reason| match can_be_relieved(shard, row, leader, reason, nodes) {
        true => Verdict::Replace(reason),
        false => Verdict::Stuck,
    };
    if pulse.sick {
        return others_could(Reason::Sick);
    }
    match seen.map(|shard| &shard.role) {
        Some(RoleSeen::Leading { epoch, waiting, .. }) if epoch.record == row.epoch => {
            if *waiting >= HUNG {
                others_could(Reason::Hung)
            } else if lost(&long_silent) {
                Verdict::HandOver(Reason::CutOff)
            } else if seen.is_some_and(|shard| shard.damaged) {
                Verdict::HandOver(Reason::Damaged)
            } else if pulse.draining {
                Verdict::HandOver(Reason::Draining)
            } else {
                Verdict::Fine
            }
        }
        // The order may be on its way still.
        _ if not_leading_for.is_some_and(|long| long >= SILENT) => Verdict::Replace(Reason::NotLeading),
        _ => Verdict::Fine,
    }
}

/// Whether a leader whose writes wait has others that can do without it: enough of them to elect, none of which says that its
/// own disk hangs or is full, and one at least that has all that is committed. Else an election would wait for the seal of the very disk
/// that hangs, or find that nobody has more than the leader; and each breaks off what its followers are sent.
fn can_be_relieved(
    shard: ShardId,
    row: &ShardRow,
    leader: ReplicaId,
    reason: Reason,
    nodes: &BTreeMap<ReplicaId, Seen>,
) -> bool {
    let pulse = |id: ReplicaId| nodes.get(&id).filter(|seen| seen.answers())?.pulse.as_ref();
    // A lane that hangs serves no reads either, so a full voter is better; one that only waits for full voters loses them by an election.
    let can = |pulse: &&NodePulse| !pulse.sick && (pulse.has_room || reason == Reason::Sick);
    let seen = |id: ReplicaId| pulse(id).filter(can)?.shards.get(&shard);
    let is_well = |id| id != leader && seen(id).is_some_and(|seen| seen.role != RoleSeen::Halted);
    let committed = match pulse(leader).and_then(|pulse| pulse.shards.get(&shard)).map(|seen| &seen.role) {
        Some(RoleSeen::Leading { committed, .. }) => *committed,
        _ => LogIndex::default(),
    };
    // Not the leader's end: what its disk has not taken may be nowhere else.
    let has_all = |id: &ReplicaId| is_well(*id) && seen(*id).is_some_and(|seen| seen.end >= committed);
    sees_every_commit(&row.configs, None, is_well) && row.configs.everybody().iter().any(has_all)
}

fn long_silent(role: &RoleSeen) -> bool {
    matches!(role, RoleSeen::Following { silent } if *silent >= SILENT_LONG)
}

/// What a node that answers does for a shard.
fn role_of(shard: ShardId, seen: Option<&Seen>) -> Option<&RoleSeen> {
    let pulse = seen.filter(|seen| seen.answers())?.pulse.as_ref()?;
    pulse.shards.get(&shard).map(|shard| &shard.role)
}

/// Whether so many voters of a set hear nothing of the leader that it has too few to commit.
fn loses_quorum(voters: &Voters, deaf: impl Fn(ReplicaId) -> bool) -> bool {
    // Whoever does not answer counts as one who hears the leader: a failover then waits for proof.
    let silent = voters.iter().filter(|id| deaf(*id)).count();
    voters.count() - silent < commit_rule(voters.count()).writes
}
