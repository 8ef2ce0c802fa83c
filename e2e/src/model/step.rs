//! What each step does to the world.

use std::fmt;

use thalweg_node::types::RecordEpoch;
use thalweg_node::types::{ConfigVersion, Configs, ReplicaId, Voters};

use super::log::{Kind, Log, Stamp};
use super::steps::quorum_of;
use super::world::{Id, Node, Order, REPLICAS_MAX, Role, Seal, Term, World, replica};
use super::{Epochs, Plant};

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// A client writes at this leader.
    Write(Id),
    /// What a replica wrote reaches its disk.
    Sync(Id),
    /// Something of this epoch arrives at a replica: a cut, or one entry.
    Replicate(Stamp, Log, Id),
    /// A leader commits as far as it may.
    Commit(Id),
    /// A replica ends and begins again without what was not synced.
    Crash(Id),
    /// A leader that restarted goes on by itself.
    Resume(Id),
    /// Somebody starts a failover in the record.
    Seal,
    /// A voter is sealed.
    Promise(Id),
    /// Somebody makes this replica the leader in the record.
    Choose(Id),
    /// An order to lead arrives.
    Lead(Order),
    /// Somebody changes the voters in the record.
    Change(Voters),
    /// Somebody takes a change back in the record.
    Withdraw,
    /// A leader hears of the sets of voters in the record.
    Hear(Id),
    /// A leader lets a set of voters stand alone.
    Confirm(Id, ConfigVersion),
    /// The record hears of it.
    Confirmed(u8, u8),
    /// A disk is lost.
    Wipe(Id),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replicate(stamp, log, to) => {
                write!(f, "Replicate(epoch {stamp:?}, up to {} entries, to {to})", log.len())
            }
            Self::Lead(order) => write!(f, "Lead(epoch {}, to {})", order.record, order.to),
            other => write!(f, "{other:?}"),
        }
    }
}

/// Takes a step; `None` if nothing comes of it.
pub(super) fn take(model: &Epochs, world: &mut World, step: Step) -> Option<()> {
    match step {
        Step::Write(leader) => {
            let number = world.used.writes;
            world.used.writes += 1;
            world.append(leader, Kind::Write(number));
        }
        Step::Sync(id) => {
            let node = world.node_mut(id);
            node.synced = node.log.len();
        }
        Step::Replicate(stamp, log, to) => replicate(world, stamp, log, to)?,
        Step::Commit(leader) => commit(model, world, leader)?,
        Step::Crash(id) => {
            world.used.crashes += 1;
            world.node_mut(id).crash(model.plant == Some(Plant::ForgetsPromises));
        }
        Step::Resume(id) => {
            let Node { led, boot, .. } = *world.node(id);
            let again = model.plant == Some(Plant::ResumesInItsOldEpoch);
            lead(world, id, if again { led } else { Stamp::new(led.record(), boot) });
        }
        Step::Seal => {
            world.row = world.row.seal().ok()?;
            world.seals = [None; REPLICAS_MAX];
        }
        Step::Promise(id) => promise(world, id)?,
        Step::Choose(id) => choose(model, world, id)?,
        Step::Lead(order) => {
            let node = world.node_mut(order.to);
            let stamp = Stamp::new(order.record, node.boot);
            node.configs = Some(order.configs);
            lead(world, order.to, stamp);
        }
        Step::Change(voters) => {
            world.used.changes += 1;
            world.row.configs = world.row.configs.with_next(voters);
        }
        Step::Withdraw => withdraw(model, world)?,
        Step::Hear(leader) => {
            let told = world.row.configs.clone();
            let node = world.node_mut(leader);
            let heard = node.configs.as_ref()?.hearing(&told);
            let version = u8::try_from(heard.last().version.0).ok()?;
            node.configs = Some(heard);
            world.append(leader, Kind::Config(version));
        }
        Step::Confirm(leader, version) => {
            let node = world.node_mut(leader);
            node.configs = Some(node.configs.as_ref()?.confirmed(version));
            let said = (node.role.as_ref()?.stamp.record(), u8::try_from(version.0).ok()?);
            if let Err(place) = world.confirmations.binary_search(&said) {
                world.confirmations.insert(place, said);
            }
        }
        Step::Confirmed(record, version) => {
            let version = ConfigVersion(u64::from(version));
            world.row = world.row.confirm(RecordEpoch(u64::from(record)), version).ok()?;
        }
        Step::Wipe(id) => {
            world.used.wipes += 1;
            *world.node_mut(id) = Node { wiped: true, ..Node::fresh() };
        }
    }
    Some(())
}

