//! What must hold between settings. Each text names both, with their values, and the way out.

use std::net::SocketAddr;

use super::value::Value;
use super::{Config, ConfigError, Size};
use crate::types::{Acks, AolMode, Durability};

/// What a record needs beside the body that it carries: its header, the stream's name and state.
const RECORD_HEAD: Size = Size::kib(64);
/// Largest body in a cluster. It is one record and one frame, and the heartbeats of all shards wait behind it three times: for the
/// leader's disk, for the line to a follower, and for that one's disk. Where each of them takes 125 MB/s (a line of 1 Gbit/s, a small
/// volume of a cloud), that is 0.4 s of the second after which a leader counts as silent.
pub const MEMBER_BODY_MAX: Size = Size::mib(16);

/// Refuses the first pair that does not go together.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let broken =
        [durable(config), flowing(config), stored(config), clustered(config)].into_iter().flatten().next();
    broken.map_or(Ok(()), |text| Err(ConfigError::Relation(text)))
}

/// A lane without a shard would be a log that nobody writes.
#[must_use]
pub fn too_many_lanes(lanes: u32, shards: u32) -> Option<String> {
    (lanes > shards).then(|| {
        format!("lanes ({lanes}) must be at most shards ({shards}): lower lanes, or format with more shards")
    })
}

/// Log, lanes and checkpoints.
fn durable(config: &Config) -> Option<String> {
    let shards = u32::from(config.shards.get());
    let record = Size::bytes(config.request_body_max.get() + RECORD_HEAD.get());
    if let Some(broken) = too_many_lanes(config.lanes, shards) {
        return Some(broken);
    }
    if config.segment_size > config.segment_size_max {
        return Some(too_large(
            "segment-size",
            config.segment_size,
            "segment-size-max",
            config.segment_size_max,
        ));
    }
    if record > config.segment_size_max {
        return Some(too_large(
            "request-body-max plus 64KiB",
            record,
            "segment-size-max",
            config.segment_size_max,
        ));
    }
    if config.segment_size > config.checkpoint_log_size {
        return Some(too_large(
            "segment-size",
            config.segment_size,
            "checkpoint-log-size",
            config.checkpoint_log_size,
        ));
    }
    let snapshots = config.snapshot_interval.is_some() || config.snapshot_log_size.is_some();
    if snapshots && config.aol == AolMode::Never {
        return Some(
            "snapshot-interval and snapshot-log-size need a log, because a crash without one takes a shard back behind \
             its snapshot: leave both out, or give another aol than never"
                .to_owned(),
        );
    }
    None
}

/// Requests and their memory.
fn flowing(config: &Config) -> Option<String> {
    let (body, permits) = (config.request_body_max, config.request_permits);
    let twice = Size::bytes(body.get().saturating_mul(2));
    if twice > permits {
        return Some(too_large("request-body-max twice", twice, "request-permits", permits));
    }
    let (answer, permits) = (config.read_response_max, config.response_permits);
    if answer > permits {
        return Some(too_large("read-response-max", answer, "response-permits", permits));
    }
    if config.sse_keep_alive >= config.sse_lifetime {
        return Some(
            "sse-keep-alive must be shorter than sse-lifetime: lower the one or raise the other".to_owned(),
        );
    }
    None
}

/// Bounds on what is kept.
fn stored(config: &Config) -> Option<String> {
    match (config.stream_size_max, config.total_size_max) {
        (Some(stream), Some(total)) if stream > total => {
            Some(too_large("stream-size-max", stream, "total-size-max", total))
        }
        _ => None,
    }
}

/// What members of a cluster must keep to, and what means nothing outside of one.
fn clustered(config: &Config) -> Option<String> {
    if config.cluster_id.is_some() && config.cluster_file.is_some() {
        return Some(
            "cluster-id and cluster-file exclude each other, since the file names the cluster: leave one out"
                .to_owned(),
        );
    }
    if !config.in_cluster() {
        let alone = config.acks == Acks::Leader;
        return alone.then(|| {
            "acks = leader means something in a cluster only: give cluster-id or cluster-file, or leave acks out"
                .to_owned()
        });
    }
    let durability = config.durability();
    if durability != Durability::default() {
        return Some(format!(
            "a member of a cluster needs aol = sync and fsync = always, because its vote must survive a crash, and this \
             one has {durability}: leave both out, or run the node on its own"
        ));
    }
    if config.request_body_max > MEMBER_BODY_MAX {
        let body = config.request_body_max;
        return Some(format!(
            "request-body-max ({body}) must be at most {MEMBER_BODY_MAX} in a cluster, because heartbeats wait behind a body on \
             its way to another node: lower it, or run the node on its own"
        ));
    }
    if config.follower_log_max < config.segment_size_max {
        let (low, high) = (config.follower_log_max, config.segment_size_max);
        return Some(format!(
            "follower-log-max ({low}) must be at least segment-size-max ({high}), because segments are kept whole: raise \
             the one or lower the other"
        ));
    }
    distinct(config)
}

/// Each port of a member has an address of its own; port 0 is any that is free.
fn distinct(config: &Config) -> Option<String> {
    let mut taken: Vec<(&str, SocketAddr)> = vec![("listen", config.listen)];
    let admin = config.admin_address().map(|address| ("admin-listen", address));
    for (name, address) in [("peer-listen", config.peer_listen)].into_iter().chain(admin) {
        let same = taken.iter().find(|(_, other)| *other == address && address.port() != 0);
        if let Some((other, _)) = same {
            let address = address.render();
            return Some(format!("{other} and {name} are both {address}: give {name} another port"));
        }
        taken.push((name, address));
    }
    None
}

fn too_large(name: &str, size: Size, bound_name: &str, bound: Size) -> String {
    format!("{name} ({size}) must be at most {bound_name} ({bound}): lower the one or raise the other")
}
