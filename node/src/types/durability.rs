//! What an acknowledgement means on this node.

use std::fmt;
use std::time::Duration;

/// When a write is acknowledged relative to the append-only log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AolMode {
    /// After the record was written to the log (and synced, as [`FsyncPolicy`] says).
    #[default]
    Sync,
    /// Before: the log is written right behind the answer. A crash loses the last milliseconds.
    Async,
    /// No log at all: a crash loses everything since the last checkpoint, and each shard has its own.
    Never,
}

/// When the log is synced to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FsyncPolicy {
    /// Once per group commit, before anybody is answered.
    #[default]
    Always,
    /// At most this long after a write; answers do not wait for it.
    Interval(Duration),
    /// Left to the operating system, but for the sync before each checkpoint: the tables never outlive their log.
    Never,
}

/// Who must hold a write before it is acknowledged, in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// So many voters that every later leader has it.
    #[default]
    Majority,
    /// The leader alone: a failover may lose what was acknowledged last.
    Leader,
}

impl fmt::Display for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Majority => "majority",
            Self::Leader => "leader",
        })
    }
}

/// Log and syncs together: `spec.durability` of a cluster, `--aol` and `--fsync` of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durability {
    /// See [`AolMode`].
    pub aol: AolMode,
    /// See [`FsyncPolicy`].
    pub fsync: FsyncPolicy,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let aol = match self.aol {
            AolMode::Sync => "sync",
            AolMode::Async => "async",
            AolMode::Never => return f.write_str("aol: never (durable at checkpoints only)"),
        };
        match self.fsync {
            FsyncPolicy::Always => write!(f, "aol: {aol}, fsync: always"),
            FsyncPolicy::Interval(interval) => {
                write!(f, "aol: {aol}, fsync: every {} ms", interval.as_millis())
            }
            FsyncPolicy::Never => write!(f, "aol: {aol}, fsync: never"),
        }
    }
}
