//! The admin port of one node, as a driver uses it: every call is a connection of its own with an end in time, and may be
//! repeated.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thalweg_node::core::failover::NodePulse;
use thalweg_node::core::replication::{SealAnswer, Standing};
use thalweg_node::runtime::Order;
use thalweg_node::types::{
    Boot, ClusterId, ConfigVersion, Epoch, RecordEpoch, ReplicaId, Roster, ShardId, VolumeIncarnation,
};
use tokio::time::timeout;

use super::words::{
    AnswersWords, BatchWords, DrainWords, OrderWords, RosterWords, SealWords, ShardsWords, StatusWords,
    configs_words, lags_from, meant_words, members_words, replies_from, standing_words, status_from,
};
use crate::client::{Answer, Connection, Failure, Request};

/// A question that takes longer counts as not answered; within the half second in which a node is asked once.
const QUESTION_MAX: Duration = Duration::from_millis(450);
/// An order may wait for a slow disk.
const ORDER_MAX: Duration = Duration::from_secs(5);
/// Words of an answer that go into an error.
const WORDS_MAX: usize = 300;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// It did not answer in time.
    #[error("no answer in time")]
    Late,
    /// It cannot be reached, or went away.
    #[error(transparent)]
    Lost(#[from] Failure),
    /// It refuses.
    #[error("status {status}: {words}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it says.
        words: String,
    },
    /// It says something that is not understood.
    #[error("not understood: {0:#}")]
    Strange(anyhow::Error),
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The cluster of its data.
    pub cluster: ClusterId,
    /// What it is called.
    pub node: String,
    /// Its volume.
    pub incarnation: VolumeIncarnation,
    /// This start.
    pub boot: Boot,
    /// Its id, once it was told.
    pub replica: Option<ReplicaId>,
    /// Nothing was ever promised or written there.
    pub is_new: bool,
    /// The members that it knows.
    pub roster: Roster,
    /// Its shards, once it was told who it is.
    pub pulse: Option<NodePulse>,
}

/// For whom asks are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meant {
    /// A member of this cluster.
    pub cluster: ClusterId,
    /// Under this id; nothing while it was not told who it is.
    pub replica: Option<ReplicaId>,
    /// With this volume.
    pub incarnation: VolumeIncarnation,
}

/// The answer to one ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is sealed.
    Sealed(Box<SealAnswer>),
    /// It leads.
    Leads {
        /// In this epoch.
        epoch: Epoch,
        /// It takes writes.
        open: bool,
    },
    /// It goes by these voters.
    Configured(ConfigVersion),
    /// It did not do it, and says why.
    Refused(String),
}

impl Status {
    /// What is said to whoever said this.
    #[must_use]
    pub fn meant(&self) -> Meant {
        Meant { cluster: self.cluster, replica: self.replica, incarnation: self.incarnation }
    }
}

/// Where a node's admin port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admin(pub SocketAddr);

impl Admin {
    /// Who it is and how its shards stand.
    pub async fn status(self) -> Result<Status, AdminError> {
        let words: StatusWords = self.get("/admin/status").await?;
        status_from(words).map_err(AdminError::Strange)
    }

    /// For each shard that it leads: by how many entries each follower is behind.
    pub async fn lags(self) -> Result<BTreeMap<ShardId, BTreeMap<ReplicaId, u64>>, AdminError> {
        let words: ShardsWords = self.get("/admin/shards").await?;
        Ok(lags_from(words))
    }

    /// Tells it who is in the cluster.
    pub async fn members(self, meant: &Meant, roster: &Roster) -> Result<(), AdminError> {
        let words = RosterWords { to: meant_words(meant), members: members_words(roster) };
        self.post("/admin/members", &words).await.map(drop)
    }

    /// Seals shards of it, each for an epoch.
    pub async fn seal(
        self,
        meant: &Meant,
        asks: &[(ShardId, RecordEpoch)],
    ) -> Result<Vec<Reply>, AdminError> {
        let words = |(shard, epoch): &(ShardId, RecordEpoch)| SealWords { shard: shard.0, epoch: epoch.0 };
        let shards = asks.iter().map(|(shard, _)| shard.0).collect();
        self.ask("/admin/seal", meant, asks.iter().map(words).collect(), shards).await
    }

    /// Orders it to lead shards, if each is still as expected.
    pub async fn lead(
        self,
        meant: &Meant,
        asks: &[(ShardId, Order, Standing)],
    ) -> Result<Vec<Reply>, AdminError> {
        let words = asks.iter().map(|(shard, order, expected)| order_words(*shard, order, Some(*expected)));
        let shards = asks.iter().map(|(shard, ..)| shard.0).collect();
        self.ask("/admin/lead", meant, words.collect(), shards).await
    }

    /// Tells it, as the leader of shards, who votes and who learns.
    pub async fn configure(self, meant: &Meant, asks: &[(ShardId, Order)]) -> Result<Vec<Reply>, AdminError> {
        let words = asks.iter().map(|(shard, order)| order_words(*shard, order, None));
        let shards = asks.iter().map(|(shard, _)| shard.0).collect();
        self.ask("/admin/config", meant, words.collect(), shards).await
    }

    /// Wants it to hand over what it leads, or no longer does.
    pub async fn drain(self, meant: &Meant, draining: bool) -> Result<(), AdminError> {
        let words = DrainWords { to: meant_words(meant), draining };
        self.post("/admin/drain", &words).await.map(drop)
    }

    async fn ask<A: Serialize>(
        self,
        path: &str,
        meant: &Meant,
        asks: Vec<A>,
        shards: Vec<u16>,
    ) -> Result<Vec<Reply>, AdminError> {
        let batch = BatchWords { to: meant_words(meant), asks };
        let words: AnswersWords = understood(&self.post(path, &batch).await?)?;
        replies_from(words, &shards).map_err(AdminError::Strange)
    }

    async fn get<W: DeserializeOwned>(self, path: &str) -> Result<W, AdminError> {
        understood(&self.call(&Request::draft("GET", path).end(), QUESTION_MAX).await?)
    }

    async fn post(self, path: &str, words: &impl Serialize) -> Result<Answer, AdminError> {
        let body = serde_json::to_vec(words).map_err(|error| AdminError::Strange(error.into()))?;
        let request = Request::draft("POST", path).header("Content-Type", "application/json").body(&body);
        self.call(&request, ORDER_MAX).await
    }

    async fn call(self, request: &Request, longest: Duration) -> Result<Answer, AdminError> {
        let exchange = async { Connection::open(self.0).await?.exchange(request).await };
        let answer = timeout(longest, exchange).await.map_err(|_| AdminError::Late)??;
        if (200..300).contains(&answer.head.status) {
            return Ok(answer);
        }
        let words = String::from_utf8_lossy(&answer.body).chars().take(WORDS_MAX).collect();
        Err(AdminError::Refused { status: answer.head.status, words })
    }
}

fn understood<W: DeserializeOwned>(answer: &Answer) -> Result<W, AdminError> {
    serde_json::from_slice(&answer.body).map_err(|error| AdminError::Strange(error.into()))
}

fn order_words(shard: ShardId, order: &Order, expected: Option<Standing>) -> OrderWords {
    OrderWords {
        shard: shard.0,
        epoch: order.epoch.0,
        configs: configs_words(&order.configs),
        learners: order.learners.iter().map(|id| id.0).collect(),
        expected: expected.map(standing_words),
    }
}
