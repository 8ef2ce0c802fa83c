//! The append-only log of a lane: a series of preallocated segment files that one thread appends to.
//!
//! Invariants: a record is read back whole or not at all; what was synced is never cut silently; a position is the
//! byte's place in the whole life of the lane. Who owns which shard, when to sync and whom to answer is the runtime's.

mod beginning;
mod error;
mod heads;
mod inventory;
mod lane;
mod options;
mod quarantine;
mod reader;
mod recovery;
mod report;
mod scan;
mod segment;
mod supply;
mod window;

pub use beginning::Held;
pub use error::{LaneError, Operation};
pub use lane::{Flush, Lane};
pub use options::{Appended, LaneOptions, RecordHead};
pub use quarantine::FOLDER as QUARANTINE_FOLDER;
pub use reader::{LaneReader, LaneRecords};
pub use report::{CutTail, DamagedRange, RecoveryReport, ShardGap};

use bytes::Bytes;

use crate::codec::record::RecordHeader;

/// A record as it was read back: the payload has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its header.
    pub header: RecordHeader,
    /// Its payload. Shares memory with its neighbours: copy what is kept for long.
    pub payload: Bytes,
}
