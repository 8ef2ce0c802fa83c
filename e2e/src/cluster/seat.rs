//! One node's place: its name, ports and directory, and the process that sits there at the moment, if one does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use thalweg_node::types::ClusterId;

use super::ports::{free_port, here};
use crate::cycles::STOP_DEADLINE;
use crate::driver::Planned;
use crate::server::{NodeOptions, Server, ServerKind};

/// A node's place.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) planned: Planned,
    data: PathBuf,
    kind: ServerKind,
    server: Option<Server>,
    /// Every line of earlier lives.
    log: Vec<String>,
}

impl Seat {
    pub(super) fn new(
        name: &str,
        cluster: ClusterId,
        data: PathBuf,
        options: &NodeOptions,
        ports: [Option<u16>; 3],
    ) -> anyhow::Result<Self> {
        let port = |fixed: Option<u16>| fixed.map_or_else(free_port, Ok).map(here);
        let [client, peer, admin] = ports;
        let planned =
            Planned { name: name.to_owned(), admin: port(admin)?, peer: port(peer)?, client: port(client)? };
        let flags = [
            ["--cluster-id".to_owned(), cluster.to_string()],
            ["--node-name".to_owned(), name.to_owned()],
            ["--peer-listen".to_owned(), planned.peer.to_string()],
            ["--admin-listen".to_owned(), planned.admin.to_string()],
        ];
        let mut options = options.clone();
        options.extra.extend(flags.into_iter().flatten());
        Ok(Self { planned, data, kind: ServerKind::Node(options), server: None, log: Vec::new() })
    }

    /// Starts a process and waits until it listens.
    pub(super) async fn start(&mut self, long_poll_ms: u64) -> anyhow::Result<()> {
        ensure!(self.server.is_none(), "{} runs already", self.planned.name);
        let port = self.planned.client.port();
        self.server = Some(Server::start(&self.kind, &self.data, port, long_poll_ms).await?);
        Ok(())
    }

    pub(super) fn name(&self) -> &str {
        &self.planned.name
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Where clients reach it, while it runs.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(Server::address)
    }

    pub(super) fn server(&self) -> anyhow::Result<&Server> {
        self.server.as_ref().with_context(|| format!("{} does not run", self.planned.name))
    }

    fn take(&mut self) -> anyhow::Result<Server> {
        self.server.take().with_context(|| format!("{} does not run", self.planned.name))
    }

    /// SIGKILL.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        let log = self.take()?.kill().await?;
        self.log.extend(log);
        Ok(())
    }

    /// SIGTERM; it must end in order and in time.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        let (status, log) = self.take()?.stop(STOP_DEADLINE).await?;
        ensure!(status.success(), "SIGTERM ended {} with {status}:\n{}", self.name(), log.join("\n"));
        self.log.extend(log);
        Ok(())
    }

    /// Waits for its process to end by itself, and says how; for ever, if there is none.
    pub(super) async fn ended(&mut self) -> anyhow::Result<String> {
        let Some(server) = &mut self.server else { return std::future::pending().await };
        let status = server.ended().await?;
        let log = self.take()?.log();
        // Whoever fails says why with its last words; whoever is killed has no say.
        let last = log.last().filter(|_| status.code().is_some_and(|code| code != 0));
        let how = last.map_or_else(|| status.to_string(), |last| format!("{status}: {last}"));
        self.log.extend(log);
        Ok(how)
    }

    /// An empty directory in the place of what was there.
    pub(super) fn wipe(&self) -> anyhow::Result<()> {
        ensure!(self.server.is_none(), "{} runs", self.planned.name);
        for entry in std::fs::read_dir(&self.data)? {
            let path = entry?.path();
            if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
        }
        Ok(())
    }

    /// Every line that any of its processes has printed.
    pub(super) fn log(&self) -> Vec<String> {
        let now = self.server.as_ref().map(Server::log).unwrap_or_default();
        self.log.iter().cloned().chain(now).collect()
    }
}
