//! What whoever elects may ask of a node and order it to do. Every order carries the epoch for which it is meant, and
//! may be repeated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::mailbox::{Job, Order, Question};
use super::seeding::SeedingReport;
use super::shared::Shared;
use super::vault::Vault;
use crate::core::failover::NodePulse;
use crate::core::replication::{Answer, Standing};
use crate::types::{
    Boot, ClusterId, Configs, Epoch, LogIndex, RecordEpoch, ReplicaId, Roster, ShardId, VolumeIncarnation,
};
use crate::wire::Host;

/// A handle for whoever elects; cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    pub(super) shared: Arc<Shared>,
    pub(super) vault: Arc<Vault>,
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
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
    /// Nothing was ever promised or written here.
    pub is_new: bool,
    /// The members that it knows.
    pub roster: Roster,
}

/// How a shard stands on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardReport {
    /// Which.
    pub shard: ShardId,
    /// `leading`, `opening`, `following`, `waiting` or `halted`, and why.
    pub role: ShardRole,
    /// Nothing below counts for it any more.
    pub promised: Epoch,
    /// Whom it takes for the leader.
    pub leader: Option<ReplicaId>,
    /// The last entry.
    pub end: LogIndex,
    /// The last entry on the disk.
    pub synced: LogIndex,
    /// The last entry that is committed, as far as is known here.
    pub committed: LogIndex,
    /// The last entry in the tables.
    pub applied: LogIndex,
    /// The sets of voters that count.
    pub configs: Option<Configs>,
    /// As a leader: how far each follower is.
    pub followers: BTreeMap<ReplicaId, FollowerReport>,
    /// As a follower that lacks what the leader's log no longer has: how far its snapshot is fetched.
    pub seeding: Option<SeedingReport>,
}

/// What a replica does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShardRole {
    /// It leads and takes writes.
    Leading,
    /// It leads and does not take writes yet.
    Opening,
    /// It leads, hears of too few voters, and takes no writes until it does.
    Suspended,
    /// It follows.
    Following,
    /// It follows nobody.
    Waiting,
    /// It stopped by itself.
    Halted(String),
    /// It is not served: its data is damaged.
    Damaged(String),
}

/// How far a follower is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowerReport {
    /// It gets entries.
    pub is_shipped: bool,
    /// It holds the log up to here on its disk.
    pub held: LogIndex,
    /// Entries that it lacks.
    pub lag_entries: u64,
    /// Bytes of the lane that it lacks, at most.
    pub lag_bytes: u64,
    /// For how long it has lacked the oldest of them.
    pub lag: Duration,
    /// For how long nothing was heard of it; `None`: never in this epoch.
    pub silent: Option<Duration>,
    /// How far a snapshot was sent to it, if it is being seeded.
    pub seeding: Option<SeedingReport>,
}

/// Why a question came to no replica.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It has no such shard, or the shard is damaged.
    #[error("shard {0} is not served here")]
    NoShard(ShardId),
    /// It was not told who it is.
    #[error("this node was not told yet who is in the cluster")]
    NotAMember,
    /// It ends.
    #[error("the node is shutting down")]
    Ending,
}

/// Why a roster is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// This volume is not in it.
    #[error("the roster does not have this volume ({0})")]
    NotMe(VolumeIncarnation),
    /// It is a member under another id.
    #[error("this volume is {known} for good, not {told}")]
    OtherId {
        /// The id that it has.
        known: ReplicaId,
        /// The id in the roster.
        told: ReplicaId,
    },
    /// An id means another volume than before.
    #[error("{0} is another volume for good; a volume that takes its place gets an id of its own")]
    OtherVolume(ReplicaId),
    /// The node is on its own.
    #[error("this node is on its own; start it with --cluster-id to make it a member")]
    Alone,
    /// It cannot be remembered.
    #[error("the superblock cannot be written: {0}")]
    Disk(String),
}

impl Control {
    /// Who this node is.
    #[must_use]
    pub fn node(&self) -> NodeReport {
        let roster =
            self.shared.cluster.get().map(|cluster| Roster::clone(&cluster.roster())).unwrap_or_default();
        let replica = self.shared.cluster.get().and_then(|cluster| cluster.me());
        // A volume that was restored has promised nothing, and holds what others must not begin without.
        let holds_nothing = self.shared.holds_nothing();
        self.vault.look(|superblock| NodeReport {
            cluster: superblock.cluster,
            node: superblock.node.clone(),
            incarnation: superblock.incarnation,
            boot: superblock.boot,
            replica,
            is_new: superblock.shards.values().all(|memory| memory.promised == Epoch::default())
                && holds_nothing,
            roster,
        })
    }

