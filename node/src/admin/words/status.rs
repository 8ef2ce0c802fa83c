//! The words for who a node is, and who is in its cluster.

use serde::{Deserialize, Serialize};

use super::{Addressee, Pulse};
use crate::runtime::NodeReport;
use crate::types::{self, Boot, ClusterId, ReplicaId, Roster, VolumeIncarnation};

/// Who a node is and how it does: `GET /admin/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The cluster of its data.
    pub cluster: ClusterId,
    /// What it is called.
    pub node: String,
    /// Its volume.
    pub incarnation: VolumeIncarnation,
    /// This start of its process.
    pub boot: Boot,
    /// Its id, once it was told.
    pub replica: Option<ReplicaId>,
    /// Nothing was ever promised or written here.
    pub is_new: bool,
    /// The members that it knows.
    pub members: MemberList,
    /// How it does; none before it was told who it is.
    pub pulse: Option<Pulse>,
}

impl Status {
    /// The status of the node with this report and pulse.
    #[must_use]
    pub fn new(report: NodeReport, pulse: Option<Pulse>) -> Self {
        let NodeReport { cluster, node, incarnation, boot, replica, is_new, roster } = report;
        Self { cluster, node, incarnation, boot, replica, is_new, members: MemberList(roster), pulse }
    }

    /// Whom an order to this node names.
    #[must_use]
    pub fn addressee(&self) -> Addressee {
        Addressee { cluster: self.cluster, replica: self.replica, incarnation: self.incarnation }
    }
}

impl From<Status> for NodeReport {
    fn from(status: Status) -> Self {
        let Status { cluster, node, incarnation, boot, replica, is_new, members, pulse: _ } = status;
        Self { cluster, node, incarnation, boot, replica, is_new, roster: members.0 }
    }
}

/// Tells a node who is in the cluster: `POST /admin/members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Members {
    /// Who is meant. A node that was not told yet who it is takes any id here.
    pub to: Addressee,
    /// All members.
    pub members: MemberList,
}

/// All members of a cluster, each id once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Member>", into = "Vec<Member>")]
pub struct MemberList(pub Roster);

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its id; never used again.
    pub id: ReplicaId,
    /// What people call the node.
    pub node: String,
    /// Its volume, once somebody has seen it.
    pub incarnation: Option<VolumeIncarnation>,
    /// Where other nodes reach it: `host:port`.
    pub peer: String,
    /// Where clients reach it: `host:port`.
    pub client: String,
}

impl TryFrom<Vec<Member>> for MemberList {
    type Error = String;

    fn try_from(list: Vec<Member>) -> Result<Self, Self::Error> {
        let mut roster = Roster::default();
        for Member { id, node, incarnation, peer, client } in list {
            let member = types::Member { node, incarnation, peer, client };
            if roster.members.insert(id, member).is_some() {
                return Err(format!("{id} is there twice"));
            }
        }
        Ok(Self(roster))
    }
}

impl From<MemberList> for Vec<Member> {
    fn from(MemberList(roster): MemberList) -> Self {
        let member = |(id, types::Member { node, incarnation, peer, client })| Member {
            id,
            node,
            incarnation,
            peer,
            client,
        };
        roster.members.into_iter().map(member).collect()
    }
}
