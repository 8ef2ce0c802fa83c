//! The desk of a shard: while its node leads, the product's own core decides what clients ask, on heads that are loaded from the
//! tables, by the rules of the product's owner of a shard. Invariant: an answer is given once everything that it rests on is
//! committed, and says what the committed entries say.

use thalweg_node::codec::op::encode_ops;
use thalweg_node::codec::record::RecordKind;
use thalweg_node::core::replication::{Entry, Input, Replica};
use thalweg_node::core::{Append, Command, CoreLimits, Create, Decision, Missing, Ops, ShardCore};
use thalweg_node::types::{
    ContentType, LogIndex, Messages, ProducerId, ProducerStamp, StreamConfig, StreamName, UnixMillis,
};

use super::books::{Verdict, Wish};
use super::client::{Asked, Call, Deed, Op, OpId};
use super::event::{Event, NodeId, Shard};
use super::network::trip;
use super::node::{Asker, Waiting};
use super::plant::Plant;
use super::queue::MILLI;
use super::record::shard_id;
use super::storage::SYNC_MIN;
use super::streams::Row;
use super::table::Table;
use super::world::World;
use crate::dice::mix;

/// Bytes of a message behind the number of its operation, at most.
const FILLER_MAX: u64 = 64;
/// Virtual time begins there.
const BEGINNING: i64 = 1_700_000_000_000;

/// Whether commands are decided, and by what.
#[derive(Debug, Default)]
pub(super) struct Desk {
    core: Option<ShardCore>,
    service: Service,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Service {
    /// Another replica leads, or nobody.
    #[default]
    Closed,
    /// It leads; the tables have to hold all that is committed up to here first.
    Opening(LogIndex),
    Open,
}

impl Desk {
    /// Whether commands are decided here.
    pub(super) fn is_open(&self) -> bool {
        self.service == Service::Open
    }

    /// What it waits for.
    pub(super) const fn opens_at(&self) -> Option<LogIndex> {
        match self.service {
            Service::Opening(at) => Some(at),
            _ => None,
        }
    }

    /// Another replica leads from now on, or nobody: what was decided and not committed may never be.
    fn close(&mut self, plant: Option<Plant>) {
        self.service = Service::Closed;
        if plant != Some(Plant::KeepsWhatWasTakenBack) {
            self.core = None;
        }
    }

    fn open(&mut self, table: &Table, fresh: impl FnOnce() -> ShardCore) {
        self.service = Service::Open;
        self.core.get_or_insert_with(fresh).applied(table.end());
    }

    /// The tables hold everything up to here: the core may forget what it knows of that.
    pub(super) fn applied(&mut self, upto: LogIndex) {
        if let Some(core) = &mut self.core {
            core.applied(upto);
        }
    }

    fn decide(
        &mut self,
        mut command: Command,
        (now, next): (UnixMillis, LogIndex),
        table: &Table,
        plant: Option<Plant>,
    ) -> Option<Decision> {
        let core = self.core.as_mut()?;
        loop {
            match core.decide(command, now, next, &|_| None) {
                Ok(decision) => return Some(decision),
                Err(unready) => {
                    load(core, unready.missing, table, plant);
                    command = unready.command;
                }
            }
        }
    }
}

/// What the tables say of what a core does not know.
fn load(core: &mut ShardCore, missing: Missing, table: &Table, plant: Option<Plant>) {
    let streams = table.streams();
    // A planted bug: of what came with an image the producers are left out.
    let forgets = plant == Some(Plant::LeavesProducersOut) && table.seeded() > LogIndex(0);
    let count = |row: &Row| if forgets { 0 } else { row.producer_count() };
    match missing {
        Missing::Name(name) => {
            let row = streams.by_name(&name);
            core.install_name(name, row.map(|row| row.meta.clone()), row.map_or(0, count));
        }
        Missing::Stream(stream) => {
            let row = streams.by_id(stream);
            core.install_stream(stream, row.map(|row| row.meta.clone()), row.map_or(0, count));
        }
        Missing::Producer(stream, id) => {
            let state = streams.by_id(stream).and_then(|row| row.producers.get(&id).copied());
            core.install_producer(stream, id, state.filter(|_| !forgets));
        }
        Missing::Pin(stream, pin) => core.install_pin(stream, pin, false),
        Missing::Link(id, stream) => core.install_link(id, stream, None),
    }
}

/// The name of a stream.
pub(super) fn name_of(shard: Shard, stream: usize) -> Option<StreamName> {
    StreamName::from_bytes(format!("shard-{shard}/stream-{stream}").as_bytes()).ok()
}

/// The producer of a client.
fn producer_of(client: usize) -> ProducerId {
    ProducerId(format!("client-{client}").into_bytes().into())
}

impl World {
    /// A replica opened: its shard is served once its tables hold what is committed.
    pub(super) fn open_desk(&mut self, node: NodeId, shard: Shard) {
        let committed = self.committed_at(node, shard);
        self.nodes[node].locals[shard].desk.service = Service::Opening(committed);
        // The applier may be behind; it catches up by the next tick.
        if self.dice.once_in(2) {
            self.apply(node, shard, committed);
        }
        self.serve_if_applied(node, shard);
    }

