//! Whether a shard that was sound at start is served, and who says that it is not.
//!
//! Invariant: everybody takes back only its own refusal. What is damaged is refused until the next start, whatever else comes to an
//! end meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Failure;
use crate::types::ShardId;

/// What a client is told while other tables take the place of a shard's own.
const REPLACING: &str = "a leader's snapshot takes the place of its tables";

/// Who refuses, and why.
#[derive(Debug, Default)]
struct Refusals {
    /// Until the next start.
    damaged: Option<Arc<str>>,
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
        match refusals.reopening.clone().or_else(|| refusals.is_replacing.then(|| REPLACING.into())) {
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

    fn change(&self, how: impl FnOnce(&mut Refusals)) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        how(&mut refusals);
        let Refusals { damaged, reopening, is_replacing } = &*refusals;
        self.is_refused.store(damaged.is_some() || reopening.is_some() || *is_replacing, Ordering::Release);
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
}
