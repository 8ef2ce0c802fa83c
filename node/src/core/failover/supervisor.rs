//! The one who watches over all shards of a cluster: suspects, seals, chooses, tells. Invariant: one write to the record is
//! under way at a time, decided on rows that were read for it.

mod elections;
mod evaluate;
mod presence;
mod successions;
mod told;

use std::collections::BTreeMap;
use std::time::Duration;

use self::elections::Elections;
use self::successions::Successions;
use self::told::Told;
use super::hold_down::HoldDown;
use super::pulse::{NodePulse, RoleSeen};
use super::suspicion::{Reason, Seen};
use crate::core::replication::{Phase, SealAnswer, ShardRow, Standing};
use crate::types::{ConfigVersion, Configs, LogIndex, RecordEpoch, ReplicaId, ShardId};

/// An answer of the record that does not come for so long is not waited for.
const RECORD_PATIENCE: Duration = Duration::from_secs(2);
/// A question or an order that is not answered is repeated after so long.
const REPEAT: Duration = Duration::from_millis(500);

/// Who gets the log of which shard without voting.
pub type Learners = BTreeMap<ShardId, Vec<ReplicaId>>;

/// What it learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A node answered.
    Pulse(Box<NodePulse>),
    /// A node did not answer in time.
    Missed(ReplicaId),
    /// The process or pod of a node has plainly ended.
    Ended(ReplicaId),
    /// The record as it was just read, past every cache.
    Record(BTreeMap<ShardId, ShardRow>),
    /// The last write is over, or was not possible because rows had changed: the record as it is now.
    Written(BTreeMap<ShardId, ShardRow>),
    /// The record as a cache shows it, perhaps an older one. It says where to look; nothing is decided on it.
    Watched(BTreeMap<ShardId, ShardRow>),
    /// What became of the last read or write is not known.
    RecordUnknown,
    /// A replica answered a seal.
    Sealed {
        /// Which shard.
        shard: ShardId,
        /// Who.
        from: ReplicaId,
        /// What it has.
        answer: Box<SealAnswer>,
    },
    /// The leader of this epoch says that the voter that is to lead next has everything; its writers wait.
    CaughtUp {
        /// Which shard.
        shard: ShardId,
        /// The epoch that is to end.
        epoch: RecordEpoch,
    },
    /// All learners there are now, and none but these: whoever leads is told of them.
    Learners(Learners),
    /// Time has passed; counted from the start of the process.
    Tick(Duration),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the record, past every cache.
    Read,
    /// Change these rows, all or none, if each is still as it was.
    Write(Vec<RowChange>),
    /// Seal a replica.
    Seal {
        /// Which shard.
        shard: ShardId,
        /// For which epoch.
        epoch: RecordEpoch,
        /// Whom.
        to: ReplicaId,
    },
    /// Order a replica to lead.
    Lead {
        /// Which shard.
        shard: ShardId,
        /// In which epoch.
        epoch: RecordEpoch,
        /// Whom.
        to: ReplicaId,
        /// Who votes.
        configs: Configs,
        /// Who gets the log without voting.
        learners: Vec<ReplicaId>,
        /// What it must still be.
        expected: Standing,
    },
    /// Tell a leader who votes.
    Configure {
        /// Which shard.
        shard: ShardId,
        /// In which epoch.
        epoch: RecordEpoch,
        /// Whom.
        to: ReplicaId,
        /// Who votes.
        configs: Configs,
        /// Who gets the log without voting.
        learners: Vec<ReplicaId>,
    },
    /// Order a leader to let another voter hold everything, for which new writes wait.
    HandOver {
        /// Which shard.
        shard: ShardId,
        /// The epoch that is to end.
        epoch: RecordEpoch,
        /// Who leads.
        to: ReplicaId,
        /// Who is to have everything.
        successor: ReplicaId,
        /// How long writes may wait, from the order to the next epoch.
        patience: Duration,
    },
    /// Another leads.
    Moved {
        /// Which shard.
        shard: ShardId,
        /// Who led.
        from: ReplicaId,
        /// Who leads.
        to: ReplicaId,
        /// The epoch that begins.
        epoch: RecordEpoch,
        /// Why, if this supervisor began it.
        reason: Option<Reason>,
        /// How long the shard had no leader in the record, as far as this supervisor saw it.
        took: Duration,
    },
    /// Something that is to be said in the status, until it is over (`None`).
    Say(ShardId, Option<Trouble>),
}

