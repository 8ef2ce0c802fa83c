//! A node that is only played: the product's admin port over promises and roles, no log and no peers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use thalweg_node::admin::{Governed, Pending, serve};
use thalweg_node::core::failover::{NodePulse, RoleSeen, ShardPulse};
use thalweg_node::core::replication::{Answer, History, Refusal, SealAnswer, Standing};
use thalweg_node::runtime::{
    FollowerReport, JoinError, NodeReport, Order, ShardReport, ShardRole, SnapshotReport, Unanswered,
};
use thalweg_node::types::{
    Boot, Chain, Configs, Epoch, LogIndex, RecordEpoch, ReplicaId, Roster, ShardId, VolumeIncarnation,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::CLUSTER;

/// What a played shard is.
#[derive(Debug, Clone)]
pub(super) struct Shard {
    pub(super) promised: Epoch,
    pub(super) leads: Option<Configs>,
    pub(super) learners: Vec<ReplicaId>,
}

/// What a played node is.
#[derive(Debug)]
pub(super) struct State {
    pub(super) status: NodeReport,
    pub(super) up: bool,
    pub(super) shards: BTreeMap<ShardId, Shard>,
    /// What its followers lack.
    pub(super) lag: u64,
}

/// A played node.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub(super) async fn start(number: u8, shards: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (name, address) = (format!("n{number}"), listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::new(&name, number, shards)));
        let played = Arc::new(Played(state.clone()));
        let task = tokio::spawn(serve(listener, played, std::future::pending()));
        Self { name, address, state, task }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Another disk, an empty one.
    pub(super) fn wipe(&self, incarnation: u8) {
        let mut state = self.state();
        let shards = u16::try_from(state.shards.len()).unwrap();
        *state = State::new(&self.name, incarnation, shards);
    }

    pub(super) fn leads(&self) -> usize {
        self.state().shards.values().filter(|shard| shard.leads.is_some()).count()
    }
}

impl State {
    fn new(name: &str, incarnation: u8, shards: u16) -> Self {
        let shard = Shard { promised: Epoch::default(), leads: None, learners: Vec::new() };
        let status = NodeReport {
            cluster: CLUSTER,
            node: name.to_owned(),
            incarnation: VolumeIncarnation([incarnation; 16]),
            boot: Boot(1),
            replica: None,
            is_new: true,
            roster: Roster::default(),
        };
        let shards = (0..shards).map(|number| (ShardId(number), shard.clone())).collect();
        Self { status, up: true, shards, lag: 0 }
    }

    fn join(&mut self, roster: Roster) {
        self.status.replica = roster.find(self.status.incarnation);
        self.status.roster = roster;
    }

    fn seal(&mut self, shard: ShardId, record: RecordEpoch) -> Answer {
        self.status.is_new = false;
        let shard = self.shards.get_mut(&shard).unwrap();
        if record < shard.promised.record {
            return Answer::Refused(Refusal::Promised(shard.promised));
        }
        if record > shard.promised.record {
            (shard.promised, shard.leads) = (Epoch { record, boot: Boot(0) }, None);
        }
        let mut history = History::default();
        history.push(Epoch { record: RecordEpoch(1), boot: Boot(1) }, Chain(3));
        let standing = Standing { boot: Boot(1), last: history.last_epoch(), end: history.end() };
        let (promised, committed) = (shard.promised, LogIndex(0));
        Answer::Sealed(Box::new(SealAnswer {
            promised,
            standing,
            committed,
            history,
            configs: None,
            intact: true,
        }))
    }

    fn order(&mut self, shard: ShardId, order: Order) {
        let shard = self.shards.get_mut(&shard).unwrap();
        assert_eq!(shard.promised.record, order.epoch, "nobody leads what it has not promised");
        (shard.leads, shard.learners) = (Some(order.configs), order.learners);
    }

