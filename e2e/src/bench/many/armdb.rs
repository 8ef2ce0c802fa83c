//! The crate `armdb`, a leader and a follower of it: two processes of the program in `e2e/rivals/armdb`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::catch_up::Amount;
use super::ursula::free_ports;
use crate::server::rival_binary;
use crate::stopwatch::Stopwatch;

/// Shards of it; a thread each on both sides.
const SHARDS: usize = 4;
/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// A process that speaks in lines.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(words: &[String]) -> anyhow::Result<Self> {
        let mut command = Command::new(rival_binary("armdb")?);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let out = child.stdout.take().context("no output")?;
        Ok(Self { child, lines: BufReader::new(out).lines() })
    }

    async fn say(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.child.stdin.as_mut().context("no input")?;
        Ok(input.write_all(format!("{line}\n").as_bytes()).await?)
    }

    /// The next line, which must begin with a word; the number behind it.
    async fn hear(&mut self, word: &str) -> anyhow::Result<f64> {
        let line = timeout(PATIENCE, self.lines.next_line()).await.context("it says nothing")??;
        let line = line.context("it ended")?;
        match line.strip_prefix(word) {
            Some("") => Ok(0.0),
            Some(number) => Ok(number.trim().parse()?),
            None => bail!("it said {line:?} and not {word}"),
        }
    }

    async fn end(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

async fn leader(folder: &Path, amount: Amount, filled: usize) -> anyhow::Result<(Process, String)> {
    let address = format!("127.0.0.1:{}", free_ports(1)?.first().context("a port")?);
    let data = folder.join("leader").display().to_string();
    let words = [
        "lead".into(),
        data,
        address.clone(),
        SHARDS.to_string(),
        filled.to_string(),
        amount.bytes.to_string(),
    ];
    let mut leader = Process::start(&words)?;
    leader.hear("ready").await?;
    Ok((leader, address))
}

fn follower(folder: &Path, address: &str, levels: &str, more: &[&str]) -> anyhow::Result<Process> {
    let data = folder.join("follower").display().to_string();
    let mut words =
        vec!["follow".to_owned(), data, address.to_owned(), SHARDS.to_string(), levels.to_owned()];
    words.extend(more.iter().map(ToString::to_string));
    Process::start(&words)
}

/// Seconds until an empty follower has everything.
pub(super) async fn catch_up(folder: &Path, amount: Amount) -> anyhow::Result<f64> {
    let folder = tempfile::Builder::new().prefix("armdb-bench-").tempdir_in(folder)?;
    let (leader, address) = leader(folder.path(), amount, amount.messages).await?;
    let mut follower = follower(folder.path(), &address, &amount.messages.to_string(), &[])?;
    let seconds = follower.hear("level").await?;
    follower.end().await?;
    leader.end().await?;
    Ok(seconds)
}

/// Seconds from the first put until a follower that was level has the last.
pub(super) async fn streaming(folder: &Path, amount: Amount) -> anyhow::Result<f64> {
    let folder = tempfile::Builder::new().prefix("armdb-bench-").tempdir_in(folder)?;
    let (mut leader, address) = leader(folder.path(), amount, 1).await?;
    let mut follower = follower(folder.path(), &address, &format!("1,{}", amount.messages + 1), &[])?;
    follower.hear("level").await?;
    let clock = Stopwatch::start();
    leader.say(&format!("put {}", amount.messages)).await?;
    follower.hear("level").await?;
    let seconds = clock.elapsed().as_secs_f64();
    follower.end().await?;
    leader.end().await?;
    Ok(seconds)
}

/// Nanoseconds from each lone put until the follower has it.
pub(super) async fn lone(folder: &Path, count: usize) -> anyhow::Result<Vec<u64>> {
    let folder = tempfile::Builder::new().prefix("armdb-bench-").tempdir_in(folder)?;
    let amount = Amount { messages: count, bytes: 100 };
    let (mut leader, address) = leader(folder.path(), amount, 1).await?;
    let mut follower = follower(folder.path(), &address, "1", &["lone", &count.to_string()])?;
    follower.hear("level").await?;
    leader.say(&format!("lone {count}")).await?;
    let mut times = Vec::new();
    for _ in 0..count {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "nanoseconds of a moment"
        )]
        times.push(follower.hear("lone").await? as u64);
    }
    follower.end().await?;
    leader.end().await?;
    Ok(times)
}
