//! Budgets of bytes: a body is read, and a response gathered, only while there is room for it. Invariant: the bytes
//! granted at a time never exceed the budget; nobody waits for room longer than the configured patience (events excepted,
//! which hold nothing while they wait); and two half-read bodies never wait for each other for ever.
//!
//! Why not for ever: a part of the budget is a *reserve* as large as the largest body. Of it a body takes all that it still
//! needs, or nothing; so whoever has some of it can finish, and gives it back. And whoever is slow while others wait is
//! cut (see `transfers`), so a few slow peers do not hold what many need.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::registry::Watch;
use super::room::{Pool, Room, SMALL_BYTES_MAX, Share};
use super::transfers::Entered;
use super::{Grant, Limits};

/// Answers up to this size need no room in advance: the socket takes them. If it does not, they take room then, or end.
pub const SMALL_ANSWER_BYTES_MAX: usize = 4 * 1024;
/// Heads that arrive slowly, or are kept while their request waits, beyond what each connection may keep anyway.
const HEADS_BUDGET: usize = 4 << 20;
/// Events up to this have half of the room for events to themselves: whoever is slow with larger ones does not stop them.
const SMALL_EVENT_BYTES_MAX: usize = 512 * 1024;
/// The part of the room for answers that events have to themselves, so that subscribers, who may read as slowly as they
/// like between two events, never stop those who ask.
const EVENTS_PART: usize = 4;
/// Requests that may wait for room at a time: each keeps a head of up to 2 KiB meanwhile.
const WAITING_MAX: usize = 4096;
/// How often somebody who waits looks for new slow ones, when few wait; with more, each looks less often.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
const LOOKING_MAX: u32 = 64;

/// The memory of an event.
#[derive(Debug, Default)]
pub struct EventRoom {
    /// That of the event itself.
    pub grant: Grant,
    /// What its subscriber has as a newcomer, until it has read the event.
    pub newcomer: Option<Grant>,
}

/// The budgets of a server.
#[derive(Debug)]
pub struct Admission {
    requests: Room,
    /// What a body needs to be finished, all of it at once.
    reserve: Arc<Semaphore>,
    requests_budget: usize,
    responses: Room,
    events: Room,
    /// What subscribers of whom nothing is known yet may have of it: those who have read an event find the rest free of them.
    newcomers: Room,
    heads: Pool,
    patience: Duration,
    waiting: AtomicUsize,
    /// Subscribers whose events wait; each is a connection, of which there is a bound.
    subscribers_waiting: AtomicUsize,
}

/// Somebody's place among those who wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn of(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }

    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self::of(waiting);
        (waiting.load(Ordering::Relaxed) <= WAITING_MAX).then_some(place)
    }
}

