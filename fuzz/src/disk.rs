//! Parsers of what stands on the disk. Where a checksum guards a format, it is put right first, so that the bytes
//! behind it are reached; damage that a checksum catches is the subject of other tests.

use bytes::Bytes;
use thalweg_node::codec::chunk::{CHUNK_TABLE, chunk_key, decode_first_row, encode_row, join};
use thalweg_node::codec::op::{decode_ops, encode_ops};
use thalweg_node::codec::record::{HEADER_BYTES, LaneKey, MAGIC, RecordHeader};
use thalweg_node::codec::seal::{Place, SEAL_BYTES, seal};
use thalweg_node::codec::segment::{SegmentHeader, decode_heads};
use thalweg_node::codec::snapshot::{
    BLOCK_BYTES_MAX, BLOCK_HEAD_BYTES, BlockHead, Rows, SnapshotFooter, SnapshotHeader, encode_block,
    open_block,
};
use thalweg_node::types::{LaneId, ShardId, StreamId};

/// Bytes of a checksum at the end of a header.
const CHECKSUM_BYTES: usize = 4;

/// Headers of records: what is taken is written back to bytes that read as the same header.
pub fn record(bytes: &[u8]) {
    let (lane, uuid) = (LaneId(0), [0; 16]);
    let key = LaneKey::new(lane, uuid);
    let _ = RecordHeader::decode_anywhere(&key, bytes);
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return };
    let mut right = *header;
    right[..MAGIC.len()].copy_from_slice(&MAGIC);
    let seed = crc32c::crc32c_append(crc32c::crc32c(&uuid), &lane.0.to_le_bytes());
    let checksum = crc32c::crc32c_append(seed, &right[..HEADER_BYTES - CHECKSUM_BYTES]);
    right[HEADER_BYTES - CHECKSUM_BYTES..].copy_from_slice(&checksum.to_le_bytes());
    if let Ok(header) = RecordHeader::decode_anywhere(&key, &right) {
        assert_eq!(
            RecordHeader::decode_anywhere(&key, &header.encode(&key)),
            Ok(header),
            "a header must read back"
        );
    }
}

/// Payloads of records: what is taken is written back to bytes that read as the same ops.
pub fn op(bytes: &[u8]) {
    let Ok(ops) = decode_ops(&Bytes::copy_from_slice(bytes)) else { return };
    let mut written = Vec::new();
    encode_ops(&ops, &mut written, &mut Vec::new());
    assert_eq!(decode_ops(&written.into()).ok(), Some(ops), "ops must read back");
}

/// Chunks: what is taken joins to messages that end where the head says, and is written back to the same.
pub fn chunk(bytes: &[u8]) {
    let (shard, stream) = (ShardId(0), StreamId(1));
    let key = chunk_key(stream, 0, 0);
    let mut row = [&[0; SEAL_BYTES], bytes].concat();
    seal(Place { shard, table: CHUNK_TABLE, key: &key }, &mut row);
    let Ok((head, wire)) = decode_first_row(shard, &key, &row) else { return };
    let Ok(messages) = join(&head, Bytes::copy_from_slice(wire)) else { return };
    assert_eq!(messages.end(head.start), head.end(), "a chunk ends where its head says");
    let mut written = Vec::new();
    encode_row(&mut written, shard, stream, &head, wire, 0);
    assert_eq!(decode_first_row(shard, &key, &written).ok(), Some((head, wire)), "a chunk must read back");
}

/// Headers of segments, and the table of heads in marks.
pub fn segment(bytes: &[u8]) {
    if let Ok(header) = SegmentHeader::decode(bytes) {
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header), "a segment header must read back");
    }
    let _ = decode_heads(bytes);
}

/// Snapshots: a header, and a block behind it if there is one. What is taken is within its bounds and is written back to
/// the same.
pub fn snapshot(bytes: &[u8]) {
    let mut right = bytes.to_vec();
    let length = bytes.get(12..16).and_then(|raw| raw.try_into().ok()).map_or(0, u32::from_le_bytes) as usize;
    if let Some(body) = length.checked_sub(CHECKSUM_BYTES).filter(|_| length <= bytes.len()) {
        let checksum = crc32c::crc32c(&right[..body]);
        right[body..length].copy_from_slice(&checksum.to_le_bytes());
    }
    let Ok((header, key, end)) = SnapshotHeader::decode(&right) else { return };
    let (written, again) = header.encode();
    assert_eq!((written.as_slice(), again), (&right[..end], key), "a header is written as it was read");
    let _ = SnapshotFooter::decode(key, &right[end..]);
    let Some((head, stored)) = right[end..].split_first_chunk::<BLOCK_HEAD_BYTES>() else { return };
    let mut head = *head;
    let seed = u32::from_le_bytes(written[end - CHECKSUM_BYTES..].try_into().unwrap_or_default());
    let Ok(BlockHead { stored_bytes, .. }) = BlockHead::decode(&head) else { return };
    let Some(stored) = stored.get(..stored_bytes) else { return };
    let checksum = crc32c::crc32c_append(seed, &0_u64.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c_append(checksum, &head[CHECKSUM_BYTES..]), stored);
    head[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
    let mut rows = Vec::new();
    let Ok(found) = open_block(key, 0, &head, &mut stored.to_vec(), &mut rows) else { return };
    assert!(rows.len() == found.raw_bytes && rows.len() <= BLOCK_BYTES_MAX, "a block is as long as it says");
    assert!(Rows::new(&rows).flatten().all(|(key, value)| key.len() + value.len() < rows.len()));
    let mut block = Vec::new();
    encode_block(key, 0, found.table, found.compression, &rows, &mut Vec::new(), &mut block);
    let Some((head, stored)) = block.split_first_chunk() else { unreachable!("a block has a head") };
    let mut read = Vec::new();
    assert!(
        open_block(key, 0, head, &mut stored.to_vec(), &mut read).is_ok() && read == rows,
        "a block must read back"
    );
}
