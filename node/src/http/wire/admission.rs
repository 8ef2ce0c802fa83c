//! Budgets of bytes: a body is read, and a response gathered, only while there is room for it. Invariant: the bytes
//! granted at a time never exceed the budget; nobody waits for room longer than the configured patience (events excepted,
//! which hold nothing while they wait); and two half-read bodies never wait for each other for ever.
//!
//! Why not for ever: a part of the budget is a *reserve* as large as the largest body. Of it a body takes all that it still
//! needs, or nothing; so whoever has some of it can finish, and gives it back. And whoever is slow while others wait is
//! cut (see `transfers`), so a few slow peers do not hold what many need.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::registry::Watch;
use super::transfers::{Entered, Transfers};
use super::{Grant, Limits};

/// Bodies and answers up to this have a part of the budget to themselves, so that large ones, even fast ones, do not stop
/// everybody who needs a little.
const SMALL_BYTES_MAX: usize = 64 * 1024;
/// Answers up to this size need no room in advance: the socket takes them. If it does not, they take room then, or end.
pub const SMALL_ANSWER_BYTES_MAX: usize = 4 * 1024;
/// Heads that arrive slowly, or are kept while their request waits, beyond what each connection may keep anyway.
const HEADS_BUDGET: usize = 4 << 20;
/// Requests that may wait for room at a time: each holds its read buffer meanwhile.
const WAITING_MAX: usize = 256;
/// How often somebody who waits looks for new slow ones.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The budgets of a server.
#[derive(Debug)]
pub struct Admission {
    requests: Room,
    /// What a body needs to be finished, all of it at once.
    reserve: Arc<Semaphore>,
    requests_budget: usize,
    responses: Room,
    heads: Pool,
    patience: Duration,
    waiting: AtomicUsize,
}

/// Bytes that are shared, and who holds them while its peer takes its time.
#[derive(Debug)]
struct Pool {
    permits: Arc<Semaphore>,
    bytes: usize,
    transfers: Arc<Transfers>,
}

/// A budget of which a part is for small ones only.
#[derive(Debug)]
struct Room {
    large: Pool,
    small: Pool,
}

/// Which part of a budget somebody has taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Small,
    Large,
}

impl Pool {
    fn new(bytes: usize, patience: Duration) -> Self {
        let bytes = bytes.min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(bytes)), bytes, transfers: Transfers::new(bytes, patience) }
    }

    fn now(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()
    }

    async fn in_time(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_many_owned(u32::try_from(bytes).ok()?).await.ok()
    }

    fn used(&self) -> usize {
        self.bytes - self.permits.available_permits()
    }
}

impl Room {
    fn new(bytes: usize, patience: Duration) -> Self {
        let small = bytes / 4;
        Self { large: Pool::new(bytes - small, patience), small: Pool::new(small, patience) }
    }

    fn is_small(&self, bytes: usize) -> bool {
        bytes <= SMALL_BYTES_MAX.min(self.small.bytes)
    }

    /// Small ones fall back to the part for all, never the other way round.
    fn now(&self, bytes: usize, small: bool) -> Option<(OwnedSemaphorePermit, Share)> {
        let own = small.then(|| self.small.now(bytes)).flatten().map(|permit| (permit, Share::Small));
        own.or_else(|| self.large.now(bytes).map(|permit| (permit, Share::Large)))
    }

    fn pool(&self, share: Share) -> &Pool {
        match share {
            Share::Small => &self.small,
            Share::Large => &self.large,
        }
    }

    fn used(&self) -> usize {
        self.large.used() + self.small.used()
    }
}

