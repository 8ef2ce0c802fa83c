//! The final log, addressed by offsets.

use super::Dialect;
use crate::history::{Chain, FinalLog, Position};

/// What the log holds and where.
pub(super) struct Log {
    ends: Vec<u64>,
    chain: Chain,
    dialect: Dialect,
}

impl Log {
    pub(super) fn new(end: &FinalLog, dialect: Dialect) -> Self {
        let mut ends = vec![0];
        let mut bytes = 0;
        for message in &end.messages {
            bytes += message.bytes;
            ends.push(bytes);
        }
        Self { ends, chain: Chain::new(&end.messages), dialect }
    }

    /// How many messages it holds.
    pub(super) fn len(&self) -> usize {
        self.ends.len() - 1
    }

    /// How many messages lie before a position, if it is a boundary of the log.
    pub(super) fn index_of(&self, position: Position) -> Option<usize> {
        match self.dialect {
            Dialect::MessagesAndBytes => {
                let index = usize::try_from(position.messages).ok()?;
                (*self.ends.get(index)? == position.bytes).then_some(index)
            }
            Dialect::Bytes => self.ends.binary_search(&position.bytes).ok(),
        }
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
        self.chain.range(from, to)
    }
}
