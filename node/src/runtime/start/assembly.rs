//! The parts of an engine put together: owners of lanes and shards, the applier, the sweeper, and their threads.
//!
//! Invariant: each shard's epoch-start entry is durable before the first thread runs, and an assembly that fails leaves no
//! thread behind. What the volume holds has been read before; reading it is the start's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;

use super::Running;
use super::membership::Membership;
use super::replay::{Replays, ShardReplay};
use super::report::StartReport;
use super::volume::{Volume, may_begin_anew};
use crate::codec::record::RecordKind;
use crate::codec::snapshot::Compression;
use crate::config::{Config, Size, SnapshotCompression};
use crate::core::{CoreLimits, ShardCore};
use crate::runtime::applier::{Applier, ApplyPace, ApplyQueue, Room, ShardApplier};
use crate::runtime::engine::Engine;
use crate::runtime::fatal::Fatal;
use crate::runtime::lane::{Duty, Flights, Group, LaneOwner, Listener};
use crate::runtime::links::{Cluster, Founding};
use crate::runtime::mailbox::Mailbox;
use crate::runtime::owner::{Deadlines, Line, Log, Pending, ShardOwner};
use crate::runtime::seeding::Workshop;
use crate::runtime::shared::{Shard, Shared, Slot};
use crate::runtime::snapshots::{SnapshotPace, SnapshotTaker, Triggers};
use crate::runtime::sweeper::{SweepPace, Sweeper};
use crate::runtime::views::{SegmentCache, ShardViews};
use crate::runtime::watch::Watch;
use crate::seam::Clock;
use crate::store::aol::{Lane, LaneReader};
use crate::store::reserve::Spare;
use crate::store::snapshots::WriteOptions;
use crate::store::tables::Reader;
use crate::telemetry::Metrics;
use crate::types::limits::PRODUCERS_PER_STREAM_MAX;
use crate::types::{
    Acks, AolMode, LaneId, LanePosition, ReplicaId, Roster, ShardId, Space, StreamId, UnixMillis,
};
use crate::wire::{Host, LinkOptions, Links};

/// How long a committed record waits for company before it is applied: long enough that a busy stream fills chunks.
const APPLY_INTERVAL: Duration = Duration::from_secs(1);

/// What the record takes that begins an epoch, generously.
const EPOCH_START_BYTES: usize = 256;

/// What the owners are made of.
pub(super) struct Parts<'a> {
    pub(super) volume: Volume,
    pub(super) membership: Membership,
    pub(super) config: &'a Config,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    /// Where the log of each lane begins.
    pub(super) starts: Vec<LanePosition>,
    /// The moment from which on reads are remembered.
    pub(super) started_at: UnixMillis,
}

