//! What `/metrics` shows of the other nodes: read off the links, and off what the lanes last said of their shards.

use std::collections::BTreeMap;
use std::sync::Weak;

use super::control::{Control, ShardRole};
use crate::telemetry::{FollowerFigures, LinkFigures, Peers};
use crate::wire::{Direction, LinkReport};

impl Control {
    /// Shows how links, followers and replicas are; nothing on a node of its own.
    pub fn show_peers(&self, peers: &Peers) {
        let Some(cluster) = self.shared.cluster.get() else { return };
        let links = cluster.links.get().and_then(Weak::upgrade).map(|links| links.report());
        let links: Vec<LinkFigures> = links.unwrap_or_default().iter().map(figures).collect();
        let mut followers: BTreeMap<u32, FollowerFigures> = BTreeMap::new();
        let mut roles = BTreeMap::from(ROLES.map(|role| (role, 0)));
        for (report, _) in self.shared.looks.all(self.shared.clock.elapsed()) {
            *roles.entry(name(&report.role)).or_default() += 1;
            for (id, follower) in report.followers {
                let all = followers.entry(id.0).or_default();
                all.entries += follower.lag_entries;
                all.bytes = all.bytes.max(follower.lag_bytes);
                all.time = all.time.max(follower.lag);
            }
        }
        let (followers, roles): (Vec<_>, Vec<_>) =
            (followers.into_iter().collect(), roles.into_iter().collect());
        peers.show(&links, &followers, &roles);
    }
}

/// Every role has a line, also while nobody has it.
const ROLES: [&str; 7] = ["leading", "opening", "suspended", "following", "waiting", "halted", "damaged"];

const fn name(role: &ShardRole) -> &'static str {
    match role {
        ShardRole::Leading => "leading",
        ShardRole::Opening => "opening",
        ShardRole::Suspended => "suspended",
        ShardRole::Following => "following",
        ShardRole::Waiting => "waiting",
        ShardRole::Halted(_) => "halted",
        ShardRole::Damaged(_) => "damaged",
    }
}

fn figures(report: &LinkReport) -> LinkFigures {
    LinkFigures {
        peer: report.peer.0,
        direction: match report.direction {
            Direction::Dialled => "dialled",
            Direction::Accepted => "accepted",
        },
        connected: report.is_connected,
        connections: report.connections,
        sent: report.bytes_sent,
        received: report.bytes_received,
        catching_up: report.catching_up.len(),
        needing_snapshot: report.needs_snapshot.len(),
    }
}
