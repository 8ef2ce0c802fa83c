//! The tables of one shard: what the committed entries come to, up to one of them. Invariant: tables at an entry and the entries
//! behind it make what all entries make, wherever the tables came from.

use thalweg_node::core::replication::{Entry, History};
use thalweg_node::types::{Chain, Configs, LogIndex, Op};

use super::log::configs_of;
use super::streams::{Streams, ops_of};
use crate::dice::mix;

/// What is known up to one entry, without the entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    history: History,
    voters: Option<Configs>,
    /// The first set of voters of all.
    first: Option<Configs>,
    streams: Streams,
    /// Up to here it came as a whole from a leader: what the log says of earlier entries is about other tables.
    seeded: LogIndex,
}

impl Table {
    /// The last entry in it.
    pub(super) const fn end(&self) -> LogIndex {
        self.history.end()
    }

    /// The chain after it.
    pub(super) const fn chain(&self) -> Chain {
        self.history.chain()
    }

    /// The shape of the log that it stands for.
    pub(super) const fn history(&self) -> &History {
        &self.history
    }

    /// The newest sets of voters in it.
    pub(super) const fn voters(&self) -> Option<&Configs> {
        self.voters.as_ref()
    }

    /// The first ones.
    pub(super) const fn first_voters(&self) -> Option<&Configs> {
        self.first.as_ref()
    }

    /// Its streams.
    pub(super) const fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Up to where it came as a whole.
    pub(super) const fn seeded(&self) -> LogIndex {
        self.seeded
    }

    /// The same at another node, to which it came as a whole.
    pub(super) fn came_as_a_whole(&self) -> Self {
        Self { seeded: self.end(), ..self.clone() }
    }

    /// Takes the next entry in, after which the chain is `chain`.
    pub(super) fn apply(&mut self, entry: &Entry, chain: Chain) {
        self.apply_ops(entry, chain, &ops_of(entry));
    }

    /// The same, when what it changes is known.
    pub(super) fn apply_ops(&mut self, entry: &Entry, chain: Chain, ops: &[Op]) {
        self.history.push(entry.epoch, chain);
        if let Some(configs) = configs_of(entry) {
            self.first.get_or_insert_with(|| configs.clone());
            self.voters = Some(configs);
        }
        self.streams.apply(ops);
    }

    /// A number that stands for all that is in it.
    pub(super) fn sum(&self) -> u64 {
        mix(self.end().0.rotate_left(17) ^ self.streams.sum())
    }
}
