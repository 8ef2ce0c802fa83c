//! One file of a simulated disk: what programs see, and what the device holds where that differs.

use std::collections::BTreeMap;

use super::SECTOR_BYTES;
use super::random::Random;

/// A sector that was written since the last sync.
#[derive(Debug, Clone)]
struct Unsynced {
    /// What the device holds.
    durable: [u8; SECTOR_BYTES],
    /// A sync failed over it: the system takes it for clean, and no later sync writes it.
    forgotten: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    /// What programs see.
    bytes: Vec<u8>,
    /// The length on the device.
    durable_length: u64,
    unsynced: BTreeMap<u64, Unsynced>,
}

impl Inode {
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn grow(&mut self, length: u64) {
        if length > self.len() {
            self.bytes.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        }
    }

    /// Cuts the file; whether the cut is on the device, a crash decides.
    pub(super) fn truncate(&mut self, length: u64) {
        let (Ok(to), end) = (usize::try_from(length), self.bytes.len()) else { return };
        if to >= end {
            return;
        }
        for sector in to / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            self.note(sector);
        }
        self.bytes.truncate(to);
    }

    pub(super) fn read(&self, buffer: &mut [u8], position: u64) -> usize {
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(self.bytes.len());
        let rest = self.bytes.get(from..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(bytes)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(bytes);
        }
        count
    }

    pub(super) fn write(&mut self, bytes: &[u8], position: u64) {
        let Ok(from) = usize::try_from(position) else { return };
        if bytes.is_empty() {
            return;
        }
        for sector in from / SECTOR_BYTES..(from + bytes.len()).div_ceil(SECTOR_BYTES) {
            self.note(sector);
        }
        if let Some(place) = self.bytes.get_mut(from..from + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// Remembers what the device holds of a sector that is about to change.
    fn note(&mut self, sector: usize) {
        let before = self.sector(sector);
        let unsynced =
            self.unsynced.entry(sector as u64).or_insert(Unsynced { durable: before, forgotten: false });
        unsynced.forgotten = false;
    }

    pub(super) fn sync(&mut self) {
        self.durable_length = self.len();
        self.unsynced.retain(|_, sector| sector.forgotten);
    }

    pub(super) fn fail_sync(&mut self) {
        self.unsynced.values_mut().for_each(|sector| sector.forgotten = true);
    }

    /// Shows what the device holds where a sync failed.
    pub(super) fn forget_cached(&mut self) {
        for (number, sector) in std::mem::take(&mut self.unsynced) {
            let from = usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(SECTOR_BYTES);
            let to = (from + SECTOR_BYTES).min(self.bytes.len());
            if let Some(place) = self.bytes.get_mut(from..to)
                && let Some(durable) = sector.durable.get(..place.len())
            {
                place.copy_from_slice(durable);
            }
        }
    }

    pub(super) fn write_back(&mut self, random: &mut Random, percent: u64) {
        self.unsynced.retain(|_, sector| sector.forgotten || !random.chance(percent));
    }

    pub(super) fn flip(&mut self, bit: u64) -> bool {
        let place = usize::try_from(bit / 8).ok().and_then(|at| self.bytes.get_mut(at));
        place.map(|byte| *byte ^= 1 << (bit % 8)).is_some()
    }

    /// What the device holds: each unsynced sector is there (with a chance of `percent`), torn or not there.
    pub(super) fn after_power_cut(&self, random: &mut Random, percent: u64, tears: bool) -> Self {
        let mut bytes = self.bytes.clone();
        // A cut that was never synced may not have happened: then the device still holds what lay behind it.
        if self.durable_length > self.len() && !random.chance(percent) {
            bytes.resize(usize::try_from(self.durable_length).unwrap_or(usize::MAX), 0);
        }
        for (number, sector) in &self.unsynced {
            let from = usize::try_from(*number).unwrap_or(0) * SECTOR_BYTES;
            let to = (from + SECTOR_BYTES).min(bytes.len());
            if from < self.bytes.len() && random.chance(percent) {
                continue;
            }
            // One in eight of the others is torn: its front or its back made it.
            let torn = tears && from < self.bytes.len() && random.chance(12);
            let keep = if torn { usize::try_from(random.below(512)).unwrap_or(0) } else { 0 };
            let front_is_new = random.chance(50);
            let Some(place) = bytes.get_mut(from..to) else { continue };
            for (at, (byte, old)) in place.iter_mut().zip(sector.durable).enumerate() {
                let new = if front_is_new { at < keep } else { at >= SECTOR_BYTES - keep };
                if !new {
                    *byte = old;
                }
            }
        }
        // A length that was never synced may be lost with all that lies behind it.
        if self.durable_length < bytes.len() as u64 && !random.chance(percent) {
            bytes.truncate(usize::try_from(self.durable_length).unwrap_or(usize::MAX));
        }
        let durable_length = bytes.len() as u64;
        Self { bytes, durable_length, unsynced: BTreeMap::new() }
    }

    /// A sector as programs see it; zeros behind the end.
    fn sector(&self, number: usize) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        self.read(&mut sector, (number * SECTOR_BYTES) as u64);
        sector
    }
}
