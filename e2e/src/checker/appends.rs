//! Appends against the final log: each where it said, once, whole, or not at all.

use std::collections::HashMap;

use super::log::Log;
use super::violation::{Kind, Violation, report};
use crate::history::{Action, Append, Event, History, MessageId, Outcome, Position, Seen};

/// All attempts at one append (retries carry the same messages).
pub(super) struct Placed<'a> {
    /// What was asked.
    pub(super) append: &'a Append,
    /// Whether it is the content of a new stream.
    pub(super) creates: bool,
    /// Messages before and after it in the log.
    pub(super) range: Option<(usize, usize)>,
    /// When the first attempt that can have had an effect was sent.
    pub(super) call: u64,
    /// When the first acknowledgement was there; never for none.
    pub(super) ret: u64,
}

/// Whether this attempt certainly put nothing into the log.
fn had_no_effect(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Refused(_) | Outcome::Created { new: false, .. })
}

/// What an attempt that did was answered: whether it had happened before, and the state.
fn acknowledged(outcome: Outcome) -> Option<(bool, Seen)> {
    match outcome {
        Outcome::Appended { duplicate, seen } => Some((duplicate, seen)),
        Outcome::Created { new: true, seen } => Some((false, seen)),
        _ => None,
    }
}

struct Attempts<'a> {
    append: &'a Append,
    events: Vec<&'a Event>,
}

/// Checks them all and says where each stands. Mere closures are left to the order.
pub(super) fn check<'a>(history: &'a History, log: &Log, found: &mut Vec<Violation>) -> Vec<Placed<'a>> {
    let attempts = group(history);
    let mut places: HashMap<MessageId, usize> = HashMap::with_capacity(history.end.messages.len());
    let mut known: HashMap<MessageId, u64> = HashMap::new();
    for message in attempts.iter().flat_map(|attempt| &attempt.append.messages) {
        known.insert(message.id, message.bytes);
    }
    for (index, message) in (log.trimmed()..).zip(&history.end.messages) {
        if known.get(&message.id) != Some(&message.bytes) {
            report(found, Kind::Phantom, format!("message {:x} at {index} was never sent so", message.id));
        }
        if let Some(first) = places.insert(message.id, index) {
            report(
                found,
                Kind::Duplicate,
                format!("message {:x} stands at {first} and at {index}", message.id),
            );
        }
    }
    reused_offsets(history, found);
    attempts.iter().map(|attempt| place(attempt, &places, log, found)).collect()
}

fn group(history: &History) -> Vec<Attempts<'_>> {
    let mut attempts: Vec<Attempts<'_>> = Vec::new();
    let mut by_message: HashMap<MessageId, usize> = HashMap::new();
    for event in &history.events {
        let (Action::Append(append) | Action::Create(append)) = &event.action else { continue };
        let Some(first) = append.messages.first() else { continue };
        let slot = *by_message.entry(first.id).or_insert_with(|| {
            attempts.push(Attempts { append, events: Vec::new() });
            attempts.len() - 1
        });
        attempts[slot].events.push(event);
    }
    attempts
}

fn place<'a>(
    attempt: &Attempts<'a>,
    places: &HashMap<MessageId, usize>,
    log: &Log,
    found: &mut Vec<Violation>,
) -> Placed<'a> {
    let (append, events) = (attempt.append, &attempt.events);
    let id = append.messages.first().map_or(0, |message| message.id);
    let indices: Vec<usize> =
        append.messages.iter().filter_map(|message| places.get(&message.id).copied()).collect();
    // Retention may have let the beginning go, then what is left begins where the log does.
    let (trimmed, missing) = (log.trimmed(), append.messages.len() - indices.len());
    let cut = trimmed > 0 && indices.first() == Some(&trimmed);
    let last = append.messages.iter().skip(missing).zip(&indices);
    let tail_of_it = last.clone().all(|(message, index)| places.get(&message.id) == Some(index));
    let whole =
        (missing == 0 || (cut && tail_of_it)) && indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
    let done = || events.iter().filter(|event| acknowledged(event.outcome).is_some());
    let refused = events.iter().all(|event| had_no_effect(event.outcome));
    let range = match (indices.first(), indices.last()) {
        (Some(&first), Some(&last)) => Some((first, last + 1)),
        _ => None,
    };
    if range.is_some() && !whole {
        report(
            found,
            Kind::TornAppend,
            format!("append {id:x} of {} stands at {indices:?}", append.messages.len()),
        );
    }
    let let_go = done()
        .filter_map(|event| acknowledged(event.outcome))
        .any(|(duplicate, seen)| trimmed > 0 && (duplicate || seen.tail.messages <= trimmed as u64));
    if range.is_none() && !let_go && done().count() > 0 {
        report(found, Kind::LostAcknowledged, format!("append {id:x} was acknowledged and is gone"));
    }
    if range.is_some() && refused {
        report(
            found,
            Kind::RefusedButPresent,
            format!("append {id:x} was refused and stands at {indices:?}"),
        );
    }
    if let Some((start, end)) = range {
        for event in events {
            if let Some((duplicate, seen)) = acknowledged(event.outcome) {
                tail_of(id, end, duplicate, seen, log, found);
            }
        }
        if let Some(demanded) = append.if_match
            && missing == 0
            && log.index_of(demanded) != Some(start)
        {
            report(
                found,
                Kind::ConditionIgnored,
                format!("append {id:x} demanded {demanded:?}, stands at {start}"),
            );
        }
    }
    let effective = events.iter().filter(|event| !had_no_effect(event.outcome));
    let call = effective.map(|event| event.call).min();
    Placed {
        append,
        creates: events.iter().any(|event| matches!(event.action, Action::Create(_))),
        range,
        call: call.unwrap_or_else(|| events.iter().map(|event| event.call).min().unwrap_or(0)),
        ret: done().map(|event| event.ret).min().unwrap_or(u64::MAX),
    }
}

/// An append is answered with the end of its own messages; a repeated one with any tail at or behind that.
fn tail_of(id: MessageId, end: usize, duplicate: bool, seen: Seen, log: &Log, found: &mut Vec<Violation>) {
    match log.index_of(seen.tail) {
        Some(index) if index == end || (duplicate && index > end) => {}
        Some(index) => {
            report(found, Kind::WrongTail, format!("append {id:x} ends at {end}, the answer said {index}"));
        }
        None if log.is_beyond(seen.tail) && duplicate => {
            report(found, Kind::BeyondCommitted, format!("the answer to {id:x} shows {:?}", seen.tail));
        }
        None => report(found, Kind::NoBoundary, format!("append {id:x} was answered with {:?}", seen.tail)),
    }
}

fn reused_offsets(history: &History, found: &mut Vec<Violation>) {
    let mut taken: HashMap<Position, MessageId> = HashMap::new();
    for event in &history.events {
        let (Action::Append(append), Outcome::Appended { duplicate: false, seen }) =
            (&event.action, event.outcome)
        else {
            continue;
        };
        let Some(message) = append.messages.first() else { continue };
        if let Some(other) = taken.insert(seen.tail, message.id)
            && other != message.id
        {
            report(
                found,
                Kind::OffsetReuse,
                format!("{:?} was given to {other:x} and to {:x}", seen.tail, message.id),
            );
        }
    }
}
