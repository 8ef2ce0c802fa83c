//! Budgets of bytes: a body is read, and a response gathered, only while there is room for it. Invariant: the bytes
//! granted at a time never exceed the budget; a grant that is dropped is given back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Limits;

/// Bodies up to this have a part of the budget to themselves, so that a few large ones on slow connections, which hold
/// their room for as long as they may take, do not stop everybody who writes a little.
const SMALL_BODY_BYTES_MAX: usize = 64 * 1024;
/// Below this a response is not worth the round trip.
const RESPONSE_BYTES_MIN: usize = 64 * 1024;

/// The budgets of a server.
#[derive(Debug)]
pub struct Admission {
    /// For bodies of any size.
    requests: Arc<Semaphore>,
    /// For small ones only.
    small_requests: Arc<Semaphore>,
    small_budget: usize,
    requests_budget: usize,
    responses: Arc<Semaphore>,
    responses_budget: usize,
    wait: Duration,
}

/// Bytes set aside.
#[derive(Debug, Default)]
pub struct Grant(Option<OwnedSemaphorePermit>);

impl Admission {
    /// Budgets as configured.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let budget = |bytes: usize| Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS)));
        // A body of the largest size must fit, or it could never be accepted.
        let requests_budget = limits.request_bytes_in_flight_max.max(limits.body_bytes_max);
        let large_budget = (requests_budget - requests_budget / 4).max(limits.body_bytes_max);
        let small_budget = requests_budget - large_budget;
        let responses_budget =
            limits.response_bytes_in_flight_max.clamp(RESPONSE_BYTES_MIN, Semaphore::MAX_PERMITS);
        Self {
            requests: budget(large_budget),
            small_requests: budget(small_budget),
            small_budget,
            requests_budget,
            responses: budget(responses_budget),
            responses_budget,
            wait: limits.admission_wait,
        }
    }

    /// Room for a request body of known size; `None` when there is none for as long as a request may wait.
    pub(super) async fn request(&self, bytes: u64) -> Option<Grant> {
        if bytes == 0 {
            return Some(Grant(None));
        }
        let permits = u32::try_from(bytes).ok()?;
        if let Some(permit) = self.room_now(permits) {
            return Some(Grant(Some(permit)));
        }
        let small = usize::try_from(bytes).is_ok_and(|bytes| self.is_small(bytes));
        let room = if small { &self.small_requests } else { &self.requests };
        let waiting = Arc::clone(room).acquire_many_owned(permits);
        let permit = tokio::time::timeout(self.wait, waiting).await.ok()?.ok()?;
        Some(Grant(Some(permit)))
    }

    /// More room for a body of unknown size. Never waits: two that wait for each other's room would wait for ever.
    pub(super) fn request_more(&self, grant: &mut Grant, bytes: usize) -> bool {
        let from_small =
            grant.0.as_ref().is_some_and(|held| Arc::ptr_eq(held.semaphore(), &self.small_requests));
        // A body that has outgrown the room for small ones moves over with all that it holds.
        let wanted = if from_small { grant.bytes() + bytes } else { bytes };
        let Ok(permits) = u32::try_from(wanted) else { return false };
        let room = if grant.0.is_none() {
            self.room_now(permits)
        } else {
            Arc::clone(&self.requests).try_acquire_many_owned(permits).ok()
        };
        match room {
            Some(permit) if from_small => *grant = Grant(Some(permit)),
            Some(permit) => grant.merge(permit),
            None => return false,
        }
        true
    }

    fn is_small(&self, bytes: usize) -> bool {
        bytes <= SMALL_BODY_BYTES_MAX.min(self.small_budget)
    }

    fn room_now(&self, permits: u32) -> Option<OwnedSemaphorePermit> {
        let small = usize::try_from(permits).is_ok_and(|bytes| self.is_small(bytes));
        let own =
            small.then(|| Arc::clone(&self.small_requests).try_acquire_many_owned(permits).ok()).flatten();
        own.or_else(|| Arc::clone(&self.requests).try_acquire_many_owned(permits).ok())
    }

    /// Room for a response of about `bytes`; less when memory is short, `None` when there is hardly any.
    #[must_use]
    pub fn response(&self, bytes: usize) -> Option<Grant> {
        let mut wanted = bytes;
        loop {
            let permits = u32::try_from(wanted).unwrap_or(u32::MAX);
            if let Ok(permit) = self.responses.clone().try_acquire_many_owned(permits) {
                return Some(Grant(Some(permit)));
            }
            if wanted <= RESPONSE_BYTES_MIN {
                return None;
            }
            wanted = (wanted / 2).max(RESPONSE_BYTES_MIN);
        }
    }

    /// Room for a response of exactly this size; one that is larger than the budget takes all of it.
    #[must_use]
    pub fn response_of(&self, bytes: usize) -> Option<Grant> {
        let permits = u32::try_from(bytes.min(self.responses_budget)).ok()?;
        self.responses.clone().try_acquire_many_owned(permits).ok().map(|permit| Grant(Some(permit)))
    }

    /// The same for a response that can wait until there is room.
    pub async fn response_in_time(&self, bytes: usize) -> Grant {
        let permits = u32::try_from(bytes.min(self.responses_budget)).unwrap_or(u32::MAX);
        Grant(self.responses.clone().acquire_many_owned(permits).await.ok())
    }

    /// Bytes of request bodies that may still be accepted.
    #[must_use]
    pub fn request_bytes_free(&self) -> usize {
        self.requests.available_permits() + self.small_requests.available_permits()
    }

    /// Bytes of request bodies that are set aside.
    pub(super) fn request_bytes_used(&self) -> i64 {
        i64::try_from(self.requests_budget.saturating_sub(self.request_bytes_free())).unwrap_or(i64::MAX)
    }

    /// Bytes of responses that may still be gathered.
    #[must_use]
    pub fn response_bytes_free(&self) -> usize {
        self.responses.available_permits()
    }
}

