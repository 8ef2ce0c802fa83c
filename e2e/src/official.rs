//! The official JavaScript client at work: it writes as an idempotent producer, follows live, and in the end reads everything
//! again. Whoever starts it does things to the servers meanwhile.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::conformance;

/// Longest time between two lines of it; its own back-off is what takes long.
const DEADLINE: Duration = Duration::from_secs(120);

/// What it says of itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Said {
    /// Messages that it has written.
    pub written: u32,
    done: bool,
    read: bool,
    tailed: bool,
    read_count: u32,
    tailed_count: u32,
    retries: u32,
    sessions: u32,
    problems: Vec<String>,
}

/// The client; it ends with this.
#[derive(Debug)]
pub struct OfficialClient {
    count: u32,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl OfficialClient {
    /// The stream that it works on.
    #[must_use]
    pub fn stream(mode: &str) -> String {
        format!("official-client/{mode}")
    }

    /// Lets it write `count` messages to a server, and follow them by `sse` or `long-poll`.
    pub async fn begin(base_url: &str, mode: &str, count: u32) -> anyhow::Result<Self> {
        conformance::install().await?;
        let mut process = Command::new("node")
            .args(["client.js", base_url, mode, &count.to_string()])
            .current_dir(conformance::folder())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let lines = BufReader::new(process.stdout.take().context("no output")?).lines();
        Ok(Self { count, lines, _process: process })
    }

    /// What it says next; `None` when it has ended.
    pub async fn next(&mut self) -> anyhow::Result<Option<Said>> {
        let line = timeout(DEADLINE, self.lines.next_line()).await.context("the client hangs")??;
        line.map(|text| serde_json::from_str(&text).with_context(|| text.clone())).transpose()
    }

    /// Fails unless its last words say that all it wrote was read and followed, once each and in order, and that it noticed
    /// what was done to the servers.
    pub fn check(&self, last: &Said) -> anyhow::Result<()> {
        ensure!(last.retries + last.sessions > 1, "the kills went unnoticed");
        ensure!(last.done && last.problems.is_empty(), "{last:?}");
        let read = last.read && last.read_count == self.count;
        ensure!(read, "what was read is not what was written, once each and in order");
        ensure!(last.tailed && last.tailed_count == self.count, "what was tailed is not what was written");
        Ok(())
    }
}
