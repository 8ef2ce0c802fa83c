//! One shard as its owner sees it: the pure core, and what it needs from the tables before it can decide.
//!
//! Invariant: a head in the core implies a view that is resident while a decision on it is under way, so that every
//! committed change reaches its readers.

mod deadlines;
mod line;
mod pending;
mod service;
pub(super) mod tally;

pub(super) use deadlines::Deadlines;
pub(super) use line::Line;
pub(super) use pending::{Body, Pending, Uncommitted};
pub(super) use tally::Cause;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Failure;
use super::shared::Shared;
use super::views::{Known, ShardViews, StreamView};
use crate::codec::subscription::link_key;
use crate::core::replication::{History, Replica};
use crate::core::{Command, Decision, Missing, ShardCore};
use crate::store::tables::{StreamEntry, TablesError};
use crate::types::{
    Configs, LanePosition, LogIndex, Op, ReplicaId, ShardId, Space, StreamId, StreamMeta, StreamName,
    UnixMillis,
};

/// Last reads of one shard that one sweep records: each may need a look at the tables, and writers wait meanwhile.
const READS_RECORDED_PER_SWEEP_MAX: usize = 64;

/// Lane bytes between two places of a shard's log that are remembered, so that a follower need not be served from the log's
/// beginning.
const MARK_EVERY: u64 = 1 << 20;

/// Whether commands are decided here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Another replica leads, or nobody.
    Closed,
    /// It leads; the tables do not hold yet all that is committed.
    Opening,
    /// It leads, and the core knows what it needs.
    Open,
}

/// The owner's part of one shard.
#[derive(Debug)]
pub(crate) struct ShardOwner {
    pub(crate) shard: ShardId,
    pub(crate) core: ShardCore,
    pub(crate) shared: Arc<Shared>,
    /// This replica; none before the node was told who it is.
    pub(crate) replica: Option<Replica>,
    /// What the start found, until the replica begins.
    pub(super) found: Option<Log>,
    /// What is written and not committed.
    pub(crate) line: Line,
    pub(crate) service: Service,
    /// Who leads, as requests were told.
    pub(crate) leader: Option<ReplicaId>,
    /// The tables hold everything up to here.
    pub(super) applied: LogIndex,
    /// The last committed record that changes anything.
    pub(super) changed: LogIndex,
    /// The core knows what the tables say of ids and facts; not so once another replica has led.
    core_is_current: bool,
    /// Where some entries stand in the lane, oldest first.
    pub(super) marks: VecDeque<(LogIndex, LanePosition)>,
    /// When which stream ends unless something renews it; looked at again when the time comes.
    pub(crate) deadlines: Deadlines,
    /// Views that changed with the tables under them, and whose readers are to be told.
    pub(super) stirred: Vec<Arc<StreamView>>,
    /// It gave up what it held, and has not got it back.
    pub(super) given_up: Option<GivenUp>,
    /// Streams whose creation is decided and not committed: seen by nobody.
    pub(crate) unpublished: HashSet<StreamId>,
}

/// A shard that gave up what it held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GivenUp {
    /// What is set aside is all that there was, and not what was begun since.
    pub(crate) is_first: bool,
    pub(crate) since: Duration,
    /// It could not, and does not try again before this.
    pub(crate) not_before: Duration,
}

/// The log of a shard as a start found it.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) history: History,
    pub(crate) voters: Vec<(LogIndex, Configs)>,
}

/// A decision and the view that it will change.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    /// Held until the ops are published, so that the view stays resident.
    pub(crate) view: Option<Arc<StreamView>>,
}

impl ShardOwner {
    /// The owner of a shard of which a start found this, before its replica begins.
    pub(crate) fn new(
        core: ShardCore,
        shared: Arc<Shared>,
        found: Log,
        line: Line,
        deadlines: Deadlines,
    ) -> Self {
        let applied = line.committed();
        let marks = line.first_place().into_iter().collect();
        Self {
            shard: core.shard(),
            core,
            shared,
            replica: None,
            found: Some(found),
            line,
            service: Service::Closed,
            leader: None,
            applied,
            changed: LogIndex(0),
            core_is_current: true,
            marks,
            deadlines,
            stirred: Vec::new(),
            given_up: None,
            unpublished: HashSet::new(),
        }
    }

    /// Decides one command; the ops, if any, become the record at `next`.
    pub(crate) fn decide(
        &mut self,
        mut command: Command,
        now: UnixMillis,
        next: LogIndex,
    ) -> Result<Decided, Failure> {
        let shared = Arc::clone(&self.shared);
        let views = &shared.shard(self.shard)?.views;
        let target = Target::of(&command);
        let hold = |owner: &Self| target.as_ref().and_then(|target| owner.hold(views, target));
        let mut view = hold(self);
        // Reads since this start renew a window; a window that a start interrupted begins afresh: late, never early.
        let last_read = |stream| Some(views.last_read(stream));
        loop {
            match self.core.decide(command, now, next, &last_read) {
                Ok(decision) => return Ok(Decided { decision, view }),
                Err(unready) => {
                    self.load(&shared, unready.missing)?;
                    command = unready.command;
                    view = view.or_else(|| hold(self));
                }
            }
        }
    }

