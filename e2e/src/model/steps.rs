//! Which steps are possible: what the rules allow, less the rule that a plant takes out.

use super::Epochs;
use super::quorum::commit_index;
use super::step::Step;
use super::world::{Id, World};
use super::{reads, record};

/// All steps that may come next.
pub(super) fn possible(model: &Epochs, world: &World, steps: &mut Vec<Step>) {
    for id in world.ids().filter(|id| !world.node(*id).wiped) {
        of_replica(model, world, id, steps);
        arrivals(world, id, steps);
    }
    record::possible(model, world, steps);
    orders(world, steps);
    if model.scope.reads > 0 {
        reads::possible(model, world, steps);
    }
}

fn of_replica(model: &Epochs, world: &World, id: Id, steps: &mut Vec<Step>) {
    let (node, scope, used) = (world.node(id), &model.scope, &world.used);
    if node.leads {
        of_leader(model, world, id, steps);
    } else if node.led.record() > 0 && node.led.record() == node.promised.record() {
        steps.push(Step::Resume(id));
    }
    if node.synced < node.log.len() {
        steps.push(Step::Sync(id));
    }
    if used.crashes < scope.crashes {
        steps.push(Step::Crash(id));
    }
    if used.wipes < scope.wipes {
        steps.push(Step::Wipe(id));
    }
}

fn of_leader(model: &Epochs, world: &World, id: Id, steps: &mut Vec<Step>) {
    let node = world.node(id);
    if world.used.writes < model.scope.writes && node.committed >= node.start {
        steps.push(Step::Write(id));
    }
    if commit_index(model, world, id).is_some() {
        steps.push(Step::Commit(id));
    }
    let of_its_epoch = (0..).zip(world.news.iter()).filter(|(_, told)| told.record == node.led.record());
    let unheard = of_its_epoch.filter(|(_, told)| told.sets.newest() > node.sets.newest());
    steps.extend(unheard.map(|(place, _)| Step::Hear(id, place)));
    record::confirmations(model, world, id, steps);
}

/// What the leaders of all epochs ever sent to this replica.
fn arrivals(world: &World, id: Id, steps: &mut Vec<Step>) {
    let node = world.node(id);
    let others =
        (0..).zip(world.terms.iter()).filter(|(_, term)| term.leader != id && term.stamp >= node.promised);
    steps.extend(others.map(|(place, _)| Step::Replicate(place, id)));
}

fn orders(world: &World, steps: &mut Vec<Step>) {
    let accepted = (0..).zip(world.orders.iter()).filter(|(_, order)| {
        let node = world.node(order.to);
        node.promised.record() == order.record && node.led.record() < order.record
    });
    steps.extend(accepted.map(|(place, _)| Step::Lead(place)));
}
