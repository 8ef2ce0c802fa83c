//! Whoever decides on failovers and voters: reads the record, asks nodes, writes the record. It may end between any two
//! steps and keeps nothing. Invariant: it changes the record only by compare-and-set on the row that it decided on, and
//! orders nobody to lead before the record says so.
//!
//! It stands for the product's own decisions behind three verbs: look around, a row came, an answer came.

mod membership;

use std::collections::BTreeMap;

use thalweg_node::core::replication::{
    Answer, Ask, Lead, Phase, SealAnswer, Sealed, ShardRow, Standing, sees_every_commit, winners,
};
use thalweg_node::types::{ConfigVersion, Configs, Epoch, LogIndex, RecordEpoch, ReplicaId};

use super::event::{NodeId, Shard};
use super::plant::Plant;
use super::queue::{MILLI, Micros, SECOND};
use super::record::{Put, Version};

/// Four missed heartbeats.
const SILENCE_MAX: Micros = 2 * SECOND;
/// A leader that was chosen gets so long to begin, and one that leads so long to open.
const BEGIN_MAX: Micros = 3 * SECOND;
const OPEN_MAX: Micros = 10 * SECOND;
/// How long an election waits for those who answer late.
const STRAGGLERS: Micros = 200 * MILLI;

/// What an operator asks of a node.
#[derive(Debug, Clone)]
pub(super) enum Question {
    Status,
    Seal { to: ReplicaId, shard: Shard, epoch: RecordEpoch },
    Lead { to: ReplicaId, shard: Shard, order: Lead },
    Configure { to: ReplicaId, shard: Shard, epoch: RecordEpoch, configs: Configs, learners: Vec<ReplicaId> },
}

/// What a node answers.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Status(Status),
    Answer { shard: Shard, from: ReplicaId, answer: Answer },
}

/// What a node says of itself.
#[derive(Debug, Clone)]
pub(super) struct Status {
    pub(super) node: NodeId,
    pub(super) replica: ReplicaId,
    pub(super) shards: Vec<ShardStatus>,
}

/// What it says of one shard.
#[derive(Debug, Clone)]
pub(super) struct ShardStatus {
    pub(super) leads: Option<Epoch>,
    pub(super) open: bool,
    pub(super) end: LogIndex,
    pub(super) committed: LogIndex,
    /// The sets of voters that it goes by as a leader: the oldest and the newest.
    pub(super) versions: Option<(ConfigVersion, ConfigVersion)>,
}

/// What an operator wants done.
#[derive(Debug)]
pub(super) enum Do {
    Get(Shard),
    Put(Put),
    Ask(NodeId, Question),
    /// Something that must never be seen.
    Alarm(String),
}

/// Something that nobody needs and that must do no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whim {
    Seal,
    Add,
    Remove,
    Withdraw,
}

/// One operator, from its start to its end.
#[derive(Debug)]
pub(super) struct Operator {
    plant: Option<Plant>,
    desks: Vec<Desk>,
    /// What each node said last, and when.
    seen: Vec<Option<(Micros, Status)>>,
}

/// What an operator knows of one shard.
#[derive(Debug, Default)]
struct Desk {
    version: Version,
    epoch: RecordEpoch,
    /// When this epoch was first seen in its phase.
    since: Micros,
    sealing: bool,
    seals: BTreeMap<ReplicaId, SealAnswer>,
    enough: Option<Micros>,
    elected: Option<(ReplicaId, Standing)>,
    refused: bool,
    shut_since: Option<Micros>,
    whim: Option<Whim>,
    adding: Option<ReplicaId>,
    configured: Micros,
}

impl Operator {
    pub(super) fn new(nodes: usize, shards: usize, plant: Option<Plant>) -> Self {
        let desks = (0..shards).map(|_| Desk::default()).collect();
        Self { plant, desks, seen: vec![None; nodes] }
    }

    /// Looks around.
    pub(super) fn operate(&mut self, whim: Option<(Shard, Whim)>, out: &mut Vec<Do>) {
        if let Some((shard, whim)) = whim {
            self.desks[shard].whim = Some(whim);
        }
        out.extend((0..self.seen.len()).map(|node| Do::Ask(node, Question::Status)));
        out.extend((0..self.desks.len()).map(Do::Get));
    }

    /// A row came from the record, or from a stale cache.
    pub(super) fn row(
        &mut self,
        now: Micros,
        shard: Shard,
        (version, row): (Version, &ShardRow),
        homes: &[NodeId],
        out: &mut Vec<Do>,
    ) {
        let desk = &mut self.desks[shard];
        if version < desk.version {
            return;
        }
        desk.version = version;
        let sealing = row.phase == Phase::Sealing;
        if (row.epoch, sealing) != (desk.epoch, desk.sealing) {
            if row.epoch != desk.epoch {
                (desk.elected, desk.adding) = (None, None);
                desk.seals.clear();
            }
            (desk.epoch, desk.sealing, desk.since) = (row.epoch, sealing, now);
            (desk.enough, desk.refused, desk.shut_since) = (None, false, None);
        }
        match row.phase {
            Phase::Sealing => self.elect(now, shard, row, homes, out),
            Phase::Active { leader } => self.watch(now, shard, (row, leader), homes, out),
        }
    }