/// One row as it was and as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// Which shard.
    pub shard: ShardId,
    /// As it was read.
    pub before: ShardRow,
    /// As it becomes.
    pub after: ShardRow,
}

/// Why a shard is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The leader should be replaced, and too few voters answer: these do not.
    FailoverBlocked(Vec<ReplicaId>),
    /// The operator does not hear of the leader; enough voters do.
    LeaderUnreachable(ReplicaId),
    /// The leader's writes wait, and the others could not elect in its place: too few of them are well, or none has all that
    /// is committed. It goes on as soon as its disk does, or its followers.
    LeaderStuck(ReplicaId),
    /// The leader is to be replaced, and that waits: the shard has failed over so often without five minutes of calm between
    /// that the next time comes so long after the last.
    HeldDown {
        /// After the last failover.
        wait: Duration,
        /// How many there were.
        failovers: u32,
    },
    /// The best log that an election found lacks what is committed.
    ElectionBelowCommit {
        /// What is committed.
        committed: LogIndex,
        /// The end of the best log.
        end: LogIndex,
    },
    /// The leader cannot read all that it stores, and for half a minute nobody has taken over: no sound voter is near it, or
    /// hand-overs come to nothing. What it can read is served.
    LeaderDamaged(ReplicaId),
}

/// Watches over all shards of a cluster.
#[derive(Debug)]
pub struct Supervisor {
    /// Those of higher rank wait longer, so that several of them do not all begin.
    rank: u32,
    now: Duration,
    nodes: BTreeMap<ReplicaId, Seen>,
    rows: BTreeMap<ShardId, ShardRow>,
    record: Access,
    /// Since when each leader was to be replaced, and why.
    suspected: BTreeMap<ShardId, (Duration, Reason)>,
    /// Since when each leader has said that it does not lead.
    not_leading: BTreeMap<ShardId, (ReplicaId, RecordEpoch, Duration)>,
    held: BTreeMap<ShardId, HoldDown>,
    elections: Elections,
    successions: Successions,
    /// Since when leaders have said that they are damaged.
    unrelieved: BTreeMap<ShardId, Duration>,
    learners: Learners,
    told: Told,
    said: BTreeMap<ShardId, Trouble>,
}

/// What is under way to the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Nothing; the rows may be old.
    Idle,
    Reading(Duration),
    Writing(Duration),
}

impl Supervisor {
    /// One that knows nothing yet. `rank`: how many others act before it.
    #[must_use]
    pub fn new(rank: u32) -> Self {
        Self {
            rank,
            now: Duration::ZERO,
            nodes: BTreeMap::new(),
            rows: BTreeMap::new(),
            record: Access::Idle,
            suspected: BTreeMap::new(),
            not_leading: BTreeMap::new(),
            held: BTreeMap::new(),
            elections: Elections::default(),
            successions: Successions::default(),
            unrelieved: BTreeMap::new(),
            learners: Learners::new(),
            told: Told::default(),
            said: BTreeMap::new(),
        }
    }

