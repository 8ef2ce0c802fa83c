//! What one shard's leader asks of another's: pins of forks, links of subscriptions, the cluster's key, events of wakes. A
//! command for a shard that is led here goes to its lane, another one over the link to its leader.
//!
//! Invariants: what is answered is visible on this node before the caller hears of it, so whoever goes on with it finds it
//! here; a failure says "refused" only if nothing that was sent may still happen; what is under way is bounded.

mod answered;
mod asked;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

pub(in crate::runtime) use answered::answer_bytes;
pub(super) use asked::{read_errand, touched_bytes};

use super::Cluster;
use crate::core::Command;
use crate::runtime::Failure;
use crate::runtime::mailbox::{Answer, Asked, Job, Waiter, answer};
use crate::runtime::shared::Shared;
use crate::types::{Boot, LogIndex, ReplicaId, ShardId};
use answered::read_answer;
use asked::errand_bytes;

/// Without an answer for so long an errand has failed: a leader that is lost has been replaced by then, if all goes well.
const PATIENCE: Duration = Duration::from_secs(4);
/// Without an answer for so long it is asked again, if that does no harm.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// A leader that does not know yet that it leads, or cannot be reached, is asked again after this.
const AGAIN: Duration = Duration::from_millis(20);
/// Errands under way, and their bytes: many more than all subscriptions that are spread at once.
const UNDER_WAY_MAX: usize = 4096;
const UNDER_WAY_BYTES_MAX: usize = 8 << 20;
/// The number of an errand for whose answer nobody waits.
pub(in crate::runtime) const UNHEARD: u64 = 0;

/// The errands of this node to others.
#[derive(Debug)]
pub(crate) struct Errands {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// No number is used twice, in no start: a late answer is never taken for another one.
    last: u64,
    under_way: HashMap<u64, UnderWay>,
    bytes: usize,
    ended: bool,
}

#[derive(Debug)]
struct UnderWay {
    leader: ReplicaId,
    bytes: usize,
    told: oneshot::Sender<(Answer, LogIndex)>,
}

/// One errand; forgotten when it is dropped.
struct Ticket<'a> {
    errands: &'a Errands,
    number: u64,
    told: oneshot::Receiver<(Answer, LogIndex)>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        drop(self.errands.lock().take(self.number));
    }
}

impl Inner {
    fn take(&mut self, number: u64) -> Option<UnderWay> {
        let taken = self.under_way.remove(&number)?;
        self.bytes -= taken.bytes;
        Some(taken)
    }
}

impl Errands {
    /// Those of one start.
    pub(super) fn new(boot: Boot) -> Self {
        let last = boot.0 << 32;
        Self { inner: Mutex::new(Inner { last, under_way: HashMap::new(), bytes: 0, ended: false }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, leader: ReplicaId, bytes: usize) -> Result<Ticket<'_>, Failure> {
        let mut inner = self.lock();
        if inner.ended {
            return Err(Failure::ShuttingDown);
        }
        let has_room = inner.bytes + bytes <= UNDER_WAY_BYTES_MAX || inner.under_way.is_empty();
        if !has_room || inner.under_way.len() >= UNDER_WAY_MAX {
            return Err(Failure::Overloaded);
        }
        let (sender, told) = oneshot::channel();
        inner.last += 1;
        inner.bytes += bytes;
        let number = inner.last;
        inner.under_way.insert(number, UnderWay { leader, bytes, told: sender });
        Ok(Ticket { errands: self, number, told })
    }

    /// A leader answered; what cannot be read is as good as no answer.
    pub(super) fn answered(&self, from: ReplicaId, number: u64, raw: &Bytes) {
        let mut inner = self.lock();
        if inner.under_way.get(&number).is_none_or(|errand| errand.leader != from) {
            return;
        }
        let Some(errand) = inner.take(number) else { return };
        drop(inner);
        match read_answer(raw) {
            Ok(answer) => drop(errand.told.send(answer)),
            Err(error) => {
                tracing::error!(%error, peer = from.0, "the answer of a leader cannot be read");
            }
        }
    }

    /// The way to a leader is another: what was asked on the old one may have happened, and is not answered.
    pub(super) fn lost(&self, leader: ReplicaId) {
        let mut inner = self.lock();
        let lost = inner.under_way.iter().filter(|(_, errand)| errand.leader == leader);
        let numbers: Vec<u64> = lost.map(|(number, _)| *number).collect();
        numbers.into_iter().for_each(|number| drop(inner.take(number)));
    }

    /// Nobody waits any more.
    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        inner.under_way.clear();
        inner.bytes = 0;
    }
}

/// Reads an errand, and says it again: `None` for bytes that are none. For whoever checks that any bytes are read safely.
#[must_use]
pub fn said_again(raw: &Bytes) -> Option<Bytes> {
    match read_errand(raw).ok()? {
        Asked::Command(command) => errand_bytes(&command),
        Asked::Touched(streams) => Some(touched_bytes(&streams)),
    }
}

