//! One connection on which hands were shaken, as its threads and its ports share it. Invariant: it is closed once, for
//! one reason, and from then on nothing that was put in is sent and nothing that arrives is handed on.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::Peer;
use super::accounts::{Account, Progress};
use super::bell::Bell;
use super::handshake::Shaken;
use super::outbox::{Command, Outbox};
use super::parcel::PieceAsk;
use super::pen::{AT_ONCE_BYTES_MAX, Pen};
use crate::codec::CodecError;
use crate::types::{Epoch, LogIndex, ShardId};

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// The node stops.
    #[error("the node stops")]
    Stopped,
    /// The peer has a newer connection.
    #[error("the peer connected anew")]
    Superseded,
    /// Who the peer or this node is has changed, or the peer was heard of in a later start.
    #[error("the peer is no member any more, or another one, or was started again")]
    Left,
    /// The peer closed it.
    #[error("the peer closed it")]
    ByPeer,
    /// More control messages wait than may.
    #[error("the peer does not read: {0} bytes wait for it")]
    Overfull(usize),
    /// A write made no progress.
    #[error("the peer took nothing for {0:?}")]
    Stuck(Duration),
    /// An answer is due for too long.
    #[error("the peer owes an answer for {0:?}")]
    Silent(Duration),
    /// What arrived is no frame, or none that this side is told.
    #[error("the peer does not speak as it should: {0}")]
    Garbled(#[from] CodecError),
    /// Entries could not be taken.
    #[error("this volume had no room for what was sent")]
    NoRoom,
    /// The socket failed.
    #[error("{0}")]
    Io(io::Error),
    /// What is to be sent cannot be read.
    #[error("the log cannot be read: {0}")]
    Lane(String),
}

/// What the threads and ports of a connection share.
#[derive(Debug)]
pub(super) struct Line {
    /// Who is at the other end.
    pub(super) peer: Peer,
    /// The seed of all checksums on it.
    pub(super) seed: u32,
    /// The socket.
    pub(super) stream: TcpStream,
    /// Wakes the writer.
    pub(super) bell: Bell,
    /// The writer waits for confirmations, and wants to be woken by one.
    pub(super) awaits_ack: AtomicBool,
    /// Where it is counted.
    pub(super) account: Arc<Account>,
    /// What is under way on it, while its writer runs. Whoever holds it may take any of the locks below, and nobody who holds one of
    /// those waits for it.
    pen: Mutex<Option<Pen>>,
    outbox: Mutex<Outbox>,
    outbox_bytes_max: usize,
    acks: Mutex<BTreeMap<ShardId, (Epoch, LogIndex)>>,
    asks: Mutex<BTreeMap<ShardId, PieceAsk>>,
    /// Since when an answer is due, in milliseconds and one; zero when none is.
    owed: AtomicU64,
    progress: Mutex<Progress>,
    ended: OnceLock<Ended>,
}

