//! Everything that can happen in the simulated world.

use thalweg_node::core::replication::{Input, Message};
use thalweg_node::types::{Boot, ReplicaId};

use super::client::{Op, OpId};
use super::faults::Trouble;
use super::operator::{Question, Reply};
use super::record::{Put, Version};
use thalweg_node::core::replication::ShardRow;

/// A node by its place.
pub(super) type NodeId = usize;
/// A shard by its number.
pub(super) type Shard = usize;

/// A message between two replicas, for one boot of its receiver and one connection.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) sender: ReplicaId,
    pub(super) receiver: ReplicaId,
    pub(super) boot: Boot,
    pub(super) connection: u64,
    pub(super) shard: Shard,
    pub(super) message: Message,
}

/// Something that happens.
#[derive(Debug)]
pub(super) enum Event {
    /// A node looks at its clock. `life` tells one start of its process from another.
    Tick { node: NodeId, life: u64 },
    /// The log of a node is on its disk, as far as it was when the sync began.
    LogSynced { node: NodeId, life: u64 },
    /// So is its memory.
    MemorySaved { node: NodeId, life: u64 },
    /// An input that a planted bug feeds too early.
    Feed { node: NodeId, life: u64, shard: Shard, input: Input },
    /// A message arrives.
    Arrive(Box<Letter>),
    /// Two nodes try to connect again.
    Connect { one: NodeId, other: NodeId },
    /// The power of a node fails at a bad moment.
    Crash { node: NodeId, life: u64 },
    /// A node starts.
    Start { node: NodeId },
    /// A node is no longer paused.
    Wake { node: NodeId },
    /// The next trouble of its kind begins.
    Trouble(Trouble),
    /// A partition or a clog ends.
    Ends { trouble: Trouble, number: u64 },
    /// A client begins its next operation.
    Client(usize),
    /// Its request reaches a node.
    Request { node: NodeId, op: OpId },
    /// The answer reaches the client.
    Answered { op: OpId, outcome: Op },
    /// The client waits no longer.
    GiveUp { op: OpId },
    /// An operator looks around.
    Operate { operator: usize, life: u64 },
    /// What an operator asks reaches a node.
    Asked { operator: usize, life: u64, node: NodeId, question: Box<Question> },
    /// The answer reaches the operator.
    Told { operator: usize, life: u64, reply: Box<Reply> },
    /// An operator's read reaches the record.
    Get { operator: usize, life: u64, shard: Shard },
    /// A row reaches the operator.
    Row { operator: usize, life: u64, shard: Shard, version: Version, row: Box<ShardRow> },
    /// An operator's write reaches the record.
    Put { operator: usize, life: u64, put: Box<Put> },
    /// From here on there is no more trouble.
    Peace,
    /// From here on clients ask nothing new.
    Quiet,
}

impl Event {
    /// The node to whose process it happens; a paused one hears of it later.
    pub(super) const fn process(&self) -> Option<NodeId> {
        match self {
            Self::Tick { node, .. }
            | Self::LogSynced { node, .. }
            | Self::MemorySaved { node, .. }
            | Self::Feed { node, .. }
            | Self::Request { node, .. }
            | Self::Asked { node, .. } => Some(*node),
            _ => None,
        }
    }

    /// A number for its kind and whom it concerns, for the hash of the trace.
    pub(super) fn number(&self) -> u64 {
        let (kind, whom) = match self {
            Self::Tick { node, .. } => (1, *node),
            Self::LogSynced { node, .. } => (2, *node),
            Self::MemorySaved { node, .. } => (3, *node),
            Self::Feed { node, .. } => (4, *node),
            Self::Arrive(letter) => (5, letter.from * 64 + letter.to),
            Self::Connect { one, other } => (6, one * 64 + other),
            Self::Start { node } => (7, *node),
            Self::Wake { node } => (8, *node),
            Self::Trouble(trouble) => (9, *trouble as usize),
            Self::Ends { trouble, .. } => (10, *trouble as usize),
            Self::Client(client) => (11, *client),
            Self::Request { op, .. } => (12, *op),
            Self::Answered { op, .. } => (13, *op),
            Self::GiveUp { op } => (14, *op),
            Self::Operate { operator, .. } => (15, *operator),
            Self::Asked { node, .. } => (16, *node),
            Self::Told { operator, .. } => (17, *operator),
            Self::Get { operator, .. } => (18, *operator),
            Self::Row { operator, .. } => (19, *operator),
            Self::Put { operator, .. } => (20, *operator),
            Self::Peace => (21, 0),
            Self::Quiet => (22, 0),
            Self::Crash { node, .. } => (23, *node),
        };
        (whom as u64) * 32 + kind
    }
}
