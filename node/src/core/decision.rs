//! The shape of a decision: what goes into the log, what is answered, and what must be known before deciding.

use super::{Command, Reply};
use crate::types::{
    LogIndex, Op, Parent, PinId, ProducerId, StreamId, StreamName, SubscriptionId, UnixMillis,
};

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// One record at the index that was given, if there are any. The heads reflect them already.
    pub ops: Ops,
    /// The answer, to be sent once [`Decision::basis`] is committed.
    pub reply: Reply,
    /// The newest record that the answer depends on: the given index if there are ops, else the one that last changed
    /// what was looked at (zero: nothing that is not applied).
    pub basis: LogIndex,
    /// The source to unpin once the basis is committed: of a stream that is gone for good by this decision, or of a fork
    /// that was granted but not created. At most one, because a refusal deletes nothing.
    pub released: Option<Parent>,
}

/// The changes of one decision. The usual single one costs no allocation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ops {
    /// Nothing changes.
    #[default]
    None,
    /// One change.
    One(Op),
    /// Several, in order.
    Many(Vec<Op>),
}

impl Ops {
    /// The changes in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Op] {
        match self {
            Self::None => &[],
            Self::One(op) => std::slice::from_ref(op),
            Self::Many(ops) => ops,
        }
    }

    /// The changes in order, as a list.
    #[must_use]
    pub fn into_vec(self) -> Vec<Op> {
        match self {
            Self::None => Vec::new(),
            Self::One(op) => vec![op],
            Self::Many(ops) => ops,
        }
    }

    /// Puts a change behind the one at `position`.
    pub(super) fn insert_behind(&mut self, position: usize, more: Vec<Op>) {
        if !more.is_empty() {
            let mut ops = std::mem::take(self).into_vec();
            let tail = ops.split_off((position + 1).min(ops.len()));
            ops.extend(more);
            ops.extend(tail);
            *self = Self::Many(ops);
        }
    }

    /// Whether nothing changes: then there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

/// What must be loaded from the tables before a command can be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Answer with [`super::ShardCore::install_name`].
    Name(StreamName),
    /// Answer with [`super::ShardCore::install_stream`].
    Stream(StreamId),
    /// Answer with [`super::ShardCore::install_producer`].
    Producer(StreamId, ProducerId),
    /// Whether the stream holds this pin. Answer with [`super::ShardCore::install_pin`].
    Pin(StreamId, PinId),
    /// The link of a subscription to a stream. Answer with [`super::ShardCore::install_link`].
    Link(SubscriptionId, StreamId),
}

/// A command that cannot be decided yet; it comes back unchanged.
#[derive(Debug, Clone)]
pub struct Unready {
    /// What to load.
    pub missing: Missing,
    /// What to decide then.
    pub command: Command,
}

/// The newest read of a stream that anybody knows of. Reads renew a sliding window without a record each; a decision asks
/// only when the recorded deadline has passed.
pub type LastRead<'a> = &'a dyn Fn(StreamId) -> Option<UnixMillis>;

/// What a rule may look at besides the stream.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) now: UnixMillis,
    pub(super) last_read: LastRead<'a>,
    pub(super) limits: &'a super::CoreLimits,
    pub(super) next_stream_id: StreamId,
}

/// What a rule concludes. Rules change nothing themselves: the core applies the ops.
pub(super) struct Verdict {
    pub(super) ops: Ops,
    pub(super) reply: Reply,
    pub(super) released: Option<Parent>,
}

impl Verdict {
    pub(super) fn unchanged(reply: Reply) -> Self {
        Self { ops: Ops::None, reply, released: None }
    }

    pub(super) fn perhaps(op: Option<Op>, reply: Reply) -> Self {
        Self { ops: op.map_or(Ops::None, Ops::One), reply, released: None }
    }

    pub(super) fn one(op: Op, reply: Reply) -> Self {
        Self { ops: Ops::One(op), reply, released: None }
    }
}
