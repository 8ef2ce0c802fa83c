//! A shard read back from its tables and its lane, by the rules of the product's replay. Invariant: what is taken continues the
//! tables and itself, by index and chain; what does not is damage, unless it was cut later.

use thalweg_node::codec::record::{RecordHeader, RecordKind};
use thalweg_node::core::replication::Entry;
use thalweg_node::types::{Chain, LogIndex};

use super::log::Log;
use super::table::Table;

/// One shard while its lane is read.
#[derive(Debug)]
pub(super) struct Replay {
    end: LogIndex,
    chain: Chain,
    seeded: LogIndex,
    /// What continues the tables.
    log: Log,
    /// What the tables hold, as far as the lane has it still.
    older: Log,
    /// The log was cut to here, below what the tables hold, and has not come back there yet.
    taken_back: Option<LogIndex>,
    /// The first record that does not continue what was read.
    strange: Option<Strange>,
    /// There was damage, and nothing behind it says how far this shard went.
    suspect: bool,
}

#[derive(Debug)]
struct Strange {
    from: LogIndex,
    /// Some are missing before it; else it is of another log than what was read.
    is_gap: bool,
}

/// What a start finds of a shard.
#[derive(Debug)]
pub(super) enum Shape {
    /// All that was ever synced.
    Whole(Log),
    /// The beginning of that.
    Lacking(Log),
    /// Log and tables that do not belong together.
    Unsound,
}

impl Replay {
    /// A shard with these tables.
    pub(super) fn new(table: &Table) -> Self {
        let log = Log::behind_base(table.end(), table.chain());
        let older = Log::behind_base(LogIndex(0), Chain(0));
        let (end, chain, seeded) = (table.end(), table.chain(), table.seeded());
        Self { end, chain, seeded, log, older, taken_back: None, strange: None, suspect: false }
    }

    /// Damage took something of the lane.
    pub(super) const fn suspect(&mut self) {
        self.suspect = true;
    }

    /// One record of the shard, in the order of the lane.
    pub(super) fn take(&mut self, header: &RecordHeader, payload: &[u8], position: usize) {
        if header.kind == RecordKind::Cut {
            return self.cut(header);
        }
        if self.strange.is_some() {
            return;
        }
        if header.index >= self.end {
            self.taken_back = None;
        }
        let entry = Entry { kind: header.kind, epoch: header.epoch, payload: payload.to_vec().into() };
        if header.index <= self.end {
            // What is missing before it is in the tables, too.
            self.suspect = false;
            return self.take_older(header, entry, position);
        }
        let is_next = header.index == self.log.end().next();
        if is_next && header.chain == self.log.chain() {
            self.log.push(entry, position);
            self.suspect = false;
        } else {
            self.strange = Some(Strange { from: header.index, is_gap: !is_next });
        }
    }

    /// What the tables hold: a leader can ship it as long as it is there.
    fn take_older(&mut self, header: &RecordHeader, entry: Entry, position: usize) {
        let continues = header.index == self.older.end().next() && header.chain == self.older.chain();
        if !continues {
            self.older = Log::behind_base(LogIndex(header.index.0.saturating_sub(1)), header.chain);
        }
        self.older.push(entry, position);
    }

    fn cut(&mut self, header: &RecordHeader) {
        let to = header.index;
        self.strange.take_if(|strange| to < strange.from);
        self.older.cut(to);
        if to < self.end {
            self.log = Log::behind_base(self.end, self.chain);
            self.taken_back = (to >= self.seeded).then_some(to).or(self.taken_back);
        } else if to < self.log.end() {
            self.log.cut(to);
            if self.log.chain() != header.chain {
                self.strange = Some(Strange { from: to, is_gap: false });
            }
        }
        // It says where the shard ends, if that is here.
        self.suspect &= to > self.log.end();
    }

    /// The lane was read to its end.
    pub(super) fn finish(self) -> Shape {
        let is_gap = self.strange.as_ref().is_none_or(|strange| strange.is_gap);
        if self.taken_back.is_some() || !is_gap {
            return Shape::Unsound;
        }
        let lacks = self.suspect || self.strange.is_some();
        let joins = self.older.end() == self.end && self.older.chain() == self.chain;
        let log = if joins { self.older.followed_by(self.log) } else { self.log };
        if lacks { Shape::Lacking(log) } else { Shape::Whole(log) }
    }
}
