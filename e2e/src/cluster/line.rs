//! What a shown cluster says: a line for people, or an object for programs.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use thalweg_node::types::{RecordEpoch, ShardId};

use crate::driver::{News, Planned, Table};

/// Something that happened, or goes on. As JSON it is an object with the name of its kind in `event`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Line {
    /// The program of the node is being built, or looked at.
    Building {
        /// For so long.
        seconds: u64,
    },
    /// Processes start, and elect their first leaders.
    Starting {
        /// How many.
        nodes: usize,
        /// For so long.
        seconds: u64,
    },
    /// Every shard has a leader that takes writes.
    Open {
        /// How long that took.
        took_ms: u64,
        /// Where everything is.
        nodes: Vec<Place>,
    },
    /// Another leads a shard.
    Moved {
        /// Which.
        shard: ShardId,
        /// The node that led.
        from: String,
        /// The node that leads.
        to: String,
        /// The epoch that began.
        epoch: RecordEpoch,
        /// For how long the record named no leader.
        took_ms: u128,
        /// Why.
        reason: Option<String>,
    },
    /// Something else that the driver did or saw.
    News {
        /// In words.
        text: String,
    },
    /// A process has ended.
    Ended {
        /// Whose.
        node: String,
        /// By which signal, or with which code and last words.
        how: String,
        /// It is started again after so long.
        again_s: u64,
    },
    /// It was started again.
    RunsAgain {
        /// Which node.
        node: String,
    },
    /// All nodes are being ended.
    Ending,
    /// Nothing runs any more.
    Over {
        /// Here the data stays.
        data: PathBuf,
    },
}

/// Where a node is.
#[derive(Debug, Clone, Serialize)]
pub struct Place {
    node: String,
    clients: String,
    admin: String,
    peers: String,
    leads: usize,
    data: PathBuf,
}

impl Place {
    /// The place of a planned node that leads so many shards.
    pub(super) fn new(planned: &Planned, leads: usize, data: PathBuf) -> Self {
        Self {
            node: planned.name.clone(),
            clients: format!("http://{}", planned.client),
            admin: format!("http://{}", planned.admin),
            peers: planned.peer.to_string(),
            leads,
            data,
        }
    }
}

impl Line {
    /// News with the names of nodes in the place of their replicas.
    pub(super) fn of(news: &News, table: &Table) -> Self {
        let News::Moved { shard, from, to, epoch, took, reason } = news else {
            return Self::News { text: news.to_string() };
        };
        Self::Moved {
            shard: *shard,
            from: table.node(*from),
            to: table.node(*to),
            epoch: *epoch,
            took_ms: took.as_millis(),
            reason: reason.map(|reason| format!("{reason:?}")),
        }
    }

    /// The object.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Building { seconds: 0 } => f.write_str("building the node; the first time takes minutes"),
            Self::Building { seconds } => write!(f, "building the node, {seconds} s"),
            Self::Starting { nodes, seconds } => write!(f, "starting {nodes} nodes, {seconds} s"),
            Self::Open { took_ms, nodes } => {
                writeln!(f, "all shards have leaders after {took_ms} ms")?;
                nodes.iter().try_for_each(|place| writeln!(f, "  {place}"))?;
                f.write_str("any node takes any request; kill -9 one to see its shards move; Ctrl-C ends all")
            }
            Self::Moved { shard, from, to, took_ms, reason, epoch: _ } => {
                write!(f, "shard {shard}: {from} → {to} after {took_ms} ms")?;
                reason.as_ref().map_or(Ok(()), |reason| write!(f, " ({reason})"))
            }
            Self::News { text } => f.write_str(text),
            Self::Ended { node, how, again_s } => {
                write!(f, "{node} ended ({how}); it is started again in {again_s} s")
            }
            Self::RunsAgain { node } => write!(f, "{node} runs again"),
            Self::Ending => f.write_str("ending all nodes"),
            Self::Over { data } => write!(f, "ended; the data stays in {}", data.display()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, clients, admin, peers, leads, data } = self;
        let data = data.display();
        write!(
            f,
            "{node}  clients {clients}  admin {admin}  peers {peers}  leads {leads} shards  data {data}"
        )
    }
}
