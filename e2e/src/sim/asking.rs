//! Operations of clients: where they go, how a node takes them, how they end.

use thalweg_node::core::replication::Input;
use thalweg_node::types::LogIndex;

use super::client::{Asked, Call, Deed, Op, OpId, PATIENCE, STREAMS, VOLATILE};
use super::event::{Event, NodeId, Shard};
use super::network::{chance, trip};
use super::node::Asker;
use super::plant::Plant;
use super::queue::MILLI;
use super::world::World;

/// How often a client asks for the same thing before it begins an epoch of its own: a patient one, and one that is not.
const PATIENT: u32 = 100;
const IMPATIENT_MAX: u64 = 4;

impl World {
    /// A client begins its next operation, or asks for its last one again.
    pub(super) fn client_asks(&mut self, client: usize) {
        if self.quiet.is_some() {
            return;
        }
        let it = &self.clients[client];
        if let Some((shard, stream)) = it.absent {
            return self.asks_anew(client, shard, Deed::Create { stream });
        }
        if let Some((op, _)) = it.again {
            return self.ask_for(op);
        }
        let shard = usize::try_from(self.dice.below(self.ledgers.len() as u64)).unwrap_or(0);
        let stream = usize::try_from(self.dice.below(STREAMS as u64)).unwrap_or(0);
        let deed = if self.dice.once_in(3) {
            Deed::Read
        } else if stream == VOLATILE && self.dice.once_in(8) {
            Deed::Delete { stream }
        } else if self.dice.once_in(10) {
            Deed::Create { stream }
        } else {
            // One of them does without a producer: what it does not know it never asks for again.
            let stamped = client + 1 < self.clients.len();
            let stamp = stamped.then(|| self.clients[client].stamp(shard, stream));
            Deed::Append { stream, stamp }
        };
        self.asks_anew(client, shard, deed);
    }

    fn asks_anew(&mut self, client: usize, shard: Shard, deed: Deed) {
        let op = self.history.len();
        self.history.push(Asked::new(client, shard, deed, self.queue.now()));
        if self.history[op].is_stamped() {
            let soon = 1 + u32::try_from(self.dice.below(IMPATIENT_MAX)).unwrap_or(0);
            let most = if self.dice.once_in(16) { soon } else { PATIENT };
            self.clients[client].again = Some((op, most));
        }
        self.ask_for(op);
    }

    /// An operation is asked for, perhaps not for the first time.
    fn ask_for(&mut self, op: OpId) {
        let asked = &mut self.history[op];
        (asked.attempts, asked.waits) = (asked.attempts + 1, true);
        asked.least = self.ledgers[asked.shard].known;
        let (client, shard, stamped) = (asked.client, asked.shard, asked.is_stamped());
        let call = Call { op, attempt: asked.attempts };
        let lost = self.dice.once_in(8);
        let node = if lost { self.some_node() } else { self.clients[client].leaders[shard] };
        let delay = trip(&self.faults, &mut self.dice);
        self.queue.after(delay, Event::Request { node, call });
        if stamped && chance(&mut self.dice, self.faults.doubled_per_mille / 4) {
            // Somebody on the way sends it again, perhaps when its client has forgotten it.
            let late = delay + self.dice.below(2 * PATIENCE);
            let node = self.some_node();
            self.history[op].in_doubt = true;
            self.queue.after(late, Event::Request { node, call });
        }
        self.queue.after(PATIENCE, Event::GiveUp { call });
    }

    /// A request reaches a node.
    pub(super) fn request(&mut self, node: NodeId, call: Call) {
        let Asked { shard, deed, .. } = self.history[call.op];
        if deed != Deed::Read {
            return self.decide(node, shard, call);
        }
        let it = &mut self.nodes[node];
        let local = &mut it.locals[shard];
        if self.plant == Some(Plant::SkipsTheBarrier)
            && let Some(replica) = &local.replica
            && replica.leads().is_some_and(|epoch| local.opened != Some(epoch))
        {
            let upto = replica.committed();
            let outcome = Op::Done(upto, local.log.chain_at(upto).unwrap_or_default());
            return self.queue.after(MILLI, Event::Answered { call, outcome });
        }
        let Some(replica) = local.replica.as_ref().filter(|replica| replica.takes_writes()) else {
            let delay = trip(&self.faults, &mut self.dice);
            return self.queue.after(delay, Event::Answered { call, outcome: Op::Refused });
        };
        if self.plant == Some(Plant::ReadsWithoutARound) {
            let upto = replica.committed();
            let outcome = Op::Done(upto, local.log.chain_at(upto).unwrap_or_default());
            return self.queue.after(MILLI, Event::Answered { call, outcome });
        }
        match local.rounds.back_mut() {
            Some((_, reads)) if self.plant == Some(Plant::ReadsFromAnOlderRound) => {
                reads.push(Asker::Read(call));
            }
            _ => local.reads.push(Asker::Read(call)),
        }
        self.step(node, shard, Input::Read);
    }

