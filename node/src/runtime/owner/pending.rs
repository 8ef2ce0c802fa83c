//! One record that is written, or found in the log at the start, and not committed: what it says, and where it stands.
//!
//! Invariant: once a record's group is written, its messages live in the group's own buffer or in memory of their own, never in a
//! request's or a connection's.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Cause;
use crate::codec::record::RecordKind;
use crate::runtime::applier::ops_of;
use crate::runtime::views::StreamView;
use crate::types::{Chain, Epoch, LanePosition, LogIndex, Op, ShardId};

/// An entry of a log that may be cut again.
#[derive(Debug, Clone)]
pub(crate) struct Uncommitted {
    pub(crate) index: LogIndex,
    pub(crate) epoch: Epoch,
    /// The chain after it.
    pub(crate) chain: Chain,
    pub(crate) position: LanePosition,
    pub(crate) kind: RecordKind,
    pub(crate) payload: Bytes,
}

/// A record that was encoded, and is not committed yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) shard: ShardId,
    pub(crate) index: LogIndex,
    pub(crate) epoch: Epoch,
    /// The chain before it and after it.
    pub(crate) before: Chain,
    pub(crate) chain: Chain,
    pub(crate) position: LanePosition,
    /// Where it ends in the lane.
    pub(crate) end: LanePosition,
    pub(crate) kind: RecordKind,
    /// Its payload in the group's buffer.
    pub(crate) payload: Range<usize>,
    pub(crate) body: Body,
}

/// What a record changes, the view that its decision held, and why.
type Changes = (Vec<Op>, Option<Arc<StreamView>>, Cause);

/// What a record says.
#[derive(Debug)]
pub(crate) enum Body {
    /// Decided here.
    Decided {
        ops: Vec<Op>,
        /// Where the wire bytes of each append lie in the group's buffer.
        wires: Vec<Range<usize>>,
        view: Option<Arc<StreamView>>,
        cause: Cause,
    },
    /// Received from a leader, or found in the log at the start.
    Received(Bytes),
}

impl Pending {
    /// One that a start found.
    pub(in crate::runtime) fn found(shard: ShardId, entry: Uncommitted) -> Self {
        let Uncommitted { index, epoch, chain, position, kind, payload } = entry;
        // Nothing is filled into links from here: what a follower lacks of it is read from the log.
        let (before, end) = (Chain(0), position);
        let body = Body::Received(payload);
        Self { shard, index, epoch, before, chain, position, end, kind, payload: 0..0, body }
    }

    /// Lets the messages live in the group's buffer instead of the requests'.
    pub(in crate::runtime) fn settle(&mut self, slice: impl Fn(Range<usize>) -> Bytes) {
        match &mut self.body {
            Body::Decided { ops, wires, .. } => {
                let appends = ops.iter_mut().filter_map(|op| match op {
                    Op::Append(append) => Some(append),
                    _ => None,
                });
                for (append, wire) in appends.zip(wires) {
                    append.messages = append.messages.with_wire(slice(wire.clone()));
                }
            }
            Body::Received(payload) => *payload = slice(self.payload.clone()),
        }
    }

    /// Lets the messages live in memory of their own.
    pub(in crate::runtime) fn copy(&mut self) {
        if let Body::Decided { ops, .. } = &mut self.body {
            for op in ops {
                if let Op::Append(append) = op {
                    append.messages =
                        append.messages.with_wire(Bytes::copy_from_slice(append.messages.wire()));
                }
            }
        }
    }

    /// What it takes of the log.
    pub(in crate::runtime) const fn log_bytes(&self) -> u64 {
        self.end.0 - self.position.0
    }

    /// Whether another replica decided it, or this one before it started.
    pub(in crate::runtime) const fn is_received(&self) -> bool {
        matches!(self.body, Body::Received(_))
    }

    /// What it changes, the view that its decision held, and why.
    pub(in crate::runtime) fn changes(self) -> Result<Changes, String> {
        match self.body {
            Body::Decided { ops, view, cause, .. } => Ok((ops, view, cause)),
            Body::Received(payload) => Ok((ops_of(self.kind, &payload)?, None, Cause::Request)),
        }
    }
}
