//! Blocks of a snapshot: consecutive rows of one table, compressed or not, under a checksum that is bound to the snapshot
//! and to the block's number.

use super::{BLOCK_BYTES_MAX, Compression, SnapshotKey, TABLES, put_count};
use crate::codec::CodecError;
use crate::codec::fields::{Cursor, put_blob};
use crate::codec::fixed::{Fields, Short};

/// Bytes in front of the rows of a block.
pub const BLOCK_HEAD_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;
const BLOCK: &str = "a block of a snapshot";

/// What stands in front of the rows of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHead {
    /// Checksum of the rest of the head and of what is stored.
    pub checksum: u32,
    /// The table's persisted number.
    pub table: u8,
    /// How this block is stored.
    pub compression: Compression,
    /// Bytes behind the head.
    pub stored_bytes: usize,
    /// Bytes of the rows.
    pub raw_bytes: usize,
}

impl BlockHead {
    /// Reads a head. What it says is within bounds, but not yet held against the checksum: [`open_block`] does that.
    pub fn decode(bytes: &[u8; BLOCK_HEAD_BYTES]) -> Result<Self, CodecError> {
        let mut fields = Fields::new(bytes);
        let mut next = || -> Result<_, Short> {
            Ok((fields.u32()?, fields.u8()?, fields.u8()?, fields.u16()?, fields.u32()?, fields.u32()?))
        };
        let (checksum, table, form, zero, stored, raw) =
            next().map_err(|Short| CodecError::Truncated(BLOCK))?;
        let (stored_bytes, raw_bytes) = (stored as usize, raw as usize);
        let compression = Compression::from_number(form).ok_or(CodecError::Impossible(BLOCK))?;
        let fits = match compression {
            Compression::None => stored_bytes == raw_bytes,
            Compression::Lz4 => stored_bytes < raw_bytes,
        };
        let known = (1..=TABLES).contains(&usize::from(table)) && zero == 0;
        if !known || !fits || stored_bytes == 0 || raw_bytes > BLOCK_BYTES_MAX {
            return Err(CodecError::Impossible(BLOCK));
        }
        Ok(Self { checksum, table, compression, stored_bytes, raw_bytes })
    }
}

fn block_checksum(key: SnapshotKey, number: u64, head: &[u8], stored: &[u8]) -> u32 {
    let seed = crc32c::crc32c_append(key.0, &number.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(seed, head), stored)
}

