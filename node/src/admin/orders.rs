//! Orders to many shards at once. Invariants: nothing is asked before it is known that this node is meant; every ask of a
//! batch has an outcome in its place when patience ends.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::governed::{Governed, Pending};
use super::words::{
    Addressee, Answered, Answers, Batch, ConfigAsk, HandOverAsk, LeadAsk, Outcome, SealAsk, Trouble,
};
use crate::core::replication::Answer;
use crate::runtime::Unanswered;
use crate::types::ShardId;

/// Most asks of a batch: as many as a cluster may have shards.
const ASKS_MAX: usize = 256;
/// How long any call waits for the node: whoever elects repeats a question sooner than that.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// One ask of a batch.
pub(super) trait Ask: Send + 'static {
    fn shard(&self) -> ShardId;
    fn put(self, node: &dyn Governed) -> Pending<'_, Result<Answer, Unanswered>>;
}

impl Ask for SealAsk {
    fn shard(&self) -> ShardId {
        self.shard
    }

    fn put(self, node: &dyn Governed) -> Pending<'_, Result<Answer, Unanswered>> {
        node.seal(self.shard, self.epoch)
    }
}

impl Ask for LeadAsk {
    fn shard(&self) -> ShardId {
        self.shard
    }

    fn put(self, node: &dyn Governed) -> Pending<'_, Result<Answer, Unanswered>> {
        let (shard, expected) = (self.shard, self.expected.into());
        node.lead(shard, self.into(), expected)
    }
}

impl Ask for ConfigAsk {
    fn shard(&self) -> ShardId {
        self.shard
    }

    fn put(self, node: &dyn Governed) -> Pending<'_, Result<Answer, Unanswered>> {
        let shard = self.shard;
        node.configure(shard, self.into())
    }
}

impl Ask for HandOverAsk {
    fn shard(&self) -> ShardId {
        self.shard
    }

    fn put(self, node: &dyn Governed) -> Pending<'_, Result<Answer, Unanswered>> {
        let Self { shard, epoch, successor, patience_ms } = self;
        node.hand_over(shard, epoch, successor, Duration::from_millis(patience_ms))
    }
}

/// Puts all asks of a batch at once, and gives what became of each, in their order.
pub(super) async fn put<A: Ask>(
    node: &dyn Governed,
    batch: Batch<A>,
    patience: Duration,
) -> Result<Answers, Trouble> {
    check(node, &batch.to)?;
    let count = batch.asks.len();
    if count > ASKS_MAX {
        let detail = format!("at most {ASKS_MAX} are taken, these are {count}");
        return Err(Trouble::refused(400, "too_many_asks", "Too many asks at once", detail));
    }
    let deadline = Instant::now() + patience;
    let asks = batch.asks.into_iter().map(|ask| async move {
        let shard = ask.shard();
        let answer = timeout_at(deadline, ask.put(node)).await;
        Answered { shard, outcome: answer.map_or_else(|_| Outcome::late(), Outcome::from) }
    });
    Ok(Answers { answers: join_all(asks).await })
}

/// Refuses what is meant for somebody else.
pub(super) fn check(node: &dyn Governed, meant: &Addressee) -> Result<(), Trouble> {
    let found = here(node);
    if *meant == found { Ok(()) } else { Err(mistaken(found)) }
}

/// The same for the news of who is in the cluster, which tells a node its id.
pub(super) fn check_news(node: &dyn Governed, meant: &Addressee) -> Result<(), Trouble> {
    let found = here(node);
    let replica = found.replica.or(meant.replica);
    if *meant == (Addressee { replica, ..found }) { Ok(()) } else { Err(mistaken(found)) }
}

fn here(node: &dyn Governed) -> Addressee {
    let report = node.node();
    Addressee { cluster: report.cluster, replica: report.replica, incarnation: report.incarnation }
}

fn mistaken(found: Addressee) -> Trouble {
    let id = found.replica.map_or_else(|| "a node without an id".to_owned(), |id| id.to_string());
    let detail = format!(
        "this is {id} on volume {} of cluster {}; ask for its status, and look at the record again",
        found.incarnation, found.cluster
    );
    Trouble::refused(409, "another_node", "Another node is meant", detail).found(found)
}
