//! Who is in a cluster, and where. Invariant: an id means one volume in one incarnation, for good; an empty disk under an
//! old name is a new member.

use std::collections::BTreeMap;

use super::{ReplicaId, VolumeIncarnation};

/// One member: a node with its volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What people call the node.
    pub node: String,
    /// Its volume; `None` until somebody has seen it (a file that a person wrote does not know it).
    pub incarnation: Option<VolumeIncarnation>,
    /// Where other nodes reach it: `host:port`.
    pub peer: String,
    /// Where clients reach it: `host:port`.
    pub client: String,
}

/// All members of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    /// By id; an id is never used again.
    pub members: BTreeMap<ReplicaId, Member>,
}

impl Roster {
    /// The member that is this volume.
    #[must_use]
    pub fn find(&self, incarnation: VolumeIncarnation) -> Option<ReplicaId> {
        let mut members = self.members.iter();
        members.find(|(_, member)| member.incarnation == Some(incarnation)).map(|(id, _)| *id)
    }
}
