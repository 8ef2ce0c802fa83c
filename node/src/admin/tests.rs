//! The admin port over a loopback socket, with a node that is only told of.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::governed::Pending;
use super::words::*;
use super::{AdminClient, AdminError, Governed, orders, serve};
use crate::core::failover::NodePulse;
use crate::core::replication::{Answer, Refusal, Standing as Stood};
use crate::runtime::ProgressNow;
use crate::runtime::{
    FollowerReport, JoinError, NodeReport, Order, SeedingReport, ShardReport, ShardRole as Role,
    SnapshotReport, Unanswered as NoAnswer,
};
use crate::types::{
    Boot, ClusterId, ConfigVersion, Configs, Epoch, LogIndex, RecordEpoch, ReplicaId, Roster, ShardId,
    UnixMillis, VolumeIncarnation, Voters,
};

mod calls;
mod hostile;

/// Shard 7 never answers, shard 8 is not there, epoch 1 is over.
struct Fake {
    report: Mutex<NodeReport>,
    /// What reached the node, in words.
    heard: Mutex<Vec<String>>,
}

impl Fake {
    fn new() -> Arc<Self> {
        let report = NodeReport {
            cluster: ClusterId([1; 16]),
            node: "n1".to_owned(),
            incarnation: VolumeIncarnation([2; 16]),
            boot: Boot(3),
            replica: Some(ReplicaId(1)),
            is_new: false,
            roster: Roster::default(),
        };
        Arc::new(Self { report: Mutex::new(report), heard: Mutex::default() })
    }

    fn hear(&self, what: String) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    fn addressee(&self) -> Addressee {
        Status::new(self.node(), None).addressee()
    }

    fn answer(
        &self,
        what: String,
        shard: ShardId,
        epoch: RecordEpoch,
    ) -> Pending<'_, Result<Answer, NoAnswer>> {
        self.hear(what);
        Box::pin(async move {
            match (shard, epoch) {
                (ShardId(7), _) => std::future::pending().await,
                (ShardId(8), _) => Err(NoAnswer::NoShard(shard)),
                (_, RecordEpoch(1)) => Ok(Answer::Refused(Refusal::Promised(at(2)))),
                _ => Ok(Answer::Leads { epoch: Epoch { record: epoch, boot: Boot(3) }, open: true }),
            }
        })
    }
}

impl Governed for Fake {
    fn node(&self) -> NodeReport {
        self.report.lock().unwrap().clone()
    }

    fn pulse(&self) -> Pending<'_, Result<NodePulse, NoAnswer>> {
        let replica = self.node().replica.ok_or(NoAnswer::NotAMember);
        let (boot, shards) = (Boot(3), BTreeMap::new());
        let pulse =
            move |replica| NodePulse { replica, boot, draining: false, sick: false, has_room: true, shards };
        Box::pin(async move { replica.map(pulse) })
    }

    fn shards(&self) -> Pending<'_, Vec<ShardReport>> {
        Box::pin(async { reports() })
    }

    fn join(&self, roster: Roster) -> Pending<'_, Result<(), JoinError>> {
        self.hear(format!("join {}", roster.members.len()));
        let mut report = self.report.lock().unwrap();
        let found = roster.find(report.incarnation).ok_or(JoinError::NotMe(report.incarnation));
        let joined = found.map(|id| (report.replica, report.roster) = (Some(id), roster));
        Box::pin(async { joined })
    }

    fn seal(&self, shard: ShardId, epoch: RecordEpoch) -> Pending<'_, Result<Answer, NoAnswer>> {
        self.answer(format!("seal {shard} {epoch}"), shard, epoch)
    }

    fn lead(&self, shard: ShardId, order: Order, expected: Stood) -> Pending<'_, Result<Answer, NoAnswer>> {
        let what = format!("lead {shard} {} from {} with {:?}", order.epoch, expected.end, order.learners);
        self.answer(what, shard, order.epoch)
    }

    fn configure(&self, shard: ShardId, order: Order) -> Pending<'_, Result<Answer, NoAnswer>> {
        let version = order.configs.last().version;
        self.answer(format!("configure {shard} {} {version:?}", order.epoch), shard, order.epoch)
    }

    fn hand_over(
        &self,
        shard: ShardId,
        epoch: RecordEpoch,
        successor: ReplicaId,
        patience: Duration,
    ) -> Pending<'_, Result<Answer, NoAnswer>> {
        self.answer(format!("hand over {shard} {epoch} to {successor} in {patience:?}"), shard, epoch)
    }

    fn snapshots(&self) -> Vec<SnapshotReport> {
        vec![snapshot(0), SnapshotReport { index: None, taken_at: None, bytes: 0, ..snapshot(3) }]
    }

    fn order_snapshots(&self, shards: &[ShardId]) {
        self.hear(format!("snapshots {shards:?}"));
    }

    fn drain(&self, draining: bool) {
        self.hear(format!("drain {draining}"));
    }

    fn shut_down(&self) {
        self.hear("shut down".to_owned());
    }
}

