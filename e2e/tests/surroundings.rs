//! Promises: a node keeps to its data directory; a start costs what is behind the checkpoint; slow clients cost little.
//! `TEST_SLOW_CONNECTIONS` says how many (10,000 in all tiers unless the machine allows fewer descriptors).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use thalweg_e2e::client::{Connection, Request};
use thalweg_e2e::cycles::STOP_DEADLINE;
use thalweg_e2e::server::{NodeOptions, Server, ServerKind, allow_descriptors, complaints};
use thalweg_e2e::stopwatch::Stopwatch;
use tokio::time::timeout;

const MIB: u64 = 1 << 20;

async fn expect(link: &mut Connection, request: Request, status: u16) -> anyhow::Result<()> {
    let answer = link.exchange(&request).await?;
    ensure!(answer.head.status == status, "{} {:?}", answer.head.status, answer.body);
    Ok(())
}

async fn fill(server: &Server, stream: &str, count: usize, bytes: usize) -> anyhow::Result<()> {
    let mut link = Connection::open(server.address()).await?;
    expect(&mut link, Request::create(stream, "text/plain"), 201).await?;
    let message = vec![b'm'; bytes];
    for _ in 0..count {
        expect(&mut link, Request::append(stream, "text/plain", &message), 204).await?;
    }
    Ok(())
}