    /// A node answered.
    pub(super) fn told(&mut self, now: Micros, reply: Reply) {
        match reply {
            Reply::Status(status) => {
                let node = status.node;
                self.seen[node] = Some((now, status));
            }
            Reply::Answer { shard, from, answer } => {
                let desk = &mut self.desks[shard];
                match answer {
                    Answer::Sealed(sealed) if sealed.promised.record == desk.epoch => {
                        desk.seals.insert(from, *sealed);
                    }
                    Answer::Refused(_) if desk.elected.is_some_and(|(winner, _)| winner == from) => {
                        desk.refused = !desk.sealing;
                    }
                    _ => {}
                }
            }
        }
    }

    /// Asks for seals; once they show every commit, makes one of the best the leader.
    fn elect(&mut self, now: Micros, shard: Shard, row: &ShardRow, homes: &[NodeId], out: &mut Vec<Do>) {
        let (plant, desk) = (self.plant, &mut self.desks[shard]);
        for to in row.configs.everybody() {
            if !desk.seals.contains_key(&to) {
                out.push(Do::Ask(home(homes, to), Question::Seal { to, shard, epoch: row.epoch }));
            }
        }
        let sealed = |id| desk.seals.contains_key(&id);
        let sees = match plant {
            Some(Plant::TrustsOneSeal) => !desk.seals.is_empty(),
            Some(Plant::AsksOnlyTheNewestSet) => {
                let newest = row.configs.confirmed(row.configs.last().version);
                sees_every_commit(&newest, Some(row.last_leader), sealed)
            }
            _ => sees_every_commit(&row.configs, Some(row.last_leader), sealed),
        };
        if !sees || now < *desk.enough.get_or_insert(now) + STRAGGLERS {
            return;
        }
        let Some(winner) = choose(row, &desk.seals, plant, out) else { return };
        let Some(answer) = desk.seals.get(&winner) else { return };
        desk.elected = Some((winner, answer.standing));
        if let Ok(next) = row.activate(winner) {
            out.push(Do::Put(Put { shard, seen: desk.version, row: next.clone() }));
            if plant == Some(Plant::LeadsBeforeTheRecord) {
                out.push(lead(shard, &next, (winner, answer.standing), homes));
            }
        }
    }

    /// Sees whether the leader leads, and makes it lead if it was just chosen.
    fn watch(
        &mut self,
        now: Micros,
        shard: Shard,
        (row, leader): (&ShardRow, ReplicaId),
        homes: &[NodeId],
        out: &mut Vec<Do>,
    ) {
        let status = self.heard(now, leader, homes).map(|status| status.shards[shard].clone());
        let leads =
            status.as_ref().is_some_and(|status| status.leads.is_some_and(|epoch| epoch.record == row.epoch));
        let open = leads && status.is_some_and(|status| status.open);
        let desk = &mut self.desks[shard];
        if let Some((winner, standing)) = desk.elected.filter(|(winner, _)| *winner == leader && !leads) {
            out.push(lead(shard, row, (winner, standing), homes));
        }
        desk.shut_since = if open { None } else { Some(desk.shut_since.unwrap_or(now)) };
        let shut = desk.shut_since.is_some_and(|since| now > since + OPEN_MAX);
        let whim = desk.whim.take_if(|whim| *whim == Whim::Seal).is_some();
        let suspect = desk.refused || whim || shut || (!leads && now > desk.since + BEGIN_MAX);
        let seen = desk.version;
        let enough = sees_every_commit(&row.configs, Some(leader), |id| self.heard(now, id, homes).is_some());
        if suspect && enough {
            out.extend(row.seal().ok().map(|row| Do::Put(Put { shard, seen, row })));
        } else if leads {
            self.keep_voters(now, shard, (row, leader), homes, out);
        }
    }

    /// What a replica's node said lately, if it is still that replica.
    fn heard(&self, now: Micros, id: ReplicaId, homes: &[NodeId]) -> Option<&Status> {
        let (at, status) = self.seen[home(homes, id)].as_ref()?;
        (status.replica == id && *at + SILENCE_MAX >= now).then_some(status)
    }
}

/// The node of a replica.
fn home(homes: &[NodeId], id: ReplicaId) -> NodeId {
    homes.get(id.0 as usize).copied().unwrap_or(0)
}

fn lead(shard: Shard, row: &ShardRow, (to, expected): (ReplicaId, Standing), homes: &[NodeId]) -> Do {
    let (epoch, configs) = (row.epoch, row.configs.clone());
    let order = Lead { ask: Ask(0), epoch, configs, learners: Vec::new(), expected };
    Do::Ask(home(homes, to), Question::Lead { to, shard, order })
}

fn choose(
    row: &ShardRow,
    seals: &BTreeMap<ReplicaId, SealAnswer>,
    plant: Option<Plant>,
    out: &mut Vec<Do>,
) -> Option<ReplicaId> {
    let by_length = plant == Some(Plant::PrefersLength);
    let sealed = |(id, answer): (&ReplicaId, &SealAnswer)| Sealed {
        replica: *id,
        last: if by_length { Epoch::default() } else { answer.standing.last },
        end: answer.standing.end,
    };
    let answers: Vec<Sealed> = seals.iter().map(sealed).collect();
    let winner = winners(&row.configs, answers.iter()).next()?;
    let committed = seals.values().map(|answer| answer.committed).max().unwrap_or_default();
    if committed > winner.end {
        out.push(Do::Alarm(format!(
            "an election ends at entry {}, but entries up to {committed} are committed (ElectionBelowCommit)",
            winner.end
        )));
    }
    Some(winner.replica)
}
