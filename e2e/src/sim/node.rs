//! A node: a process with its disk and one replica of each shard. Invariant: a process that ended hears nothing any more,
//! because each start has a number of its own.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use thalweg_node::codec::record::RecordKind;
use thalweg_node::core::replication::{Effect, Entry, Found, Image, Memory, Replica, Ticket};
use thalweg_node::types::{Boot, Configs, Epoch, LogIndex, RecordEpoch, ReplicaId};

use super::books::{Verdict, Wish};
use super::client::Call;
use super::desk::Desk;
use super::disk::{Disk, Reach, Unreadable};
use super::event::{Event, Shard};
use super::log::{Log, configs_of};
use super::plant::Plant;
use super::queue::Micros;
use super::replay::Shape;
use super::table::Table;

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    /// Who its disk is.
    pub(super) id: ReplicaId,
    /// Counts the starts and ends of its process.
    pub(super) life: u64,
    pub(super) up: bool,
    pub(super) started: Micros,
    /// How fast its clock goes, per mille.
    pub(super) clock: u64,
    /// What it does not hear of while it is paused.
    pub(super) paused: Option<Vec<Event>>,
    /// How far its clock on the wall is off, in milliseconds.
    pub(super) wall_off: i64,
    /// How far its clock jumped since it started.
    pub(super) jumped: Micros,
    /// The version of the protocol that it speaks.
    pub(super) version: u16,
    /// Its disk was put back to an older one, and nobody has told it yet.
    pub(super) put_back: bool,
    /// A peer remembers this start: it takes part.
    pub(super) vouched: bool,
    /// Until when it wants to hand over what it leads.
    pub(super) draining: Micros,
    /// Until when its volume has no room.
    pub(super) full: Micros,
    pub(super) disk: Disk,
    pub(super) locals: Vec<Local>,
}

/// One replica, and what its node keeps for it.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) replica: Option<Replica>,
    pub(super) log: Log,
    /// The log is on the disk up to here, in truth.
    pub(super) durable: LogIndex,
    /// The newest save that it asked for.
    pub(super) asked: Ticket,
    pub(super) saved: Ticket,
    pub(super) cutting: Option<LogIndex>,
    /// Followers that get entries.
    pub(super) shipping: BTreeMap<ReplicaId, Shipped>,
    /// Where commands are decided.
    pub(super) desk: Desk,
    /// Answers that wait for what they rest on to be committed.
    pub(super) writes: VecDeque<Waiting>,
    /// The epoch in which it opened last.
    pub(super) opened: Option<Epoch>,
    /// When a leader that it would follow was last heard of.
    pub(super) heard: Micros,
    /// Reads that wait for the next round, and for rounds under way.
    pub(super) reads: Vec<Asker>,
    pub(super) rounds: VecDeque<(u64, Vec<Asker>)>,
    /// Followers that get an image.
    pub(super) seeds: BTreeMap<ReplicaId, Seed>,
    /// Images that it took, by their keys.
    pub(super) images: BTreeMap<u32, Rc<Table>>,
    /// What it fetches and from whom, and what came of that.
    pub(super) fetching: Option<(ReplicaId, Image)>,
    pub(super) fetched: Option<Rc<Table>>,
    /// The tables were replaced, and the log does not say so yet.
    pub(super) seeded: bool,
    /// What it held before damage was found.
    pub(super) had: LogIndex,
}

/// A follower that gets an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seed {
    pub(super) since: Micros,
    /// The last entry of the image: the log behind it is kept.
    pub(super) end: Option<LogIndex>,
}

/// An answer that was decided.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    /// The last entry that it rests on.
    pub(super) basis: LogIndex,
    /// The entry that was written for it, if one was.
    pub(super) index: Option<LogIndex>,
    /// The end of the log on which it was decided.
    pub(super) seen: LogIndex,
    pub(super) call: Call,
    pub(super) begun: Micros,
    pub(super) wish: Wish,
    pub(super) verdict: Verdict,
}

impl Local {
    /// An answer waits for what it and those before it rest on.
    pub(super) fn wait(&mut self, waiting: Waiting) {
        let earlier = self.writes.back().map_or(LogIndex(0), |last| last.basis);
        self.writes.push_back(Waiting { basis: waiting.basis.max(earlier), ..waiting });
    }
}

/// Who waits for proof that a replica leads.
#[derive(Debug, Clone)]
pub(super) enum Asker {
    Read(Call),
    /// A decided answer that changes nothing.
    Answer(Waiting),
}

/// How far the log was sent to a follower.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shipped {
    pub(super) sent: LogIndex,
    /// What it has acknowledged, and when that last moved.
    pub(super) held: LogIndex,
    pub(super) moved: Micros,
}

impl Local {
    fn new(log: Log) -> Self {
        Self {
            replica: None,
            durable: log.end(),
            log,
            asked: Ticket(0),
            saved: Ticket(0),
            cutting: None,
            shipping: BTreeMap::new(),
            desk: Desk::default(),
            writes: VecDeque::new(),
            opened: None,
            heard: 0,
            reads: Vec::new(),
            rounds: VecDeque::new(),
            seeds: BTreeMap::new(),
            images: BTreeMap::new(),
            fetching: None,
            fetched: None,
            seeded: false,
            had: LogIndex(0),
        }
    }

