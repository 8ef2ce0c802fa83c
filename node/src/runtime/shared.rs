//! What readers and owners share: the shards' views and tables, the clock, the cache, the flag that ends everything.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::Failure;
use super::health::Health;
use super::lane::Looks;
use super::links::{Cluster, Visible};
use super::mailbox::Mailbox;
use super::snapshots::{Grown, SnapshotDesk};
use super::subscriptions::SubscriptionIndex;
use super::views::{SegmentCache, ShardViews, incarnation};
use super::whereabouts::Leaders;
use crate::seam::{Clock, lending};
use crate::store::tables::{ReadFault, Reader, TablesError};
use crate::telemetry::{Counter, Metrics};
use crate::types::{
    ClusterId, Incarnation, LogIndex, Party, ShardCount, ShardId, StreamId, StreamName, UnixMillis,
    VolumeIncarnation,
};

/// One shard as readers see it.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    pub(crate) views: ShardViews,
    pub(crate) tables: Reader,
    /// The door of the lane that owns it.
    pub(crate) mailbox: Arc<Mailbox>,
    /// Counts what stored data failed to give.
    corrupt_reads: Counter,
    health: Health,
    /// How far its committed log is visible to readers.
    pub(crate) visible: Visible,
    /// How far its tables are.
    pub(crate) grown: Grown,
    /// It was said that what is stored is damaged.
    rot_is_told: AtomicBool,
    /// A leader elsewhere says that it can do without what is stored here.
    is_spare: AtomicBool,
    /// Counts how often nothing was heard of a leader for too long.
    losses: AtomicU64,
    /// It is led here, and its followers do not take what is written.
    stalled: AtomicBool,
}

/// A shard, or why it is not served.
#[derive(Debug)]
pub(crate) enum Slot {
    /// Served.
    Open(Box<Shard>),
    /// Found damaged at start.
    Damaged(Arc<str>),
}

/// What all parts of a running engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) count: ShardCount,
    pub(crate) slots: Vec<Slot>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cache: SegmentCache,
    pub(crate) metrics: Arc<Metrics>,
    /// Subscriptions and their links as committed.
    pub(crate) subscriptions: SubscriptionIndex,
    /// Who leads each shard.
    pub(crate) leaders: Leaders,
    /// This node among others; not there on a node of its own.
    pub(crate) cluster: OnceLock<Arc<Cluster>>,
    /// How the shards of each lane stand.
    pub(crate) looks: Looks,
    /// Where snapshots are ordered.
    pub(crate) snapshots: SnapshotDesk,
    /// Counts the times that a shard's tables were emptied here.
    emptied: AtomicU64,
    /// Somebody wants this node to hand over what it leads.
    pub(crate) draining: AtomicBool,
    /// Somebody wants this node to end.
    pub(crate) end_wanted: tokio::sync::Notify,
    /// Seed of the incarnation tokens.
    cluster_seed: u64,
    /// Its cluster, and which it is.
    volume: (ClusterId, VolumeIncarnation),
    /// Payload bytes of all streams, as of the sweeper's last round; and how many there may be.
    stored: AtomicU64,
    stored_max: Option<u64>,
    closing: AtomicBool,
    /// For those who wait for the end on a thread of their own.
    ending: (Mutex<()>, Condvar),
}

impl Shard {
    pub(crate) fn new(
        id: ShardId,
        views: ShardViews,
        tables: Reader,
        mailbox: Arc<Mailbox>,
        corrupt_reads: Counter,
    ) -> Self {
        let (health, visible, grown, rot_is_told, is_spare, losses, stalled) = Default::default();
        Self {
            id,
            views,
            tables,
            mailbox,
            corrupt_reads,
            health,
            visible,
            grown,
            rot_is_told,
            is_spare,
            losses,
            stalled,
        }
    }

    /// Whether something that is stored fails its checksum, whoever met it. Everything else is served as far as it can be read; in a
    /// cluster somebody else should lead, and the next start gets other tables.
    pub(crate) fn is_rotten(&self) -> bool {
        let Some(what) = self.tables.rot() else { return false };
        if !self.rot_is_told.swap(true, Ordering::Relaxed) {
            tracing::error!(shard = self.id.0, %what, "stored data is damaged");
        }
        true
    }

    /// Whether a leader elsewhere can do without what is stored here, as of the last heartbeat.
    pub(crate) fn note_spare(&self, is_spare: bool) {
        self.is_spare.store(is_spare, Ordering::Relaxed);
    }

    /// As it was noted.
    pub(crate) fn is_spare(&self) -> bool {
        self.is_spare.load(Ordering::Relaxed)
    }

    /// Whether that is so, or all is refused for good.
    pub(crate) fn is_damaged(&self) -> bool {
        self.is_rotten() || self.refuses()
    }

    /// Whether all is refused until other tables are there.
    pub(crate) fn refuses(&self) -> bool {
        matches!(self.check(), Err(Failure::ShardDamaged { .. }))
    }

    /// Refuses everything until all is shown again that was shown, because the tables are set aside.
    fn begin_emptying(&self) {
        self.health.begin_emptying(self.visible.upto());
    }

