//! The header block of a segment file, and the tables that the lane's own records carry (`docs/formats.md`).

use super::fixed::{Fields, Short};
use crate::types::{LaneId, LanePosition, LogIndex, ShardId};

/// First bytes of every segment file. Persisted, keep stable.
pub const MAGIC: [u8; 8] = *b"THALWSEG";
/// The only version so far. Persisted, keep stable.
pub const VERSION: u32 = 1;
/// Records begin behind a block of this size, so that header and records never share a page.
pub const BLOCK_BYTES: u64 = 4096;
/// Bytes of the block that mean something; the rest is zero.
pub const HEADER_BYTES: usize = 64;

/// What a segment file says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The lane.
    pub lane: LaneId,
    /// The lane's identity on this volume.
    pub uuid: [u8; 16],
    /// Its place in the series; also the file's name.
    pub number: u64,
    /// Position of the first byte behind the header block.
    pub base: LanePosition,
    /// Bytes for records; the next segment's base is `base + bytes`.
    pub bytes: u64,
}

/// Why a block is no segment header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Fewer bytes than a header, or another magic number.
    #[error("no segment header")]
    Absent,
    /// The checksum does not fit.
    #[error("the segment header fails its checksum")]
    Checksum,
    /// Written by a newer release.
    #[error("the segment has version {0}, which this release does not know")]
    Newer(u32),
}

impl SegmentHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.lane.0.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&self.uuid);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.base.0.to_le_bytes());
        bytes.extend_from_slice(&self.bytes.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header.
    pub fn decode(bytes: &[u8]) -> Result<Self, SegmentError> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(SegmentError::Absent)?;
        if !bytes.starts_with(&MAGIC) {
            return Err(SegmentError::Absent);
        }
        let (body, checksum) = bytes.split_at(HEADER_BYTES - 4);
        if Fields::new(checksum).u32() != Ok(crc32c::crc32c(body)) {
            return Err(SegmentError::Checksum);
        }
        let mut fields = Fields::new(&body[MAGIC.len()..]);
        let mut next = || -> Result<_, Short> {
            let version = fields.u32()?;
            let lane = LaneId(fields.u16()?);
            fields.bytes(2)?;
            let uuid = fields.array()?;
            let number = fields.u64()?;
            let base = LanePosition(fields.u64()?);
            Ok((version, Self { lane, uuid, number, base, bytes: fields.u64()? }))
        };
        match next() {
            Ok((VERSION, header)) => Ok(header),
            Ok((version, _)) => Err(SegmentError::Newer(version)),
            Err(Short) => Err(SegmentError::Absent),
        }
    }
}

/// Where the hint begins in the header block: in a sector of its own, so that it never takes the header with it.
pub const HINT_AT: u64 = 512;
/// Bytes of a hint.
pub const HINT_BYTES: usize = 20;

/// Where a synced record with a table of heads stands in a segment, so that a start need not read what lies before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    /// The segment's number, so that a recycled file's old hint is known for what it is.
    pub number: u64,
    /// The record's position.
    pub position: LanePosition,
}

impl Hint {
    /// The hint's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HINT_BYTES);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.position.0.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a hint; `None` if there is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HINT_BYTES] = bytes.first_chunk()?;
        let (body, checksum) = bytes.split_at(HINT_BYTES - 4);
        if Fields::new(checksum).u32() != Ok(crc32c::crc32c(body)) {
            return None;
        }
        let mut fields = Fields::new(body);
        Some(Self { number: fields.u64().ok()?, position: LanePosition(fields.u64().ok()?) })
    }
}

/// Bytes of one row of a table of heads.
pub const HEAD_BYTES: usize = 16;

/// Appends the table of heads: the last index of each shard, as the payload of a mark.
pub fn encode_heads(heads: impl Iterator<Item = (ShardId, LogIndex)>, out: &mut impl Extend<u8>) {
    for (shard, index) in heads {
        out.extend(shard.0.to_le_bytes());
        out.extend([0; 6]);
        out.extend(index.0.to_le_bytes());
    }
}

/// Reads a table of heads.
pub fn decode_heads(payload: &[u8]) -> Result<Vec<(ShardId, LogIndex)>, Short> {
    let mut fields = Fields::new(payload);
    let mut heads = Vec::with_capacity(payload.len() / HEAD_BYTES);
    while !fields.rest().is_empty() {
        let shard = ShardId(fields.u16()?);
        fields.bytes(6)?;
        heads.push((shard, LogIndex(fields.u64()?)));
    }
    Ok(heads)
}
