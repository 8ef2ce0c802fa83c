//! Whether a shard that was sound at start is served, and who says that it is not.
//!
//! Invariant: everybody takes back only its own refusal. What is damaged is refused until other tables are there, whatever else comes
//! to an end meanwhile; what was emptied, until everything is there again that was ever shown.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Failure;
use crate::types::{LogIndex, ShardId};

/// What a client is told while a shard gets back what was damaged.
const REPAIRING: &str = "its tables were damaged, and it gets from its leader what they held";
/// What a client is told while other tables take the place of a shard's own.
const REPLACING: &str = "a leader's snapshot takes the place of its tables";

/// Who refuses, and why.
#[derive(Debug, Default)]
struct Refusals {
    /// Until the next start, or until the tables were emptied.
    damaged: Option<Arc<str>>,
    /// The tables were emptied, and readers had seen everything up to here.
    emptied: Option<LogIndex>,
    /// The applier, while it opens the tables again.
    reopening: Option<Arc<str>>,
    /// The lane, until it has begun again with other tables.
    is_replacing: bool,
}

/// Whether a shard is served.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Whether anybody refuses: all that the fast path looks at.
    is_refused: AtomicBool,
    refusals: Mutex<Refusals>,
}

impl Health {
    /// Why nothing is served at the moment, if so.
    pub(super) fn check(&self, shard: ShardId) -> Result<(), Failure> {
        if !self.is_refused.load(Ordering::Acquire) {
            return Ok(());
        }
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = refusals.damaged.clone() {
            return Err(Failure::ShardDamaged { shard, reason });
        }
        let replacing = || refusals.is_replacing.then(|| REPLACING.into());
        let emptied = || refusals.emptied.map(|_| REPAIRING.into());
        match refusals.reopening.clone().or_else(replacing).or_else(emptied) {
            Some(reason) => Err(Failure::ShardReopening { shard, reason }),
            None => Ok(()),
        }
    }

    /// It is damaged.
    pub(super) fn condemn(&self, reason: &str) {
        self.change(|refusals| refusals.damaged = Some(reason.into()));
    }

    /// The applier opens its tables again.
    pub(super) fn suspend(&self, reason: &str) {
        self.change(|refusals| refusals.reopening = Some(reason.into()));
    }

    /// It has.
    pub(super) fn resume(&self) {
        self.change(|refusals| refusals.reopening = None);
    }

    /// Other tables take the place of its own.
    pub(super) fn begin_replacing(&self) {
        self.change(|refusals| refusals.is_replacing = true);
    }

    /// The lane has begun again with them, or its own are there still.
    pub(super) fn end_replacing(&self) {
        self.change(|refusals| refusals.is_replacing = false);
    }

    /// They are being emptied; readers have seen everything up to `shown`.
    pub(super) fn begin_emptying(&self, shown: LogIndex) {
        self.change(|refusals| refusals.emptied = Some(shown));
    }

    /// They are empty: the damage went with the old ones, and so did whatever failed to be opened.
    pub(super) fn pardon(&self) {
        self.change(|refusals| (refusals.damaged, refusals.reopening) = (None, None));
    }

    /// Everything up to here is shown again.
    pub(super) fn shows(&self, upto: LogIndex) {
        if self.is_refused.load(Ordering::Acquire) {
            self.change(|refusals| refusals.emptied = refusals.emptied.filter(|shown| *shown > upto));
        }
    }

    fn change(&self, how: impl FnOnce(&mut Refusals)) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        how(&mut refusals);
        let Refusals { damaged, emptied, reopening, is_replacing } = &*refusals;
        let is_refused = damaged.is_some() || emptied.is_some() || reopening.is_some() || *is_replacing;
        self.is_refused.store(is_refused, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(3);

    #[test]
    fn whoever_refuses_takes_back_only_its_own_refusal() {
        let health = Health::default();
        assert_eq!(health.check(SHARD), Ok(()));
        health.begin_replacing();
        health.suspend("the device");
        health.resume();
        assert!(
            matches!(health.check(SHARD), Err(Failure::ShardReopening { shard: SHARD, .. })),
            "{health:?}"
        );
        health.suspend("the device");
        health.end_replacing();
        assert!(
            matches!(health.check(SHARD), Err(Failure::ShardReopening { reason, .. }) if &*reason == "the device")
        );
        health.resume();
        assert_eq!(health.check(SHARD), Ok(()));
    }

    #[test]
    fn what_is_damaged_stays_refused_whatever_else_comes_to_an_end() {
        let health = Health::default();
        health.begin_replacing();
        health.condemn("it lies");
        health.suspend("the device");
        health.resume();
        health.end_replacing();
        assert!(
            matches!(health.check(SHARD), Err(Failure::ShardDamaged { reason, .. }) if &*reason == "it lies")
        );
    }

    #[test]
    fn what_was_emptied_is_refused_until_all_is_shown_again_that_was_and_what_was_damaged_is_forgotten() {
        let health = Health::default();
        let is_refused = || matches!(health.check(SHARD), Err(Failure::ShardReopening { .. }));
        health.condemn("it lies");
        health.begin_emptying(LogIndex(7));
        assert!(matches!(health.check(SHARD), Err(Failure::ShardDamaged { .. })));
        health.pardon();
        assert!(is_refused());
        health.begin_replacing();
        health.shows(LogIndex(6));
        health.end_replacing();
        assert!(is_refused());
        health.shows(LogIndex(7));
        assert_eq!(health.check(SHARD), Ok(()));
    }
}