impl Node {
    fn crash(&mut self, forgets: bool) {
        self.boot += 1;
        self.role = None;
        self.log.cut(self.synced);
        if forgets {
            self.promised = self.led.max(self.log.stamp(self.synced));
        }
    }
}

/// An epoch begins at its leader.
fn lead(world: &mut World, id: Id, stamp: Stamp) {
    let acknowledged = world.terms.iter().find(|term| term.stamp == stamp).map(|term| term.acknowledged);
    let node = world.node_mut(id);
    node.led = stamp;
    node.promised = stamp;
    node.role = Some(Role { stamp, start: node.log.len() + 1, committed: 0 });
    let log = node.log;
    let acknowledged = acknowledged.unwrap_or_default();
    world.terms.push(Term { stamp, leader: id, log, committed: 0, acknowledged });
    world.append(id, Kind::Start);
}

fn replicate(world: &mut World, stamp: Stamp, log: Log, to: Id) -> Option<()> {
    let term = world.terms.iter_mut().find(|term| term.stamp == stamp && term.log == log)?;
    let node = world.nodes.get_mut(usize::from(to))?;
    node.promised = stamp;
    node.role = None;
    let common = node.log.common(&log);
    if common < node.log.len() {
        if common < node.known {
            world.lost = Some("a follower cut what it knew to be committed");
        }
        node.log.cut(common);
    } else if common < log.len() {
        node.log.take_next(&log);
    }
    // A follower answers when it is on its disk; what was not is as if it had not arrived.
    node.synced = node.log.len();
    node.known = node.known.max(term.committed.min(node.log.len()));
    term.acknowledged[usize::from(to)] = node.log.len();
    Some(())
}

fn commit(model: &Epochs, world: &mut World, leader: Id) -> Option<()> {
    let upto = quorum_of(model, world, leader)?.min(world.node(leader).log.len());
    let node = world.node_mut(leader);
    node.role.as_mut()?.committed = upto;
    node.known = node.known.max(upto);
    let log = node.log.prefix(upto);
    world.term_mut(leader)?.committed = upto;
    let common = world.committed.common(&log);
    if common < world.committed.len().min(upto) {
        world.lost = Some("another entry was committed in the place of one that was");
    } else if upto > world.committed.len() {
        world.committed = log;
    }
    Some(())
}

fn promise(world: &mut World, id: Id) -> Option<()> {
    let stamp = Stamp::new(world.epoch(), 0);
    let node = world.node_mut(id);
    if node.promised > stamp {
        return None;
    }
    node.promised = stamp;
    node.role = None;
    let seal = Seal { last: node.log.stamp(node.synced), end: node.synced, boot: node.boot };
    world.seals[usize::from(id)] = Some(seal);
    Some(())
}

fn choose(model: &Epochs, world: &mut World, id: Id) -> Option<()> {
    let before = world.row.configs.clone();
    world.row = world.row.activate(replica(id)).ok()?;
    if model.plant == Some(Plant::LeavesTheWinnerOutside) {
        world.row.configs = before;
    }
    let seal = world.seals[usize::from(id)]?;
    let order = Order { record: world.epoch(), to: id, seal, configs: world.row.configs.clone() };
    world.orders.push(order);
    world.seals = [None; REPLICAS_MAX];
    Some(())
}

fn withdraw(model: &Epochs, world: &mut World) -> Option<()> {
    world.used.withdrawals += 1;
    if model.plant == Some(Plant::ForgetsWithdrawnSets) {
        world.row.configs = Configs::new(vec![world.row.configs.oldest()])?;
        return Some(());
    }
    world.row = world.row.withdraw().ok()?;
    Some(())
}

/// The set with this replica in it, if it is not, and without it, if it is.
pub(super) fn toggled(voters: Voters, id: ReplicaId) -> Option<Voters> {
    if voters.contains(id) { voters.without(id) } else { voters.with(id) }
}