    /// A stream that would be linked is refused while no more links fit: linking it in silence would lose its wakes.
    pub(crate) fn check_links(&self, command: &Command) -> Result<(), Failure> {
        match command {
            Command::Create(create)
                if self.core.shares() > 0
                    && self.shared.subscriptions.full()
                    && self.core.would_link(&create.name) =>
            {
                Err(Failure::LinksFull { limit: self.shared.subscriptions.links_max() })
            }
            _ => Ok(()),
        }
    }

    /// The resident view of the stream that a command is about; made from the head if only that is resident.
    fn hold(&self, views: &ShardViews, target: &Target) -> Option<Arc<StreamView>> {
        let (view, head) = match target {
            Target::Name(name) => match views.by_name(name) {
                Known::Here(view) => (Some(view), None),
                Known::Absent | Known::AskTables(_) => (None, self.core.head(name)),
            },
            Target::Stream(stream) => (views.by_id(*stream), self.core.head_of(*stream)),
        };
        // A stream that this group creates has no view yet: its creation, once durable, brings one.
        let committed = head.filter(|meta| !self.unpublished.contains(&meta.id));
        view.or_else(|| committed.map(|meta| views.install_by_owner(meta)))
    }

    /// Brings into the core what the tables (or a view ahead of them) say.
    fn load(&mut self, shared: &Shared, missing: Missing) -> Result<(), Failure> {
        let shard = shared.shard(self.shard)?;
        let failed = |error: TablesError| shard.table_fault(&error);
        match missing {
            Missing::Name(name) => {
                // A deletion that the tables have not applied yet is known to the view alone.
                let known_absent = matches!(shard.views.by_name(&name), Known::Absent);
                let found =
                    if known_absent { None } else { shard.tables.stream_by_name(&name).map_err(failed)? };
                let (meta, producers) = parts(found);
                self.core.install_name(name, meta, producers);
            }
            Missing::Stream(stream) => {
                let found = shard.tables.stream_by_id(stream).map_err(failed)?;
                let (meta, producers) = parts(found);
                self.core.install_stream(stream, meta, producers);
            }
            Missing::Producer(stream, producer) => {
                let found = shard.tables.producer(stream, &producer).map_err(failed)?;
                self.core.install_producer(stream, producer, found);
            }
            Missing::Pin(stream, pin) => {
                let held = shard.tables.pin(stream, pin).map_err(failed)?.is_some();
                self.core.install_pin(stream, pin, held);
            }
            Missing::Link(id, stream) => {
                let found = shard.tables.fact(Space::Link, &link_key(&id, stream)).map_err(failed)?;
                self.core.install_link(id, stream, found.as_deref());
            }
        }
        Ok(())
    }

    /// Takes note of streams that begin (nobody may see them before they are durable, and some end by themselves) and of
    /// those that end (there is nothing more to look at when their time comes).
    pub(crate) fn note_lives(&mut self, ops: &[Op]) {
        for op in ops {
            self.deadlines.note(op);
            if let Op::Create(meta) = op {
                self.unpublished.insert(meta.id);
            }
        }
    }

    /// Looks at a stream again when its time may be over, but not before `earliest`.
    pub(crate) fn schedule(&mut self, stream: StreamId, earliest: UnixMillis) {
        let head = self.core.head_of(stream).filter(|meta| !meta.retired);
        if let Some(deadline) = head.and_then(StreamMeta::deadline) {
            self.deadlines.set(stream, deadline.max(earliest));
        }
    }

    /// It could not be decided now: again at `at`.
    pub(crate) fn postpone(&mut self, stream: StreamId, at: UnixMillis) {
        self.deadlines.set(stream, at);
    }

    /// The tables hold everything up to `index`: views and heads may go.
    pub(crate) fn applied(&mut self, index: LogIndex, changed: &[StreamId]) {
        self.applied = index;
        self.core.applied(index);
        if let Some(shard) = self.shared.open_shard(self.shard) {
            shard.views.applied(index, changed);
            shard.views.evict();
        }
    }

    /// The streams whose time may be over, at most `count` of them; and some of those whose last read should be recorded,
    /// which the same look does.
    pub(crate) fn due(&mut self, now: UnixMillis, count: usize) -> Vec<StreamId> {
        let mut due = self.deadlines.due(now, count);
        if let Ok(shard) = self.shared.shard(self.shard) {
            due.extend(shard.views.unrecorded_reads(READS_RECORDED_PER_SWEEP_MAX));
        }
        due
    }
}

fn parts(entry: Option<StreamEntry>) -> (Option<StreamMeta>, u32) {
    match entry {
        Some(entry) => (Some(entry.meta), entry.producers),
        None => (None, 0),
    }
}

/// The stream that a command is about.
enum Target {
    Name(StreamName),
    Stream(StreamId),
}

impl Target {
    /// `None`: no view changes by it.
    fn of(command: &Command) -> Option<Self> {
        Some(match command {
            Command::Create(create) => Self::Name(create.name.clone()),
            Command::Append(append) => Self::Name(append.name.clone()),
            Command::Delete(name) => Self::Name(name.clone()),
            Command::Pin(pin) => Self::Name(pin.source.clone()),
            Command::Unpin { stream, .. } | Command::Expire { stream, .. } | Command::Trim { stream, .. } => {
                Self::Stream(*stream)
            }
            Command::Subscription(_) | Command::Link(_) | Command::Secret { .. } => return None,
        })
    }
}
