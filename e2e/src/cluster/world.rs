//! A world: nodes, the network between them, a driver, and what can be done to each of them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use thalweg_node::types::ClusterId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::network::Network;
use super::seat::Seat;
use super::work::Work;
use crate::driver::{Driver, News, Plan, Planned, Setup, View};
use crate::server::{NodeOptions, Server};

/// How long a cluster takes to have leaders everywhere when it starts.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// One slice of a process that crawls: it moves for a twentieth of the time.
const STILL: Duration = Duration::from_millis(95);
const MOVING: Duration = Duration::from_millis(5);

/// What kind of world.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many nodes.
    pub nodes: usize,
    /// How every node is started; its shards are those of the cluster.
    pub node: NodeOptions,
    /// Longest wait of a long poll.
    pub long_poll_ms: u64,
    /// Whether nodes and driver reach each other through proxies.
    pub proxied: bool,
    /// Directories of single nodes, instead of those below the world's own.
    pub volumes: Vec<(usize, PathBuf)>,
    /// Ports of the first node's clients, peers and admin; those of the others follow.
    pub ports: Option<[u16; 3]>,
    /// Of the network.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        let node = NodeOptions::default();
        Self { nodes: 3, node, long_poll_ms: 500, proxied: true, volumes: Vec::new(), ports: None, seed: 1 }
    }
}

/// Nodes, network and driver.
#[derive(Debug)]
pub struct World {
    options: Options,
    plan: Plan,
    record: PathBuf,
    seats: Vec<Seat>,
    network: Network,
    driver: Option<Driver>,
    news: Option<mpsc::UnboundedReceiver<News>>,
    work: Option<Work>,
}

impl World {
    /// Starts all nodes with their data below `data`, and a driver; returns once every shard has an open leader.
    pub async fn start(options: Options, data: &Path) -> anyhow::Result<Self> {
        let mut world = Self::still(options, data).await?;
        world.start_all().await?;
        world.drive().await?;
        world.wait_open(OPEN_MAX).await?;
        Ok(world)
    }

    /// All of it, and nothing runs yet.
    pub async fn still(options: Options, data: &Path) -> anyhow::Result<Self> {
        let record = data.join("record");
        let cluster = cluster_of(data)?;
        let seat = |number: usize| {
            let name = format!("node-{}", number + 1);
            let own = options.volumes.iter().find(|(node, _)| *node == number).map(|(_, path)| path.clone());
            let nth = u16::try_from(number)?;
            let ports = options.ports.map_or([None; 3], |ports| ports.map(|port| Some(port + nth)));
            Seat::new(&name, cluster, own.unwrap_or_else(|| data.join(&name)), &options.node, ports)
        };
        let seats = (0..options.nodes).map(seat).collect::<anyhow::Result<Vec<_>>>()?;
        let mut nodes: Vec<Planned> = seats.iter().map(|seat| seat.planned.clone()).collect();
        let network = match options.proxied {
            true => Network::between(&nodes, options.seed).await?,
            false => Network::default(),
        };
        let detours = network.detours(&nodes);
        network.admin(&mut nodes);
        let plan = Plan { cluster, shards: u16::try_from(options.node.shards)?, nodes, detours };
        Ok(Self { options, plan, record, seats, network, driver: None, news: None, work: None })
    }

    /// Starts every node that does not run, all at once.
    pub async fn start_all(&mut self) -> anyhow::Result<()> {
        let long_poll_ms = self.options.long_poll_ms;
        let mut starts = JoinSet::new();
        for (number, mut seat) in std::mem::take(&mut self.seats).into_iter().enumerate() {
            starts.spawn(async move {
                let started = match seat.address() {
                    None => seat.start(long_poll_ms).await,
                    Some(_) => Ok(()),
                };
                (number, seat, started)
            });
        }
        let mut seats = starts.join_all().await;
        seats.sort_by_key(|(number, ..)| *number);
        for (_, seat, started) in seats {
            self.seats.push(seat);
            started?;
        }
        self.route();
        Ok(())
    }

