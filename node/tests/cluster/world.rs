//! Three nodes, each of which leads every third shard, with a relay before each: what one says to another can be lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thalweg_node::config::{ClusterFile, Config, NodeName};
use thalweg_node::core::replication::{Answer, Standing};
use thalweg_node::core::{Append, AppendError, Appended, Create};
use thalweg_node::runtime::{
    Control, Engine, EngineError, Failure, Order, ReadError, ReadFrom, Running, Whereabouts, start_on,
};
use thalweg_node::seam::disk::simulated::{Faults, SimulatedDisk};
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::store::superblock::SuperblockStore;
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{
    Boot, ClusterId, Configs, ContentType, Messages, ProducerId, ProducerStamp, ProducerState, RecordEpoch,
    ReplicaId, ShardCount, ShardId, StartKey, StreamName, Trail, VolumeIncarnation, Voters,
};

use crate::free_address::free_address;
use crate::gated_disk::{Gate, GatedDir};
use crate::relay::Relay;

pub(crate) const NODES: usize = 3;
pub(crate) const SHARDS: u16 = 4;
/// How long something may take that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The cluster of all tests.
pub(crate) const CLUSTER: ClusterId = ClusterId([0x23; 16]);

/// The volume of a member that a test plays.
pub(crate) fn volume(id: u32) -> VolumeIncarnation {
    VolumeIncarnation([u8::try_from(id).unwrap(); 16])
}

/// The starts of such a member up to a boot.
pub(crate) fn trail(id: u32, boot: u64) -> Trail {
    let none = Trail::without_keys(Boot(0));
    (1..=boot).fold(none, |trail, boot| trail.followed_by(StartKey(10 * boot + u64::from(id))))
}

/// One node with its disk.
pub(crate) struct Member {
    pub(crate) running: Option<Running>,
    pub(crate) gate: Gate,
    disk: SimulatedDisk,
    config: Config,
}

impl Member {
    fn start(&mut self) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new(self.config.lanes));
        let root = GatedDir::root(self.disk.root(), &self.gate);
        self.running = Some(start_on(root, &self.config, &clock, metrics).unwrap());
    }
}

pub(crate) struct World {
    pub(crate) members: Vec<Member>,
    /// Before each node; whoever dials it goes through here.
    pub(crate) relays: Vec<Relay>,
    _files: tempfile::TempDir,
}

impl World {
    /// Whose nodes all lead what they lead first.
    pub(crate) async fn led(change: impl Fn(&mut Config)) -> Self {
        let world = Self::start(change);
        world.is_led().await;
        world
    }

    /// Waits until all nodes lead what they lead first.
    pub(crate) async fn is_led(&self) {
        for node in 0..NODES {
            for shard in (0..SHARDS).map(ShardId) {
                let (engine, leads) = (self.engine(node), usize::from(shard.0) % NODES == node);
                eventually(|| match engine.leader(shard) {
                    Whereabouts::Here => leads,
                    Whereabouts::There(..) => !leads,
                    Whereabouts::Nobody => false,
                })
                .await;
            }
        }
    }

    fn start(change: impl Fn(&mut Config)) -> Self {
        let files = tempfile::tempdir().unwrap();
        let peers: Vec<SocketAddr> = (0..NODES).map(|_| free_address()).collect();
        let relays: Vec<Relay> = peers.iter().map(|peer| Relay::to(*peer)).collect();
        let members = peers.iter().enumerate().map(|(me, peer)| {
            // Each calls itself by the default name, and the others by others.
            let own = NodeName::standalone();
            let member = |(id, relay): (usize, &Relay)| {
                let node = if id == me { own.to_string() } else { format!("n{id}") };
                format!(
                    "  - {{id: {id}, node: {node}, peer: '{}', client: '127.0.0.1:{}'}}\n",
                    relay.address,
                    4_437 + id
                )
            };
            let members: String = relays.iter().enumerate().map(member).collect();
            let text = format!("cluster: {}\nmembers:\n{members}leaders: [0, 1, 2]\n", "23".repeat(16));
            let file = files.path().join(format!("cluster-{me}.yaml"));
            std::fs::write(&file, &text).unwrap();
            let mut config = Config {
                shards: ShardCount::new(u64::from(SHARDS)).unwrap(),
                cluster_id: Some(ClusterFile::parse(&text).unwrap().cluster),
                cluster_file: Some(file),
                peer_listen: *peer,
                heartbeat: Duration::from_millis(20),
                ..Config::default()
            };
            change(&mut config);
            let disk = SimulatedDisk::new(me as u64).with_whole_sectors();
            let mut member = Member { running: None, gate: Gate::default(), disk, config };
            member.start();
            member
        });
        let members = members.collect();
        Self { members, relays, _files: files }
    }

    pub(crate) fn engine(&self, node: usize) -> &Engine {
        &self.members[node].running.as_ref().unwrap().engine
    }

    pub(crate) fn control(&self, node: usize) -> Control {
        self.members[node].running.as_ref().unwrap().control()
    }

    /// A name in a shard that this node leads first.
    pub(crate) fn led_by(&self, node: usize, prefix: &str) -> StreamName {
        let count = ShardCount::new(u64::from(SHARDS)).unwrap();
        let mut names = (0..).map(|number| name(&format!("{prefix}{number}")));
        names.find(|name| usize::from(name.shard(count).0) % NODES == node).unwrap()
    }

    pub(crate) fn shard_of(&self, name: &StreamName) -> ShardId {
        name.shard(ShardCount::new(u64::from(SHARDS)).unwrap())
    }

