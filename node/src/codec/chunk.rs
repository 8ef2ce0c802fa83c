//! Chunks: consecutive messages of one stream in wire form, as the rows of the chunk table. A run of messages is one
//! row; a single message larger than a row is spread over several. Each row is sealed ([`super::seal`]) to shard,
//! stream, first message and part, so that a row out of place is never served. Kinds are persisted: keep stable.

use bytes::Bytes;

use super::CodecError;
use super::fields::{Cursor, put_number, put_time, put_u8};
use super::seal::{Place, SEAL_BYTES, open, seal};
use crate::types::limits::{CHUNK_BYTES_TARGET, CHUNK_MESSAGES_MAX};
use crate::types::{Framing, Lengths, Messages, Offset, ShardId, StreamId, UnixMillis};

/// The chunk table's number within seals (persisted).
pub const CHUNK_TABLE: u8 = 3;
const VERSION: u8 = 1;
const WHAT: &str = "a chunk";

// Flag bits of the first row (persisted): all messages have one length; the one message goes on in further rows.
const JSON: u8 = 1;
const EVEN: u8 = 1 << 1;
const SPREAD: u8 = 1 << 2;
const KNOWN: u8 = (1 << 3) - 1;

/// Key of a row: stream, index of the first message, part; big-endian, so that rows sort in stream order.
pub type ChunkKey = [u8; 20];

/// The key of a row.
#[must_use]
pub fn chunk_key(stream: StreamId, first_message: u64, part: u32) -> ChunkKey {
    let mut key = [0; 20];
    key[..8].copy_from_slice(&stream.0.to_be_bytes());
    key[8..16].copy_from_slice(&first_message.to_be_bytes());
    key[16..].copy_from_slice(&part.to_be_bytes());
    key
}

/// Stream, index of the first message and part of a key.
#[must_use]
pub fn split_chunk_key(key: &ChunkKey) -> (StreamId, u64, u32) {
    let number = |range: std::ops::Range<usize>| {
        key[range].iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte))
    };
    (StreamId(number(0..8)), number(8..16), u32::try_from(number(16..20)).unwrap_or_default())
}

/// What stands in front of the messages of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkHead {
    /// Boundary before the first message.
    pub start: Offset,
    /// How the messages stand next to each other.
    pub framing: Framing,
    /// Time of the first append in it.
    pub first_at: UnixMillis,
    /// Time of the last append in it.
    pub last_at: UnixMillis,
    /// Length of each message.
    pub lengths: Lengths,
}

impl ChunkHead {
    /// The boundary behind the last message.
    #[must_use]
    pub fn end(&self) -> Offset {
        let lengths = self.lengths.as_slice();
        let bytes: u64 = lengths.iter().map(|&length| u64::from(length)).sum();
        self.start.advanced(lengths.len() as u64, bytes)
    }

    /// Bytes of all its messages in wire form.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        let lengths = self.lengths.as_slice();
        let separators = lengths.len().saturating_sub(1) * self.framing.separator_len();
        lengths.iter().map(|&length| length as usize).sum::<usize>() + separators
    }

    /// How many rows hold it.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.wire_bytes().div_ceil(CHUNK_BYTES_TARGET).max(1)
    }
}

/// Writes row `part` of a chunk into `row` (which is cleared). Rows beyond the first hold the rest of one large message.
pub fn encode_row(
    row: &mut Vec<u8>,
    shard: ShardId,
    stream: StreamId,
    head: &ChunkHead,
    wire: &[u8],
    part: u32,
) {
    row.clear();
    row.resize(SEAL_BYTES, 0);
    put_u8(row, VERSION);
    if part == 0 {
        put_head(row, head);
    }
    let begin = (part as usize).saturating_mul(CHUNK_BYTES_TARGET).min(wire.len());
    let end = if head.rows() == 1 { wire.len() } else { (begin + CHUNK_BYTES_TARGET).min(wire.len()) };
    row.extend_from_slice(&wire[begin..end]);
    let key = chunk_key(stream, head.start.messages, part);
    seal(Place { shard, table: CHUNK_TABLE, key: &key }, row);
}