    /// Empty ones are there: what was wrong with the others is over.
    pub(crate) fn pardon(&self) {
        self.health.pardon();
    }

    /// They are empty. What follows them here does not see what comes.
    pub(crate) fn begin_with_nothing(&self) {
        self.forget_rot();
        let views = self.views.begin_with_nothing();
        // Behind that, so that whoever came to a view in between is told as well.
        self.lose_contact();
        views.iter().for_each(|view| view.changed().notify_waiters());
    }

    /// Everything up to here is visible.
    pub(crate) fn show(&self, upto: LogIndex) {
        self.visible.advance(upto);
        self.health.shows(upto);
    }

    /// Other tables have taken the place of those in which damage may have been found.
    pub(crate) fn forget_rot(&self) {
        self.rot_is_told.store(false, Ordering::Relaxed);
    }

    /// Nothing is heard of a leader: whoever follows a stream here no longer knows whether it is told everything.
    pub(crate) fn lose_contact(&self) {
        self.losses.fetch_add(1, Ordering::Release);
        self.views.wake_all();
    }

    /// Another number than before: contact was lost meanwhile.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// Whether followers do not take what is written here; says whether that is new.
    pub(crate) fn stall(&self, stalled: bool) -> bool {
        self.stalled.swap(stalled, Ordering::AcqRel) != stalled
    }

    /// Whether they do not.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    /// Refuses when damage was found, or other tables are being opened.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.health.check(self.id)
    }

    /// Refuses everything until the next start.
    pub(crate) fn condemn(&self, reason: &str) {
        tracing::error!(shard = self.id.0, reason, "shard damaged, refusing service");
        self.health.condemn(reason);
    }

    /// The same for what concerns all shards of the node, and was said of it.
    pub(crate) fn condemn_with_all(&self, reason: &str) {
        tracing::debug!(shard = self.id.0, reason, "refusing service");
        self.health.condemn(reason);
    }

    /// Refuses everything until [`Self::resume`].
    pub(crate) fn suspend(&self, reason: &str) {
        tracing::warn!(
            shard = self.id.0,
            reason,
            "the device failed this shard's tables; opening them again"
        );
        self.health.suspend(reason);
    }

    /// The tables hold again what they held.
    pub(crate) fn resume(&self) {
        tracing::info!(shard = self.id.0, "the shard's tables are open again");
        self.health.resume();
    }

    /// Refuses everything until [`Self::end_replacing`], because a leader's snapshot takes the place of the tables.
    pub(crate) fn begin_replacing(&self) {
        self.health.begin_replacing();
    }

    /// Its lane has begun again with the new tables, or the old ones are there still.
    pub(crate) fn end_replacing(&self) {
        self.health.end_replacing();
    }

    /// A table that cannot be read answers an error for what was asked, and nothing wrong for anything.
    pub(crate) fn fault(&self, fault: &ReadFault) -> Failure {
        match fault {
            ReadFault::Tables(error) => self.table_fault(error),
            other => {
                self.corrupt_reads.inc();
                tracing::error!(shard = self.id.0, fault = %other, "the tables do not hold what was committed");
                Failure::Corrupt
            }
        }
    }

    /// The same for an access that reads no messages.
    pub(crate) fn table_fault(&self, error: &TablesError) -> Failure {
        if *error == TablesError::Busy {
            return Failure::ShardBusy { shard: self.id };
        }
        tracing::error!(shard = self.id.0, %error, "stored data not served");
        if let TablesError::Damaged { reason } | TablesError::Behind { reason } = error {
            // The applier will see it, too, and opens the tables again.
            return Failure::ShardReopening { shard: self.id, reason: Arc::clone(reason) };
        }
        if let TablesError::Corrupt { .. } = error {
            self.tables.note_rot(&error.to_string());
        }
        self.corrupt_reads.inc();
        Failure::Corrupt
    }
}

impl Shared {
    pub(crate) fn new(
        count: ShardCount,
        slots: Vec<Slot>,
        clock: Arc<dyn Clock>,
        cache: SegmentCache,
        metrics: Arc<Metrics>,
        cluster_seed: u64,
        stored_max: Option<u64>,
    ) -> Self {
        Self {
            count,
            slots,
            clock,
            cache,
            metrics,
            subscriptions: SubscriptionIndex::new(0),
            leaders: Leaders::all_here(count),
            cluster: OnceLock::new(),
            looks: Looks::default(),
            snapshots: SnapshotDesk::default(),
            emptied: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            end_wanted: tokio::sync::Notify::new(),
            cluster_seed,
            volume: (ClusterId([0; 16]), VolumeIncarnation([0; 16])),
            stored: AtomicU64::new(0),
            stored_max,
            closing: AtomicBool::new(false),
            ending: Default::default(),
        }
    }

    /// A member of a cluster.
    pub(crate) fn in_cluster(mut self, cluster: Arc<Cluster>) -> Self {
        self.leaders = Leaders::unknown(self.count);
        self.cluster = OnceLock::from(cluster);
        self
    }

