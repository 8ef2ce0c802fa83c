//! Subscriptions and links as committed, in memory: what moved, what is due.
//!
//! Fed by the owners of lanes at publication, before anybody is answered, so an answer is never ahead of it. Invariant:
//! a linked stream is pending here exactly if its tail lies behind what was acknowledged. While no subscription exists, a
//! publication costs one relaxed load.

mod shares;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::work::{Work, work_of};
use crate::codec::subscription::{get_link, get_link_key, get_subscription};
use crate::types::{
    Grant, Link, Offset, Op, ShardCount, ShardId, Space, StreamId, StreamName, Subscription, SubscriptionId,
    UnixMillis,
};

/// What is committed of all subscriptions.
#[derive(Debug)]
pub(crate) struct SubscriptionIndex {
    /// Links that fit.
    links_max: usize,
    active: AtomicBool,
    /// Links of all subscriptions.
    links: AtomicUsize,
    inner: Mutex<Inner>,
    moved: Notify,
    /// Why nobody is woken, if so.
    trouble: Mutex<Option<Arc<str>>>,
}

/// A stream wherever it is.
type Place = (ShardId, StreamId);

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<SubscriptionId, Entry>,
    streams: HashMap<Place, Linked>,
    links: usize,
    /// Subscriptions to look at.
    dirty: BTreeSet<SubscriptionId>,
    /// When to look at which again.
    deadlines: BTreeSet<(UnixMillis, SubscriptionId)>,
}

/// One subscription.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) subscription: Option<Arc<Subscription>>,
    pub(super) links: BTreeMap<StreamName, (Place, Link)>,
    pub(super) pending: BTreeSet<StreamName>,
    /// The shards that know of it, each with a hash of what it knows.
    shares: BTreeMap<ShardId, u64>,
    /// A shard that is served does not know of it as it should.
    pub(super) unheard: bool,
    /// Its home is not served, so nobody can say what it is.
    pub(super) parked: bool,
    /// The wake that this process announced.
    pub(super) announced: Option<Grant>,
    /// Somebody works on it: it is looked at again afterwards.
    busy: bool,
    /// Something failed: not before this moment.
    pub(super) not_before: UnixMillis,
    deadline: Option<UnixMillis>,
}

/// A stream with links.
#[derive(Debug)]
struct Linked {
    name: StreamName,
    tail: Offset,
    subscriptions: Vec<SubscriptionId>,
}

/// A stream of a subscription as an answer shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedStream {
    /// Its name.
    pub name: StreamName,
    /// Whether the subscription names it, rather than only its pattern.
    pub explicit: bool,
    /// How far workers have come; `None`: from the start.
    pub acked: Option<Offset>,
    /// Its end; `None`: there is no such stream.
    pub tail: Option<Offset>,
    /// Whether there is something behind what workers have seen.
    pub pending: bool,
}

/// A subscription at one moment.
#[derive(Debug, Clone)]
pub struct SubscriptionView {
    /// Its state.
    pub subscription: Arc<Subscription>,
    /// Its streams, pending ones first; at most as many as were asked for.
    pub streams: Vec<LinkedStream>,
    /// How many it has.
    pub streams_total: usize,
}

impl SubscriptionIndex {
    /// An index for so many links.
    pub(crate) fn new(links_max: usize) -> Self {
        Self {
            links_max,
            active: AtomicBool::new(false),
            links: AtomicUsize::new(0),
            inner: Mutex::default(),
            moved: Notify::new(),
            trouble: Mutex::default(),
        }
    }