impl Grant {
    /// How many bytes are set aside.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Gives back all but `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            drop(permit.split(permit.num_permits().saturating_sub(bytes)));
        }
    }

    fn merge(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.0 {
            Some(permit) => permit.merge(more),
            None => self.0 = Some(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        Admission::new(&Limits {
            request_bytes_in_flight_max: 100,
            body_bytes_max: 100,
            response_bytes_in_flight_max: 192 * 1024,
            admission_wait: Duration::from_millis(20),
            ..Limits::default()
        })
    }

    #[tokio::test]
    async fn bytes_beyond_the_budget_are_refused_after_a_bounded_wait() {
        let admission = admission();
        let first = admission.request(80).await.unwrap();
        assert!(admission.request(30).await.is_none());
        drop(first);
        assert_eq!(admission.request(100).await.unwrap().bytes(), 100);
        assert_eq!(admission.request_bytes_free(), 100);
    }

    #[tokio::test]
    async fn large_bodies_on_slow_connections_leave_room_for_small_ones() {
        let admission = Admission::new(&Limits {
            request_bytes_in_flight_max: 32 << 20,
            body_bytes_max: 4 << 20,
            admission_wait: Duration::from_millis(1),
            ..Limits::default()
        });
        let mut slow = Vec::new();
        while let Some(grant) = admission.request(4 << 20).await {
            slow.push(grant);
        }
        assert_eq!(slow.len(), 6);
        assert!(admission.request(1000).await.is_some(), "a small body");
        let mut growing = Grant::default();
        assert!(admission.request_more(&mut growing, SMALL_BODY_BYTES_MAX), "a small body of unknown size");
        assert!(!admission.request_more(&mut growing, 1), "it is a large one now");
        slow.pop();
        assert!(admission.request_more(&mut growing, 1));
        assert_eq!(growing.bytes(), SMALL_BODY_BYTES_MAX + 1);
        drop((slow, growing));
        assert_eq!(admission.request_bytes_free(), 32 << 20);
    }

    #[test]
    fn a_body_of_unknown_size_takes_room_as_it_grows_and_gives_all_of_it_back() {
        let admission = admission();
        let mut grant = Grant::default();
        assert!(admission.request_more(&mut grant, 60) && admission.request_more(&mut grant, 40));
        assert!(!admission.request_more(&mut grant, 1));
        drop(grant);
        assert_eq!(admission.request_bytes_free(), 100);
    }

    #[tokio::test]
    async fn a_response_that_can_wait_gets_its_room_when_another_is_done_however_large_it_is() {
        let admission = admission();
        let first = admission.response_of(192 * 1024).unwrap();
        assert!(admission.response_of(1).is_none());
        let mut waiting = std::pin::pin!(admission.response_in_time(1 << 30));
        assert!(tokio::time::timeout(Duration::from_millis(5), &mut waiting).await.is_err());
        drop(first);
        assert_eq!(waiting.await.bytes(), 192 * 1024, "all there is");
    }

    #[test]
    fn responses_get_smaller_before_they_are_refused() {
        let admission = admission();
        let first = admission.response(128 * 1024).unwrap();
        let mut second = admission.response(128 * 1024).unwrap();
        assert_eq!((first.bytes(), second.bytes()), (128 * 1024, 64 * 1024));
        assert!(admission.response(64 * 1024).is_none());
        second.shrink(10);
        assert_eq!(admission.response_bytes_free(), 64 * 1024 - 10);
    }
}
