//! The checksums of blocks, group by group. A group has two slots in the file, written in turn, one per sync, so that
//! a torn slot leaves the one before it. Invariant: a slot is overwritten only after the other one was synced.

use std::collections::HashMap;
use std::io;

use super::blocks::BLOCK_BYTES;

/// Blocks of a group: as many checksums of four bytes as a slot holds behind its head.
pub(super) const GROUP_BLOCKS: usize = (BLOCK_BYTES - HEAD_BYTES) / 4;
const HEAD_BYTES: usize = 16;
const MAGIC: [u8; 4] = *b"THS1";
/// Groups kept in memory at least: the ends of a few tables.
const GROUPS_MIN: usize = 4;

/// Compared with as a whole: a test byte by byte of the empty ends of pages took as long as all checksums together.
static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// The checksum of a block, bound to where it stands; 0 only for a block of zeros, which is what a new file holds.
pub(super) fn block_seal(block: u64, data: &[u8]) -> u32 {
    // Most blocks differ from zero at once, so the second test is rarely reached.
    if data.first() == Some(&0) && data == ZEROS.get(..data.len()).unwrap_or_default() {
        return 0;
    }
    crc32c::crc32c_append(crc32c::crc32c(&block.to_le_bytes()), data).max(1)
}

#[derive(Debug)]
struct Group {
    seals: Vec<u32>,
    sequence: u64,
    dirty: bool,
    /// Both slots say the same, so that damage to one of them harms nothing.
    settled: bool,
    used: u64,
}

/// The groups in memory.
#[derive(Debug)]
pub(super) struct Seals {
    groups: HashMap<u64, Group>,
    groups_max: usize,
    clock: u64,
}

impl Seals {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { groups: HashMap::new(), groups_max: (bytes_max / BLOCK_BYTES).max(GROUPS_MIN), clock: 0 }
    }

    /// The checksums of `count` blocks of `group`. `load` reads a slot; false when the file ends before it.
    pub(super) fn get(
        &mut self,
        group: u64,
        first_block: u64,
        count: usize,
        load: impl Fn(u64, &mut [u8]) -> io::Result<bool>,
    ) -> io::Result<Vec<u32>> {
        let begin = index(first_block);
        let seals = &self.group(group, load)?.seals;
        Ok(seals.get(begin..begin + count).map(<[u32]>::to_vec).unwrap_or_default())
    }

    /// Notes the checksums of blocks just written.
    pub(super) fn set(
        &mut self,
        group: u64,
        first_block: u64,
        seals: &[u32],
        load: impl Fn(u64, &mut [u8]) -> io::Result<bool>,
    ) -> io::Result<()> {
        let begin = index(first_block);
        let group = self.group(group, load)?;
        if let Some(target) = group.seals.get_mut(begin..begin + seals.len()) {
            target.copy_from_slice(seals);
        }
        group.dirty = true;
        Ok(())
    }

    /// The file ends behind `kept` blocks of `group` now: what lies behind reads as zeros when it grows again.
    pub(super) fn cut(
        &mut self,
        group: u64,
        kept: usize,
        load: impl Fn(u64, &mut [u8]) -> io::Result<bool>,
    ) -> io::Result<()> {
        self.groups.retain(|&number, _| number <= group);
        if kept == 0 {
            self.groups.remove(&group);
            return Ok(());
        }
        let group = self.group(group, load)?;
        for seal in group.seals.iter_mut().skip(kept).filter(|seal| **seal != 0) {
            *seal = 0;
            group.dirty = true;
        }
        Ok(())
    }

    /// The slots to write before the next sync: group, slot, bytes. A group is written once more by the sync that
    /// follows, so that both of its slots hold the same.
    pub(super) fn take_dirty(&mut self) -> Vec<(u64, u64, Vec<u8>)> {
        let due = self.groups.iter_mut().filter(|(_, group)| group.dirty || !group.settled);
        due.map(|(&number, group)| {
            group.settled = !group.dirty;
            group.dirty = false;
            group.sequence += 1;
            (number, group.sequence % 2, encode(number, group))
        })
        .collect()
    }

    fn group(
        &mut self,
        number: u64,
        load: impl Fn(u64, &mut [u8]) -> io::Result<bool>,
    ) -> io::Result<&mut Group> {
        self.clock += 1;
        if !self.groups.contains_key(&number) {
            self.make_room();
            let group = read_group(number, load)?;
            self.groups.insert(number, group);
        }
        let group = self.groups.get_mut(&number).ok_or_else(|| io::Error::other("a group is missing"))?;
        group.used = self.clock;
        Ok(group)
    }

    /// Forgets the clean group that was not used for the longest time. Groups that were written since the last sync
    /// stay; the next sync makes them clean.
    fn make_room(&mut self) {
        while self.groups.len() >= self.groups_max {
            let clean = self.groups.iter().filter(|(_, group)| !group.dirty);
            let Some((&oldest, _)) = clean.min_by_key(|(_, group)| group.used) else { break };
            self.groups.remove(&oldest);
        }
    }
}

fn index(block: u64) -> usize {
    usize::try_from(block % GROUP_BLOCKS as u64).unwrap_or(0)
}

fn slot_checksum(group: u64, raw: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&group.to_le_bytes()), &raw[4..])
}

fn encode(number: u64, group: &Group) -> Vec<u8> {
    let mut raw = vec![0; HEAD_BYTES];
    raw[4..8].copy_from_slice(&MAGIC);
    raw[8..16].copy_from_slice(&group.sequence.to_le_bytes());
    raw.extend(group.seals.iter().flat_map(|seal| seal.to_le_bytes()));
    let checksum = slot_checksum(number, &raw);
    raw[..4].copy_from_slice(&checksum.to_le_bytes());
    raw
}

/// The sequence of an intact slot.
fn decode(number: u64, raw: &[u8]) -> Option<u64> {
    let intact = raw.get(4..8)? == MAGIC && raw.get(..4)? == slot_checksum(number, raw).to_le_bytes();
    let sequence = raw.get(8..16)?.try_into().ok().map(u64::from_le_bytes);
    sequence.filter(|_| intact)
}

fn read_group(number: u64, load: impl Fn(u64, &mut [u8]) -> io::Result<bool>) -> io::Result<Group> {
    let mut best: Option<(u64, Vec<u8>)> = None;
    for slot in 0..2 {
        let mut raw = vec![0; BLOCK_BYTES];
        if !load(slot, &mut raw)? {
            continue;
        }
        if let Some(sequence) = decode(number, &raw).filter(|sequence| sequence % 2 == slot)
            && best.as_ref().is_none_or(|(newest, _)| *newest < sequence)
        {
            best = Some((sequence, raw));
        }
    }
    // Without an intact slot the group counts as new: no sync of it was ever completed, or its blocks will not match.
    let (sequence, seals) = best.map_or((0, vec![0; GROUP_BLOCKS]), |(sequence, raw)| {
        let words = raw[HEAD_BYTES..].as_chunks::<4>().0;
        (sequence, words.iter().map(|word| u32::from_le_bytes(*word)).collect())
    });
    Ok(Group { seals, sequence, dirty: false, settled: true, used: 0 })
}
