//! The log replayed into the tables at a start, and what it says about each shard.
//!
//! Invariant: a shard opens only if its log joins its tables without a hole and with the same chain; else it refuses
//! service and its log is kept.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;

use super::apply_queue::{Committed, record_bytes};
use crate::codec::op::decode_ops;
use crate::codec::record::RecordKind;
use crate::store::aol::Record;
use crate::store::tables::{Applied, EpochStart, Tables, TablesError};
use crate::types::limits::CHUNK_BYTES_TARGET;
use crate::types::{Chain, Epoch, LanePosition, LogIndex, Op, ShardId};

/// Bytes of records that gather before they are applied: as many as an applier's round under load.
const BATCH_BYTES: u64 = 8 << 20;

/// What a transaction holds at least: half of the memory that a shard's tables have by default, which is what redb keeps
/// for pages that are not written yet.
const TRANSACTION_BYTES: usize = 1 << 20;

/// One shard while its log is read.
#[derive(Debug)]
pub(crate) struct ShardReplay {
    pub(crate) tables: Tables,
    pub(crate) last: LogIndex,
    pub(crate) chain: Chain,
    /// Why the shard cannot be served, if it cannot.
    pub(crate) damage: Option<String>,
    /// The first record that the tables' checkpoint lacks.
    pub(crate) first: Option<LanePosition>,
    pending: Vec<Committed>,
    pending_bytes: u64,
}

impl ShardReplay {
    pub(crate) fn new(mut tables: Tables) -> Self {
        // On a full volume everything is applied all the same: what finds no room waits in memory.
        tables.bound_late(u64::MAX);
        let Applied { index, chain, .. } = tables.state().applied;
        Self { tables, last: index, chain, damage: None, first: None, pending: Vec::new(), pending_bytes: 0 }
    }

    /// Damage in the log took records of this shard, or may have (`to` unknown).
    pub(crate) fn suspect(&mut self, from: LogIndex, to: Option<LogIndex>) {
        let applied = self.tables.state().applied.index;
        if to.is_none_or(|to| to > applied) {
            let end = to.map_or("an unknown end".to_owned(), |to| format!("record {to}"));
            self.damage.get_or_insert(format!("damage in its log took records {from} to {end}"));
        }
    }

    /// The log says that the shard had records up to `head`; those that neither log nor tables have are missing.
    pub(crate) fn must_reach(&mut self, head: LogIndex) {
        if self.last < head {
            let (last, next) = (self.last, self.last.next());
            self.damage.get_or_insert(format!(
                "its tables end at record {last}, and the log, which went on to record {head}, no longer has record {next}"
            ));
        }
    }

    /// Takes one record of this shard, in lane order.
    fn take(&mut self, record: &Record) {
        let header = &record.header;
        if header.kind == RecordKind::Cut {
            return self.cut(header.index, header.chain);
        }
        if !header.kind.is_chained() || header.index <= self.last || self.damage.is_some() {
            return;
        }
        self.first.get_or_insert(header.position);
        if header.index != self.last.next() {
            self.damage =
                Some(format!("its log misses the records {} to {}", self.last.next(), header.index.0 - 1));
            return;
        }
        if header.chain != self.chain {
            self.damage = Some(format!("its log does not continue its tables at record {}", header.index));
            return;
        }
        match ops_of(header.kind, &record.payload) {
            Ok(ops) => self.pend(
                header.index,
                header.epoch,
                header.chain_after(&record.payload),
                header.position,
                ops,
            ),
            Err(reason) => self.damage = Some(format!("record {}: {reason}", header.index)),
        }
    }

    fn pend(&mut self, index: LogIndex, epoch: Epoch, chain: Chain, position: LanePosition, ops: Vec<Op>) {
        self.last = index;
        self.chain = chain;
        self.pending_bytes += record_bytes(&ops);
        self.pending.push(Committed { index, epoch, chain, position, ops });
        if self.pending_bytes >= BATCH_BYTES {
            self.flush();
        }
    }

    /// The records behind `index` were taken back.
    fn cut(&mut self, index: LogIndex, chain: Chain) {
        if index < self.tables.state().applied.index {
            self.damage =
                Some(format!("its log was cut to record {index}, behind which the tables hold more"));
            return;
        }
        self.pending.retain(|record| record.index <= index);
        self.last = self.last.min(index);
        self.chain = chain;
    }

