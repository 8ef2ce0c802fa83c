//! The sweeper: one thread that looks after what nobody asks for: messages that retention lets go, pins whose fork never
//! came to be, and bytes that nobody has read for long (scrubbing). Bounded work per round; every change is a command to
//! the shard's owner like any other.

mod condemning;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::mailbox::{Job, Waiter};
use super::shared::{Shard, Shared};
use crate::core::Command;
use crate::seam::Clock;
use crate::seam::disk::Dir;
use crate::store::aside::{Taken, measure};
use crate::store::tables::{ReadFault, ScrubCursor};
use crate::telemetry::Metrics;
use crate::types::{PinId, PinOp, ShardId, StreamId};

/// Chunks of one stream that one look at its retention reads: enough for hundreds of MiB per second of trimming.
const CHUNKS_PER_LOOK_MAX: usize = 1024;
/// A pin younger than this may belong to a fork that is being created: longer than any request lives.
const PIN_AGE_MIN_MS: u64 = 120_000;
/// Pins that one round looks at per shard.
const PINS_PER_ROUND_MAX: usize = 256;

/// When a start has its first work behind it.
const ASIDE_FIRST: Duration = Duration::from_secs(2);
/// How often what is set aside is measured: a few folders are listed.
const ASIDE_INTERVAL: Duration = Duration::from_secs(60);

/// How much to do, and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SweepPace {
    /// Between two rounds.
    pub(crate) interval: Duration,
    /// Streams whose retention one round looks at, over all shards.
    pub(crate) streams_max: usize,
    /// Everything is scrubbed once in this time…
    pub(crate) scrub_period: Duration,
    /// … unless that needs more bytes per second than this.
    pub(crate) scrub_rate: u64,
}

/// The sweeper of a node.
#[derive(Debug)]
pub(crate) struct Sweeper {
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    pace: SweepPace,
    places: BTreeMap<ShardId, Place>,
    /// Where the volume lies, and when it is looked at next for what is set aside.
    aside: Option<(Arc<dyn Dir>, Duration)>,
}

/// Where the rounds of one shard stand.
#[derive(Debug, Default)]
struct Place {
    /// The first stream whose retention is looked at next.
    retained: StreamId,
    pin: (StreamId, PinId),
    scrub: ScrubCursor,
    scrub_began: Duration,
    scrub_resting: bool,
}

impl Sweeper {
    pub(crate) fn new(
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        pace: SweepPace,
    ) -> Self {
        let places = shared.open_shards().map(|shard| (shard.id, Place::default())).collect();
        Self { shared, clock, metrics, pace, places, aside: None }
    }

    /// Tells what is set aside on the volume, too.
    pub(crate) fn beside(mut self, root: Arc<dyn Dir>) -> Self {
        self.aside = Some((root, self.clock.elapsed() + ASIDE_FIRST));
        self
    }

    /// Runs until the engine closes.
    pub(crate) fn run(mut self) {
        while !self.shared.wait_until_closing(self.pace.interval) {
            let mut places = std::mem::take(&mut self.places);
            for (id, place) in &mut places {
                if let Ok(shard) = self.shared.shard(*id) {
                    // Whoever leads looks after what changes; each node after its own bytes.
                    if self.shared.leaders.is_here(*id) {
                        self.retention(shard, place);
                        self.orphans(shard, place);
                    }
                    self.scrub(shard, place);
                }
                // Also of a shard that is refused: it needs another file most of all.
                if let Some(shard) = self.shared.open_shard(*id) {
                    self.condemn_tables(shard);
                }
            }
            self.places = places;
            self.count();
            self.measure_aside();
        }
    }