fn look_interval(waiting: &AtomicUsize) -> Duration {
    let waiting = u32::try_from(waiting.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
    LOOK_INTERVAL * (1 + waiting / LOOKING_MAX)
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
        let responses_budget = limits.response_bytes_in_flight_max.max(EVENTS_PART * SMALL_BYTES_MAX);
        let events = responses_budget / EVENTS_PART;
        let halves = (events - events / 2, events / 2);
        let patience = limits.admission_wait;
        Self {
            requests: Room::new(requests_budget - reserve, patience),
            reserve: Arc::new(Semaphore::new(reserve)),
            requests_budget,
            responses: Room::new(responses_budget - events, patience),
            events: Room::split(halves, SMALL_EVENT_BYTES_MAX, patience),
            newcomers: Room::split((halves.0 / 2, halves.1 / 2), SMALL_EVENT_BYTES_MAX, patience),
            heads: Pool::new(HEADS_BUDGET, patience),
            patience,
            waiting: AtomicUsize::new(0),
            subscribers_waiting: AtomicUsize::new(0),
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
            match timeout_at((began + self.patience).min(now + look_interval(&self.waiting)), &mut all).await
            {
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
            match timeout_at(ends.min(now + look_interval(&self.waiting)), &mut room).await {
                Ok(permit) => return permit,
                Err(_) if Instant::now() >= ends => return None,
                Err(_) => {}
            }
        }
    }

    /// Room for what is kept beside a body that has arrived, the lengths of its messages; `None` when there is none for as
    /// long as a request may wait. Whoever waits has its body in memory, so the reserve serves it, too.
    pub async fn beside_request(&self, bytes: usize) -> Option<Grant> {
        let (pool, wanted) = self.requests.waits_in(bytes);
        let all = u32::try_from(bytes.min(self.reserve_budget())).ok()?;
        let finish = async {
            let reserve = Arc::clone(&self.reserve).acquire_many_owned(all).await.ok()?;
            let mut grant = Grant::default();
            grant.finish_with(reserve);
            Some(grant)
        };
        let room = async { self.wait(pool, wanted).await.map(Grant::from) };
        let (mut finish, mut room) = (pin!(finish), pin!(room));
        poll_fn(|cx| match finish.as_mut().poll(cx) {
            Poll::Ready(found) => Poll::Ready(found),
            Poll::Pending => room.as_mut().poll(cx),
        })
        .await
    }

    /// The same without waiting.
    #[must_use]
    pub fn beside_request_now(&self, bytes: usize) -> Option<Grant> {
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
        let (pool, bytes) = self.responses.waits_in(bytes);
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

    /// Room for an event, if there is some at once; whoever waits for room already is not overtaken. `proven`: the
    /// subscriber has read such an event before.
    #[must_use]
    pub fn event_now(&self, bytes: usize, proven: bool) -> Option<EventRoom> {
        let now = |room: &Room| {
            let (pool, wanted) = room.waits_in(bytes);
            pool.now(wanted).map(Grant::from)
        };
        let newcomer = if proven { None } else { Some(now(&self.newcomers)?) };
        Some(EventRoom { newcomer, grant: now(&self.events)? })
    }

    /// The same for an event that waits until there is room.
    pub async fn event_in_time(&self, bytes: usize, proven: bool) -> EventRoom {
        let newcomer = match proven {
            true => None,
            false => Some(self.in_time(&self.newcomers, bytes).await),
        };
        EventRoom { newcomer, grant: self.in_time(&self.events, bytes).await }
    }

    /// Those who hold room of newcomers hold as much of the room for all events, and are cut there.
    async fn in_time(&self, room: &Room, bytes: usize) -> Grant {
        let (pool, wanted) = room.waits_in(bytes);
        let (holders, _) = self.events.waits_in(bytes);
        let _place = Place::of(&self.subscribers_waiting);
        let mut found = pin!(pool.in_time(wanted));
        loop {
            let now = Instant::now();
            holders.transfers.cut_slow(now, wanted);
            if let Ok(permit) = timeout_at(now + look_interval(&self.subscribers_waiting), &mut found).await {
                return permit.map_or_else(Grant::default, Grant::from);
            }
        }
    }

    /// An answer that the socket did not take, with `left` bytes to go; `None` when nobody can keep it.
    pub(super) fn stuck(&self, grant: &mut Grant, watch: &Arc<Watch>, left: usize) -> Option<Entered> {
        let now = Instant::now();
        let of_events = |share: Share| grant.is_of(&self.events.pool(share).permits);
        let is_event = of_events(Share::Small) || of_events(Share::Large);
        let room = if is_event { &self.events } else { &self.responses };
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
        self.responses.free() + self.events.free()
    }

    /// Bytes of responses that are set aside.
    pub(super) fn response_bytes_used(&self) -> i64 {
        i64::try_from(self.responses.used() + self.events.used()).unwrap_or(i64::MAX)
    }

    /// How many transfers were cut so far.
    pub(super) fn transfers_cut(&self) -> u64 {
        let rooms = [&self.requests, &self.responses, &self.events];
        let cut = |room: &&Room| room.large.transfers.cut_count() + room.small.transfers.cut_count();
        rooms.iter().map(cut).sum::<u64>() + self.heads.transfers.cut_count()
    }
}

#[cfg(test)]
mod tests;
