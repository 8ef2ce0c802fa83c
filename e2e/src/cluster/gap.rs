//! How long a client waits to be acknowledged while a leader is replaced: one writer per address, an append every two
//! milliseconds, and the longest time between two acknowledgements of any of them.
//!
//! An append that is not answered, or refused, is tried again at once by a new connection; so what is measured is what a
//! client sees that does the same.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::client::{Connection, Request};
use crate::stopwatch::Stopwatch;

/// How often each writer appends.
const EVERY: Duration = Duration::from_millis(2);
/// An answer that takes longer is not waited for; a node may hold a request while nobody leads, so this is not short.
const ANSWER_MAX: Duration = Duration::from_millis(5_500);
/// Between attempts to reach a node.
const AGAIN: Duration = Duration::from_millis(5);

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The longest time between two acknowledgements.
    pub longest: Duration,
    /// How many there were.
    pub acknowledged: usize,
    /// How many appends were answered that the node does not lead, which is no client's business.
    pub turned_away: usize,
}

/// Writers at work.
#[derive(Debug)]
pub struct GapMeter {
    writers: JoinSet<()>,
    clock: Stopwatch,
    seen: Arc<Seen>,
}

/// What all writers saw.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: Mutex<Vec<Duration>>,
    turned_away: AtomicUsize,
}

impl GapMeter {
    /// Creates the stream, and begins to append to it through each of these nodes.
    pub async fn begin(nodes: &[SocketAddr], stream: &str) -> anyhow::Result<Self> {
        let first = *nodes.first().context("no node to write through")?;
        let created = Connection::open(first).await?.exchange(&Request::create(stream, "text/plain")).await?;
        ensure!(matches!(created.head.status, 200 | 201), "{} to a creation", created.head.status);
        let (clock, seen) = (Stopwatch::start(), Arc::<Seen>::default());
        let mut writers = JoinSet::new();
        for node in nodes {
            let request = Request::append(stream, "text/plain", b"tick");
            writers.spawn(write(*node, request, clock, Arc::clone(&seen)));
        }
        Ok(Self { writers, clock, seen })
    }

    /// The time on the meter's clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Waits until so many appends were acknowledged after a moment.
    pub async fn wait(&self, after: Duration, count: usize, longest: Duration) -> anyhow::Result<()> {
        let until = self.clock.elapsed() + longest;
        loop {
            let times = self.times();
            if times.iter().filter(|time| **time > after).count() >= count {
                return Ok(());
            }
            ensure!(self.clock.elapsed() < until, "not acknowledged {count} times within {longest:?}");
            sleep(AGAIN).await;
        }
    }

    /// Ends, and says what was measured.
    pub async fn end(mut self) -> Gap {
        self.writers.shutdown().await;
        let times = self.times();
        let between = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
        let turned_away = self.seen.turned_away.load(Ordering::Relaxed);
        Gap { longest: between.max().unwrap_or_default(), acknowledged: times.len(), turned_away }
    }

    fn times(&self) -> Vec<Duration> {
        let mut times = self.seen.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        times.sort_unstable();
        times
    }
}

async fn write(node: SocketAddr, request: Request, clock: Stopwatch, seen: Arc<Seen>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut link = None;
    loop {
        ticks.tick().await;
        let mut connection = match link.take() {
            Some(connection) => connection,
            None => match Connection::open(node).await {
                Ok(connection) => connection,
                Err(_) => {
                    sleep(AGAIN).await;
                    continue;
                }
            },
        };
        let Ok(Ok(answer)) = timeout(ANSWER_MAX, connection.exchange(&request)).await else { continue };
        if matches!(answer.head.status, 200 | 204) {
            seen.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(clock.elapsed());
        } else if memchr::memmem::find(&answer.body, b"not_leader").is_some() {
            seen.turned_away.fetch_add(1, Ordering::Relaxed);
        }
        if answer.head.keeps_alive() {
            link = Some(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers everything with success; when told, does so only after a while.
    async fn node(listener: TcpListener, pause: Arc<Mutex<Duration>>) {
        let (mut stream, mut buffer) = (None, [0; 4096]);
        loop {
            let (mut taken, _) = match stream.take() {
                Some(stream) => (stream, ()),
                None => (listener.accept().await.unwrap().0, ()),
            };
            if taken.read(&mut buffer).await.unwrap_or(0) == 0 {
                continue;
            }
            let wait = std::mem::take(&mut *pause.lock().unwrap());
            sleep(wait).await;
            taken.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            stream = Some(taken);
        }
    }

    #[tokio::test]
    async fn a_pause_of_the_only_node_is_what_is_measured() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pause = Arc::new(Mutex::new(Duration::ZERO));
        let served = tokio::spawn(node(listener, pause.clone()));
        let meter = GapMeter::begin(&[address], "gap").await.unwrap();
        meter.wait(Duration::ZERO, 5, Duration::from_secs(5)).await.unwrap();
        let before = meter.now();
        *pause.lock().unwrap() = Duration::from_millis(300);
        meter.wait(before, 10, Duration::from_secs(5)).await.unwrap();
        let gap = meter.end().await;
        assert!(gap.longest >= Duration::from_millis(300) && gap.longest < Duration::from_secs(2), "{gap:?}");
        served.abort();
    }
}
