//! Harm to what was synced, and reading it while the node runs. Invariant: only such bytes are harmed of which later records say
//! that they were synced: what else is lost of a log nobody can tell from a torn tail.

use std::ops::Range;

use thalweg_node::codec::record::{HEADER_BYTES, RecordHeader};
use thalweg_node::core::replication::Entry;
use thalweg_node::types::{LanePosition, LogIndex};

use super::{Disk, SECTOR, bytes};
use crate::dice::Dice;
use crate::sim::event::Shard;
use crate::sim::plant::Plant;

/// Bytes of a lane that followers which fell behind a little still lack.
const RECENT: usize = 8 * SECTOR;
/// A file of the lane, of which the directory may lose the entry.
const SEGMENT: usize = 16 * SECTOR;

impl Disk {
    /// What later records say to be synced.
    fn said_to_be_synced(&self) -> Range<usize> {
        let (mut said, mut at) = (self.start, self.start);
        while let Some((header, next)) = self.next_record(at).filter(|(_, next)| *next <= self.durable) {
            said = bytes(header.synced.0).max(said);
            at = next;
        }
        self.start..said
    }

    /// One bit flips; says whether there was any.
    pub(in crate::sim) fn flip(&mut self, dice: &mut Dice) -> bool {
        let said = self.said_to_be_synced();
        // A follower needs what was written last.
        let among = if dice.once_in(2) { said.len() } else { said.len().min(RECENT) };
        let bit = dice.below((among as u64) * 8);
        if !said.is_empty() {
            self.lane[said.len() - among + bytes(bit / 8)] ^= 1 << (bit % 8);
        }
        self.is_harmed(!said.is_empty())
    }

    /// A sector went to the place of another one, and never to its own.
    pub(in crate::sim) fn misdirect(&mut self, dice: &mut Dice) -> bool {
        let sectors = self.whole_parts(SECTOR);
        let (from, to) = (dice.below(sectors.len() as u64), dice.below(sectors.len() as u64));
        let place = |number: u64| sectors.get(bytes(number)).cloned();
        let (Some(from), Some(to)) = (place(from), place(to)) else { return self.is_harmed(false) };
        if from == to {
            return self.is_harmed(false);
        }
        self.lane.copy_within(from.clone(), to.start);
        self.lane[from].fill(0);
        self.is_harmed(true)
    }

    /// The directory has lost the entry of a file: nothing of it is there.
    pub(in crate::sim) fn lose_a_file(&mut self, dice: &mut Dice) -> bool {
        let files = self.whole_parts(SEGMENT);
        let file = files.get(bytes(dice.below(files.len() as u64))).cloned();
        let any = file.map(|file| self.lane[file].fill(0)).is_some();
        self.is_harmed(any)
    }

    /// The parts of such a size that lie wholly in what is said to be synced, as places in what is here of the lane.
    fn whole_parts(&self, size: usize) -> Vec<Range<usize>> {
        let said = self.said_to_be_synced();
        let first = said.start.div_ceil(size) * size;
        let starts = (first..).step_by(size).take_while(|start| start + size <= said.end);
        starts.map(|start| start - self.start..start - self.start + size).collect()
    }

    const fn is_harmed(&mut self, any: bool) -> bool {
        self.flipped |= any;
        self.latent |= any;
        any
    }

    /// The first whole record from a position on, and where it ends.
    fn next_record(&self, at: usize) -> Option<(RecordHeader, usize)> {
        let place = if self.record_at(at).is_some() { at } else { self.behind_damage(at)? };
        let (header, _) = self.record_at(place)?;
        Some((header, place + bytes(header.total_bytes())))
    }

    /// A position where a record begins, about in the middle of what there is.
    pub(super) fn middle(&self) -> usize {
        let (mut at, half) = (self.start, self.start + self.lane.len() / 2);
        while let Some((header, _)) = self.record_at(at).filter(|_| at < half) {
            at += bytes(header.total_bytes());
        }
        at
    }

    /// Whether a planted bug takes what stands here for the end of the log.
    pub(super) fn ends_here(&self, at: usize, plant: Option<Plant>) -> bool {
        match plant {
            Some(Plant::TakesDamageForATornTail) => true,
            Some(Plant::TakesZerosForTheEnd) => {
                let rest = self.lane.get(at - self.start..).unwrap_or_default();
                rest.iter().take(HEADER_BYTES).all(|byte| *byte == 0)
            }
            Some(Plant::TakesAnErrorForTheEnd) => self.record_at(at).is_some(),
            _ => false,
        }
    }

    /// Reads an entry back; none if what stands there is not what was written.
    pub(in crate::sim) fn read(
        &self,
        (shard, index): (Shard, LogIndex),
        at: usize,
        plant: Option<Plant>,
    ) -> Option<Entry> {
        if let Some((header, payload)) = self.record_at(at) {
            let meant = usize::from(header.shard.0) == shard && header.index == index;
            let entry = Entry { kind: header.kind, epoch: header.epoch, payload: payload.to_vec().into() };
            return meant.then_some(entry);
        }
        if plant != Some(Plant::ServesDamagedBytes) {
            return None;
        }
        let rest = self.lane.get(at.checked_sub(self.start)?..)?;
        let header = RecordHeader::decode(&self.key, rest, LanePosition(at as u64)).ok()?;
        let payload = rest.get(HEADER_BYTES..HEADER_BYTES + header.payload_bytes as usize)?;
        Some(Entry { kind: header.kind, epoch: header.epoch, payload: payload.to_vec().into() })
    }
}
