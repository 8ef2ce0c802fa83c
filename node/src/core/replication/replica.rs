//! One replica of one shard: it promises, follows, leads, is sealed. Pure: `step(input)` says what is to be done, and
//! whoever drives it does that in order.
//!
//! Invariants: a promise is on the disk before anything is said that rests on it; entries are appended in the promised
//! epoch only; what is committed here is on this disk, is never cut, and never shrinks.

mod committing;
mod configuring;
mod following;
mod handing_over;
mod leading;
mod mending;
mod reading;
mod sealing;
mod seeding;
mod seen;
mod vouching;

use std::time::Duration;

use self::following::Following;
use self::leading::Leading;
pub use self::seen::{FollowerSeen, Part};
use super::effect::{Effect, Halt};
use super::history::History;
use super::input::{Ask, Input, Standing};
use super::memory::{Kept, Memory, Ticket};
use super::message::Message;
use crate::types::{Boot, Chain, Configs, Epoch, LogIndex, RecordEpoch, ReplicaId};

/// One replica of one shard.
#[derive(Debug)]
pub struct Replica {
    me: ReplicaId,
    boot: Boot,
    kept: Kept,
    history: History,
    /// The log is on the disk up to here.
    synced: LogIndex,
    /// Entries up to here are known to be committed.
    committed: LogIndex,
    /// The sets of voters in the log: the last committed ones and those behind.
    voters: Vec<(LogIndex, Configs)>,
    role: Role,
    /// A cut is on its way to the disk, whoever asked for it: what the log holds behind it counts for nothing.
    cutting: bool,
    /// Another member remembers this start.
    vouched: bool,
    /// Who asked to be followed before that.
    asked_early: Option<(ReplicaId, Epoch)>,
    /// An image is being put in the place of the log, whoever offered it: until that is done the log is neither.
    installing: Option<History>,
    /// It is whole again, and that is on its way to the disk.
    mended: Option<Ticket>,
    /// Something that is stored here is known to be damaged.
    rotten: bool,
    /// All that is here is given up once the disk says that it is damaged.
    giving_up: Option<Ticket>,
    /// Seals that wait for the disk.
    seals: Vec<SealAsk>,
    /// Reports to leaders, counted: only the newest may be answered.
    reports: u64,
    now: Duration,
    /// When it last heard of a leader that it would follow, or gave such a promise that it would follow none.
    heard_leader: Duration,
}

#[derive(Debug)]
enum Role {
    /// It follows nobody and leads nothing.
    Waiting,
    Following(Following),
    Leading(Box<Leading>),
    Halted(Halt),
}

#[derive(Debug, Clone, Copy)]
struct SealAsk {
    ask: Ask,
    epoch: RecordEpoch,
}

/// What a replica finds on its disk when it starts.
#[derive(Debug, Clone)]
pub struct Found {
    /// Who it is.
    pub me: ReplicaId,
    /// This start, already on the disk.
    pub boot: Boot,
    /// What it remembers.
    pub memory: Memory,
    /// The shape of its log, all of which is on the disk.
    pub history: History,
    /// Entries up to here are known to be committed (those that the tables hold).
    pub committed: LogIndex,
    /// The sets of voters in the log, with the index of their entries.
    pub voters: Vec<(LogIndex, Configs)>,
    /// Another member remembers this start, or there is none.
    pub vouched: bool,
}

/// Where the next entry of a leader goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The epoch that it leads.
    pub epoch: Epoch,
    /// The index.
    pub index: LogIndex,
    /// The chain before the entry.
    pub chain: Chain,
}

impl Replica {
    /// A replica that starts; one that led goes on by itself, in an epoch of its new boot, once its start is vouched for.
    pub fn start(found: Found, out: &mut Vec<Effect>) -> Self {
        let Found { me, boot, memory, history, committed, voters, vouched } = found;
        let synced = history.end();
        let mut replica = Self {
            me,
            boot,
            kept: Kept::new(memory),
            history,
            synced,
            committed,
            voters,
            role: Role::Waiting,
            cutting: false,
            vouched,
            asked_early: None,
            installing: None,
            mended: None,
            rotten: false,
            giving_up: None,
            seals: Vec::new(),
            reports: 0,
            now: Duration::ZERO,
            heard_leader: Duration::ZERO,
        };
        if vouched {
            replica.resume(out);
        }
        replica
    }

