//! Operations of clients: where they go, how a node takes them, how they end.

use thalweg_node::codec::record::RecordKind;
use thalweg_node::core::replication::{Entry, Input};

use super::client::{Asked, Op, OpId, PATIENCE};
use super::event::{Event, NodeId};
use super::network::trip;
use super::node::Waiting;
use super::plant::Plant;
use super::queue::MILLI;
use super::world::World;

/// Bytes of an entry behind the number of its operation, at most.
const FILLER_MAX: u64 = 64;

impl World {
    /// A client begins its next operation.
    pub(super) fn client_asks(&mut self, client: usize) {
        if self.quiet {
            return;
        }
        let shard = usize::try_from(self.dice.below(self.ledgers.len() as u64)).unwrap_or(0);
        let is_write = !self.dice.once_in(3);
        let (begun, op) = (self.queue.now(), self.history.len());
        self.history.push(Asked { client, shard, is_write, begun, ended: None, outcome: Op::Pending });
        let lost = self.dice.once_in(8);
        let node = if lost { self.some_node() } else { self.clients[client].leaders[shard] };
        let delay = trip(&self.faults, &mut self.dice);
        self.queue.after(delay, Event::Request { node, op });
        self.queue.after(PATIENCE, Event::GiveUp { op });
    }

    /// A request reaches a node.
    pub(super) fn request(&mut self, node: NodeId, op: OpId) {
        let (shard, now) = (self.history[op].shard, self.queue.now());
        let it = &mut self.nodes[node];
        let full = it.full > now && self.history[op].is_write;
        let local = &mut it.locals[shard];
        if self.plant == Some(Plant::SkipsTheBarrier)
            && !self.history[op].is_write
            && let Some(replica) = &local.replica
            && replica.leads().is_some_and(|epoch| local.opened != Some(epoch))
        {
            let upto = replica.committed();
            let outcome = Op::Done(upto, local.log.chain_at(upto).unwrap_or_default());
            return self.queue.after(MILLI, Event::Answered { op, outcome });
        }
        let Some(replica) = local.replica.as_ref().filter(|replica| replica.takes_writes() && !full) else {
            let delay = trip(&self.faults, &mut self.dice);
            self.queue.after(delay, Event::Answered { op, outcome: Op::Refused });
            return;
        };
        if !self.history[op].is_write {
            if self.plant == Some(Plant::ReadsWithoutARound) {
                let upto = replica.committed();
                let outcome = Op::Done(upto, local.log.chain_at(upto).unwrap_or_default());
                return self.queue.after(MILLI, Event::Answered { op, outcome });
            }
            match local.rounds.back_mut() {
                Some((_, reads)) if self.plant == Some(Plant::ReadsFromAnOlderRound) => reads.push(op),
                _ => local.reads.push(op),
            }
            return self.step(node, shard, Input::Read);
        }
        let Some(place) = replica.place() else { return };
        let mut payload = (op as u64).to_le_bytes().to_vec();
        payload.resize(8 + usize::try_from(self.dice.below(FILLER_MAX)).unwrap_or(0), 0xa5);
        let entry = Entry { kind: RecordKind::Batch, epoch: place.epoch, payload: payload.into() };
        local.writes.push_back(Waiting { index: place.index, op, begun: now });
        self.append(node, shard, entry.clone());
        if self.plant == Some(Plant::DuplicatesOnRetry) && self.dice.once_in(50) {
            self.append(node, shard, entry);
        }
        if self.plant == Some(Plant::AcknowledgesBeforeCommit) {
            let log = &self.nodes[node].locals[shard].log;
            let outcome = Op::Done(place.index, log.chain_at(place.index).unwrap_or_default());
            self.queue.after(MILLI, Event::Answered { op, outcome });
        }
        self.after_step(node, shard);
    }

    /// An answer reaches its client, unless that has given up.
    pub(super) fn answered(&mut self, op: OpId, outcome: Op) {
        let now = self.queue.now();
        let nodes = self.nodes.len();
        let asked = &mut self.history[op];
        if asked.outcome != Op::Pending {
            return;
        }
        (asked.outcome, asked.ended) = (outcome, Some(now));
        let (client, shard) = (asked.client, asked.shard);
        match outcome {
            Op::Done(..) if asked.is_write => self.figures.writes += 1,
            Op::Done(..) => self.figures.reads += 1,
            _ => {
                let leader = &mut self.clients[client].leaders[shard];
                *leader = (*leader + 1) % nodes;
            }
        }
        let thinks = MILLI + self.dice.below(self.faults.thinks);
        self.queue.after(thinks, Event::Client(client));
    }

    /// A client waits no longer.
    pub(super) fn give_up(&mut self, op: OpId) {
        self.answered(op, Op::Unknown);
    }
}
