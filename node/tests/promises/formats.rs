//! Every format on the volume: it reads back what it wrote, refuses what it did not, and stays as it was released.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use thalweg_node::codec::record::{
    HEADER_BYTES, LaneKey, RecordError, RecordHeader, RecordKind, chain_after,
};
use thalweg_node::codec::segment::{SegmentHeader, decode_heads, encode_heads};
use thalweg_node::codec::superblock::{ShardMemory, Superblock};
use thalweg_node::store::layout::Layout;
use thalweg_node::types::{
    Boot, Chain, ClusterId, Epoch, LaneId, LanePosition, LogIndex, Met, RecordEpoch, ShardCount, ShardId,
    StartKey, TRAIL_STARTS_MAX, VolumeIncarnation,
};

fn key() -> LaneKey {
    LaneKey::new(LaneId(2), *b"a lane's own key")
}

fn epoch(record: u64, boot: u64) -> Epoch {
    Epoch { record: RecordEpoch(record), boot: Boot(boot) }
}

fn record() -> (RecordHeader, Vec<u8>) {
    let payload = b"decided: one message".to_vec();
    let header = RecordHeader {
        kind: RecordKind::Batch,
        shard: ShardId(5),
        payload_bytes: 20,
        payload_checksum: 0,
        position: LanePosition(0x1000),
        synced: LanePosition(0x0f00),
        epoch: epoch(3, 7),
        index: LogIndex(42),
        chain: Chain(0x0123_4567_89ab_cdef),
    };
    let payload_checksum = key().payload_checksum(&header, &payload);
    (RecordHeader { payload_checksum, ..header }, payload)
}

fn segment() -> SegmentHeader {
    let base = LanePosition(0x80_0000);
    SegmentHeader { lane: LaneId(2), uuid: *b"a lane's own key", number: 2, base, bytes: 8 << 20 }
}

fn superblock() -> Superblock {
    let memory = ShardMemory {
        promised: epoch(4, 7),
        led: epoch(3, 7),
        config: vec![1, 2, 3],
        retired: true,
        quarantined: Some("chunk 12 of stream 3".to_owned()),
    };
    Superblock {
        cluster: ClusterId([1; 16]),
        node: "node-0".to_owned(),
        incarnation: VolumeIncarnation([2; 16]),
        volume: Some("pvc-1".to_owned()),
        boot: Boot(7),
        keys: Vec::new(),
        peers: BTreeMap::from([(VolumeIncarnation([3; 16]), Met { boot: Boot(9), key: None })]),
        shards: BTreeMap::from([(ShardId(0), ShardMemory::default()), (ShardId(5), memory)]),
        roster: Vec::new(),
        put_back: None,
    }
}

/// The same of a member: each start draws a key.
fn member() -> Superblock {
    let keys = vec![StartKey(0x77), StartKey(0x66)];
    let met = Met { boot: Boot(9), key: Some(StartKey(0x99)) };
    let peers = [(VolumeIncarnation([3; 16]), met), (VolumeIncarnation([4; 16]), Met { key: None, ..met })];
    let (peers, roster) = (BTreeMap::from(peers), vec![1, 0]);
    Superblock { keys, peers, roster, put_back: Some(Boot(8)), ..superblock() }
}

fn layout() -> Layout {
    Layout { shards: ShardCount::new(16).unwrap(), lanes: 1 }
}

/// Compares with a file that was written when the format was released. `THALWEG_WRITE_GOLDEN=1` writes a missing one.
pub(crate) fn as_released(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("THALWEG_WRITE_GOLDEN").is_some() && !path.exists() {
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(std::fs::read(path).unwrap(), bytes, "{name} is no longer what was released");
}

#[test]
fn released_formats_stay_as_they_are() {
    let (header, payload) = record();
    let mut bytes = header.encode(&key()).to_vec();
    bytes.extend_from_slice(&payload);
    bytes.extend_from_slice(&[0; 4]);
    assert_eq!(bytes.len() as u64, header.total_bytes());
    as_released("record-v1.bin", &bytes);
    as_released("segment-v1.bin", &segment().encode());
    let mut heads = Vec::new();
    encode_heads([(ShardId(0), LogIndex(9)), (ShardId(255), LogIndex(u64::MAX))].into_iter(), &mut heads);
    as_released("heads-v1.bin", &heads);
    as_released("superblock-v1.bin", &superblock().encode(12));
    as_released("superblock-member-v1.bin", &member().encode(12));
    as_released("layout-v1.toml", layout().encode().as_bytes());
    as_released("chain-v1.bin", &header.chain_after(&payload).0.to_le_bytes());
}

#[test]
fn no_flipped_bit_of_a_header_a_copy_or_the_manifest_is_accepted() {
    let (header, payload) = record();
    let flips = |bytes: &[u8], accepted: &dyn Fn(&[u8]) -> bool| {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!accepted(&flipped), "bit {bit} of {}", bytes.len() * 8);
        }
    };
    flips(&header.encode(&key()), &|bytes| RecordHeader::decode(&key(), bytes, header.position).is_ok());
    flips(&payload, &|bytes| key().payload_fits(&header, bytes));
    flips(&segment().encode(), &|bytes| SegmentHeader::decode(bytes).is_ok());
    flips(&superblock().encode(12), &|bytes| Superblock::decode(bytes).is_ok());
    flips(&member().encode(12), &|bytes| Superblock::decode(bytes).is_ok());
    flips(layout().encode().as_bytes(), &|bytes| Layout::decode(bytes).is_ok());
}

