//! Where everything that a driver hears arrives, and whatever is to be done about it leaves. Invariant: one thing is worked
//! on at a time, the record's reads and writes among it, so every decision stands on what was read for it.

mod granting;
mod hearing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use thalweg_node::admin::words::Status;
use thalweg_node::core::failover::{Action, Input, NodePulse, Supervisor, Trouble};
use thalweg_node::core::replication::SealAnswer;
use thalweg_node::types::{RecordEpoch, ReplicaId, ShardId};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

use super::asks::Decided;
use super::levels::{Lags, Levels};
use super::members::settle;
use super::news::{News, View};
use super::plan::Plan;
use super::record::{RecordError, RecordFile};
use super::table::Table;
use super::visit::ROUND;
use crate::stopwatch::Stopwatch;

/// Something that a driver hears.
#[derive(Debug)]
pub(super) enum Event {
    /// A node answered, or did not.
    Heard { node: String, status: Result<Box<Status>, String> },
    /// A replica is sealed.
    Sealed { from: ReplicaId, answers: Vec<(ShardId, Box<SealAnswer>)> },
    /// Whoever is to lead a shard next has everything.
    CaughtUp { shard: ShardId, epoch: RecordEpoch },
    /// How far followers are behind the leaders on one node.
    Measured(Lags),
    /// The process of a node has plainly ended.
    Ended(String),
}

/// A driver at work.
#[derive(Debug)]
pub(super) struct Desk {
    plan: Arc<Plan>,
    record: RecordFile,
    supervisor: Supervisor,
    clock: Stopwatch,
    table: watch::Sender<Arc<Table>>,
    pulses: BTreeMap<ReplicaId, NodePulse>,
    levels: Levels,
    /// Nodes that were asked, whether they answered or not.
    asked: BTreeSet<String>,
    /// What is said of shards, until it is over.
    troubles: BTreeMap<ShardId, Trouble>,
    /// What was refused and said already.
    refused: BTreeSet<String>,
    /// The record is older than what nodes have promised: nothing is touched any more.
    halted: bool,
    looked: Duration,
    events: mpsc::Sender<Event>,
    news: mpsc::UnboundedSender<News>,
    view: watch::Sender<View>,
}

/// Where what a desk learns goes.
pub(super) struct Outlets {
    pub(super) table: watch::Sender<Arc<Table>>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) news: mpsc::UnboundedSender<News>,
    pub(super) view: watch::Sender<View>,
}

impl Desk {
    pub(super) fn new(plan: Arc<Plan>, record: RecordFile, rank: u32, outlets: Outlets) -> Self {
        let Outlets { table, events, news, view } = outlets;
        Self {
            plan,
            record,
            supervisor: Supervisor::new(rank),
            clock: Stopwatch::start(),
            table,
            pulses: BTreeMap::new(),
            levels: Levels::default(),
            asked: BTreeSet::new(),
            troubles: BTreeMap::new(),
            refused: BTreeSet::new(),
            halted: false,
            looked: Duration::ZERO,
            events,
            news,
            view,
        }
    }

    /// Time goes on. Twice a second the record is looked at, for another driver may have changed it. Nothing is decided before every
    /// node was asked once: each may know that the record is an older one.
    pub(super) async fn tick(&mut self) {
        if !self.plan.nodes.iter().all(|planned| self.asked.contains(&planned.name)) {
            return;
        }
        let now = self.clock.elapsed();
        let mut inputs = vec![Input::Tick(now)];
        if self.looked + ROUND <= now {
            self.looked = now;
            inputs.extend(self.read().await);
            inputs.extend(self.grant().await);
            self.settle().await;
            inputs.extend(self.outcasts().into_iter().map(Input::Ended));
        }
        self.step(inputs).await;
    }

    /// Feeds the supervisor and does what it says, until there is nothing more to do.
    async fn step(&mut self, inputs: Vec<Input>) {
        let mut inputs = VecDeque::from(inputs);
        inputs.push_front(Input::Learners(self.table.borrow().learners.clone()));
        let mut out = Vec::new();
        while !inputs.is_empty() && !self.halted {
            // What was heard together is decided together, so that all shards of a node move in one write.
            inputs.drain(..).for_each(|input| self.supervisor.step(input, &mut out));
            let table = self.table.borrow().clone();
            let mut asks = Decided::default();
            for action in out.drain(..) {
                if let Some(action) = asks.add(action) {
                    inputs.extend(self.act(action).await);
                }
            }
            asks.send(&self.plan, &table, &self.events);
        }
        self.publish();
    }

    async fn act(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Read => return self.read().await,
            Action::Write(changes) => {
                let written = self.on_record(move |record| record.write(&changes)).await;
                return Some(
                    written.map_or(Input::RecordUnknown, |table| Input::Written(table.rows.clone())),
                );
            }
            Action::Moved { shard, from, to, epoch, reason, took } => {
                self.say(News::Moved { shard, from, to, epoch, reason, took });
            }
            Action::Say(shard, Some(trouble)) => {
                self.troubles.insert(shard, trouble.clone());
                self.say(News::Trouble(shard, trouble));
            }
            Action::Say(shard, None) => {
                let over = self.troubles.remove(&shard);
                over.into_iter().for_each(|trouble| self.say(News::Over(shard, trouble)));
            }
            Action::Seal { .. }
            | Action::Lead { .. }
            | Action::Configure { .. }
            | Action::HandOver { .. } => {}
        }
        None
    }

    async fn read(&mut self) -> Option<Input> {
        let table = self.on_record(|record| record.read()).await;
        Some(table.map_or(Input::RecordUnknown, |table| Input::Record(table.rows.clone())))
    }

    /// Reads or changes the record; `None` when that failed.
    async fn on_record(
        &mut self,
        work: impl FnOnce(RecordFile) -> Result<(u64, Table), RecordError> + Send + 'static,
    ) -> Option<Arc<Table>> {
        let record = self.record.clone();
        let outcome = spawn_blocking(move || work(record)).await.ok()?;
        match outcome {
            Ok((_, table)) if table.cluster == self.plan.cluster => {
                let table = Arc::new(table);
                self.table.send_replace(table.clone());
                Some(table)
            }
            Ok((_, table)) => {
                self.halt(format!("the record is that of cluster {} now", table.cluster));
                None
            }
            Err(error) => {
                self.refuse(format!("the record: {error}"));
                None
            }
        }
    }

    /// Goes on with replaced disks.
    async fn settle(&mut self) {
        let table = self.table.borrow().clone();
        let mut wished = Table::clone(&table);
        let level = self.levels.level(self.clock.elapsed());
        settle(&mut wished, &level);
        if wished == *table || self.halted {
            return;
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let changed = self
            .on_record(move |record| {
                record.change(|table| {
                    settle(table, &level).into_iter().for_each(|news| drop(sender.send(news)));
                    true
                })
            })
            .await;
        if changed.is_some() {
            receiver.try_iter().for_each(|news| self.say(news));
        }
    }

    fn say(&self, news: News) {
        // Nobody may be listening.
        let _ = self.news.send(news);
    }

    /// Nothing is touched from now on.
    fn halt(&mut self, why: String) {
        if !std::mem::replace(&mut self.halted, true) {
            self.say(News::Halted(why));
        }
    }

    fn refuse(&mut self, why: String) {
        if self.refused.insert(why.clone()) {
            self.say(News::Refused(why));
        }
    }

    fn publish(&self) {
        let view = View { table: Table::clone(&self.table.borrow()), pulses: self.pulses.clone() };
        self.view.send_if_modified(|known| {
            let news = *known != view;
            *known = view;
            news
        });
    }
}
