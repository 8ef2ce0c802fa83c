//! Clients: each asks one thing at a time, remembers who led last, and gives up after a while.

use thalweg_node::types::{Chain, LogIndex};

use super::event::{NodeId, Shard};
use super::queue::{Micros, SECOND};

/// An operation, by its place in the history.
pub(super) type OpId = usize;

/// How long a client waits.
pub(super) const PATIENCE: Micros = 5 * SECOND;

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// Not yet.
    Pending,
    /// A write that is at this index, or a read of everything up to it; with the chain there.
    Done(LogIndex, Chain),
    /// It certainly did not happen.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// One operation as its client saw it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) client: usize,
    pub(super) shard: Shard,
    pub(super) is_write: bool,
    pub(super) begun: Micros,
    pub(super) ended: Option<Micros>,
    pub(super) outcome: Op,
}

/// One client.
#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    /// Whom it asks next, per shard.
    pub(super) leaders: Vec<NodeId>,
}
