//! Idempotent producers, `Stream-Seq` and conditions: what the log shows, and which refusals were right.

use std::collections::HashMap;

use super::appends::Placed;
use super::violation::{Kind, Violation, report};
use crate::history::{Action, Append, Event, History, Outcome, Refusal, Stamp};

/// Checks them all.
pub(super) fn check(history: &History, placed: &[Placed<'_>], found: &mut Vec<Violation>) {
    let mut present: Vec<&Placed<'_>> = placed.iter().filter(|append| append.range.is_some()).collect();
    present.sort_by_key(|append| append.range);
    let trimmed = history.end.trimmed.messages > 0;
    stamps_have_no_gap(&present, trimmed, found);
    numbers_rise(&present, found);
    let refusals = Refusals::new(&present, trimmed);
    for event in &history.events {
        if let (Action::Append(append), Outcome::Refused(refusal)) = (&event.action, event.outcome) {
            refusals.check(event, append, refusal, found);
        }
    }
}

fn stamps_have_no_gap(present: &[&Placed<'_>], trimmed: bool, found: &mut Vec<Violation>) {
    let mut last: HashMap<u32, Stamp> = HashMap::new();
    for stamp in present.iter().filter_map(|append| append.append.stamp) {
        let follows = match last.get(&stamp.producer) {
            // The first ones may have gone.
            None => trimmed || stamp.seq == 0,
            Some(before) if before.epoch == stamp.epoch => stamp.seq == before.seq + 1,
            Some(before) => stamp.epoch > before.epoch && stamp.seq == 0,
        };
        if !follows {
            let before = last.get(&stamp.producer);
            report(found, Kind::ProducerOrder, format!("{stamp:?} stands in the log behind {before:?}"));
        }
        last.insert(stamp.producer, stamp);
    }
}

fn numbers_rise(present: &[&Placed<'_>], found: &mut Vec<Violation>) {
    let mut last = None;
    for number in present.iter().filter_map(|append| append.append.seq) {
        if last.is_some_and(|last| number <= last) {
            report(found, Kind::SeqOrder, format!("Stream-Seq {number} stands behind {last:?}"));
        }
        last = Some(number);
    }
}

/// A stamp in the log.
struct Sent {
    stamp: Stamp,
    /// When it was sent first.
    call: u64,
    /// When it was acknowledged; never for none.
    ret: u64,
}

/// What can justify a refusal.
struct Refusals {
    /// Per producer: its stamps that are in the log.
    stamps: HashMap<u32, Vec<Sent>>,
    /// Numbers, falling, with the earliest time at which one that great or greater was sent.
    numbers: Vec<(u64, u64)>,
    /// Retention let some of them go.
    trimmed: bool,
}

impl Refusals {
    fn new(present: &[&Placed<'_>], trimmed: bool) -> Self {
        let mut stamps: HashMap<u32, Vec<Sent>> = HashMap::new();
        let mut numbers: Vec<(u64, u64)> = Vec::new();
        for append in present {
            if let Some(stamp) = append.append.stamp {
                let sent = Sent { stamp, call: append.call, ret: append.ret };
                stamps.entry(stamp.producer).or_default().push(sent);
            }
            if let Some(number) = append.append.seq {
                numbers.push((number, append.call));
            }
        }
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let mut earliest = u64::MAX;
        for (_, call) in &mut numbers {
            earliest = earliest.min(*call);
            *call = earliest;
        }
        Self { stamps, numbers, trimmed }
    }

    fn check(&self, event: &Event, append: &Append, refusal: Refusal, found: &mut Vec<Violation>) {
        match (refusal, append.stamp, append.seq) {
            (Refusal::Gap(_) | Refusal::Fenced, Some(stamp), _) if self.is_next(stamp, event.call) => {
                report(found, Kind::ProducerRefused, format!("{stamp:?} was next and got {refusal:?}"));
            }
            (Refusal::EpochStart, Some(stamp), _) if !self.skips_a_beginning(stamp, event.call) => {
                report(
                    found,
                    Kind::ProducerRefused,
                    format!("{stamp:?} was told to begin its epoch, which it had or did"),
                );
            }
            (Refusal::StreamSeq, _, Some(number)) if !self.trimmed => {
                let greater = self.numbers.partition_point(|(other, _)| *other >= number);
                let first = greater.checked_sub(1).and_then(|last| self.numbers.get(last));
                if first.is_none_or(|(_, call)| *call > event.ret) {
                    report(
                        found,
                        Kind::SeqRefused,
                        format!("Stream-Seq {number} was refused, none was as great"),
                    );
                }
            }
            (Refusal::TailMoved(Some(tail)), _, _) if append.if_match == Some(tail) => {
                report(
                    found,
                    Kind::ConditionRefused,
                    format!("If-Match {tail:?} was refused with that tail"),
                );
            }
            _ => {}
        }
    }

    /// Whether the stamp was the one that its producer had to send, or one before it. A producer's requests do not
    /// overlap, so what it had sent before is what the server knew, but for what was never decided.
    fn is_next(&self, stamp: Stamp, call: u64) -> bool {
        let before = self.of(stamp.producer).filter(|sent| sent.call < call);
        let last = before.map(|sent| sent.stamp).max();
        match last {
            None => stamp.seq == 0,
            Some(last) if last.epoch == stamp.epoch => stamp.seq <= last.seq + 1,
            Some(last) => stamp.epoch > last.epoch && stamp.seq == 0,
        }
    }

    /// Whether the stamp leaves out the beginning of an epoch that nothing acknowledged is in or beyond.
    fn skips_a_beginning(&self, stamp: Stamp, call: u64) -> bool {
        let known = |sent: &Sent| sent.ret < call && sent.stamp.epoch >= stamp.epoch;
        stamp.seq > 0 && !self.of(stamp.producer).any(known)
    }

    fn of(&self, producer: u32) -> impl Iterator<Item = &Sent> {
        self.stamps.get(&producer).into_iter().flatten()
    }
}