/// Somebody's place among those who wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    /// Budgets as configured.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        // Beside the reserve there must be as much again, or a body could be finished but never begun.
        let reserve = limits.body_bytes_max.min(Semaphore::MAX_PERMITS / 2);
        let requests_budget = limits.request_bytes_in_flight_max.max(2 * reserve);
        let responses_budget = limits.response_bytes_in_flight_max.max(2 * SMALL_BYTES_MAX);
        let patience = limits.admission_wait;
        Self {
            requests: Room::new(requests_budget - reserve, patience),
            reserve: Arc::new(Semaphore::new(reserve)),
            requests_budget,
            responses: Room::new(responses_budget, patience),
            heads: Pool::new(HEADS_BUDGET, patience),
            patience,
            waiting: AtomicUsize::new(0),
        }
    }

    /// Room for the first `bytes` of a request body that may have up to `most`; `None` when there is none for as long as a
    /// request may wait.
    pub(super) async fn request(&self, bytes: usize, most: usize) -> Option<(Grant, Share)> {
        if bytes == 0 {
            return Some((Grant::default(), Share::Small));
        }
        let small = self.requests.is_small(most);
        if let Some((permit, share)) = self.requests.now(bytes, small) {
            return Some((permit.into(), share));
        }
        let share = if small { Share::Small } else { Share::Large };
        let permit = Box::pin(self.wait(self.requests.pool(share), bytes)).await?;
        Some((permit.into(), share))
    }

    /// Whether a body of so many bytes counts as small.
    pub(super) fn is_small_request(&self, bytes: usize) -> bool {
        self.requests.is_small(bytes)
    }

    /// A body that arrives in parts.
    pub(super) fn enter_request(
        &self,
        share: Share,
        watch: &Arc<Watch>,
        held: usize,
        left: usize,
    ) -> Entered {
        self.requests.pool(share).transfers.enter(watch, Instant::now(), held, left)
    }

    /// More room for a body that arrives, so that it has `bytes`, or, when room is short, the `most` that it can need.
    /// False when there is none in time, or others have better use for what it has.
    pub(super) async fn more(
        &self,
        (grant, share): (&mut Grant, Share),
        (bytes, most): (usize, usize),
        entered: &Entered,
    ) -> bool {
        let step = bytes.saturating_sub(grant.bytes());
        let pool = self.requests.pool(share);
        if let Some(permit) = pool.now(step) {
            grant.merge(permit);
            return true;
        }
        let Some(_place) = Place::take(&self.waiting) else { return false };
        let began = Instant::now();
        let missing = u32::try_from(most.saturating_sub(grant.bytes())).unwrap_or(u32::MAX);
        entered.waits(began);
        let mut all = pin!(async {
            match share {
                Share::Small => pending().await,
                Share::Large => Arc::clone(&self.reserve).acquire_many_owned(missing).await.ok(),
            }
        });
        let found = loop {
            let now = Instant::now();
            pool.transfers.cut_slow(now, step);
            if entered.is_cut() {
                break false;
            }
            match timeout_at((began + self.patience).min(now + LOOK_INTERVAL), &mut all).await {
                Ok(Some(reserve)) => {
                    grant.finish_with(reserve);
                    break true;
                }
                Ok(None) => break false,
                Err(_) => {}
            }
            if let Some(permit) = pool.now(step) {
                grant.merge(permit);
                break true;
            }
            if began.elapsed() >= self.patience {
                break false;
            }
        };
        entered.goes_on(Instant::now());
        found
    }

    async fn wait(&self, pool: &Pool, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let _place = Place::take(&self.waiting)?;
        let mut room = pin!(pool.in_time(bytes));
        let ends = Instant::now() + self.patience;
        loop {
            let now = Instant::now();
            pool.transfers.cut_slow(now, bytes);
            match timeout_at(ends.min(now + LOOK_INTERVAL), &mut room).await {
                Ok(permit) => return permit,
                Err(_) if Instant::now() >= ends => return None,
                Err(_) => {}
            }
        }
    }

    /// Room for what is kept beside the bodies of requests, the lengths of their messages.
    #[must_use]
    pub fn beside_request(&self, bytes: usize) -> Option<Grant> {
        self.requests.now(bytes, self.requests.is_small(bytes)).map(|(permit, _)| permit.into())
    }

    /// Room for a response of about `bytes`; less when memory is short, `None` when there is hardly any: then small
    /// answers are given, which need none.
    #[must_use]
    pub fn response(&self, bytes: usize) -> Option<Grant> {
        let room = &self.responses;
        if let Some((permit, _)) = room.now(bytes, room.is_small(bytes)) {
            return Some(permit.into());
        }
        let now = Instant::now();
        room.large.transfers.cut_stalled(now, bytes);
        let mut wanted = bytes;
        while wanted > SMALL_BYTES_MAX {
            wanted = (wanted / 2).max(SMALL_BYTES_MAX);
            if let Some((permit, _)) = room.now(wanted, room.is_small(wanted)) {
                return Some(permit.into());
            }
        }
        // For whoever comes next.
        room.large.transfers.cut_slow(now, bytes);
        room.small.transfers.cut_slow(now, wanted);
        None
    }

    /// Room for a response of exactly this size; one that is larger than the budget takes all of it. `None` when there is
    /// none for as long as a request may wait.
    pub async fn response_of(&self, bytes: usize) -> Option<Grant> {
        if bytes <= SMALL_ANSWER_BYTES_MAX {
            return Some(Grant::default());
        }
        if let Some(grant) = self.response_of_now(bytes) {
            return Some(grant);
        }
        let (pool, bytes) = self.response_pool(bytes);
        pool.transfers.cut_stalled(Instant::now(), bytes);
        self.wait(pool, bytes).await.map(Grant::from)
    }

    /// The same without waiting.
    #[must_use]
    pub fn response_of_now(&self, bytes: usize) -> Option<Grant> {
        let small = self.responses.is_small(bytes);
        self.responses.now(bytes.min(self.responses.large.bytes), small).map(|(permit, _)| permit.into())
    }

    /// Whether it is as much as a response gets at most.
    #[must_use]
    pub fn is_whole_response(&self, grant: &Grant) -> bool {
        grant.bytes() >= self.responses.large.bytes
    }

    /// Where a response waits, and for how much.
    fn response_pool(&self, bytes: usize) -> (&Pool, usize) {
        let room = &self.responses;
        let pool = if room.is_small(bytes) { &room.small } else { &room.large };
        (pool, bytes.min(pool.bytes))
    }

    /// The same for an event, which can wait until there is room.
    pub async fn response_in_time(&self, bytes: usize) -> Grant {
        let (pool, bytes) = self.response_pool(bytes);
        let mut found = pin!(pool.in_time(bytes));
        loop {
            let now = Instant::now();
            pool.transfers.cut_slow(now, bytes);
            if let Ok(permit) = timeout_at(now + LOOK_INTERVAL * 5, &mut found).await {
                return permit.map_or_else(Grant::default, Grant::from);
            }
        }
    }

    /// An answer that the socket did not take, with `left` bytes to go; `None` when nobody can keep it.
    pub(super) fn stuck(&self, grant: &mut Grant, watch: &Arc<Watch>, left: usize) -> Option<Entered> {
        let (room, now) = (&self.responses, Instant::now());
        let share = if grant.bytes() > 0 {
            if grant.is_of(&room.small.permits) { Share::Small } else { Share::Large }
        } else {
            let Some((permit, share)) = room.now(left, room.is_small(left)) else {
                room.small.transfers.cut_slow(now, left);
                room.large.transfers.cut_slow(now, left);
                return None;
            };
            *grant = permit.into();
            share
        };
        Some(room.pool(share).transfers.enter(watch, now, grant.bytes(), left))
    }

    /// Room for a head that is more than a connection may keep anyway.
    pub(super) fn head(&self, bytes: usize) -> Option<Grant> {
        let found = self.heads.now(bytes).map(Grant::from);
        if found.is_none() {
            self.heads.transfers.cut_slow(Instant::now(), bytes);
        }
        found
    }

    /// A head that arrives in parts.
    pub(super) fn enter_head(&self, watch: &Arc<Watch>, bytes: usize) -> Entered {
        self.heads.transfers.enter(watch, Instant::now(), bytes, bytes)
    }

    /// Bytes of request bodies that may still be accepted.
    #[must_use]
    pub fn request_bytes_free(&self) -> usize {
        self.requests_budget
            - self.requests.used()
            - (self.reserve_budget() - self.reserve.available_permits())
    }

    fn reserve_budget(&self) -> usize {
        self.requests_budget - self.requests.large.bytes - self.requests.small.bytes
    }

    /// Bytes of request bodies that are set aside.
    pub(super) fn request_bytes_used(&self) -> i64 {
        i64::try_from(self.requests_budget.saturating_sub(self.request_bytes_free())).unwrap_or(i64::MAX)
    }

    /// Bytes of responses that may still be gathered.
    #[must_use]
    pub fn response_bytes_free(&self) -> usize {
        self.responses.large.permits.available_permits() + self.responses.small.permits.available_permits()
    }

    /// Bytes of responses that are set aside.
    pub(super) fn response_bytes_used(&self) -> i64 {
        i64::try_from(self.responses.used()).unwrap_or(i64::MAX)
    }

    /// How many transfers were cut so far.
    pub(super) fn transfers_cut(&self) -> u64 {
        let rooms = [&self.requests, &self.responses];
        let cut = |room: &&Room| room.large.transfers.cut_count() + room.small.transfers.cut_count();
        rooms.iter().map(cut).sum::<u64>() + self.heads.transfers.cut_count()
    }
}

#[cfg(test)]
mod tests;
