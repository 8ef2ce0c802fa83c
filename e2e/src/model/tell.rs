//! The steps of a way to a loss, in words that a person can follow.

use super::log::Log;
use super::sets::Mask;
use super::step::Step;
use super::twins::Names;
use super::world::{Id, Loss, World};

/// What happens, told by the states before and after; `names` is what the replicas are called in the telling.
#[must_use]
pub(super) fn step(before: &World, after: &World, step: Step, names: Names) -> String {
    let who = |id: Id| format!("replica {}", names[usize::from(id)]);
    let end = |id: Id| after.node(id).log.len();
    match step {
        Step::Write(id) => {
            format!("{}, leader of {}, writes {}", who(id), epoch(before, id), entry(after, id))
        }
        Step::Sync(id) => format!("{} syncs its log up to entry {}", who(id), end(id)),
        Step::Replicate(term, to) => arrival(before, after, usize::from(term), (to, who(to))),
        Step::Commit(id) => {
            format!("{} commits up to entry {} in {}", who(id), after.node(id).committed, epoch(before, id))
        }
        Step::Crash(id) => {
            format!("{} restarts{}", who(id), lost_tail(before.node(id).log, after.node(id).log))
        }
        Step::Resume(id) => {
            format!("{} goes on by itself in {} with {}", who(id), epoch(after, id), entry(after, id))
        }
        Step::Seal => format!("the record begins epoch {} without a leader", after.row.epoch),
        Step::Promise(id) => {
            let seal = after.seals[usize::from(id)];
            let has = match seal.map(|seal| (seal.end, seal.last)) {
                Some((end @ 1.., last)) => format!("entries up to {end} of epoch {last}"),
                _ => "nothing".to_owned(),
            };
            format!("{} is sealed and has {has} on its disk", who(id))
        }
        Step::Choose(id) => {
            format!(
                "the record makes {} the leader of epoch {}; {}",
                who(id),
                after.row.epoch,
                listed(after, names)
            )
        }
        Step::Lead(place) => {
            let to = before.orders.get(usize::from(place)).map_or(0, |order| order.to);
            format!(
                "{} hears that it leads, and begins {} with {}",
                who(to),
                epoch(after, to),
                entry(after, to)
            )
        }
        Step::Change(id) if votes(after, id) => {
            format!("the record makes {} a voter; {}", who(id), listed(after, names))
        }
        Step::Change(id) => {
            format!("the record takes {} out of the voters; {}", who(id), listed(after, names))
        }
        Step::Withdraw => format!("the record takes the change back; {}", listed(after, names)),
        Step::Hear(id, _) => {
            format!(
                "{} hears of set {} and writes {}",
                who(id),
                after.node(id).sets.newest(),
                entry(after, id)
            )
        }
        Step::Confirm(id, version) => format!("{} lets set {version} stand alone", who(id)),
        Step::Confirmed(version) => {
            format!("the record hears that set {version} stands alone; {}", listed(after, names))
        }
        Step::Wipe(id) => format!("{} loses its disk", who(id)),
        Step::Read(id) => {
            let read = after.read.map_or((0, 0), |read| (read.least, read.index));
            format!(
                "a read begins when {} entries are committed; {} will answer with {}",
                read.0,
                who(id),
                read.1
            )
        }
        Step::Answer(id) => format!("{} confirms to the leader of the read that it leads", who(id)),
        Step::Return => "the read is answered".to_owned(),
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

fn arrival(before: &World, after: &World, term: usize, (to, who): (Id, String)) -> String {
    let stamp = before.terms.get(term).map(|term| term.stamp).unwrap_or_default();
    let (old, new) = (before.node(to), after.node(to));
    if new.log.len() < old.log.len() {
        return format!("{who} follows epoch {stamp} and cuts its log behind entry {}", new.log.len());
    }
    if new.log == old.log {
        return format!("{who} follows epoch {stamp} and acknowledges up to entry {}", new.synced);
    }
    format!("{who} follows epoch {stamp}, takes and acknowledges {}", entry(after, to))
}

fn epoch(world: &World, leader: Id) -> String {
    format!("epoch {}", world.node(leader).led)
}

/// The last entry of a replica.
fn entry(world: &World, id: Id) -> String {
    let log = world.node(id).log;
    let kind =
        log.kind(log.len()).map_or(String::new(), |kind| format!("{kind} of epoch {}", log.stamp(log.len())));
    format!("entry {} ({kind})", log.len())
}

fn lost_tail(before: Log, after: Log) -> String {
    match before.len() - after.len() {
        0 => String::new(),
        _ => format!(" and loses what lies behind entry {}", after.len()),
    }
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
