//! A value in a table together with a checksum over the value *and the place where it stands*: shard, table and key.
//! Invariant: bytes that were changed, or moved to another key, table or shard, never open.

use super::CodecError;
use crate::types::ShardId;

/// Bytes in front of a sealed value.
pub const SEAL_BYTES: usize = 4;

/// Where a value stands. The table numbers are persisted (they are part of every checksum): keep stable.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The shard whose file holds it.
    pub shard: ShardId,
    /// The table's persisted number.
    pub table: u8,
    /// The key.
    pub key: &'a [u8],
}

impl Place<'_> {
    fn checksum(self, value: &[u8]) -> u32 {
        let mut head = [0u8; 7];
        head[..2].copy_from_slice(&self.shard.0.to_le_bytes());
        head[2] = self.table;
        // A key of more than four GiB cannot exist; its length only has to keep key and value apart.
        head[3..].copy_from_slice(&(self.key.len() as u64).to_le_bytes()[..4]);
        let sum = crc32c::crc32c(&head);
        let sum = crc32c::crc32c_append(sum, self.key);
        crc32c::crc32c_append(sum, value)
    }
}

/// Fills in the seal of `sealed`, whose first [`SEAL_BYTES`] bytes were left free for it.
pub fn seal(place: Place<'_>, sealed: &mut [u8]) {
    if let Some((head, value)) = sealed.split_first_chunk_mut::<SEAL_BYTES>() {
        *head = place.checksum(value).to_le_bytes();
    }
}

/// The value behind an intact seal.
pub fn open<'a>(place: Place<'_>, what: &'static str, sealed: &'a [u8]) -> Result<&'a [u8], CodecError> {
    let (head, value) = sealed.split_first_chunk::<SEAL_BYTES>().ok_or(CodecError::Truncated(what))?;
    if u32::from_le_bytes(*head) == place.checksum(value) {
        Ok(value)
    } else {
        Err(CodecError::Checksum(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(shard: u16, table: u8, key: &[u8]) -> Place<'_> {
        Place { shard: ShardId(shard), table, key }
    }

    #[test]
    fn a_value_opens_only_unchanged_and_only_where_it_was_put() {
        let mut sealed = vec![0; SEAL_BYTES];
        sealed.extend_from_slice(b"value");
        seal(place(3, 1, b"key"), &mut sealed);
        assert_eq!(open(place(3, 1, b"key"), "v", &sealed), Ok(&b"value"[..]));
        for other in [place(4, 1, b"key"), place(3, 2, b"key"), place(3, 1, b"kez"), place(3, 1, b"keyv")] {
            assert_eq!(open(other, "v", &sealed), Err(CodecError::Checksum("v")));
        }
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(place(3, 1, b"key"), "v", &bad), Err(CodecError::Checksum("v")), "bit {bit}");
        }
        assert!(open(place(3, 1, b"key"), "v", &sealed[..3]).is_err());
    }
}