    fn pulse(&self) -> Result<NodePulse, Unanswered> {
        let pulse = |shard: &Shard| {
            let (promised, end, damaged) = (shard.promised, LogIndex(1), false);
            ShardPulse { promised, end, damaged, refuses: false, role: shard.role() }
        };
        Ok(NodePulse {
            replica: self.status.replica.ok_or(Unanswered::NotAMember)?,
            boot: Boot(1),
            draining: false,
            sick: false,
            has_room: true,
            shards: self.shards.iter().map(|(id, shard)| (*id, pulse(shard))).collect(),
        })
    }

    fn reports(&self) -> Vec<ShardReport> {
        let follower = FollowerReport {
            is_shipped: true,
            held: LogIndex(1),
            lag_entries: self.lag,
            lag_bytes: 0,
            lag: Duration::ZERO,
            silent: None,
            seeding: None,
        };
        let report = |(id, shard): (&ShardId, &Shard)| ShardReport {
            shard: *id,
            role: ShardRole::Leading,
            promised: shard.promised,
            leader: self.status.replica,
            end: LogIndex(1),
            synced: LogIndex(1),
            committed: LogIndex(1),
            applied: LogIndex(1),
            configs: shard.leads.clone(),
            followers: shard.learners.iter().map(|id| (*id, follower.clone())).collect(),
            seeding: None,
        };
        self.shards.iter().filter(|(_, shard)| shard.leads.is_some()).map(report).collect()
    }
}

impl Shard {
    fn role(&self) -> RoleSeen {
        let Some(configs) = &self.leads else { return RoleSeen::Following { silent: Duration::ZERO } };
        RoleSeen::Leading {
            epoch: Epoch { boot: Boot(1), ..self.promised },
            open: true,
            waiting: Duration::ZERO,
            committed: LogIndex(1),
            newest: configs.last().version,
            // All that it hears of is confirmed at once.
            oldest: configs.last().version,
        }
    }
}

/// The state behind an admin port.
#[derive(Debug)]
struct Played(Arc<Mutex<State>>);

impl Played {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Whoever is down answers nothing.
    fn answer<T: Send + 'static>(&self, answer: impl FnOnce(&mut State) -> T) -> Pending<'_, T> {
        let mut state = self.state();
        match state.up {
            true => Box::pin(std::future::ready(answer(&mut state))),
            false => Box::pin(std::future::pending()),
        }
    }
}

impl Governed for Played {
    fn node(&self) -> NodeReport {
        self.state().status.clone()
    }

    fn pulse(&self) -> Pending<'_, Result<NodePulse, Unanswered>> {
        self.answer(|state| state.pulse())
    }

    fn shards(&self) -> Pending<'_, Vec<ShardReport>> {
        self.answer(|state| state.reports())
    }

    fn join(&self, roster: Roster) -> Pending<'_, Result<(), JoinError>> {
        self.answer(|state| {
            state.join(roster);
            Ok(())
        })
    }

    fn seal(&self, shard: ShardId, epoch: RecordEpoch) -> Pending<'_, Result<Answer, Unanswered>> {
        self.answer(move |state| Ok(state.seal(shard, epoch)))
    }

    fn lead(
        &self,
        shard: ShardId,
        order: Order,
        expected: Standing,
    ) -> Pending<'_, Result<Answer, Unanswered>> {
        assert_eq!(expected.boot, Boot(1));
        self.answer(move |state| {
            let epoch = Epoch { record: order.epoch, boot: Boot(1) };
            state.order(shard, order);
            Ok(Answer::Leads { epoch, open: true })
        })
    }

    fn configure(&self, shard: ShardId, order: Order) -> Pending<'_, Result<Answer, Unanswered>> {
        self.answer(move |state| {
            let version = order.configs.last().version;
            state.order(shard, order);
            Ok(Answer::Configured(version))
        })
    }

    fn hand_over(
        &self,
        shard: ShardId,
        _: RecordEpoch,
        _: ReplicaId,
        _: Duration,
    ) -> Pending<'_, Result<Answer, Unanswered>> {
        self.answer(move |_| Err(Unanswered::NoShard(shard)))
    }

    fn snapshots(&self) -> Vec<SnapshotReport> {
        Vec::new()
    }

    fn order_snapshots(&self, _: &[ShardId]) {}

    fn drain(&self, _: bool) {}

    fn shut_down(&self) {}
}
