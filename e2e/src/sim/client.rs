//! Clients: each asks one thing at a time, remembers who led last, and gives up after a while. A write with a producer's stamp
//! is sent again with the same stamp until its client knows, or has had enough and begins an epoch of its own.

use std::collections::BTreeMap;

use thalweg_node::types::{Chain, LogIndex, ProducerState};

use super::event::{NodeId, Shard};
use super::queue::{Micros, SECOND};

/// An operation, by its place in the history.
pub(super) type OpId = usize;

/// How long a client waits for an answer.
pub(super) const PATIENCE: Micros = 5 * SECOND;
/// Streams of each shard.
pub(super) const STREAMS: usize = 4;
/// The one of them that is deleted now and then, with all that it remembers.
pub(super) const VOLATILE: usize = STREAMS - 1;

/// One of the times that an operation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) op: OpId,
    pub(super) attempt: u32,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Everything that there is.
    Read,
    /// One more message in a stream, perhaps with a stamp of the client's producer.
    Append { stream: usize, stamp: Option<ProducerState> },
    /// The stream is to be there.
    Create { stream: usize },
    /// The stream is to be there no more.
    Delete { stream: usize },
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// Not yet.
    Pending,
    /// A write that is at this index, or a read of everything up to it; with the chain there.
    Done(LogIndex, Chain),
    /// It was done before, at this index or earlier.
    Again(LogIndex),
    /// It certainly did not happen.
    Refused,
    /// Nor did this, because there is no such stream as of this entry.
    Absent(LogIndex),
    /// Nor did this: as of this entry the stream knows another past of the producer.
    OutOfStep(LogIndex),
    /// Nobody knows.
    Unknown,
}

/// One operation as its client saw it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) client: usize,
    pub(super) shard: Shard,
    pub(super) deed: Deed,
    pub(super) begun: Micros,
    pub(super) ended: Option<Micros>,
    pub(super) outcome: Op,
    /// How often it was asked for.
    pub(super) attempts: u32,
    /// Somebody knew that entries up to here are committed when it was asked for last.
    pub(super) least: LogIndex,
    /// Its client waits for an answer.
    pub(super) waits: bool,
    /// One of the earlier times may have done it, or may still do it.
    pub(super) in_doubt: bool,
}

impl Asked {
    /// An operation that begins now.
    pub(super) const fn new(client: usize, shard: Shard, deed: Deed, begun: Micros) -> Self {
        Self {
            client,
            shard,
            deed,
            begun,
            ended: None,
            outcome: Op::Pending,
            attempts: 0,
            least: LogIndex(0),
            waits: false,
            in_doubt: false,
        }
    }

    /// Whether it appends a message.
    pub(super) const fn is_write(&self) -> bool {
        matches!(self.deed, Deed::Append { .. })
    }

    /// Whether a producer stands for it, so that it may be asked for again.
    pub(super) const fn is_stamped(&self) -> bool {
        matches!(self.deed, Deed::Append { stamp: Some(_), .. })
    }
}

/// One client.
#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    /// Whom it asks next, per shard.
    pub(super) leaders: Vec<NodeId>,
    /// The epoch of its producer.
    pub(super) epoch: u64,
    /// The next number of its producer in each stream.
    pub(super) next: BTreeMap<(Shard, usize), u64>,
    /// What it asks for again, and how often at most.
    pub(super) again: Option<(OpId, u32)>,
    /// A stream that was not there.
    pub(super) absent: Option<(Shard, usize)>,
}

impl Client {
    /// The stamp of its next write to a stream.
    pub(super) fn stamp(&self, shard: Shard, stream: usize) -> ProducerState {
        ProducerState { epoch: self.epoch, seq: self.next.get(&(shard, stream)).copied().unwrap_or(0) }
    }

    /// It forgets what it was about, and fences whatever of that is still under way.
    pub(super) fn begins_anew(&mut self) {
        self.epoch += 1;
        self.next.clear();
    }
}
