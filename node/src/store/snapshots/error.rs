//! What can go wrong with a snapshot. Nothing of it was used, and nothing else was changed.

use std::fmt;
use std::io;

use crate::codec::CodecError;
use crate::codec::snapshot::table_name;
use crate::store::tables::TablesError;

/// The part of a file that a fault was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The header.
    Header,
    /// A block, and the table whose rows it holds as far as that is known.
    Block {
        /// Counted from 0.
        number: u64,
        /// Persisted number of the table.
        table: Option<u8>,
    },
    /// The footer, or what it says of all blocks together.
    Footer,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Block { number, table: None } => write!(f, "block {number}"),
            Self::Block { number, table: Some(table) } => {
                write!(f, "block {number} (table {})", table_name(*table))
            }
            Self::Footer => f.write_str("footer"),
        }
    }
}

/// Why a snapshot was not taken, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Bytes are not what was written. Use an older snapshot, or that of a peer.
    #[error("the snapshot {file} is damaged: {part}: {cause}")]
    Damaged {
        /// Which.
        file: String,
        /// Where.
        part: Part,
        /// What was found.
        cause: CodecError,
    },
    /// It is of another shard, layout or cluster. It is not used.
    #[error("the snapshot {file} belongs to another place: {reason}")]
    Foreign {
        /// Which.
        file: String,
        /// What differs.
        reason: String,
    },
    /// All snapshots that are there are damaged. Never taken for *there is none*.
    #[error("none of the {} snapshots of this shard can be used: {}", .0.len(), reasons(.0))]
    NoneIntact(Vec<SnapshotError>),
    /// There is no snapshot.
    #[error("there is no snapshot of this shard")]
    Absent,
    /// Another snapshot of the shard is being written.
    #[error("another snapshot of this shard is being written")]
    Busy,
    /// The volume has no room for it, or not so much that enough would be left. Nothing of it stays.
    #[error("the volume is full")]
    Full,
    /// Whoever wanted it does not any more. Nothing of it stays.
    #[error("the work on it was given up")]
    GivenUp,
    /// The tables failed.
    #[error("{0}")]
    Tables(TablesError),
    /// The device or the file system failed.
    #[error("the snapshot {file} could not be {verb}: {error}")]
    Device {
        /// Which.
        file: String,
        /// What was tried: `read`, `written` …
        verb: &'static str,
        /// What it answered.
        error: io::Error,
    },
}

// No `#[from]`: that would make the cause a source as well, and print it twice.
impl From<TablesError> for SnapshotError {
    fn from(error: TablesError) -> Self {
        match error {
            TablesError::Full => Self::Full,
            error => Self::Tables(error),
        }
    }
}

impl SnapshotError {
    pub(super) fn device<'f>(file: &'f str, verb: &'static str) -> impl Fn(io::Error) -> Self + use<'f> {
        move |error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Device { file: file.to_owned(), verb, error },
        }
    }

    pub(super) fn damaged(file: &str, part: Part) -> impl Fn(CodecError) -> Self {
        move |cause| Self::Damaged { file: file.to_owned(), part, cause }
    }

    /// Whether the file itself is at fault, so that an older one may serve.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Device { verb: "read", .. })
    }
}

fn reasons(errors: &[SnapshotError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
