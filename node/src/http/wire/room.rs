//! A budget of bytes in two parts. Invariant: large ones never take what is set aside for small ones; those who wait are
//! served in order, and nobody overtakes them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::transfers::Transfers;

/// Bodies and answers up to this have a part of the budget to themselves, so that large ones, even fast ones, do not stop
/// everybody who needs a little.
pub(super) const SMALL_BYTES_MAX: usize = 64 * 1024;

/// Bytes that are shared, and who holds them while its peer takes its time.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) permits: Arc<Semaphore>,
    pub(super) bytes: usize,
    pub(super) transfers: Arc<Transfers>,
}

/// A budget of which a part is for small ones only.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) large: Pool,
    pub(super) small: Pool,
    /// What counts as small.
    small_max: usize,
}

/// Which part of a budget somebody has taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Small,
    Large,
}

impl Pool {
    pub(super) fn new(bytes: usize, patience: Duration) -> Self {
        let bytes = bytes.min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(bytes)), bytes, transfers: Transfers::new(bytes, patience) }
    }

    pub(super) fn now(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()
    }

    pub(super) async fn in_time(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_many_owned(u32::try_from(bytes).ok()?).await.ok()
    }

    pub(super) fn used(&self) -> usize {
        self.bytes - self.permits.available_permits()
    }
}

impl Room {
    /// A quarter of it is for small ones.
    pub(super) fn new(bytes: usize, patience: Duration) -> Self {
        Self::split((bytes - bytes / 4, bytes / 4), SMALL_BYTES_MAX, patience)
    }

    pub(super) fn split((large, small): (usize, usize), small_max: usize, patience: Duration) -> Self {
        let small_max = small_max.min(small);
        Self { large: Pool::new(large, patience), small: Pool::new(small, patience), small_max }
    }

    pub(super) fn is_small(&self, bytes: usize) -> bool {
        bytes <= self.small_max
    }

    pub(super) fn free(&self) -> usize {
        self.large.permits.available_permits() + self.small.permits.available_permits()
    }

    /// Where somebody waits for so much, and for how much: one that is larger than all there is takes all of it.
    pub(super) fn waits_in(&self, bytes: usize) -> (&Pool, usize) {
        let pool = if self.is_small(bytes) { &self.small } else { &self.large };
        (pool, bytes.min(pool.bytes))
    }

    /// Small ones fall back to the part for all, never the other way round.
    pub(super) fn now(&self, bytes: usize, small: bool) -> Option<(OwnedSemaphorePermit, Share)> {
        let own = small.then(|| self.small.now(bytes)).flatten().map(|permit| (permit, Share::Small));
        own.or_else(|| self.large.now(bytes).map(|permit| (permit, Share::Large)))
    }

    pub(super) fn pool(&self, share: Share) -> &Pool {
        match share {
            Share::Small => &self.small,
            Share::Large => &self.large,
        }
    }

    pub(super) fn used(&self) -> usize {
        self.large.used() + self.small.used()
    }
}
