//! Committed records and the tables: what a record changes, what the tables say of the log that they stand for, and how many
//! records make a transaction. A start and the applier apply by the same code. Invariant: records go in in log order, and the
//! tables say up to which one they hold everything.

use bytes::Bytes;

use super::Committed;
use crate::codec::op::decode_ops;
use crate::codec::record::RecordKind;
use crate::codec::voters::decode_configs;
use crate::core::replication::History;
use crate::store::tables::{Applied, EpochStart, Tables, TablesError};
use crate::types::limits::CHUNK_BYTES_TARGET;
use crate::types::{Configs, Epoch, LogIndex, Op, Space, StreamSet};

/// What a transaction holds at least: half of the memory that a shard's tables have by default, which is what redb keeps
/// for pages that are not written yet.
const TRANSACTION_BYTES: usize = 1 << 20;

/// The row of the newest committed sets of voters. Persisted, keep stable.
const VOTERS_KEY: &[u8] = b"voters";

/// The log's shape and the voters, as far as the tables hold them.
pub(in crate::runtime) fn base_of(tables: &Tables) -> Result<(History, Vec<(LogIndex, Configs)>), String> {
    let state = tables.state();
    let start = |start: &EpochStart| core_start(start.epoch, start.first);
    let starts = state.epochs.iter().map(start).collect();
    let history = History::new(starts, state.applied.index, state.applied.chain);
    let history = history.map_err(|error| format!("its tables: {error}"))?;
    let voters =
        tables.reader().patient().fact(Space::Voters, VOTERS_KEY).map_err(|error| error.to_string())?;
    let voters = voters.map(|bytes| decode_configs(&bytes)).transpose().map_err(|error| error.to_string())?;
    Ok((history, voters.into_iter().map(|configs| (state.applied.index, configs)).collect()))
}

fn core_start(epoch: Epoch, first: LogIndex) -> crate::core::replication::EpochStart {
    crate::core::replication::EpochStart { epoch, first }
}

/// Applies records in log order, in as few transactions as the tables' memory serves well.
pub(in crate::runtime) fn apply(tables: &mut Tables, records: &[Committed]) -> Result<(), TablesError> {
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
    let mut streams = StreamSet::default();
    let mut bytes = 0;
    let ends_before = |record: &Committed| {
        if bytes >= TRANSACTION_BYTES.max(streams.len() * CHUNK_BYTES_TARGET) {
            return true;
        }
        bytes += usize::try_from(record.bytes).unwrap_or(usize::MAX);
        streams.extend(record.ops.iter().filter_map(Op::stream));
        false
    };
    records.iter().position(ends_before).unwrap_or(records.len())
}

fn apply_at_once(tables: &mut Tables, records: &[Committed]) -> Result<(), TablesError> {
    let Some(last) = records.last() else { return Ok(()) };
    let applied = Applied { index: last.index, chain: last.chain, epoch: last.epoch };
    let epochs = epoch_starts(tables, records);
    let ops = records.iter().flat_map(|record| record.ops.iter().map(|op| (record.index, op)));
    tables.apply_all(ops, applied, &epochs)
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

/// What a record changes.
pub(in crate::runtime) fn ops_of(kind: RecordKind, payload: &Bytes) -> Result<Vec<Op>, String> {
    match kind {
        RecordKind::Batch | RecordKind::Relief => decode_ops(payload).map_err(|error| error.to_string()),
        RecordKind::Config => {
            let key = Bytes::from_static(VOTERS_KEY);
            Ok(vec![Op::Put { space: Space::Voters, key, value: payload.clone() }])
        }
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{AppendOp, Chain, LanePosition, Messages, Offset, StreamId, UnixMillis};

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
        Committed::new(
            LogIndex(index),
            (Epoch::default(), Chain(0)),
            LanePosition(0),
            vec![Op::Append(append)],
        )
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
