//! What is known to be damaged in the file of a shard: stored bytes that are not what was written there. Whoever meets it notes
//! it, readers, writer and scrubbing alike. Invariant: what was noted stays until another file takes the place of this one,
//! however often it is opened again; a device that fails a call is no damage, since it may give the same bytes the next time, until nobody
//! tries again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The damage of one file; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Rot(Arc<Mutex<Option<Arc<str>>>>);

impl Rot {
    // One pointer is put or taken in one step.
    fn first(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes damage; the first of it stays.
    pub(super) fn note(&self, what: &str) {
        self.first().get_or_insert_with(|| what.into());
    }

    /// The first damage that was found, if any was.
    pub(super) fn found(&self) -> Option<Arc<str>> {
        self.first().clone()
    }

    /// Another file stands in the place of the damaged one.
    pub(super) fn clear(&self) {
        *self.first() = None;
    }
}
