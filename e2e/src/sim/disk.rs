//! A node's disk: the bytes of its lane, of which a prefix is durable, its tables, and what it must remember. Invariant: what was
//! synced survives a crash; of the rest a prefix does, or some sectors, or nothing; damage to what was synced is told
//! from a torn tail by later records that say how far the lane was synced.

mod damage;

use std::collections::BTreeMap;

use thalweg_node::codec::record::{ALIGNMENT, HEADER_BYTES, LaneKey, RecordHeader, total_bytes};
use thalweg_node::core::replication::{Entry, Memory, Ticket};
use thalweg_node::types::{Boot, Chain, Epoch, LaneId, LanePosition, LogIndex, RecordEpoch, ShardId, Trail};

use super::event::Shard;
use super::plant::Plant;
use super::replay::{Replay, Shape};
use super::table::Table;
use super::vault::{Remembered, Vault};
use crate::dice::Dice;

/// Planted bugs that take something for the end of a log that is not.
const BLIND: [Plant; 3] =
    [Plant::TakesDamageForATornTail, Plant::TakesZerosForTheEnd, Plant::TakesAnErrorForTheEnd];
/// What a disk writes at once.
const SECTOR: usize = 512;

/// The disk of one node.
#[derive(Debug)]
pub(super) struct Disk {
    key: LaneKey,
    /// The lane from `start` on; what stood before was let go.
    lane: Vec<u8>,
    start: usize,
    durable: usize,
    /// How far the lane goes that is being synced.
    syncing: Option<Syncing>,
    /// What is durably remembered, and where.
    pub(super) remembered: Remembered,
    vault: Result<Vault, String>,
    /// What is on its way there.
    saving: Option<Vec<(Memory, Ticket)>>,
    /// The tables of each shard, and those that are on their way to their place.
    pub(super) tables: Vec<Table>,
    pub(super) installing: Vec<Option<Table>>,
    /// A planted bug: tables that come back in a crash, since the directory was not synced when others took their place.
    pub(super) unlisted: Vec<Option<Table>>,
    /// The highest epoch on the promise of which each of its replicas said something.
    pub(super) said: Vec<Epoch>,
    /// Up to where its replicas called entries committed.
    pub(super) called: Vec<LogIndex>,
    /// Something of what was synced is not there any more as it was written.
    pub(super) flipped: bool,
    /// The same since the node started last: nobody knows yet.
    pub(super) latent: bool,
    /// A start reads an error of the device somewhere.
    pub(super) unreadable: bool,
    /// The tables of this shard do not open.
    pub(super) broken: Option<Shard>,
}

/// A sync under way: how far the lane goes, and what that means for each shard.
#[derive(Debug, Clone)]
pub(super) struct Syncing {
    upto: usize,
    pub(super) ends: Vec<Reach>,
}

/// Why a lane cannot be read: it is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) String);

/// How far a shard's records in the lane go: the last entry, and the cut behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) end: LogIndex,
    pub(super) cut: Option<LogIndex>,
    /// The record that says where a seeded shard goes on is among them.
    pub(super) seeded: bool,
}