    /// An answer reaches its client, unless that has given up.
    pub(super) fn answered(&mut self, call: Call, outcome: Op) {
        let asked = &mut self.history[call.op];
        if !asked.waits || asked.attempts != call.attempt {
            return;
        }
        asked.waits = false;
        let (client, shard, deed) = (asked.client, asked.shard, asked.deed);
        self.check_fresh(call.op, outcome);
        match outcome {
            Op::Done(..) | Op::Again(_) => self.is_done(call.op, outcome),
            _ => self.is_not_done(call.op, outcome),
        }
        let nodes = self.nodes.len();
        let it = &mut self.clients[client];
        match (outcome, deed) {
            (Op::Absent(_), Deed::Append { stream, .. }) => it.absent = Some((shard, stream)),
            (Op::Refused | Op::Unknown, _) => it.leaders[shard] = (it.leaders[shard] + 1) % nodes,
            _ => {}
        }
        let thinks = MILLI + self.dice.below(self.faults.thinks);
        self.queue.after(thinks, Event::Client(client));
    }

    fn is_done(&mut self, op: OpId, outcome: Op) {
        let now = self.queue.now();
        let asked = &mut self.history[op];
        (asked.outcome, asked.ended) = (outcome, Some(now));
        let it = &mut self.clients[asked.client];
        match asked.deed {
            Deed::Read => self.figures.reads += 1,
            Deed::Append { stream, stamp } => {
                self.figures.writes += 1;
                if let Some(stamp) = stamp {
                    it.next.insert((asked.shard, stream), stamp.seq + 1);
                    it.again = None;
                }
            }
            Deed::Create { .. } => it.absent = None,
            Deed::Delete { .. } => {}
        }
    }

    /// It was refused, or nobody knows: it is asked for again if a producer stands for it, until its client has had enough.
    fn is_not_done(&mut self, op: OpId, outcome: Op) {
        let now = self.queue.now();
        let asked = &mut self.history[op];
        asked.in_doubt |= outcome == Op::Unknown;
        let it = &mut self.clients[asked.client];
        let again = it.again.filter(|(pending, most)| *pending == op && asked.attempts < *most);
        if again.is_some() && !matches!(outcome, Op::OutOfStep(_)) {
            return;
        }
        asked.ended = Some(now);
        asked.outcome = if asked.in_doubt { Op::Unknown } else { outcome };
        let Deed::Append { stream, stamp: Some(stamp) } = asked.deed else { return };
        (it.again, it.absent) = (None, None);
        it.begins_anew();
        if matches!(outcome, Op::OutOfStep(_)) && stream != VOLATILE {
            let client = asked.client;
            self.violated(|| format!("client {client} is told that its producer is not at {stamp:?}"));
        }
    }

    /// An answer that shows how things stand shows no less than was known when it was asked for.
    fn check_fresh(&mut self, op: OpId, outcome: Op) {
        let Asked { shard, least, .. } = self.history[op];
        let ledger = &mut self.ledgers[shard];
        let at = match outcome {
            Op::Done(at, _) => return ledger.known = ledger.known.max(at),
            Op::Again(at) | Op::Absent(at) | Op::OutOfStep(at) => at,
            Op::Pending | Op::Refused | Op::Unknown => return,
        };
        let Some((wish, _)) = self.wish(op).filter(|_| at < least) else { return };
        let ledger = &self.ledgers[shard];
        let shown = ledger.ought(&wish, at);
        if !(least.0..=ledger.end().0).any(|later| ledger.ought(&wish, LogIndex(later)) == shown) {
            self.violated(|| {
                format!("{wish:?} is answered as of entry {at}, {shown:?}, though {least} were known before it was asked")
            });
        }
    }

    /// A client waits no longer.
    pub(super) fn give_up(&mut self, call: Call) {
        self.answered(call, Op::Unknown);
    }
}
