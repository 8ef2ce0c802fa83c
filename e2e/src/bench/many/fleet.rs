//! Several nodes that are one to their clients: ours with a driver, one of ours on its own, or a rival's.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::time::sleep;

use super::super::load::Serving;
use super::super::requests::CONTENT_TYPE;
use super::ursula;
use crate::client::{Connection, Request};
use crate::cluster::{Options, World};
use crate::server::{Cost, NodeOptions, Server, ServerKind};
use crate::stopwatch::Stopwatch;

/// A fleet that takes no writes within this time never does.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// Between two attempts to make a stream.
const AGAIN: Duration = Duration::from_millis(20);

/// What kind of fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// So many nodes of ours; a single one is on its own.
    Ours(usize, NodeOptions),
    /// Three nodes of the crate `ursula`, each with a log that is synced before an answer.
    Ursula,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(nodes, NodeOptions { binary: Some(path), .. }) => {
                write!(f, "{nodes} × {}", path.display())
            }
            Self::Ours(nodes, _) => write!(f, "thalweg × {nodes}"),
            Self::Ursula => write!(f, "ursula × {}", ursula::NODES),
        }
    }
}

#[derive(Debug)]
enum Nodes {
    World(Box<World>),
    Servers(Vec<Server>),
}

/// A fleet that runs.
#[derive(Debug)]
pub(super) struct Fleet {
    kind: Kind,
    nodes: Nodes,
    folder: TempDir,
}

impl Fleet {
    /// Starts it on a fresh directory below `folder`.
    pub(super) async fn start(kind: &Kind, folder: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("thalweg-bench-").tempdir_in(folder)?;
        let nodes = match kind {
            Kind::Ours(1, options) => {
                let kind = ServerKind::Node(options.clone());
                Nodes::Servers(vec![Server::start(&kind, folder.path(), 0, 20_000).await?])
            }
            Kind::Ours(nodes, options) => {
                let options = Options {
                    nodes: *nodes,
                    node: options.clone(),
                    proxied: false,
                    long_poll_ms: 20_000,
                    ..Options::default()
                };
                Nodes::World(Box::new(World::start(options, folder.path()).await?))
            }
            Kind::Ursula => Nodes::Servers(ursula::start(folder.path()).await?),
        };
        Ok(Self { kind: kind.clone(), nodes, folder })
    }

    /// Its nodes.
    pub(super) fn servers(&self) -> Vec<&Server> {
        match &self.nodes {
            Nodes::World(world) => world.servers().collect(),
            Nodes::Servers(servers) => servers.iter().collect(),
        }
    }

    /// Our world, if it is one.
    pub(super) fn world(&mut self) -> anyhow::Result<&mut World> {
        match &mut self.nodes {
            Nodes::World(world) => Ok(world),
            Nodes::Servers(_) => bail!("{} is no cluster of ours", self.kind),
        }
    }

    /// Where clients find a stream.
    pub(super) fn path(&self, stream: &str) -> String {
        match self.kind {
            Kind::Ours(..) => Request::stream_path(stream),
            Kind::Ursula => format!("/bench/{stream}"),
        }
    }

    /// Makes a stream, and says which node leads it: whoever does not send its clients elsewhere.
    pub(super) async fn create(&self, stream: &str) -> anyhow::Result<SocketAddr> {
        let draft = Request::draft("PUT", &self.path(stream)).header("Content-Type", CONTENT_TYPE);
        let request = draft.header("Prefer", "redirect").body(b"");
        let clock = Stopwatch::start();
        let mut last = None;
        while clock.elapsed() < OPEN_MAX {
            for server in self.servers() {
                let address = server.address();
                let answer = Connection::open(address).await?.exchange(&request).await?;
                match answer.head.status {
                    200 | 201 => return Ok(address),
                    307 | 404 | 500..=599 => last = Some((address, answer)),
                    status => bail!("PUT {stream}: status {status}"),
                }
            }
            sleep(AGAIN).await;
        }
        bail!("nobody makes {stream}: {last:?}")
    }

    /// An append to a stream.
    pub(super) fn append(&self, stream: &str, body: &[u8]) -> Request {
        Request::draft("POST", &self.path(stream)).header("Content-Type", CONTENT_TYPE).body(body)
    }

    /// Ends it at once; its data is deleted.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        match self.nodes {
            Nodes::World(mut world) => {
                world.undrive().await;
                for node in 0..world.count() {
                    // One that was stopped before is gone already.
                    let _gone = world.kill(node, false).await;
                }
            }
            Nodes::Servers(servers) => {
                for server in servers {
                    server.kill().await?;
                }
            }
        }
        self.folder.close().context("the data cannot be deleted")
    }
}

impl Serving for Fleet {
    fn name(&self) -> String {
        self.kind.to_string()
    }

    fn cost(&self) -> anyhow::Result<Cost> {
        let mut all = Cost::default();
        for server in self.servers() {
            let Cost { cpu, resident_bytes, resident_bytes_peak } = server.cost()?;
            all.cpu += cpu;
            all.resident_bytes += resident_bytes;
            all.resident_bytes_peak += resident_bytes_peak;
        }
        Ok(all)
    }
}
