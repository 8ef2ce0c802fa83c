//! The servers that can be started, and the command line of each.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::build::{node_binary, rival_binary};

/// `--aol` of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AolMode {
    /// Answers after the log is written.
    Sync,
    /// Answers before the log is written.
    Async,
    /// Writes no log.
    Never,
}

impl AolMode {
    /// As the flag spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
            Self::Never => "never",
        }
    }
}

/// `--fsync` of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FsyncMode {
    /// Before every answer.
    Always,
    /// Every five milliseconds.
    Interval,
    /// Left to the kernel.
    Never,
}

impl FsyncMode {
    /// As the flag spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Interval => "interval=5ms",
            Self::Never => "never",
        }
    }
}

/// How our node is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOptions {
    /// Log mode.
    pub aol: AolMode,
    /// Sync mode.
    pub fsync: FsyncMode,
    /// Shards of a fresh directory.
    pub shards: u32,
    /// Flags beyond these, as they are.
    pub extra: Vec<String>,
    /// Another binary than the workspace's own.
    pub binary: Option<PathBuf>,
    /// Working directory, home and place for temporary files, if not those of this process.
    pub home: Option<PathBuf>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            aol: AolMode::Sync,
            fsync: FsyncMode::Always,
            shards: 16,
            extra: Vec::new(),
            binary: None,
            home: None,
        }
    }
}

/// A server that the tests and the bench know how to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerKind {
    /// Ours.
    Node(NodeOptions),
    /// The official Rust server, crate `durable-streams`, durable mode.
    Official,
    /// The crate `durable-streams-server`, redb storage.
    Acid,
    /// The crate `durable-streams-server`, memory storage.
    Memory,
    /// The crate `ursula`, one node of it, with all that it must know in this file.
    Ursula(PathBuf),
}

impl fmt::Display for ServerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node(NodeOptions { binary: Some(path), .. }) => return write!(f, "{}", path.display()),
            Self::Node(_) => "thalweg",
            Self::Ursula(_) => "ursula",
            Self::Official => "official",
            Self::Acid => "acid",
            Self::Memory => "memory",
        })
    }
}

impl ServerKind {
    /// The rival of that name.
    pub fn rival(name: &str) -> anyhow::Result<Self> {
        match name {
            "official" => Ok(Self::Official),
            "acid" => Ok(Self::Acid),
            "memory" => Ok(Self::Memory),
            path if path.contains('/') => {
                Ok(Self::Node(NodeOptions { binary: Some(path.into()), ..NodeOptions::default() }))
            }
            other => {
                anyhow::bail!("unknown rival {other:?}: official, acid, memory and paths of nodes are known")
            }
        }
    }

    /// Whether an acknowledged write is meant to outlive a kill -9.
    #[must_use]
    pub fn survives_kill(&self) -> bool {
        match self {
            Self::Node(options) => options.aol == AolMode::Sync,
            Self::Official | Self::Acid | Self::Ursula(_) => true,
            Self::Memory => false,
        }
    }

    /// The program.
    pub fn binary(&self) -> anyhow::Result<PathBuf> {
        match self {
            Self::Node(NodeOptions { binary: Some(path), .. }) => Ok(path.clone()),
            Self::Node(_) => node_binary(),
            Self::Official => rival_binary("official"),
            Self::Acid | Self::Memory => rival_binary("acid"),
            Self::Ursula(_) => rival_binary("ursula"),
        }
    }

    /// The command that starts it on `address` with its data in `data`.
    pub fn command(&self, address: SocketAddr, data: &Path, long_poll_ms: u64) -> anyhow::Result<Command> {
        let mut command = Command::new(self.binary()?);
        match self {
            Self::Node(options) => node_flags(&mut command, options, address, data, long_poll_ms),
            Self::Official => {
                command.arg("--host").arg(address.ip().to_string());
                command.arg("--port").arg(address.port().to_string());
                command.arg("--data-dir").arg(data);
                command.arg("--long-poll-timeout-ms").arg(long_poll_ms.to_string());
            }
            Self::Acid => crate_environment(&mut command, "acid", address, data, long_poll_ms),
            Self::Memory => crate_environment(&mut command, "memory", address, data, long_poll_ms),
            Self::Ursula(file) => {
                command.arg("server").arg("--config").arg(file).env("RUST_LOG", "error");
            }
        }
        Ok(command)
    }
}

fn node_flags(command: &mut Command, options: &NodeOptions, address: SocketAddr, data: &Path, poll_ms: u64) {
    // A setting of the surroundings would be a setting of the node, and ours are unknown to it.
    let settings = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("THALWEG_"));
    for (name, _) in settings {
        command.env_remove(name);
    }
    command.arg("--listen").arg(address.to_string());
    command.arg("--data").arg(data);
    command.arg("--shards").arg(options.shards.to_string());
    command.arg("--aol").arg(options.aol.as_str());
    command.arg("--fsync").arg(options.fsync.as_str());
    command.arg("--long-poll-timeout").arg(format!("{poll_ms}ms"));
    command.args(&options.extra);
    if let Some(home) = &options.home {
        command.current_dir(home).env("HOME", home).env("TMPDIR", home);
    }
}

/// The crate is configured by environment; its limits are lifted so that they do not end a measurement.
fn crate_environment(command: &mut Command, mode: &str, address: SocketAddr, data: &Path, poll_ms: u64) {
    command.env("DS_SERVER__BIND_ADDRESS", address.to_string());
    command.env("DS_STORAGE__MODE", mode);
    command.env("DS_STORAGE__DATA_DIR", data);
    command.env("DS_LIMITS__MAX_MEMORY_BYTES", (8u64 << 30).to_string());
    command.env("DS_LIMITS__MAX_STREAM_BYTES", (4u64 << 30).to_string());
    command.env("DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS", (poll_ms / 1000).max(1).to_string());
    command.env("RUST_LOG", "error");
    // Its configuration files are looked for in the working directory; there are none in its data.
    command.current_dir(data);
}