    /// Commands are decided here from now on, if the tables hold all that is committed.
    pub(super) fn serve_if_applied(&mut self, node: NodeId, shard: Shard) {
        let it = &mut self.nodes[node];
        let (local, table) = (&mut it.locals[shard], &it.disk.tables[shard]);
        let Some(at) = local.desk.opens_at() else { return };
        if table.end() >= at || self.plant == Some(Plant::ServesBeforeItsTables) {
            let limits = CoreLimits {
                stream_bytes_max: None,
                producers_per_stream_max: 1000,
                heads_max: self.heads_max,
                hash_seed: node as u64,
            };
            local.desk.open(table, || ShardCore::new(shard_id(shard), table.streams().next(), limits));
        }
    }

    /// A replica leads no more.
    pub(super) fn close_desk(&mut self, node: NodeId, shard: Shard) {
        self.nodes[node].locals[shard].desk.close(self.plant);
    }

    /// Up to where a replica knows its entries to be committed.
    pub(super) fn committed_at(&self, node: NodeId, shard: Shard) -> LogIndex {
        self.nodes[node].locals[shard].replica.as_ref().map_or(LogIndex(0), Replica::committed)
    }

    /// What an operation asks of the shard, and the command that says so.
    pub(super) fn wish(&self, op: OpId) -> Option<(Wish, Command)> {
        let Asked { client, shard, deed, .. } = self.history[op];
        Some(match deed {
            Deed::Read => return None,
            Deed::Append { stream, stamp } => {
                let name = name_of(shard, stream)?;
                let mut bytes = (op as u64).to_le_bytes().to_vec();
                let filler = usize::try_from(mix(op as u64) % FILLER_MAX).unwrap_or(0);
                bytes.resize(8 + filler, 0xa5);
                let producer = stamp.map(|state| ProducerStamp { id: producer_of(client), state });
                let append = Append {
                    name: name.clone(),
                    content_type: Some(ContentType::default()),
                    body: Ok(Messages::single(bytes.into())),
                    close: false,
                    producer,
                    seq: None,
                    if_match: None,
                };
                let stamp = stamp.map(|state| (producer_of(client), state));
                (Wish::Append(name, stamp), Command::Append(append))
            }
            Deed::Create { stream } => {
                let name = name_of(shard, stream)?;
                let create = Create {
                    name: name.clone(),
                    config: StreamConfig::default(),
                    content_type_given: false,
                    fork_offset_given: false,
                    closed: false,
                    body: Ok(None),
                    fork: None,
                };
                (Wish::Create(name), Command::Create(Box::new(create)))
            }
            Deed::Delete { stream } => {
                let name = name_of(shard, stream)?;
                (Wish::Delete(name.clone()), Command::Delete(name))
            }
        })
    }

