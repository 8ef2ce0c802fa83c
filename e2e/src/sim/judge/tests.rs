//! The judge and a search that simply tries every order agree on short histories, right and wrong.

use std::collections::HashSet;

use thalweg_node::codec::op::encode_ops;
use thalweg_node::codec::record::RecordKind;
use thalweg_node::core::replication::Entry;
use thalweg_node::types::{
    AppendOp, Epoch, LogIndex, Messages, Offset, StreamConfig, StreamId, StreamMeta, UnixMillis,
};

use super::judge;
use crate::dice::Dice;
use crate::sim::client::{Asked, Deed, Op};
use crate::sim::desk::name_of;
use crate::sim::ledger::Ledger;
use crate::sim::log::Log;

/// So many histories are drawn, and so many of them are to be right, and wrong.
const HISTORIES: u64 = 20_000;
const OF_EACH: usize = 2_000;

/// Writes in the order of the final log, and what clients saw.
#[derive(Debug, Clone)]
struct History {
    ops: Vec<Asked>,
    log: Vec<usize>,
}

fn log_of(writes: &[usize]) -> Log {
    let (mut log, mut tail) = (Log::default(), Offset::ZERO);
    for write in writes {
        let mut ops = Vec::new();
        if log.end() == LogIndex(0) {
            ops.push(thalweg_node::types::Op::Create(Box::new(stream())));
        }
        let messages = Messages::single((*write as u64).to_le_bytes().to_vec().into()).unwrap();
        let (start, at) = (tail, UnixMillis(0));
        tail = messages.end(start);
        let append =
            AppendOp { stream: StreamId(0), start, messages, close: false, producer: None, seq: None, at };
        ops.push(thalweg_node::types::Op::Append(append));
        let mut payload = Vec::new();
        encode_ops(&ops, &mut payload, &mut Vec::new());
        let entry = Entry { kind: RecordKind::Batch, epoch: Epoch::default(), payload: payload.into() };
        log.push(entry, usize::MAX);
    }
    log
}

fn stream() -> StreamMeta {
    StreamMeta {
        id: StreamId(0),
        name: name_of(0, 0).unwrap(),
        config: StreamConfig::default(),
        created_at: UnixMillis(0),
        touched_at: UnixMillis(0),
        base: Offset::ZERO,
        earliest: Offset::ZERO,
        tail: Offset::ZERO,
        closed: false,
        closed_by: None,
        last_seq: None,
        parent: None,
        pins: 0,
        retired: false,
    }
}

fn shown(writes: &[usize]) -> Op {
    let log = log_of(writes);
    Op::Done(log.end(), log.chain())
}

/// What the judge says.
fn is_judged_right(history: &History) -> bool {
    let (mut ledger, log) = (Ledger::default(), log_of(&history.log));
    ledger.committed(&log, log.end()).unwrap();
    judge((0..).zip(&history.ops), &ledger).is_ok()
}

/// Whether some order explains everything: each operation at a moment between its beginning and its end.
fn is_explainable(history: &History) -> bool {
    fn step(
        history: &History,
        done: u32,
        log: &mut Vec<usize>,
        been: &mut HashSet<(u32, Vec<usize>)>,
    ) -> bool {
        let waiting: Vec<usize> = (0..history.ops.len()).filter(|op| done & (1 << op) == 0).collect();
        let is_known = |op: &usize| matches!(history.ops[*op].outcome, Op::Done(..) | Op::Again(_));
        if !waiting.iter().any(is_known) && *log == history.log {
            return true;
        }
        if !been.insert((done, log.clone())) {
            return false;
        }
        let ends = waiting.iter().filter(|op| is_known(op)).filter_map(|op| history.ops[*op].ended);
        let deadline = ends.min().unwrap_or(u64::MAX);
        for op in waiting {
            let asked = &history.ops[op];
            if asked.begun > deadline || asked.outcome == Op::Refused || (!asked.is_write() && !is_known(&op))
            {
                continue;
            }
            if asked.is_write() {
                log.push(op);
            }
            let fits = match asked.outcome {
                // A write is told where it is; what lies behind it later is another matter.
                Op::Done(..) => asked.outcome == shown(log),
                // And one that was done before lies no later than what was looked at.
                Op::Again(upto) => LogIndex(log.len() as u64) <= upto,
                _ => true,
            };
            if fits && step(history, done | 1 << op, log, been) {
                return true;
            }
            if asked.is_write() {
                log.pop();
            }
        }
        false
    }
    step(history, 0, &mut Vec::new(), &mut HashSet::new())
}

