//! What each step does to the world.

use super::Epochs;
use super::log::{Kind, Stamp};
use super::node::{Node, Seal};
use super::plant::Plant;
use super::quorum;
use super::reads;
use super::record;
use super::sets::Sets;
use super::world::{Id, Loss, REPLICAS_MAX, Term, World};

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// A client writes at this leader.
    Write(Id),
    /// What a replica wrote reaches its disk.
    Sync(Id),
    /// Something of the term in this place arrives at a replica: a cut, or one entry.
    Replicate(u8, Id),
    /// A leader commits as far as it may.
    Commit(Id),
    /// A replica ends and begins again without what was not synced.
    Crash(Id),
    /// A leader that restarted goes on by itself.
    Resume(Id),
    /// Somebody starts a failover in the record.
    Seal,
    /// A replica is sealed.
    Promise(Id),
    /// Somebody makes this replica the leader in the record.
    Choose(Id),
    /// The order to lead in this place arrives.
    Lead(u8),
    /// Somebody makes this replica a voter in the record, or no voter.
    Change(Id),
    /// Somebody takes a change back in the record.
    Withdraw,
    /// A leader hears of the sets of voters in this place.
    Hear(Id, u8),
    /// A leader lets the set of this version stand alone.
    Confirm(Id, u8),
    /// The record hears of it.
    Confirmed(u8),
    /// A disk is lost.
    Wipe(Id),
    /// A read begins at this leader.
    Read(Id),
    /// A replica confirms to the leader that answers the read that it follows no later one.
    Answer(Id),
    /// The read is answered.
    Return,
}

/// Takes a step; `None` if nothing comes of it.
pub(super) fn take(model: &Epochs, world: &mut World, step: Step) -> Option<()> {
    match step {
        Step::Write(leader) => {
            world.used.writes += 1;
            world.append(leader, Kind::Write);
        }
        Step::Sync(id) => {
            let node = world.node_mut(id);
            node.synced = node.log.len();
            void_orders(world, id);
        }
        Step::Replicate(term, to) => replicate(world, term, to)?,
        Step::Commit(leader) => commit(model, world, leader)?,
        Step::Crash(id) => crash(model, world, id)?,
        Step::Resume(id) => {
            let led = world.node(id).led;
            let again = model.plant == Some(Plant::ResumesInItsOldEpoch);
            lead(model, world, id, if again { led } else { Stamp::new(led.record(), led.boot() + 1) });
        }
        Step::Promise(id) => promise(world, id)?,
        Step::Lead(place) => {
            let order = *world.orders.get(usize::from(place))?;
            world.node_mut(order.to).sets = order.sets;
            lead(model, world, order.to, Stamp::new(order.record, 0));
        }
        Step::Hear(leader, place) => {
            let told = world.news.get(usize::from(place))?.sets.configs()?;
            let node = world.node_mut(leader);
            node.sets = Sets::from(&node.sets.configs()?.hearing(&told));
            world.append(leader, Kind::Config);
        }
        Step::Confirm(leader, version) => record::confirm(world, leader, version)?,
        Step::Wipe(id) => {
            world.used.wipes += 1;
            *world.node_mut(id) = Node { wiped: true, ..Node::fresh() };
            void_orders(world, id);
        }
        Step::Seal | Step::Choose(_) | Step::Change(_) | Step::Withdraw | Step::Confirmed(_) => {
            record::take(model, world, step)?;
        }
        Step::Read(leader) => reads::begin(model, world, leader),
        Step::Answer(id) => world.read.as_mut()?.answers |= 1 << id,
        Step::Return => reads::end(world)?,
    }
    Some(())
}

/// An order to lead is bound to what the replica had when it was sealed.
fn void_orders(world: &mut World, id: Id) {
    world.orders.retain(|order| order.to != id);
}

fn crash(model: &Epochs, world: &mut World, id: Id) -> Option<()> {
    let before = *world;
    void_orders(world, id);
    if let Some(seal) = &mut world.seals[usize::from(id)] {
        seal.stale = true;
    }
    let node = world.node_mut(id);
    node.leads = false;
    node.log = node.log.prefix(node.synced);
    if model.plant == Some(Plant::ForgetsPromises) {
        node.promised = node.led.max(node.log.stamp(node.synced));
    }
    // A crash that changes nothing leads nowhere that is not reached without it.
    if *world == before {
        return None;
    }
    world.used.crashes += 1;
    Some(())
}

/// An epoch begins at its leader.
fn lead(model: &Epochs, world: &mut World, id: Id, stamp: Stamp) {
    let keeps = model.plant.is_some_and(Plant::keeps_acknowledgements);
    void_orders(world, id);
    let (committed, committed_in) = (world.committed, world.committed_in);
    let node = world.node_mut(id);
    let acknowledged = if keeps { node.acknowledged } else { [0; REPLICAS_MAX] };
    (node.led, node.promised, node.leads) = (stamp, stamp, true);
    (node.start, node.committed, node.acknowledged) = (node.log.len() + 1, 0, acknowledged);
    let log = node.log;
    world.terms.push(Term { stamp, leader: id, log });
    world.append(id, Kind::Start);
    // The order may be late, and later epochs have committed more by now.
    if committed_in < stamp && !log.begins_with(committed) {
        world.lost = Some(Loss::LeaderLacks);
    }
}

fn replicate(world: &mut World, term: u8, to: Id) -> Option<()> {
    let Term { stamp, leader, log } = *world.terms.get(usize::from(term))?;
    let before = *world.node(to);
    let node = world.node_mut(to);
    (node.promised, node.leads) = (stamp, false);
    let common = node.log.common(log);
    if common < node.log.len() {
        node.log = node.log.prefix(common);
    } else if common < log.len() {
        node.log.take_next(log);
    }
    // A follower answers when it is on its disk; what was not is as if it had not arrived.
    node.synced = node.log.len();
    let (held, changed) = (node.synced, node.log != before.log || node.synced != before.synced);
    if changed {
        void_orders(world, to);
    }
    let leader = world.node_mut(leader);
    if leader.leads && leader.led == stamp {
        leader.acknowledged[usize::from(to)] = held;
    }
    Some(())
}

fn commit(model: &Epochs, world: &mut World, leader: Id) -> Option<()> {
    let upto = quorum::commit_index(model, world, leader)?;
    let node = world.node_mut(leader);
    node.committed = upto;
    let (led, log) = (node.led, node.log.prefix(upto));
    if !log.begins_with(world.committed) && !world.committed.begins_with(log) {
        world.lost = Some(Loss::Replaced);
    } else if upto > world.committed.len() {
        (world.committed, world.committed_in) = (log, led);
        let lacks = |term: &Term| term.stamp > led && !term.log.begins_with(log);
        if world.terms.iter().any(lacks) {
            world.lost = Some(Loss::TooLate);
        }
    }
    Some(())
}

fn promise(world: &mut World, id: Id) -> Option<()> {
    let stamp = Stamp::new(world.row.epoch, 0);
    let node = world.node_mut(id);
    if node.promised > stamp {
        return None;
    }
    (node.promised, node.leads) = (stamp, false);
    let seal = Seal { last: node.log.stamp(node.synced), end: node.synced, stale: false };
    world.seals[usize::from(id)] = Some(seal);
    Some(())
}
