//! The state of a shard beside its streams: how far the log is applied, the epoch table, the next stream id, totals.

use crate::codec::CodecError;
use crate::codec::fields::{Cursor, put_number, put_u8};
use crate::types::{Boot, Chain, Epoch, LogIndex, RecordEpoch, StreamId};

const VERSION: u8 = 1;
/// Row of [`ShardState`] without its epochs (persisted).
pub(super) const STATE_ROW: [u8; 1] = [1];
/// Row of the epoch table (persisted).
pub(super) const EPOCHS_ROW: [u8; 1] = [2];
/// Row of the file's identity (persisted).
pub(super) const IDENTITY_ROW: [u8; 1] = [3];
/// Epochs kept: one per start of the node or change of leader; the oldest ones go, no log reaches back that far.
const EPOCHS_MAX: usize = 4096;

/// How far the log is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// The last record.
    pub index: LogIndex,
    /// The chain behind it.
    pub chain: Chain,
    /// Its epoch.
    pub epoch: Epoch,
}

/// Where an epoch begins in the log of the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// Which.
    pub epoch: Epoch,
    /// Its first record.
    pub first: LogIndex,
}

/// Sums over a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Streams, retired ones included.
    pub streams: u64,
    /// Payload bytes that may be read, without what forks borrow.
    pub bytes: u64,
}

/// The state of a shard at its applied index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShardState {
    /// How far the log is applied.
    pub applied: Applied,
    /// Larger than every stream id ever used here.
    pub next_stream: StreamId,
    /// Sums.
    pub totals: Totals,
    /// All epochs seen, in order.
    pub epochs: Vec<EpochStart>,
}

impl ShardState {
    /// Takes up epochs that begin behind the ones known.
    pub(super) fn add_epochs(&mut self, starts: &[EpochStart]) -> bool {
        let before = self.epochs.len();
        for start in starts {
            if self.epochs.last().is_none_or(|last| last.epoch < start.epoch) {
                self.epochs.push(*start);
            }
        }
        let added = self.epochs.len() > before;
        if self.epochs.len() > EPOCHS_MAX {
            self.epochs.drain(..self.epochs.len() - EPOCHS_MAX);
        }
        added
    }
}

fn put_epoch(out: &mut Vec<u8>, epoch: Epoch) {
    put_number(out, epoch.record.0);
    put_number(out, epoch.boot.0);
}

fn get_epoch(cursor: &mut Cursor<'_>) -> Result<Epoch, CodecError> {
    Ok(Epoch { record: RecordEpoch(cursor.number("epoch")?), boot: Boot(cursor.number("boot")?) })
}

/// Appends everything but the epochs.
pub(super) fn put_state(out: &mut Vec<u8>, state: &ShardState) {
    put_u8(out, VERSION);
    put_number(out, state.applied.index.0);
    out.extend_from_slice(&state.applied.chain.0.to_le_bytes());
    put_epoch(out, state.applied.epoch);
    put_number(out, state.next_stream.0);
    put_number(out, state.totals.streams);
    put_number(out, state.totals.bytes);
}

/// Reads everything but the epochs.
pub(super) fn get_state(raw: &[u8]) -> Result<ShardState, CodecError> {
    let mut cursor = Cursor::copying(raw);
    let version = cursor.u8("state version")?;
    if version != VERSION {
        return Err(CodecError::Version { what: "the shard state", found: version });
    }
    let index = LogIndex(cursor.number("applied index")?);
    let chain = cursor.take(8, "chain")?.try_into().unwrap_or_default();
    let applied = Applied { index, chain: Chain(u64::from_le_bytes(chain)), epoch: get_epoch(&mut cursor)? };
    let next_stream = StreamId(cursor.number("next stream")?);
    let totals = Totals { streams: cursor.number("streams")?, bytes: cursor.number("bytes")? };
    cursor.end("the shard state")?;
    Ok(ShardState { applied, next_stream, totals, epochs: Vec::new() })
}

/// Appends the epoch table.
pub(super) fn put_epochs(out: &mut Vec<u8>, epochs: &[EpochStart]) {
    put_u8(out, VERSION);
    put_number(out, epochs.len() as u64);
    for start in epochs {
        put_epoch(out, start.epoch);
        put_number(out, start.first.0);
    }
}

/// Reads the epoch table.
pub(super) fn get_epochs(raw: &[u8]) -> Result<Vec<EpochStart>, CodecError> {
    let mut cursor = Cursor::copying(raw);
    let version = cursor.u8("epochs version")?;
    if version != VERSION {
        return Err(CodecError::Version { what: "the epoch table", found: version });
    }
    let count = cursor.count("epochs")?;
    let mut epochs = Vec::with_capacity(count.min(EPOCHS_MAX));
    for _ in 0..count {
        epochs.push(EpochStart { epoch: get_epoch(&mut cursor)?, first: LogIndex(cursor.number("first")?) });
    }
    cursor.end("the epoch table")?;
    Ok(epochs)
}