    /// Applies what gathered.
    pub(crate) fn flush(&mut self) {
        let records = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        if let Err(error) = apply(&mut self.tables, &records) {
            self.damage.get_or_insert(error.to_string());
        }
        if self.tables.late_bytes() > 0 {
            // Pages that this frees are used by the next records. Without room it stays in memory, and the log is kept.
            let _full = self.tables.checkpoint();
        }
    }
}

/// Applies records in log order, in as few transactions as the tables' memory serves well.
pub(crate) fn apply(tables: &mut Tables, records: &[Committed]) -> Result<(), TablesError> {
    let mut rest = records;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(transaction(rest));
        apply_at_once(tables, now)?;
        rest = later;
    }
    Ok(())
}

/// How many of the records make the next transaction: it ends where its pages would no longer fit the memory of the tables
/// (they would be written out and read again to be checksummed), but not before the streams in it have filled a chunk on
/// average, since a chunk that is not full is written again by the next one.
fn transaction(records: &[Committed]) -> usize {
    let mut streams = HashSet::new();
    let mut bytes = 0;
    let ends_before = |record: &Committed| {
        if bytes >= TRANSACTION_BYTES.max(streams.len() * CHUNK_BYTES_TARGET) {
            return true;
        }
        bytes += usize::try_from(record_bytes(&record.ops)).unwrap_or(usize::MAX);
        streams.extend(record.ops.iter().filter_map(Op::stream));
        false
    };
    records.iter().position(ends_before).unwrap_or(records.len())
}

fn apply_at_once(tables: &mut Tables, records: &[Committed]) -> Result<(), TablesError> {
    let Some(last) = records.last() else { return Ok(()) };
    let applied = Applied { index: last.index, chain: last.chain, epoch: last.epoch };
    let epochs = epoch_starts(tables, records);
    let ops = records.iter().flat_map(|record| record.ops.iter().map(|op| (record.index, op.clone())));
    tables.apply(&ops.collect::<Vec<_>>(), applied, &epochs)
}

/// The epochs that begin in these records.
fn epoch_starts(tables: &Tables, records: &[Committed]) -> Vec<EpochStart> {
    let mut newest = tables.state().applied.epoch;
    let mut starts = Vec::new();
    for record in records.iter().filter(|record| record.index > tables.state().applied.index) {
        if record.epoch != newest {
            newest = record.epoch;
            starts.push(EpochStart { epoch: record.epoch, first: record.index });
        }
    }
    starts
}

pub(super) fn ops_of(kind: RecordKind, payload: &Bytes) -> Result<Vec<Op>, String> {
    match kind {
        RecordKind::Batch | RecordKind::Relief => decode_ops(payload).map_err(|error| error.to_string()),
        _ => Ok(Vec::new()),
    }
}

/// All shards of a node while the logs are read.
pub(crate) type Replays = BTreeMap<ShardId, ShardReplay>;

/// Hands a record to its shard.
pub(crate) fn take(replays: &mut Replays, record: &Record) {
    if let Some(replay) = replays.get_mut(&record.header.shard) {
        replay.take(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{AppendOp, Messages, Offset, StreamId, UnixMillis};

    fn record(index: u64, stream: u64, bytes: usize) -> Committed {
        let append = AppendOp {
            stream: StreamId(stream),
            start: Offset::default(),
            messages: Messages::single(Bytes::from(vec![7; bytes])).unwrap(),
            close: false,
            producer: None,
            seq: None,
            at: UnixMillis(0),
        };
        Committed {
            index: LogIndex(index),
            epoch: Epoch::default(),
            chain: Chain(0),
            position: LanePosition(0),
            ops: vec![Op::Append(append)],
        }
    }

    #[test]
    fn a_transaction_fits_the_memory_of_the_tables_and_leaves_no_chunk_half_full_for_it() {
        let of_streams = |count: u64| (0..4000).map(|n| record(n, n % count, 10_000)).collect::<Vec<_>>();
        let one = transaction(&of_streams(1)) * 10_000;
        assert!((TRANSACTION_BYTES - 50_000..TRANSACTION_BYTES + 20_000).contains(&one), "{one}");
        let hundred = transaction(&of_streams(100)) * 10_000;
        assert!(hundred > 90 * CHUNK_BYTES_TARGET, "{hundred}");
        assert_eq!(transaction(&of_streams(1)[..5]), 5);
    }
}
