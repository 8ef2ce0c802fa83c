//! Which steps are possible: what the rules allow, less the rule that a plant takes out.

use thalweg_node::core::replication::{Phase, confirms, quorum_index, sees_every_commit, winners};
use thalweg_node::types::LogIndex;
use thalweg_node::types::{Config, ConfigVersion, Configs, ReplicaId};

use super::step::{Step, toggled};
use super::world::{Id, Node, Role, World, index, replica};
use super::{Epochs, Plant};

/// All steps that may come next.
pub(super) fn possible(model: &Epochs, world: &World, steps: &mut Vec<Step>) {
    for id in world.ids().filter(|id| !world.node(*id).wiped) {
        of_replica(model, world, id, steps);
        arrivals(world, id, steps);
    }
    match world.row.phase {
        Phase::Active { leader } => of_record(model, world, leader, steps),
        Phase::Sealing => elections(model, world, steps),
    }
    let accepts = |node: &Node, record| node.promised.record() == record && node.led.record() < record;
    let orders = world.orders.iter().filter(|order| {
        let node = world.node(order.to);
        accepts(node, order.record) && node.is_as_sealed(order.seal)
    });
    steps.extend(orders.cloned().map(Step::Lead));
}

fn of_replica(model: &Epochs, world: &World, id: Id, steps: &mut Vec<Step>) {
    let (node, scope, used) = (world.node(id), &model.scope, &world.used);
    if let (Some(role), Some(configs)) = (&node.role, &node.configs) {
        of_leader(model, world, id, (role, configs), steps);
    } else if node.led.record() > 0
        && node.led.record() == node.promised.record()
        && node.led.boot() < node.boot
    {
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

fn of_leader(
    model: &Epochs,
    world: &World,
    id: Id,
    (role, configs): (&Role, &Configs),
    steps: &mut Vec<Step>,
) {
    let node = world.node(id);
    if world.used.writes < model.scope.writes && role.committed >= role.start {
        steps.push(Step::Write(id));
    }
    let least = if model.plant == Some(Plant::CommitsWithoutBarrier) { 1 } else { role.start };
    if quorum_of(model, world, id).is_some_and(|upto| upto > role.committed && upto >= least) {
        steps.push(Step::Commit(id));
    }
    let active = matches!(world.row.phase, Phase::Active { .. }) && world.epoch() == role.stamp.record();
    if active && world.row.configs.last().version > configs.last().version {
        steps.push(Step::Hear(id));
    }
    let (start, committed) = match model.plant {
        Some(Plant::ConfirmsAnything) => (0, 0),
        Some(Plant::ConfirmsBelowTheCommit) => (role.start, 0),
        _ => (role.start, role.committed),
    };
    for config in configs.as_slice().iter().skip(1) {
        let held = |voter| held(model, world, id, voter);
        if confirms(*config, index(start), index(committed), index(node.synced), held) {
            steps.push(Step::Confirm(id, config.version));
        }
    }
}

/// What the leaders of all epochs ever sent to this replica.
fn arrivals(world: &World, id: Id, steps: &mut Vec<Step>) {
    let node = world.node(id);
    for term in world.terms.iter().filter(|term| term.leader != id && term.stamp >= node.promised) {
        let common = node.log.common(&term.log);
        let news = common < node.log.len() || common < term.log.len();
        if news || term.acknowledged[usize::from(id)] < common || node.promised < term.stamp {
            steps.push(Step::Replicate(term.stamp, term.log, id));
        }
    }
}

fn of_record(model: &Epochs, world: &World, leader: ReplicaId, steps: &mut Vec<Step>) {
    let (row, scope, used) = (&world.row, &model.scope, &world.used);
    if world.epoch() < scope.epochs {
        steps.push(Step::Seal);
    }
    if used.changes < scope.changes {
        for id in world.ids() {
            let (who, voters) = (replica(id), row.configs.last().voters);
            let comes = !voters.contains(who);
            let Some(next) = toggled(voters, who) else { continue };
            let plant = model.plant == Some(Plant::RemovesTheLeader) && who == leader;
            let allowed = row.change(next).is_ok() || (plant && !row.configs.is_changing());
            if allowed && !(comes && world.node(id).wiped) {
                steps.push(Step::Change(next));
            }
        }
    }
    if used.withdrawals < scope.withdrawals && row.withdraw().is_ok() {
        steps.push(Step::Withdraw);
    }
    let heard = world.confirmations.iter().copied();
    let news = heard.filter(|(_, version)| row.configs.oldest().version < ConfigVersion(u64::from(*version)));
    steps.extend(news.map(|(record, version)| Step::Confirmed(record, version)));
}

fn elections(model: &Epochs, world: &World, steps: &mut Vec<Step>) {
    let row = &world.row;
    let everybody = row.configs.everybody();
    let unsealed = everybody.iter().filter_map(|voter| Id::try_from(voter.0).ok());
    let unsealed = unsealed.filter(|id| world.seals[usize::from(*id)].is_none() && !world.node(*id).wiped);
    steps.extend(unsealed.map(Step::Promise));
    let sealed = |voter: ReplicaId| {
        world.ids().any(|id| replica(id) == voter && world.seals[usize::from(id)].is_some())
    };
    let newest = Configs::new(vec![row.configs.last()]);
    let configs = match newest {
        Some(newest) if model.plant == Some(Plant::AsksOnlyTheNewestSet) => newest,
        _ => row.configs.clone(),
    };
    let mut enough = sees_every_commit(&configs, Some(row.last_leader), sealed);
    if model.plant == Some(Plant::TrustsAnyFormerLeader) {
        enough |= world.ids().any(|id| sealed(replica(id)) && world.node(id).led.record() > 0);
    }
    if !enough {
        return;
    }
    let by_length = model.plant == Some(Plant::PrefersLength);
    let answers: Vec<_> =
        world.ids().filter_map(|id| Some(world.seals[usize::from(id)]?.answer(id))).collect();
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| {
            if by_length {
                thalweg_node::core::replication::Sealed { last: Default::default(), ..answer }
            } else {
                answer
            }
        })
        .collect();
    let best = winners(&row.configs, answers.iter()).filter_map(|answer| Id::try_from(answer.replica.0).ok());
    steps.extend(best.map(Step::Choose));
}

/// How far a leader may commit.
pub(super) fn quorum_of(model: &Epochs, world: &World, leader: Id) -> Option<u8> {
    let node = world.node(leader);
    let configs = node.configs.as_ref()?.as_slice();
    let newest: &[Config] = configs.last().map(std::slice::from_ref).unwrap_or_default();
    let configs = if model.plant == Some(Plant::CommitsByTheNewestSet) { newest } else { configs };
    let without_own = model.plant == Some(Plant::CommitsWithoutOwnDisk);
    let own = if without_own { node.log.len() } else { node.synced };
    let upto = quorum_index(configs, index(own), |voter| match without_own && voter == replica(leader) {
        true => index(own),
        false => held(model, world, leader, voter),
    });
    u8::try_from(upto.0).ok()
}

/// How much of a leader's log it knows this replica to hold on its disk.
fn held(model: &Epochs, world: &World, leader: Id, voter: ReplicaId) -> LogIndex {
    let Ok(id) = Id::try_from(voter.0) else { return LogIndex(0) };
    if id == leader {
        return index(world.node(leader).synced);
    }
    let acknowledged = world.term(leader).map_or(0, |term| term.acknowledged[usize::from(id)]);
    if model.plant == Some(Plant::CountsOldAcknowledgements) {
        // Whatever it holds of this log it acknowledged to somebody.
        return index(acknowledged.max(world.node(id).log.common(&world.node(leader).log)));
    }
    index(acknowledged)
}
