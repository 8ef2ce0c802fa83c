//! A node's disk: the bytes of its lane, of which a prefix is durable, and what it must remember. Invariant: what was
//! synced survives a crash; of the rest a prefix does, or some sectors, or nothing; damage to what was synced is told
//! from a torn tail by later records that say how far the lane was synced.

use std::collections::BTreeMap;

use thalweg_node::codec::record::{ALIGNMENT, HEADER_BYTES, LaneKey, RecordHeader, RecordKind, total_bytes};
use thalweg_node::core::replication::{Entry, Memory, Ticket};
use thalweg_node::types::{
    Boot, Chain, Epoch, LaneId, LanePosition, LogIndex, Met, RecordEpoch, ReplicaId, ShardId, Trail,
};

use super::event::Shard;
use super::log::Log;
use super::plant::Plant;
use crate::dice::Dice;

/// What a disk writes at once.
const SECTOR: usize = 512;

/// The disk of one node.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    key: LaneKey,
    lane: Vec<u8>,
    durable: usize,
    /// How far the lane goes that is being synced.
    syncing: Option<Syncing>,
    /// What is durably remembered per shard.
    pub(super) memories: Vec<Memory>,
    /// What is on its way there.
    saving: Option<Vec<(Memory, Ticket)>>,
    /// How often the node was started, and what its last starts drew.
    pub(super) trail: Trail,
    /// What the tables hold per shard.
    pub(super) applied: Vec<LogIndex>,
    /// The last start of each peer that was met or heard of.
    pub(super) met: BTreeMap<ReplicaId, Met>,
    /// A bit of what was synced has flipped.
    pub(super) flipped: bool,
}

/// A sync under way: how far the lane goes, and what that means for each shard.
#[derive(Debug, Clone)]
pub(super) struct Syncing {
    upto: usize,
    pub(super) ends: Vec<Reach>,
}

/// Why a lane cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Something that was synced is damaged, and what lies behind it says so.
    Damaged,
    /// It is not what was written.
    Wrong(String),
}

/// How far a shard's records in the lane go: the last entry, and the cut behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) end: LogIndex,
    pub(super) cut: Option<LogIndex>,
}

