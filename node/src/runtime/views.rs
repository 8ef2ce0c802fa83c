//! The resident streams of one shard: committed views by id and by name, and the changes that a listing of the tables
//! does not show yet.
//!
//! Invariant: a stream that is not resident here is exactly what the tables say. A view may be evicted only when the tables
//! applied its last change; a view is installed from the tables only if nothing was published for that name meanwhile.

mod cache;
mod read_times;
mod view;

pub(super) use cache::SegmentCache;
#[cfg(test)]
pub(super) use view::tests::meta;
pub(super) use view::{Snapshot, StreamView};

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::types::{
    Incarnation, LogIndex, Op, PinOp, ShardId, StreamId, StreamMap, StreamMeta, StreamName, UnixMillis,
};
use read_times::ReadTimes;
use view::Change;

/// Read times kept per resident stream: 40 bytes each with their map, so all of them cost less than the views.
const READ_TIMES_PER_RESIDENT: usize = 4;

/// The resident streams of one shard.
#[derive(Debug)]
pub(crate) struct ShardViews {
    shard: ShardId,
    /// Seed of the incarnation tokens: equal on all replicas of a cluster, different between clusters.
    cluster_seed: u64,
    resident_max: usize,
    /// Nobody noted the reads before this: sliding windows begin here at the earliest.
    windows_from: AtomicI64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    by_name: HashMap<StreamName, Entry>,
    by_id: StreamMap<Arc<StreamView>>,
    /// Reads of streams that are not resident.
    read_times: ReadTimes,
    /// Names created or deleted behind what the tables applied.
    recent: BTreeMap<StreamName, LogIndex>,
    /// The same in the order in which the tables will apply them; a name that came again is here again.
    recent_order: VecDeque<(LogIndex, StreamName)>,
    /// Counts creations, deletions and evictions, so that a load from the tables that overlapped one is not installed.
    turned: u64,
    /// The tables hold everything up to here.
    applied: LogIndex,
    /// With this many resident streams the next eviction is tried.
    evict_at: usize,
}

#[derive(Debug, Clone)]
enum Entry {
    Here(Arc<StreamView>),
    /// Deleted by a record that the tables have not applied.
    Deleted(LogIndex),
}

/// What is known of a name without asking the tables.
#[derive(Debug)]
pub(crate) enum Known {
    /// It is resident.
    Here(Arc<StreamView>),
    /// It does not exist.
    Absent,
    /// The tables know; install with this ticket.
    AskTables(Ticket),
}

/// A name that was created (with its view) or deleted behind the tables.
pub(crate) type Recent = (StreamName, Option<Arc<StreamView>>);