    /// A command reaches the leader's desk: it is decided at once, on everything that was decided before it.
    pub(super) fn decide(&mut self, node: NodeId, shard: Shard, call: Call) {
        let begun = self.queue.now();
        let Some((wish, command)) = self.wish(call.op) else { return };
        let kind = if command.frees_room() { RecordKind::Relief } else { RecordKind::Batch };
        let it = &mut self.nodes[node];
        let (full, now) = (it.full > begun, it.wall(begun));
        let local = &mut it.locals[shard];
        let place = local.replica.as_ref().filter(|replica| replica.takes_writes() && local.desk.is_open());
        let place = place.and_then(Replica::place).filter(|_| !full || kind.may_use_reserve());
        let decided = place
            .map(|place| local.desk.decide(command, (now, place.index), &it.disk.tables[shard], self.plant));
        let (Some(place), Some(Some(decision))) = (place, decided) else {
            let delay = trip(&self.faults, &mut self.dice);
            return self.queue.after(delay, Event::Answered { call, outcome: Op::Refused });
        };
        let changes = !decision.ops.is_empty();
        let waiting = Waiting {
            basis: decision.basis,
            index: changes.then_some(place.index),
            seen: local.log.end(),
            call,
            begun,
            wish,
            verdict: Verdict::of(&decision.reply),
        };
        match self.plant {
            Some(Plant::AnswersDuplicatesAtOnce) if !changes => return self.give(node, shard, waiting),
            _ if !changes => {
                local.reads.push(Asker::Answer(waiting));
                return self.step(node, shard, Input::Read);
            }
            _ => local.wait(waiting),
        }
        if changes {
            self.write_decided(node, shard, call, kind, &decision.ops);
        }
        self.give_answers(node, shard);
        self.after_step(node, shard);
    }

    fn write_decided(&mut self, node: NodeId, shard: Shard, call: Call, kind: RecordKind, ops: &Ops) {
        let place = self.nodes[node].locals[shard].replica.as_ref().and_then(Replica::place);
        let Some(place) = place else { return };
        let mut payload = Vec::new();
        encode_ops(ops.as_slice(), &mut payload, &mut Vec::new());
        let entry = Entry { kind, epoch: place.epoch, payload: payload.into() };
        self.append(node, shard, entry.clone());
        let is_write = self.history[call.op].is_write();
        if self.plant == Some(Plant::DuplicatesOnRetry) && is_write && self.dice.once_in(50) {
            self.append(node, shard, entry);
        }
        if self.plant == Some(Plant::AcknowledgesBeforeCommit) {
            let log = &self.nodes[node].locals[shard].log;
            let outcome = Op::Done(place.index, log.chain_at(place.index).unwrap_or_default());
            self.queue.after(MILLI, Event::Answered { call, outcome });
        }
    }

    /// Gives the answers that rest on nothing that is not committed.
    pub(super) fn give_answers(&mut self, node: NodeId, shard: Shard) {
        let upto = self.committed_at(node, shard);
        while let Some(waiting) =
            self.nodes[node].locals[shard].writes.pop_front_if(|waiting| waiting.basis <= upto)
        {
            self.give(node, shard, waiting);
        }
    }

    /// Gives an answer, and compares it with what the committed entries say.
    fn give(&mut self, node: NodeId, shard: Shard, waiting: Waiting) {
        let Waiting { index, seen, call, wish, verdict, .. } = waiting;
        // What was seen and is not committed may never be; the answer must be the same without it.
        let at = match index {
            Some(index) => LogIndex(index.0 - 1),
            None => seen.min(self.committed_at(node, shard)),
        };
        let ledger = &self.ledgers[shard];
        let ought = ledger.ought(&wish, at);
        let outcome = match (&verdict, index) {
            (Verdict::Accepted, Some(index)) => {
                let Some(chain) = ledger.chain_at(index) else { return };
                Op::Done(index, chain)
            }
            (Verdict::Duplicate(..) | Verdict::There(..), _) => Op::Again(at),
            (Verdict::NotFound, _) => Op::Absent(at),
            (Verdict::Fenced(_) | Verdict::EpochStart | Verdict::Gap(_), _) => Op::OutOfStep(at),
            (Verdict::Other(_), _) | (Verdict::Accepted, None) => Op::Unknown,
        };
        if verdict != ought {
            self.violated(|| {
                format!(
                    "node-{node} shard {shard} answers {verdict:?} to {wish:?}, but the entries up to {at} say \
                     {ought:?}"
                )
            });
        }
        if matches!(verdict, Verdict::Duplicate(..)) {
            self.figures.repeated += 1;
        }
        self.queue.after(SYNC_MIN, Event::Answered { call, outcome });
    }
}

impl super::node::Node {
    /// What its clock on the wall shows.
    pub(super) fn wall(&self, now: super::queue::Micros) -> UnixMillis {
        let millis = i64::try_from(now / MILLI).unwrap_or(i64::MAX);
        UnixMillis(BEGINNING.saturating_add(millis).saturating_add(self.wall_off))
    }
}
