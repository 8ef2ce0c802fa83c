//! One record of a lane: a header of fixed size and a payload, padded to eight bytes (table in `docs/formats.md`).
//!
//! Invariant: bytes parse as a record only at the lane and the position for which they were written, because both
//! checksums are seeded with the lane's key and the header carries its own position. So what a recycled segment held
//! before can never be taken for current. The header has a checksum of its own: damage in a payload does not hide the
//! record, and damage in a length cannot hide the records behind it.

use super::fixed::Fields;
use crate::types::limits::RECORD_PAYLOAD_BYTES_MAX;
use crate::types::{Boot, Chain, Epoch, LaneId, LanePosition, LogIndex, RecordEpoch, ShardId};

/// First four bytes of every record; not zero, so that zeros never parse. Persisted, keep stable.
pub const MAGIC: [u8; 4] = *b"\xa7TLR";
/// The only version of the header so far. Persisted, keep stable.
pub const VERSION: u8 = 1;
/// Bytes of a header.
pub const HEADER_BYTES: usize = 72;
/// The shard number of records that belong to the lane itself. Persisted, keep stable.
pub const LANE_ITSELF: ShardId = ShardId(u16::MAX);
/// Records begin at multiples of this.
pub const ALIGNMENT: usize = 8;

/// What a record is. Numbers are persisted and never used again; those from 16 on belong to the lane, not to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RecordKind {
    /// Decided changes of one shard, which happen wholly or not at all.
    Batch = 1,
    /// An epoch begins: the first record that its leader writes.
    EpochStart = 2,
    /// A new set of voters.
    Config = 3,
    /// This replica took back the shard's records behind `index`; `chain` is the chain after that record. Local, outside
    /// the chain, and does not itself take an index.
    Cut = 4,
    /// As [`Self::Batch`], but all its changes free room (deletions, expiries, trims): written on a full volume too.
    Relief = 5,
    /// The lane goes on in the next segment.
    Roll = 16,
    /// Says how far the lane is synced, and with its payload where each shard ends.
    Mark = 17,
    /// As [`Self::Mark`], written by a clean stop.
    Close = 18,
    /// Says with its payload up to where the entries of each shard are committed: a start takes those for the tables'.
    Settled = 19,
}

impl RecordKind {
    /// The kind of a number, if this version knows it.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Batch,
            2 => Self::EpochStart,
            3 => Self::Config,
            4 => Self::Cut,
            5 => Self::Relief,
            16 => Self::Roll,
            17 => Self::Mark,
            18 => Self::Close,
            19 => Self::Settled,
            _ => return None,
        })
    }

    /// Whether the record takes an index of its shard and is part of its chain.
    #[must_use]
    pub const fn is_chained(self) -> bool {
        matches!(self, Self::Batch | Self::EpochStart | Self::Config | Self::Relief)
    }

    /// Whether the record may use the space that is held back for the case of a full volume.
    #[must_use]
    pub const fn may_use_reserve(self) -> bool {
        !matches!(self, Self::Batch)
    }
}

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// What it is.
    pub kind: RecordKind,
    /// Whose it is; [`LANE_ITSELF`] for the lane's own.
    pub shard: ShardId,
    /// Length of the payload without padding.
    pub payload_bytes: u32,
    /// Checksum of the payload, see [`LaneKey::payload_checksum`].
    pub payload_checksum: u32,
    /// Where in the lane the header begins.
    pub position: LanePosition,
    /// Everything in the lane before this was known to be synced when the record was encoded.
    pub synced: LanePosition,
    /// Epoch of the leader that wrote it.
    pub epoch: Epoch,
    /// Position in the log of its shard.
    pub index: LogIndex,
    /// The shard's chain before it.
    pub chain: Chain,
}

