//! Promise: kill -9 on a full volume loses nothing that was acknowledged, the node starts again without more room, and
//! writes are taken again once something was deleted.
//!
//! On a small file system in memory, which only root may mount; without that the test says so and shows nothing.
#![expect(clippy::print_stdout, reason = "the figures are the evidence")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use thalweg_e2e::client::{Answer, Connection, Request};
use thalweg_e2e::cycles::{Cycles, Mix, STOP_DEADLINE};
use thalweg_e2e::server::{NodeOptions, Server, ServerKind, complaints};
use thalweg_e2e::stopwatch::Stopwatch;

const BODY_BYTES: usize = 64 * 1024;
/// Refused for so long means full, and nothing that is about to be mended.
const FULL: Duration = Duration::from_millis(1_500);
/// Longest wait until what must come by itself has come.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a node on a full volume may say.
const FULL_WORDS: [&str; 2] = ["no room for the log", "volume is full"];

/// A file system of its own, gone with the value.
struct SmallVolume(tempfile::TempDir);

impl SmallVolume {
    fn mount(size: &str) -> anyhow::Result<Option<Self>> {
        let directory = tempfile::tempdir()?;
        let options = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(directory.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Ok(Some(Self(directory)));
        }
        println!("SKIPPED: no file system can be mounted here (that needs root); nothing was shown");
        Ok(None)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn node() -> ServerKind {
    let flags = [
        ["--request-body-max", "1MiB"],
        ["--segment-size", "1MiB"],
        ["--segment-size-max", "2MiB"],
        ["--table-cache", "4MiB"],
        ["--tail-cache", "4MiB"],
        ["--apply-backlog", "4MiB"],
    ];
    let extra = flags.into_iter().flatten().map(str::to_owned).collect();
    ServerKind::Node(NodeOptions { shards: 4, extra, ..NodeOptions::default() })
}

/// Asks as a client does: again while the shard's tables are being made smaller, which a full volume asks for.
async fn ask(connection: &mut Connection, request: &Request) -> anyhow::Result<Answer> {
    let before = Stopwatch::start();
    loop {
        let answer = connection.exchange(request).await?;
        let busy = answer.head.status == 503 && String::from_utf8_lossy(&answer.body).contains("shard_busy");
        if !busy {
            return Ok(answer);
        }
        ensure!(before.elapsed() < PATIENCE, "still busy: {}", String::from_utf8_lossy(&answer.body));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Streams that fill the volume and how many bodies each was acknowledged.
struct Ballast(Vec<u64>);

fn name(stream: usize) -> String {
    format!("ballast-{stream}")
}

fn body(stream: usize, number: u64) -> Vec<u8> {
    format!("{stream}.{number}.").into_bytes().into_iter().cycle().take(BODY_BYTES).collect()
}

impl Ballast {
    async fn create(address: SocketAddr, streams: usize) -> anyhow::Result<Self> {
        let mut connection = Connection::open(address).await?;
        for stream in 0..streams {
            let created = connection.exchange(&Request::create(&name(stream), "text/plain")).await?;
            ensure!(created.head.status == 201, "{}", created.head.status);
        }
        Ok(Self(vec![0; streams]))
    }

    /// One body more; `false` if it is refused for lack of room.
    async fn append(&mut self, connection: &mut Connection, stream: usize) -> anyhow::Result<bool> {
        let body = body(stream, self.0[stream]);
        let answer = ask(connection, &Request::append(&name(stream), "text/plain", &body)).await?;
        match answer.head.status {
            204 => self.0[stream] += 1,
            507 => return Ok(false),
            other => bail!("an append was answered with {other}: {}", String::from_utf8_lossy(&answer.body)),
        }
        Ok(true)
    }

    /// Writes until nothing is taken any more.
    async fn fill(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let mut connection = Connection::open(address).await?;
        let mut last = Stopwatch::start();
        while last.elapsed() < FULL {
            for stream in 0..self.0.len() {
                if self.append(&mut connection, stream).await? {
                    last = Stopwatch::start();
                } else {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        Ok(())
    }

    /// Every stream holds what was acknowledged, byte for byte, and nothing else.
    async fn check(&self, address: SocketAddr) -> anyhow::Result<()> {
        let mut connection = Connection::open(address).await?;
        for (stream, bodies) in self.0.iter().enumerate() {
            let wanted: Vec<u8> = (0..*bodies).flat_map(|number| body(stream, number)).collect();
            let (mut offset, mut found) = ("-1".to_owned(), Vec::new());
            while found.len() < wanted.len() {
                let answer = ask(&mut connection, &Request::read(&name(stream), &offset)).await?;
                let said = String::from_utf8_lossy(&answer.body);
                ensure!(answer.head.status == 200, "{}: {} {said}", name(stream), answer.head.status);
                ensure!(!answer.body.is_empty(), "{}: only {} bytes", name(stream), found.len());
                found.extend_from_slice(&answer.body);
                offset = answer.head.next.context("no next offset")?.as_str().to_owned();
            }
            ensure!(found == wanted, "{} holds something else", name(stream));
        }
        Ok(())
    }

    async fn delete(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let mut connection = Connection::open(address).await?;
        let stream = self.0.len() - 1;
        let before = Stopwatch::start();
        loop {
            match ask(&mut connection, &Request::delete(&name(stream))).await?.head.status {
                204 => break,
                507 => ensure!(before.elapsed() < PATIENCE, "{} cannot be deleted", name(stream)),
                other => bail!("a deletion was answered with {other}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.0.truncate(stream);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_on_a_full_volume_lose_nothing_and_writes_go_on_after_deletions() -> anyhow::Result<()> {
    let Some(volume) = SmallVolume::mount("48m")? else { return Ok(()) };
    let kind = node();
    let mut server = Server::start(&kind, volume.path(), 0, 500).await?;
    let mut ballast = Ballast::create(server.address(), 6).await?;
    for _ in 0..3 {
        ballast.fill(server.address()).await?;
        ballast.check(server.address()).await?;
        let log = server.kill().await?;
        ensure!(complaints(&log, &FULL_WORDS).is_empty(), "{log:#?}");
        server = Server::start(&kind, volume.path(), 0, 500).await?;
        ballast.check(server.address()).await?;
    }
    let filled = ballast.0.clone();
    // The usual work under kills, which fills again what one deletion gives back.
    ballast.delete(server.address()).await?;
    server.kill().await?;
    let mut cycles = Cycles::new(kind.clone(), 5, 7);
    cycles.mix = Mix { kills: 1, pauses: 0, stops: 0 };
    cycles.expected_complaints = FULL_WORDS.map(str::to_owned).to_vec();
    let report = cycles.run(volume.path()).await?;
    println!("{filled:?} bodies of 64 KiB filled it; {report}");
    ensure!(report.problems.is_empty() && report.acknowledged > 0, "{report}");
    let server = Server::start(&kind, volume.path(), 0, 500).await?;
    ballast.check(server.address()).await?;
    ballast.delete(server.address()).await?;
    ballast.delete(server.address()).await?;
    let mut connection = Connection::open(server.address()).await?;
    let before = Stopwatch::start();
    for stream in (0..ballast.0.len()).cycle().take(20) {
        while !ballast.append(&mut connection, stream).await? {
            ensure!(before.elapsed() < PATIENCE, "writes are still refused after deletions");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    println!("written again {:?} after two more deletions", before.elapsed());
    ballast.check(server.address()).await?;
    let (status, log) = server.stop(STOP_DEADLINE).await?;
    ensure!(status.success() && complaints(&log, &FULL_WORDS).is_empty(), "{status}: {log:#?}");
    Ok(())
}
