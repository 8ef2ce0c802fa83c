//! What one group commit is made of: records that were decided and encoded, and answers that wait until these are durable.
//!
//! Invariant: once a group is published, its messages live in the group's own buffer or in memory of their own, never in a
//! request's.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::mailbox::Answer;
use super::tally::Cause;
use super::view::StreamView;
use crate::types::{Chain, Epoch, LanePosition, LogIndex, Op, ShardId};

/// The records and answers of one group commit.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) records: Vec<Pending>,
    pub(crate) answers: Vec<(Option<oneshot::Sender<Answer>>, Answer)>,
    pub(crate) bytes: u64,
}

impl Group {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.answers.is_empty()
    }
}

/// A record that was decided and encoded, and is not durable yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) shard: ShardId,
    pub(crate) index: LogIndex,
    pub(crate) epoch: Epoch,
    pub(crate) chain: Chain,
    pub(crate) position: LanePosition,
    pub(crate) ops: Vec<Op>,
    /// Where the wire bytes of each append lie in the group's buffer.
    pub(crate) wires: Vec<Range<usize>>,
    pub(crate) view: Option<Arc<StreamView>>,
    pub(crate) cause: Cause,
}

impl Pending {
    /// Lets the messages live in the group's buffer instead of the requests'.
    pub(super) fn settle(&mut self, wire_of: impl Fn(Range<usize>) -> Bytes) {
        let appends = self.ops.iter_mut().filter_map(|op| match op {
            Op::Append(append) => Some(append),
            _ => None,
        });
        for (append, wire) in appends.zip(&self.wires) {
            append.messages = append.messages.with_wire(wire_of(wire.clone()));
        }
    }

    /// Lets the messages live in memory of their own.
    pub(super) fn copy(&mut self) {
        for op in &mut self.ops {
            if let Op::Append(append) = op {
                append.messages = append.messages.with_wire(Bytes::copy_from_slice(append.messages.wire()));
            }
        }
    }
}
