//! What is to be done about a subscription, told from its committed state alone.

use super::index::Entry;
use crate::types::{Delivery, Grant, Phase, Stage, UnixMillis};

/// Something to do about one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Shards are to be told, or links to be swept.
    Repair,
    /// A lease has run out.
    Expire,
    /// Something is pending and no wake is in flight, or the one that is was lost with whoever announced it.
    Wake { lost: bool },
    /// Nothing is pending any more behind a wake that nobody claimed.
    Withdraw(Grant),
}

/// What is to be done now, or when to look again.
pub(super) fn work_of(entry: &Entry, now: UnixMillis) -> Result<Work, Option<UnixMillis>> {
    if entry.parked {
        return Err(None);
    }
    let Some(subscription) = &entry.subscription else { return Ok(Work::Repair) };
    if subscription.stage != Stage::Serving || entry.unheard {
        return Ok(Work::Repair);
    }
    let pending = !entry.pending.is_empty();
    match (&subscription.phase, subscription.grant()) {
        (Phase::Leased { until, .. }, _) if *until <= now => Ok(Work::Expire),
        (Phase::Announced { .. }, Some(grant)) => {
            let pull = matches!(subscription.definition.delivery, Delivery::Pull { .. });
            let lost = entry.announced != Some(grant);
            match (pending, lost) {
                (true, true) => Ok(Work::Wake { lost }),
                (false, true) => Ok(Work::Withdraw(grant)),
                (false, false) if pull => Ok(Work::Withdraw(grant)),
                _ => Err(None),
            }
        }
        (Phase::Idle, _) if pending && (subscription.failures == 0 || subscription.retry_at <= now) => {
            Ok(Work::Wake { lost: false })
        }
        (Phase::Idle, _) if !pending => Err(None),
        _ => Err(subscription.deadline()),
    }
}