// Everything that is locked here is whole after each statement, so a panic of another thread is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    pub(super) fn new(
        shaken: &Shaken,
        stream: TcpStream,
        account: Arc<Account>,
        outbox_bytes_max: usize,
    ) -> Self {
        Self {
            peer: shaken.peer,
            seed: shaken.seed,
            stream,
            bell: Bell::default(),
            awaits_ack: AtomicBool::default(),
            account,
            pen: Mutex::default(),
            outbox: Mutex::default(),
            outbox_bytes_max,
            acks: Mutex::default(),
            asks: Mutex::default(),
            owed: AtomicU64::default(),
            progress: Mutex::default(),
            ended: OnceLock::new(),
        }
    }

    /// Whether it lives.
    pub(super) fn is_open(&self) -> bool {
        self.ended.get().is_none()
    }

    /// Ends it, if it has not ended: both threads come back.
    pub(super) fn close(&self, why: Ended) {
        if self.ended.set(why).is_ok() {
            // A socket that is gone already is as good.
            let _ = self.stream.shutdown(Shutdown::Both);
            self.bell.ring();
        }
    }

    /// Why it ended.
    pub(super) fn why(&self) -> Option<&Ended> {
        self.ended.get()
    }

    /// Puts in a frame; the writer is not woken. What must be answered `owes`.
    pub(super) fn say(&self, owes: bool, put: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>) {
        self.put(|outbox| outbox.say(owes, put));
    }

    /// Puts in an order; the writer is not woken.
    pub(super) fn order(&self, command: Command) {
        self.put(|outbox| {
            outbox.commands.push(command);
            Ok(())
        });
    }

    fn put(&self, put: impl FnOnce(&mut Outbox) -> Result<(), CodecError>) {
        if !self.is_open() {
            return;
        }
        let (outcome, size) = {
            let mut outbox = lock(&self.outbox);
            (put(&mut outbox), outbox.size())
        };
        if let Err(error) = outcome {
            self.close(error.into());
        } else if size > self.outbox_bytes_max {
            self.close(Ended::Overfull(size));
        }
    }

    /// Takes what waits, and leaves `empty` in its place.
    pub(super) fn swap_outbox(&self, empty: &mut Outbox) {
        std::mem::swap(&mut *lock(&self.outbox), empty);
    }

    /// The same, if that is little and orders nothing; whether it was taken.
    pub(super) fn swap_small_outbox(&self, empty: &mut Outbox) -> bool {
        let mut outbox = lock(&self.outbox);
        let small = outbox.commands.is_empty() && outbox.bytes.len() <= AT_ONCE_BYTES_MAX;
        if small {
            std::mem::swap(&mut *outbox, empty);
        }
        small
    }

    /// The writer begins with this, or has ended.
    pub(super) fn set_pen(&self, pen: Option<Pen>) {
        *lock(&self.pen) = pen;
    }

    /// Writes; waits until nobody else does.
    pub(super) fn with_pen<T>(&self, write: impl FnOnce(&mut Pen) -> Result<T, Ended>) -> Result<T, Ended> {
        // Somebody panicked in the middle of a frame: nothing sound can follow.
        let broken = || Ended::Io(io::Error::other("whoever wrote on it panicked"));
        let mut pen = self.pen.lock().map_err(|_| broken())?;
        pen.as_mut().map_or(Err(Ended::Stopped), write)
    }

    /// What was put in goes: at once, if it is little and nobody writes, or by the writer, which is woken. Never waits.
    pub(super) fn go(&self) {
        let sent = match self.pen.try_lock().as_deref_mut() {
            Ok(Some(pen)) => pen.at_once(self),
            _ => Ok(false),
        };
        match sent {
            Ok(true) => {}
            Ok(false) => self.bell.ring(),
            Err(why) => self.close(why),
        }
    }

    /// A follower confirmed entries.
    pub(super) fn acknowledge(&self, shard: ShardId, epoch: Epoch, synced: LogIndex) {
        lock(&self.acks).insert(shard, (epoch, synced));
        if self.awaits_ack.load(Ordering::Acquire) {
            self.bell.ring();
        }
    }

    /// What was confirmed since the last call.
    pub(super) fn take_acks(&self) -> BTreeMap<ShardId, (Epoch, LogIndex)> {
        std::mem::take(&mut lock(&self.acks))
    }

    /// A follower asks for a part of a file; a later question stands for an earlier one.
    pub(super) fn ask_piece(&self, shard: ShardId, ask: PieceAsk) {
        lock(&self.asks).insert(shard, ask);
        self.bell.ring();
    }

    /// What was asked for since the last call.
    pub(super) fn take_asks(&self) -> BTreeMap<ShardId, PieceAsk> {
        std::mem::take(&mut lock(&self.asks))
    }

    /// Something that must be answered is about to be sent.
    pub(super) fn owe(&self, now: Duration) {
        let mark = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        // Only the oldest counts; another value there is older.
        let _ = self.owed.compare_exchange(0, mark, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The peer said something.
    pub(super) fn answered(&self) {
        self.owed.store(0, Ordering::Release);
    }

    /// Since when an answer is due.
    pub(super) fn owed_since(&self) -> Option<Duration> {
        self.owed.load(Ordering::Acquire).checked_sub(1).map(Duration::from_millis)
    }

    /// Counts bytes.
    pub(super) fn count_sent(&self, bytes: usize) {
        self.account.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes.
    pub(super) fn count_received(&self, bytes: u64) {
        self.account.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How far shipping has come.
    pub(super) fn progress(&self) -> Progress {
        lock(&self.progress).clone()
    }

    /// Shows how far shipping has come.
    pub(super) fn set_progress(&self, progress: Progress) {
        *lock(&self.progress) = progress;
    }
}
