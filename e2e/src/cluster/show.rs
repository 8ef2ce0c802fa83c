//! A cluster on one machine, to look at: nodes and a driver, and a line for whatever happens, until somebody has seen enough.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use thalweg_node::store::layout::LAYOUT_FILE;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep};

use super::line::{Line, Place};
use super::world::{Next, Options, World};
use crate::driver::{News, Planned};
use crate::server::{NodeOptions, is_complaint, node_binary};
use crate::stopwatch::Stopwatch;

/// A node that ended is started again after so long: time to see its shards move.
const RESTART: Duration = Duration::from_secs(3);
/// While somebody waits for a start, a line comes at least this often.
const PROGRESS: Duration = Duration::from_secs(1);
/// The same for a build, which may take minutes.
const BUILD_PROGRESS: Duration = Duration::from_secs(5);
/// A build that has nothing to do takes no longer.
const BUILD_QUICK: Duration = Duration::from_millis(500);
/// What is said of one shard is said of others within this time.
const LOOK: Duration = Duration::from_millis(100);
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
    mut say: impl FnMut(&[Line]),
    enough: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    check(&wanted.data)?;
    tokio::pin!(enough);
    tokio::select! {
        built = build(&mut say) => built?,
        () = &mut enough => return Ok(()),
    }
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
    let opened = tokio::select! {
        opened = open(&mut world, &mut say) => Some(opened),
        () = &mut enough => None,
    };
    if let Some(opened) = opened {
        opened.context("the cluster does not open")?;
        say(&introduction(&world, clock.elapsed())?);
        tokio::select! {
            // An interrupt from the keyboard ends the nodes, too; that is no failover.
            biased;
            () = &mut enough => {}
            told = tell(&mut world, &mut say) => told?,
        }
    }
    say(&[Line::Ending]);
    world.end().await?;
    say(&[Line::Over { data: wanted.data }]);
    Ok(())
}

/// What a single node has written is not what a cluster begins with.
fn check(data: &Path) -> anyhow::Result<()> {
    ensure!(
        !data.join(LAYOUT_FILE).exists(),
        "{} is the data directory of a single node, and a cluster has one below it for each of its nodes. Nothing was \
         touched. Serve it as before (make run-one), or choose another directory for the cluster (--data DIRECTORY, or \
         make run ARGS=\"--data DIRECTORY\")",
        data.display()
    );
    Ok(())
}

/// Brings the program of the node up to date.
async fn build(say: &mut impl FnMut(&[Line])) -> anyhow::Result<()> {
    let clock = Stopwatch::start();
    let mut built = spawn_blocking(node_binary);
    // Where there is nothing to build, nothing is said of it.
    let mut progress = interval_at(Instant::now() + BUILD_QUICK, BUILD_PROGRESS);
    loop {
        tokio::select! {
            built = &mut built => return built?.map(drop),
            _ = progress.tick() => say(&[Line::Building { seconds: clock.elapsed().as_secs() }]),
        }
    }
}

/// Starts everything, with a line for every second that it takes, and for what is seen meanwhile: it tells why nothing opens.
async fn open(world: &mut World, say: &mut impl FnMut(&[Line])) -> anyhow::Result<()> {
    let (clock, nodes) = (Stopwatch::start(), world.count());
    let mut progress = interval(PROGRESS);
    progress.set_missed_tick_behavior(MissedTickBehavior::Skip);
    {
        let started = async {
            world.start_all().await?;
            world.drive().await
        };
        tokio::pin!(started);
        loop {
            tokio::select! {
                started = &mut started => break started?,
                _ = progress.tick() => say(&[Line::Starting { nodes, seconds: clock.elapsed().as_secs() }]),
            }
        }
    }
    let mut heard = Warnings::default();
    while !world.driver()?.view().is_open() {
        tokio::select! {
            happened = world.next() => match happened? {
                Next::News(news) => {
                    let is_end = matches!(news, News::Halted(_));
                    // That shards get their first leaders is no news.
                    if !matches!(news, News::Moved { .. }) {
                        told(world, (news, true), say).await?;
                    }
                    ensure!(!is_end, "the driver touches nothing any more");
                }
                Next::Ended(number, how) => bail!("{} ended ({how})", world.name(number)),
            },
            _ = progress.tick() => {
                // The whole record is nothing to read.
                ensure!(clock.elapsed() < OPEN_MAX, "some shards have no leader that takes writes");
                say(&[Line::Starting { nodes, seconds: clock.elapsed().as_secs() }]);
                say(&heard.lines(world));
            }
            () = sleep(LOOK) => {}
        }
    }
    let mut later = world.news();
    later.retain(|news| !matches!(news, News::Moved { .. }));
    let table = world.driver()?.view().table;
    say(&later.iter().map(|news| Line::of(news, &table)).collect::<Vec<_>>());
    Ok(())
}

