//! A cluster on one machine, to look at: nodes and a driver, and a line for whatever happens, until somebody has seen enough.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::world::{Next, Options, World};
use crate::driver::News;
use crate::server::NodeOptions;
use crate::stopwatch::Stopwatch;

/// A node that ended is started again after so long: time to see its shards move.
const RESTART: Duration = Duration::from_secs(3);
/// While somebody waits, a line comes at least this often.
const PROGRESS: Duration = Duration::from_secs(1);
/// A cluster that does not open within this time does not open.
const OPEN_MAX: Duration = Duration::from_secs(60);

/// What to show.
#[derive(Debug, Clone)]
pub struct Show {
    /// How many nodes.
    pub nodes: usize,
    /// Where their data lies, and the record.
    pub data: PathBuf,
    /// Shards of a fresh cluster.
    pub shards: u32,
    /// Ports of the first node's clients, peers and admin; those of the others follow.
    pub ports: [u16; 3],
    /// Further flags for every node.
    pub flags: Vec<String>,
}

/// Starts it and tells what happens, until `enough`; then ends everything in order.
pub async fn show(
    wanted: Show,
    mut say: impl FnMut(String),
    enough: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let clock = Stopwatch::start();
    let node = NodeOptions { shards: wanted.shards, extra: wanted.flags, ..NodeOptions::default() };
    let ports = Some(wanted.ports);
    let options = Options {
        nodes: wanted.nodes,
        node,
        proxied: false,
        long_poll_ms: 30_000,
        ports,
        ..Options::default()
    };
    let mut world = World::still(options, &wanted.data).await?;
    tokio::pin!(enough);
    let opened = tokio::select! {
        opened = open(&mut world, &mut say) => Some(opened),
        () = &mut enough => None,
    };
    if let Some(opened) = opened {
        opened.context("the cluster does not open")?;
        introduce(&mut world, clock.elapsed(), &mut say)?;
        tokio::select! {
            // An interrupt from the keyboard ends the nodes, too; that is no failover.
            biased;
            () = &mut enough => {}
            told = tell(&mut world, &mut say) => told?,
        }
    }
    say("ending all nodes".to_owned());
    world.end().await?;
    say(format!("ended; the data stays in {}", wanted.data.display()));
    Ok(())
}

/// Starts everything, with a line for every second that it takes.
async fn open(world: &mut World, say: &mut impl FnMut(String)) -> anyhow::Result<()> {
    let (clock, nodes) = (Stopwatch::start(), world.count());
    let opened = async {
        world.start_all().await?;
        world.drive().await?;
        world.wait_open(OPEN_MAX).await
    };
    tokio::pin!(opened);
    let mut progress = interval(PROGRESS);
    progress.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            opened = &mut opened => return opened.map(drop),
            _ = progress.tick() => say(format!("starting {nodes} nodes, {} s", clock.elapsed().as_secs())),
        }
    }
}

fn introduce(world: &mut World, took: Duration, say: &mut impl FnMut(String)) -> anyhow::Result<()> {
    world.news();
    let leaders = world.driver()?.view().leaders();
    say(format!("all shards have leaders after {:.1} s", took.as_secs_f64()));
    for (planned, number) in world.planned().zip(0..) {
        let led = leaders.get(&planned.name).map_or(0, Vec::len);
        say(format!(
            "  {}  clients http://{}  admin http://{}  peers {}  leads {led} shards  data {}",
            planned.name,
            planned.client,
            planned.admin,
            planned.peer,
            world.data(number).display()
        ));
    }
    say("any node takes any request; kill -9 one to see its shards move; Ctrl-C ends all".to_owned());
    Ok(())
}

/// A line for everything that happens; a node that ends is started again.
async fn tell(world: &mut World, say: &mut impl FnMut(String)) -> anyhow::Result<()> {
    let clock = Stopwatch::start();
    let mut due: VecDeque<(Duration, usize)> = VecDeque::new();
    loop {
        let next = due.front().copied();
        let wait = next.map(|(at, _)| at.saturating_sub(clock.elapsed()));
        let restart = async {
            match wait {
                Some(wait) => sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            happened = world.next() => match happened? {
                Next::News(news) => say(named(world, &news)?),
                Next::Ended(number, how) => {
                    say(format!("{how}; it is started again in {} s", RESTART.as_secs()));
                    world.tell_ended(number).await?;
                    due.push_back((clock.elapsed() + RESTART, number));
                }
            },
            () = restart => if let Some((_, number)) = due.pop_front() {
                world.start_node(number).await?;
                say(format!("{} runs again", world.name(number)));
            },
        }
    }
}

/// News with the names of nodes in the place of their replicas.
fn named(world: &World, news: &News) -> anyhow::Result<String> {
    let News::Moved { shard, from, to, took, reason, .. } = news else { return Ok(news.to_string()) };
    let table = world.driver()?.view().table;
    let why = reason.map_or_else(String::new, |reason| format!(" ({reason:?})"));
    let (from, to) = (table.node(*from), table.node(*to));
    Ok(format!("shard {shard}: {from} → {to} after {} ms{why}", took.as_millis()))
}