/// Proves when a load from the tables began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl ShardViews {
    pub(crate) fn new(
        shard: ShardId,
        cluster_seed: u64,
        resident_max: usize,
        started_at: UnixMillis,
    ) -> Self {
        let inner = Inner {
            by_name: HashMap::new(),
            by_id: StreamMap::default(),
            read_times: ReadTimes::new(resident_max.saturating_mul(READ_TIMES_PER_RESIDENT)),
            recent: BTreeMap::new(),
            recent_order: VecDeque::new(),
            turned: 0,
            applied: LogIndex(0),
            evict_at: 0,
        };
        let windows_from = AtomicI64::new(started_at.0);
        Self { shard, cluster_seed, resident_max, windows_from, inner: Mutex::new(inner) }
    }

    fn windows_from(&self) -> UnixMillis {
        UnixMillis(self.windows_from.load(Ordering::Relaxed))
    }

    /// Nothing is known of reads before this: all sliding windows begin afresh.
    pub(crate) fn begin_windows(&self, now: UnixMillis) {
        self.windows_from.fetch_max(now.0, Ordering::Relaxed);
        self.lock().by_id.values().for_each(|view| view.touch(now));
    }

    fn view(&self, meta: &StreamMeta, index: LogIndex) -> Arc<StreamView> {
        Arc::new(StreamView::new(meta, self.incarnation(meta.id), index, self.windows_from()))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn incarnation(&self, stream: StreamId) -> Incarnation {
        incarnation(self.cluster_seed, self.shard, stream)
    }

    /// Looks a name up.
    pub(crate) fn by_name(&self, name: &StreamName) -> Known {
        let inner = self.lock();
        match inner.by_name.get(name) {
            Some(Entry::Here(view)) => Known::Here(Arc::clone(view)),
            Some(Entry::Deleted(_)) => Known::Absent,
            None => Known::AskTables(Ticket(inner.turned)),
        }
    }

    /// Looks an id up; a fork finds its source by it, whatever became of the name.
    pub(crate) fn by_id(&self, stream: StreamId) -> Option<Arc<StreamView>> {
        self.lock().by_id.get(&stream).map(Arc::clone)
    }

    /// A view of what the tables hold, with the read that is known.
    fn load(&self, inner: &mut Inner, meta: &StreamMeta) -> Arc<StreamView> {
        let view = StreamView::new(meta, self.incarnation(meta.id), LogIndex(0), self.windows_from());
        if let Some(read) = inner.read_times.take(meta.id) {
            view.touch(read);
        }
        Arc::new(view)
    }

    /// The last read of a stream that is known, resident or not.
    pub(crate) fn last_read(&self, stream: StreamId) -> UnixMillis {
        let inner = self.lock();
        let read = match inner.by_id.get(&stream) {
            Some(view) => view.read_at(),
            None => inner.read_times.get(stream),
        };
        read.unwrap_or(self.windows_from()).max(self.windows_from())
    }

    /// At most `count` streams whose last reads should be recorded in the log, because too many are kept here.
    pub(crate) fn unrecorded_reads(&self, count: usize) -> Vec<StreamId> {
        self.lock().read_times.excess(count)
    }

    /// For a look at the tables that installs nothing.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.lock().turned)
    }

    /// A view of what the tables hold that nobody else will see: for a look in passing, which must not drive out the
    /// streams that are in use.
    pub(crate) fn glimpse(&self, meta: &StreamMeta) -> StreamView {
        let view = StreamView::new(meta, self.incarnation(meta.id), LogIndex(0), self.windows_from());
        view.touch(self.last_read(meta.id));
        view
    }

    /// Takes what the tables said, unless something was published since the ticket; then the caller looks again.
    pub(crate) fn install(&self, meta: &StreamMeta, ticket: Ticket) -> Option<Arc<StreamView>> {
        let mut inner = self.lock();
        if let Some(Entry::Here(view)) = inner.by_name.get(&meta.name) {
            return Some(Arc::clone(view));
        }
        if inner.turned != ticket.0 {
            return None;
        }
        let view = self.load(&mut inner, meta);
        inner.by_name.insert(meta.name.clone(), Entry::Here(Arc::clone(&view)));
        inner.by_id.insert(meta.id, Arc::clone(&view));
        inner.evict(self.resident_max);
        Some(view)
    }

    /// The owner loaded a stream's head in order to decide on it: from now on every change passes through here, so the
    /// view must be resident. Only the owner publishes, so nothing can have overlapped.
    pub(crate) fn install_by_owner(&self, meta: &StreamMeta) -> Arc<StreamView> {
        let mut inner = self.lock();
        if let Some(view) = inner.by_id.get(&meta.id) {
            return Arc::clone(view);
        }
        let view = self.load(&mut inner, meta);
        if !meta.retired || !inner.by_name.contains_key(&meta.name) {
            inner.by_name.insert(meta.name.clone(), Entry::Here(Arc::clone(&view)));
        }
        inner.by_id.insert(meta.id, Arc::clone(&view));
        view
    }

    /// Publishes the ops of one committed record. `view` is the stream's, held by the owner since it decided; a creation
    /// makes its own. `told` hears of each op, and how many payload bytes may not be read any more through it though their
    /// stream goes on.
    pub(crate) fn publish(
        &self,
        ops: &[Op],
        index: LogIndex,
        view: Option<&StreamView>,
        mut told: impl FnMut(&Op, u64),
    ) {
        let mut begun = None;
        for (at, op) in ops.iter().enumerate() {
            let let_go = match op {
                Op::Create(meta) => {
                    begun = Some(meta.id);
                    self.publish_creation(meta, index, ops.get(at + 1..).unwrap_or_default());
                    0
                }
                // It came with the creation.
                Op::Append(append) if begun == Some(append.stream) => 0,
                op => self.publish_change(op, index, view),
            };
            told(op, let_go);
        }
    }

    fn publish_change(&self, op: &Op, index: LogIndex, view: Option<&StreamView>) -> u64 {
        let change = match op {
            Op::Append(append) => {
                let found = if view.is_some_and(|view| view.id == append.stream) {
                    None
                } else {
                    self.by_id(append.stream)
                };
                if let Some(view) = found.as_deref().or(view) {
                    view.append(append, index);
                }
                return 0;
            }
            Op::Delete { stream } => {
                self.publish_deletion(*stream, index);
                (*stream, Change::Delete)
            }
            Op::Retire { stream } => (*stream, Change::Retire),
            Op::Pin(PinOp { stream, pin, .. }) => (*stream, Change::Pin(*pin)),
            Op::Unpin { stream, pin } => (*stream, Change::Unpin(*pin)),
            Op::Trim { stream, earliest } => (*stream, Change::Trim(*earliest)),
            Op::Touch { stream, at } => (*stream, Change::Touch(*at)),
            Op::Create(_) | Op::Put { .. } | Op::Erase { .. } => return 0,
        };
        self.by_id(change.0).map_or(0, |view| view.change(index, change.1))
    }

    /// `behind`: the rest of the record. What the stream is born with is in the view before anybody can find it.
    fn publish_creation(&self, meta: &StreamMeta, index: LogIndex, behind: &[Op]) {
        let view = self.view(meta, index);
        for op in behind {
            match op {
                Op::Append(append) if append.stream == meta.id => view.append(append, index),
                _ => {}
            }
        }
        let mut inner = self.lock();
        inner.turned += 1;
        inner.remember(&meta.name, index);
        inner.by_name.insert(meta.name.clone(), Entry::Here(Arc::clone(&view)));
        inner.by_id.insert(meta.id, view);
    }

    fn publish_deletion(&self, stream: StreamId, index: LogIndex) {
        let mut inner = self.lock();
        inner.turned += 1;
        inner.read_times.take(stream);
        let Some(view) = inner.by_id.get(&stream).map(Arc::clone) else { return };
        inner.remember(&view.name, index);
        let current = matches!(inner.by_name.get(&view.name), Some(Entry::Here(here)) if here.id == stream);
        if current {
            inner.by_name.insert(view.name.clone(), Entry::Deleted(index));
        }
    }

    /// The tables hold everything up to `index`; `changed` are the streams that the applied records touched.
    pub(crate) fn applied(&self, index: LogIndex, changed: &[StreamId]) {
        let mut inner = self.lock();
        inner.applied = index;
        inner.forget(index);
        for stream in changed {
            let Some(view) = inner.by_id.get(stream).map(Arc::clone) else { continue };
            if view.applied(index) {
                inner.remove(&view);
            }
            if matches!(inner.by_name.get(&view.name), Some(Entry::Deleted(at)) if *at <= index) {
                inner.by_name.remove(&view.name);
            }
        }
    }

    /// Other tables are behind this from now on, which hold everything up to `index`: what is resident shows what `found` says
    /// they have, and nothing is known beside. Gives the views, so that whoever waits for their changes is told.
    pub(crate) fn begin_again<E>(
        &self,
        index: LogIndex,
        found: impl Fn(StreamId) -> Result<Option<StreamMeta>, E>,
    ) -> Result<Vec<Arc<StreamView>>, E> {
        let mut inner = self.lock();
        let views: Vec<Arc<StreamView>> = inner.by_id.values().map(Arc::clone).collect();
        for view in &views {
            match found(view.id)? {
                Some(meta) => view.begin_again(&meta, index),
                None => {
                    view.end(index);
                    inner.read_times.take(view.id);
                    inner.remove(view);
                }
            }
        }
        inner.by_name.retain(|_, entry| matches!(entry, Entry::Here(_)));
        inner.recent.clear();
        inner.recent_order.clear();
        inner.turned += 1;
        inner.applied = index;
        Ok(views)
    }

    /// Empty tables are behind this from now on: nothing is known. Gives the views, which show no change any more, so that whoever waits
    /// for one is told.
    pub(crate) fn begin_with_nothing(&self) -> Vec<Arc<StreamView>> {
        let mut inner = self.lock();
        inner.by_name.clear();
        inner.recent.clear();
        inner.recent_order.clear();
        inner.turned += 1;
        inner.applied = LogIndex(0);
        inner.by_id.drain().map(|(_, view)| view).collect()
    }

    /// Keeps the number of resident streams within its bound.
    pub(crate) fn evict(&self) {
        self.lock().evict(self.resident_max);
    }

    /// At most `count` names behind `after` (or from `prefix` on) that were created or deleted behind the tables, in order;
    /// nothing when there are no more. A listing asks each of them again.
    pub(crate) fn recent(&self, prefix: &str, after: Option<&str>, count: usize) -> Vec<Recent> {
        let first = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let inner = self.lock();
        let names = inner.recent.range::<str, _>((first, Bound::Unbounded)).map(|(name, _)| name);
        let matching = names.take_while(|name| name.as_str().starts_with(prefix)).take(count);
        matching
            .map(|name| match inner.by_name.get(name) {
                Some(Entry::Here(view)) => (name.clone(), Some(Arc::clone(view))),
                _ => (name.clone(), None),
            })
            .collect()
    }

    /// How many streams are resident.
    pub(crate) fn resident(&self) -> usize {
        self.lock().by_id.len()
    }

    /// Wakes every waiter of the shard, for a shutdown.
    pub(crate) fn wake_all(&self) {
        let views: Vec<_> = self.lock().by_id.values().map(Arc::clone).collect();
        for view in views {
            view.changed().notify_waiters();
        }
    }
}

