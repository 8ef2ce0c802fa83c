//! The file of a snapshot: every row of a shard's tables as of one log index. A header says of what, blocks of rows follow,
//! a footer counts them. Drawn in `docs/formats.md`; all numbers here are persisted: keep stable.
//!
//! Invariant: each part is bound to the header, and each block to its place, so that no block of another snapshot and no
//! block out of order is ever taken. Nothing is allocated, and nothing decompressed, beyond [`BLOCK_BYTES_MAX`].

mod block;
#[cfg(test)]
mod tests;

pub use block::{
    BLOCK_HEAD_BYTES, BlockHead, BlocksHash, Rows, encode_block, open_block, put_row, row_bytes,
    seal_plain_block,
};

use super::CodecError;
use super::fixed::{Fields, Short};
use crate::types::ClusterId;
use crate::types::{Boot, Chain, Epoch, LogIndex, RecordEpoch, ShardCount, ShardId, UnixMillis};

/// First bytes of every snapshot. Persisted, keep stable.
pub const MAGIC: [u8; 8] = *b"THALWSNP";
/// First bytes of its footer. Persisted, keep stable.
pub const END_MAGIC: [u8; 8] = *b"THALWEND";
/// The only version so far. Persisted, keep stable.
pub const VERSION: u32 = 1;
/// Bytes of rows in a block before compression, at most: the largest row (a chunk of 16,384 messages) fits twice over
/// 120 KiB, and a reader needs no more than two such buffers.
pub const BLOCK_BYTES_MAX: usize = 256 * 1024;
/// Most epochs in a header: as many as the tables keep.
pub const EPOCHS_MAX: usize = 4096;
/// Bytes of the header before its table of epochs.
const HEADER_FIXED_BYTES: usize = 88;
/// Bytes of one row of that table.
const EPOCH_BYTES: usize = 24;
const CHECKSUM_BYTES: usize = 4;
/// Bytes of the longest header.
pub const HEADER_BYTES_MAX: usize = HEADER_FIXED_BYTES + EPOCHS_MAX * EPOCH_BYTES + CHECKSUM_BYTES;
/// Bytes of every footer.
pub const FOOTER_BYTES: usize = 120;
/// The only hash policy so far, `seahash-v1`. Persisted, keep stable.
const HASH_POLICY: u8 = 1;
/// The tables by their persisted numbers, which begin at 1.
pub const TABLE_NAMES: [&str; 9] =
    ["names", "streams", "chunks", "producers", "pins", "expiry", "doomed", "facts", "state"];

/// How many tables there are.
pub const TABLES: usize = TABLE_NAMES.len();

const HEADER: &str = "the header of a snapshot";
const FOOTER: &str = "the footer of a snapshot";

/// The name of a table.
#[must_use]
pub fn table_name(number: u8) -> &'static str {
    usize::from(number).checked_sub(1).and_then(|at| TABLE_NAMES.get(at).copied()).unwrap_or("unknown")
}

/// How blocks are compressed. Numbers are persisted: keep stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
    #[default]
    None = 0,
    /// LZ4 blocks; a block that does not get shorter stands as it is.
    Lz4 = 1,
}

impl Compression {
    const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Lz4),
            _ => None,
        }
    }

    /// As it is written by people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
        }
    }
}

/// What a snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The cluster.
    pub cluster: ClusterId,
    /// The shard.
    pub shard: ShardId,
    /// Of how many.
    pub shards: ShardCount,
    /// How its blocks are compressed.
    pub compression: Compression,
    /// The last record of the log that it holds.
    pub index: LogIndex,
    /// The epoch of that record.
    pub epoch: Epoch,
    /// The chain behind it.
    pub chain: Chain,
    /// When it was taken; for people.
    pub taken_at: UnixMillis,
    /// Where each epoch begins in the log of the shard.
    pub epochs: Vec<(Epoch, LogIndex)>,
}

/// Seeds all checksums behind a header: the checksum of that header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotKey(u32);