    /// Something happens.
    pub fn step(&mut self, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Synced(upto) => {
                self.synced = self.synced.max(upto.min(self.history.end()));
                self.disk_moved(out);
            }
            Input::Saved(ticket) => {
                self.kept.saved(ticket);
                self.empty_if_noted(out);
                self.disk_moved(out);
            }
            Input::Cut { to, chain } => self.was_cut(to, chain, out),
            Input::Heard { from, message } => self.hear(from, message, out),
            Input::Connected(peer) => {
                if let Role::Leading(leading) = &mut self.role {
                    leading.connected(peer, out);
                }
            }
            Input::Seal { ask, epoch } => self.seal(ask, epoch, out),
            Input::Lead(lead) => self.lead(*lead, out),
            Input::Configure { ask, epoch, configs, learners } => {
                self.configure(ask, epoch, &configs, learners, out);
            }
            Input::HandOver(order) => self.hand_over(order, out),
            Input::Lacks { to, epoch } => self.lacks(to, epoch, out),
            Input::Imaged { to, image } => self.imaged(to, image, out),
            Input::Fetched(image) => self.fetched(image, out),
            Input::Seeded { history, voters } => self.seeded(history, voters, out),
            Input::Unseeded => self.unseeded(out),
            Input::GiveUp => self.give_up(out),
            Input::Read => self.read(out),
            Input::Vouched => self.vouched_for(out),
            Input::PutBack(met) => self.was_put_back(met, out),
            Input::Tick(now) => {
                self.now = self.now.max(now);
                self.tick(out);
            }
        }
    }

    /// An entry was appended as [`Effect::Append`], [`Effect::Write`] or a decision of the leader asked: its epoch, the
    /// chain after it, and the sets of voters if it is about those.
    pub fn appended(&mut self, epoch: Epoch, chain: Chain, configs: Option<Configs>) {
        self.history.push(epoch, chain);
        if let Some(configs) = configs {
            self.voters.push((self.history.end(), configs));
        }
    }

    /// Where a leader's next entry goes; `None` while it does not lead.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let Role::Leading(leading) = &self.role else { return None };
        let epoch = leading.writes()?;
        Some(Place { epoch, index: self.history.end().next(), chain: self.history.chain() })
    }

    /// Whether it takes writes: it leads, has committed an entry of its epoch, and hears of enough voters.
    #[must_use]
    pub fn takes_writes(&self) -> bool {
        matches!(&self.role, Role::Leading(leading) if leading.takes_writes())
    }

    /// Who it is.
    #[must_use]
    pub const fn id(&self) -> ReplicaId {
        self.me
    }

    /// What it remembers: to be saved when [`Effect::Save`] asks.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        self.kept.get()
    }

    /// The shape of its log.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// The log is on the disk up to here.
    #[must_use]
    pub const fn synced(&self) -> LogIndex {
        self.synced
    }

    /// Entries up to here are known to be committed.
    #[must_use]
    pub const fn committed(&self) -> LogIndex {
        self.committed
    }

    /// The epoch that it leads, if it does.
    #[must_use]
    pub fn leads(&self) -> Option<Epoch> {
        match &self.role {
            Role::Leading(leading) => leading.writes(),
            _ => None,
        }
    }

    /// Why it stopped by itself, if it did.
    #[must_use]
    pub const fn halted(&self) -> Option<Halt> {
        match self.role {
            Role::Halted(halt) => Some(halt),
            _ => None,
        }
    }

    /// What it is now, as a seal would say it.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing { boot: self.boot, last: self.history.last_epoch(), end: self.history.end() }
    }

    fn hear(&mut self, from: ReplicaId, message: Message, out: &mut Vec<Effect>) {
        if !self.vouched {
            return self.hear_early(from, &message);
        }
        match message {
            Message::Follow(epoch) => self.follow(from, epoch, out),
            Message::Adopt { epoch, report, common, end } => {
                self.adopt(from, (epoch, report), (common, end), out)
            }
            Message::Differs { epoch, at } => self.differ(from, epoch, at, out),
            Message::Records(records) => self.take(from, records, out),
            Message::Offer { epoch, image } => self.offered(from, epoch, image, out),
            Message::Beat { epoch, committed, round, is_spare } => {
                self.beat(from, (epoch, committed, round), is_spare, out);
            }
            Message::Report(report) => self.reported(from, &report, out),
            Message::Refused { epoch, promised } => {
                if let Role::Leading(leading) = &mut self.role {
                    leading.refused(from, epoch, promised);
                }
            }
            Message::Ack { epoch, synced, round } => self.acknowledged(from, (epoch, synced, round), out),
        }
    }

    /// The disk holds more than before: whatever waited for that goes on.
    fn disk_moved(&mut self, out: &mut Vec<Effect>) {
        match &self.role {
            Role::Leading(_) => self.leader_moved(out),
            Role::Following(_) => self.follower_moved(out),
            Role::Waiting | Role::Halted(_) => {}
        }
        self.answer_seals(out);
    }

    /// More is known to be committed. It is on this disk.
    fn commit(&mut self, upto: LogIndex, out: &mut Vec<Effect>) {
        let upto = upto.min(self.synced);
        if upto <= self.committed {
            return;
        }
        self.committed = upto;
        out.push(Effect::Committed(upto));
        let settled = self.voters.partition_point(|(index, _)| *index <= upto);
        self.note_removal(settled, out);
        self.voters.drain(..settled.saturating_sub(1));
    }

    /// A replica that finds itself outside, in the one set that is left, was removed: it takes no part any more, until
    /// a later set has it again.
    fn note_removal(&mut self, settled: usize, out: &mut Vec<Effect>) {
        let committed = self.voters.get(..settled).unwrap_or_default();
        let has_me = |(_, configs): &(LogIndex, Configs)| configs.everybody().contains(&self.me);
        let voted = self.kept.get().retired || committed.iter().any(has_me);
        let Some(removed) = committed.last().filter(|_| voted).map(|last| !has_me(last)) else { return };
        if removed != self.kept.get().retired {
            let ticket = self.kept.change(|memory| memory.retired = removed);
            out.push(Effect::Save(ticket));
        }
    }

    fn halt(&mut self, halt: Halt, out: &mut Vec<Effect>) {
        self.step_down(out);
        self.role = Role::Halted(halt);
        out.push(Effect::Halted(halt));
    }

    /// It leads no more, if it did, and follows nobody.
    fn step_down(&mut self, out: &mut Vec<Effect>) {
        self.heard_leader = self.now;
        self.forgo(out);
        if let Role::Leading(leading) = std::mem::replace(&mut self.role, Role::Waiting)
            && let Some(epoch) = leading.writes()
        {
            out.push(Effect::Closed(epoch));
        }
    }
}
