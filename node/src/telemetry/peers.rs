//! What a node in a cluster says of its peers on `/metrics`: links, followers, and what its replicas do. Read when somebody asks, since
//! all of it stands elsewhere already. Labels are peers and roles: as many as there are nodes, however many streams.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Counter, Gauge};

/// One connection with a peer, in one direction of leading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkFigures {
    /// To whom.
    pub peer: u32,
    /// `dialled` (this node may lead) or `accepted`.
    pub direction: &'static str,
    /// It lives.
    pub connected: bool,
    /// How often it came about.
    pub connections: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Shards that are sent from the files.
    pub catching_up: usize,
    /// Shards of which the log no longer has what the follower lacks.
    pub needing_snapshot: usize,
}

/// How far a follower is behind, over all shards that this node leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FollowerFigures {
    /// Entries that it lacks, of all shards.
    pub entries: u64,
    /// Bytes of the log behind what it has, at most.
    pub bytes: u64,
    /// For how long it has lacked the oldest entry.
    pub time: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Way {
    peer: u32,
    direction: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Follower {
    peer: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Doing {
    role: &'static str,
}

/// The figures of all peers.
#[derive(Debug)]
pub struct Peers {
    connected: Family<Way, Gauge>,
    connections: Family<Way, Counter>,
    sent: Family<Way, Counter>,
    received: Family<Way, Counter>,
    catching_up: Family<Way, Gauge>,
    needing_snapshot: Family<Way, Gauge>,
    entries: Family<Follower, Gauge>,
    bytes: Family<Follower, Gauge>,
    millis: Family<Follower, Gauge>,
    replicas: Family<Doing, Gauge>,
    /// Who is shown: whoever is gone is taken away.
    shown: Mutex<(BTreeSet<Way>, BTreeSet<Follower>)>,
}

impl Peers {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let peers = Self {
            connected: Family::default(),
            connections: Family::default(),
            sent: Family::default(),
            received: Family::default(),
            catching_up: Family::default(),
            needing_snapshot: Family::default(),
            entries: Family::default(),
            bytes: Family::default(),
            millis: Family::default(),
            replicas: Family::default(),
            shown: Mutex::default(),
        };
        registry.register("link_connected", "One while the link with a peer lives", peers.connected.clone());
        registry.register("link_connections", "Links with a peer that came about", peers.connections.clone());
        registry.register("link_sent_bytes", "Bytes sent to a peer", peers.sent.clone());
        registry.register("link_received_bytes", "Bytes received from a peer", peers.received.clone());
        registry.register(
            "link_shards_catching_up",
            "Shards that a peer is sent from the log's files, because it is behind",
            peers.catching_up.clone(),
        );
        registry.register(
            "link_shards_needing_snapshot",
            "Shards of which the log no longer has what a peer lacks",
            peers.needing_snapshot.clone(),
        );
        registry.register(
            "follower_lag_entries",
            "Entries that a follower lacks, of all shards led here",
            peers.entries.clone(),
        );
        registry.register(
            "follower_lag_bytes",
            "Bytes of the log behind what a follower has, of the shard where they are most",
            peers.bytes.clone(),
        );
        registry.register(
            "follower_lag_milliseconds",
            "For how long a follower has lacked the oldest entry that it lacks",
            peers.millis.clone(),
        );
        registry.register("replicas", "Replicas of this node by what they do", peers.replicas.clone());
        peers
    }

    /// Shows how everything is now.
    pub fn show(
        &self,
        links: &[LinkFigures],
        followers: &[(u32, FollowerFigures)],
        replicas: &[(&'static str, usize)],
    ) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let ways: BTreeSet<Way> =
            links.iter().map(|link| Way { peer: link.peer, direction: link.direction }).collect();
        let peers: BTreeSet<Follower> = followers.iter().map(|(peer, _)| Follower { peer: *peer }).collect();
        shown.0.difference(&ways).for_each(|way| self.forget_way(way));
        shown.1.difference(&peers).for_each(|follower| self.forget_follower(follower));
        for link in links {
            let way = Way { peer: link.peer, direction: link.direction };
            self.connected.get_or_create(&way).set(i64::from(link.connected));
            self.connections.get_or_create(&way).inner().store(link.connections, Ordering::Relaxed);
            self.sent.get_or_create(&way).inner().store(link.sent, Ordering::Relaxed);
            self.received.get_or_create(&way).inner().store(link.received, Ordering::Relaxed);
            self.catching_up.get_or_create(&way).set(whole(link.catching_up));
            self.needing_snapshot.get_or_create(&way).set(whole(link.needing_snapshot));
        }
        for (peer, figures) in followers {
            let follower = Follower { peer: *peer };
            self.entries.get_or_create(&follower).set(whole(figures.entries));
            self.bytes.get_or_create(&follower).set(whole(figures.bytes));
            self.millis.get_or_create(&follower).set(whole(figures.time.as_millis()));
        }
        for (role, count) in replicas {
            self.replicas.get_or_create(&Doing { role }).set(whole(*count));
        }
        *shown = (ways, peers);
    }

    fn forget_way(&self, way: &Way) {
        for family in [&self.connected, &self.catching_up, &self.needing_snapshot] {
            family.remove(way);
        }
        for family in [&self.connections, &self.sent, &self.received] {
            family.remove(way);
        }
    }

    fn forget_follower(&self, follower: &Follower) {
        for family in [&self.entries, &self.bytes, &self.millis] {
            family.remove(follower);
        }
    }
}

fn whole(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
