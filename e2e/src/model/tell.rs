//! The steps of a way to a loss, in words that a person can follow.

use super::log::Log;
use super::sets::Mask;
use super::step::Step;
use super::twins::Names;
use super::world::{Id, Loss, World};

/// What happens, told by the states before and after; `names` is what the replicas are called in the telling.
#[must_use]
pub(super) fn step(before: &World, after: &World, step: Step, names: Names) -> String {
    match step {
        Step::Seal | Step::Choose(_) | Step::Change(_) | Step::Withdraw | Step::Confirmed(_) => {
            format!("the record {}; {}", of_record(after, step, names), listed(after, names))
        }
        Step::Return => "the read is answered".to_owned(),
        _ => {
            let id = whose(before, step);
            format!("{} {}", name(names, id), of_replica(before, after, step, id))
        }
    }
}

fn of_record(after: &World, step: Step, names: Names) -> String {
    match step {
        Step::Choose(id) => format!("makes {} the leader of epoch {}", name(names, id), after.row.epoch),
        Step::Change(id) if votes(after, id) => format!("makes {} a voter", name(names, id)),
        Step::Change(id) => format!("takes {} out of the voters", name(names, id)),
        Step::Withdraw => "takes the change back".to_owned(),
        Step::Confirmed(version) => format!("hears that set {version} stands alone"),
        _ => format!("begins epoch {} without a leader", after.row.epoch),
    }
}

/// The replica that does it, or to which it happens.
fn whose(before: &World, step: Step) -> Id {
    match step {
        Step::Lead(place) => before.orders.get(usize::from(place)).map_or(0, |order| order.to),
        Step::Write(id) | Step::Sync(id) | Step::Replicate(_, id) | Step::Commit(id) | Step::Crash(id) => id,
        Step::Resume(id) | Step::Promise(id) | Step::Hear(id, _) | Step::Confirm(id, _) => id,
        Step::Wipe(id) | Step::Read(id) | Step::Answer(id) | Step::Choose(id) | Step::Change(id) => id,
        Step::Seal | Step::Withdraw | Step::Confirmed(_) | Step::Return => before.row.last_leader,
    }
}

fn of_replica(before: &World, after: &World, step: Step, id: Id) -> String {
    let (old, new) = (before.node(id), after.node(id));
    let entry = last_entry(new.log);
    match step {
        Step::Write(_) => format!("leads in epoch {} and writes {entry}", new.led),
        Step::Sync(_) => format!("syncs its log up to entry {}", new.synced),
        Step::Replicate(term, _) => arrival(before, after, usize::from(term), id),
        Step::Commit(_) => format!("commits up to entry {} in epoch {}", new.committed, new.led),
        Step::Crash(_) if new.log == old.log => "restarts".to_owned(),
        Step::Crash(_) => format!("restarts and loses what lies behind entry {}", new.log.len()),
        Step::Resume(_) => format!("goes on by itself in epoch {} with {entry}", new.led),
        Step::Promise(_) => match after.seals[usize::from(id)].map(|seal| (seal.end, seal.last)) {
            Some((end @ 1.., last)) => {
                format!("is sealed and has entries up to {end} of epoch {last} on its disk")
            }
            _ => "is sealed and has nothing on its disk".to_owned(),
        },
        Step::Lead(_) => format!("hears that it leads, and begins epoch {} with {entry}", new.led),
        Step::Hear(..) => format!("hears of set {} and writes {entry}", new.sets.newest()),
        Step::Confirm(_, version) => format!("lets set {version} stand alone"),
        Step::Wipe(_) => "loses its disk".to_owned(),
        Step::Read(_) => {
            let (index, least) = after.read.map_or((0, 0), |read| (read.index, read.least));
            format!("begins a read of the first {index} entries when {least} are committed")
        }
        _ => "confirms to the leader of the read that it leads".to_owned(),
    }
}

/// What was lost.
#[must_use]
pub(super) fn loss(loss: Loss) -> &'static str {
    match loss {
        Loss::Replaced => "LOST: another entry was committed in the place of one that was",
        Loss::LeaderLacks => "LOST: this leader lacks an entry that was committed",
        Loss::TooLate => "LOST: this was committed although a later leader began without it",
        Loss::StaleRead => "LOST: the read misses what was committed before it began",
    }
}

fn arrival(before: &World, after: &World, term: usize, to: Id) -> String {
    let stamp = before.terms.get(term).map(|term| term.stamp).unwrap_or_default();
    let (old, new) = (before.node(to), after.node(to));
    if new.log.len() < old.log.len() {
        return format!("follows epoch {stamp} and cuts its log behind entry {}", new.log.len());
    }
    if new.log == old.log {
        return format!("follows epoch {stamp} and acknowledges up to entry {}", new.synced);
    }
    format!("follows epoch {stamp}, takes and acknowledges {}", last_entry(new.log))
}

fn name(names: Names, id: Id) -> String {
    format!("replica {}", names[usize::from(id)])
}

fn last_entry(log: Log) -> String {
    let end = log.len();
    let kind = log.kind(end).map_or(String::new(), |kind| format!(" ({kind} of epoch {})", log.stamp(end)));
    format!("entry {end}{kind}")
}

/// Whether a replica is in the newest set of the record.
fn votes(world: &World, id: Id) -> bool {
    world.row.sets.masks().iter().rfind(|mask| **mask != 0).is_some_and(|mask| mask >> id & 1 == 1)
}

/// The sets of the record, their members by name.
fn listed(world: &World, names: Names) -> String {
    let members = |mask: Mask| {
        let mut members: Vec<Id> =
            (0..).zip(names).filter(|(id, _)| mask >> id & 1 == 1).map(|(_, name)| name).collect();
        members.sort_unstable();
        format!("{members:?}")
    };
    let masks = world.row.sets.masks();
    let sets: Vec<String> = masks.into_iter().take_while(|mask| *mask != 0).map(members).collect();
    format!("voters: {}", sets.join(" and "))
}