impl Disk {
    /// An empty one.
    pub(super) fn new(node: usize, number: u64, shards: usize) -> Self {
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&(node as u64).to_le_bytes());
        uuid[8..].copy_from_slice(&number.to_le_bytes());
        // A volume is formatted at epoch 1 of the record.
        let promised = Epoch { record: RecordEpoch(1), boot: Boot(0) };
        let remembered = Remembered {
            trail: Trail::without_keys(Boot(0)),
            memories: vec![Memory { promised, ..Memory::default() }; shards],
            met: BTreeMap::new(),
        };
        Self {
            key: LaneKey::new(LaneId(0), uuid),
            lane: Vec::new(),
            start: 0,
            durable: 0,
            syncing: None,
            vault: Vault::new(number, &remembered),
            remembered,
            saving: None,
            tables: vec![Table::default(); shards],
            installing: vec![None; shards],
            unlisted: vec![None; shards],
            said: vec![Epoch::default(); shards],
            called: vec![LogIndex(0); shards],
            flipped: false,
            latent: false,
            unreadable: false,
            broken: None,
        }
    }

    /// Where the lane ends.
    const fn end(&self) -> usize {
        self.start + self.lane.len()
    }

    /// Lets go what stands before a position, if all of that is durable.
    pub(super) fn let_go(&mut self, upto: usize) {
        let upto = upto.min(self.durable);
        if upto > self.start {
            self.lane.drain(..upto - self.start);
            self.start = upto;
        }
    }

    /// How often the node was started.
    pub(super) const fn boot(&self) -> Boot {
        self.remembered.trail.newest()
    }

    /// Writes a record, so far to memory only; says where it stands.
    pub(super) fn write(&mut self, shard: Shard, entry: &Entry, index: LogIndex, before: Chain) -> usize {
        let position = self.end();
        let mut header = RecordHeader {
            kind: entry.kind,
            shard: ShardId(u16::try_from(shard).unwrap_or(u16::MAX)),
            payload_bytes: u32::try_from(entry.payload.len()).unwrap_or(u32::MAX),
            payload_checksum: 0,
            position: LanePosition(position as u64),
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
        position
    }

    /// Begins a sync, unless one is under way or there is nothing to sync.
    pub(super) fn begin_sync(&mut self, ends: impl FnOnce() -> Vec<Reach>) -> bool {
        let due = self.syncing.is_none() && self.durable < self.end();
        if due {
            self.syncing = Some(Syncing { upto: self.end(), ends: ends() });
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
        self.remembered.memories = memories;
        self.remember();
        tickets
    }

    /// What is remembered goes to the superblock.
    pub(super) fn remember(&mut self) {
        let kept = self.vault.as_mut().map_err(|why| why.clone());
        if let Err(why) = kept.and_then(|vault| vault.remember(&self.remembered)) {
            self.vault = Err(why);
        }
    }

    /// What is read back from there is what was remembered, or what was on its way.
    fn read_back(&mut self, read: Result<Remembered, String>, under_way: Option<&Remembered>) {
        match read {
            Ok(read) if read == self.remembered || Some(&read) == under_way => self.remembered = read,
            Ok(read) => self.vault = Err(format!("{read:?} is left of {:?}", self.remembered)),
            Err(why) => self.vault = Err(why),
        }
    }

    /// One bit of one copy of the superblock flips while the node is down.
    pub(super) fn flip_superblock(&mut self, dice: &mut Dice) {
        let read = self.vault.as_mut().map_err(|why| why.clone()).and_then(|vault| vault.flip(dice));
        self.read_back(read, None);
    }

    /// Power fails: a save under way is done or not, unsynced bytes are kept, lost, or kept in part.
    pub(super) fn crash(&mut self, dice: &mut Dice) {
        let under_way = self.saving.take().map(|saved| Remembered {
            memories: saved.into_iter().map(|(memory, _)| memory).collect(),
            ..self.remembered.clone()
        });
        let vault = self.vault.as_mut().map_err(|why| why.clone());
        let read = vault.and_then(|vault| vault.crash(under_way.as_ref(), dice));
        self.read_back(read, under_way.as_ref());
        // One rename puts tables in the place of others.
        for (table, next) in self.tables.iter_mut().zip(&mut self.installing) {
            if let Some(next) = next.take().filter(|_| dice.once_in(2)) {
                *table = next;
            }
        }
        for (table, before) in self.tables.iter_mut().zip(&mut self.unlisted) {
            if let Some(before) = before.take().filter(|_| dice.once_in(2)) {
                *table = before;
            }
        }
        self.syncing = None;
        let unsynced = (self.end() - self.durable) as u64;
        let kept = match dice.below(4) {
            0 => 0,
            1 => dice.below(unsynced + 1),
            _ => unsynced,
        };
        self.lane.truncate(self.durable - self.start + bytes(kept));
        if dice.once_in(2) {
            self.lose_sectors(dice);
        }
    }

    /// Sectors of what is not synced reach the disk in any order: some are not there.
    fn lose_sectors(&mut self, dice: &mut Dice) {
        let mut at = self.durable;
        while at < self.end() {
            let next = ((at / SECTOR + 1) * SECTOR).min(self.end());
            if dice.once_in(2) {
                self.lane[at - self.start..next - self.start].fill(0);
            }
            at = next;
        }
    }

    /// A page of what is being synced never reaches the disk.
    pub(super) fn drop_a_page(&mut self, dice: &mut Dice) {
        let upto = self.syncing.as_ref().map_or(self.durable, |syncing| syncing.upto);
        let at = self.durable + bytes(dice.below((upto - self.durable) as u64));
        let next = ((at / SECTOR + 1) * SECTOR).min(upto);
        self.lane[at - self.start..next - self.start].fill(0);
    }

    /// What is durable of it now.
    pub(super) fn image(&self) -> Self {
        let lane = self.lane.get(..self.durable - self.start).unwrap_or_default().to_vec();
        Self {
            key: self.key,
            lane,
            start: self.start,
            durable: self.durable,
            syncing: None,
            remembered: self.remembered.clone(),
            vault: self.vault.as_ref().map_err(|why| why.clone()).and_then(Vault::image),
            saving: None,
            tables: self.tables.clone(),
            installing: vec![None; self.tables.len()],
            unlisted: vec![None; self.tables.len()],
            said: self.said.clone(),
            called: self.called.clone(),
            flipped: self.flipped,
            latent: false,
            unreadable: false,
            broken: None,
        }
    }

    /// Reads the lane anew: what there is of each shard. A torn tail goes; all that is left is durable.
    pub(super) fn recover(&mut self, plant: Option<Plant>) -> Result<Vec<Shape>, Unreadable> {
        if let Err(why) = &self.vault {
            return Err(Unreadable(format!("its superblock: {why}")));
        }
        if let Some(shard) = self.broken.take() {
            // Tables that do not open are set aside; the log may still have all that was in them.
            self.remembered.memories[shard].damaged = true;
            self.tables[shard] = Table::default();
            self.remember();
        }
        self.latent = false;
        let fails = self.unreadable && plant == Some(Plant::TakesAnErrorForTheEnd);
        let error = fails.then(|| self.middle());
        let mut shards: Vec<Replay> = self.tables.iter().map(Replay::new).collect();
        let (mut at, mut last, mut damaged) = (self.start, self.start, false);
        loop {
            while let Some((header, payload)) = self.record_at(at).filter(|_| error != Some(at)) {
                let shard = shards.get_mut(usize::from(header.shard.0));
                let shard =
                    shard.ok_or_else(|| Unreadable(format!("a record of no shard at position {at}")))?;
                shard.take(&header, payload, at);
                (last, at) = (at, at + bytes(header.total_bytes()));
            }
            if self.ends_here(at, plant) {
                break;
            }
            let Some(next) = self.behind_damage(at) else { break };
            shards.iter_mut().for_each(Replay::suspect);
            (at, damaged) = (next, true);
        }
        let blind = plant.is_some_and(|plant| BLIND.contains(&plant));
        if damaged && !self.flipped {
            return Err(Unreadable("damage that nobody did".to_owned()));
        }
        if !blind && at < self.durable {
            let why = format!("nothing readable at position {at}, though {} were synced", self.durable);
            return Err(Unreadable(why));
        }
        let whole = if plant == Some(Plant::CutsTooMuch) && last > self.start { last } else { at };
        self.lane.truncate(whole - self.start);
        self.durable = whole;
        if whole < at { self.recover(None) } else { Ok(shards.into_iter().map(Replay::finish).collect()) }
    }

    /// Where the lane goes on behind what cannot be read, if that was synced: a record behind it says that the lane was synced
    /// further.
    fn behind_damage(&self, at: usize) -> Option<usize> {
        let behind = || (at..self.end()).step_by(ALIGNMENT).skip(1);
        let says_so = |place: usize| {
            let rest = self.lane.get(place - self.start..)?;
            let header = RecordHeader::decode(&self.key, rest, LanePosition(place as u64)).ok()?;
            (header.synced.0 > at as u64).then_some(())
        };
        behind().find_map(says_so)?;
        behind().find(|place| self.record_at(*place).is_some())
    }

    fn record_at(&self, at: usize) -> Option<(RecordHeader, &[u8])> {
        let rest = self.lane.get(at.checked_sub(self.start)?..)?;
        let header = RecordHeader::decode(&self.key, rest, LanePosition(at as u64)).ok()?;
        let record = rest.get(..bytes(header.total_bytes()))?;
        let payload = record.get(HEADER_BYTES..HEADER_BYTES + header.payload_bytes as usize)?;
        self.key.payload_fits(&header, payload).then_some((header, payload))
    }
}

fn bytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