#[test]
fn a_record_parses_only_in_its_lane_and_at_its_position() {
    let (header, payload) = record();
    let bytes = header.encode(&key());
    let elsewhere = RecordHeader::decode(&key(), &bytes, LanePosition(8));
    assert_eq!(elsewhere, Err(RecordError::Misplaced(header.position)));
    for other in [LaneKey::new(LaneId(3), *b"a lane's own key"), LaneKey::new(LaneId(2), [0; 16])] {
        assert_eq!(RecordHeader::decode(&other, &bytes, header.position), Err(RecordError::Checksum));
        assert!(!other.payload_fits(&header, &payload));
    }
    assert_eq!(RecordHeader::decode(&key(), &[0; 128], LanePosition(0)), Err(RecordError::Magic));
}

#[test]
fn the_chain_tells_epoch_index_kind_payload_and_order_apart() {
    let (batch, start) = (RecordKind::Batch, RecordKind::EpochStart);
    let base = chain_after(Chain(1), epoch(1, 2), LogIndex(3), batch, b"ab");
    let others = [
        chain_after(Chain(2), epoch(1, 2), LogIndex(3), batch, b"ab"),
        chain_after(Chain(1), epoch(2, 1), LogIndex(3), batch, b"ab"),
        chain_after(Chain(1), epoch(1, 3), LogIndex(2), batch, b"ab"),
        chain_after(Chain(1), epoch(1, 2), LogIndex(3), start, b"ab"),
        chain_after(Chain(1), epoch(1, 2), LogIndex(3), batch, b"ab\0"),
        chain_after(Chain(1), epoch(1, 2), LogIndex(3), batch, b""),
    ];
    assert!(others.iter().all(|other| *other != base));
}

fn any_kind() -> impl Strategy<Value = RecordKind> {
    prop::sample::select(vec![
        RecordKind::Batch,
        RecordKind::EpochStart,
        RecordKind::Config,
        RecordKind::Cut,
        RecordKind::Roll,
        RecordKind::Mark,
        RecordKind::Close,
    ])
}

proptest! {
    #[test]
    fn a_record_header_reads_back_as_written(
        kind in any_kind(), shard: u16, payload_bytes in 0_u32..60 << 20, payload_checksum: u32,
        numbers: [u64; 6],
    ) {
        let [position, synced, record, boot, index, chain] = numbers;
        let header = RecordHeader {
            kind, shard: ShardId(shard), payload_bytes, payload_checksum,
            position: LanePosition(position), synced: LanePosition(synced), epoch: epoch(record, boot),
            index: LogIndex(index), chain: Chain(chain),
        };
        prop_assert_eq!(RecordHeader::decode(&key(), &header.encode(&key()), header.position), Ok(header));
    }

    #[test]
    fn any_bytes_give_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), at: u64) {
        let _ = RecordHeader::decode(&key(), &bytes, LanePosition(at));
        let _ = SegmentHeader::decode(&bytes);
        let _ = Superblock::decode(&bytes);
        let _ = Layout::decode(&bytes);
        let _ = decode_heads(&bytes);
        prop_assert!(bytes.len() < 300 + HEADER_BYTES);
    }

    #[test]
    fn a_superblock_reads_back_as_written(
        sequence: u64, boot: u64, node in ".{0,40}", volume in prop::option::of(".{0,40}"),
        shards in prop::collection::btree_map(0_u16..256, (any::<[u64; 4]>(), any::<bool>(),
            prop::option::of(".{0,20}"), prop::collection::vec(any::<u8>(), 0..64)), 0..6),
    ) {
        let shards = shards.into_iter().map(|(shard, (numbers, retired, quarantined, config))| {
            let [a, b, c, d] = numbers;
            let memory =
                ShardMemory { promised: epoch(a, b), led: epoch(c, d), config, retired, quarantined };
            (ShardId(shard), memory)
        });
        let block = Superblock { boot: Boot(boot), node, volume, shards: shards.collect(), ..superblock() };
        prop_assert_eq!(Superblock::decode(&block.encode(sequence)), Ok((sequence, block)));
    }

    #[test]
    fn the_starts_of_a_superblock_read_back_as_written(
        keys in prop::collection::vec(any::<u64>().prop_map(StartKey), 0..=TRAIL_STARTS_MAX), boot in 32_u64..,
        peers in prop::collection::btree_map(any::<[u8; 16]>().prop_map(VolumeIncarnation),
            (any::<u64>(), any::<Option<u64>>()), 0..6),
        roster: Vec<u8>, put_back: Option<u64>,
    ) {
        let met = |(boot, key): (u64, Option<u64>)| Met { boot: Boot(boot), key: key.map(StartKey) };
        let peers = peers.into_iter().map(|(peer, known)| (peer, met(known))).collect();
        let (boot, put_back) = (Boot(boot), put_back.map(Boot));
        let block = Superblock { boot, keys, peers, roster, put_back, ..superblock() };
        prop_assert_eq!(Superblock::decode(&block.encode(3)), Ok((3, block)));
    }

    #[test]
    fn a_manifest_reads_back_as_written(power in 0_u32..=8, lanes in 1_u16..=256) {
        let shards = ShardCount::new(1 << power).unwrap();
        let layout = Layout { shards, lanes: lanes.min(shards.get()) };
        prop_assert_eq!(Layout::decode(layout.encode().as_bytes()).unwrap(), layout);
    }
}