/// Why bytes are no record of this lane at this position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than a header.
    #[error("fewer bytes than a record header")]
    Short,
    /// Another magic number: no record begins here.
    #[error("no record begins here")]
    Magic,
    /// The header's checksum does not fit: damaged, of another lane, or torn.
    #[error("the record header fails its checksum")]
    Checksum,
    /// A whole record that was written for another position: what a recycled segment held before.
    #[error("the record belongs to position {0}")]
    Misplaced(LanePosition),
    /// An intact record of a kind or version that only a newer release knows.
    #[error("the record has version {version} and kind {kind}, which this release does not know")]
    Newer {
        /// The version found.
        version: u8,
        /// The kind found.
        kind: u8,
    },
    /// A payload longer than any that is ever written.
    #[error("the record claims a payload of {0} bytes")]
    Length(u32),
}

/// Seeds the checksums of one lane, so that records of another lane never parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneKey {
    seed: u32,
}

impl LaneKey {
    /// The key of a lane.
    #[must_use]
    pub fn new(lane: LaneId, uuid: [u8; 16]) -> Self {
        Self { seed: crc32c::crc32c_append(crc32c::crc32c(&uuid), &lane.0.to_le_bytes()) }
    }

    /// Checksum of a payload, bound to where and as what it is stored.
    #[must_use]
    pub fn payload_checksum(&self, header: &RecordHeader, payload: &[u8]) -> u32 {
        let mut bound = [0; 35];
        let mut out = Writer(&mut bound);
        out.put(&header.shard.0.to_le_bytes());
        out.put(&header.epoch.record.0.to_le_bytes());
        out.put(&header.epoch.boot.0.to_le_bytes());
        out.put(&header.index.0.to_le_bytes());
        out.put(&header.position.0.to_le_bytes());
        out.put(&[header.kind as u8]);
        crc32c::crc32c_append(crc32c::crc32c_append(self.seed, &bound), payload)
    }

    /// Whether `payload` is what the header was written for.
    #[must_use]
    pub fn payload_fits(&self, header: &RecordHeader, payload: &[u8]) -> bool {
        payload.len() == header.payload_bytes as usize
            && self.payload_checksum(header, payload) == header.payload_checksum
    }
}

/// Fills an array from the front; what does not fit is a bug that the golden file shows.
struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    // Of known length: a store instead of a call for each field of each record.
    #[inline]
    fn put<const N: usize>(&mut self, bytes: &[u8; N]) {
        let taken = std::mem::take(&mut self.0);
        if let Some((front, rest)) = taken.split_first_chunk_mut() {
            *front = *bytes;
            self.0 = rest;
        }
    }
}

