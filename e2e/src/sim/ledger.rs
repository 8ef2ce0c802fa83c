//! What was ever true of a shard, whoever said it: every claim of a replica is compared with it at once.

use std::collections::BTreeMap;

use thalweg_node::types::{Chain, Epoch, LogIndex, RecordEpoch, ReplicaId, StreamId};

use super::books::{Books, Verdict, Wish};
use super::log::{Log, count};
use super::streams::{op_of, ops_of};
use super::table::Table;

/// Everything that was written and committed in one shard.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The chain after each committed entry, and the operation in it if one appends: to which stream, and its number.
    committed: Vec<(Chain, Option<(StreamId, u64)>)>,
    /// What they come to, and that after each of them.
    table: Table,
    sums: Vec<u64>,
    books: Books,
    /// Entries up to here some client knows to be committed.
    pub(super) known: LogIndex,
    /// What was written at each index, in which epoch.
    written: Vec<Vec<(Epoch, Chain)>>,
    /// Who opened in which epoch of the record.
    opened: BTreeMap<RecordEpoch, ReplicaId>,
}

impl Ledger {
    /// An entry was written somewhere: the same epoch and index always mean the same bytes.
    pub(super) fn written(&mut self, index: LogIndex, epoch: Epoch, chain: Chain) -> Result<(), String> {
        let place = count(index);
        if self.written.len() <= place {
            self.written.resize_with(place + 1, Vec::new);
        }
        let here = &mut self.written[place];
        match here.iter().find(|(known, _)| *known == epoch) {
            Some((_, known)) if *known != chain => {
                Err(format!("entry {index} of epoch {epoch} has two contents"))
            }
            Some(_) => Ok(()),
            None => {
                here.push((epoch, chain));
                Ok(())
            }
        }
    }

    /// A replica calls the entries of its log up to here committed; says how many of them nobody called so before.
    pub(super) fn committed(&mut self, log: &Log, upto: LogIndex) -> Result<u64, String> {
        let known = self.end().min(upto);
        if log.chain_at(known) != self.chain_at(known) {
            return Err(format!("its entries up to {known} are not those that are committed"));
        }
        for index in known.0 + 1..=upto.0 {
            let index = LogIndex(index);
            let (Some(entry), Some(chain)) = (log.entry(index), log.chain_at(index)) else {
                return Err(format!("it calls entry {index} committed and does not have it"));
            };
            let ops = ops_of(entry);
            self.books.take(index, &ops).map_err(|why| format!("entry {index}: {why}"))?;
            self.committed.push((chain, op_of(&ops)));
            self.table.apply_ops(entry, chain, &ops);
            self.sums.push(self.table.sum());
        }
        Ok(upto.0 - known.0)
    }

    /// What tables hold is what the entries up to their last one come to.
    pub(super) fn holds(&self, table: &Table) -> Result<(), String> {
        let end = table.end();
        let sum = count(end)
            .checked_sub(1)
            .map_or(Some(Table::default().sum()), |place| self.sums.get(place).copied());
        if sum == Some(table.sum()) && self.chain_at(end) == Some(table.chain()) {
            return Ok(());
        }
        Err(format!("its tables are not what the entries up to {end} come to"))
    }

    /// A leader opened.
    pub(super) fn opened(&mut self, epoch: Epoch, who: ReplicaId) -> Result<(), String> {
        match *self.opened.entry(epoch.record).or_insert(who) {
            first if first == who => Ok(()),
            first => Err(format!("{first} and {who} both lead epoch {}", epoch.record)),
        }
    }

    /// The last committed entry.
    pub(super) fn end(&self) -> LogIndex {
        LogIndex(self.committed.len() as u64)
    }

    /// The chain after a committed entry.
    pub(super) fn chain_at(&self, index: LogIndex) -> Option<Chain> {
        match count(index).checked_sub(1) {
            None => Some(Chain(0)),
            Some(place) => self.committed.get(place).map(|(chain, _)| *chain),
        }
    }

    /// What ought to be answered as of a committed entry.
    pub(super) fn ought(&self, wish: &Wish, at: LogIndex) -> Verdict {
        self.books.ought(wish, at)
    }

    /// The operations that append, with their indexes and streams.
    pub(super) fn ops(&self) -> impl Iterator<Item = (LogIndex, (StreamId, u64))> + '_ {
        let numbered = (1..).map(LogIndex).zip(&self.committed);
        numbered.filter_map(|(index, (_, op))| Some((index, (*op)?)))
    }
}
