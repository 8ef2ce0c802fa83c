//! Everything that can happen in the simulated world.

use thalweg_node::core::failover::RowChange;
use thalweg_node::core::replication::{Input, Message};
use thalweg_node::types::{Boot, ReplicaId, Start};

use super::client::{Call, Op};
use super::faults::Trouble;
use super::operator::{Caller, Question, Reply};

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

/// What a node tells a peer of the last starts of others.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) connection: u64,
    pub(super) starts: Vec<(ReplicaId, Start)>,
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
    /// An image is there for a follower.
    Imaged { node: NodeId, life: u64, shard: Shard, to: ReplicaId },
    /// What a node fetches should be here as a whole.
    Fetched { node: NodeId, life: u64, shard: Shard, key: u32 },
    /// Tables are in the place of others.
    Installed { node: NodeId, life: u64, shard: Shard },
    /// An input that a planted bug feeds too early.
    Feed { node: NodeId, life: u64, shard: Shard, input: Input },
    /// A message arrives.
    Arrive(Box<Letter>),
    /// Two nodes try to connect again.
    Connect { one: NodeId, other: NodeId },
    /// A node hears of starts of others.
    Heard(Box<Told>),
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
    Request { node: NodeId, call: Call },
    /// The answer reaches the client.
    Answered { call: Call, outcome: Op },
    /// The client waits no longer.
    GiveUp { call: Call },
    /// An operator looks at its clock.
    Operate(Caller),
    /// An operator ends.
    OperatorEnds(Caller),
    /// What is asked of a node reaches it.
    Asked { caller: Option<Caller>, node: NodeId, question: Box<Question> },
    /// An answer, or news, reaches an operator.
    Told { caller: Caller, reply: Box<Reply> },
    /// An operator's read reaches the record.
    Get(Caller),
    /// An operator's write reaches the record.
    Put { caller: Caller, changes: Vec<RowChange> },
    /// The hand that changes voters looks around.
    Hand,
    /// What it wants to change reaches the record.
    Changed(Box<RowChange>),
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
            | Self::Imaged { node, .. }
            | Self::Fetched { node, .. }
            | Self::Installed { node, .. }
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
            Self::Request { call, .. } => (12, call.op),
            Self::Answered { call, .. } => (13, call.op),
            Self::GiveUp { call } => (14, call.op),
            Self::Operate(caller) => (15, caller.operator),
            Self::Asked { node, .. } => (16, *node),
            Self::Told { caller, .. } => (17, caller.operator),
            Self::Get(caller) => (18, caller.operator),
            Self::OperatorEnds(caller) => (19, caller.operator),
            Self::Put { caller, .. } => (20, caller.operator),
            Self::Peace => (21, 0),
            Self::Quiet => (22, 0),
            Self::Crash { node, .. } => (23, *node),
            Self::Hand => (24, 0),
            Self::Changed(change) => (25, usize::from(change.shard.0)),
            Self::Imaged { node, .. } => (27, *node),
            Self::Fetched { node, .. } => (28, *node),
            Self::Installed { node, .. } => (29, *node),
            Self::Heard(told) => (26, told.from * 64 + told.to),
        };
        (whom as u64) * 32 + kind
    }
}
