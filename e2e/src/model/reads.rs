//! Reads: a leader answers with what it has committed once a quorum confirms, after the read began, that it still leads.

use super::Epochs;
use super::plant::Plant;
use super::quorum::over_sets;
use super::rules::ReplicaId;
use super::sets::id as of_product;
use super::step::Step;
use super::world::{Id, Loss, Read, World, index};

/// All steps of reads that may come next.
pub(super) fn possible(model: &Epochs, world: &World, steps: &mut Vec<Step>) {
    let Some(read) = world.read else {
        begins(model, world, steps);
        return;
    };
    let led = world.node(read.leader).led;
    // A replica that has promised nothing higher confirms; one that has not heard of this epoch yet hears of it first.
    let confirms = |id: &Id| !world.node(*id).wiped && *id != read.leader && world.node(*id).promised == led;
    let news = world.ids().filter(confirms).filter(|id| read.answers >> id & 1 == 0);
    steps.extend(news.map(Step::Answer));
    let held = |voter: ReplicaId| index(read.answers >> of_product(voter) & 1);
    if over_sets(model, world, read.leader, index(1), held) == index(1) {
        steps.push(Step::Return);
    }
}

fn begins(model: &Epochs, world: &World, steps: &mut Vec<Step>) {
    let early = model.plant == Some(Plant::ReadsBeforeTheBarrier);
    let opened = |id: &Id| {
        let node = world.node(*id);
        node.leads && (early || node.committed >= node.start)
    };
    if world.used.reads < model.scope.reads {
        steps.extend(world.ids().filter(opened).map(Step::Read));
    }
}

/// A read begins. Its leader counts itself.
pub(super) fn begin(model: &Epochs, world: &mut World, leader: Id) {
    world.used.reads += 1;
    let node = *world.node(leader);
    let mut answers = 1 << leader;
    if model.plant == Some(Plant::CountsAnOlderRound) {
        let followed = world.ids().filter(|id| node.acknowledged[usize::from(*id)] >= node.start);
        answers |= followed.map(|id| 1 << id).sum::<u8>();
    }
    world.read = Some(Read { leader, index: node.committed, least: world.committed.len(), answers });
}

/// A read ends.
pub(super) fn end(world: &mut World) -> Option<()> {
    let read = world.read.take()?;
    if read.index < read.least {
        world.lost = Some(Loss::StaleRead);
    }
    Some(())
}
