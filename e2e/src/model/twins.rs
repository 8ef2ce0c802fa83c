//! States that differ only in the names of replicas are one: whatever can happen from one of them can happen from the
//! other under the other names. No rule looks at a name, and ties are open to all who share them.
//!
//! Of such a family the state is taken in which the replicas are sorted by what is theirs. Two replicas that cannot be
//! told apart by that keep their order; should they differ all the same, the family is walked more than once, no more.

use super::sets::{Mask, Sets};
use super::world::{Id, REPLICAS_MAX, World};

/// For each replica the name that it had before.
pub(super) type Names = [Id; REPLICAS_MAX];

/// Nobody has another name.
pub(super) const SAME: Names = [0, 1, 2, 3];

/// The state that stands for the family, and what its replicas were called.
#[must_use]
pub(super) fn sorted(world: &World) -> (World, Names) {
    let mut keyed = SAME.map(|id| (key(world, id), id));
    keyed.sort_unstable();
    let names = keyed.map(|(_, id)| id);
    if names == SAME { (*world, SAME) } else { (renamed(world, names), names) }
}

type Key = (u128, u64, u64);

/// What is a replica's own, whatever it is called.
fn key(world: &World, id: Id) -> Key {
    let (node, place, row) = (world.node(id), usize::from(id), &world.row);
    let seal =
        world.seals[place].map_or([0; 3], |seal| [seal.last.number(), seal.end, 1 + u8::from(seal.stale)]);
    let roles = u8::from(node.wiped)
        | u8::from(node.leads) << 1
        | u8::from(row.leader == Some(id)) << 2
        | u8::from(row.last_leader == id) << 3;
    let [last, end, sealed] = seal;
    let own = [
        node.promised.number(),
        node.led.number(),
        node.synced,
        node.start,
        node.committed,
        roles,
        last,
        end,
    ];
    let mut others = votes(&row.sets, id).wrapping_add(u64::from(sealed) << 32);
    for node in &world.nodes {
        let acknowledged = u64::from(node.acknowledged[place]);
        others = add(others, u64::from(node.led.number()), acknowledged << 8 | votes(&node.sets, id));
    }
    for term in world.terms.iter().filter(|term| term.leader == id) {
        others = add(others, 64 + u64::from(term.stamp.number()), 1);
    }
    for order in world.orders.iter() {
        let to = u64::from(order.to == id);
        others = add(others, 128 + u64::from(order.record), to << 8 | votes(&order.sets, id));
    }
    for (told, news) in (0..).zip(world.news.iter()) {
        others = add(others, 144 + told, votes(&news.sets, id));
    }
    if let Some(read) = world.read {
        others = add(others, 160, u64::from(read.leader == id) << 1 | u64::from(read.answers >> id & 1));
    }
    (node.log.number(), u64::from_le_bytes(own), others)
}

/// In which of the sets a replica votes, as bits.
fn votes(sets: &Sets, id: Id) -> u64 {
    sets.masks().iter().fold(0, |votes, mask| votes << 1 | u64::from(mask >> id & 1))
}

/// Adds a fact to a sum that does not depend on the order of facts.
fn add(sum: u64, whose: u64, what: u64) -> u64 {
    let mixed = (whose << 32 | what).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    sum.wrapping_add((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9))
}

/// The same state in which replica `new` is the one that was called `names[new]`.
fn renamed(world: &World, names: Names) -> World {
    let mut news: Names = SAME;
    names.iter().zip(0..).for_each(|(old, new)| news[usize::from(*old)] = new);
    let id = |old: Id| news[usize::from(old)];
    let mask =
        |old: Mask| SAME.iter().filter(|id| old >> **id & 1 == 1).map(|old| 1 << id(*old)).sum::<Mask>();
    let mut next = *world;
    next.nodes = names.map(|old| {
        let mut node = *world.node(old);
        node.acknowledged = names.map(|of| node.acknowledged[usize::from(of)]);
        node.sets = node.sets.renamed(mask);
        node
    });
    next.seals = names.map(|old| world.seals[usize::from(old)]);
    next.row.leader = world.row.leader.map(id);
    next.row.last_leader = id(world.row.last_leader);
    next.row.sets = world.row.sets.renamed(mask);
    next.terms.iter_mut().for_each(|term| term.leader = id(term.leader));
    next.orders
        .iter_mut()
        .for_each(|order| (order.to, order.sets) = (id(order.to), order.sets.renamed(mask)));
    next.news.iter_mut().for_each(|news| news.sets = news.sets.renamed(mask));
    if let Some(read) = &mut next.read {
        (read.leader, read.answers) = (id(read.leader), mask(read.answers));
    }
    next
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::model::{Epochs, Scope, steps};

    const ORDERS: [Names; 4] = [[1, 0, 2, 3], [0, 2, 1, 3], [2, 0, 1, 3], [3, 2, 1, 0]];

    /// Some states of a scope in which everything happens, each at the end of a way of its own.
    fn states(model: &Epochs) -> Vec<World> {
        let mut states = vec![World::first(&model.scope)];
        for turn in 0..2_000 {
            let world = states[turn * 7 % states.len()];
            let mut next = Vec::new();
            steps::possible(model, &world, &mut next);
            let step = next.get(turn * 31 % next.len().max(1)).copied();
            states.extend(step.and_then(|step| model.after(&world, step)));
        }
        states
    }

    fn after(model: &Epochs, world: &World) -> HashSet<World> {
        let mut possible = Vec::new();
        steps::possible(model, world, &mut possible);
        possible.into_iter().filter_map(|step| model.after(world, step)).collect()
    }

    #[test]
    fn a_state_and_its_twin_lead_to_the_same_states() {
        let scope =
            Scope { replicas: 4, epochs: 3, changes: 2, wipes: 1, reads: 1, crashes: 1, ..Scope::PLAIN };
        let model = Epochs { scope, plant: None };
        let (mut told_apart, states) = (0, states(&model));
        assert!(states.len() > 500, "{}", states.len());
        for world in &states {
            for names in ORDERS {
                let twin = renamed(world, names);
                let expected: HashSet<World> =
                    after(&model, world).iter().map(|next| renamed(next, names)).collect();
                assert_eq!(after(&model, &twin), expected, "{world:?}");
                told_apart += usize::from(sorted(world).0 != sorted(&twin).0);
            }
        }
        let all = states.len() * ORDERS.len();
        assert!(told_apart * 50 < all, "{told_apart} twins of {all} were told apart");
    }
}