    /// Why subscriptions wake nobody, if so.
    pub(crate) fn trouble(&self) -> Option<Arc<str>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells whether workers are woken.
    pub(super) fn set_trouble(&self, trouble: Option<&str>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble.map(Into::into);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows one committed record.
    pub(crate) fn publish(&self, shard: ShardId, ops: &[Op]) {
        let fact = |op: &Op| matches!(op, Op::Put { .. } | Op::Erase { .. });
        if !self.active.load(Ordering::Relaxed) && !ops.iter().any(fact) {
            return;
        }
        self.active.store(true, Ordering::Relaxed);
        let mut inner = self.lock();
        for op in ops {
            match op {
                Op::Append(append) => inner.moved((shard, append.stream), append.messages.end(append.start)),
                Op::Put { space, key, value } => inner.put(shard, *space, key, value, |stream| {
                    ops.iter().find_map(|op| match op {
                        Op::Create(meta) if meta.id == stream => Some(meta.tail),
                        _ => None,
                    })
                }),
                Op::Erase { space: Space::Subscription, key } => inner.erase_subscription(key),
                Op::Erase { space: Space::Link, key } => inner.erase_link(shard, key),
                Op::Erase { space: Space::Pattern, key } => inner.erase_share(shard, key),
                _ => {}
            }
        }
        let any = !inner.dirty.is_empty();
        self.links.store(inner.links, Ordering::Relaxed);
        drop(inner);
        if any {
            self.moved.notify_one();
        }
    }

    /// Takes what the tables say at start.
    pub(crate) fn load<E>(
        &self,
        shard: ShardId,
        space: Space,
        key: &Bytes,
        value: &Bytes,
        tail_of: impl FnOnce(StreamId) -> Result<Option<Offset>, E>,
    ) -> Result<(), E> {
        let tail = match get_link_key(key) {
            Ok((_, stream)) if space == Space::Link => tail_of(stream)?,
            _ => None,
        };
        self.active.store(true, Ordering::Relaxed);
        let mut inner = self.lock();
        inner.put(shard, space, key, value, |_| tail);
        self.links.store(inner.links, Ordering::Relaxed);
        Ok(())
    }

    /// Forgets what a shard said: its tables were replaced, and say it anew.
    pub(crate) fn forget(&self, shard: ShardId, count: ShardCount) {
        if !self.active.load(Ordering::Relaxed) {
            return;
        }
        let mut inner = self.lock();
        inner.forget(shard, count);
        self.links.store(inner.links, Ordering::Relaxed);
    }

    /// Waits until there may be something to do.
    pub(super) async fn moved(&self) {
        self.moved.notified().await;
    }

    /// Lets the hub look again.
    pub(crate) fn wake_hub(&self) {
        self.moved.notify_one();
    }

    /// What is to be done now for the subscriptions whose homes are led here, each marked as being done; and when to ask
    /// again at the latest.
    pub(super) fn take_work(
        &self,
        now: UnixMillis,
        led: impl Fn(&SubscriptionId) -> bool,
    ) -> (Vec<(SubscriptionId, Work)>, Option<UnixMillis>) {
        let mut inner = self.lock();
        let mut ids = std::mem::take(&mut inner.dirty);
        while let Some((at, id)) = inner.deadlines.first().cloned().filter(|(at, _)| *at <= now) {
            inner.deadlines.remove(&(at, id.clone()));
            ids.insert(id);
        }
        let work =
            ids.into_iter().filter(led).filter_map(|id| Some((id.clone(), inner.look(&id, now)?))).collect();
        (work, inner.deadlines.first().map(|(at, _)| *at))
    }

    /// What was to be done is done, or failed and is not tried again before `not_before`.
    pub(super) fn finish(&self, id: &SubscriptionId, not_before: Option<UnixMillis>) {
        let mut inner = self.lock();
        if let Some(entry) = inner.entries.get_mut(id) {
            entry.busy = false;
            if let Some(at) = not_before {
                entry.not_before = at;
                entry.announced = None;
            }
            inner.dirty.insert(id.clone());
        }
        drop(inner);
        self.moved.notify_one();
    }

    /// The homes of these are led here from now on: everything about them is looked at, and a wake that is under way was
    /// announced by another node, or by this one before it led no more.
    pub(super) fn take_over(&self, gained: impl Fn(&SubscriptionId) -> bool) {
        let mut inner = self.lock();
        let Inner { entries, dirty, .. } = &mut *inner;
        for (id, entry) in entries.iter_mut().filter(|(id, _)| gained(id)) {
            entry.announced = None;
            dirty.insert(id.clone());
        }
    }

    /// This process announces a wake.
    pub(super) fn announce(&self, id: &SubscriptionId, grant: Grant) {
        if let Some(entry) = self.lock().entries.get_mut(id) {
            entry.announced = Some(grant);
        }
    }

    /// The state of a subscription.
    pub(super) fn get(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        self.lock().entries.get(id)?.subscription.clone()
    }

    /// Whether anything is pending.
    pub(super) fn pending(&self, id: &SubscriptionId) -> bool {
        self.lock().entries.get(id).is_some_and(|entry| !entry.pending.is_empty())
    }

    /// One pending stream.
    pub(super) fn first_pending(&self, id: &SubscriptionId) -> Option<StreamName> {
        self.lock().entries.get(id)?.pending.first().cloned()
    }

    /// A linked stream: what was acknowledged, and its tail.
    pub(super) fn link(&self, id: &SubscriptionId, name: &StreamName) -> Option<(Link, Offset)> {
        let inner = self.lock();
        let (place, link) = inner.entries.get(id)?.links.get(name)?;
        Some((link.clone(), inner.streams.get(place)?.tail))
    }

    /// Links behind `after`, in name order: for sweeps, a bounded amount at a time.
    pub(super) fn links(
        &self,
        id: &SubscriptionId,
        after: Option<&StreamName>,
        count: usize,
    ) -> Vec<(ShardId, StreamId, StreamName)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let inner = self.lock();
        let Some(entry) = inner.entries.get(id) else { return Vec::new() };
        let range = entry.links.range((after.map_or(Unbounded, |after| Excluded(after.clone())), Unbounded));
        range.take(count).map(|(name, ((shard, stream), _))| (*shard, *stream, name.clone())).collect()
    }