    /// What an elector wants to know, twice a second.
    pub async fn pulse(&self) -> Result<NodePulse, Unanswered> {
        let replica = self.shared.cluster.get().ok_or(Unanswered::NotAMember)?.me();
        let replica = replica.ok_or(Unanswered::NotAMember)?;
        let shards = self.shared.looks.all(self.shared.clock.elapsed());
        Ok(NodePulse {
            replica,
            boot: self.vault.look(|superblock| superblock.boot),
            draining: self.shared.draining.load(Ordering::Relaxed) || self.shared.closing(),
            sick: self.shared.looks.hang(self.shared.clock.elapsed()),
            has_room: self.shared.looks.have_room(),
            shards: shards.into_iter().map(|(report, pulse)| (report.shard, pulse)).collect(),
        })
    }

    /// How every shard stands.
    pub async fn shards(&self) -> Vec<ShardReport> {
        let mut known: BTreeMap<ShardId, ShardReport> = BTreeMap::new();
        for (report, _) in self.shared.looks.all(self.shared.clock.elapsed()) {
            known.insert(report.shard, report);
        }
        let refusing = self.shared.refusing();
        for (shard, failure) in refusing {
            let report = known.entry(shard).or_insert_with(|| ShardReport::unknown(shard));
            if !matches!(report.role, ShardRole::Halted(_)) {
                report.role = ShardRole::Damaged(failure.to_string());
            }
        }
        known.into_values().collect()
    }

    /// Told who is in the cluster; remembered before this returns.
    pub async fn join(&self, roster: Roster) -> Result<(), JoinError> {
        let cluster = Arc::clone(self.shared.cluster.get().ok_or(JoinError::Alone)?);
        // It writes the superblock.
        let joined = tokio::task::spawn_blocking(move || cluster.join(roster)).await;
        joined.unwrap_or_else(|error| Err(JoinError::Disk(error.to_string())))
    }

    /// Seals a replica.
    pub async fn seal(&self, shard: ShardId, epoch: RecordEpoch) -> Result<Answer, Unanswered> {
        self.ask(shard, Question::Seal(epoch)).await
    }

    /// Orders a replica to lead, if it is still as `expected`.
    pub async fn lead(&self, shard: ShardId, order: Order, expected: Standing) -> Result<Answer, Unanswered> {
        self.ask(shard, Question::Lead(order, expected)).await
    }

    /// Tells a leader who votes.
    pub async fn configure(&self, shard: ShardId, order: Order) -> Result<Answer, Unanswered> {
        self.ask(shard, Question::Configure(order)).await
    }

    /// Orders a leader to let another voter hold everything: new writes wait meanwhile, and until another epoch begins or
    /// patience ends.
    pub async fn hand_over(
        &self,
        shard: ShardId,
        epoch: RecordEpoch,
        successor: ReplicaId,
        patience: Duration,
    ) -> Result<Answer, Unanswered> {
        self.ask(shard, Question::HandOver { epoch, successor, patience }).await
    }

    async fn ask(&self, shard: ShardId, question: Question) -> Result<Answer, Unanswered> {
        let cluster = self.shared.cluster.get().ok_or(Unanswered::NotAMember)?;
        cluster.me().ok_or(Unanswered::NotAMember)?;
        let open = self.shared.open_shard(shard).ok_or(Unanswered::NoShard(shard))?;
        let (sender, answer) = oneshot::channel();
        let job = Job::Ask { shard, question: Box::new(question), answer: sender };
        open.mailbox.send(job).map_err(|_| Unanswered::Ending)?;
        answer.await.map_err(|_| Unanswered::NoShard(shard))
    }

    /// Wants to hand over what it leads, or no longer does.
    pub fn drain(&self, draining: bool) {
        self.shared.draining.store(draining, Ordering::Relaxed);
    }

    /// Resolves when somebody wants this node to end.
    pub async fn end_wanted(&self) {
        self.shared.end_wanted.notified().await;
    }

    /// Resolves when this node should be stopped and started again at once, to go on as another volume: its disk was put back.
    pub async fn anew_wanted(&self) {
        match self.shared.cluster.get() {
            Some(cluster) => cluster.anew_wanted().await,
            None => std::future::pending().await,
        }
    }

    /// Ends the node in order, as SIGTERM does.
    pub fn shut_down(&self) {
        self.shared.end_wanted.notify_one();
    }
}

impl ShardReport {
    /// Of a shard of which nothing is known.
    fn unknown(shard: ShardId) -> Self {
        Self {
            shard,
            role: ShardRole::Waiting,
            promised: Epoch::default(),
            leader: None,
            end: LogIndex(0),
            synced: LogIndex(0),
            committed: LogIndex(0),
            applied: LogIndex(0),
            configs: None,
            followers: BTreeMap::new(),
            seeding: None,
        }
    }
}
