//! Retention: nothing goes that was to be kept, what is gone stays gone, and the border never moves back.

use super::violation::{Kind, Violation, report};
use crate::history::{Action, History, Keep, Kept, Outcome, Position, Refusal};

/// Checks what answers said, and the refusals.
pub(super) fn check(history: &History, found: &mut Vec<Violation>) {
    let bytes = history.end.messages.iter().map(|message| message.bytes);
    let tail = Position {
        messages: history.end.trimmed.messages + history.end.messages.len() as u64,
        bytes: history.end.trimmed.bytes + bytes.sum::<u64>(),
    };
    let last = Kept { call: u64::MAX, ret: u64::MAX, earliest: history.end.trimmed, tail };
    for kept in history.kept.iter().chain([&last]) {
        if lacks(history, kept) {
            report(found, Kind::KeptTooLittle, format!("{:?} is kept of {kept:?}", history.terms.keep));
        }
    }
    let border = Border::new(history, last);
    for kept in history.kept.iter().chain([&last]).filter(|kept| kept.earliest < border.at(kept.call)) {
        report(found, Kind::Untrimmed, format!("{kept:?} after {:?}", border.at(kept.call)));
    }
    for event in &history.events {
        match event.outcome {
            Outcome::Read(content) if content.count > 0 => border.read(event.call, &event.action, found),
            Outcome::Refused(Refusal::Trimmed(_)) => border.refused(&event.action, found),
            _ => {}
        }
    }
}

/// Whether less is kept than the stream was created to keep.
fn lacks(history: &History, kept: &Kept) -> bool {
    let Kept { earliest, tail, .. } = kept;
    let sent = history.events.iter().filter_map(|event| event.action.append());
    let largest = || sent.flat_map(|append| &append.messages).map(|message| message.bytes).max().unwrap_or(0);
    match history.terms.keep {
        Keep::All => earliest.messages > 0,
        Keep::Messages(count) => {
            tail.messages - earliest.messages.min(tail.messages) < count.min(tail.messages)
        }
        Keep::Bytes(bytes) => {
            let here = tail.bytes - earliest.bytes.min(tail.bytes);
            here + largest() < bytes.min(tail.bytes)
        }
    }
}

/// The earliest offset, as answers showed it over time.
struct Border {
    /// By the time at which the answer was there; each with the furthest border until then.
    shown: Vec<(u64, Position)>,
    last: Position,
}

impl Border {
    fn new(history: &History, last: Kept) -> Self {
        let mut shown: Vec<(u64, Position)> =
            history.kept.iter().map(|kept| (kept.ret, kept.earliest)).collect();
        shown.sort_unstable();
        let mut furthest = Position::default();
        for (_, earliest) in &mut shown {
            furthest = furthest.max(*earliest);
            *earliest = furthest;
        }
        Self { shown, last: last.earliest }
    }

    /// The border that everybody must have known who asked at `call`.
    fn at(&self, call: u64) -> Position {
        let before = self.shown.partition_point(|(ret, _)| *ret < call);
        before
            .checked_sub(1)
            .and_then(|at| self.shown.get(at))
            .map_or(Position::default(), |(_, border)| *border)
    }

    fn read(&self, call: u64, action: &Action, found: &mut Vec<Violation>) {
        let Action::Read { from } = action else { return };
        if *from < self.at(call) {
            report(found, Kind::Untrimmed, format!("read from {from:?}, which was gone before"));
        }
    }

    fn refused(&self, action: &Action, found: &mut Vec<Violation>) {
        let Action::Read { from } = action else { return };
        if *from >= self.last {
            report(
                found,
                Kind::TrimmedTooEarly,
                format!("{from:?} was refused as gone and is there in the end"),
            );
        }
    }
}
