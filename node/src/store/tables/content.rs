//! All rows of all tables of a shard, as they are carried from one file to another: which tables there are, what a key
//! looks like, and how a row is checked. Invariant: a row that passes [`check`] was sealed for exactly this shard, table
//! and key. The row of the file's identity is no content: each file has its own.

use super::schema::{TableNumber, opened};
use super::state::{EPOCHS_ROW, STATE_ROW, ShardState, get_epochs, get_state};
use crate::codec::CodecError;
use crate::codec::chunk::CHUNK_TABLE;
use crate::codec::seal::{Place, open};
use crate::types::ShardId;

/// The first and the last of the tables' persisted numbers.
pub(super) const TABLE_FIRST: u8 = TableNumber::Names as u8;
pub(super) const TABLE_LAST: u8 = TableNumber::State as u8;

/// Checks one row of the table with this persisted number; gives the value behind its seal.
pub fn check<'a>(shard: ShardId, table: u8, key: &[u8], value: &'a [u8]) -> Result<&'a [u8], CodecError> {
    let width = match table {
        2 | 7 => Some(8),
        CHUNK_TABLE => Some(20),
        5 | 6 => Some(16),
        9 => Some(1),
        _ => None,
    };
    let known = (TABLE_FIRST..=TABLE_LAST).contains(&table);
    if !known || width.is_some_and(|width| width != key.len()) {
        return Err(CodecError::Impossible("the key of a row"));
    }
    open(Place { shard, table, key }, "a row", value)
}

/// Puts the state of a shard together from its rows.
#[derive(Debug, Default)]
pub struct StateRows {
    state: Option<ShardState>,
    epochs: Option<ShardState>,
}

impl StateRows {
    /// Takes up a row of the table of the state.
    pub fn take(&mut self, shard: ShardId, key: &[u8], value: &[u8]) -> Result<(), CodecError> {
        let value = opened(shard, TableNumber::State, key, value)?;
        if key == STATE_ROW {
            self.state = Some(get_state(value)?);
        } else if key == EPOCHS_ROW {
            self.epochs = Some(ShardState { epochs: get_epochs(value)?, ..ShardState::default() });
        } else {
            return Err(CodecError::Impossible("the row of a shard's state"));
        }
        Ok(())
    }

    /// The state, if both of its rows were there.
    #[must_use]
    pub fn state(self) -> Option<ShardState> {
        Some(ShardState { epochs: self.epochs?.epochs, ..self.state? })
    }
}
