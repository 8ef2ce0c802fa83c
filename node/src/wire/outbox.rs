//! What waits for a writer: control messages, encoded already, and orders what to ship.

use super::{Parcel, Shipping};
use crate::codec::CodecError;
use crate::types::ShardId;

/// What an order takes in the outbox, for the bound: itself and a history of a few epochs.
const COMMAND_BYTES: usize = 256;

/// What to ship.
#[derive(Debug)]
pub(super) enum Command {
    /// The log of a shard.
    Ship(ShardId, Shipping),
    /// Nothing of it any more.
    Unship(ShardId),
    /// A file that may be asked for.
    Parcel(ShardId, Parcel),
}

/// What waits. The bytes were said before the orders count, so the answer to a report goes ahead of the entries.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Frames.
    pub(super) bytes: Vec<u8>,
    /// Orders, oldest first.
    pub(super) commands: Vec<Command>,
    /// Something among the frames must be answered.
    pub(super) owes: bool,
}

impl Outbox {
    /// Adds a frame.
    pub(super) fn say(
        &mut self,
        owes: bool,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        put(&mut self.bytes)?;
        self.owes |= owes;
        Ok(())
    }

    /// What it holds, for its bound.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.commands.len() * COMMAND_BYTES
    }

    /// Empties it, and keeps its memory unless that is much.
    pub(super) fn clear(&mut self) {
        const KEPT_BYTES: usize = 64 << 10;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.commands.clear();
        self.owes = false;
    }
}