    /// How many links there are.
    pub(super) fn link_count(&self) -> usize {
        self.links.load(Ordering::Relaxed)
    }

    /// Whether no more links fit. A group of creations may pass the bound by as many as it has.
    pub(crate) fn full(&self) -> bool {
        self.link_count() >= self.links_max
    }

    /// How many links fit.
    pub(crate) fn links_max(&self) -> usize {
        self.links_max
    }

    /// How many subscriptions there are.
    pub(super) fn count(&self) -> usize {
        self.lock().entries.values().filter(|entry| entry.subscription.is_some()).count()
    }

    /// A subscription and its streams, at most `most` of them, pending ones first.
    pub(super) fn view(&self, id: &SubscriptionId, most: usize) -> Option<SubscriptionView> {
        let inner = self.lock();
        let entry = inner.entries.get(id)?;
        let subscription = entry.subscription.clone()?;
        let explicit = &subscription.definition.streams;
        let shown = |name: &StreamName, link: Option<&(Place, Link)>| LinkedStream {
            name: name.clone(),
            explicit: explicit.contains(name),
            acked: link.and_then(|(_, link)| link.acked),
            tail: link.and_then(|(place, _)| inner.streams.get(place)).map(|linked| linked.tail),
            pending: entry.pending.contains(name),
        };
        let unlinked = || explicit.iter().filter(|name| !entry.links.contains_key(*name));
        let pending = entry.pending.iter().map(|name| shown(name, entry.links.get(name)));
        let idle = entry.links.iter().filter(|(name, _)| !entry.pending.contains(*name));
        let idle = idle.map(|(name, link)| shown(name, Some(link)));
        let streams =
            pending.chain(idle).chain(unlinked().map(|name| shown(name, None))).take(most).collect();
        let streams_total = entry.links.len() + unlinked().count();
        Some(SubscriptionView { streams, streams_total, subscription: Arc::clone(&subscription) })
    }
}

impl Inner {
    fn moved(&mut self, place: Place, tail: Offset) {
        let Some(linked) = self.streams.get_mut(&place) else { return };
        linked.tail = tail;
        for id in &linked.subscriptions {
            let Some(entry) = self.entries.get_mut(id) else { continue };
            let pending = entry.links.get(&linked.name).is_some_and(|(_, link)| link.pending(tail));
            if pending && entry.pending.insert(linked.name.clone()) {
                self.dirty.insert(id.clone());
            }
        }
    }

    fn put(
        &mut self,
        shard: ShardId,
        space: Space,
        key: &Bytes,
        value: &Bytes,
        tail_of: impl FnOnce(StreamId) -> Option<Offset>,
    ) {
        match space {
            Space::Subscription => {
                let Ok(subscription) = get_subscription(value) else { return };
                let id = subscription.id.clone();
                self.entries.entry(id.clone()).or_default().subscription = Some(Arc::new(subscription));
                self.dirty.insert(id);
            }
            Space::Link => {
                let (Ok((id, stream)), Ok(link)) = (get_link_key(key), get_link(value)) else { return };
                self.put_link(id, (shard, stream), link, tail_of(stream));
            }
            Space::Pattern => {
                let Some(id) = id_of(key) else { return };
                self.entries.entry(id.clone()).or_default().shares.insert(shard, seahash::hash(value));
                self.dirty.insert(id);
            }
            Space::Secret | Space::Voters => {}
        }
    }