/// All files below a directory.
fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_outside_the_data_directory_and_no_temporary_file_stays() -> anyhow::Result<()> {
    let (data, home) = (tempfile::tempdir()?, tempfile::tempdir()?);
    // Two side by side: no name of a file is shared between them.
    let mut servers = Vec::new();
    for name in ["one", "two"] {
        let extra =
            ["--checkpoint-interval", "100ms", "--checkpoint-log-size", "1MiB", "--segment-size", "1MiB"];
        let extra = extra.map(str::to_owned).to_vec();
        let options = NodeOptions { extra, home: Some(home.path().into()), ..NodeOptions::default() };
        servers.push(Server::start(&ServerKind::Node(options), &data.path().join(name), 0, 500).await?);
    }
    let (one, two) = tokio::join!(fill(&servers[0], "s", 60, 100_000), fill(&servers[1], "s", 60, 100_000));
    one.and(two)?;
    for server in servers {
        let root = server.data().canonicalize()?;
        let binary = server.kind().binary()?.canonicalize()?;
        let strangers: Vec<_> =
            server.open_files()?.into_iter().filter(|path| !path.starts_with(&root)).collect();
        ensure!(strangers.iter().all(|path| *path == binary), "open outside {root:?}: {strangers:?}");
        let (status, log) = server.stop(STOP_DEADLINE).await?;
        ensure!(status.success() && complaints(&log, &[]).is_empty(), "{log:?}");
        let left: Vec<_> = files(&root)?;
        ensure!(left.len() > 16, "{left:?}");
        let temporary = |path: &PathBuf| path.to_string_lossy().contains("tmp");
        let root_text = root.to_string_lossy().into_owned();
        let names = left.iter().filter_map(|path| path.strip_prefix(&root_text).ok().map(Path::to_path_buf));
        let temporary: Vec<_> = names.filter(temporary).collect();
        ensure!(temporary.is_empty(), "left behind: {temporary:?}");
    }
    let strangers = files(home.path())?;
    ensure!(strangers.is_empty(), "written outside the data directories: {strangers:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_reads_the_log_behind_the_checkpoint_only_and_rewrites_nothing() -> anyhow::Result<()> {
    const DATA_MIB: u64 = 120;
    // The last segments, of 8 MiB each, and what redb reads to open.
    const READ_MIB_MAX: u64 = 36;
    let data = tempfile::tempdir()?;
    let settings = "--checkpoint-interval=100ms --segment-size=1MiB --segment-size-max=8MiB";
    let extra = settings.split(' ').map(str::to_owned).collect();
    let kind = ServerKind::Node(NodeOptions { extra, ..NodeOptions::default() });
    let server = Server::start(&kind, data.path(), 0, 500).await?;
    fill(&server, "much", 240, 512 << 10).await?;
    let (_, written) = server.transferred()?;
    ensure!(written > DATA_MIB * MIB, "the test writes less than it says: {written}");
    checkpointed(&server, "much").await?;
    server.stop(STOP_DEADLINE).await?;
    for (way, killed) in [("a clean stop", false), ("a clean stop again", true), ("a kill", true)] {
        let server = Server::start(&kind, data.path(), 0, 500).await?;
        let (read, written) = server.transferred()?;
        println!("a start after {way}: {} KiB read, {} KiB written", read >> 10, written >> 10);
        ensure!(read < READ_MIB_MAX * MIB, "a start after {way} read {read} bytes of {DATA_MIB} MiB");
        ensure!(written < DATA_MIB * MIB / 32, "a start after {way} wrote {written} bytes");
        checkpointed(&server, "much").await?;
        if killed {
            server.kill().await?;
        } else {
            server.stop(STOP_DEADLINE).await?;
        }
    }
    Ok(())
}

/// Appends a little until two checkpoints were made since: then the log before that is let go.
async fn checkpointed(server: &Server, stream: &str) -> anyhow::Result<()> {
    let mut link = Connection::open(server.address()).await?;
    let mut first = None;
    loop {
        expect(&mut link, Request::append(stream, "text/plain", b"and this"), 204).await?;
        let page = link.exchange(&Request::draft("GET", "/metrics").end()).await?.body;
        let page = String::from_utf8_lossy(&page).into_owned();
        let line = page.lines().find_map(|line| line.strip_prefix("thalweg_checkpoints_total "));
        let count: u64 = line.context("no count of checkpoints")?.trim().parse()?;
        if count >= *first.get_or_insert(count) + 3 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Beginnings that are never finished, and requests whose answers are never read.
const SLOW: [&[u8]; 3] = [
    b"GET /v1/stream/slow?offset=-1 HTTP/1.1\r\nHost: x\r\nAccept",
    b"POST /v1/stream/slow HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\nx",
    b"GET /v1/stream/slow?offset=-1 HTTP/1.1\r\nHost: x\r\n\r\n",
];

/// Waits until what was asked is done as far as it can be: the beginnings of ten thousand requests are work like any other.
async fn at_rest(server: &Server) -> anyhow::Result<()> {
    const LOOK: Duration = Duration::from_millis(200);
    timeout(Duration::from_secs(30), async {
        loop {
            let before = server.cost()?.cpu;
            tokio::time::sleep(LOOK).await;
            if server.cost()?.cpu.saturating_sub(before) <= LOOK / 10 {
                return anyhow::Ok(());
            }
        }
    })
    .await
    .context("the node does not come to rest among slow connections")?
}

/// The 99th of a hundred answers, in order of time, in the best of three rounds: a machine that has other things to do stops a round
/// for tens of milliseconds, a node that is held up does so in all of them.
async fn nearly_slowest(server: &Server) -> anyhow::Result<Duration> {
    let mut link = Connection::open(server.address()).await?;
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let mut times = Vec::new();
        for _ in 0..200 {
            let clock = Stopwatch::start();
            expect(&mut link, Request::append("healthy", "text/plain", b"x"), 204).await?;
            times.push(clock.elapsed());
        }
        times.sort_unstable();
        best = best.min(times.get(197).copied().context("too few")?);
    }
    Ok(best)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_slow_connections_cost_at_most_64_mib_and_healthy_clients_little() -> anyhow::Result<()>
{
    let count =
        std::env::var("TEST_SLOW_CONNECTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    allow_descriptors(count)?;
    let data = tempfile::tempdir()?;
    // They are held as long as the test runs: nobody is thrown out for being slow.
    let extra = ["--header-timeout", "5m", "--transfer-timeout", "5m"].map(str::to_owned).to_vec();
    let kind = ServerKind::Node(NodeOptions { extra, ..NodeOptions::default() });
    let server = Server::start(&kind, data.path(), 0, 500).await?;
    // What is never read is more than the system takes of it.
    fill(&server, "slow", 20, 100_000).await?;
    fill(&server, "healthy", 1, 1).await?;
    let calm = nearly_slowest(&server).await?;
    let before = server.cost()?.resident_bytes;
    let mut held = Vec::new();
    for raw in SLOW.iter().cycle().take(usize::try_from(count)?) {
        let mut link = Connection::open(server.address()).await?;
        link.send_raw(raw).await?;
        held.push(link);
    }
    at_rest(&server).await?;
    let crowded = nearly_slowest(&server).await?;
    let grown = server.cost()?.resident_bytes.saturating_sub(before);
    println!(
        "{count} slow connections: {} KiB more, p99 {calm:?} before, {crowded:?} among them",
        grown >> 10
    );
    ensure!(grown <= 64 * MIB, "{count} slow connections cost {grown} bytes");
    // Twice, and what a busy machine adds to any single answer.
    ensure!(crowded <= calm * 2 + Duration::from_millis(20), "p99 {calm:?} before, {crowded:?} among them");
    drop(held);
    let (status, _) = server.stop(STOP_DEADLINE).await?;
    ensure!(status.success(), "{status}");
    Ok(())
}