/// Appends block `number` with these rows to `out`; gives its checksum. There are at most [`BLOCK_BYTES_MAX`] of them.
/// `scratch` is memory that is used again from block to block, so that nobody fills it with zeros each time.
pub fn encode_block(
    key: SnapshotKey,
    number: u64,
    table: u8,
    compression: Compression,
    rows: &[u8],
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> u32 {
    let begin = out.len();
    out.resize(begin + BLOCK_HEAD_BYTES, 0);
    let mut form = Compression::None;
    if compression == Compression::Lz4 {
        scratch.resize(scratch.len().max(lz4_flex::block::get_maximum_output_size(rows.len())), 0);
        let stored = lz4_flex::block::compress_into(rows, scratch).ok();
        // Else it does not get shorter.
        if let Some(stored) = stored.filter(|stored| *stored < rows.len()) {
            out.extend_from_slice(&scratch[..stored]);
            form = Compression::Lz4;
        }
    }
    if form == Compression::None {
        out.extend_from_slice(rows);
    }
    let (checksum, head) = head_of(key, number, table, form, &out[begin + BLOCK_HEAD_BYTES..], rows.len());
    out[begin..begin + CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
    out[begin + CHECKSUM_BYTES..begin + BLOCK_HEAD_BYTES].copy_from_slice(&head);
    checksum
}

/// Makes block `number` of rows that stand behind room for its head, as they are; gives its checksum. There is at least the
/// room, and at most [`BLOCK_BYTES_MAX`] behind it.
pub fn seal_plain_block(key: SnapshotKey, number: u64, table: u8, block: &mut [u8]) -> u32 {
    let (room, rows) = block.split_at_mut(BLOCK_HEAD_BYTES);
    let (checksum, head) = head_of(key, number, table, Compression::None, rows, rows.len());
    room[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
    room[CHECKSUM_BYTES..].copy_from_slice(&head);
    checksum
}

/// The head of a block behind its checksum, and that.
fn head_of(
    key: SnapshotKey,
    number: u64,
    table: u8,
    form: Compression,
    stored: &[u8],
    raw_bytes: usize,
) -> (u32, Vec<u8>) {
    let mut head = vec![table, form as u8, 0, 0];
    put_count(&mut head, stored.len());
    put_count(&mut head, raw_bytes);
    (block_checksum(key, number, &head, stored), head)
}

/// Checks block `number`; then `rows` are its rows and nothing else. What stands in the file as it is, is not copied for that:
/// both change places, and `stored` is memory for the next one.
pub fn open_block(
    key: SnapshotKey,
    number: u64,
    head: &[u8; BLOCK_HEAD_BYTES],
    stored: &mut Vec<u8>,
    rows: &mut Vec<u8>,
) -> Result<BlockHead, CodecError> {
    let opened = open(key, number, head, stored, rows);
    if opened.is_err() {
        rows.clear();
    }
    opened
}

fn open(
    key: SnapshotKey,
    number: u64,
    head: &[u8; BLOCK_HEAD_BYTES],
    stored: &mut Vec<u8>,
    rows: &mut Vec<u8>,
) -> Result<BlockHead, CodecError> {
    let found = BlockHead::decode(head)?;
    if stored.len() != found.stored_bytes {
        return Err(CodecError::Truncated(BLOCK));
    }
    if block_checksum(key, number, &head[CHECKSUM_BYTES..], stored) != found.checksum {
        return Err(CodecError::Checksum(BLOCK));
    }
    match found.compression {
        Compression::None => std::mem::swap(stored, rows),
        Compression::Lz4 => {
            // Bounded by the head, whatever the compressed bytes ask for.
            rows.resize(found.raw_bytes, 0);
            let unpacked = lz4_flex::block::decompress_into(stored, rows);
            if !unpacked.is_ok_and(|bytes| bytes == found.raw_bytes) {
                return Err(CodecError::Impossible(BLOCK));
            }
        }
    }
    Ok(found)
}

/// A running hash over the checksums of all blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlocksHash(u64);

impl BlocksHash {
    /// Before the first block.
    #[must_use]
    pub fn new(key: SnapshotKey) -> Self {
        Self(key.0.into())
    }

    /// As the footer says it.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// For the footer.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Takes up the checksum of the next block.
    pub fn add(&mut self, checksum: u32) {
        let mut both = [0; 12];
        both[..8].copy_from_slice(&self.0.to_le_bytes());
        both[8..].copy_from_slice(&checksum.to_le_bytes());
        self.0 = seahash::hash(&both);
    }
}

/// Appends a row.
pub fn put_row(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    put_blob(out, key);
    put_blob(out, value);
}

/// Bytes that a row takes at most.
#[must_use]
pub const fn row_bytes(key: &[u8], value: &[u8]) -> usize {
    // A length below four GiB takes at most five bytes.
    key.len() + value.len() + 10
}

/// The rows of a block, in order.
#[derive(Debug, Clone)]
pub struct Rows<'a>(Cursor<'a>);

impl<'a> Rows<'a> {
    /// Goes over what [`open_block`] gave.
    #[must_use]
    pub fn new(rows: &'a [u8]) -> Self {
        Self(Cursor::copying(rows))
    }

    fn row(&mut self) -> Result<(&'a [u8], &'a [u8]), CodecError> {
        Ok((self.0.blob("the key of a row")?, self.0.blob("the value of a row")?))
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.rest().is_empty() {
            return None;
        }
        let row = self.row();
        if row.is_err() {
            // Nothing behind it can be told apart.
            self.0 = Cursor::copying(&[]);
        }
        Some(row)
    }
}