fn put_head(row: &mut Vec<u8>, head: &ChunkHead) {
    let lengths = head.lengths.as_slice();
    let even = lengths.first().filter(|first| lengths.iter().all(|length| length == *first));
    let flags = if head.framing == Framing::Json { JSON } else { 0 }
        | if even.is_some() { EVEN } else { 0 }
        | if head.rows() > 1 { SPREAD } else { 0 };
    put_u8(row, flags);
    put_number(row, head.start.bytes);
    put_time(row, head.first_at);
    put_time(row, head.last_at);
    put_number(row, lengths.len() as u64);
    match even {
        Some(&length) => put_number(row, u64::from(length)),
        None => lengths.iter().for_each(|&length| put_number(row, u64::from(length))),
    }
}

/// Checks the first row of a chunk and reads its head; the bytes behind it are the messages (or their first part).
pub fn decode_first_row<'a>(
    shard: ShardId,
    key: &ChunkKey,
    row: &'a [u8],
) -> Result<(ChunkHead, &'a [u8]), CodecError> {
    let (_, first_message, _) = split_chunk_key(key);
    let mut cursor = Cursor::copying(open_row(shard, key, row)?);
    let flags = cursor.u8(WHAT)?;
    if flags & !KNOWN != 0 {
        return Err(CodecError::Impossible(WHAT));
    }
    let start = Offset { messages: first_message, bytes: cursor.number(WHAT)? };
    let first_at = cursor.time(WHAT)?;
    let last_at = cursor.time(WHAT)?;
    let count = cursor.size(WHAT)?;
    if count == 0 || count > CHUNK_MESSAGES_MAX {
        return Err(CodecError::Impossible(WHAT));
    }
    let lengths = if count == 1 {
        Lengths::One(cursor.number32(WHAT)?)
    } else if flags & EVEN != 0 {
        Lengths::Many(vec![cursor.number32(WHAT)?; count].into())
    } else {
        let lengths: Result<Vec<u32>, _> = (0..count).map(|_| cursor.number32(WHAT)).collect();
        Lengths::Many(lengths?.into())
    };
    let framing = if flags & JSON != 0 { Framing::Json } else { Framing::Plain };
    let head = ChunkHead { start, framing, first_at, last_at, lengths };
    let payload = head.lengths.as_slice().iter().map(|&length| u64::from(length)).sum();
    if start.messages.checked_add(count as u64).is_none() || start.bytes.checked_add(payload).is_none() {
        return Err(CodecError::Impossible(WHAT));
    }
    let spread = flags & SPREAD != 0;
    let here = if spread { CHUNK_BYTES_TARGET } else { head.wire_bytes() };
    if spread != (head.rows() > 1) || (spread && count != 1) || cursor.rest().len() != here {
        return Err(CodecError::Impossible(WHAT));
    }
    Ok((head, cursor.rest()))
}

/// Checks a further row of a spread message and gives its bytes.
pub fn decode_next_row<'a>(shard: ShardId, key: &ChunkKey, row: &'a [u8]) -> Result<&'a [u8], CodecError> {
    open_row(shard, key, row)
}

fn open_row<'a>(shard: ShardId, key: &ChunkKey, row: &'a [u8]) -> Result<&'a [u8], CodecError> {
    let mut cursor = Cursor::copying(open(Place { shard, table: CHUNK_TABLE, key }, WHAT, row)?);
    match cursor.u8(WHAT)? {
        VERSION => Ok(cursor.rest()),
        found => Err(CodecError::Version { what: WHAT, found }),
    }
}

