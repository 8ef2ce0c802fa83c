//! What can go wrong with the tables of a shard, and what the runtime does about it.

use std::any::Any;
use std::sync::Arc;

use super::late::is_full;
use crate::codec::CodecError;
use crate::types::{LogIndex, Offset};

/// Why an access to the tables failed. Nothing was changed and nothing was answered by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TablesError {
    /// The shard's file is not there although it must be. Never taken for an empty shard: ask a peer or refuse.
    #[error("the file {file} is missing, although this shard has data")]
    Missing {
        /// Which.
        file: String,
    },
    /// A file stands where a new one was to be created.
    #[error("the file {file} exists already")]
    Exists {
        /// Which.
        file: String,
    },
    /// The file belongs to another shard or another layout. Refuse; overwrite nothing.
    #[error("the file {file} belongs to another place: {reason}")]
    Foreign {
        /// Which.
        file: String,
        /// What differs.
        reason: String,
    },
    /// The process ended several times while opening this file. Refuse the shard, serve the others.
    #[error("the process ended {attempts} times while it opened {file}")]
    Quarantined {
        /// Which.
        file: String,
        /// How often.
        attempts: u32,
    },
    /// The volume has no room. Nothing was lost: try again when there is room.
    #[error("the volume is full")]
    Full,
    /// The shard's database is damaged or its device failed: refuse the shard until it is opened again or repaired.
    #[error("the tables are damaged: {reason}")]
    Damaged {
        /// What was found.
        reason: Arc<str>,
    },
    /// The file was opened again, and what it lost is being read from the log: try again.
    #[error("the tables are behind: {reason}")]
    Behind {
        /// What is going on.
        reason: Arc<str>,
    },
    /// The file is being compacted or opened again, which takes as long as it takes: try again.
    #[error("the tables are being compacted or opened again")]
    Busy,
    /// One unit fails its checksum; other units still serve.
    #[error("{unit} is corrupt: {cause}")]
    Corrupt {
        /// Which.
        unit: String,
        /// What was found.
        cause: CodecError,
    },
    /// A committed op does not fit the state it is applied to: log and tables do not belong together.
    #[error("op {index} of the log does not fit the tables: {reason}")]
    Impossible {
        /// The record.
        index: LogIndex,
        /// What does not fit.
        reason: &'static str,
    },
}

/// Why messages could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadFault {
    /// No such stream (any more).
    #[error("there is no such stream")]
    NotFound,
    /// The offset is no message boundary.
    #[error("the offset is no message boundary")]
    Misaligned,
    /// The offset lies before the stream's own data: a fork's parent has it.
    #[error("the data before {base} is the parent's")]
    BeforeBase {
        /// Where the stream's own data begins.
        base: Offset,
    },
    /// The data was removed by retention.
    #[error("messages before {earliest} are no longer kept")]
    Trimmed {
        /// The earliest readable offset.
        earliest: Offset,
    },
    /// The offset lies behind what is applied.
    #[error("the offset lies behind {tail}, the end of what is applied")]
    BeyondTail {
        /// The applied tail.
        tail: Offset,
    },
    /// The tables failed; no byte is served.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

/// An error that may come from the tables themselves.
pub(super) trait Fault {
    fn tables(&self) -> Option<&TablesError>;
}

impl Fault for TablesError {
    fn tables(&self) -> Option<&TablesError> {
        Some(self)
    }
}

impl Fault for ReadFault {
    fn tables(&self) -> Option<&TablesError> {
        if let Self::Tables(error) = self { Some(error) } else { None }
    }
}

/// Any other failure of the database.
pub(super) fn other(error: &dyn std::error::Error) -> TablesError {
    TablesError::Damaged { reason: error.to_string().into() }
}

pub(super) fn corrupt(unit: impl Into<String>, cause: CodecError) -> TablesError {
    TablesError::Corrupt { unit: unit.into(), cause }
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

impl From<redb::StorageError> for TablesError {
    fn from(error: redb::StorageError) -> Self {
        match &error {
            redb::StorageError::Io(io) if is_full(io) => Self::Full,
            _ => other(&error),
        }
    }
}

macro_rules! from_redb {
    ($($kind:ident),*) => {$(
        impl From<redb::$kind> for TablesError {
            fn from(error: redb::$kind) -> Self {
                match error {
                    redb::$kind::Storage(storage) => storage.into(),
                    error => other(&error),
                }
            }
        }

        impl From<redb::$kind> for ReadFault {
            fn from(error: redb::$kind) -> Self {
                Self::Tables(error.into())
            }
        }
    )*};
}

from_redb!(TransactionError, TableError, CommitError, DatabaseError);

impl From<redb::StorageError> for ReadFault {
    fn from(error: redb::StorageError) -> Self {
        Self::Tables(error.into())
    }
}
