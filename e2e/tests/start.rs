//! Promise: a node answers from the moment that its address is bound, says that it starts and how far it is, goes on with the
//! same connections when it serves, and ends in order when it is told to in the middle of its start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use thalweg_e2e::client::{Answer, Connection, Request};
use thalweg_e2e::cycles::STOP_DEADLINE;
use thalweg_e2e::server::{FsyncMode, NodeOptions, Server, ServerKind};
use tokio::process::Child;

const STREAMS: usize = 32;
const BODY_BYTES: usize = 1 << 20;
/// Longest time until a process has bound its address.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that makes no checkpoint by itself, so that a start after a kill has all of the log to read.
fn kind() -> ServerKind {
    let extra = ["--checkpoint-interval", "1h", "--checkpoint-log-size", "1GiB"];
    let extra = extra.map(str::to_owned).to_vec();
    ServerKind::Node(NodeOptions { fsync: FsyncMode::Never, extra, ..NodeOptions::default() })
}

/// A data directory whose log is long.
async fn killed(data: &Path) -> anyhow::Result<()> {
    let server = Server::start(&kind(), data, 0, 1000).await?;
    let mut client = Connection::open(server.address()).await?;
    let body = vec![b'x'; BODY_BYTES];
    for number in 0..STREAMS {
        let created = client.exchange(&Request::create(&name(number), "text/plain")).await?;
        ensure!(created.head.status == 201);
        let appended = client.exchange(&Request::append(&name(number), "text/plain", &body)).await?;
        ensure!(appended.head.status == 204, "{}", appended.head.status);
    }
    server.kill().await?;
    Ok(())
}

fn name(number: usize) -> String {
    format!("s{number}")
}

/// A process whose start is under way, and a connection to it.
struct Starting {
    child: Child,
    pid: Pid,
    client: Connection,
}

impl Starting {
    async fn begin(data: &Path) -> anyhow::Result<Self> {
        Self::telling(data, Stdio::null()).await
    }

    async fn telling(data: &Path, greeting: Stdio) -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut command = kind().command(address, data, 1000)?;
        command.stdin(Stdio::null()).stdout(greeting).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).context("it ended at once")?;
        let connected = tokio::time::timeout(PATIENCE, async {
            loop {
                // There is no event to wait for before the address is bound.
                match Connection::open(address).await {
                    Ok(client) => return client,
                    Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        });
        Ok(Self { child, pid, client: connected.await? })
    }

    async fn readiness(&mut self) -> anyhow::Result<(u16, serde_json::Value)> {
        let Answer { head, body } = self.client.exchange(&Request::draft("GET", "/readyz").end()).await?;
        Ok((head.status, serde_json::from_slice(&body)?))
    }

    /// SIGTERM, and an end in order.
    async fn stop(mut self) -> anyhow::Result<()> {
        kill_process(self.pid, Signal::TERM)?;
        let status = tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await??;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}

#[tokio::test]
async fn a_node_answers_while_it_starts_and_sigterm_ends_a_start_in_order() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    killed(data.path()).await?;
    let mut early = Starting::begin(data.path()).await?;
    let (status, said) = early.readiness().await?;
    ensure!(status == 503 && said["code"] == "not_ready" && said["state"] == "starting", "{status} {said}");
    early.stop().await?;

    let mut starting = Starting::begin(data.path()).await?;
    let (mut answers, mut refused) = (0, 0);
    let ready = loop {
        answers += 1;
        match starting.readiness().await? {
            (503, said) => {
                ensure!(said["state"] == "starting" && said["start"]["shards"].is_u64(), "{said}");
                let read = starting.client.exchange(&Request::read("s0", "-1")).await?;
                refused += u64::from(read.head.status == 503);
            }
            (status, said) => break (status, said),
        }
    };
    ensure!(ready.0 == 200 && ready.1["state"] == "ready", "{ready:?}");
    ensure!(answers > 1 && refused > 0, "it was ready at once, and nothing was shown");
    for number in 0..STREAMS {
        let head = starting.client.exchange(&Request::head(&name(number))).await?.head;
        let next = head.next.context("no tail")?;
        ensure!(
            head.status == 200 && next.as_str().ends_with(&format!("{BODY_BYTES:x}")),
            "{}",
            next.as_str()
        );
    }
    starting.stop().await
}

#[tokio::test]
async fn a_node_whose_greeting_nobody_reads_serves_all_the_same() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let (unread, greeting) = std::io::pipe()?;
    drop(unread);
    let mut started = Starting::telling(data.path(), Stdio::from(greeting)).await?;
    tokio::time::timeout(PATIENCE, async {
        while started.readiness().await?.0 != 200 {}
        let created = started.client.exchange(&Request::create("s", "text/plain")).await?;
        ensure!(created.head.status == 201, "{}", created.head.status);
        Ok(())
    })
    .await??;
    started.stop().await
}
