//! Where the model asks the product's rules of quorums, and where plants answer in their place.

use super::Epochs;
use super::plant::Plant;
use super::rules::{Config, Configs, LogIndex, ReplicaId, confirms, quorum_index, sees_every_commit};
use super::sets::{id as of_product, small};
use super::world::{Id, World, index, replica};

/// How far a leader may commit, if that is farther than it has.
pub(super) fn commit_index(model: &Epochs, world: &World, leader: Id) -> Option<u8> {
    let node = world.node(leader);
    let without_own = model.plant == Some(Plant::CommitsWithoutOwnDisk);
    let own = if without_own { node.log.len() } else { node.synced };
    let held = |voter: ReplicaId| match of_product(voter) {
        id if id == leader => index(own),
        id => index(node.acknowledged[usize::from(id)]),
    };
    let upto = small(over_sets(model, world, leader, index(own), held).0).min(node.log.len());
    let least = if model.plant == Some(Plant::CommitsWithoutBarrier) { 1 } else { node.start };
    (upto > node.committed && upto >= least).then_some(upto)
}

/// The product's rule over the sets that this leader goes by.
pub(super) fn over_sets(
    model: &Epochs,
    world: &World,
    leader: Id,
    own: LogIndex,
    held: impl Fn(ReplicaId) -> LogIndex,
) -> LogIndex {
    let all = world.node(leader).sets;
    let newest = all.newest();
    let counts = |config: &Config| match model.plant {
        Some(Plant::CommitsByTheNewestSet) => small(config.version.0) == newest,
        _ => true,
    };
    // The least over the sets is the same as the rule over all of them, and needs no list.
    let each = all.iter().filter(counts).map(|config| quorum_index(&[config], own, &held));
    each.min().unwrap_or_default()
}

/// The versions that a leader may let stand alone.
pub(super) fn confirmable(model: &Epochs, world: &World, leader: Id) -> impl Iterator<Item = u8> {
    let node = world.node(leader);
    let (start, committed) = match model.plant {
        Some(Plant::ConfirmsAnything) => (0, 0),
        Some(Plant::ConfirmsBelowTheCommit) => (node.start, 0),
        _ => (node.start, node.committed),
    };
    let held = move |voter: ReplicaId| match of_product(voter) {
        id if id == leader => index(node.synced),
        id => index(node.acknowledged[usize::from(id)]),
    };
    let enough =
        move |config: &Config| confirms(*config, index(start), index(committed), index(node.synced), held);
    node.sets.iter().skip(1).filter(enough).map(|config| small(config.version.0))
}

/// Whether an election may happen.
pub(super) fn seals_suffice(model: &Epochs, world: &World, configs: &Configs) -> bool {
    let sealed = |voter: ReplicaId| world.seals[usize::from(of_product(voter))].is_some();
    let last_leader = Some(replica(world.row.last_leader));
    let formerly = |id: &Id| world.node(*id).led.record() > 0;
    let by_one =
        |config| Configs::new(vec![config]).is_some_and(|one| sees_every_commit(&one, last_leader, sealed));
    match model.plant {
        Some(Plant::AsksOnlyTheNewestSet) => by_one(configs.last()),
        Some(Plant::AsksOnlyTheOldestSet) => by_one(configs.oldest()),
        Some(Plant::TrustsAnyFormerLeader) if world.ids().filter(formerly).any(|id| sealed(replica(id))) => {
            true
        }
        _ => sees_every_commit(configs, last_leader, sealed),
    }
}