    /// Begins a driver; one that runs already ends first.
    pub async fn drive(&mut self) -> anyhow::Result<()> {
        self.undrive().await;
        let setup = Setup { plan: self.plan.clone(), record: self.record.clone(), rank: 0 };
        let (driver, news) = Driver::start(setup).await?;
        (self.driver, self.news) = (Some(driver), Some(news));
        Ok(())
    }

    /// Ends the driver: nobody elects any more.
    pub async fn undrive(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.stop().await;
        }
    }

    /// A further driver over the same record, which acts after `rank` others.
    pub async fn second_driver(&self, rank: u32) -> anyhow::Result<Driver> {
        let setup = Setup { plan: self.plan.clone(), record: self.record.clone(), rank };
        Ok(Driver::start(setup).await?.0)
    }

    /// The driver.
    pub fn driver(&self) -> anyhow::Result<&Driver> {
        self.driver.as_ref().context("no driver runs")
    }

    /// What the driver has said since this was asked last.
    pub fn news(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        while let Some(one) = self.news.as_mut().and_then(|source| source.try_recv().ok()) {
            news.push(one);
        }
        news
    }

    /// Waits for something to be said, or for a node to end by itself.
    pub(super) async fn next(&mut self) -> anyhow::Result<Next> {
        let news = self.news.as_mut().context("no driver runs")?;
        let mut ends: Vec<_> = self.seats.iter_mut().map(|seat| Box::pin(seat.ended())).collect();
        let any_end = std::future::poll_fn(|context| {
            for (number, end) in ends.iter_mut().enumerate() {
                if let std::task::Poll::Ready(ended) = end.as_mut().poll(context) {
                    return std::task::Poll::Ready((number, ended));
                }
            }
            std::task::Poll::Pending
        });
        tokio::select! {
            news = news.recv() => Ok(Next::News(news.context("the driver has stopped")?)),
            (number, ended) = any_end => Ok(Next::Ended(number, ended?)),
        }
    }

    /// Waits until every shard has a leader that takes writes.
    pub async fn wait_open(&self, longest: Duration) -> anyhow::Result<View> {
        self.driver()?.wait(longest, "every shard has an open leader", View::is_open).await
    }

    /// How many nodes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seats.len()
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The nodes as they were planned, without detours.
    pub(super) fn planned(&self) -> impl Iterator<Item = &Planned> {
        self.seats.iter().map(|seat| &seat.planned)
    }

    /// Where clients reach each node, if it runs.
    #[must_use]
    pub fn addresses(&self) -> Vec<Option<SocketAddr>> {
        self.seats.iter().map(Seat::address).collect()
    }

    /// The processes of those nodes that run.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.seats.iter().filter_map(|seat| seat.server().ok())
    }

    /// Where a node takes orders and tells how it stands.
    #[must_use]
    pub fn admin(&self, node: usize) -> SocketAddr {
        self.seats[node].planned.admin
    }

    /// Where the data of a node lies.
    #[must_use]
    pub fn data(&self, node: usize) -> &Path {
        self.seats[node].data()
    }

    /// Every line that a node has printed in all its lives.
    #[must_use]
    pub fn log(&self, node: usize) -> Vec<String> {
        self.seats[node].log()
    }

    /// The node that leads a shard by the record.
    pub fn leader(&self, shard: usize) -> anyhow::Result<usize> {
        let view = self.driver()?.view();
        let row = view.table.rows.values().nth(shard).context("no such shard")?;
        let name = view.table.node(row.leader()?);
        self.seats.iter().position(|seat| seat.name() == name).context("no such node")
    }

    /// A node that leads something.
    pub(super) fn some_leader(&self) -> Option<usize> {
        (0..self.plan.shards.into()).find_map(|shard| self.leader(shard).ok())
    }

    /// What a node is called.
    pub(super) fn name(&self, node: usize) -> &str {
        self.seats[node].name()
    }

    /// Tells the driver of a process that has plainly ended.
    pub(super) async fn tell_ended(&self, node: usize) -> anyhow::Result<()> {
        self.driver()?.ended(self.seats[node].name()).await;
        Ok(())
    }

    /// SIGKILL; `seen`: the driver hears of it at once, as an operator hears of a container that ended.
    pub async fn kill(&mut self, node: usize, seen: bool) -> anyhow::Result<()> {
        self.seats[node].kill().await?;
        if let (true, Some(driver)) = (seen, &self.driver) {
            driver.ended(self.seats[node].name()).await;
        }
        self.route();
        Ok(())
    }

    /// SIGTERM; it must end in order and in time.
    pub async fn stop(&mut self, node: usize) -> anyhow::Result<()> {
        self.seats[node].stop().await?;
        if let Some(driver) = &self.driver {
            driver.ended(self.seats[node].name()).await;
        }
        self.route();
        Ok(())
    }

    /// Starts a node that does not run.
    pub async fn start_node(&mut self, node: usize) -> anyhow::Result<()> {
        self.seats[node].start(self.options.long_poll_ms).await?;
        self.route();
        Ok(())
    }

    /// An empty disk in the place of that of a node that does not run.
    pub fn wipe(&self, node: usize) -> anyhow::Result<()> {
        self.seats[node].wipe()
    }

    /// SIGSTOP.
    pub fn pause(&self, node: usize) -> anyhow::Result<()> {
        self.seats[node].server()?.pause()
    }

    /// SIGCONT.
    pub fn resume(&self, node: usize) -> anyhow::Result<()> {
        self.seats[node].server()?.resume()
    }

    /// Lets a node move in short slices only.
    pub async fn crawl(&self, node: usize, longest: Duration) -> anyhow::Result<()> {
        for _ in 0..longest.as_millis() / (STILL + MOVING).as_millis() {
            self.pause(node)?;
            sleep(STILL).await;
            self.resume(node)?;
            sleep(MOVING).await;
        }
        Ok(())
    }

    /// Begins the checked workload on all nodes.
    pub async fn work(&mut self, seed: u64, clients: u32, streams: usize) -> anyhow::Result<()> {
        ensure!(self.work.is_none(), "the clients work already");
        self.work = Some(Work::begin(&self.addresses(), seed, clients, streams).await?);
        Ok(())
    }

    /// Waits until so many more appends of the workload are acknowledged.
    pub async fn progress(&self, count: u64, longest: Duration) -> anyhow::Result<()> {
        self.work.as_ref().context("no clients work")?.progress(count, longest).await
    }

    /// Takes the workload, to end it.
    pub fn take_work(&mut self) -> anyhow::Result<Work> {
        self.work.take().context("no clients work")
    }

    fn route(&self) {
        if let Some(work) = &self.work {
            work.route(&self.addresses());
        }
    }

    /// Ends the driver and then every node, in order; returns what went wrong in that.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.undrive().await;
        for seat in self.seats.iter_mut().filter(|seat| seat.address().is_some()) {
            seat.stop().await?;
        }
        Ok(())
    }
}

/// What happened next.
pub(super) enum Next {
    News(News),
    /// A node, and how it ended.
    Ended(usize, String),
}

/// The identity of the cluster whose data lies here: drawn the first time, and kept.
fn cluster_of(data: &Path) -> anyhow::Result<ClusterId> {
    let path = data.join("cluster-id");
    if let Ok(text) = std::fs::read_to_string(&path) {
        return text.trim().parse().with_context(|| format!("{} is not understood", path.display()));
    }
    std::fs::create_dir_all(data)?;
    let mut bytes = [0; 16];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    let cluster = ClusterId(bytes);
    std::fs::write(&path, format!("{cluster}\n"))?;
    Ok(cluster)
}
