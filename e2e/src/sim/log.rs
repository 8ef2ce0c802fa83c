//! The log of one shard as a node holds it in memory: the entries that were not let go, with the chain after each.

use std::collections::VecDeque;

use thalweg_node::codec::record::{RecordKind, chain_after};
use thalweg_node::codec::voters::decode_configs;
use thalweg_node::core::replication::Entry;
use thalweg_node::types::{Chain, Configs, LogIndex};

/// One shard's entries.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    /// The last entry that was let go, and the chain after it.
    base: LogIndex,
    before: Chain,
    lines: VecDeque<Line>,
}

/// One entry.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) entry: Entry,
    /// The chain after it.
    pub(super) chain: Chain,
    /// Where in the lane it stands.
    pub(super) position: usize,
}

/// An index as a count of entries.
pub(super) fn count(index: LogIndex) -> usize {
    usize::try_from(index.0).unwrap_or(usize::MAX)
}

/// The sets of voters in an entry, if it holds any.
pub(super) fn configs_of(entry: &Entry) -> Option<Configs> {
    (entry.kind == RecordKind::Config).then(|| decode_configs(&entry.payload).ok()).flatten()
}

impl Log {
    /// A log whose entries up to `base` were let go.
    pub(super) const fn behind_base(base: LogIndex, before: Chain) -> Self {
        Self { base, before, lines: VecDeque::new() }
    }

    /// The last entry that is not in it any more.
    pub(super) const fn base(&self) -> LogIndex {
        self.base
    }

    /// How many entries are in it.
    pub(super) fn len(&self) -> u64 {
        self.lines.len() as u64
    }

    /// The index of the last entry.
    pub(super) fn end(&self) -> LogIndex {
        LogIndex(self.base.0 + self.len())
    }

    /// The entries behind an index and their place among those that are here.
    fn place(&self, after: LogIndex) -> Option<usize> {
        Some(count(LogIndex(after.0.checked_sub(self.base.0)?)))
    }

    /// The chain after an entry; that before the first is zero.
    pub(super) fn chain_at(&self, index: LogIndex) -> Option<Chain> {
        match self.place(index)?.checked_sub(1) {
            None => Some(self.before),
            Some(place) => self.lines.get(place).map(|line| line.chain),
        }
    }

    /// The chain after the last entry.
    pub(super) fn chain(&self) -> Chain {
        self.lines.back().map_or(self.before, |line| line.chain)
    }

    /// The entry at an index.
    pub(super) fn entry(&self, index: LogIndex) -> Option<&Entry> {
        self.lines.get(self.place(index)?.checked_sub(1)?).map(|line| &line.entry)
    }

    /// One more entry, which stands there in the lane.
    pub(super) fn push(&mut self, entry: Entry, position: usize) -> Chain {
        let chain = chain_after(self.chain(), entry.epoch, self.end().next(), entry.kind, &entry.payload);
        self.lines.push_back(Line { entry, chain, position });
        chain
    }

    /// Leaves the entries up to `to`.
    pub(super) fn cut(&mut self, to: LogIndex) {
        self.lines.truncate(self.place(to).unwrap_or(0));
    }

    /// Lets the entries up to `upto` go.
    pub(super) fn let_go(&mut self, upto: LogIndex) {
        while self.base < upto
            && let Some(line) = self.lines.pop_front()
        {
            (self.base, self.before) = (self.base.next(), line.chain);
        }
    }

    /// This log and another one that continues it.
    pub(super) fn followed_by(mut self, mut next: Self) -> Self {
        self.lines.append(&mut next.lines);
        self
    }

    /// Where in the lane the first entry stands that is still in it.
    pub(super) fn position(&self) -> Option<usize> {
        self.lines.front().map(|line| line.position)
    }

    /// What is in it behind `after`.
    pub(super) fn lines_behind(&self, after: LogIndex) -> impl Iterator<Item = &Line> {
        let place = self.place(after).unwrap_or(0).min(self.lines.len());
        self.lines.range(place..)
    }
}