fn at(record: u64) -> Epoch {
    Epoch { record: RecordEpoch(record), boot: Boot(0) }
}

fn configs() -> Configs {
    Configs::first(Voters::new([0, 1, 2].map(ReplicaId)).unwrap())
}

fn snapshot(shard: u16) -> SnapshotReport {
    SnapshotReport {
        shard: ShardId(shard),
        index: Some(LogIndex(17)),
        taken_at: Some(UnixMillis(1_790_000_000_000)),
        bytes: 4096,
        is_ordered: true,
        under_way: Some(ProgressNow { bytes: 1, rows: 2, rows_total: 3 }),
        failure: Some("the volume is full".to_owned()),
    }
}

fn reports() -> Vec<ShardReport> {
    let follower = FollowerReport {
        is_shipped: true,
        held: LogIndex(14),
        lag_entries: 3,
        lag_bytes: 1200,
        lag: Duration::from_millis(40),
        silent: Some(Duration::from_millis(12)),
        seeding: None,
    };
    let seeding = Some(SeedingReport { index: LogIndex(15), bytes: 4000, done: 1000 });
    let absent = FollowerReport { is_shipped: false, held: LogIndex(0), silent: None, seeding, ..follower };
    let leading = ShardReport {
        shard: ShardId(0),
        role: Role::Leading,
        promised: Epoch { record: RecordEpoch(4), boot: Boot(3) },
        leader: Some(ReplicaId(1)),
        end: LogIndex(17),
        synced: LogIndex(17),
        committed: LogIndex(16),
        applied: LogIndex(12),
        configs: Some(configs().with_next(Voters::new([0, 1].map(ReplicaId)).unwrap())),
        followers: BTreeMap::from([(ReplicaId(0), follower), (ReplicaId(2), absent)]),
        seeding: None,
    };
    let damaged = ShardReport {
        shard: ShardId(11),
        role: Role::Damaged("the chain differs".to_owned()),
        leader: None,
        configs: None,
        followers: BTreeMap::new(),
        seeding,
        ..leading
    };
    vec![leading, damaged]
}

/// A served admin port; ends with this.
struct Port {
    node: Arc<Fake>,
    address: SocketAddr,
    client: AdminClient,
    ended: oneshot::Sender<()>,
    service: tokio::task::JoinHandle<()>,
}

impl Port {
    async fn open() -> Self {
        let node = Fake::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ended, end) = oneshot::channel::<()>();
        let governed: Arc<dyn Governed> = Arc::clone(&node) as Arc<dyn Governed>;
        let service = tokio::spawn(serve(listener, governed, async move { drop(end.await) }));
        Self { node, address, client: AdminClient::new(address), ended, service }
    }

    async fn close(self) {
        drop(self.ended);
        self.service.await.unwrap();
    }

    /// Sends bytes as they are, and gives what comes until the node closes.
    async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A node that refuses early closes before it has read all.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn post(&self, path: &str, body: &str) -> String {
        self.post_with(path, "content-type: application/json\r\n", body).await
    }

    async fn post_with(&self, path: &str, headers: &str, body: &str) -> String {
        let head = format!("POST {path} HTTP/1.1\r\nhost: n1\r\nconnection: close\r\n{headers}");
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        self.send(request.as_bytes()).await
    }
}
