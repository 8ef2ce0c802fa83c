//! A whole engine on one simulated disk: log, tables, superblock, manifest. Everything is small, so that a short history
//! holds many rolls, recyclings, applies and checkpoints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thalweg_node::config::{Config, Size};
use thalweg_node::runtime::{Engine, Running, start_on};
use thalweg_node::seam::disk::simulated::{Random, SimulatedDisk};
use thalweg_node::seam::{Clock, ManualClock};
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{ShardCount, UnixMillis};

use super::engine_client::{Client, names_of};
use super::engine_model::{Resolved, Timeline};

/// A time to begin with.
pub(crate) const BEGINNING: i64 = 1_790_000_000_000;

pub(crate) fn config(lanes: u32, shards: u64, spare: u32) -> Config {
    Config {
        shards: ShardCount::new(shards).unwrap(),
        lanes,
        segment_size: Size::kib(32),
        segment_size_max: Size::kib(64),
        segments_spare_max: spare,
        checkpoint_interval: Duration::from_hours(1000),
        checkpoint_log_size: Size::kib(40),
        table_cache: Size::kib(u32::try_from(256 * shards).unwrap()),
        tail_cache: Size::kib(12),
        apply_backlog: Size::kib(12),
        heads_max: 4 * u32::try_from(shards).unwrap(),
        sweep_interval: Duration::from_millis(2),
        ..Config::default()
    }
}

/// A disk with a clock beside it, on which engines are started.
pub(crate) struct World {
    pub(crate) disk: SimulatedDisk,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) config: Config,
    /// Of all engines that were started here.
    pub(crate) metrics: Arc<Metrics>,
}

impl World {
    pub(crate) fn new(disk: SimulatedDisk, now: i64, config: Config) -> Self {
        let clock = Arc::new(ManualClock::default());
        clock.set(UnixMillis(now));
        let metrics = Arc::new(Metrics::new(config.lanes));
        Self { disk, clock, config, metrics }
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().0
    }

    pub(crate) fn start(&self) -> anyhow::Result<Running> {
        let clock: Arc<dyn Clock> = self.clock.clone();
        start_on(self.disk.root(), &self.config, &clock, Arc::clone(&self.metrics))
    }

    /// The number of the newest segment of any lane: how often its log went on to the next.
    pub(crate) fn newest_segment(&self) -> u64 {
        let root = self.disk.root();
        let lanes = (0..self.config.lanes).map(|lane| root.subdir(&format!("lane-{lane:03}")).unwrap());
        let newest =
            lanes.filter_map(|lane| lane.list().unwrap().last().map(|name| name[..10].parse().unwrap()));
        newest.max().unwrap()
    }

    /// A client that goes on with these names.
    pub(crate) fn client<'a>(
        &'a self,
        engine: &'a Engine,
        seed: u64,
        names: BTreeMap<String, Timeline>,
    ) -> Client<'a> {
        Client {
            engine,
            disk: &self.disk,
            clock: &self.clock,
            random: Random::new(seed),
            names,
            sightings: Vec::new(),
            refusals: Vec::new(),
            beats: Vec::new(),
            settled: None,
            counter: seed % 1_000_000 * 10_000,
        }
    }

    /// Three clients at once, each with names of its own, `steps` requests each.
    pub(crate) fn clients<'a>(&'a self, engine: &'a Engine, seed: u64) -> Vec<Client<'a>> {
        (0..3).map(|number| self.client(engine, seed * 10 + number, names_of(number))).collect()
    }
}

/// Runs a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// Lets all clients work at once.
pub(crate) async fn work(clients: &mut [Client<'_>], steps: usize) {
    futures::future::join_all(clients.iter_mut().map(|client| client.work(steps))).await;
}

/// Names as they were found, to go on with.
pub(crate) fn lines(resolved: Resolved) -> BTreeMap<String, Timeline> {
    resolved.into_iter().map(|(text, state)| (text, Timeline::of(state))).collect()
}

/// Why the engine cannot go on, if it said so.
pub(crate) fn fatal(running: &Running) -> Option<Arc<str>> {
    let fatal = running.fatal.clone();
    block_on(async move {
        tokio::select! {
            biased;
            reason = fatal.reported() => Some(reason),
            () = std::future::ready(()) => None,
        }
    })
}
