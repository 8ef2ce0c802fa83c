//! The door of a lane's owner: many tasks put jobs in, one thread takes them all at once.
//!
//! Bounded from outside: a request holds byte permits and a connection, each of which has a budget. While the owner syncs,
//! jobs gather here; that is the group of the next commit.

mod gate;

pub(super) use gate::{Gate, Hold};

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Failure;
use crate::core::replication::{self, History, Image, Message, Standing};
use crate::core::{Command, Reply};
use crate::store::tables::Unreplaced;
use crate::types::{
    Boot, Configs, Epoch, LanePosition, LogIndex, Parent, RecordEpoch, ReplicaId, ShardId, StreamId,
};
use crate::wire::{Door, Port};

/// What a command came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    /// The source to unpin now.
    pub(crate) released: Option<Parent>,
}

/// The answer to a command.
pub(crate) type Answer = Result<Answered, Failure>;

/// Who waits for the answer to a command.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// Nobody; what the command releases goes on all the same.
    Nobody,
    /// A request of this node.
    Here(oneshot::Sender<Answer>),
    /// Another node, which leads another shard.
    Peer {
        /// Which.
        from: ReplicaId,
        /// Tells its errands apart.
        number: u64,
    },
}

/// Who waits for proof that this replica leads.
#[derive(Debug)]
pub(crate) enum Asker {
    /// A request of this node.
    Here(oneshot::Sender<Result<LogIndex, Failure>>),
    /// Those of another node.
    Peer {
        /// Which.
        from: ReplicaId,
        /// Tells its questions apart.
        number: u64,
    },
    /// A decided answer that changes nothing.
    Answer(Waiting),
}

/// A decided answer.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// What it rests on.
    pub(crate) basis: LogIndex,
    pub(crate) waiter: Waiter,
    pub(crate) answer: Answer,
}

/// The order to lead, or the news of who votes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The epoch of the record in which it leads.
    pub epoch: RecordEpoch,
    /// Who votes.
    pub configs: Configs,
    /// Who gets the log without voting.
    pub learners: Vec<ReplicaId>,
}

/// What an elector asks of a replica.
#[derive(Debug)]
pub(crate) enum Question {
    /// Promise to follow nobody below this epoch, and say what is there.
    Seal(RecordEpoch),
    /// Lead, if it is still as expected.
    Lead(Order, Standing),
    /// Go by these voters.
    Configure(Order),
    /// Let another voter hold everything.
    HandOver {
        /// The epoch that it leads.
        epoch: RecordEpoch,
        /// Who is to lead next.
        successor: ReplicaId,
        /// How long new writes may wait.
        patience: Duration,
    },
}

/// What a node asks of a shard's leader.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    /// To decide.
    Command(Command),
    /// To remember that these streams were read just now.
    Touched(Vec<StreamId>),
}

/// Tables that took the place of a shard's own: a leader's snapshot, or empty ones.
#[derive(Debug, Default)]
pub(crate) struct Installed {
    /// The shape of the log that they stand for.
    pub(crate) history: History,
    /// The sets of voters in it.
    pub(crate) voters: Option<Configs>,
    /// From here on the log has what tables that were set aside lack.
    pub(crate) left_out: Option<LanePosition>,
}

/// What the owner of a lane is asked to do.
#[derive(Debug)]
pub(crate) enum Job {
    /// A message of another replica.
    Heard {
        from: ReplicaId,
        shard: ShardId,
        message: Box<Message>,
        /// Its place among what may wait; free again once it is dropped.
        hold: Hold,
    },
    /// A connection to a follower is there.
    Dialled {
        peer: ReplicaId,
        port: Box<Port>,
    },
    /// A connection from a leader is there.
    Accepted {
        peer: ReplicaId,
        door: Door,
    },
    /// Reads wait for proof that this replica leads.
    Read {
        shard: ShardId,
        asker: Asker,
    },
    /// An elector asks.
    Ask {
        shard: ShardId,
        question: Box<Question>,
        answer: oneshot::Sender<replication::Answer>,
    },
    /// The node was told who it is.
    Join(ReplicaId),
    /// Another member remembers this start.
    Vouched,
    /// This volume is an older copy of itself: others have met this start, of which it knows nothing.
    PutBack(Boot),
    /// Decide, make durable, answer.
    Command {
        shard: ShardId,
        command: Command,
        waiter: Waiter,
    },
    /// A node asks for something that the leader of this shard decides.
    Errand {
        from: ReplicaId,
        shard: ShardId,
        number: u64,
        asked: Box<Asked>,
        hold: Hold,
    },
    /// The log of a shard no longer has what a follower lacks.
    Lacks {
        peer: ReplicaId,
        shard: ShardId,
        epoch: Epoch,
    },
    /// An image is here as a whole, or was not fetched.
    Fetched {
        shard: ShardId,
        image: Box<Image>,
    },
    Unfetched {
        shard: ShardId,
    },
    /// It is in the place of the shard's tables, or not.
    Installed {
        shard: ShardId,
        outcome: Result<Box<Installed>, Unreplaced>,
    },
    /// The tables of a shard are damaged, and the others do without this replica: it begins with nothing.
    GiveUp {
        shard: ShardId,
    },
    /// The tables of a shard hold everything up to here.
    Applied {
        shard: ShardId,
        index: LogIndex,
        changed: Vec<StreamId>,
    },
    /// Nothing before this position is needed any more; `lean`: the volume is full, so nothing is kept to be used again.
    Release {
        upto: LanePosition,
        lean: bool,
    },
    /// The sync that the lane did not wait for is over.
    Synced,
    /// Finish what is here, close the log, end.
    Stop,
}