impl SnapshotKey {
    /// It tells one snapshot from any other.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl SnapshotHeader {
    /// The header's bytes and the key of what follows. Epochs beyond [`EPOCHS_MAX`] are left out, the oldest ones first.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, SnapshotKey) {
        let epochs = &self.epochs[self.epochs.len().saturating_sub(EPOCHS_MAX)..];
        let length = HEADER_FIXED_BYTES + epochs.len() * EPOCH_BYTES + CHECKSUM_BYTES;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        put_count(&mut bytes, length);
        bytes.extend_from_slice(&self.cluster.0);
        bytes.extend_from_slice(&self.shard.0.to_le_bytes());
        bytes.extend_from_slice(&self.shards.get().to_le_bytes());
        bytes.extend_from_slice(&[HASH_POLICY, self.compression as u8, 0, 0]);
        bytes.extend_from_slice(&self.index.0.to_le_bytes());
        put_epoch(&mut bytes, self.epoch);
        bytes.extend_from_slice(&self.chain.0.to_le_bytes());
        bytes.extend_from_slice(&self.taken_at.0.to_le_bytes());
        put_count(&mut bytes, epochs.len());
        bytes.extend_from_slice(&[0; 4]);
        for (epoch, first) in epochs {
            put_epoch(&mut bytes, *epoch);
            bytes.extend_from_slice(&first.0.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        (bytes, SnapshotKey(checksum))
    }

    /// Reads the header at the front of `bytes`; gives the key of what follows, and where that begins.
    pub fn decode(bytes: &[u8]) -> Result<(Self, SnapshotKey, usize), CodecError> {
        let short = |Short| CodecError::Truncated(HEADER);
        let mut fields = Fields::new(bytes);
        if fields.array().map_err(short)? != MAGIC {
            return Err(CodecError::Impossible("the magic of a snapshot"));
        }
        let version = fields.u32().map_err(short)?;
        if version != VERSION {
            let found = u8::try_from(version).unwrap_or(u8::MAX);
            return Err(CodecError::Version { what: "the snapshot", found });
        }
        let length = fields.u32().map_err(short)? as usize;
        if length > HEADER_BYTES_MAX {
            return Err(CodecError::Impossible("the length of the header"));
        }
        let whole = bytes.get(..length).ok_or(CodecError::Truncated(HEADER))?;
        let (body, checksum) =
            whole.split_last_chunk::<CHECKSUM_BYTES>().ok_or(CodecError::Truncated(HEADER))?;
        let checksum = u32::from_le_bytes(*checksum);
        if crc32c::crc32c(body) != checksum {
            return Err(CodecError::Checksum(HEADER));
        }
        let rest = body.get(16..).ok_or(CodecError::Truncated(HEADER))?;
        let header = Self::decode_body(Fields::new(rest)).map_err(short)?;
        Ok((header.ok_or(CodecError::Impossible(HEADER))?, SnapshotKey(checksum), length))
    }

    /// What stands behind magic, version and length; `None` if it cannot be.
    fn decode_body(mut fields: Fields<'_>) -> Result<Option<Self>, Short> {
        let cluster = ClusterId(fields.array()?);
        let shard = ShardId(fields.u16()?);
        let shards = ShardCount::new(fields.u16()?.into()).ok();
        let [policy, compression, zeros @ ..] = fields.array::<4>()?;
        let index = LogIndex(fields.u64()?);
        let epoch = take_epoch(&mut fields)?;
        let chain = Chain(fields.u64()?);
        let taken_at = UnixMillis(fields.u64()?.cast_signed());
        let count = fields.u32()? as usize;
        let more_zeros = fields.array::<4>()?;
        if fields.rest().len() != count.saturating_mul(EPOCH_BYTES) {
            return Ok(None);
        }
        let mut epochs = Vec::with_capacity(count);
        for _ in 0..count {
            epochs.push((take_epoch(&mut fields)?, LogIndex(fields.u64()?)));
        }
        let (Some(shards), Some(compression)) = (shards, Compression::from_number(compression)) else {
            return Ok(None);
        };
        let sound = policy == HASH_POLICY
            && zeros == [0; 2]
            && more_zeros == [0; 4]
            && shard.0 < shards.get()
            && epochs.is_sorted_by(|one, other| one.0 < other.0);
        let header = Self { cluster, shard, shards, compression, index, epoch, chain, taken_at, epochs };
        Ok(sound.then_some(header))
    }
}

/// What stands behind the last block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotFooter {
    /// How many blocks there are.
    pub blocks: u64,
    /// Bytes before the footer: the length of the file without it.
    pub bytes: u64,
    /// Bytes of all blocks before compression.
    pub raw_bytes: u64,
    /// The hash over the checksums of all blocks.
    pub hash: BlocksHash,
    /// Rows of each table.
    pub rows: [u64; TABLES],
}

impl SnapshotFooter {
    /// Rows of all tables.
    #[must_use]
    pub fn rows_total(&self) -> u64 {
        self.rows.iter().fold(0, |sum, rows| sum.saturating_add(*rows))
    }

    /// The footer's bytes.
    #[must_use]
    pub fn encode(&self, key: SnapshotKey) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FOOTER_BYTES);
        bytes.extend_from_slice(&END_MAGIC);
        let numbers = [self.blocks, self.bytes, self.raw_bytes, self.hash.number()];
        for number in numbers.into_iter().chain(self.rows) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&[0; 4]);
        let checksum = crc32c::crc32c_append(key.0, &bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a footer, which takes up all of `bytes`.
    pub fn decode(key: SnapshotKey, bytes: &[u8]) -> Result<Self, CodecError> {
        let bytes: &[u8; FOOTER_BYTES] = bytes.try_into().map_err(|_| CodecError::Truncated(FOOTER))?;
        let (body, checksum) = bytes.split_at(FOOTER_BYTES - CHECKSUM_BYTES);
        if Fields::new(checksum).u32() != Ok(crc32c::crc32c_append(key.0, body)) {
            return Err(CodecError::Checksum(FOOTER));
        }
        Self::decode_body(Fields::new(body)).map_err(|Short| CodecError::Truncated(FOOTER))
    }

    fn decode_body(mut fields: Fields<'_>) -> Result<Self, Short> {
        fields.array::<8>()?;
        let (blocks, bytes, raw_bytes) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let hash = BlocksHash::from_number(fields.u64()?);
        let mut rows = [0; TABLES];
        for count in &mut rows {
            *count = fields.u64()?;
        }
        Ok(Self { blocks, bytes, raw_bytes, hash, rows })
    }
}

fn put_epoch(out: &mut Vec<u8>, epoch: Epoch) {
    out.extend_from_slice(&epoch.record.0.to_le_bytes());
    out.extend_from_slice(&epoch.boot.0.to_le_bytes());
}

fn take_epoch(fields: &mut Fields<'_>) -> Result<Epoch, Short> {
    Ok(Epoch { record: RecordEpoch(fields.u64()?), boot: Boot(fields.u64()?) })
}

/// All counts here are bounded far below 2^32.
fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}