    /// How far its records go in the lane as it is written now.
    pub(super) fn reach(&self) -> Reach {
        Reach { end: self.log.end(), cut: self.cutting, seeded: self.seeded }
    }

    /// Whether something is to be saved that is not on its way.
    pub(super) const fn wants_save(&self) -> bool {
        self.asked.0 > self.saved.0
    }
}

impl Node {
    /// A node with an empty disk, not started.
    pub(super) fn new(id: ReplicaId, disk: Disk, life: u64) -> Self {
        let locals = disk.remembered.memories.iter().map(|_| Local::new(Log::default())).collect();
        Self {
            id,
            life,
            up: false,
            started: 0,
            clock: 1000,
            paused: None,
            wall_off: 0,
            version: 0,
            jumped: 0,
            put_back: false,
            vouched: false,
            draining: 0,
            full: 0,
            disk,
            locals,
        }
    }

    /// What it has is what its disk has. Shards of which something is missing are marked first, then left with what is sound of
    /// them; says which.
    pub(super) fn recover(&mut self, plant: Option<Plant>) -> Result<Vec<Shard>, Unreadable> {
        let shapes = self.disk.recover(plant)?;
        let had: Vec<LogIndex> = self.locals.iter().map(|local| local.durable.max(local.had)).collect();
        let (mut lacking, mut locals) = (Vec::new(), Vec::new());
        for (shard, (shape, had)) in shapes.into_iter().zip(had).enumerate() {
            let (log, lacks) = match shape {
                Shape::Whole(log) => (log, false),
                Shape::Lacking(log) => (log, true),
                Shape::Unsound => {
                    self.disk.tables[shard] = Table::default();
                    (Log::default(), true)
                }
            };
            let (called, memory) = (self.disk.called[shard], &mut self.disk.remembered.memories[shard]);
            let explained = memory.damaged || self.disk.flipped;
            if lacks && !explained {
                return Err(Unreadable(format!("shard {shard} lacks entries, and nothing was damaged")));
            }
            if called > log.end() && !(explained && (lacks || memory.damaged)) {
                let why = format!("shard {shard} called {called} committed and has {} now", log.end());
                return Err(Unreadable(why));
            }
            if lacks {
                memory.damaged = true;
                let mark =
                    Entry { kind: RecordKind::Cut, epoch: Epoch::default(), payload: Default::default() };
                self.disk.write(shard, &mark, log.end(), log.chain());
                lacking.push(shard);
            }
            let had = if self.disk.remembered.memories[shard].damaged { had } else { LogIndex(0) };
            locals.push(Local { had, ..Local::new(log) });
        }
        self.locals = locals;
        if !lacking.is_empty() {
            self.disk.remember();
        }
        Ok(lacking)
    }

    /// Its process starts: the replica of one shard finds what is on the disk.
    pub(super) fn start(&mut self, shard: usize, plant: Option<Plant>, out: &mut Vec<Effect>) {
        self.locals[shard].heard = self.started;
        let (boot, memory, local) =
            (self.disk.boot(), self.disk.remembered.memories[shard].clone(), &mut self.locals[shard]);
        let vouched = plant == Some(Plant::VotesUnvouched);
        let table = &self.disk.tables[shard];
        let committed = match plant {
            Some(Plant::AppliesTheUncommitted) => local.log.end(),
            _ => table.end().min(local.log.end()),
        };
        let mut history = table.history().clone();
        let mut voters: Vec<_> =
            table.voters().map(|voters| (table.end(), voters.clone())).into_iter().collect();
        for line in local.log.lines_behind(table.end()) {
            history.push(line.entry.epoch, line.chain);
            voters.extend(configs_of(&line.entry).map(|configs| (history.end(), configs)));
        }
        let first = table.first_voters().or(voters.first().map(|(_, configs)| configs));
        let (boot, memory) = misremembered(plant, boot, memory, first);
        let found = Found { me: self.id, boot, memory, history, committed, voters, vouched };
        local.replica = Some(Replica::start(found, out));
    }

    /// What is to be saved now.
    pub(super) fn memories(&self) -> Vec<(Memory, Ticket)> {
        let locals = self.locals.iter().zip(&self.disk.remembered.memories);
        let memory = |(local, durable): (&Local, &Memory)| {
            let memory = local.replica.as_ref().map_or_else(|| durable.clone(), |it| it.memory().clone());
            (memory, local.asked)
        };
        locals.map(memory).collect()
    }
}

/// What a start makes of its memory when a bug is planted there.
fn misremembered(
    plant: Option<Plant>,
    boot: Boot,
    mut memory: Memory,
    first: Option<&Configs>,
) -> (Boot, Memory) {
    match plant {
        Some(Plant::ResumesInItsOldEpoch) if memory.led.boot.0 > 1 && memory.led == memory.promised => {
            let boot = memory.led.boot;
            memory.led.boot = Boot(boot.0 - 1);
            memory.promised = memory.led;
            (boot, memory)
        }
        Some(Plant::ForgetsNewVoters) => {
            memory.configs = first.cloned();
            (boot, memory)
        }
        Some(Plant::ForgetsPromises) => {
            memory.promised = memory.led.max(Epoch { record: RecordEpoch(1), boot: Boot(0) });
            (boot, memory)
        }
        _ => (boot, memory),
    }
}
