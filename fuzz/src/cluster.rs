//! Parsers of what those say who make a cluster of nodes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thalweg_node::admin::parse;
use thalweg_node::admin::words::{Answers, Batch, ConfigAsk, LeadAsk, Members, SealAsk, Shards, Status};
use thalweg_node::config::ClusterFile;
use thalweg_node::types::ShardId;

/// Bodies of the admin port, of both directions: what is taken is said again and taken as the same.
pub fn admin(bytes: &[u8]) {
    both_ways::<Batch<SealAsk>>(bytes);
    both_ways::<Batch<LeadAsk>>(bytes);
    both_ways::<Batch<ConfigAsk>>(bytes);
    both_ways::<Members>(bytes);
    both_ways::<Answers>(bytes);
    both_ways::<Status>(bytes);
    both_ways::<Shards>(bytes);
}

fn both_ways<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(value) = parse::<T>(bytes) else { return };
    let again = serde_json::to_vec(&value).ok().and_then(|said| parse::<T>(&said).ok());
    assert_eq!(again, Some(value), "what is said again must be the same");
}

/// Files of members: every leader of what is taken is a member with addresses.
pub fn cluster_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(file) = ClusterFile::parse(text) else { return };
    let members = &file.roster.members;
    assert!((1..=8).contains(&members.len()), "one to eight members");
    for shard in 0..256 {
        assert!(members.contains_key(&file.first_leader(ShardId(shard))), "a leader is a member");
    }
    assert!(
        members.values().all(|member| member.peer.contains(':') && member.client.contains(':')),
        "addresses"
    );
}
