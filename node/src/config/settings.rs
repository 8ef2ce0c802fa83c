//! The one declaration of every setting: name, kind, default, bound, reason and documentation.
//!
//! To add a setting, add a row; flag, variable, file key, help and documentation follow. Relations between
//! settings stand in `relations`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::choice::{LogFormat, LogLevel, SnapshotCompression, Switch, WebhookTargets};
use super::declare::{Setting, settings};
use super::size::Size;
use super::text::{CorsOrigin, NodeName};
use super::value::Value;
use crate::types::{Acks, AolMode, ClusterId, Durability, FsyncPolicy, ShardCount};

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

settings! {
    "Place" {
        /// The address that clients connect to.
        listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4437),
            because "4437 is the protocol's port; without authentication only this machine may reach it";
        /// The directory that holds all data; created if it is missing.
        data: PathBuf = PathBuf::from("./data"),
            because "a newcomer sees at once where the data is and can delete it";
        /// What the node is called in logs and metrics.
        node_name: NodeName = NodeName::standalone(),
            because "a single node needs no choice";
        /// How many shards the names are spread over. Fixed when the data directory is formatted.
        shards: ShardCount = ShardCount::DEFAULT,
            because "enough for several nodes to share later, few enough that a checkpoint of each stays cheap";
        /// How many logs (and threads that own them) carry the shards; shard n belongs to lane n modulo lanes.
        lanes: u32 = 1, within 1..=64,
            because "syncs are the scarce thing: one log makes one sync serve every writer";
        /// Threads that serve connections; 0 = one fewer than the machine has cores, at least one.
        workers: u32 = 0, within 0..=256,
            because "the lane thread takes a core of its own; large answers borrow other threads as they need them";
    }
    "Durability" {
        /// When a write is acknowledged relative to the log: behind the log write, before it, or without a log (after a crash each shard is at a checkpoint of its own).
        aol: AolMode = AolMode::Sync,
            because "only then does an acknowledged write survive the process";
        /// When the log is synced to the device: before each group of answers, at intervals, or never; before a checkpoint always.
        fsync: FsyncPolicy = FsyncPolicy::Always,
            because "only then does an acknowledged write survive a power cut";
        /// Size of the first segment files of the log.
        segment_size: Size = Size::mib(8), within Size::mib(1)..=Size::mib(1024),
            because "small enough that an idle node stays small, large enough that a roll is rare";
        /// Size up to which segment files grow under load.
        segment_size_max: Size = Size::mib(64), within Size::mib(1)..=Size::mib(1024),
            because "a second of full write load per segment; recycling keeps them";
        /// Segment files behind the checkpoint that are kept for use again; more are removed.
        segments_spare_max: u32 = 8, within 0..=1_024,
            because "writing over an old file is half again as fast as growing a new one; 8 of 64 MiB are half a GiB";
        /// Longest time between two checkpoints while there are writes.
        checkpoint_interval: Duration = secs(30), within millis(100)..=secs(3_600),
            because "bounds the log that a restart replays when writes are few";
        /// Log bytes behind the last checkpoint that bring the next one.
        checkpoint_log_size: Size = Size::mib(64), within Size::mib(1)..=Size::gib(64),
            because "a restart replays at most about this much: a second or a few, as small its records are";
    }
    "Cluster" {
        /// The cluster of which this node is a member, and that tells it of the others. Fixed when the data directory is formatted.
        cluster_id: Option<ClusterId> = None,
            because "a node is on its own unless somebody makes it a member";
        /// A file that names all members, for a cluster that nobody manages (docs/cluster.example.yaml is one). Excludes cluster-id.
        cluster_file: Option<PathBuf> = None,
            because "without an operator nobody replaces a leader that is lost, so this is for trials and tests";
        /// The address that other nodes connect to; used in a cluster only.
        peer_listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4537),
            because "100 above the port of clients; links are neither encrypted nor authenticated, so only this machine may reach it";
        /// The address of the admin port (docs/admin.md). `none` means 127.0.0.1:4637 in a cluster, and no admin port otherwise.
        admin_listen: Option<SocketAddr> = None,
            because "200 above the port of clients; whoever reaches it may end the node, so only this machine may";
        /// Who must hold a write before it is acknowledged, in a cluster: so many voters that no failover loses it, or the leader alone.
        acks: Acks = Acks::Majority,
            because "only then does an acknowledged write survive the loss of its leader";
        /// Time between two messages of a leader to a follower while there are no writes.
        heartbeat: Duration = millis(100), within millis(10)..=millis(250),
            because "a leader counts as silent after a second: ten may be lost before, four at the upper bound";
        /// Log bytes that are kept for a follower that is behind; one that is further behind gets a snapshot.
        follower_log_max: Size = Size::mib(256), within Size::mib(1)..=Size::gib(64),
            because "a few seconds of full write load, or a restart of the follower under common load";
        /// Bytes per second that a leader reads from its files for followers that are behind.
        catch_up_rate: Option<Size> = None, within Some(Size::kib(64))..=Some(Size::gib(16)),
            because "the sooner a follower is back, the sooner another may be lost";
    }
    "Requests" {
        /// Largest request body; a larger one is answered 413 before it is read. In a cluster at most 16MiB.
        request_body_max: Size = Size::mib(4), within Size::kib(1)..=Size::mib(64),
            because "a body is one record, held in memory until it is durable";
        /// Largest request line and headers together; larger ones are answered 431.
        request_head_max: Size = Size::kib(16), within Size::kib(2)..=Size::kib(256),
            because "a name of 1 KiB, percent-encoded, and the headers of two proxies fit";
        /// Bytes after which one answer to a read ends; the client goes on from there.
        read_response_max: Size = Size::mib(2), within Size::kib(4)..=Size::mib(16),
            because "bounds the memory of one reader; with half of it many readers at once are a tenth slower, with more hardly faster";
        /// Bytes of request bodies that may be in memory at once; they are taken as a body arrives. When they run out, bodies that arrive slowly are answered 503, the slowest first.
        request_permits: Size = Size::mib(32), within Size::mib(1)..=Size::gib(16),
            because "a quarter of the memory that a node may take under load (128 MiB)";
        /// Bytes of answers that may be in memory at once. When they run out, clients that read slowly are cut off, the slowest first, and answers get smaller; events wait.
        response_permits: Size = Size::mib(32), within Size::mib(1)..=Size::gib(16),
            because "another quarter: 16 readers of full answers at the same moment";
        /// How long a request waits for its permits before it is turned away.
        permit_wait: Duration = secs(2), within Duration::ZERO..=secs(60),
            because "sixty-four of the largest bodies at once take a second of a slow disk; longer is overload, and clients hear of it";
        /// Connections that may be open at once; the next one is answered 503 and closed.
        connections_max: u32 = 16_384, within 1..=1_000_000,
            because "10,000 idle subscribers and room for everybody else";
        /// Time in which the whole head of a request must arrive.
        header_timeout: Duration = secs(10), within millis(100)..=secs(300),
            because "a slow honest client needs a second or two; a slow-loris holds its place no longer";
        /// Time that the transfer of a body may take in either direction, beyond what its size needs at transfer-rate-min.
        transfer_timeout: Duration = secs(10), within millis(100)..=secs(3_600),
            because "survives a change of network, ends a peer that never reads";
        /// Slowest transfer of a body in either direction, in bytes per second.
        transfer_rate_min: Size = Size::kib(16), within Size::bytes(16)..=Size::mib(1024),
            because "slower than any usable link; a body of 4 MiB is gone after four and a half minutes at most";
        /// Time that a connection may stay open without a request.
        idle_timeout: Duration = secs(75), within secs(1)..=secs(3_600),
            because "longer than the 60 s that common proxies keep theirs, so the proxy closes first";
        /// How long a long-poll waits for data before it is answered 204.
        long_poll_timeout: Duration = secs(20), within millis(50)..=secs(300),
            because "below the 30 s after which proxies and browsers give up";
        /// Time after which a stream of server-sent events is ended and the client comes back.
        sse_lifetime: Duration = secs(60), within secs(1)..=secs(86_400),
            because "the protocol's value: lets a CDN collapse subscribers anew each minute";
        /// Longest silence in a stream of server-sent events before a comment is sent.
        sse_keep_alive: Duration = secs(15), within millis(100)..=secs(600),
            because "below every usual idle timeout of proxies";
        /// Message bytes that one server-sent event carries at most; a longer run is sent as several.
        sse_event_max: Size = Size::kib(128), within Size::kib(4)..=Size::mib(4),
            because "an event is rendered into memory, for each subscriber";
        /// Which web pages may use the node: the value of Access-Control-Allow-Origin.
        cors_origin: CorsOrigin = CorsOrigin::Any,
            because "streams carry no cookies, so a foreign page can do no more than any client";
    }
    "Memory" {
        /// Page cache of all table databases together.
        table_cache: Size = Size::mib(32), within Size::mib(1)..=Size::gib(64),
            because "hot reads come from memory; this holds the inner pages of the trees";
        /// Bytes of messages that the tables delivered lately, kept in wire form for the next reader.
        tail_cache: Size = Size::mib(16), within Size::mib(1)..=Size::gib(64),
            because "eight full answers: readers that follow each other touch the tables once";
        /// Bytes of committed records that may wait in memory for the tables; beyond it writers wait.
        apply_backlog: Size = Size::mib(16), within Size::mib(1)..=Size::gib(64),
            because "tailing readers find them in memory; more would only make the batches of the applier larger";
        /// Streams kept in memory, as heads for writers and as views for readers (about 0.65 and 0.9 KiB each).
        heads_max: u32 = 40_000, within 16..=100_000_000,
            because "60 MiB when all are used; a stream that rests for a while costs one small read more";
    }
    "Stored data" {
        /// Largest stream; an append beyond it is answered 413.
        stream_size_max: Option<Size> = None, within Some(Size::kib(1))..=Some(Size::gib(4_000_000)),
            because "retention is the better tool; this one is for nodes with tenants";
        /// Message bytes that the node may hold; an append beyond them is answered 507.
        total_size_max: Option<Size> = None, within Some(Size::mib(1))..=Some(Size::gib(4_000_000)),
            because "the volume itself is the bound, and a full one is survived";
        /// Time between two rounds that remove expired streams and what retention lets go.
        sweep_interval: Duration = secs(1), within millis(20)..=secs(3_600),
            because "expiry is visible at once anyway; the round only frees the space";
        /// Streams that one round of the sweep looks at, at most.
        sweep_streams_max: u32 = 1_000, within 1..=1_000_000,
            because "a millisecond or two of work, so that a mass expiry delays no writer";
        /// Time in which the scrubber reads everything once.
        scrub_period: Duration = Duration::from_hours(168), within secs(1)..=Duration::from_hours(8_760),
            because "a week: latent sector errors are found while a second copy is still likely good";
        /// Bytes per second that the scrubber reads at most.
        scrub_rate: Size = Size::mib(8), within Size::kib(64)..=Size::gib(16),
            because "a few percent of an NVMe volume, 4.6 TiB in a week";
    }
    "Snapshots" {
        /// Longest time between two snapshots of a shard that changes. Without this and snapshot-log-size, snapshots are taken when they are ordered (docs/admin.md), and none otherwise.
        snapshot_interval: Option<Duration> = None, within Some(secs(1))..=Some(Duration::from_hours(8_760)),
            because "nothing that a node does needs one, and each is written as large as the shard is; who wants backups knows how often";
        /// Bytes of a shard's records behind its last snapshot that bring the next one.
        snapshot_log_size: Option<Size> = None, within Some(Size::kib(64))..=Some(Size::gib(4_000_000)),
            because "nothing needs one; a bound by size suits whoever writes in bursts";
        /// Snapshots of a shard that are kept; older ones go once a newer one is durable.
        snapshot_keep: u32 = 2, within 1..=1_000,
            because "should the newest be damaged, there is one more";
        /// How snapshots are compressed.
        snapshot_compression: SnapshotCompression = SnapshotCompression::Lz4,
            because "half the room, and half of what is written beside the log, for a core's work at the rate that is allowed";
        /// Bytes of rows per second that are read for a snapshot, at most.
        snapshot_rate: Option<Size> = Some(Size::mib(64)), within Some(Size::kib(64))..=Some(Size::gib(16)),
            because "a GiB in a quarter of a minute, and a few percent of two cores and of an NVMe volume meanwhile";
    }
    "Subscriptions" {
        /// Whether the subscription endpoints below /v1/stream/__ds answer.
        subscriptions: Switch = Switch::On,
            because "they are part of the protocol";
        /// Where webhooks may go besides public HTTPS: nowhere, or to loopback by plain HTTP as well.
        webhook_targets: WebhookTargets = WebhookTargets::Auto,
            because "on a developer's machine (listening on loopback) a local worker just works; elsewhere it is refused";
        /// Time in which a webhook must answer.
        webhook_timeout: Duration = secs(10), within millis(100)..=secs(300),
            because "a worker that takes longer acknowledges by callback";
        /// Links of all subscriptions to streams; a definition or a stream that needs more is refused.
        subscription_links_max: u32 = 65_536, within 16..=10_000_000,
            because "a link costs about 550 bytes of memory: 34 MiB together";
        /// Webhooks under way at once.
        webhooks_in_flight_max: u32 = 64, within 1..=4_096,
            because "bounds sockets and memory; the rest waits in order";
    }
    "Operation" {
        /// How long a shutdown waits for requests under way before it ends them.
        shutdown_grace: Duration = secs(5), within Duration::ZERO..=secs(600),
            because "ends well within the 10 s that most supervisors give";
        /// How log lines look.
        log_format: LogFormat = LogFormat::Text,
            because "the first reader is a person";
        /// The least severe line that is written.
        log_level: LogLevel = LogLevel::Info,
            because "starts, stops and trouble, but no line per request";
    }
}

/// Where a member of a cluster has its admin port unless it is told otherwise.
const ADMIN_IN_CLUSTER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4637);

impl Config {
    /// Whether this node is a member of a cluster.
    #[must_use]
    pub fn in_cluster(&self) -> bool {
        self.cluster_id.is_some() || self.cluster_file.is_some()
    }

    /// Where the admin port is, if there is one.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_listen.or_else(|| self.in_cluster().then_some(ADMIN_IN_CLUSTER))
    }

    /// What an acknowledgement means on this node.
    #[must_use]
    pub fn durability(&self) -> Durability {
        Durability { aol: self.aol, fsync: self.fsync }
    }

    /// Whether webhooks may go to loopback addresses, by plain HTTP as well.
    #[must_use]
    pub fn webhooks_to_loopback(&self) -> bool {
        match self.webhook_targets {
            WebhookTargets::Auto => self.listen.ip().is_loopback(),
            WebhookTargets::Public => false,
            WebhookTargets::Loopback => true,
        }
    }
}
