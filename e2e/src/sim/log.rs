//! The log of one shard as a node holds it in memory: entries with the chain after each.

use thalweg_node::codec::record::{RecordKind, chain_after};
use thalweg_node::codec::voters::decode_configs;
use thalweg_node::core::replication::{Entry, History};
use thalweg_node::types::{Chain, Configs, LogIndex};

/// One shard's entries.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    lines: Vec<(Entry, Chain)>,
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
    /// The index of the last entry.
    pub(super) const fn end(&self) -> LogIndex {
        LogIndex(self.lines.len() as u64)
    }

    /// The chain after an entry; that before the first is zero.
    pub(super) fn chain_at(&self, index: LogIndex) -> Option<Chain> {
        match count(index).checked_sub(1) {
            None => Some(Chain(0)),
            Some(place) => self.lines.get(place).map(|(_, chain)| *chain),
        }
    }

    /// The chain after the last entry.
    pub(super) fn chain(&self) -> Chain {
        self.lines.last().map_or(Chain(0), |(_, chain)| *chain)
    }

    /// The entry at an index.
    pub(super) fn entry(&self, index: LogIndex) -> Option<&Entry> {
        self.lines.get(count(index).checked_sub(1)?).map(|(entry, _)| entry)
    }

    /// One more entry.
    pub(super) fn push(&mut self, entry: Entry) -> Chain {
        let chain = chain_after(self.chain(), entry.epoch, self.end().next(), entry.kind, &entry.payload);
        self.lines.push((entry, chain));
        chain
    }

    /// Leaves the entries up to `to`.
    pub(super) fn cut(&mut self, to: LogIndex) {
        self.lines.truncate(count(to));
    }

    /// At most `most` entries behind `after`.
    pub(super) fn behind(&self, after: LogIndex, most: usize) -> Vec<Entry> {
        let lines = self.lines.get(count(after)..).unwrap_or_default();
        lines.iter().take(most).map(|(entry, _)| entry.clone()).collect()
    }

    /// Its shape.
    pub(super) fn history(&self) -> History {
        let mut history = History::default();
        self.lines.iter().for_each(|(entry, chain)| history.push(entry.epoch, *chain));
        history
    }

    /// The sets of voters in it.
    pub(super) fn voters(&self) -> Vec<(LogIndex, Configs)> {
        let numbered = (1..).map(LogIndex).zip(&self.lines);
        numbered.filter_map(|(index, (entry, _))| Some((index, configs_of(entry)?))).collect()
    }
}