    /// What is in memory, for the metrics.
    fn count(&self) {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let resident = self.shared.open_shards().map(|shard| shard.views.resident()).sum();
        self.metrics.engine.streams_resident.set(gauge(resident));
        let rotten = self.shared.open_shards().filter(|shard| shard.is_damaged()).count();
        self.metrics.store.rotten_shards.set(gauge(rotten));
        self.metrics.store.damaged_shards.set(gauge(self.shared.refusing().len()));
        self.metrics.engine.segment_cache.set(gauge(self.shared.cache.bytes()));
        let totals = self.shared.open_shards().filter_map(|shard| shard.tables.patient().totals().ok());
        let (streams, bytes) =
            totals.fold((0, 0), |sum, totals| (sum.0 + totals.streams, sum.1 + totals.bytes));
        self.metrics.engine.streams.set(i64::try_from(streams).unwrap_or(i64::MAX));
        self.shared.note_stored(bytes);
        self.metrics.store.stored.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Where the volume lies, if that is known.
    pub(super) fn root(&self) -> Option<&dyn Dir> {
        self.aside.as_ref().map(|(root, _)| root.as_ref())
    }

    /// What is set aside changes when something was damaged, and when a person removes it.
    fn measure_aside(&mut self) {
        let now = self.clock.elapsed();
        let Some((root, next)) = self.aside.as_mut().filter(|(_, next)| now >= *next) else { return };
        *next = now + ASIDE_INTERVAL;
        match measure(root.as_ref()) {
            Ok(Taken { files, bytes }) => {
                self.metrics.store.set_aside_files.set(i64::try_from(files).unwrap_or(i64::MAX));
                self.metrics.store.set_aside.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
            Err(error) => tracing::debug!(%error, "what is set aside cannot be measured"),
        }
    }

    /// Proposes a trim for streams that keep more than they should.
    fn retention(&self, shard: &Shard, place: &mut Place) {
        let limit = (self.pace.streams_max / usize::from(self.shared.count.get())).max(1);
        let streams = match shard.tables.patient().retained(place.retained, limit) {
            Ok(streams) => streams,
            Err(error) => return drop(shard.table_fault(&error)),
        };
        // The next round goes on behind the last, or begins again.
        let behind = streams.last().filter(|_| streams.len() >= limit);
        place.retained = behind.map_or_else(StreamId::default, |last| StreamId(last.0.saturating_add(1)));
        for stream in streams {
            let Ok(Some(entry)) = shard.tables.patient().stream_by_id(stream) else { continue };
            let keep = entry.meta.config.retention;
            match shard.tables.patient().boundary(stream, keep, self.clock.now(), CHUNKS_PER_LOOK_MAX) {
                Ok(Some(earliest)) => {
                    order(shard, Command::Trim { stream, earliest });
                }
                Ok(None) | Err(ReadFault::NotFound) => {}
                Err(fault) => drop(shard.fault(&fault)),
            }
        }
    }

    /// Lets go of sources whose fork is gone or was never created.
    fn orphans(&self, shard: &Shard, place: &mut Place) {
        let pins = match shard.tables.patient().all_pins(place.pin, PINS_PER_ROUND_MAX) {
            Ok(pins) => pins,
            Err(error) => return drop(shard.table_fault(&error)),
        };
        let full = pins.len() == PINS_PER_ROUND_MAX;
        place.pin = pins.last().filter(|_| full).map_or_else(Default::default, |pin| (pin.stream, pin.pin));
        for pin in pins {
            let old = pin.at.plus(PIN_AGE_MIN_MS) <= self.clock.now();
            if old && self.orphaned(shard.id, &pin) {
                tracing::info!(shard = shard.id.0, stream = pin.stream.0, fork = %pin.fork, "pin without a fork dropped");
                order(shard, Command::Unpin { stream: pin.stream, pin: pin.pin });
            }
        }
    }

    /// Whether the fork that a pin names does not exist, or reads from elsewhere. Not knowing is no proof, and neither is
    /// what a replica does not show yet.
    pub(super) fn orphaned(&self, source: ShardId, pin: &PinOp) -> bool {
        self.seems_orphaned(source, pin)
            && self.shows_all(pin.fork.shard(self.shared.count))
            && self.seems_orphaned(source, pin)
    }

    /// Whether this node shows of a shard whatever was committed before now.
    fn shows_all(&self, shard: ShardId) -> bool {
        if self.shared.cluster.get().is_none() {
            return true;
        }
        let waiting = tokio::runtime::Builder::new_current_thread().enable_time().build();
        waiting.is_ok_and(|waiting| waiting.block_on(self.shared.settled(shard)).is_ok())
    }

    fn seems_orphaned(&self, source: ShardId, pin: &PinOp) -> bool {
        match self.shared.glimpse(&pin.fork) {
            Ok(None) => true,
            Ok(Some(fork)) => {
                !fork.parent.is_some_and(|parent| parent.shard == source && parent.pin == pin.pin)
            }
            Err(_) => false,
        }
    }

    /// Reads a little of what nobody has read for long, so that rot is found while it can be repaired.
    fn scrub(&self, shard: &Shard, place: &mut Place) {
        let now = self.clock.elapsed();
        if place.scrub_resting {
            if now < place.scrub_began + self.pace.scrub_period {
                return;
            }
            place.scrub_resting = false;
            place.scrub_began = now;
        }
        let share = self.pace.scrub_rate / u64::from(self.shared.count.get());
        let millis = u64::try_from(self.pace.interval.as_millis()).unwrap_or(u64::MAX);
        let bytes_max = (share.saturating_mul(millis) / 1000).max(1);
        match shard.tables.patient().scrub(&place.scrub, bytes_max) {
            Ok(scrubbed) => {
                self.metrics.store.scrubbed.inc_by(scrubbed.bytes);
                self.metrics.store.scrub_faults.inc_by(scrubbed.faults.len() as u64);
                for fault in &scrubbed.faults {
                    tracing::error!(shard = shard.id.0, fault, "scrubbing found damage");
                }
                place.scrub = scrubbed.next;
                place.scrub_resting = scrubbed.complete;
            }
            Err(error) => drop(shard.table_fault(&error)),
        }
    }
}

/// Nobody waits for the answer.
fn order(shard: &Shard, command: Command) {
    let _ended = shard.mailbox.send(Job::Command { shard: shard.id, command, waiter: Waiter::Nobody });
}