/// What a driver says comes for many shards at once.
async fn told(
    world: &mut World,
    (first, opens): (News, bool),
    say: &mut impl FnMut(&[Line]),
) -> anyhow::Result<()> {
    sleep(LOOK).await;
    let mut later = world.news();
    // Leaders of a cluster that opens are no news.
    later.retain(|news| !(opens && matches!(news, News::Moved { .. })));
    let table = world.driver()?.view().table;
    let lines: Vec<Line> = [first].iter().chain(&later).map(|news| Line::of(news, &table)).collect();
    say(&lines);
    Ok(())
}

/// What nodes warn of, each line once.
#[derive(Debug, Default)]
struct Warnings {
    /// So many lines of each node were looked at.
    seen: BTreeMap<usize, usize>,
}

impl Warnings {
    /// From now on.
    fn new(world: &World) -> Self {
        Self { seen: (0..world.count()).map(|node| (node, world.log(node).len())).collect() }
    }

    fn lines(&mut self, world: &World) -> Vec<Line> {
        let mut lines = Vec::new();
        for node in 0..world.count() {
            let log = world.log(node);
            let seen = self.seen.insert(node, log.len()).unwrap_or_default();
            for text in log.iter().skip(seen).filter(|line| is_complaint(line)) {
                // The time comes first, and is now.
                let text = text.split_once(' ').map_or(text.as_str(), |(_, rest)| rest.trim()).to_owned();
                lines.push(Line::Warning { node: world.name(node).to_owned(), text });
            }
        }
        lines
    }
}

fn introduction(world: &World, took: Duration) -> anyhow::Result<Vec<Line>> {
    let view = world.driver()?.view();
    let leaders = view.leaders();
    let place = |(planned, number): (&Planned, usize)| {
        let led = leaders.get(&planned.name).map_or(0, Vec::len);
        Place::new(planned, led, world.data(number).to_owned())
    };
    let nodes = world.planned().zip(0..).map(place).collect();
    let names = world.planned().map(|planned| planned.name.clone()).collect();
    let mut lines = vec![Line::Open { took_ms: u64::try_from(took.as_millis())?, nodes }];
    lines.extend(Line::of_absent(&view.table, &names));
    Ok(lines)
}

/// A line for everything that happens; a node that ends is started again.
async fn tell(world: &mut World, say: &mut impl FnMut(&[Line])) -> anyhow::Result<()> {
    let clock = Stopwatch::start();
    let mut due: VecDeque<(Duration, usize)> = VecDeque::new();
    let (mut heard, mut looks) = (Warnings::new(world), interval(PROGRESS));
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
                Next::News(news) => told(world, (news, false), say).await?,
                Next::Ended(number, how) => {
                    let node = world.name(number).to_owned();
                    say(&[Line::Ended { node, how, again_s: RESTART.as_secs() }]);
                    world.tell_ended(number).await?;
                    due.push_back((clock.elapsed() + RESTART, number));
                }
            },
            _ = looks.tick() => say(&heard.lines(world)),
            () = restart => if let Some((_, number)) = due.pop_front() {
                world.start_node(number).await?;
                say(&[Line::RunsAgain { node: world.name(number).to_owned() }]);
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_of_a_single_node_is_left_alone_and_whoever_asks_is_told_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path()).unwrap();
        std::fs::write(folder.path().join(LAYOUT_FILE), "").unwrap();
        let error = check(folder.path()).unwrap_err().to_string();
        assert!(error.contains("make run-one") && error.contains("--data DIRECTORY"), "{error}");
    }
}