impl Parts<'_> {
    /// Makes them and starts their threads.
    pub(super) fn assemble(
        self,
        replays: Replays,
        logs: Vec<Lane>,
        report: &mut StartReport,
    ) -> anyhow::Result<Running> {
        let mailboxes: Vec<Arc<Mailbox>> = logs.iter().map(|_| Arc::default()).collect();
        let mailbox_of = |shard: ShardId| -> Arc<Mailbox> {
            let lane = usize::from(self.volume.lane_of(shard).0);
            mailboxes.get(lane).map(Arc::clone).unwrap_or_default()
        };
        let by_shard: Arc<[Arc<Mailbox>]> = self.volume.layout.shards.shards().map(mailbox_of).collect();
        let (mut sound, mut lacking) = (BTreeMap::new(), Vec::new());
        let holds = self.holds(&replays);
        for (shard, replay) in replays {
            match replay.damage {
                None => {
                    report.lacking.extend(replay.lacking.clone().map(|reason| (shard, reason)));
                    lacking.extend(replay.lacking.as_ref().map(|_| (shard, replay.left_out())));
                    sound.insert(shard, replay);
                }
                Some(reason) => report.damaged.push((shard, reason)),
            }
        }
        let mut shared = self.shared(&sound, report, &by_shard);
        if let Some(cluster) = self.cluster(&mailboxes) {
            shared = shared.in_cluster(Arc::new(cluster));
        }
        let shared = Arc::new(shared);
        let queue = Arc::new(ApplyQueue::new(self.config.apply_backlog.get(), logs.len()));
        let fatal = Fatal::default();
        self.volume.vault.report_to(&fatal);
        let mut running = Running {
            engine: Engine { shared: Arc::clone(&shared) },
            fatal: fatal.clone(),
            report: StartReport::default(),
            vault: Arc::clone(&self.volume.vault),
            mailboxes: mailboxes.clone(),
            threads: Vec::new(),
            links: None,
            volume: None,
        };
        let readers: Vec<LaneReader> = logs.iter().map(Lane::reader).collect();
        let mut owners = self.lane_owners(logs, &mailboxes, &queue, &fatal, &shared)?;
        for (shard, replay) in &mut sound {
            let lane = usize::from(self.volume.lane_of(*shard).0);
            if let Some(owner) = owners.get_mut(lane) {
                let started = self.owner(*shard, replay, &shared)?;
                owner.shards.insert(*shard, started);
            }
        }
        let sweeper = self.sweeper(&shared);
        let mut snapshots = self.snapshots(&shared, &readers);
        snapshots.look_around();
        let applier = self.applier(sound, holds, &shared, &queue, &mailboxes, &readers);
        self.begin(&mut owners, &lacking)?;
        let links = self.links(&shared, readers)?;
        running.threads = threads(owners, applier, sweeper, snapshots, &fatal, &queue)?;
        running.threads.extend(listener(&shared, &fatal, &queue)?);
        running.threads.extend(self.seeding(&shared, &fatal, &queue)?);
        running.links = links;
        running.volume = Some(self.volume);
        Ok(running)
    }

    /// The node among others, if it is.
    fn cluster(&self, mailboxes: &[Arc<Mailbox>]) -> Option<Cluster> {
        let Membership::Member { roster, me, file } = &self.membership else { return None };
        let (vault, plan) = (Arc::clone(&self.volume.vault), file.as_ref().map_or(0, |file| file.plan()));
        let founding = self.founding(roster, *me);
        if founding.is_due() {
            tracing::info!(
                members = founding.unmet.len(),
                "a fresh directory: the shards that it leads first begin once every other member of the cluster file was reached"
            );
        }
        let cluster = Cluster::new(
            vault,
            roster.clone(),
            *me,
            mailboxes,
            may_begin_anew(self.config),
            (plan, self.config.acks),
        );
        Some(if founding.is_due() { cluster.founding(founding) } else { cluster })
    }

    /// What this node begins, and whom it has to reach before.
    fn founding(&self, roster: &Roster, me: Option<ReplicaId>) -> Founding {
        let unmet = roster.members.keys().copied().filter(|id| Some(*id) != me).collect();
        let shards = self.volume.layout.shards.shards();
        let fresh = shards
            .filter(|shard| self.membership.founds(*shard) && self.volume.vault.memory(*shard).is_none());
        Founding { first: fresh.map(|shard| (shard, self.membership.first_memory(shard))).collect(), unmet }
    }

    /// All owners before the first thread runs: a start that fails leaves no thread behind.
    fn begin(
        &self,
        owners: &mut [LaneOwner],
        lacking: &[(ShardId, Option<LanePosition>)],
    ) -> anyhow::Result<()> {
        for owner in owners {
            self.make_room_for_epochs(owner)?;
            for (shard, left_out) in lacking {
                owner.leave_out(*shard, *left_out);
            }
            if let Some(me) = self.membership.me() {
                self.remember_first(owner)?;
                owner.join(me);
            }
            owner.turn().context("the log cannot be written")?;
            owner.tell(self.clock.elapsed());
        }
        Ok(())
    }

    fn sweeper(&self, shared: &Arc<Shared>) -> Sweeper {
        let pace = SweepPace {
            interval: self.config.sweep_interval,
            streams_max: usize::try_from(self.config.sweep_streams_max).unwrap_or(usize::MAX),
            scrub_period: self.config.scrub_period,
            scrub_rate: self.config.scrub_rate.get(),
        };
        Sweeper::new(Arc::clone(shared), Arc::clone(&self.clock), Arc::clone(&self.metrics), pace)
            .beside(Arc::clone(&self.volume.root))
    }

    fn snapshots(&self, shared: &Arc<Shared>, logs: &[LaneReader]) -> SnapshotTaker {
        let config = self.config;
        let options = WriteOptions {
            compression: match config.snapshot_compression {
                SnapshotCompression::None => Compression::None,
                SnapshotCompression::Lz4 => Compression::Lz4,
            },
            bytes_per_second: config.snapshot_rate.map_or(u64::MAX, Size::get),
            // Twice what is left when writes begin to be refused.
            free_bytes_min: self.volume.reserve.wanted(),
            keep: usize::try_from(config.snapshot_keep).unwrap_or(usize::MAX),
        };
        let triggers = Triggers {
            interval: config.snapshot_interval,
            log_bytes: config.snapshot_log_size.map(Size::get),
        };
        let pace = SnapshotPace { triggers, look_interval: config.sweep_interval, options };
        let logs = if config.aol == AolMode::Never { Vec::new() } else { logs.to_vec() };
        let (root, cluster) = (Arc::clone(&self.volume.root), self.volume.cluster());
        SnapshotTaker::new(Arc::clone(shared), Arc::clone(&self.metrics), root, cluster, logs, pace)
    }

    /// Fetches what leaders offer, in a cluster.
    fn seeding(
        &self,
        shared: &Arc<Shared>,
        fatal: &Fatal,
        queue: &Arc<ApplyQueue>,
    ) -> anyhow::Result<Option<JoinHandle<()>>> {
        let Some(cluster) = shared.cluster.get() else { return Ok(None) };
        let shards = self.volume.layout.shards;
        let workshop = Workshop {
            root: Arc::clone(&self.volume.root),
            cluster: self.volume.cluster(),
            shards,
            cache_bytes: usize::try_from(self.config.table_cache.get())? / usize::from(shards.get()),
            spare: Arc::clone(&self.volume.reserve) as Arc<dyn Spare>,
            free_bytes_min: self.volume.reserve.wanted(),
        };
        let (seeding, shared) = (Arc::clone(&cluster.seeding), Arc::clone(shared));
        let guard = Watch::over(fatal, None, queue);
        let thread = std::thread::Builder::new().name("seeding".to_owned());
        Ok(Some(thread.spawn(move || guard.watch(|| seeding.run(&shared, &workshop)))?))
    }

    /// What replicas remember that never remembered anything.
    fn remember_first(&self, owner: &LaneOwner) -> anyhow::Result<()> {
        let cluster = owner.shared.cluster.get();
        let waits = |shard: &ShardId| cluster.is_some_and(|cluster| cluster.awaits_members(*shard));
        let unknown =
            owner.shards.keys().filter(|shard| self.volume.vault.memory(**shard).is_none() && !waits(shard));
        let first: Vec<_> = unknown.map(|shard| (*shard, self.membership.first_memory(*shard))).collect();
        if !first.is_empty() {
            self.volume.vault.save(&first).context("the superblock cannot be written")?;
        }
        Ok(())
    }

    /// Dials and accepts the other members, if there are any.
    fn links(&self, shared: &Arc<Shared>, lanes: Vec<LaneReader>) -> anyhow::Result<Option<Arc<Links>>> {
        let Some(cluster) = shared.cluster.get() else { return Ok(None) };
        let address = self.config.peer_listen;
        let listener = std::net::TcpListener::bind(address).with_context(|| {
            format!("cannot listen on {address}; choose another address with --peer-listen")
        })?;
        let options = LinkOptions {
            catch_up_bytes_per_second: self.config.catch_up_rate.map(Size::get),
            ..LinkOptions::new(self.volume.layout.shards, lanes, Arc::clone(&self.clock))
        };
        let host: Arc<dyn Host> = Arc::clone(cluster) as Arc<dyn Host>;
        let links = Arc::new(Links::start(host, listener, options)?);
        let _first = cluster.links.set(Arc::downgrade(&links));
        Ok(Some(links))
    }

    /// Many starts on a full volume use up what the log keeps for them; then the reserve helps.
    fn make_room_for_epochs(&self, owner: &mut LaneOwner) -> anyhow::Result<()> {
        // An entry that begins the epoch, and one that says who votes.
        let bytes = owner.shards.len() * 2 * EPOCH_START_BYTES;
        if !owner.log.has_room(bytes, RecordKind::EpochStart)? {
            self.volume.reserve.lend(2 * self.config.segment_size.get())?;
        }
        Ok(())
    }

    fn shared(&self, sound: &Replays, report: &StartReport, mailboxes: &[Arc<Mailbox>]) -> Shared {
        let seed = seahash::hash(&self.volume.cluster());
        let (cluster, incarnation) =
            self.volume.vault.look(|superblock| (superblock.cluster, superblock.incarnation));
        let resident = self.heads_max();
        let slot = |shard: ShardId| match (sound.get(&shard), mailboxes.get(usize::from(shard.0))) {
            (Some(replay), Some(mailbox)) => {
                let views = ShardViews::new(shard, seed, resident, self.started_at);
                let corrupt_reads = self.metrics.store.corrupt_reads.clone();
                let (tables, mailbox) = (replay.tables.reader(), Arc::clone(mailbox));
                let open = Shard::new(shard, views, tables, mailbox, corrupt_reads);
                let applied = replay.tables.state().applied.index;
                open.grown.note(applied, 0);
                // Readers see it at once: the next commit may be a long time off.
                open.visible.advance(applied);
                Slot::Open(Box::new(open))
            }
            _ => {
                let reason = report.damaged.iter().find(|(damaged, _)| *damaged == shard);
                Slot::Damaged(reason.map_or("unknown", |(_, reason)| reason.as_str()).into())
            }
        };
        let slots = self.volume.layout.shards.shards().map(slot).collect();
        let cache = SegmentCache::new(usize::try_from(self.config.tail_cache.get()).unwrap_or(usize::MAX));
        Shared::new(
            self.volume.layout.shards,
            slots,
            Arc::clone(&self.clock),
            cache,
            Arc::clone(&self.metrics),
            seed,
            self.config.total_size_max.map(Size::get),
        )
        .on_volume(cluster, incarnation)
        .with_links_max(self.config.subscription_links_max)
    }

    /// Streams that stay resident in a shard, as heads and as views.
    fn heads_max(&self) -> usize {
        usize::try_from(self.config.heads_max).unwrap_or(usize::MAX)
            / usize::from(self.volume.layout.shards.get())
    }

    fn lane_owners(
        &self,
        logs: Vec<Lane>,
        mailboxes: &[Arc<Mailbox>],
        queue: &Arc<ApplyQueue>,
        fatal: &Fatal,
        shared: &Arc<Shared>,
    ) -> anyhow::Result<Vec<LaneOwner>> {
        let mut owners = Vec::new();
        for ((number, log), mailbox) in (0u16..).zip(logs).zip(mailboxes) {
            let lane_metrics = self.metrics.lane(u32::from(number)).context("metrics of the lane")?;
            owners.push(LaneOwner {
                lane: LaneId(number),
                boot: self.volume.boot(),
                log,
                shards: BTreeMap::new(),
                mailbox: Arc::clone(mailbox),
                apply: Arc::clone(queue),
                clock: Arc::clone(&self.clock),
                durability: self.config.durability(),
                sweep_interval: self.config.sweep_interval.min(Duration::from_millis(100)),
                heartbeat: self.config.heartbeat,
                acks_alone: self.config.acks == Acks::Leader,
                ahead_max: 2 * self.config.request_permits.get(),
                follower_log_max: self.config.follower_log_max.get(),
                fatal: fatal.clone(),
                metrics: Arc::clone(&self.metrics),
                lane_metrics,
                group: Group::default(),
                scratch: bytes::BytesMut::new(),
                unsynced_since: None,
                swept_at: Duration::ZERO,
                broken: false,
                unmarked: false,
                full: false,
                shared: Arc::clone(shared),
                vault: Arc::clone(&self.volume.vault),
                duty: Duty::default(),
                flights: Flights::new(LaneId(number), Arc::clone(mailbox), Arc::clone(&self.clock)),
            });
        }
        Ok(owners)
    }

    fn owner(
        &self,
        shard: ShardId,
        replay: &mut ShardReplay,
        shared: &Arc<Shared>,
    ) -> anyhow::Result<ShardOwner> {
        let limits = CoreLimits {
            stream_bytes_max: self.config.stream_size_max.map(|size| size.get()),
            producers_per_stream_max: PRODUCERS_PER_STREAM_MAX,
            heads_max: self.heads_max(),
            hash_seed: getrandom::u64()?,
        };
        let mut deadlines = Deadlines::default();
        let (reader, mut after) = (replay.tables.reader(), None::<(UnixMillis, StreamId)>);
        loop {
            let page = reader.expiring(after, 1024)?;
            let Some(last) = page.last() else { break };
            after = Some(*last);
            page.into_iter().for_each(|(at, stream)| deadlines.set(stream, at));
        }
        let mut core = ShardCore::new(shard, replay.tables.state().next_stream, limits);
        install_facts(shard, &reader, &mut core, shared)?;
        let committed = replay.committed();
        let chain = match replay.tail.is_empty() {
            true => replay.history.chain(),
            false => replay.tables.state().applied.chain,
        };
        let mut line = Line::new(committed, chain);
        for entry in std::mem::take(&mut replay.tail) {
            line.push(Pending::found(shard, entry));
        }
        let voters = std::mem::take(&mut replay.voters);
        let found = Log { history: replay.history.clone(), voters };
        Ok(ShardOwner::new(core, Arc::clone(shared), found, line, deadlines))
    }

    /// How far each lane may be let go at most: a shard that is not served keeps every record that it may need.
    fn holds(&self, replays: &Replays) -> BTreeMap<LaneId, LanePosition> {
        let mut holds: BTreeMap<LaneId, LanePosition> = BTreeMap::new();
        for shard in self.volume.layout.shards.shards() {
            let replay = replays.get(&shard);
            if replay.is_some_and(|replay| replay.damage.is_none()) {
                continue;
            }
            let lane = self.volume.lane_of(shard);
            let start = self.starts.get(usize::from(lane.0)).copied().unwrap_or_default();
            let needed = replay.and_then(|replay| replay.first).unwrap_or(start);
            holds.entry(lane).and_modify(|held| *held = needed.min(*held)).or_insert(needed);
        }
        holds
    }

    fn applier(
        &self,
        sound: Replays,
        holds: BTreeMap<LaneId, LanePosition>,
        shared: &Arc<Shared>,
        queue: &Arc<ApplyQueue>,
        mailboxes: &[Arc<Mailbox>],
        readers: &[LaneReader],
    ) -> Applier {
        let lanes =
            (0u16..).map(LaneId).zip(mailboxes.iter().map(|mailbox| (Arc::clone(mailbox), LanePosition(0))));
        let lanes: BTreeMap<_, _> = lanes.collect();
        let shard_applier = |(shard, replay): (ShardId, ShardReplay)| {
            let lane = self.volume.lane_of(shard);
            let mailbox = lanes.get(&lane).map(|(mailbox, _)| Arc::clone(mailbox)).unwrap_or_default();
            let log = readers.get(usize::from(lane.0))?.clone();
            Some((shard, ShardApplier::new(shard, replay.tables, lane, mailbox, log, replay.first)))
        };
        Applier {
            shards: sound.into_iter().filter_map(shard_applier).collect(),
            queue: Arc::clone(queue),
            shared: Arc::clone(shared),
            lanes: lanes.clone(),
            pace: ApplyPace {
                apply_interval: APPLY_INTERVAL,
                checkpoint_interval: self.config.checkpoint_interval,
                checkpoint_bytes: self.config.checkpoint_log_size.get(),
            },
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            checkpointed_at: self.clock.elapsed(),
            checkpointed_ends: BTreeMap::new(),
            released: (0u16..).map(LaneId).zip(self.starts.iter().copied()).collect(),
            holds,
            room: Room::new(Some(Arc::clone(&self.volume.reserve)), self.config.segment_size.get()),
        }
    }
}

