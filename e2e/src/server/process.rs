//! One running server: started on a free port, watched, signalled by its own process id, and never outlived.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::ServerKind;

/// A start that takes longer than this has failed; recovery of the biggest test directories takes seconds.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// What our node prints when it serves.
const READY_MARK: &str = "listening on http://";

/// What a process has cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// User and system time.
    pub cpu: Duration,
    /// Resident bytes now.
    pub resident_bytes: u64,
    /// Most resident bytes so far.
    pub resident_bytes_peak: u64,
}

/// A server process.
#[derive(Debug)]
pub struct Server {
    kind: ServerKind,
    address: SocketAddr,
    data: PathBuf,
    child: Child,
    pid: Pid,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts `kind` with its data in `data` and waits until it serves. `port` 0 means a free one.
    pub async fn start(kind: &ServerKind, data: &Path, port: u16, long_poll_ms: u64) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data)?;
        let ours = matches!(kind, ServerKind::Node(_));
        let port = if ours || port != 0 { port } else { free_port().await? };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut command = kind.command(address, data, long_poll_ms)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{kind} does not start"))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).context("it ended at once")?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let (ready, mut readiness) = mpsc::unbounded_channel();
        if let Some(out) = child.stdout.take() {
            tokio::spawn(collect(out, log.clone(), ready.clone()));
        }
        if let Some(err) = child.stderr.take() {
            tokio::spawn(collect(err, log.clone(), ready));
        }
        let mut server = Self { kind: kind.clone(), address, data: data.to_path_buf(), child, pid, log };
        let started = timeout(START_DEADLINE, async {
            if ours { readiness.recv().await } else { server.accepts().await }
        });
        match started.await {
            Ok(Some(address)) => server.address = address,
            Ok(None) => {
                let status = server.child.wait().await?;
                bail!("{kind} ended before it served ({status}):\n{}", server.log().join("\n"));
            }
            Err(_) => bail!("{kind} does not serve after {START_DEADLINE:?}:\n{}", server.log().join("\n")),
        }
        Ok(server)
    }

    /// Rivals print no line to wait for at the log level that they are measured with.
    async fn accepts(&mut self) -> Option<SocketAddr> {
        loop {
            if TcpStream::connect(self.address).await.is_ok() {
                return Some(self.address);
            }
            if !matches!(self.child.try_wait(), Ok(None)) {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Which server this is.
    #[must_use]
    pub fn kind(&self) -> &ServerKind {
        &self.kind
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its data.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// `http://ADDRESS`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every line that it has printed.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it ends by itself, or by somebody else.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// SIGKILL, and wait until it is gone.
    pub async fn kill(mut self) -> anyhow::Result<Vec<String>> {
        self.signal(Signal::KILL)?;
        self.child.wait().await?;
        Ok(self.log())
    }

    /// SIGTERM; it must end within `deadline`. Returns how it ended and what it printed.
    pub async fn stop(mut self, deadline: Duration) -> anyhow::Result<(ExitStatus, Vec<String>)> {
        self.signal(Signal::TERM)?;
        match timeout(deadline, self.child.wait()).await {
            Ok(status) => Ok((status?, self.log())),
            Err(_) => bail!("{} does not end within {deadline:?} of SIGTERM", self.kind),
        }
    }

    /// SIGSTOP: the process stands still, its sockets stay open.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        // The child has not been waited for, so its id still names it.
        Ok(kill_process(self.pid, signal)?)
    }

    /// The regular files and directories that it holds open.
    pub fn open_files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(format!("/proc/{}/fd", self.pid.as_raw_nonzero()))? {
            // A descriptor that was closed meanwhile is no open file any more.
            let Ok(target) = std::fs::read_link(entry?.path()) else { continue };
            if target.is_absolute() && !target.starts_with("/dev") && !target.starts_with("/proc") {
                found.push(target);
            }
        }
        Ok(found)
    }

    /// How many file descriptors it holds, sockets included.
    pub fn descriptors(&self) -> anyhow::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.pid.as_raw_nonzero()))?.count())
    }

    /// Bytes that it has read and written by system calls so far.
    pub fn transferred(&self) -> anyhow::Result<(u64, u64)> {
        let text = std::fs::read_to_string(format!("/proc/{}/io", self.pid.as_raw_nonzero()))?;
        let figure = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no such figure")?;
            Ok::<u64, anyhow::Error>(line.trim().parse()?)
        };
        Ok((figure("rchar:")?, figure("wchar:")?))
    }

    /// Bytes that it has given to the disk so far, or made dirty in memory.
    pub fn stored(&self) -> anyhow::Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/io", self.pid.as_raw_nonzero()))?;
        let line =
            text.lines().find_map(|line| line.strip_prefix("write_bytes:")).context("no such figure")?;
        Ok(line.trim().parse()?)
    }

    /// What it has cost so far.
    pub fn cost(&self) -> anyhow::Result<Cost> {
        Cost::of(self.pid.as_raw_nonzero().get())
    }
}

impl Cost {
    /// The cost of a process, from `/proc`.
    pub fn of(pid: i32) -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name stands in brackets and may contain anything; behind it, user and system time are fields 12 and 13.
        let (_, fields) = stat.rsplit_once(')').context("no process name in stat")?;
        let mut times = fields.split_whitespace().skip(11).map_while(|field| field.parse::<u64>().ok());
        let ticks = times.next().unwrap_or(0) + times.next().unwrap_or(0);
        let tick =
            Duration::from_secs(1) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kibibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) << 10
        };
        Ok(Self {
            cpu: tick * u32::try_from(ticks).unwrap_or(u32::MAX),
            resident_bytes: kibibytes("VmRSS"),
            resident_bytes_peak: kibibytes("VmHWM"),
        })
    }
}

async fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?.port())
}

/// Keeps every line; reports the address of the line that says that the server serves.
async fn collect(
    from: impl AsyncRead + Unpin,
    log: Arc<Mutex<Vec<String>>>,
    ready: mpsc::UnboundedSender<SocketAddr>,
) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((_, rest)) = line.split_once(READY_MARK) {
            let end =
                rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ':')).unwrap_or(rest.len());
            if let Ok(address) = rest[..end].trim_end_matches('.').parse() {
                let _ = ready.send(address);
            }
        }
        log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}