/// The token of a stream: equal on all replicas of a cluster, different for each stream that ever was.
pub(crate) fn incarnation(cluster_seed: u64, shard: ShardId, stream: StreamId) -> Incarnation {
    let mut bytes = [0; 18];
    bytes[..8].copy_from_slice(&cluster_seed.to_le_bytes());
    bytes[8..10].copy_from_slice(&shard.0.to_le_bytes());
    bytes[10..].copy_from_slice(&stream.0.to_le_bytes());
    Incarnation(seahash::hash(&bytes))
}

impl Inner {
    /// Drops views that nobody holds and whose last change the tables have, down to the bound, once it is passed by an
    /// eighth. The owner holds the view of every record under way, so none of those goes. The last read of a sliding
    /// window is kept without its view; only while there is no room for it, the view stays.
    fn evict(&mut self, resident_max: usize) {
        if self.by_id.len() <= self.evict_at.max(resident_max + resident_max / 8) {
            return;
        }
        let (applied, count) = (self.applied, self.by_id.len() - resident_max);
        // Two counts are the two maps' own.
        let idle = |view: &&Arc<StreamView>| Arc::strong_count(view) <= 2 && view.evictable(applied);
        let victims: Vec<_> = self.by_id.values().filter(idle).take(count).map(Arc::clone).collect();
        for view in victims {
            let unrecorded = view.unrecorded_read();
            if unrecorded.is_none_or(|read| self.read_times.keep(view.id, read)) {
                self.remove(&view);
            }
        }
        // When all are busy, the next look waits until there are an eighth more, so that looking stays cheap.
        self.evict_at = self.by_id.len() + resident_max / 8;
    }

    /// A name was created or deleted by the record `index`.
    fn remember(&mut self, name: &StreamName, index: LogIndex) {
        self.recent.insert(name.clone(), index);
        self.recent_order.push_back((index, name.clone()));
    }

    /// The tables hold everything up to `index`.
    fn forget(&mut self, index: LogIndex) {
        while let Some((at, name)) = self.recent_order.pop_front_if(|(at, _)| *at <= index) {
            if self.recent.get(&name) == Some(&at) {
                self.recent.remove(&name);
            }
        }
    }

    fn remove(&mut self, view: &StreamView) {
        self.turned += 1;
        self.by_id.remove(&view.id);
        if matches!(self.by_name.get(&view.name), Some(Entry::Here(here)) if here.id == view.id) {
            self.by_name.remove(&view.name);
        }
    }
}

#[cfg(test)]
mod tests;
