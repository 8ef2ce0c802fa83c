//! A driver, from its start to its end. It keeps nothing in memory that the record or the nodes do not know: it may be
//! dropped and begun again at any moment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::bootstrap::bootstrap;
use super::desk::{Desk, Event, Outlets};
use super::news::{News, View};
use super::plan::Plan;
use super::record::RecordFile;
use super::visit::visit;

/// How soon something is done that is to be done a while later, such as the choice without those who answer late.
const TICK: Duration = Duration::from_millis(25);
/// Events that wait: a few for each node, or whoever sends them waits.
const EVENTS_MAX: usize = 64;

/// What a driver needs.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The cluster.
    pub plan: Plan,
    /// The directory of the record.
    pub record: PathBuf,
    /// How many other drivers act before this one.
    pub rank: u32,
}

/// A driver that runs until it is dropped.
#[derive(Debug)]
pub struct Driver {
    tasks: JoinSet<()>,
    events: mpsc::Sender<Event>,
    view: watch::Receiver<View>,
}

impl Driver {
    /// Reads the record, or writes the first one if all nodes are new, tells the nodes of each other, and begins.
    pub async fn start(setup: Setup) -> anyhow::Result<(Self, mpsc::UnboundedReceiver<News>)> {
        let Setup { plan, record, rank } = setup;
        let record = RecordFile::at(&record)?;
        let table = bootstrap(&plan, &record).await?;
        let plan = Arc::new(plan);
        let view = View { table: table.clone(), pulses: BTreeMap::new() };
        let (view, view_seen) = watch::channel(view);
        let (table, table_seen) = watch::channel(Arc::new(table));
        let (events, mut heard) = mpsc::channel(EVENTS_MAX);
        let (news, news_seen) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for planned in &plan.nodes {
            tasks.spawn(visit(plan.clone(), planned.clone(), table_seen.clone(), events.clone()));
        }
        let outlets = Outlets { table, events: events.clone(), news, view };
        let mut desk = Desk::new(plan, record, rank, outlets);
        tasks.spawn(async move {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                tokio::select! {
                    event = heard.recv() => match event {
                        Some(event) => desk.hear(event).await,
                        None => return,
                    },
                    _ = ticks.tick() => desk.tick().await,
                }
            }
        });
        Ok((Self { tasks, events, view: view_seen }, news_seen))
    }

    /// The process of a node has plainly ended: whoever started it knows at once.
    pub async fn ended(&self, node: &str) {
        // A driver that has stopped has no use for it.
        let _ = self.events.send(Event::Ended(node.to_owned())).await;
    }

    /// How everything stands.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Waits until everything stands so.
    pub async fn wait(
        &self,
        longest: Duration,
        what: &str,
        is_so: impl Fn(&View) -> bool,
    ) -> anyhow::Result<View> {
        let mut view = self.view.clone();
        let reached = timeout(longest, view.wait_for(|view| is_so(view))).await;
        match reached {
            Ok(view) => Ok(view.context("the driver has stopped")?.clone()),
            Err(_) => bail!("not within {longest:?}: {what}; {:?}", self.view.borrow().table),
        }
    }

    /// Ends it, and waits until nothing of it runs any more.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}
