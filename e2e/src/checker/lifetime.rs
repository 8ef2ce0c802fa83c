//! Streams that end by themselves: when that may be at the earliest, and when it must be at the latest.

use crate::history::{Action, Event, History, Lifetime, Outcome};

/// The server's clock and the stopwatch began at different moments and count milliseconds.
const TOLERANCE_NS: u64 = 20_000_000;

/// The interval in which the end lies.
pub(super) struct End {
    pub(super) call: u64,
    pub(super) ret: u64,
}

/// When the stream ended, if it was to end by itself. It is judged as a deletion in that interval: whoever was told that
/// it is gone before, or was shown it afterwards, was told wrong.
pub(super) fn end(history: &History) -> Option<End> {
    match history.terms.lifetime {
        Lifetime::Forever => None,
        Lifetime::Until(at) => Some(End {
            call: at.saturating_sub(TOLERANCE_NS),
            ret: at.saturating_add(TOLERANCE_NS).saturating_add(history.terms.late),
        }),
        Lifetime::Sliding(window) => {
            // A start forgets reads and begins the window afresh, so it may end late, but never early.
            let touched = history.events.iter().filter(|event| touches(event)).map(|event| event.call).max();
            Some(End { call: (touched? + window).saturating_sub(TOLERANCE_NS), ret: u64::MAX })
        }
    }
}

/// Whether it certainly began the window anew.
fn touches(event: &Event) -> bool {
    match event.outcome {
        Outcome::Created { new, .. } => new,
        Outcome::Appended { duplicate, .. } => !duplicate,
        Outcome::Read(_) => matches!(event.action, Action::Read { .. }),
        _ => false,
    }
}
