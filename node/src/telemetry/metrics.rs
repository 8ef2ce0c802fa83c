//! Every metric, its name, its help text and the room that moves it.
//!
//! A group is one struct; the doc line of a field is its help text on `/metrics`. Counters get `_total` behind their
//! name. Numbers of one lane carry the label `lane`; each lane's owner keeps its [`LaneMetrics`].

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{CountHistogram, Peers, Requests, TimeHistogram};

/// Goes up only. `inc`, `inc_by`.
pub type Counter = prometheus_client::metrics::counter::Counter;
/// Goes up and down. `inc`, `dec`, `set`.
pub type Gauge = prometheus_client::metrics::gauge::Gauge;

/// The content type of [`Metrics::page`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Declares a group that exists once: `/// help`, `field: Kind = "name";`.
macro_rules! group {
    ($(#[doc = $about:literal])+ $group:ident { $( #[doc = $help:literal] $field:ident: $kind:ty = $name:literal; )+ }) => {
        $(#[doc = $about])+
        #[derive(Debug, Default)]
        pub struct $group { $( #[doc = $help] pub $field: $kind, )+ }

        impl $group {
            fn register(registry: &mut Registry) -> Self {
                let group = Self::default();
                $( registry.register($name, $help.trim().trim_end_matches('.'), group.$field.clone()); )+
                group
            }
        }
    };
}

/// Declares a group that exists once per lane.
macro_rules! lane_group {
    ($(#[doc = $about:literal])+ $group:ident { $( #[doc = $help:literal] $field:ident: $kind:ty = $name:literal; )+ }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone)]
        pub struct $group { $( #[doc = $help] pub $field: $kind, )+ }

        impl $group {
            fn register(registry: &mut Registry, lanes: u32) -> Vec<Self> {
                $(
                    let $field = Family::<Lane, $kind>::default();
                    registry.register($name, $help.trim().trim_end_matches('.'), $field.clone());
                )+
                let one = |lane| Self { $( $field: $field.get_or_create_owned(&Lane { lane }), )+ };
                (0..lanes).map(one).collect()
            }
        }
    };
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lane {
    lane: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

group! {
    /// Moved by the HTTP room.
    HttpMetrics {
        /// Open connections.
        connections: Gauge = "http_connections";
        /// Connections accepted.
        connections_accepted: Counter = "http_connections_accepted";
        /// Connections turned away because as many as may be were open.
        connections_refused: Counter = "http_connections_refused";
        /// Time from the end of a request's head to the end of its answer, live reads not counted.
        request_time: TimeHistogram = "http_request_seconds";
        /// Readers that wait in a long-poll.
        long_poll_readers: Gauge = "http_long_poll_readers";
        /// Readers that follow a stream of server-sent events.
        sse_readers: Gauge = "http_sse_readers";
        /// Bytes of bodies received.
        received: Counter = "http_received_bytes";
        /// Bytes of bodies sent.
        sent: Counter = "http_sent_bytes";
        /// Byte permits in use by request bodies.
        permits_in_use: Gauge = "http_permits_in_use_bytes";
        /// Byte permits in use by answers and events.
        response_permits_in_use: Gauge = "http_response_permits_in_use_bytes";
        /// Transfers that were ended early because they were the slowest and memory was short.
        transfers_cut: Counter = "http_transfers_cut";
        /// Requests sent on to the node that leads their shard, and answered by it.
        forwarded: Counter = "http_forwarded_requests";
        /// Requests sent on whose answer was lost: they may or may not have happened.
        forwarded_lost: Counter = "http_forwarded_requests_lost";
        /// Requests answered with the address of the leader, because the client asked for that.
        redirected: Counter = "http_redirected_requests";
    }
}

group! {
    /// Moved by the runtime.
    EngineMetrics {
        /// Accepted appends, duplicates and mere closures not counted.
        appends: Counter = "appends";
        /// Messages appended.
        messages: Counter = "appended_messages";
        /// Payload bytes appended.
        appended: Counter = "appended_bytes";
        /// Retried appends that had happened before.
        duplicates: Counter = "append_duplicates";
        /// Streams created.
        creates: Counter = "stream_creates";
        /// Streams deleted, expired ones included.
        deletes: Counter = "stream_deletes";
        /// Streams that exist.
        streams: Gauge = "streams";
        /// Streams whose heads are in memory.
        streams_resident: Gauge = "streams_resident";
        /// Answered reads.
        reads: Counter = "reads";
        /// Payload bytes read.
        read: Counter = "read_bytes";
        /// Accesses to the tables for messages that memory did not hold; one read may need several.
        table_reads: Counter = "table_reads";
        /// Bytes of committed records that wait in memory to be applied to the tables.
        unapplied: Gauge = "unapplied_bytes";
        /// Bytes of messages from the tables kept in memory.
        segment_cache: Gauge = "segment_cache_bytes";
        /// Streams that ended because their time was over.
        expired: Counter = "expired_streams";
        /// Payload bytes that retention let go.
        trimmed: Counter = "trimmed_bytes";
    }
}

group! {
    /// Moved by the store.
    StoreMetrics {
        /// Checkpoints of a shard finished.
        checkpoints: Counter = "checkpoints";
        /// Checkpoints of a shard that failed.
        checkpoint_failures: Counter = "checkpoint_failures";
        /// Time that a round of checkpoints over all shards took.
        checkpoint_time: TimeHistogram = "checkpoint_seconds";
        /// Payload bytes of all streams.
        stored: Gauge = "stored_bytes";
        /// Records replayed from the log at the last start.
        recovered_records: Gauge = "recovered_records";
        /// Time that the last start took to recover.
        recovery_micros: Gauge = "recovery_microseconds";
        /// Bytes of torn tails cut at the last start.
        torn: Gauge = "torn_tail_bytes";
        /// One while writes are refused because hardly any room is left on the volume.
        full: Gauge = "volume_full";
        /// Bytes that are missing in the reserve for a full volume.
        reserve_missing: Gauge = "reserve_missing_bytes";
        /// Bytes of the tables that wait in memory for room on the volume.
        late: Gauge = "table_late_bytes";
        /// How often tables were opened again since the start, after their device had failed.
        tables_reopened: Gauge = "tables_reopened";
        /// Log bytes that the last checkpoint could not let go, because shards that are not served need them.
        log_kept: Gauge = "log_kept_bytes";
        /// Bytes of the logs that were known synced and could not be read at the last start.
        log_damage: Gauge = "damaged_log_bytes";
        /// Shards that refuse service because they are damaged.
        damaged_shards: Gauge = "damaged_shards";
        /// Shards of which something that is stored was found damaged, whether the rest is served or not.
        rotten_shards: Gauge = "rotten_shards";
        /// Shards that were damaged and hold again all that their leaders held.
        repaired_shards: Counter = "repaired_shards";
        /// Files that hold what was damaged, cut, taken back or put back: nobody removes them but a person.
        set_aside_files: Gauge = "set_aside_files";
        /// Bytes that those files take.
        set_aside: Gauge = "set_aside_bytes";
        /// Reads for which stored data failed its checksum or was not there.
        corrupt_reads: Counter = "corrupt_reads";
        /// Bytes that the scrubber read.
        scrubbed: Counter = "scrubbed_bytes";
        /// Faults that the scrubber found.
        scrub_faults: Counter = "scrub_faults";
    }
}

group! {
    /// Moved by the subscriptions.
    SubscriptionMetrics {
        /// Subscriptions that exist.
        subscriptions: Gauge = "subscriptions";
        /// Webhooks that were answered with success.
        webhooks_delivered: Counter = "webhooks_delivered";
        /// Webhooks that failed and are tried again.
        webhooks_failed: Counter = "webhooks_failed";
        /// Webhooks not sent because their address is not allowed.
        webhooks_refused: Counter = "webhooks_refused";
        /// Webhooks under way.
        webhooks_in_flight: Gauge = "webhooks_in_flight";
        /// Time that a webhook took to answer.
        webhook_time: TimeHistogram = "webhook_seconds";
        /// Times that the task which wakes workers panicked and began again.
        hub_restarts: Counter = "subscription_hub_restarts";
        /// Leases that ran out.
        leases_expired: Counter = "leases_expired";
    }
}

group! {
    /// Moved by what takes snapshots.
    SnapshotMetrics {
        /// Snapshots of a shard taken.
        taken: Counter = "snapshots_taken";
        /// Snapshots of a shard that could not be taken.
        failures: Counter = "snapshot_failures";
        /// Shards whose last snapshot could not be taken.
        failing: Gauge = "snapshot_failing_shards";
        /// Bytes of the files of snapshots taken.
        written: Counter = "snapshot_written_bytes";
        /// Time that a snapshot took, its pauses to keep the rate included.
        time: TimeHistogram = "snapshot_seconds";
        /// Seconds since the newest snapshot of a shard was taken, of the shard for which that is longest.
        age: Gauge = "snapshot_age_seconds";
        /// Shards that have no snapshot.
        missing: Gauge = "snapshot_missing_shards";
        /// Rows that are in the snapshot under way.
        rows: Gauge = "snapshot_rows";
        /// Rows that the snapshot under way will have; zero while there is none.
        rows_total: Gauge = "snapshot_rows_expected";
    }
}

group! {
    /// Moved by what seeds a follower with a leader's snapshot.
    SeedingMetrics {
        /// Shards of this node whose tables were replaced by a leader's snapshot.
        seeded: Counter = "seedings";
        /// Snapshots of leaders that were not fetched or not installed; each is tried again.
        failed: Counter = "seeding_failures";
        /// Bytes of snapshots received from leaders.
        received: Counter = "seeding_received_bytes";
    }
}

lane_group! {
    /// Moved by the owner of one lane and its applier.
    LaneMetrics {
        /// Records written to the log.
        records: Counter = "log_records";
        /// Bytes written to the log, heads of records included.
        written: Counter = "log_written_bytes";
        /// Syncs of the log.
        fsyncs: Counter = "log_fsyncs";
        /// Marks of how far the log was synced, written when the lane rested; each is a sync more.
        marks: Counter = "log_marks";
        /// Time that one sync of the log took.
        fsync_time: TimeHistogram = "log_fsync_seconds";
        /// Records that one group commit made durable.
        group_size: CountHistogram = "log_group_records";
        /// Commands that the lane found waiting when it last looked.
        queue: Gauge = "lane_queue_commands";
        /// Bytes of the log that no checkpoint has made superfluous yet.
        log: Gauge = "log_bytes";
        /// One while writes are refused because the log finds no room for its next segment.
        full: Gauge = "log_full";
    }
}

/// All of them. One per node, shared by [`std::sync::Arc`].
#[derive(Debug)]
pub struct Metrics {
    /// Connections and transfers.
    pub http: HttpMetrics,
    /// Answered requests.
    pub requests: Requests,
    /// Streams, appends and reads.
    pub engine: EngineMetrics,
    /// Tables, recovery and damage.
    pub store: StoreMetrics,
    /// Webhooks and leases.
    pub subscriptions: SubscriptionMetrics,
    /// Snapshots.
    pub snapshots: SnapshotMetrics,
    /// Links, followers and replicas, in a cluster.
    pub peers: Peers,
    /// Seeding of followers.
    pub seeding: SeedingMetrics,
    lanes: Vec<LaneMetrics>,
    refusals: Family<Code, Counter>,
    registry: Registry,
}

impl Metrics {
    /// All at zero, for a node of this many lanes.
    #[must_use]
    pub fn new(lanes: u32) -> Self {
        let mut registry = Registry::with_prefix("thalweg");
        let refusals = Family::default();
        registry.register(
            "refusals",
            "Requests refused, by the code of the problem",
            Family::clone(&refusals),
        );
        Self {
            http: HttpMetrics::register(&mut registry),
            requests: Requests::register(&mut registry),
            engine: EngineMetrics::register(&mut registry),
            store: StoreMetrics::register(&mut registry),
            subscriptions: SubscriptionMetrics::register(&mut registry),
            snapshots: SnapshotMetrics::register(&mut registry),
            peers: Peers::register(&mut registry),
            seeding: SeedingMetrics::register(&mut registry),
            lanes: LaneMetrics::register(&mut registry, lanes.max(1)),
            refusals,
            registry,
        }
    }

    /// The numbers of one lane, to be kept by its owner; `None` if there is no such lane.
    #[must_use]
    pub fn lane(&self, lane: u32) -> Option<LaneMetrics> {
        self.lanes.get(usize::try_from(lane).ok()?).cloned()
    }

    /// Counts a refusal by its stable code. Not for the path of a request that succeeds: it looks the code up.
    pub fn refused(&self, code: &'static str) {
        self.refusals.get_or_create(&Code { code }).inc();
    }

    /// The page of `/metrics`, of type [`CONTENT_TYPE`].
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = String::with_capacity(16 * 1024);
        // Writing to a `String` does not fail; a page cut short is still better than none.
        let _ = text::encode(&mut page, &self.registry);
        page
    }
}

/// Counts something for as long as it lives: a connection, a waiting reader.
#[derive(Debug)]
pub struct Held(Gauge);

impl Held {
    /// One more from now until the value is dropped.
    #[must_use]
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::telemetry::{FollowerFigures, LinkFigures, Route};

    #[test]
    fn the_page_shows_what_was_counted() {
        let metrics = Metrics::new(2);
        metrics.engine.appends.inc();
        metrics.requests.count(Route::Append, 204);
        metrics.refused("stream_closed");
        let lane = metrics.lane(1).unwrap();
        lane.fsync_time.observe(Duration::from_micros(140));
        lane.group_size.observe(3);
        let held = Held::new(&metrics.http.connections);
        let page = metrics.page();
        for line in [
            "thalweg_appends_total 1",
            "thalweg_http_requests_total{route=\"append\",status=\"2xx\"} 1",
            "thalweg_refusals_total{code=\"stream_closed\"} 1",
            "thalweg_log_fsync_seconds_bucket{le=\"0.00015\",lane=\"1\"} 1",
            "thalweg_log_fsync_seconds_bucket{le=\"+Inf\",lane=\"1\"} 1",
            "thalweg_log_group_records_sum{lane=\"1\"} 3.0",
            "thalweg_http_connections 1",
            "# TYPE thalweg_http_connections gauge",
            "# EOF",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is missing in:\n{page}");
        }
        drop(held);
        assert!(metrics.page().contains("thalweg_http_connections 0"));
        assert!(metrics.lane(2).is_none());
    }

    #[test]
    fn whoever_is_no_peer_any_more_is_not_shown() {
        let metrics = Metrics::new(1);
        let link = |peer, sent| LinkFigures {
            peer,
            direction: "dialled",
            connected: true,
            connections: 2,
            sent,
            received: 7,
            catching_up: 3,
            needing_snapshot: 0,
        };
        let lag = FollowerFigures { entries: 5, bytes: 600, time: Duration::from_millis(4) };
        metrics.peers.show(&[link(1, 100), link(2, 50)], &[(1, lag), (2, lag)], &[("leading", 6)]);
        metrics.peers.show(&[link(2, 80)], &[(2, lag)], &[("leading", 5)]);
        let page = metrics.page();
        for line in [
            "thalweg_link_sent_bytes_total{peer=\"2\",direction=\"dialled\"} 80",
            "thalweg_link_connections_total{peer=\"2\",direction=\"dialled\"} 2",
            "thalweg_link_shards_catching_up{peer=\"2\",direction=\"dialled\"} 3",
            "thalweg_follower_lag_entries{peer=\"2\"} 5",
            "thalweg_follower_lag_milliseconds{peer=\"2\"} 4",
            "thalweg_replicas{role=\"leading\"} 5",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is missing in:\n{page}");
        }
        assert!(!page.contains("peer=\"1\""), "{page}");
    }

    #[test]
    fn every_metric_has_a_name_of_its_own_and_a_help_text() {
        let metrics = Metrics::new(1);
        metrics.refused("any");
        let page = metrics.page();
        let mut names = BTreeSet::new();
        for line in page.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
            let (name, help) = line.split_once(' ').unwrap();
            assert!(names.insert(name.to_owned()), "{name} is there twice");
            assert!(name.starts_with("thalweg_") && help.len() > 5 && !help.ends_with(".."), "{line}");
        }
        assert!(names.len() >= 45, "{}", names.len());
    }
}
