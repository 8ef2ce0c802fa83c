//! The links between nodes: one connection to each peer whom this node may lead, dialled by it, and one from each peer that
//! may lead it. Plain threads and blocking sockets, two of the former to each connection: a reader, which hands to the
//! node what it hears in the order in which it came, and a writer, which sends control messages first, then what the
//! lanes just wrote, then what a follower lacks, from the lanes' files. What is little a lane sends by itself, if nobody writes
//! just then: a thread that need not be woken is the largest part of what a message costs.
//!
//! Invariants: a new connection has new ports, so what was said on an old one is never delivered on the new one; a lane
//! never waits for a peer; no peer makes this node hold more than the bounds in [`LinkOptions`]; nothing of the node
//! changes before both sides know who the other is. What the messages mean is the replicas' business.

mod accounts;
mod bell;
mod complaints;
mod desk;
mod dialler;
mod door;
mod doorman;
mod handshake;
mod inlet;
mod line;
mod links;
mod message;
mod options;
mod outbox;
mod parcel;
mod pen;
mod port;
mod reader;
mod registry;
mod shipment;
mod source;
mod writer;

pub use accounts::{Direction, LinkReport};
pub use door::Door;
pub use links::Links;
pub use message::{KnownStart, Said, decode_said, put_said};
pub use options::LinkOptions;
pub use parcel::{Parcel, Piece, PieceAsk};
pub use port::Port;

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::record::RecordKind;
use crate::core::replication::{History, Message, PutBack};
use crate::types::{
    Acks, Boot, Chain, ClusterId, Epoch, LanePosition, LogIndex, ReplicaId, Roster, ShardId, Start, Trail,
    VolumeIncarnation,
};

/// Who this node is to its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The id under which it is a member; `None` until it was told.
    pub me: Option<ReplicaId>,
    /// Its volume.
    pub incarnation: VolumeIncarnation,
    /// This start, and those before it.
    pub trail: Trail,
    /// Tells what its cluster file plans from what another one does; zero without a file.
    pub plan: u32,
    /// Who holds a write that it leads before that is acknowledged.
    pub acks: Acks,
}

/// A peer that shook hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: ReplicaId,
    /// Its volume.
    pub incarnation: VolumeIncarnation,
    /// Its start.
    pub boot: Boot,
}

/// Why a peer is not spoken to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// No member of the cluster, or a member with another volume.
    #[error("{0} is no member with this volume")]
    Unknown(ReplicaId),
    /// Its volume is an older copy.
    #[error("{peer}: {why}")]
    PutBack {
        /// Who.
        peer: ReplicaId,
        /// What it does not know.
        why: PutBack,
    },
    /// This node's own volume is an older copy: it cannot tell whom it should know, and takes no part.
    #[error("this node's volume was put back to an older copy of itself: it takes no part any more")]
    OutOfPart,
    /// This node cannot remember the peer.
    #[error("the superblock cannot be written")]
    Unremembered,
}

/// What the links need of the node. Called on the links' own threads; may block.
pub trait Host: Send + Sync + 'static {
    /// Who this node is, now.
    fn identity(&self) -> Identity;
    /// Who is in the cluster, now.
    fn roster(&self) -> Arc<Roster>;
    /// A peer shakes hands: checks it by its trail, and remembers its start durably before this returns.
    fn greeted(&self, peer: Peer, trail: &Trail) -> Result<(), Stranger>;
    /// A peer whose connection to this node is there says how it acknowledges what it leads.
    fn acknowledges(&self, peer: Peer, acks: Acks);
    /// A peer that this node has dialled has met a start of this node's volume and refuses to speak to it, because the volume says nothing
    /// of that start. It is there now; whether it is a member, the node sees.
    fn put_back(&self, by: Peer, met: Start);
    /// This node's connection to a peer is there, with a port for each lane in order. Earlier ports of that peer are dead. The
    /// peer remembers this start.
    fn dialled(&self, peer: Peer, ports: Vec<Port>);
    /// A peer's connection to this node is there: whatever is answered to its messages goes through this door. Earlier
    /// doors of that peer are dead. The peer remembers this start.
    fn accepted(&self, peer: Peer, door: Door);
    /// Whether that start of a peer may still be spoken to, as far as this node has met or heard of it.
    fn is_current(&self, peer: Peer) -> bool;
    /// A peer tells of the last starts of members that it has met or heard of.
    fn starts_told(&self, from: ReplicaId, starts: &[KnownStart]);
    /// A message arrived. Blocks while the node has as much to do as it may hold; that holds back the peer. Nobody need hurry before
    /// [`Self::rest`].
    fn heard(&self, from: ReplicaId, shard: ShardId, message: Message);
    /// All that has arrived was handed over: whoever has something to do with it begins now.
    fn rest(&self) {}
    /// A peer asks to which index it must have applied a shard that this node leads, to serve the reads that it has.
    fn read_asked(&self, from: ReplicaId, shard: ShardId, number: u64);
    /// The answer of a leader to such a question; `None`: it does not lead.
    fn read_answered(&self, from: ReplicaId, shard: ShardId, number: u64, upto: Option<LogIndex>);
    /// A peer asks for something to be done with a shard that this node leads; what, is the nodes' business.
    fn errand_asked(&self, from: ReplicaId, shard: ShardId, number: u64, bytes: &Bytes);
    /// What came of an errand of this node.
    fn errand_answered(&self, from: ReplicaId, shard: ShardId, number: u64, bytes: &Bytes);
    /// The log of a shard that is shipped to a peer, in this epoch, no longer has what that peer lacks.
    fn lacks(&self, peer: ReplicaId, shard: ShardId, epoch: Epoch);
    /// A piece of a file that was asked for. Does not block: no more is sent than was asked for.
    fn piece(&self, from: ReplicaId, shard: ShardId, piece: Piece);
}

/// From where on, and as what, a shard's log is shipped.
#[derive(Debug, Clone)]
pub struct Shipping {
    /// The epoch that this node leads; what was put into the port for an earlier one is not sent.
    pub epoch: Epoch,
    /// What the follower has.
    pub after: LogIndex,
    /// The chain after that entry, if it is known; else that of the first entry which is found there counts.
    pub chain: Option<Chain>,
    /// Up to here entries are committed.
    pub committed: LogIndex,
    /// The last entry that was written to the lane: what is not found there up to here was released, and the follower
    /// needs a snapshot.
    pub written: LogIndex,
    /// The log's shape: tells an entry that was cut from the one that took its place.
    pub history: Arc<History>,
    /// A position at or before which the first entry to send stands in the lane, if one is known.
    pub from: Option<LanePosition>,
}

/// One entry that was just written to the lane.
#[derive(Debug, Clone)]
pub struct Shipped {
    /// The epoch that this node leads.
    pub leading: Epoch,
    /// The entry's own epoch.
    pub epoch: Epoch,
    /// Its index.
    pub index: LogIndex,
    /// The chain before it.
    pub chain: Chain,
    /// The chain after it.
    pub chain_after: Chain,
    /// What it is.
    pub kind: RecordKind,
    /// Where it ends in the lane.
    pub end: LanePosition,
    /// Up to here entries are committed.
    pub committed: LogIndex,
    /// Its payload, in the buffer of its group.
    pub payload: Bytes,
}