    /// Something is learnt.
    pub fn step(&mut self, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Pulse(pulse) => self.note_pulse(*pulse),
            Input::Missed(replica) => {
                let seen = self.nodes.entry(replica).or_default();
                seen.missed = seen.missed.saturating_add(1);
            }
            Input::Ended(replica) => self.nodes.entry(replica).or_default().ended = true,
            Input::Record(rows) => return self.has_read(rows, out),
            Input::Written(rows) => {
                self.record = Access::Idle;
                self.learn(rows, out);
            }
            Input::Watched(rows) => self.learn(rows, out),
            Input::RecordUnknown => self.record = Access::Idle,
            Input::Sealed { shard, from, answer } => self.elections.sealed(shard, from, *answer, self.now),
            Input::CaughtUp { shard, epoch } => self.successions.ready(shard, epoch),
            Input::Learners(learners) => {
                self.learners = learners;
                return;
            }
            Input::Tick(now) => {
                self.now = self.now.max(now);
                self.give_up_on_the_record();
                self.elections.repeat(self.now, &self.learners, out);
                self.configure(out);
            }
        }
        self.look(out);
    }

    fn note_pulse(&mut self, pulse: NodePulse) {
        let replica = pulse.replica;
        for (shard, row) in &self.rows {
            if row.leader() != Ok(replica) {
                continue;
            }
            let leads = pulse.shards.get(shard).is_some_and(
                |seen| matches!(&seen.role, RoleSeen::Leading { epoch, .. } if epoch.record == row.epoch),
            );
            if leads {
                self.not_leading.remove(shard);
                self.elections.leads(*shard, row.epoch);
            } else {
                let since = self.not_leading.entry(*shard).or_insert((replica, row.epoch, self.now));
                if (since.0, since.1) != (replica, row.epoch) {
                    *since = (replica, row.epoch, self.now);
                }
            }
        }
        self.nodes.insert(replica, Seen { pulse: Some(pulse), missed: 0, ended: false });
    }

    fn give_up_on_the_record(&mut self) {
        if let Access::Reading(since) | Access::Writing(since) = self.record
            && since + RECORD_PATIENCE <= self.now
        {
            self.record = Access::Idle;
        }
    }

    /// Tells leaders of sets of voters that they do not go by yet, or still do, and of learners.
    fn configure(&mut self, out: &mut Vec<Action>) {
        for (shard, row) in &self.rows {
            let Ok(to) = row.leader() else { continue };
            let pulse =
                self.nodes.get(&to).filter(|seen| seen.answers()).and_then(|seen| seen.pulse.as_ref());
            let role = pulse.and_then(|pulse| pulse.shards.get(shard)).map(|shard| &shard.role);
            let Some(RoleSeen::Leading { epoch, newest, oldest, .. }) = role else { continue };
            if epoch.record != row.epoch {
                continue;
            }
            let learners = learners_of(&self.learners, *shard);
            if self.told.is_due(*shard, row, (*newest, *oldest), &learners, self.now) {
                let (shard, epoch, configs) = (*shard, row.epoch, row.configs.clone());
                out.push(Action::Configure { shard, epoch, to, configs, learners });
            }
        }
    }

    /// The record is as it is: elections follow it.
    fn learn(&mut self, rows: BTreeMap<ShardId, ShardRow>, out: &mut Vec<Action>) {
        for (shard, row) in rows {
            // Reads may overtake each other, and caches lag.
            if self.rows.get(&shard).is_some_and(|known| age(known) > age(&row)) {
                continue;
            }
            let reason = self.suspected.get(&shard).map(|(_, reason)| *reason);
            self.elections.follow(shard, &row, self.now, reason, &self.learners, out);
            self.rows.insert(shard, row);
        }
    }
}

fn learners_of(learners: &Learners, shard: ShardId) -> Vec<ReplicaId> {
    learners.get(&shard).cloned().unwrap_or_default()
}

/// Grows with every change that a row can see, so that an older row is known for what it is.
fn age(row: &ShardRow) -> (RecordEpoch, bool, ConfigVersion, ConfigVersion) {
    let (newest, oldest) = (row.configs.last().version, row.configs.oldest().version);
    (row.epoch, row.phase != Phase::Sealing, newest, oldest)
}
