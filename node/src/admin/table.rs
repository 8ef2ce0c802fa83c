//! How shards stand, for people: one line for each shard, one for each of its followers.

use std::fmt::Write;

use super::words::{Follower, Seeding, Shard, ShardRole};
use crate::types::{ReplicaId, Roster};

const HEADS: [&str; 9] =
    ["shard", "role", "leader", "promised", "end", "synced", "committed", "applied", "voters"];

/// The text; columns are as wide as their widest cell. Members are called by their names, too.
pub(super) fn table(shards: &[Shard], members: &Roster) -> String {
    let rows: Vec<[String; 9]> = shards.iter().map(|shard| cells(shard, members)).collect();
    let mut widths = HEADS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(&HEADS, &widths);
    for (shard, row) in shards.iter().zip(&rows) {
        text.push_str(&line(row, &widths));
        shard.followers.iter().for_each(|follower| put_follower(&mut text, follower, members));
        if let Some(Seeding { index, bytes, done }) = shard.seeding {
            let _ = writeln!(text, "       fetches a snapshot up to {index}: {done} of {bytes} bytes");
        }
        if let ShardRole::Halted(why) | ShardRole::Damaged(why) = &shard.role {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "       {why}");
        }
    }
    text
}

fn line(cells: &[impl AsRef<str>], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{:<width$}", cell.as_ref()));
    let text = padded.collect::<Vec<_>>().join("  ");
    format!("{}\n", text.trim_end())
}

/// The id of a replica, and what people call its node, if that is known.
fn called(id: ReplicaId, members: &Roster) -> String {
    let name = members.members.get(&id).map(|member| format!(" ({})", member.node));
    format!("{}{}", id.0, name.unwrap_or_default())
}

fn cells(shard: &Shard, members: &Roster) -> [String; 9] {
    let role = match &shard.role {
        ShardRole::Leading => "leading",
        ShardRole::Opening => "opening",
        ShardRole::Suspended => "suspended",
        ShardRole::Following => "following",
        ShardRole::Waiting => "waiting",
        ShardRole::Halted(_) => "HALTED",
        ShardRole::Damaged(_) => "DAMAGED",
    };
    [
        shard.shard.to_string(),
        role.to_owned(),
        shard.leader.map_or_else(|| "-".to_owned(), |leader| called(leader, members)),
        shard.promised.to_string(),
        shard.end.to_string(),
        shard.synced.to_string(),
        shard.committed.to_string(),
        shard.applied.to_string(),
        shard.configs.as_ref().map_or_else(|| "-".to_owned(), |sets| voters(&sets.0)),
    ]
}

/// The sets that count, the newest last.
fn voters(configs: &crate::types::Configs) -> String {
    let set = |config: &crate::types::Config| {
        config.voters.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(" ")
    };
    configs.as_slice().iter().map(set).collect::<Vec<_>>().join(" -> ")
}

fn put_follower(text: &mut String, follower: &Follower, members: &Roster) {
    let Follower { replica, is_shipped, held, lag_entries, lag_bytes, lag_ms, silent_ms, seeding } = follower;
    let fed = match seeding {
        Some(Seeding { index, bytes, done }) => {
            format!(", gets a snapshot up to {index}: {done} of {bytes} bytes")
        }
        None if *is_shipped => String::new(),
        None => ", gets nothing".to_owned(),
    };
    let heard = silent_ms.map_or_else(|| "never heard".to_owned(), |ms| format!("heard {ms} ms ago"));
    let _ = writeln!(
        text,
        "       replica {} has {held}: {lag_entries} entries, {lag_bytes} bytes, {lag_ms} ms behind, {heard}{fed}",
        called(*replica, members)
    );
}
