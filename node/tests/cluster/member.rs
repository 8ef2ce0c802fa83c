//! One real node that follows, among members that a test plays; and all of it that no stranger may change.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use thalweg_node::codec::frame::FrameKind;
use thalweg_node::codec::handshake::Hello;
use thalweg_node::codec::record::RecordKind;
use thalweg_node::codec::superblock::Superblock;
use thalweg_node::config::{ClusterFile, Config, NodeName};
use thalweg_node::core::replication::{Entry, Message, Records};
use thalweg_node::runtime::{Control, Running, ShardReport, ShardRole, start_on};
use thalweg_node::seam::disk::simulated::SimulatedDisk;
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::store::superblock::SuperblockStore;
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{Boot, Chain, Epoch, LogIndex, RecordEpoch, ShardCount, ShardId};
use thalweg_node::wire::{Said, decode_said, put_said};

use crate::free_address::free_address;
use crate::raw::{Raw, hello};
use crate::world::{CLUSTER, SHARDS};

/// The shard of which the tests speak.
pub(crate) const SHARD: ShardId = ShardId(1);
/// The epoch in which member 1 leads it.
pub(crate) const LED: Epoch = Epoch { record: RecordEpoch(3), boot: Boot(5) };

/// Between two looks at how shards stand.
const HEARTBEAT: Duration = Duration::from_millis(10);

/// Node 0, real; members 1 and 2 are played.
pub(crate) struct Lone {
    pub(crate) running: Running,
    pub(crate) peer: std::net::SocketAddr,
    /// Where node 0 dials member 2.
    pub(crate) second: TcpListener,
    disk: SimulatedDisk,
    _files: tempfile::TempDir,
}

/// Everything that must be as it was.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    superblock: Superblock,
    shards: Vec<Stands>,
}

/// Where a shard stands: what is promised, the ends of what is written, on the disk, and committed, and what it does.
type Stands = (ShardId, Epoch, [LogIndex; 3], ShardRole);

impl Lone {
    pub(crate) fn start() -> Self {
        let (files, peer) = (tempfile::tempdir().unwrap(), free_address());
        let second = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = format!(
            "cluster: {CLUSTER}\nmembers:\n  - {{id: 0, node: {}, peer: '{peer}', client: '127.0.0.1:2'}}\n  \
             - {{id: 1, node: n1, peer: '127.0.0.1:1', client: '127.0.0.1:3'}}\n  \
             - {{id: 2, node: n2, peer: '{}', client: '127.0.0.1:4'}}\nleaders: [1]\n",
            NodeName::standalone(),
            second.local_addr().unwrap()
        );
        let file = files.path().join("cluster.yaml");
        std::fs::write(&file, &text).unwrap();
        let config = Config {
            shards: ShardCount::new(u64::from(SHARDS)).unwrap(),
            cluster_id: Some(ClusterFile::parse(&text).unwrap().cluster),
            cluster_file: Some(file),
            peer_listen: peer,
            heartbeat: HEARTBEAT,
            ..Config::default()
        };
        let (disk, clock) = (SimulatedDisk::new(3), Arc::new(SystemClock) as Arc<dyn Clock>);
        let metrics = Arc::new(Metrics::new(config.lanes));
        let running = start_on(disk.root(), &config, &clock, metrics).unwrap();
        Self { running, peer, second, disk, _files: files }
    }

    pub(crate) fn control(&self) -> Control {
        self.running.control()
    }

    pub(crate) async fn state(&self) -> State {
        // How shards stand is told with each heartbeat: whatever came before this call is in the third from here on.
        tokio::time::sleep(3 * HEARTBEAT).await;
        let superblock = SuperblockStore::peek(&*self.disk.root()).unwrap().unwrap();
        let stands = |report: ShardReport| {
            let ends = [report.end, report.synced, report.committed];
            (report.shard, report.promised, ends, report.role)
        };
        State { superblock, shards: self.control().shards().await.into_iter().map(stands).collect() }
    }

