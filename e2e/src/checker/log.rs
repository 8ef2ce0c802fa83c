//! The final log, addressed by offsets. Indices count from the stream's first message, whether it is kept or not.

use super::Dialect;
use crate::history::{Chain, FinalLog, Position};

/// What the log holds and where.
pub(super) struct Log {
    /// Messages that retention let go.
    trimmed: usize,
    /// Bytes before each message that is kept, and before the tail.
    ends: Vec<u64>,
    chain: Chain,
    dialect: Dialect,
}

impl Log {
    pub(super) fn new(end: &FinalLog, dialect: Dialect) -> Self {
        let mut bytes = end.trimmed.bytes;
        let mut ends = vec![bytes];
        for message in &end.messages {
            bytes += message.bytes;
            ends.push(bytes);
        }
        let trimmed = usize::try_from(end.trimmed.messages).unwrap_or(usize::MAX);
        Self { trimmed, ends, chain: Chain::new(&end.messages), dialect }
    }

    /// How many messages it has held.
    pub(super) fn len(&self) -> usize {
        self.trimmed + self.ends.len() - 1
    }

    /// How many of them retention let go.
    pub(super) fn trimmed(&self) -> usize {
        self.trimmed
    }

    /// How many messages lie before a position, if it is a boundary of the log.
    pub(super) fn index_of(&self, position: Position) -> Option<usize> {
        match self.dialect {
            Dialect::MessagesAndBytes => {
                let index = usize::try_from(position.messages).ok()?;
                let kept = index.checked_sub(self.trimmed)?;
                (*self.ends.get(kept)? == position.bytes).then_some(index)
            }
            Dialect::Bytes => self.ends.binary_search(&position.bytes).ok(),
        }
    }

    /// Whether a position lies in what retention let go: nobody knows what stood there.
    pub(super) fn is_before(&self, position: Position) -> bool {
        position.messages < self.trimmed as u64
    }

    /// Whether a position lies behind the log's end.
    pub(super) fn is_beyond(&self, position: Position) -> bool {
        match self.dialect {
            Dialect::MessagesAndBytes => position.messages > self.len() as u64,
            Dialect::Bytes => position.bytes > self.ends.last().copied().unwrap_or(0),
        }
    }

    /// The chained hash of messages `from..to`.
    pub(super) fn hash(&self, from: usize, to: usize) -> Option<u64> {
        self.chain.range(from.checked_sub(self.trimmed)?, to.checked_sub(self.trimmed)?)
    }
}
