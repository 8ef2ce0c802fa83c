//! The rules of the product that the model goes by: everything that it takes from the node is named here.

pub(super) use thalweg_node::core::replication::{
    Phase, Sealed, ShardRow, confirms, quorum_index, sees_every_commit, winners,
};
pub(super) use thalweg_node::types::{
    Boot, Config, ConfigVersion, Configs, Epoch, LogIndex, RecordEpoch, ReplicaId, Voters,
};
