//! What the admin port needs of a node.

use std::time::Duration;

use futures::future::BoxFuture;

use crate::core::failover::NodePulse;
use crate::core::replication::{Answer, Standing};
use crate::runtime::{Control, JoinError, NodeReport, Order, ShardReport, SnapshotReport, Unanswered};
use crate::types::{RecordEpoch, ReplicaId, Roster, ShardId};

/// What comes later.
pub type Pending<'a, T> = BoxFuture<'a, T>;

/// A node that can be asked and ordered; [`Control`] says what each call means. What is under way may be dropped: it may
/// happen all the same.
pub trait Governed: Send + Sync + 'static {
    /// Who it is.
    fn node(&self) -> NodeReport;
    /// How it does.
    fn pulse(&self) -> Pending<'_, Result<NodePulse, Unanswered>>;
    /// How every shard stands.
    fn shards(&self) -> Pending<'_, Vec<ShardReport>>;
    /// Tells it who is in the cluster.
    fn join(&self, roster: Roster) -> Pending<'_, Result<(), JoinError>>;
    /// Seals a replica.
    fn seal(&self, shard: ShardId, epoch: RecordEpoch) -> Pending<'_, Result<Answer, Unanswered>>;
    /// Orders a replica to lead.
    fn lead(
        &self,
        shard: ShardId,
        order: Order,
        expected: Standing,
    ) -> Pending<'_, Result<Answer, Unanswered>>;
    /// Tells a leader who votes.
    fn configure(&self, shard: ShardId, order: Order) -> Pending<'_, Result<Answer, Unanswered>>;
    /// Orders a leader to let another voter hold everything.
    fn hand_over(
        &self,
        shard: ShardId,
        epoch: RecordEpoch,
        successor: ReplicaId,
        patience: Duration,
    ) -> Pending<'_, Result<Answer, Unanswered>>;
    /// How the snapshots of every shard stand.
    fn snapshots(&self) -> Vec<SnapshotReport>;
    /// Orders snapshots of these shards, of all if there are none.
    fn order_snapshots(&self, shards: &[ShardId]);
    /// Wants to hand over what it leads, or no longer does.
    fn drain(&self, draining: bool);
    /// Ends the node in order.
    fn shut_down(&self);
}

impl Governed for Control {
    fn node(&self) -> NodeReport {
        Self::node(self)
    }

    fn pulse(&self) -> Pending<'_, Result<NodePulse, Unanswered>> {
        Box::pin(Self::pulse(self))
    }

    fn shards(&self) -> Pending<'_, Vec<ShardReport>> {
        Box::pin(Self::shards(self))
    }

    fn join(&self, roster: Roster) -> Pending<'_, Result<(), JoinError>> {
        Box::pin(Self::join(self, roster))
    }

    fn seal(&self, shard: ShardId, epoch: RecordEpoch) -> Pending<'_, Result<Answer, Unanswered>> {
        Box::pin(Self::seal(self, shard, epoch))
    }

    fn lead(
        &self,
        shard: ShardId,
        order: Order,
        expected: Standing,
    ) -> Pending<'_, Result<Answer, Unanswered>> {
        Box::pin(Self::lead(self, shard, order, expected))
    }

    fn configure(&self, shard: ShardId, order: Order) -> Pending<'_, Result<Answer, Unanswered>> {
        Box::pin(Self::configure(self, shard, order))
    }

    fn hand_over(
        &self,
        shard: ShardId,
        epoch: RecordEpoch,
        successor: ReplicaId,
        patience: Duration,
    ) -> Pending<'_, Result<Answer, Unanswered>> {
        Box::pin(Self::hand_over(self, shard, epoch, successor, patience))
    }

    fn snapshots(&self) -> Vec<SnapshotReport> {
        Self::snapshots(self)
    }

    fn order_snapshots(&self, shards: &[ShardId]) {
        Self::order_snapshots(self, shards);
    }

    fn drain(&self, draining: bool) {
        Self::drain(self, draining);
    }

    fn shut_down(&self) {
        Self::shut_down(self);
    }
}
