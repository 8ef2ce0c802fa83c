//! Where a start begins to read: the newest table of heads in the log that says no more than the tables hold.
//!
//! Invariant: nothing is passed over that a shard may still need. A table counts only if it names every shard of the lane,
//! each with a head that the shard's tables hold durably, and if the table itself is known to have been synced. A shard
//! that is suspect stands in no table, and one that cannot be served has no tables: then everything is read.

use std::collections::{BTreeMap, VecDeque};

use super::Record;
use super::error::{LaneError, Operation};
use super::scan::{Found, SegmentScan};
use super::segment::Segment;
use crate::codec::record::{HEADER_BYTES, LANE_ITSELF, LaneKey, RecordKind};
use crate::codec::segment::{HEAD_BYTES, decode_heads};
use crate::types::{LanePosition, LogIndex, ShardId};

/// What a record with a table of heads takes at most: 256 shards, and the row for the lane itself.
const TABLE_RECORD_BYTES_MAX: u64 = (HEADER_BYTES + 257 * HEAD_BYTES) as u64;

/// How far behind a table one looks for the record that says the table was synced: the group that began with it, and one
/// more.
const PROOF_BYTES_MAX: u64 = 16 << 20;

/// The last index of each shard of the lane that its tables hold durably; empty if one of them has no sound tables.
pub type Held = BTreeMap<ShardId, LogIndex>;

/// Where reading may begin; `None`: at the first segment.
pub(super) fn find(
    key: LaneKey,
    segments: &VecDeque<Segment>,
    held: &Held,
) -> Result<Option<LanePosition>, LaneError> {
    if held.is_empty() {
        return Ok(None);
    }
    for segment in segments.iter().rev() {
        let mut scan = SegmentScan::new(key, segment.clone());
        // The hint was written after its record was synced, and says so; a lead says it only through what follows it.
        if let Some(position) = segment.read_hint().map_err(LaneError::io(Operation::Read))?
            && let Some(record) = table_at(&mut scan, position, held)?
            && record.header.synced == position
        {
            return Ok(Some(position));
        }
        if let Some(record) = table_at(&mut scan, segment.base, held)?
            && is_synced(&mut scan, &record)?
        {
            return Ok(Some(segment.base));
        }
    }
    Ok(None)
}

/// The record at a position, if it carries a table that `held` covers.
fn table_at(
    scan: &mut SegmentScan,
    position: LanePosition,
    held: &Held,
) -> Result<Option<Record>, LaneError> {
    let record = match scan.at(position, position.advanced(TABLE_RECORD_BYTES_MAX)) {
        Ok(Found::Record(record)) => record,
        // What a newer release wrote is met again on the walk, if it belongs to the log at all.
        Ok(_) | Err(LaneError::Newer(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_table = matches!(record.header.kind, RecordKind::Mark | RecordKind::Close);
    let Ok(rows) = decode_heads(&record.payload) else { return Ok(None) };
    let rows: BTreeMap<ShardId, LogIndex> = rows.into_iter().collect();
    let covered = !rows.contains_key(&LANE_ITSELF)
        && held.iter().all(|(shard, applied)| rows.get(shard).is_some_and(|head| head <= applied));
    Ok((is_table && covered).then_some(record))
}

/// Whether a record behind `table` in its segment says that the table was synced. Else it may belong to a batch that was
/// rolled and lost its first half in a power cut, and the log ends before it.
fn is_synced(scan: &mut SegmentScan, table: &Record) -> Result<bool, LaneError> {
    let proven = table.header.end();
    let (mut position, end) = (proven, scan.segment.end());
    while position < proven.advanced(PROOF_BYTES_MAX) && scan.has_space_at(position) {
        let Ok(Found::Record(record)) = scan.at(position, end) else { return Ok(false) };
        if record.header.synced >= proven {
            return Ok(true);
        }
        position = record.header.end();
    }
    Ok(false)
}