/// Starts the threads of all owners, of the applier, of the sweeper and of what takes snapshots.
fn threads(
    owners: Vec<LaneOwner>,
    applier: Applier,
    sweeper: Sweeper,
    snapshots: SnapshotTaker,
    fatal: &Fatal,
    queue: &Arc<ApplyQueue>,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for owner in owners {
        let name = format!("lane-{}", owner.lane.0);
        let guard = Watch::over(fatal, Some(Arc::clone(&owner.mailbox)), queue);
        let body = move || guard.watch(|| owner.run());
        threads.push(std::thread::Builder::new().name(name).spawn(body)?);
    }
    let thread = std::thread::Builder::new().name("applier".to_owned());
    let guard = Watch::over(fatal, None, queue);
    threads.push(thread.spawn(move || guard.watch(|| applier.run()))?);
    let thread = std::thread::Builder::new().name("sweeper".to_owned());
    let guard = Watch::over(fatal, None, queue);
    threads.push(thread.spawn(move || guard.watch(|| sweeper.run()))?);
    let thread = std::thread::Builder::new().name("snapshots".to_owned());
    let guard = Watch::over(fatal, None, queue);
    threads.push(thread.spawn(move || guard.watch(|| snapshots.run()))?);
    Ok(threads)
}

/// In a cluster, the thread that looks whether leaders are heard of.
fn listener(
    shared: &Arc<Shared>,
    fatal: &Fatal,
    queue: &Arc<ApplyQueue>,
) -> std::io::Result<Option<JoinHandle<()>>> {
    if shared.cluster.get().is_none() {
        return Ok(None);
    }
    let (listener, guard) = (Listener::new(Arc::clone(shared)), Watch::over(fatal, None, queue));
    let thread = std::thread::Builder::new().name("contact".to_owned());
    thread.spawn(move || guard.watch(|| listener.run())).map(Some)
}

/// Subscriptions, shares, links and keys: what the core and the hub keep in memory.
fn install_facts(
    shard: ShardId,
    reader: &Reader,
    core: &mut ShardCore,
    shared: &Shared,
) -> anyhow::Result<()> {
    for space in [Space::Subscription, Space::Pattern, Space::Secret, Space::Link] {
        for (key, value) in reader.facts(space)? {
            core.install_fact(space, &key, &value);
            shared.subscriptions.load(shard, space, &key, &value, |stream| {
                reader.stream_by_id(stream).map(|entry| entry.map(|entry| entry.meta.tail))
            })?;
        }
    }
    Ok(())
}