    /// Ends a node, in order.
    pub(crate) async fn end(&mut self, node: usize) {
        if let Some(running) = self.members[node].running.take() {
            running.engine.close();
            tokio::task::spawn_blocking(move || running.stop()).await.unwrap();
        }
    }

    /// Gives a node another disk; what it had.
    pub(crate) fn put_in(&mut self, node: usize, disk: SimulatedDisk) -> SimulatedDisk {
        std::mem::replace(&mut self.members[node].disk, disk)
    }

    /// Whether a node has met the volume of another one.
    pub(crate) fn has_met(&self, node: usize, other: usize) -> bool {
        let superblock =
            |node: usize| SuperblockStore::peek(&*self.members[node].disk.root()).unwrap().unwrap();
        superblock(node).peers.contains_key(&superblock(other).incarnation)
    }

    /// The power of all nodes fails: none writes anything any more, and what was not synced is there or not.
    pub(crate) async fn lose_power(&mut self, seed: u64) {
        // One after the other is soon enough: what a node says behind this rests on nothing that its disk lacks.
        for member in &self.members {
            member.disk.set_faults(Faults::power_off_after(0));
        }
        for node in 0..NODES {
            self.end(node).await;
            let member = &mut self.members[node];
            member.disk = member.disk.after_power_cut(seed * 3 + node as u64);
        }
    }

    /// The power of one node fails.
    pub(crate) async fn lose_power_of(&mut self, node: usize, seed: u64) {
        self.members[node].disk.set_faults(Faults::power_off_after(0));
        self.end(node).await;
        let member = &mut self.members[node];
        member.disk = member.disk.after_power_cut(seed);
    }

    pub(crate) fn start_again(&mut self, node: usize) {
        self.members[node].start();
    }

    /// Elects a leader as the protocol says: seals, then the order to the one that has most, with what its seal said. The first
    /// of equals wins.
    pub(crate) async fn elect(&self, shard: ShardId, epoch: u64, sealed: &[usize]) -> usize {
        let epoch = RecordEpoch(epoch);
        let mut seals = Vec::new();
        for node in sealed {
            match self.control(*node).seal(shard, epoch).await.unwrap() {
                Answer::Sealed(seal) => seals.push((*node, seal.standing)),
                other => panic!("{node}: {other:?}"),
            }
        }
        let most = |(_, standing): &&(usize, Standing)| (standing.last, standing.end);
        let &(leader, expected) = seals.iter().rev().max_by_key(most).unwrap();
        let voters = Voters::new((0..3).map(ReplicaId)).unwrap();
        let order = Order { epoch, configs: Configs::first(voters), learners: Vec::new() };
        let answer = self.control(leader).lead(shard, order, expected).await.unwrap();
        assert!(matches!(answer, Answer::Leads { .. }), "{answer:?}");
        eventually(|| self.engine(leader).leader(shard) == Whereabouts::Here).await;
        leader
    }

    pub(crate) async fn stop(mut self) {
        for member in &self.members {
            member.gate.open();
        }
        for node in 0..NODES {
            self.end(node).await;
        }
    }
}

pub(crate) async fn eventually(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(waiting).await;
}

/// What must come to its end does so.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it takes far too long")
}

pub(crate) fn name(text: &str) -> StreamName {
    StreamName::from_bytes(text.as_bytes()).unwrap()
}

fn plain() -> ContentType {
    ContentType::parse("text/plain").unwrap()
}

pub(crate) fn creation(name: &StreamName) -> Create {
    Create::empty(name.clone(), plain())
}

pub(crate) async fn make(engine: &Engine, name: &StreamName) {
    // On a machine that does much else a leader may hear nothing of its followers for a second, and takes no writes then.
    let making = async {
        while let Err(error) = engine.create(creation(name), None).await {
            assert!(matches!(error, EngineError::Failure(Failure::NoLeader { .. })), "{error:?}");
        }
    };
    within(making).await;
}

pub(crate) fn appending(name: &StreamName, text: &'static str) -> Append {
    Append::plain(name.clone(), plain(), Messages::single(Bytes::from_static(text.as_bytes())))
}

/// A message that makes a group so large that another thread syncs it.
pub(crate) const LARGE: usize = 2 << 20;

/// Appends one message of so many bytes.
pub(crate) async fn write_bulk(engine: &Engine, name: &StreamName, bytes: usize) {
    let body = Bytes::from(vec![b'x'; bytes]);
    let append = || Append { body: Ok(Messages::single(body.clone())), ..appending(name, "") };
    // A leader that hears nothing of its followers for a second takes no writes.
    let writing = async {
        while let Err(error) = engine.append(append()).await {
            assert!(matches!(error, EngineError::Failure(Failure::NoLeader { .. })), "{error:?}");
        }
    };
    within(writing).await;
}

pub(crate) fn stamp(seq: u64) -> ProducerStamp {
    let state = ProducerState { epoch: 0, seq };
    ProducerStamp { id: ProducerId(Bytes::from_static(b"producer")), state }
}

pub(crate) async fn append(
    engine: &Engine,
    name: &StreamName,
    text: &'static str,
) -> Result<Appended, EngineError<AppendError>> {
    within(engine.append(appending(name, text))).await
}

pub(crate) async fn text(engine: &Engine, name: &StreamName) -> Result<String, ReadError> {
    let batch = engine.read(name, ReadFrom::Start, 1 << 20).await?;
    let parts = batch.segments.iter().map(|part| String::from_utf8_lossy(part.messages.wire()).into_owned());
    Ok(parts.collect())
}
