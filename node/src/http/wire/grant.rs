//! Bytes set aside for somebody. Invariant: a grant that is dropped is given back to the budgets that it came from.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes set aside.
#[derive(Debug, Default)]
pub struct Grant {
    own: Option<OwnedSemaphorePermit>,
    /// What came from the reserve with which a body is finished.
    finishing: Option<OwnedSemaphorePermit>,
}

impl From<OwnedSemaphorePermit> for Grant {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self { own: Some(permit), finishing: None }
    }
}

impl Grant {
    /// How many bytes are set aside.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let bytes =
            |permit: &Option<OwnedSemaphorePermit>| permit.as_ref().map_or(0, |held| held.num_permits());
        bytes(&self.own) + bytes(&self.finishing)
    }

    /// Whether it comes from there.
    pub(super) fn is_of(&self, permits: &Arc<Semaphore>) -> bool {
        self.own.as_ref().is_some_and(|own| Arc::ptr_eq(own.semaphore(), permits))
    }

    /// Gives back all but `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let mut surplus = self.bytes().saturating_sub(bytes);
        for permit in [&mut self.finishing, &mut self.own].into_iter().flatten() {
            let given = surplus.min(permit.num_permits());
            drop(permit.split(given));
            surplus -= given;
        }
    }

    /// Adds more of the same budget.
    pub(super) fn merge(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.own {
            Some(permit) => permit.merge(more),
            None => self.own = Some(more),
        }
    }

    /// Adds the reserve's.
    pub(super) fn finish_with(&mut self, reserve: OwnedSemaphorePermit) {
        self.finishing = Some(reserve);
    }
}