    /// What a shard has, once that is as `wanted`.
    pub(crate) async fn shard(&self, wanted: impl Fn(&ShardReport) -> bool) -> ShardReport {
        crate::world::within(async {
            loop {
                let shards = self.control().shards().await;
                if let Some(found) = shards.into_iter().find(|report| report.shard == SHARD && wanted(report))
                {
                    return found;
                }
                tokio::time::sleep(HEARTBEAT).await;
            }
        })
        .await
    }

    pub(crate) async fn stop(self) {
        self.running.engine.close();
        tokio::task::spawn_blocking(move || self.running.stop()).await.unwrap();
    }
}

/// What a member says when it dials node 0.
pub(crate) fn greeting(from: u32) -> Hello {
    Hello { shards: SHARDS, to_incarnation: None, ..hello(from, 0) }
}

/// A member's connection to node 0.
pub(crate) fn member(lone: &Lone, id: u32) -> Raw {
    let mut raw = Raw::connect(lone.peer);
    raw.shake(&greeting(id)).unwrap();
    raw
}

/// The bytes of a message of the shard.
pub(crate) fn frame(seed: u32, message: Message) -> Vec<u8> {
    let mut out = Vec::new();
    put_said(&mut out, seed, SHARD, &Said::Message(message)).unwrap();
    out
}

pub(crate) fn say(raw: &mut Raw, message: Message) {
    use std::io::Write;
    let bytes = frame(raw.seed, message);
    // A peer that has closed shows that in what is read.
    let _ = raw.stream.write_all(&bytes);
}

/// The next message of the shard; what the node tells of the starts of members is passed over.
pub(crate) fn heard(raw: &mut Raw) -> Option<Message> {
    loop {
        let (kind, payload) = raw.receive()?;
        match decode_said(kind, &payload.into()).unwrap() {
            Said::Message(message) => return Some(message),
            Said::Starts(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// One entry behind `after`, as the leader of an epoch sends it.
pub(crate) fn records(epoch: Epoch, after: u64, chain: Chain) -> Message {
    let entry = Entry { kind: RecordKind::EpochStart, epoch, payload: Vec::new().into() };
    let (after, committed) = (LogIndex(after), LogIndex(after + 1));
    Message::Records(Records { epoch, after, chain, committed, entries: vec![entry] })
}

/// Member 1 leads: node 0 has promised its epoch, and holds its first entry.
pub(crate) fn lead(lone: &Lone) -> Raw {
    let mut leader = member(lone, 1);
    say(&mut leader, Message::Follow(LED));
    let Some(Message::Report(report)) = heard(&mut leader) else { panic!("it does not follow") };
    say(
        &mut leader,
        Message::Adopt { epoch: LED, report: report.number, common: LogIndex(0), end: LogIndex(0) },
    );
    say(&mut leader, records(LED, 0, Chain(0)));
    while !matches!(heard(&mut leader), Some(Message::Ack { synced: LogIndex(1), .. })) {}
    say(&mut leader, Message::Beat { epoch: LED, committed: LogIndex(1), round: 1, is_spare: false });
    while !matches!(heard(&mut leader), Some(Message::Ack { round: 1, .. })) {}
    leader
}

/// The kinds of frames, for those who say what they must not.
pub(crate) const FOLLOWERS: [FrameKind; 4] =
    [FrameKind::Report, FrameKind::Refused, FrameKind::Ack, FrameKind::ReadAsked];

impl State {
    /// This start.
    pub(crate) const fn boot(&self) -> Boot {
        self.superblock.boot
    }

    /// That a member has greeted meanwhile is remembered, and is no harm.
    pub(crate) fn forget_greetings(&mut self, before: &Self) {
        self.superblock.peers.clone_from(&before.superblock.peers);
        self.superblock.roster.clone_from(&before.superblock.roster);
    }
}