    /// On this volume.
    pub(crate) fn on_volume(mut self, cluster: ClusterId, incarnation: VolumeIncarnation) -> Self {
        self.volume = (cluster, incarnation);
        self
    }

    /// Who this node is to others.
    pub(crate) fn party(&self) -> Party {
        let (cluster, volume) = self.volume;
        Party { cluster, member: self.cluster.get().and_then(|cluster| cluster.me()), volume: Some(volume) }
    }

    /// The moment by which reads judge whether a stream's time is over. In a cluster they do not: the leader writes the end,
    /// and a replica serves a stream until it has that.
    pub(crate) fn judged_at(&self) -> UnixMillis {
        if self.cluster.get().is_some() { UnixMillis(i64::MIN) } else { self.clock.now() }
    }

    /// With another bound on links.
    pub(crate) fn with_links_max(mut self, links_max: u32) -> Self {
        self.subscriptions = SubscriptionIndex::new(usize::try_from(links_max).unwrap_or(usize::MAX));
        self
    }

    /// The token of a stream.
    pub(crate) fn incarnation(&self, shard: ShardId, stream: StreamId) -> Incarnation {
        incarnation(self.cluster_seed, shard, stream)
    }

    /// The shard of a name, if it is served.
    pub(crate) fn shard_of(&self, name: &StreamName) -> Result<&Shard, Failure> {
        self.shard(name.shard(self.count))
    }

    /// A shard, if it is served.
    pub(crate) fn shard(&self, id: ShardId) -> Result<&Shard, Failure> {
        match self.slots.get(usize::from(id.0)) {
            Some(Slot::Open(shard)) => shard.check().map(|()| &**shard),
            Some(Slot::Damaged(reason)) => {
                Err(Failure::ShardDamaged { shard: id, reason: Arc::clone(reason) })
            }
            None => Err(Failure::ShardDamaged { shard: id, reason: "no such shard".into() }),
        }
    }

    /// A shard that was found sound at start, whether it is served at the moment or not: what is committed is published
    /// all the same.
    pub(crate) fn open_shard(&self, id: ShardId) -> Option<&Shard> {
        match self.slots.get(usize::from(id.0)) {
            Some(Slot::Open(shard)) => Some(&**shard),
            _ => None,
        }
    }

    /// How often a shard has heard of no leader for too long; it only grows.
    pub(crate) fn losses(&self, id: ShardId) -> u64 {
        self.open_shard(id).map_or(0, Shard::losses)
    }

    /// A shard's tables are about to be emptied: nobody reads them any more, and what was read since is not believed.
    pub(crate) fn begin_emptying(&self, shard: &Shard) {
        shard.begin_emptying();
        self.emptied.fetch_add(1, Ordering::AcqRel);
    }

    /// Looks at what is stored and shown. What it saw counts only if no tables were emptied meanwhile: it may have found a shard served,
    /// and then nothing in it.
    pub(crate) fn believed<T, E: From<Failure>>(
        &self,
        shard: ShardId,
        look: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.emptied.load(Ordering::Acquire);
        let seen = look();
        if self.emptied.load(Ordering::Acquire) != before {
            return Err(Failure::ShardBusy { shard }.into());
        }
        seen
    }

    /// All shards that were found sound at start.
    pub(crate) fn open_shards(&self) -> impl Iterator<Item = &Shard> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Open(shard) => Some(&**shard),
            Slot::Damaged(_) => None,
        })
    }

    /// Whether nothing was ever written to any shard here, as far as the tables say; a damaged one may have held anything.
    pub(crate) fn holds_nothing(&self) -> bool {
        self.slots.iter().all(|slot| match slot {
            Slot::Open(shard) => lending(|| shard.tables.applied()) == Ok(LogIndex(0)),
            Slot::Damaged(_) => false,
        })
    }

    /// What the tables hold by now.
    pub(crate) fn note_stored(&self, bytes: u64) {
        self.stored.store(bytes, Ordering::Relaxed);
    }

    /// Refuses writes once the node holds as much as it may. The figure is up to a sweep old, so the bound is passed by
    /// what a second of writes brings; a bound that is exact would be a lock around all shards.
    pub(crate) fn check_total(&self) -> Result<(), Failure> {
        match self.stored_max {
            Some(limit) if self.stored.load(Ordering::Relaxed) >= limit => Err(Failure::NodeFull { limit }),
            _ => Ok(()),
        }
    }

    /// Whether the engine is shutting down.
    pub(crate) fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Waits for `patience` or until the engine closes; says whether it does.
    pub(crate) fn wait_until_closing(&self, patience: Duration) -> bool {
        let guard = self.ending.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.ending.1.wait_timeout_while(guard, patience, |()| !self.closing()));
        self.closing()
    }

    /// Refuses new writes and wakes everybody who waits for something to happen.
    pub(crate) fn close(&self) {
        {
            let _order = self.ending.0.lock().unwrap_or_else(PoisonError::into_inner);
            self.closing.store(true, Ordering::Release);
        }
        self.ending.1.notify_all();
        for shard in self.open_shards() {
            shard.views.wake_all();
        }
        self.subscriptions.wake_hub();
        self.snapshots.end();
    }
}
