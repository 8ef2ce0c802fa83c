//! What can go wrong with a lane, by cause, with what the caller does about it.

use std::io;

use crate::types::LanePosition;

/// What the lane was doing when the device failed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reading records.
    Read,
    /// Writing a batch.
    Write,
    /// Syncing what was written.
    Sync,
    /// Making the next segment ready.
    Prepare,
    /// Reading the directory and the segment headers.
    Open,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "reading",
            Self::Write => "writing",
            Self::Sync => "syncing",
            Self::Prepare => "preparing a segment",
            Self::Open => "opening",
        })
    }
}

/// Why a call on a lane failed.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The volume has no room. Nothing of the call has happened, and the lane goes on as soon as there is room.
    #[error("the volume has no room for the log")]
    Full,
    /// The device failed. What was written and not yet synced may or may not be there after a restart; the lane takes no
    /// more calls, the process ends.
    #[error("{operation} the log failed: {cause}")]
    Io {
        /// What the lane was doing.
        operation: Operation,
        /// The device's answer. (A field named `source` would be printed twice.)
        cause: io::Error,
    },
    /// An earlier call failed with [`Self::Io`]: restart and recover.
    #[error("the log failed earlier; it must be recovered by a restart")]
    Poisoned,
    /// The record is longer than any that can be read back. Nothing has happened; the caller's limits are wrong.
    #[error("a record of {bytes} bytes is longer than the log takes")]
    TooLong {
        /// Its payload's length.
        bytes: usize,
    },
    /// The directory holds what no lane of this volume wrote. Nothing was changed.
    #[error(
        "{name} does not belong to the log of this data directory: {reason}; move it away, or restore the whole directory"
    )]
    Foreign {
        /// The file.
        name: String,
        /// What about it.
        reason: String,
    },
    /// A newer release wrote this log. Nothing was changed; run that release.
    #[error("the log was written by a newer release: {0}")]
    Newer(String),
    /// There is no log where there must be one. Nothing was changed; the volume lost files or is another one.
    #[error(
        "it has no segment, but this data directory has been in use; put the missing files (*.aol) back, or restore the \
         whole data directory from one copy; nothing was changed"
    )]
    Missing,
    /// The reader asks for records that are no longer kept.
    #[error("the log begins at {start}; earlier records were released")]
    Released {
        /// The first position that can be read.
        start: LanePosition,
    },
    /// The bytes at this position are damaged; they are not served.
    #[error("the log is damaged at {position}")]
    Damaged {
        /// Where.
        position: LanePosition,
    },
}

impl LaneError {
    /// Wraps an answer of the device; a full volume is told apart by the callers that can undo what they did.
    pub(super) fn io(operation: Operation) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io { operation, cause }
    }
}

/// Whether the device said that it is full (or that the quota is).
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