impl RecordHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self, key: &LaneKey) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut out = Writer(&mut bytes);
        out.put(&MAGIC);
        out.put(&[VERSION, self.kind as u8]);
        out.put(&self.shard.0.to_le_bytes());
        out.put(&self.payload_bytes.to_le_bytes());
        out.put(&self.payload_checksum.to_le_bytes());
        out.put(&self.position.0.to_le_bytes());
        out.put(&self.synced.0.to_le_bytes());
        out.put(&self.epoch.record.0.to_le_bytes());
        out.put(&self.epoch.boot.0.to_le_bytes());
        out.put(&self.index.0.to_le_bytes());
        out.put(&self.chain.0.to_le_bytes());
        out.put(&[0; 4]);
        let checksum = crc32c::crc32c_append(key.seed, &bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header that should stand at `position`.
    pub fn decode(key: &LaneKey, bytes: &[u8], position: LanePosition) -> Result<Self, RecordError> {
        let header = Self::decode_anywhere(key, bytes)?;
        if header.position == position { Ok(header) } else { Err(RecordError::Misplaced(header.position)) }
    }

    /// Reads a header of this lane wherever it was written for.
    pub fn decode_anywhere(key: &LaneKey, bytes: &[u8]) -> Result<Self, RecordError> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(RecordError::Short)?;
        if !bytes.starts_with(&MAGIC) {
            return Err(RecordError::Magic);
        }
        let mut checksum = Fields::new(&bytes[HEADER_BYTES - 4..]);
        if checksum.u32() != Ok(crc32c::crc32c_append(key.seed, &bytes[..HEADER_BYTES - 4])) {
            return Err(RecordError::Checksum);
        }
        Self::decode_fields(Fields::new(&bytes[MAGIC.len()..]))
    }

    fn decode_fields(mut fields: Fields<'_>) -> Result<Self, RecordError> {
        let mut next = || -> Result<_, super::fixed::Short> {
            let (version, kind) = (fields.u8()?, fields.u8()?);
            let shard = ShardId(fields.u16()?);
            let (payload_bytes, payload_checksum) = (fields.u32()?, fields.u32()?);
            let (position, synced) = (LanePosition(fields.u64()?), LanePosition(fields.u64()?));
            let epoch = Epoch { record: RecordEpoch(fields.u64()?), boot: Boot(fields.u64()?) };
            let (index, chain) = (LogIndex(fields.u64()?), Chain(fields.u64()?));
            // The kind is checked below; `Mark` only holds the place.
            let kind_placeholder = RecordKind::Mark;
            let header = Self {
                kind: kind_placeholder,
                shard,
                payload_bytes,
                payload_checksum,
                position,
                synced,
                epoch,
                index,
                chain,
            };
            Ok((version, kind, header))
        };
        let (version, number, header) = next().map_err(|_| RecordError::Short)?;
        let kind = match RecordKind::from_number(number) {
            Some(kind) if version == VERSION => kind,
            _ => return Err(RecordError::Newer { version, kind: number }),
        };
        if header.payload_bytes as usize > RECORD_PAYLOAD_BYTES_MAX {
            return Err(RecordError::Length(header.payload_bytes));
        }
        Ok(Self { kind, ..header })
    }

    /// Bytes that the record takes in the lane.
    #[must_use]
    pub const fn total_bytes(&self) -> u64 {
        total_bytes(self.payload_bytes as usize)
    }

    /// The position behind the record.
    #[must_use]
    pub const fn end(&self) -> LanePosition {
        self.position.advanced(self.total_bytes())
    }

    /// The shard's chain after this record.
    #[must_use]
    pub fn chain_after(&self, payload: &[u8]) -> Chain {
        if self.kind.is_chained() {
            chain_after(self.chain, self.epoch, self.index, self.kind, payload)
        } else {
            self.chain
        }
    }
}

/// Bytes that a record with such a payload takes in the lane.
#[must_use]
pub const fn total_bytes(payload_bytes: usize) -> u64 {
    (HEADER_BYTES + payload_bytes.next_multiple_of(ALIGNMENT)) as u64
}

/// The chain of a shard after a record: a running hash over epoch, index, kind and payload. Equal chains at an index
/// mean equal logs up to it. Persisted, keep stable.
#[must_use]
pub fn chain_after(before: Chain, epoch: Epoch, index: LogIndex, kind: RecordKind, payload: &[u8]) -> Chain {
    let mut head = [0; 41];
    let mut out = Writer(&mut head);
    out.put(&before.0.to_le_bytes());
    out.put(&epoch.record.0.to_le_bytes());
    out.put(&epoch.boot.0.to_le_bytes());
    out.put(&index.0.to_le_bytes());
    out.put(&(payload.len() as u64).to_le_bytes());
    out.put(&[kind as u8]);
    // The head is hashed first and seeds the payload's hash, so that the long part is read once and in place.
    let seed = seahash::hash(&head);
    Chain(seahash::hash_seeded(
        payload,
        seed,
        seed.rotate_left(17) ^ 0x9e37_79b9_7f4a_7c15,
        seed.rotate_left(31) ^ 0xc2b2_ae3d_27d4_eb4f,
        seed.rotate_left(47) ^ 0x1656_67b1_9e37_79f9,
    ))
}