impl Disk {
    /// An empty one.
    pub(super) fn new(node: usize, number: u64, shards: usize) -> Self {
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&(node as u64).to_le_bytes());
        uuid[8..].copy_from_slice(&number.to_le_bytes());
        // A volume is formatted at epoch 1 of the record.
        let promised = Epoch { record: RecordEpoch(1), boot: Boot(0) };
        Self {
            key: LaneKey::new(LaneId(0), uuid),
            lane: Vec::new(),
            durable: 0,
            syncing: None,
            memories: vec![Memory { promised, ..Memory::default() }; shards],
            saving: None,
            trail: Trail::without_keys(Boot(0)),
            applied: vec![LogIndex(0); shards],
            met: BTreeMap::new(),
            flipped: false,
        }
    }

    /// How often the node was started.
    pub(super) const fn boot(&self) -> Boot {
        self.trail.newest()
    }

    /// Writes a record, so far to memory only.
    pub(super) fn write(&mut self, shard: Shard, entry: &Entry, index: LogIndex, before: Chain) {
        let mut header = RecordHeader {
            kind: entry.kind,
            shard: ShardId(u16::try_from(shard).unwrap_or(u16::MAX)),
            payload_bytes: u32::try_from(entry.payload.len()).unwrap_or(u32::MAX),
            payload_checksum: 0,
            position: LanePosition(self.lane.len() as u64),
            synced: LanePosition(self.durable as u64),
            epoch: entry.epoch,
            index,
            chain: before,
        };
        header.payload_checksum = self.key.payload_checksum(&header, &entry.payload);
        let end = self.lane.len() + bytes(total_bytes(entry.payload.len()));
        self.lane.extend_from_slice(&header.encode(&self.key));
        self.lane.extend_from_slice(&entry.payload);
        self.lane.resize(end, 0);
    }

    /// Begins a sync, unless one is under way or there is nothing to sync.
    pub(super) fn begin_sync(&mut self, ends: impl FnOnce() -> Vec<Reach>) -> bool {
        let due = self.syncing.is_none() && self.durable < self.lane.len();
        if due {
            self.syncing = Some(Syncing { upto: self.lane.len(), ends: ends() });
        }
        due
    }

    /// The sync is over.
    pub(super) fn end_sync(&mut self) -> Option<Vec<Reach>> {
        let syncing = self.syncing.take()?;
        self.durable = syncing.upto;
        Some(syncing.ends)
    }

    /// Begins to save what is to be remembered, unless that is under way.
    pub(super) fn begin_save(&mut self, memories: impl FnOnce() -> Vec<(Memory, Ticket)>) -> bool {
        let due = self.saving.is_none();
        if due {
            self.saving = Some(memories());
        }
        due
    }

    /// The save is over.
    pub(super) fn end_save(&mut self) -> Vec<Ticket> {
        let saved = self.saving.take().unwrap_or_default();
        let (memories, tickets) = saved.into_iter().unzip();
        self.memories = memories;
        tickets
    }

    /// Power fails: a save under way is done or not, unsynced bytes are kept, lost, or kept in part.
    pub(super) fn crash(&mut self, dice: &mut Dice) {
        let saved = self.saving.take().filter(|_| dice.once_in(2));
        if let Some(saved) = saved {
            self.memories = saved.into_iter().map(|(memory, _)| memory).collect();
        }
        self.syncing = None;
        let unsynced = (self.lane.len() - self.durable) as u64;
        let kept = match dice.below(4) {
            0 => 0,
            1 => dice.below(unsynced + 1),
            _ => unsynced,
        };
        self.lane.truncate(self.durable + bytes(kept));
        if dice.once_in(2) {
            self.lose_sectors(dice);
        }
    }

    /// Sectors of what is not synced reach the disk in any order: some are not there.
    fn lose_sectors(&mut self, dice: &mut Dice) {
        let mut at = self.durable;
        while at < self.lane.len() {
            let next = ((at / SECTOR + 1) * SECTOR).min(self.lane.len());
            if dice.once_in(2) {
                self.lane[at..next].fill(0);
            }
            at = next;
        }
    }

    /// A page of what is being synced never reaches the disk.
    pub(super) fn drop_a_page(&mut self, dice: &mut Dice) {
        let upto = self.syncing.as_ref().map_or(self.durable, |syncing| syncing.upto);
        let at = self.durable + bytes(dice.below((upto - self.durable) as u64));
        let next = ((at / SECTOR + 1) * SECTOR).min(upto);
        self.lane[at..next].fill(0);
    }

    /// One bit flips of what later records say to be synced; says whether there was any.
    pub(super) fn flip(&mut self, dice: &mut Dice) -> bool {
        let (mut at, mut said) = (0, 0);
        while let Some((header, _)) = self.record_at(at).filter(|_| at < self.durable) {
            said = header.synced.0.max(said);
            at += bytes(header.total_bytes());
        }
        let bit = dice.below(said * 8);
        if let Some(byte) = self.lane.get_mut(bytes(bit / 8)).filter(|_| said > 0) {
            *byte ^= 1 << (bit % 8);
            self.flipped = true;
        }
        self.flipped
    }

    /// What is durable of it now.
    pub(super) fn image(&self) -> Self {
        let mut image = self.clone();
        image.lane.truncate(image.durable);
        (image.syncing, image.saving) = (None, None);
        image
    }

    /// Reads the lane anew: the log of each shard. A torn tail goes; all that is left is durable.
    pub(super) fn recover(&mut self, plant: Option<Plant>) -> Result<Vec<Log>, Unreadable> {
        let mut logs = vec![Log::default(); self.memories.len()];
        let (mut at, mut last) = (0, 0);
        while let Some((header, payload)) = self.record_at(at) {
            take(&mut logs, &header, payload)
                .map_err(|why| Unreadable::Wrong(format!("{why} at position {at}")))?;
            (last, at) = (at, at + bytes(header.total_bytes()));
        }
        if plant != Some(Plant::TakesDamageForATornTail) {
            if self.is_damaged(at) {
                return Err(Unreadable::Damaged);
            }
            if at < self.durable {
                let why = format!("nothing readable at position {at}, though {} were synced", self.durable);
                return Err(Unreadable::Wrong(why));
            }
        }
        let whole = if plant == Some(Plant::CutsTooMuch) && last > 0 { last } else { at };
        self.lane.truncate(whole);
        (self.durable, self.flipped) = (whole, false);
        if whole < at { self.recover(None) } else { Ok(logs) }
    }

    /// Whether what cannot be read was synced: a record behind it says that the lane was synced further.
    fn is_damaged(&self, at: usize) -> bool {
        let behind = (at..self.lane.len()).step_by(ALIGNMENT).skip(1);
        let mut headers = behind.filter_map(|place| {
            RecordHeader::decode(&self.key, self.lane.get(place..)?, LanePosition(place as u64)).ok()
        });
        headers.any(|header| header.synced.0 > at as u64)
    }

    fn record_at(&self, at: usize) -> Option<(RecordHeader, &[u8])> {
        let rest = self.lane.get(at..)?;
        let header = RecordHeader::decode(&self.key, rest, LanePosition(at as u64)).ok()?;
        let record = rest.get(..bytes(header.total_bytes()))?;
        let payload = record.get(HEADER_BYTES..HEADER_BYTES + header.payload_bytes as usize)?;
        self.key.payload_fits(&header, payload).then_some((header, payload))
    }
}

/// What a record does to the log of its shard.
fn take(logs: &mut [Log], header: &RecordHeader, payload: &[u8]) -> Result<(), String> {
    let log = logs.get_mut(usize::from(header.shard.0)).ok_or("a record of no shard")?;
    if header.kind == RecordKind::Cut {
        log.cut(header.index);
        return if log.chain() == header.chain { Ok(()) } else { Err("a cut to another chain".to_owned()) };
    }
    if header.index != log.end().next() {
        return Err(format!("entry {} behind entry {}", header.index, log.end()));
    }
    if header.chain != log.chain() {
        return Err(format!("entry {} does not continue the chain", header.index));
    }
    let payload = payload.to_vec().into();
    log.push(Entry { kind: header.kind, epoch: header.epoch, payload });
    Ok(())
}

fn bytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
