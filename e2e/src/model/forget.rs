//! What no step can use any more: states that differ only in it are one.

use super::Epochs;
use super::log::Stamp;
use super::node::Node;
use super::plant::Plant;
use super::sets::{Mask, Sets};
use super::world::{Id, News, Order, REPLICAS_MAX, Term, World};

/// Drops what cannot matter.
pub(super) fn what_cannot_matter(model: &Epochs, world: &mut World) {
    if !model.plant.is_some_and(Plant::needs_the_past) {
        world.nodes.iter_mut().for_each(roles_that_are_over);
    }
    letters(world);
    if world.used.changes == model.scope.changes {
        who_never_votes_again(world);
    }
}

fn roles_that_are_over(node: &mut Node) {
    if !node.leads {
        (node.start, node.committed, node.acknowledged) = (0, 0, [0; REPLICAS_MAX]);
    }
    if node.led.record() != node.promised.record() {
        (node.led, node.sets) = (Stamp::default(), Sets::default());
    }
}

/// What nobody would take, or what would change nothing.
fn letters(world: &mut World) {
    let World { nodes, terms, seals, orders, news, read, .. } = world;
    for (seal, node) in seals.iter_mut().zip(nodes.iter()) {
        if let Some(seal) = seal {
            seal.stale |= !node.is_as_sealed(*seal);
        }
    }
    let node = |id: Id| &nodes[usize::from(id)];
    let leads = |term: &Term| node(term.leader).leads && node(term.leader).led == term.stamp;
    let takes = |id: Id, term: &Term| id != term.leader && !node(id).wiped && node(id).promised <= term.stamp;
    let reaches = |term: &Term| (0..).take(REPLICAS_MAX).any(|id| takes(id, term));
    terms.retain(|term| leads(term) || reaches(term));
    orders.retain(|order: &Order| {
        let node = node(order.to);
        !node.wiped && node.promised.record() <= order.record && node.led.record() < order.record
    });
    news.retain(|told: &News| {
        // A leader that has restarted may go on and hear of it then.
        let may_lead =
            |node: &Node| node.led.record() == told.record && node.promised.record() == told.record;
        let hears = |node: &Node| may_lead(node) && node.sets.newest() < told.sets.newest();
        orders.iter().any(|order| order.record == told.record) || nodes.iter().any(hears)
    });
    *read = read.filter(|read| node(read.leader).leads);
}

/// A replica that nobody counts or elects any more may as well not exist.
fn who_never_votes_again(world: &mut World) {
    let letters = world.news.iter().map(|told| told.sets).chain(world.orders.iter().map(|order| order.sets));
    let lists = world.nodes.iter().map(|node| node.sets).chain(letters).chain([world.row.sets]);
    let masks = lists.flat_map(|sets: Sets| sets.masks());
    let listed: Mask = masks.fold(1 << world.row.last_leader, |all, mask| all | mask);
    for id in world.ids().filter(|id| listed >> id & 1 == 0) {
        if !world.node(id).leads {
            *world.node_mut(id) = Node { wiped: true, ..Node::fresh() };
            world.seals[usize::from(id)] = None;
        }
    }
}