/// Head and wire bytes as messages.
pub fn join(head: &ChunkHead, wire: Bytes) -> Result<Messages, CodecError> {
    Messages::from_parts(head.framing, head.lengths.clone(), wire).ok_or(CodecError::Impossible(WHAT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHARD: ShardId = ShardId(5);
    const STREAM: StreamId = StreamId(77);

    fn chunk(framing: Framing, start: Offset, parts: &[Vec<u8>]) -> (ChunkHead, Vec<u8>) {
        let lengths: Vec<u32> = parts.iter().map(|part| u32::try_from(part.len()).unwrap()).collect();
        let lengths = if let [one] = lengths[..] { Lengths::One(one) } else { Lengths::Many(lengths.into()) };
        let head = ChunkHead {
            start,
            framing,
            first_at: UnixMillis(-5),
            last_at: UnixMillis(1_790_000_000_000),
            lengths,
        };
        (head, parts.join(&b","[..framing.separator_len()]))
    }

    fn rows(head: &ChunkHead, wire: &[u8]) -> Vec<(ChunkKey, Vec<u8>)> {
        let count = u32::try_from(head.rows()).unwrap();
        let encode = |part| {
            let mut row = Vec::new();
            encode_row(&mut row, SHARD, STREAM, head, wire, part);
            (chunk_key(STREAM, head.start.messages, part), row)
        };
        (0..count).map(encode).collect()
    }

    proptest! {
        #[test]
        fn chunks_round_trip_and_no_flipped_bit_opens(
            parts in prop_oneof![
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..30),
                prop::collection::vec(prop::collection::vec(any::<u8>(), 7..8), 1..30),
            ],
            json: bool,
            start in (0u64..1 << 50, 0u64..1 << 50),
            flip: prop::sample::Index,
        ) {
            let framing = if json { Framing::Json } else { Framing::Plain };
            let start = Offset { messages: start.0, bytes: start.1 };
            let (head, wire) = chunk(framing, start, &parts);
            let rows = rows(&head, &wire);
            let [(key, row)] = &rows[..] else { panic!("one row") };
            let (found, bytes) = decode_first_row(SHARD, key, row).unwrap();
            prop_assert_eq!(&found, &head);
            prop_assert_eq!(bytes, &wire[..]);
            prop_assert!(join(&found, Bytes::copy_from_slice(bytes)).is_ok());
            let mut bad = row.clone();
            let bit = flip.index(bad.len() * 8);
            bad[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode_first_row(SHARD, key, &bad).is_err());
            prop_assert!(decode_first_row(ShardId(6), key, row).is_err());
            prop_assert!(decode_first_row(SHARD, &chunk_key(STREAM, start.messages + 1, 0), row).is_err());
            prop_assert!(decode_first_row(SHARD, key, &row[..row.len() - 1]).is_err());
        }

        #[test]
        fn any_bytes_under_a_right_seal_give_a_chunk_or_an_error(body: Vec<u8>) {
            let key = chunk_key(STREAM, 3, 0);
            let mut row = vec![0; SEAL_BYTES];
            row.push(VERSION);
            row.extend_from_slice(&body);
            seal(Place { shard: SHARD, table: CHUNK_TABLE, key: &key }, &mut row);
            if let Ok((head, wire)) = decode_first_row(SHARD, &key, &row) {
                prop_assert!(head.rows() > 1 || head.wire_bytes() == wire.len());
            }
        }
    }

    #[test]
    fn a_message_larger_than_a_row_is_spread_and_no_part_can_stand_for_another() {
        let message: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[1] ^ n.to_le_bytes()[0]).collect();
        let (head, wire) = chunk(Framing::Plain, Offset { messages: 9, bytes: 99 }, &[message]);
        let rows = rows(&head, &wire);
        assert_eq!(rows.len(), 3);
        let (found, first) = decode_first_row(SHARD, &rows[0].0, &rows[0].1).unwrap();
        let mut whole = first.to_vec();
        for (key, row) in &rows[1..] {
            whole.extend_from_slice(decode_next_row(SHARD, key, row).unwrap());
        }
        assert_eq!((found, whole), (head, wire));
        assert!(decode_next_row(SHARD, &rows[1].0, &rows[2].1).is_err());
    }

    #[test]
    fn keys_sort_as_the_messages_do() {
        let keys =
            [chunk_key(StreamId(1), 300, 2), chunk_key(StreamId(1), 301, 0), chunk_key(StreamId(256), 0, 0)];
        assert!(keys.is_sorted());
        assert_eq!(split_chunk_key(&keys[0]), (StreamId(1), 300, 2));
    }

    /// The released layout, byte by byte. A change here would make existing files unreadable.
    #[test]
    fn the_golden_rows_of_version_1_read_and_are_written_the_same() {
        let start = Offset { messages: 5, bytes: 1000 };
        let uneven = chunk(Framing::Json, start, &[b"1".to_vec(), b"[2]".to_vec()]);
        let even = chunk(Framing::Plain, start, &[b"ab".to_vec(), b"cd".to_vec(), b"ef".to_vec()]);
        let golden: Vec<&str> = include_str!("golden/chunk-v1.hex").lines().collect();
        let written: Vec<String> = [uneven, even]
            .iter()
            .flat_map(|(head, wire)| rows(head, wire))
            .map(|(_, row)| row.iter().map(|byte| format!("{byte:02x}")).collect())
            .collect();
        assert_eq!(written, golden);
    }
}