impl Job {
    /// Whether it at most adds to the log of a shard, and may be done while what was written is being synced.
    pub(crate) fn only_adds(&self) -> bool {
        match self {
            Self::Heard { message, .. } => {
                matches!(**message, Message::Records(_) | Message::Beat { .. } | Message::Ack { .. })
            }
            Self::Read { .. }
            | Self::Command { .. }
            | Self::Errand { .. }
            | Self::Applied { .. }
            | Self::Release { .. }
            | Self::Synced => true,
            _ => false,
        }
    }
}

/// The owner of the lane has ended; the job was dropped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended;

/// The door.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    jobs: Vec<Job>,
    /// The owner sleeps: only then does a sender pay for a wake-up.
    sleeping: bool,
    /// The owner has ended: jobs are handed back.
    ended: bool,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job in; refused when the owner has ended.
    pub(crate) fn send(&self, job: Job) -> Result<(), Ended> {
        let mut inner = self.lock();
        if inner.ended {
            return Err(Ended);
        }
        inner.jobs.push(job);
        let wake = std::mem::take(&mut inner.sleeping);
        drop(inner);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Puts a job in that can wait until [`Self::wake`]; refused when the owner has ended.
    pub(crate) fn post(&self, job: Job) -> Result<(), Ended> {
        let mut inner = self.lock();
        if inner.ended {
            return Err(Ended);
        }
        inner.jobs.push(job);
        Ok(())
    }

    /// Wakes the owner if it sleeps over jobs.
    pub(crate) fn wake(&self) {
        let mut inner = self.lock();
        let wake = !inner.jobs.is_empty() && std::mem::take(&mut inner.sleeping);
        drop(inner);
        if wake {
            self.arrived.notify_one();
        }
    }

    /// Takes all jobs, after waiting up to `patience` for the first; `into` is empty before.
    pub(crate) fn take(&self, into: &mut Vec<Job>, patience: Duration) {
        let mut inner = self.lock();
        if inner.jobs.is_empty() {
            inner.sleeping = true;
            let waited = self.arrived.wait_timeout_while(inner, patience, |inner| inner.jobs.is_empty());
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
            inner.sleeping = false;
        }
        std::mem::swap(&mut inner.jobs, into);
    }

    /// The owner ends; what is left is answered by dropping it.
    pub(crate) fn end(&self) -> Vec<Job> {
        let mut inner = self.lock();
        inner.ended = true;
        std::mem::take(&mut inner.jobs)
    }
}

/// An owner that ends without answering has lost its log.
pub(super) async fn answer(posted: Result<oneshot::Receiver<Answer>, Failure>) -> Answer {
    posted?.await.unwrap_or(Err(Failure::LogFailed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_was_posted_is_taken_at_the_next_wake() {
        let mailbox = Arc::new(Mailbox::default());
        let owner = Arc::clone(&mailbox);
        let thread = std::thread::spawn(move || {
            let mut batch = Vec::new();
            owner.take(&mut batch, Duration::from_secs(600));
            batch.len()
        });
        while !mailbox.lock().sleeping {
            std::thread::yield_now();
        }
        for position in 0..3 {
            mailbox.post(Job::Release { upto: LanePosition(position), lean: false }).unwrap();
        }
        mailbox.wake();
        assert_eq!(thread.join().unwrap(), 3);
    }

    #[test]
    fn jobs_that_gather_are_taken_together_and_in_order() {
        let mailbox = Arc::new(Mailbox::default());
        let sender = Arc::clone(&mailbox);
        let thread = std::thread::spawn(move || {
            for position in 0..1000 {
                sender.send(Job::Release { upto: LanePosition(position), lean: false }).unwrap();
            }
        });
        let (mut seen, mut batch) = (0, Vec::new());
        while seen < 1000 {
            mailbox.take(&mut batch, Duration::from_secs(10));
            for job in batch.drain(..) {
                assert!(matches!(job, Job::Release { upto, .. } if upto.0 == seen));
                seen += 1;
            }
        }
        thread.join().unwrap();
        mailbox.end();
        assert!(mailbox.send(Job::Stop).is_err());
    }
}
