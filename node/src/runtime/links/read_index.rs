//! Linearizable reads on every node: before a read is served, a leader proves that it still leads, and this node has applied
//! what was committed then. One question serves all reads that came before it was asked; those that come later wait for
//! the next one. A node on its own asks nobody.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::runtime::Failure;
use crate::runtime::mailbox::{Asker, Job};
use crate::runtime::shared::Shared;
use crate::types::{Boot, LogIndex, ShardId};

/// Without word from a leader for so long a read is refused.
const PATIENCE: Duration = Duration::from_secs(2);
/// A question that is not answered for so long is asked anew: its connection or its leader is gone.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// How far a shard is visible here.
#[derive(Debug, Default)]
pub(crate) struct Visible {
    upto: AtomicU64,
    moved: Notify,
}

impl Visible {
    /// Everything up to here is visible.
    pub(crate) fn advance(&self, upto: LogIndex) {
        self.upto.fetch_max(upto.0, Ordering::AcqRel);
        self.moved.notify_waiters();
    }

    /// How far that is.
    pub(in crate::runtime) fn upto(&self) -> LogIndex {
        LogIndex(self.upto.load(Ordering::Acquire))
    }

    /// Waits until it is.
    pub(super) async fn reach(&self, upto: LogIndex) {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            if self.upto.load(Ordering::Acquire) >= upto.0 {
                return;
            }
            moved.await;
        }
    }
}

/// Questions to leaders elsewhere.
#[derive(Debug)]
pub(crate) struct ReadIndex {
    /// Above all numbers of earlier starts: a late answer to one of their questions is not taken for another one.
    first: u64,
    shards: Mutex<BTreeMap<ShardId, Questions>>,
}

type Asked = oneshot::Sender<Option<LogIndex>>;

#[derive(Debug, Default)]
struct Questions {
    number: u64,
    /// Reads that the question under way serves, and since when it is.
    under_way: Option<(Instant, Vec<Asked>)>,
    next: Vec<Asked>,
}

impl ReadIndex {
    /// Those of one start.
    pub(super) fn new(boot: Boot) -> Self {
        Self { first: boot.0 << 32, shards: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShardId, Questions>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A read joins the next question, which is asked at once unless one is under way: then its number is given.
    fn join(&self, shard: ShardId) -> (oneshot::Receiver<Option<LogIndex>>, Option<u64>) {
        let (asked, answer) = oneshot::channel();
        let mut shards = self.lock();
        let first = Questions { number: self.first, ..Questions::default() };
        let questions = shards.entry(shard).or_insert(first);
        questions.next.push(asked);
        let stuck = |(since, _): &(Instant, Vec<Asked>)| since.elapsed() >= ANSWER_MAX;
        let free = questions.under_way.as_ref().is_none_or(stuck);
        (answer, free.then(|| questions.begin()))
    }

    /// A leader answered. The reads that came meanwhile are told to ask.
    pub(crate) fn answered(&self, shard: ShardId, number: u64, upto: Option<LogIndex>) {
        let served = {
            let mut shards = self.lock();
            let Some(questions) = shards.get_mut(&shard).filter(|questions| questions.number == number)
            else {
                return;
            };
            questions.under_way.take()
        };
        for asked in served.into_iter().flat_map(|(_, asked)| asked) {
            let _gone = asked.send(upto);
        }
        self.wake(shard);
    }

    /// Those who wait for the next question ask it themselves.
    fn wake(&self, shard: ShardId) {
        let next = self.lock().get_mut(&shard).map(|questions| std::mem::take(&mut questions.next));
        drop(next);
    }

    /// The way to a leader is another: what was asked will not be answered.
    pub(crate) fn ask_again(&self) {
        for questions in self.lock().values_mut() {
            // The number stays: an answer to an old question must not be taken for one to a new one.
            (questions.under_way, questions.next) = (None, Vec::new());
        }
    }
}

impl Questions {
    fn begin(&mut self) -> u64 {
        self.number += 1;
        self.under_way = Some((Instant::now(), std::mem::take(&mut self.next)));
        self.number
    }
}

impl Shared {
    /// Waits until whatever was committed before this call is visible here.
    pub(crate) async fn settled(&self, shard: ShardId) -> Result<(), Failure> {
        if self.cluster.get().is_none() {
            return Ok(());
        }
        // A node on its own carries no room for this in every request.
        let settled = timeout_at(Instant::now() + PATIENCE, Box::pin(self.settle(shard))).await;
        settled.unwrap_or(Err(Failure::NoLeader { shard }))
    }

    /// The same for all shards at once.
    pub(crate) async fn all_settled(&self) -> Result<(), Failure> {
        if self.cluster.get().is_none() {
            return Ok(());
        }
        let shards = self.count.shards().map(|shard| self.settled(shard));
        Box::pin(futures::future::try_join_all(shards)).await.map(drop)
    }

    /// The same for all shards of which a leader is known, as far as these answer: for looks at many shards that must not
    /// fail because one of them is not led.
    pub(crate) async fn settled_where_led(&self) {
        if self.cluster.get().is_none() {
            return;
        }
        let led = self.count.shards().filter(|shard| self.leaders.leader(*shard).is_some());
        let settled = led.map(|shard| self.settled(shard));
        drop(Box::pin(futures::future::join_all(settled)).await);
    }

    async fn settle(&self, shard: ShardId) -> Result<(), Failure> {
        let mut changes = self.leaders.changes();
        loop {
            changes.borrow_and_update();
            let upto = tokio::select! {
                upto = self.ask_leader(shard) => upto?,
                _ = changes.changed() => None,
            };
            if let Some(upto) = upto {
                self.shard(shard)?.visible.reach(upto).await;
                return Ok(());
            }
            if self.closing() {
                return Err(Failure::ShuttingDown);
            }
        }
    }

    /// Up to where this node must be; `None`: nobody proved to lead, ask again.
    async fn ask_leader(&self, shard: ShardId) -> Result<Option<LogIndex>, Failure> {
        let Some(cluster) = self.cluster.get() else { return Ok(Some(LogIndex(0))) };
        let Some(leader) = self.leaders.leader(shard) else {
            return std::future::pending().await;
        };
        if cluster.me() == Some(leader) {
            let (asked, answer) = oneshot::channel();
            let job = Job::Read { shard, asker: Asker::Here(asked) };
            self.shard(shard)?.mailbox.send(job).map_err(|_| Failure::ShuttingDown)?;
            return match answer.await {
                Ok(Ok(upto)) => Ok(Some(upto)),
                Ok(Err(_)) => Self::lost().await,
                Err(_) => Err(Failure::ShuttingDown),
            };
        }
        let (answer, number) = cluster.reads.join(shard);
        if let Some(number) = number
            && !cluster.door(leader).is_some_and(|door| door.ask_read(shard, number))
        {
            cluster.reads.answered(shard, number, None);
            return Self::lost().await;
        }
        match tokio::time::timeout(ANSWER_MAX, answer).await {
            Ok(Ok(Some(upto))) => Ok(Some(upto)),
            Ok(Ok(None)) => Self::lost().await,
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    /// Whoever was asked does not lead: somebody else will soon, or the way there comes back.
    async fn lost() -> Result<Option<LogIndex>, Failure> {
        const AGAIN: Duration = Duration::from_millis(20);
        tokio::time::sleep(AGAIN).await;
        Ok(None)
    }
}