/// Three clients and a correct shard; some answers are lost, before the deed or after it.
fn correct(dice: &mut Dice, count: usize) -> History {
    let (mut ops, mut log) = (Vec::<Asked>::new(), Vec::new());
    let mut under_way: [Option<(usize, Option<Op>)>; 3] = [None; 3];
    let mut now = 0;
    while ops.len() < count || under_way.iter().any(Option::is_some) {
        now += dice.below(2);
        let client = usize::try_from(dice.below(3)).unwrap();
        match &mut under_way[client] {
            None if ops.len() < count => {
                let write = Deed::Append { stream: 0, stamp: None };
                let deed = if dice.once_in(3) { Deed::Read } else { write };
                under_way[client] = Some((ops.len(), None));
                ops.push(Asked::new(client, 0, deed, now));
            }
            None => {}
            Some((op, outcome)) if outcome.is_none() && !dice.once_in(10) => {
                if ops[*op].is_write() {
                    log.push(*op);
                }
                *outcome = Some(shown(&log));
            }
            Some((op, outcome)) => {
                let lost = if outcome.is_none() && dice.once_in(2) { Op::Refused } else { Op::Unknown };
                let again = outcome.is_some() && ops[*op].is_write() && dice.once_in(6);
                let outcome =
                    outcome.map(|done| if again { Op::Again(LogIndex(log.len() as u64)) } else { done });
                let outcome = outcome.filter(|_| !dice.once_in(6)).unwrap_or(lost);
                (ops[*op].outcome, ops[*op].ended) = (outcome, Some(now));
                under_way[client] = None;
            }
        }
    }
    // A write that was done is never called refused.
    for (id, op) in ops.iter_mut().enumerate() {
        if op.outcome == Op::Refused && log.contains(&id) {
            op.outcome = Op::Unknown;
        }
    }
    History { ops, log }
}

/// Changes one thing. It may stay explainable.
fn bend(dice: &mut Dice, history: &mut History) {
    let place = |dice: &mut Dice, count: usize| usize::try_from(dice.below(count as u64)).unwrap();
    let (one, two) = (place(dice, history.ops.len()), place(dice, history.ops.len()));
    let upto = place(dice, history.log.len() + 1);
    let other = history.ops[two].clone();
    let op = &mut history.ops[one];
    match dice.below(8) {
        0 => (op.begun, op.ended) = (other.begun, other.ended),
        1 => op.outcome = Op::Unknown,
        2 => op.outcome = Op::Refused,
        3 if matches!(op.outcome, Op::Done(..)) => op.outcome = shown(&history.log[..upto]),
        7 if op.is_write() => op.outcome = Op::Again(LogIndex(upto as u64)),
        4 if !history.log.is_empty() => drop(history.log.remove(upto.min(history.log.len() - 1))),
        5 if history.log.len() > 1 => {
            let at = upto.min(history.log.len() - 2);
            history.log.swap(at, at + 1);
        }
        _ if op.is_write() || !matches!(other.outcome, Op::Again(_)) => op.outcome = other.outcome,
        _ => {}
    }
}

#[test]
fn the_judge_and_a_search_agree() {
    let (mut right, mut wrong) = (0, 0);
    for seed in 0..HISTORIES {
        let mut dice = Dice::new(seed);
        let count = 2 + usize::try_from(dice.below(9)).unwrap();
        let mut history = correct(&mut dice, count);
        assert!(is_explainable(&history), "the search refuses a correct history: {history:#?}");
        for _ in 0..dice.below(4) {
            bend(&mut dice, &mut history);
        }
        let explainable = is_explainable(&history);
        assert_eq!(is_judged_right(&history), explainable, "seed {seed}: {history:#?}");
        *if explainable { &mut right } else { &mut wrong } += 1;
    }
    assert!(right > OF_EACH && wrong > OF_EACH, "{right} right, {wrong} wrong");
}
