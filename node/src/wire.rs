//! The links between nodes: one connection to each peer whom this node may lead, dialled by it, and one from each peer that
//! may lead it. A new connection has new ports, so what was said on an old one is never delivered on the new one.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::record::RecordKind;
use crate::core::replication::{History, Message};
use crate::types::{
    Boot, Chain, ClusterId, Epoch, LaneId, LanePosition, LogIndex, ReplicaId, Roster, ShardId,
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
    /// This start.
    pub boot: Boot,
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
    /// Its boot is below one that was seen: its volume is an older copy.
    #[error("boot {found} of {peer} is below boot {known}, which was seen of it: its volume was rolled back")]
    RolledBack {
        /// Who.
        peer: ReplicaId,
        /// What it says.
        found: Boot,
        /// What was seen.
        known: Boot,
    },
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
    /// A peer shook hands: checks it, and remembers its boot durably before this returns.
    fn greeted(&self, peer: Peer) -> Result<(), Stranger>;
    /// This node's connection to a peer is there, with a port for each lane in order. Earlier ports of that peer are dead.
    fn dialled(&self, peer: Peer, ports: Vec<Port>);
    /// A peer's connection to this node is there: whatever is answered to its messages goes through this door. Earlier
    /// doors of that peer are dead.
    fn accepted(&self, peer: Peer, door: Door);
    /// A message arrived. Blocks while the node has as much to do as it may hold; that holds back the peer.
    fn heard(&self, from: ReplicaId, shard: ShardId, message: Message);
    /// A peer asks to which index it must have applied a shard that this node leads, to serve the reads that it has.
    fn read_asked(&self, from: ReplicaId, shard: ShardId, number: u64);
    /// The answer of a leader to such a question; `None`: it does not lead.
    fn read_answered(&self, from: ReplicaId, shard: ShardId, number: u64, upto: Option<LogIndex>);
}

/// What a lane says to one peer whom it may lead. Owned by the lane's thread; never blocks.
#[derive(Debug)]
pub struct Port {
    _lane: LaneId,
}

/// From where on, and as what, a shard's log is shipped.
#[derive(Debug, Clone)]
pub struct Shipping {
    /// The epoch that this node leads; what was put into the port for an earlier one is not sent.
    pub epoch: Epoch,
    /// What the follower has.
    pub after: LogIndex,
    /// The chain after that entry.
    pub chain: Chain,
    /// Up to here entries are committed.
    pub committed: LogIndex,
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
    /// What it is.
    pub kind: RecordKind,
    /// Where it ends in the lane.
    pub end: LanePosition,
    /// Up to here entries are committed.
    pub committed: LogIndex,
    /// Its payload, in the buffer of its group.
    pub payload: Bytes,
}

impl Port {
    /// Sends a message, or drops it when the connection is gone.
    pub fn send(&mut self, _shard: ShardId, _message: &Message) {}
    /// Sends the log of a shard from here on: from the lane's files until that has caught up, then what is put in.
    pub fn ship(&mut self, _shard: ShardId, _shipping: Shipping) {}
    /// Sends no more entries of a shard.
    pub fn unship(&mut self, _shard: ShardId) {}
    /// Puts in what was just written; when there is no room for it, it is read from the lane's files later.
    pub fn fill(&mut self, _shard: ShardId, _shipped: &Shipped) {}
    /// Answers a peer's question for a read.
    pub fn answer_read(&mut self, _shard: ShardId, _number: u64, _upto: Option<LogIndex>) {}
    /// Wakes the writer if anything was put in since; once for each turn of the lane.
    pub fn wake(&mut self) {}
}

/// What is answered to a peer that leads; cheap to clone, never blocks.
#[derive(Debug, Clone)]
pub struct Door {
    _private: (),
}

impl Door {
    /// Sends a message, or drops it when the connection is gone.
    pub fn send(&self, _shard: ShardId, _message: &Message) {}
    /// Asks the leader up to where reads must have applied; `false` when the connection is gone.
    pub fn ask_read(&self, _shard: ShardId, _number: u64) -> bool {
        false
    }
}

/// What links are made of.
#[derive(Debug)]
pub struct LinkOptions {
    /// The lanes' files.
    pub lanes: Vec<crate::store::aol::LaneReader>,
}

/// All links of a node.
#[derive(Debug)]
pub struct Links {}

impl Links {
    /// Begins to dial and to accept.
    pub fn start(
        _host: Arc<dyn Host>,
        _listener: std::net::TcpListener,
        _options: LinkOptions,
    ) -> std::io::Result<Self> {
        Ok(Self {})
    }
    /// The roster or the identity has changed.
    pub fn look(&self) {}
    /// Ends all links.
    pub fn stop(&self) {}
}
