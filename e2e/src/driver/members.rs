//! Disks that were replaced: out with the old replica, in with the new one. Invariants: an empty disk is another replica,
//! which learns before it votes; voters change one at a time and never while a shard is being sealed (`ShardRow` sees to
//! both); a leader is replaced by an election before it goes.
//!
//! A pure function over the record and what nodes said; it is asked again after each change, and a driver that dies
//! between two changes leaves nothing behind that the next one would not go on with.

use std::collections::BTreeMap;

use thalweg_node::admin::words::Status;
use thalweg_node::core::replication::ShardRow;
use thalweg_node::types::{Member, ReplicaId, ShardId, Voters};

use super::levels::Level;
use super::news::News;
use super::plan::Plan;
use super::table::Table;

/// A node that was never a member answers in the place of one that was: it becomes a member under an id of its own.
pub(super) fn admit(plan: &Plan, table: &mut Table, status: &Status) -> Option<News> {
    let known = table.roster.find(status.incarnation).is_some();
    let planned = plan.nodes.iter().find(|planned| planned.name == status.node)?;
    // One that was given up before it had promised anything looks new.
    let is_barred = table.barred(status.incarnation).is_some();
    if known || is_barred || !status.is_new || status.cluster != table.cluster {
        return None;
    }
    let id = ReplicaId(table.next_replica);
    table.next_replica += 1;
    let (peer, client) = (planned.peer.to_string(), planned.client.to_string());
    let (node, incarnation) = (status.node.clone(), Some(status.incarnation));
    table.roster.members.insert(id, Member { node: node.clone(), incarnation, peer, client });
    Some(News::Replaced { node, is: id })
}

/// The next step of each shard on the way to voters that are the present members, of whom these are level, and whoever is no longer
/// needed.
pub(super) fn settle(table: &mut Table, level: &Level) -> Vec<News> {
    let present = present(table);
    let mut news = Vec::new();
    let shards: Vec<ShardId> = table.rows.keys().copied().collect();
    for shard in shards {
        let Some(row) = table.rows.get(&shard) else { continue };
        let (after, said) = step(row, &present, |id| level.contains(&(shard, id)));
        let row = after.unwrap_or_else(|| row.clone());
        let learners: Vec<ReplicaId> =
            present.iter().copied().filter(|id| !row.configs.everybody().contains(id)).collect();
        if learners.is_empty() {
            table.learners.remove(&shard);
        } else {
            table.learners.insert(shard, learners);
        }
        table.rows.insert(shard, row);
        news.extend(said.map(|said| News::Voters(shard, said)));
    }
    let everybody: Vec<ReplicaId> = table.rows.values().flat_map(|row| row.configs.everybody()).collect();
    table.roster.members.retain(|id, _| present.contains(id) || everybody.contains(id));
    news
}

/// The youngest replica of each node; ids only grow.
fn present(table: &Table) -> Vec<ReplicaId> {
    let by_node: BTreeMap<&str, ReplicaId> =
        table.roster.members.iter().map(|(id, member)| (member.node.as_str(), *id)).collect();
    let mut ids: Vec<ReplicaId> = by_node.into_values().collect();
    ids.sort_unstable();
    ids
}

/// Out first: the replica of a lost disk is no help, and with it one more would have to answer.
fn step(
    row: &ShardRow,
    present: &[ReplicaId],
    is_level: impl Fn(ReplicaId) -> bool,
) -> (Option<ShardRow>, Option<String>) {
    let voters = row.configs.last().voters;
    let change = |voters: Option<Voters>| voters.and_then(|voters| row.change(voters).ok());
    if let Some(gone) = voters.iter().find(|id| !present.contains(id)) {
        let after = change(voters.without(gone));
        let said = after.as_ref().map(|_| format!("{gone} votes no more"));
        return (after, said);
    }
    let ready = |id: &&ReplicaId| !voters.contains(**id) && is_level(**id);
    let Some(new) = present.iter().find(ready) else { return (None, None) };
    let after = change(voters.with(*new));
    let said = after.as_ref().map(|_| format!("{new} has caught up and votes"));
    (after, said)
}