    fn put_link(&mut self, id: SubscriptionId, place: Place, link: Link, tail: Option<Offset>) {
        let linked = self.streams.entry(place).or_insert_with(|| Linked {
            name: link.name.clone(),
            tail: tail.or(link.acked).unwrap_or(Offset::ZERO),
            subscriptions: Vec::new(),
        });
        if !linked.subscriptions.contains(&id) {
            linked.subscriptions.push(id.clone());
        }
        let name = linked.name.clone();
        let entry = self.entries.entry(id.clone()).or_default();
        if link.pending(linked.tail) {
            entry.pending.insert(name.clone());
        } else {
            entry.pending.remove(&name);
        }
        if entry.links.insert(name, (place, link)).is_none() {
            self.links += 1;
        }
        self.dirty.insert(id);
    }

    fn erase_link(&mut self, shard: ShardId, key: &Bytes) {
        let Ok((id, stream)) = get_link_key(key) else { return };
        let place = (shard, stream);
        let Some(linked) = self.streams.get_mut(&place) else { return };
        linked.subscriptions.retain(|other| *other != id);
        let name = linked.name.clone();
        if linked.subscriptions.is_empty() {
            self.streams.remove(&place);
        }
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.links.get(&name).is_some_and(|(at, _)| *at == place)
        {
            entry.links.remove(&name);
            self.links = self.links.saturating_sub(1);
            entry.pending.remove(&name);
            self.tidy(&id);
        }
    }

    fn forget(&mut self, shard: ShardId, count: ShardCount) {
        self.streams.retain(|(at, _), _| *at != shard);
        let ids: Vec<SubscriptionId> = self.entries.keys().cloned().collect();
        for id in ids {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.shares.remove(&shard);
            if id.home(count) == shard {
                entry.subscription = None;
            }
            let gone: Vec<StreamName> = entry
                .links
                .iter()
                .filter(|(_, ((at, _), _))| *at == shard)
                .map(|(name, _)| name.clone())
                .collect();
            for name in gone {
                entry.links.remove(&name);
                entry.pending.remove(&name);
                self.links = self.links.saturating_sub(1);
            }
            self.tidy(&id);
        }
    }

    fn erase_subscription(&mut self, key: &Bytes) {
        let Some(id) = id_of(key) else { return };
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.subscription = None;
            self.tidy(&id);
        }
    }

    fn erase_share(&mut self, shard: ShardId, key: &Bytes) {
        let Some(id) = id_of(key) else { return };
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.shares.remove(&shard);
            self.tidy(&id);
        }
    }

    /// An entry of which nothing is left goes; another is looked at.
    fn tidy(&mut self, id: &SubscriptionId) {
        let Some(entry) = self.entries.get(id) else { return };
        if entry.subscription.is_some() || !entry.links.is_empty() || !entry.shares.is_empty() {
            self.dirty.insert(id.clone());
            return;
        }
        if let Some(at) = entry.deadline {
            self.deadlines.remove(&(at, id.clone()));
        }
        self.entries.remove(id);
    }

    /// What is to be done about one subscription; schedules the next look.
    fn look(&mut self, id: &SubscriptionId, now: UnixMillis) -> Option<Work> {
        let entry = self.entries.get_mut(id)?;
        if let Some(at) = entry.deadline.take() {
            self.deadlines.remove(&(at, id.clone()));
        }
        if entry.busy {
            return None;
        }
        let due = if entry.not_before > now { Err(Some(entry.not_before)) } else { work_of(entry, now) };
        match due {
            Ok(work) => {
                entry.busy = true;
                Some(work)
            }
            Err(later) => {
                if let Some(at) = later {
                    entry.deadline = Some(at);
                    self.deadlines.insert((at, id.clone()));
                }
                None
            }
        }
    }
}

fn id_of(key: &[u8]) -> Option<SubscriptionId> {
    SubscriptionId::parse(std::str::from_utf8(key).ok()?).ok()
}
