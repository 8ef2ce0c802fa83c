//! Where each shard's log ends within a lane, while appending and while recovering.

use std::collections::BTreeMap;

use super::Record;
use super::report::ShardGap;
use crate::codec::record::{HEADER_BYTES, LANE_ITSELF, RecordHeader, RecordKind};
use crate::codec::segment::{HEAD_BYTES, decode_heads, encode_heads};
use crate::types::{Chain, LanePosition, LogIndex, ShardId};

/// The last index of each shard of a lane; the payload of a mark. A row for the lane itself says that shards may be
/// missing from the table.
#[derive(Debug, Clone, Default)]
pub(super) struct Heads(BTreeMap<ShardId, LogIndex>);

impl Heads {
    /// Moves a shard's head; returns where it was.
    pub(super) fn note(&mut self, kind: RecordKind, shard: ShardId, index: LogIndex) -> Option<LogIndex> {
        if kind.is_chained() || kind == RecordKind::Cut { self.0.insert(shard, index) } else { None }
    }

    /// Takes a [`Self::note`] back.
    pub(super) fn restore(&mut self, shard: ShardId, before: Option<LogIndex>) {
        match before {
            Some(index) => self.0.insert(shard, index),
            None => self.0.remove(&shard),
        };
    }

    pub(super) fn encode(&self, out: &mut impl Extend<u8>) {
        encode_heads(self.0.iter().map(|(shard, index)| (*shard, *index)), out);
    }

    /// The last index of each shard.
    pub(super) fn rows(&self) -> BTreeMap<ShardId, LogIndex> {
        let shards = self.0.iter().filter(|(shard, _)| **shard != LANE_ITSELF);
        shards.map(|(shard, index)| (*shard, *index)).collect()
    }

    /// Bytes that a mark with this table takes in the lane.
    pub(super) fn mark_bytes(&self) -> u64 {
        (HEADER_BYTES + self.0.len() * HEAD_BYTES) as u64
    }
}

/// What recovery knows about the end of one shard.
#[derive(Debug, Clone, Copy)]
struct Known {
    index: LogIndex,
    /// The chain after `index`, if its record was read.
    chain: Option<Chain>,
    /// Where the last evidence stands.
    seen_at: LanePosition,
}

/// Follows index and chain of every shard through recovery and finds what damage took.
#[derive(Debug, Default)]
pub(super) struct Continuity {
    known: BTreeMap<ShardId, Known>,
    gaps: Vec<ShardGap>,
    /// Start of the last damage whose content is unknown.
    blind_damage: Option<LanePosition>,
    last_table: Option<LanePosition>,
    /// The last table said that it may lack shards.
    incomplete: bool,
}

impl Continuity {
    /// A whole record.
    pub(super) fn record(&mut self, record: &Record) {
        let header = &record.header;
        if header.kind.is_chained() {
            self.chained(header, Some(header.chain_after(&record.payload)));
        } else if header.kind == RecordKind::Cut {
            // What is missing behind the cut was taken back with the rest.
            self.gaps.retain(|gap| gap.shard != header.shard || gap.from <= header.index);
            let known = Known { index: header.index, chain: Some(header.chain), seen_at: header.position };
            self.known.insert(header.shard, known);
        } else if !record.payload.is_empty() {
            // The payload's checksum was good, so a table that does not parse was never written.
            let Ok(table) = decode_heads(&record.payload) else { return };
            self.incomplete = table.iter().any(|(shard, _)| *shard == LANE_ITSELF);
            if !self.incomplete {
                self.last_table = Some(header.position);
            }
            for (shard, index) in table.into_iter().filter(|(shard, _)| *shard != LANE_ITSELF) {
                self.table_row(shard, index, header.position);
            }
        }
    }

    /// A record whose header is whole and whose payload is damaged.
    pub(super) fn lost(&mut self, header: &RecordHeader) {
        if header.kind.is_chained() {
            self.chained(header, None);
            self.gaps.push(ShardGap { shard: header.shard, from: header.index, to: Some(header.index) });
        } else if header.shard == LANE_ITSELF {
            // A damaged table takes no record from a shard.
        } else {
            self.blind(header.position);
        }
    }

    /// Damage of which nothing is known but where it begins.
    pub(super) fn blind(&mut self, from: LanePosition) {
        self.blind_damage = Some(from);
    }

    fn chained(&mut self, header: &RecordHeader, chain: Option<Chain>) {
        let shard = header.shard;
        let known = Known { index: header.index, chain, seen_at: header.position };
        let before = self.known.insert(shard, known);
        let gap = match before {
            // The records before the first may have been released, unless damage could have taken them.
            None => self.blind_damage.is_some().then_some(LogIndex(1)),
            Some(before) if before.index.next() == header.index => {
                let broken = before.chain.is_some_and(|chain| chain != header.chain);
                broken.then_some(before.index)
            }
            Some(before) => Some(before.index.next().min(header.index)),
        };
        if let Some(from) = gap.filter(|from| *from < header.index) {
            self.gaps.push(ShardGap { shard, from, to: Some(LogIndex(header.index.0 - 1)) });
        } else if gap.is_some_and(|from| from == header.index && before.is_some()) {
            // An index that repeats: which of the two is right cannot be told.
            self.gaps.push(ShardGap { shard, from: header.index, to: Some(header.index) });
        }
    }

    fn table_row(&mut self, shard: ShardId, index: LogIndex, at: LanePosition) {
        let missing_from = match self.known.get(&shard) {
            Some(known) => (known.index < index).then(|| known.index.next()),
            None => self.blind_damage.is_some().then_some(LogIndex(1)),
        };
        if let Some(from) = missing_from.filter(|from| *from <= index) {
            self.gaps.push(ShardGap { shard, from, to: Some(index) });
        }
        let known = self.known.entry(shard).or_insert(Known { index, chain: None, seen_at: at });
        if known.index < index {
            (known.index, known.chain) = (index, None);
        }
        known.seen_at = at;
    }

    /// The gaps, whether shards that appear nowhere are suspect, and the heads to go on with. A table that is written from
    /// now on must not vouch for a shard that is suspect, or the next start would take it for whole.
    pub(super) fn finish(mut self) -> (Vec<ShardGap>, bool, Heads) {
        let mut unseen_suspect = self.incomplete;
        let mut heads = BTreeMap::new();
        for (shard, known) in &self.known {
            if self.blind_damage.is_some_and(|damage| known.seen_at < damage) {
                self.gaps.push(ShardGap { shard: *shard, from: known.index.next(), to: None });
            } else {
                heads.insert(*shard, known.index);
            }
        }
        if let Some(damage) = self.blind_damage {
            unseen_suspect |= self.last_table.is_none_or(|at| at < damage);
        }
        if unseen_suspect {
            heads.insert(LANE_ITSELF, LogIndex(0));
        }
        (self.gaps, unseen_suspect, Heads(heads))
    }
}