/// Whether a command may be decided twice without doing more than once: all errands but events.
const fn may_be_repeated(command: &Command) -> bool {
    matches!(command, Command::Pin(_) | Command::Unpin { .. } | Command::Link(_) | Command::Secret { .. })
}

impl Shared {
    /// Has a command decided wherever its shard is led.
    pub(crate) async fn errand(&self, shard: ShardId, command: Command) -> Answer {
        let Some(cluster) = self.cluster.get() else {
            return answer(self.post(shard, command)).await;
        };
        let deadline = Instant::now() + PATIENCE;
        let repeated = may_be_repeated(&command);
        let bytes = errand_bytes(&command);
        let (mut changes, mut unknown) = (self.leaders.changes(), false);
        loop {
            changes.mark_unchanged();
            let leader = self.leaders.leader(shard);
            let answer = match (leader, &bytes) {
                (None, _) => Err(Failure::NoLeader { shard }),
                (Some(leader), Some(bytes)) if cluster.me() != Some(leader) => {
                    self.ask_elsewhere(cluster, (leader, shard), bytes.clone(), deadline).await
                }
                _ => answer(self.post(shard, command.clone())).await,
            };
            let failure = match answer {
                Ok(answered) => return Ok(answered),
                Err(failure) => failure,
            };
            unknown |= !failure.refused();
            let again = match failure {
                Failure::NotLeader { .. } | Failure::NoLeader { .. } => true,
                Failure::LeaderLost => repeated,
                _ => false,
            };
            let pause = if leader.is_some() { AGAIN } else { PATIENCE };
            let until = deadline.min(Instant::now() + pause);
            // Whether somebody else leads now or the time has come: look again.
            if again && !self.closing() {
                let _either = timeout_at(until, changes.changed()).await;
            }
            if !again || self.closing() || Instant::now() >= deadline {
                return Err(if unknown && failure.refused() { Failure::LeaderLost } else { failure });
            }
        }
    }

    /// Asks a leader, and waits until what it answers is visible here.
    async fn ask_elsewhere(
        &self,
        cluster: &Cluster,
        (leader, shard): (ReplicaId, ShardId),
        bytes: Bytes,
        deadline: Instant,
    ) -> Answer {
        let deadline = deadline.min(Instant::now() + ANSWER_MAX);
        let mut ticket = cluster.errands.begin(leader, bytes.len())?;
        let changes = self.leaders.changes();
        let door = cluster.door(leader);
        if !door.is_some_and(|door| door.ask_errand(shard, ticket.number, bytes)) {
            return Err(Failure::NoLeader { shard });
        }
        let told = tokio::select! {
            biased;
            told = timeout_at(deadline, &mut ticket.told) => told,
            () = self.led_by_another(leader, shard, changes) => return Err(Failure::LeaderLost),
        };
        let Ok(Ok((answer, visible))) = told else { return Err(Failure::LeaderLost) };
        if answer.is_ok()
            && let Some(open) = self.open_shard(shard)
        {
            // A replica that lags too far shows it later: the answer stands all the same.
            let _shown = timeout_at(deadline, open.visible.reach(visible)).await;
        }
        answer
    }

    async fn led_by_another(&self, leader: ReplicaId, shard: ShardId, mut changes: watch::Receiver<()>) {
        while self.leaders.leader(shard) == Some(leader) {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Hands over a command for whose answer nobody waits, if anybody leads its shard; what is lost on the way is found
    /// by the sweeper.
    pub(crate) fn order(&self, shard: ShardId, command: Command) {
        let elsewhere = self.cluster.get().and_then(|cluster| {
            let leader = self.leaders.leader(shard).filter(|leader| cluster.me() != Some(*leader))?;
            Some((cluster, leader))
        });
        match (elsewhere, self.open_shard(shard)) {
            (Some((cluster, leader)), _) => {
                if let (Some(bytes), Some(door)) = (errand_bytes(&command), cluster.door(leader)) {
                    let _lost = door.ask_errand(shard, UNHEARD, bytes);
                }
            }
            (None, Some(open)) => {
                let job = Job::Command { shard, command, waiter: Waiter::Nobody };
                let _ended = open.mailbox.send(job);
            }
            (None, None) => {}
        }
    }

    /// Puts a command into the mailbox of its owner on this node.
    pub(in crate::runtime) fn post(
        &self,
        shard: ShardId,
        command: Command,
    ) -> Result<oneshot::Receiver<Answer>, Failure> {
        if self.closing() {
            return Err(Failure::ShuttingDown);
        }
        let owner = self.shard(shard)?;
        let (answer, answered) = oneshot::channel();
        let job = Job::Command { shard, command, waiter: Waiter::Here(answer) };
        owner.mailbox.send(job).map_err(|_| Failure::ShuttingDown)?;
        Ok(answered)
    }
}

#[cfg(test)]
mod tests;
