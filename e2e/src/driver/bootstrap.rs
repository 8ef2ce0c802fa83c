//! The first record of a cluster. Invariant: it is written only when every planned node says that nothing was ever
//! promised or written there; a cluster whose record is lost is never taken for a new one.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_node::admin::words::Status;
use thalweg_node::core::replication::{Phase, ShardRow};
use thalweg_node::types::{
    ClusterId, Configs, Member, RecordEpoch, ReplicaId, Roster, ShardId, VolumeIncarnation, Voters,
};
use tokio::time::sleep;

use super::plan::{Plan, Planned};
use super::record::{RecordError, RecordFile};
use super::table::Table;
use super::visit::questions;
use crate::stopwatch::Stopwatch;

/// Nodes may still be starting when a driver begins.
const STARTING_MAX: Duration = Duration::from_secs(30);
/// How soon a node that did not answer is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// Why there is no record to work with.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// It can neither be read nor written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The record is another cluster's.
    #[error("the record is that of cluster {found}, not {planned}")]
    OtherCluster {
        /// In the record.
        found: ClusterId,
        /// In the plan.
        planned: ClusterId,
    },
    /// A node does not answer.
    #[error("{node} does not answer on its admin port: {why}")]
    Silent {
        /// Which.
        node: String,
        /// What came instead of an answer.
        why: String,
    },
    /// A node belongs to another cluster.
    #[error("{node} belongs to cluster {found}, not {planned} (ForeignData)")]
    Foreign {
        /// Which.
        node: String,
        /// Where it belongs.
        found: ClusterId,
        /// Where it should.
        planned: ClusterId,
    },
    /// Somebody else answers under its address.
    #[error("{found} answers where {planned} should")]
    OtherNode {
        /// Who answers.
        found: String,
        /// Who should.
        planned: String,
    },
    /// Two of the planned nodes have one volume.
    #[error("{0} has the same volume as another node: a copied directory")]
    SameVolume(String),
    /// There is no record, and a node holds data.
    #[error(
        "there is no record, and {0} was a member of a cluster already (RecordLost): put the record back, or begin \
         with empty directories"
    )]
    RecordLost(String),
    /// No set of voters can be of that size.
    #[error("a cluster has 1 to 8 nodes, not {0}")]
    Size(usize),
}

/// The record of the planned cluster: the one that is there, or a first one, if all nodes are new.
pub async fn bootstrap(plan: &Plan, record: &RecordFile) -> Result<Table, BootstrapError> {
    match record.read() {
        Ok((_, table)) => return ours(plan, table),
        Err(RecordError::Missing) => {}
        Err(error) => return Err(error.into()),
    }
    let mut members = BTreeMap::new();
    for (id, planned) in (0..).map(ReplicaId).zip(&plan.nodes) {
        let status = hear(planned).await?;
        let incarnation = fit(plan, &planned.name, &status)?;
        if !status.is_new {
            return Err(BootstrapError::RecordLost(planned.name.clone()));
        }
        if members.values().any(|member: &Member| member.incarnation == Some(incarnation)) {
            return Err(BootstrapError::SameVolume(planned.name.clone()));
        }
        let (peer, client) = (planned.peer.to_string(), planned.client.to_string());
        let member = Member { node: planned.name.clone(), incarnation: Some(incarnation), peer, client };
        members.insert(id, member);
    }
    let table = first(plan, Roster { members })?;
    match record.create(&table) {
        // Another driver was faster; what it wrote counts.
        Err(RecordError::Exists) => ours(plan, record.read()?.1),
        outcome => Ok(outcome.map(|()| table)?),
    }
}

/// Every shard begins as one that is being sealed: whoever leads it must have promised its first epoch before.
pub(super) fn first(plan: &Plan, roster: Roster) -> Result<Table, BootstrapError> {
    let ids: Vec<ReplicaId> = roster.members.keys().copied().collect();
    let size = BootstrapError::Size(ids.len());
    let Some(voters) = Voters::new(ids.iter().copied()) else { return Err(size) };
    let row = |shard: u16| {
        let last_leader = ids[usize::from(shard) % ids.len()];
        let configs = Configs::first(voters);
        (ShardId(shard), ShardRow { epoch: RecordEpoch(1), phase: Phase::Sealing, last_leader, configs })
    };
    let next_replica = ids.iter().map(|id| id.0 + 1).max().unwrap_or(0);
    let rows = (0..plan.shards).map(row).collect();
    let (learners, unclean) = (BTreeMap::new(), Vec::new());
    Ok(Table { cluster: plan.cluster, next_replica, roster, rows, learners, unclean, wish: None })
}

fn ours(plan: &Plan, table: Table) -> Result<Table, BootstrapError> {
    if table.cluster == plan.cluster {
        return Ok(table);
    }
    Err(BootstrapError::OtherCluster { found: table.cluster, planned: plan.cluster })
}

/// The volume of a node that is who the plan says.
pub(super) fn fit(plan: &Plan, name: &str, status: &Status) -> Result<VolumeIncarnation, BootstrapError> {
    if status.cluster != plan.cluster {
        let (node, found, planned) = (name.to_owned(), status.cluster, plan.cluster);
        return Err(BootstrapError::Foreign { node, found, planned });
    }
    if status.node != name {
        return Err(BootstrapError::OtherNode { found: status.node.clone(), planned: name.to_owned() });
    }
    Ok(status.incarnation)
}

async fn hear(planned: &Planned) -> Result<Status, BootstrapError> {
    let (since, admin) = (Stopwatch::start(), questions(planned));
    loop {
        match admin.status().await {
            Ok(status) => return Ok(status),
            Err(error) if since.elapsed() >= STARTING_MAX => {
                let (node, why) = (planned.name.clone(), error.to_string());
                return Err(BootstrapError::Silent { node, why });
            }
            Err(_) => sleep(AGAIN).await,
        }
    }
}
