//! Judges the history of one shard against its final log, in O(n log n): acknowledged writes are there, once in a stream however
//! often they were asked for, at their place, in real-time order; refused ones are not; each read shows a prefix that holds everything acknowledged before
//! it began, and no read shows less than one that ended before.

use std::collections::BTreeMap;

use thalweg_node::types::{LogIndex, StreamId};

use super::client::{Asked, Deed, Op};
use super::ledger::Ledger;
use super::queue::Micros;

/// What is wrong with a history, if anything is.
pub(super) fn judge<'a>(ops: impl Iterator<Item = (u64, &'a Asked)>, ledger: &Ledger) -> Result<(), String> {
    let mut places = BTreeMap::new();
    for (index, (stream, op)) in ledger.ops() {
        if let Some(first) = places.insert((op, stream), index) {
            return Err(format!("write {op} is in the log twice, at {first} and {index}"));
        }
    }
    let mut writes = Vec::new();
    let mut shown = Vec::new();
    for (id, op) in ops {
        // More than one if the stream was deleted meanwhile and is another one now.
        let places = places.range((id, StreamId(0))..=(id, StreamId(u64::MAX))).map(|(_, index)| *index);
        let place = match op.outcome {
            Op::Done(index, _) => places.clone().find(|place| *place == index).or(places.clone().next()),
            Op::Again(upto) => places.clone().rfind(|place| *place <= upto),
            _ => places.clone().next(),
        };
        match (op.is_write(), op.outcome) {
            (true, Op::Done(index, chain))
                if ledger.chain_at(index) == Some(chain) && place == Some(index) => {}
            (true, Op::Done(index, _)) => {
                return Err(format!("write {id}, acknowledged at {index}, is at {place:?} in the final log"));
            }
            (true, Op::Again(upto)) if place.is_none() => {
                return Err(format!(
                    "write {id} is called a duplicate, but is not in the final log up to {upto}"
                ));
            }
            (true, Op::Refused | Op::Absent(_) | Op::OutOfStep(_)) if place.is_some() => {
                return Err(format!("write {id} was refused and is in the final log at {place:?}"));
            }
            (false, Op::Done(index, chain)) if ledger.chain_at(index) != Some(chain) => {
                return Err(format!("{id} shows {index} entries that are not the final log's"));
            }
            (false, Op::Done(index, _)) if op.deed == Deed::Read => {
                shown.push((op.begun, op.ended, index, id));
            }
            _ => {}
        }
        for index in places.filter(|_| op.is_write()) {
            let known = matches!(op.outcome, Op::Done(..) | Op::Again(_)) && place == Some(index);
            writes.push((index, op.begun, op.ended.filter(|_| known), id));
        }
    }
    writes.sort_unstable();
    in_order(&writes)?;
    reads_show(&writes, &shown)
}

/// No write is behind one that began after it ended.
fn in_order(writes: &[(LogIndex, Micros, Option<Micros>, u64)]) -> Result<(), String> {
    let mut earliest = None;
    for (_, begun, ended, id) in writes.iter().rev() {
        if let Some((end, later)) = earliest
            && end < *begun
        {
            return Err(format!("write {later} ended before write {id} began, but lies behind it"));
        }
        let this = ended.map(|end| (end, *id));
        earliest = match (earliest, this) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    Ok(())
}

/// Reads show what was acknowledged, or shown, before they began, and nothing that began after they ended.
fn reads_show(
    writes: &[(LogIndex, Micros, Option<Micros>, u64)],
    shown: &[(Micros, Option<Micros>, LogIndex, u64)],
) -> Result<(), String> {
    let acknowledged = writes.iter().filter_map(|(index, _, ended, id)| Some(((*ended)?, *index, *id)));
    let mut known: Vec<(Micros, LogIndex, u64)> = acknowledged
        .chain(shown.iter().filter_map(|(_, ended, index, id)| Some(((*ended)?, *index, *id))))
        .collect();
    known.sort_unstable();
    let mut most: Vec<(Micros, LogIndex, u64)> = Vec::with_capacity(known.len());
    for (ended, index, id) in known {
        let (best, by) = most.last().map_or((index, id), |(_, best, by)| (index, id).max((*best, *by)));
        most.push((ended, best, by));
    }
    let mut begins: Vec<Micros> = Vec::with_capacity(writes.len());
    for (_, begun, _, _) in writes {
        begins.push(begins.last().map_or(*begun, |latest| *begun.max(latest)));
    }
    for (begun, ended, upto, id) in shown {
        let before = most.partition_point(|(end, _, _)| end < begun);
        if let Some((_, least, by)) = before.checked_sub(1).map(|place| most[place])
            && least > *upto
        {
            return Err(format!("read {id} shows {upto} entries, but {by} was answered with {least} before"));
        }
        let within = writes.partition_point(|(index, ..)| index <= upto);
        if let (Some(latest), Some(ended)) = (within.checked_sub(1).map(|place| begins[place]), ended)
            && latest > *ended
        {
            return Err(format!("read {id} shows a write that began after it ended"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
