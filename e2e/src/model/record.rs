//! The steps of the record, each of which anybody may take at any time: a failover, an election, a change of the voters.

use super::Epochs;
use super::plant::Plant;
use super::quorum::{confirmable, seals_suffice};
use super::row::Row;
use super::rules::{ConfigVersion, Configs, Sealed, winners};
use super::sets::{Sets, id as of_product};
use super::step::Step;
use super::world::{Id, News, Order, REPLICAS_MAX, World};

/// All steps of the record that may come next.
pub(super) fn possible(model: &Epochs, world: &World, steps: &mut Vec<Step>) {
    if world.row.leader.is_none() {
        elections(model, world, steps);
        return;
    }
    let (scope, used) = (&model.scope, &world.used);
    if world.row.epoch < scope.epochs {
        steps.push(Step::Seal);
    }
    if used.changes < scope.changes {
        // What does not exist any more never comes back.
        let there =
            |id: &Id| !world.node(*id).wiped || world.row.sets.masks().iter().any(|mask| mask >> id & 1 == 1);
        let possible = world.ids().filter(there).filter(|id| changed(model, &world.row, *id).is_some());
        steps.extend(possible.map(Step::Change));
    }
    if used.withdrawals < scope.withdrawals && world.row.withdraw().is_some() {
        steps.push(Step::Withdraw);
    }
    let heard = (1..16).filter(|version| world.confirmed >> version & 1 == 1);
    steps.extend(heard.map(Step::Confirmed));
}

/// Takes a step of the record; `None` if the row does not change so.
pub(super) fn take(model: &Epochs, world: &mut World, step: Step) -> Option<()> {
    match step {
        Step::Seal => {
            world.row = world.row.seal()?;
            world.seals = [None; REPLICAS_MAX];
            world.confirmed = 0;
        }
        Step::Choose(id) => choose(model, world, id)?,
        Step::Change(id) => {
            world.used.changes += 1;
            world.row = changed(model, &world.row, id)?;
            tell(world);
        }
        Step::Withdraw => {
            world.used.withdrawals += 1;
            world.row = match model.plant {
                Some(Plant::ForgetsWithdrawnSets) => {
                    let oldest = Configs::new(vec![world.row.configs()?.oldest()])?;
                    Row { sets: Sets::from(&oldest), ..world.row }
                }
                _ => world.row.withdraw()?,
            };
            tell(world);
        }
        Step::Confirmed(version) => {
            world.row = world.row.confirm(version)?;
            // What is older is no news any more.
            world.confirmed &= !0 << (version + 1);
        }
        _ => return None,
    }
    Some(())
}

/// A leader lets a set stand alone, and the record may hear of it as long as the epoch is the leader's.
pub(super) fn confirm(world: &mut World, leader: Id, version: u8) -> Option<()> {
    let epoch = world.row.epoch;
    let node = world.node_mut(leader);
    let confirmed = node.sets.configs()?.confirmed(ConfigVersion(u64::from(version)));
    node.sets = Sets::from(&confirmed);
    if node.led.record() == epoch {
        world.confirmed |= 1 << version;
    }
    Some(())
}

/// The versions that a leader may let stand alone.
pub(super) fn confirmations(model: &Epochs, world: &World, leader: Id, steps: &mut Vec<Step>) {
    steps.extend(confirmable(model, world, leader).map(|version| Step::Confirm(leader, version)));
}

fn changed(model: &Epochs, row: &Row, id: Id) -> Option<Row> {
    match model.plant {
        Some(Plant::RemovesTheLeader) if row.leader == Some(id) => row.without_leader(),
        _ => row.change(id),
    }
}

/// The leader may hear of it from now on, however late.
fn tell(world: &mut World) {
    world.news.push(News { record: world.row.epoch, sets: world.row.sets });
}

fn choose(model: &Epochs, world: &mut World, id: Id) -> Option<()> {
    let before = world.row.sets;
    world.row = world.row.activate(id)?;
    if model.plant == Some(Plant::LeavesTheWinnerOutside) {
        world.row.sets = before;
    }
    if !world.seals[usize::from(id)]?.stale {
        world.orders.push(Order { record: world.row.epoch, to: id, sets: world.row.sets });
    }
    world.seals = [None; REPLICAS_MAX];
    Some(())
}

fn elections(model: &Epochs, world: &World, steps: &mut Vec<Step>) {
    let Some(configs) = world.row.configs() else { return };
    let mut asked: Vec<Id> = configs.everybody().into_iter().map(of_product).collect();
    // The last leader is asked in any case: its seal counts alone.
    if !asked.contains(&world.row.last_leader) {
        asked.push(world.row.last_leader);
    }
    asked.retain(|id| world.seals[usize::from(*id)].is_none() && !world.node(*id).wiped);
    steps.extend(asked.into_iter().map(Step::Promise));
    if !seals_suffice(model, world, &configs) {
        return;
    }
    let by_length = model.plant == Some(Plant::PrefersLength);
    let answer = |id: Id| {
        let answer = world.seals[usize::from(id)]?.answer(id);
        Some(if by_length { Sealed { last: Default::default(), ..answer } } else { answer })
    };
    let answers: Vec<Sealed> = world.ids().filter_map(answer).collect();
    steps.extend(winners(&configs, answers.iter()).map(|best| Step::Choose(of_product(best.replica))));
}
