//! What is known of the links for people and figures: one account for each peer and direction, over all of their
//! connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::line::Line;
use crate::types::{ReplicaId, ShardId};

/// Who dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// This node: it speaks as a leader, the peer as a follower.
    Dialled,
    /// The peer: it speaks as a leader.
    Accepted,
}

/// How the link to a peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkReport {
    /// To whom.
    pub peer: ReplicaId,
    /// Who dialled.
    pub direction: Direction,
    /// Hands are shaken and the connection lives.
    pub is_connected: bool,
    /// Why there is none, if this node dials: what came of the last attempt.
    pub failed: Option<String>,
    /// Connections so far on which hands were shaken.
    pub connections: u64,
    /// Bytes sent on all of them.
    pub bytes_sent: u64,
    /// Bytes received on all of them.
    pub bytes_received: u64,
    /// Shards whose follower is sent what it lacks from the lane's files.
    pub catching_up: BTreeSet<ShardId>,
    /// Shards of which the log no longer has what the follower lacks.
    pub needs_snapshot: BTreeSet<ShardId>,
}

/// How far shipping has come on a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// From the files.
    pub(super) catching_up: BTreeSet<ShardId>,
    /// Not from the log.
    pub(super) needs_snapshot: BTreeSet<ShardId>,
}

/// Counts for one peer and direction.
#[derive(Debug, Default)]
pub(super) struct Account {
    connections: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    line: Mutex<Option<Arc<Line>>>,
    failed: Mutex<Option<String>>,
}

impl Account {
    /// A connection lives; `None`: it is gone.
    pub(super) fn set_line(&self, line: Option<&Arc<Line>>) {
        if line.is_some() {
            self.connections.fetch_add(1, Ordering::Relaxed);
        }
        *self.line() = line.cloned();
    }

    /// What came of an attempt to dial; `None`: it lives.
    pub(super) fn set_failed(&self, why: Option<String>) {
        *self.failed() = why;
    }

    // As below.
    fn failed(&self) -> MutexGuard<'_, Option<String>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // A pointer is put or taken in one step: a panic in between leaves it whole.
    fn line(&self) -> MutexGuard<'_, Option<Arc<Line>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, peer: ReplicaId, direction: Direction) -> LinkReport {
        let line = self.line().clone().filter(|line| line.is_open());
        let progress = line.as_ref().map(|line| line.progress()).unwrap_or_default();
        LinkReport {
            peer,
            direction,
            is_connected: line.is_some(),
            failed: self.failed().clone().filter(|_| line.is_none()),
            connections: self.connections.load(Ordering::Relaxed),
            bytes_sent: self.sent.load(Ordering::Relaxed),
            bytes_received: self.received.load(Ordering::Relaxed),
            catching_up: progress.catching_up,
            needs_snapshot: progress.needs_snapshot,
        }
    }
}

/// All accounts.
#[derive(Debug, Default)]
pub(super) struct Accounts(Mutex<BTreeMap<(ReplicaId, Direction), Arc<Account>>>);

impl Accounts {
    // Each change is one step of the map.
    fn all(&self) -> MutexGuard<'_, BTreeMap<(ReplicaId, Direction), Arc<Account>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account of a peer.
    pub(super) fn of(&self, peer: ReplicaId, direction: Direction) -> Arc<Account> {
        Arc::clone(self.all().entry((peer, direction)).or_default())
    }

    /// Closes the accounts of those who are gone.
    pub(super) fn retain(&self, stays: impl Fn(ReplicaId) -> bool) {
        self.all().retain(|(peer, _), _| stays(*peer));
    }

    /// The connections that live.
    pub(super) fn lines(&self) -> Vec<Arc<Line>> {
        self.all().values().filter_map(|account| account.line().clone()).collect()
    }

    /// How all links are.
    pub(super) fn report(&self) -> Vec<LinkReport> {
        self.all().iter().map(|((peer, direction), account)| account.report(*peer, *direction)).collect()
    }
}
