//! What the format of snapshots promises: round trips, totality, and no flipped bit.

use proptest::prelude::*;

use super::*;

fn header(epochs: Vec<(Epoch, LogIndex)>) -> SnapshotHeader {
    SnapshotHeader {
        cluster: ClusterId([9; 16]),
        shard: ShardId(3),
        shards: ShardCount::DEFAULT,
        compression: Compression::Lz4,
        index: LogIndex(77),
        epoch: epoch(1, 4),
        chain: Chain(0x0123_4567_89ab_cdef),
        taken_at: UnixMillis(1_790_000_000_000),
        epochs,
    }
}

fn epoch(record: u64, boot: u64) -> Epoch {
    Epoch { record: RecordEpoch(record), boot: Boot(boot) }
}

fn key() -> SnapshotKey {
    header(Vec::new()).encode().1
}

/// One block as it stands in a file.
fn block(number: u64, compression: Compression, rows: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_block(key(), number, 3, compression, rows, &mut Vec::new(), &mut out);
    out
}

fn opened(number: u64, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    let (head, stored) = bytes.split_first_chunk().ok_or(CodecError::Truncated("test"))?;
    // What a block before it left there.
    let mut rows = vec![1; 7];
    let opened = open_block(key(), number, head, &mut stored.to_vec(), &mut rows);
    assert!(opened.is_ok() || rows.is_empty());
    opened.map(|_| rows)
}

proptest! {
    #[test]
    fn a_header_reads_back_as_written(
        cluster: [u8; 16], power in 0_u32..=8, pick: u16, lz4: bool, numbers: [u64; 4], at: i64,
        epochs in prop::collection::btree_map((any::<u64>(), any::<u64>()), any::<u64>(), 0..20),
    ) {
        let shards = ShardCount::new(1 << power).unwrap();
        let [index, record, boot, chain] = numbers;
        let written = SnapshotHeader {
            cluster: ClusterId(cluster),
            shard: ShardId(pick % shards.get()),
            shards,
            compression: if lz4 { Compression::Lz4 } else { Compression::None },
            index: LogIndex(index),
            epoch: epoch(record, boot),
            chain: Chain(chain),
            taken_at: UnixMillis(at),
            epochs: epochs.into_iter().map(|((r, b), first)| (epoch(r, b), LogIndex(first))).collect(),
        };
        let (mut bytes, key) = written.encode();
        let length = bytes.len();
        bytes.extend_from_slice(b"blocks");
        prop_assert_eq!(SnapshotHeader::decode(&bytes), Ok((written, key, length)));
    }

    #[test]
    fn a_footer_reads_back_as_written(numbers: [u64; 4], rows: [u64; TABLES]) {
        let [blocks, bytes, raw_bytes, hash] = numbers;
        let footer = SnapshotFooter { blocks, bytes, raw_bytes, hash: BlocksHash::from_number(hash), rows };
        prop_assert_eq!(SnapshotFooter::decode(key(), &footer.encode(key())), Ok(footer));
    }

    #[test]
    fn rows_read_back_as_written_compressed_or_not(
        rows in prop::collection::vec((any::<Vec<u8>>(), prop::collection::vec(0u8..4, 0..300)), 1..30),
        number: u64, flip: prop::sample::Index,
    ) {
        let mut raw = Vec::new();
        for (key, value) in &rows {
            let before = raw.len();
            put_row(&mut raw, key, value);
            prop_assert!(raw.len() - before <= row_bytes(key, value));
        }
        for compression in [Compression::None, Compression::Lz4] {
            let stored = block(number, compression, &raw);
            let found = opened(number, &stored).unwrap();
            let found: Vec<_> = Rows::new(&found).map(|row| row.unwrap()).collect();
            let expected: Vec<_> = rows.iter().map(|(key, value)| (&key[..], &value[..])).collect();
            prop_assert_eq!(found, expected);
            prop_assert!(opened(number.wrapping_add(1), &stored).is_err(), "out of place");
            let mut bad = stored.clone();
            let bit = flip.index(bad.len() * 8);
            bad[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(opened(number, &bad).is_err());
            prop_assert!(opened(number, &stored[..stored.len() - 1]).is_err());
        }
    }

    #[test]
    fn any_bytes_give_a_part_of_a_snapshot_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = SnapshotHeader::decode(&bytes);
        let _ = SnapshotFooter::decode(key(), &bytes);
        let _ = opened(0, &bytes);
        for row in Rows::new(&bytes) {
            prop_assert!(row.is_err() || row.is_ok_and(|(key, value)| key.len() + value.len() <= bytes.len()));
        }
    }
}

#[test]
fn no_flipped_bit_of_a_header_or_footer_is_accepted() {
    let (bytes, key) = header(vec![(epoch(1, 2), LogIndex(1)), (epoch(1, 4), LogIndex(70))]).encode();
    let rows = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    let hash = BlocksHash::new(key);
    let footer = SnapshotFooter { blocks: 5, bytes: 500, raw_bytes: 700, hash, rows }.encode(key);
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(SnapshotHeader::decode(&bad).is_err(), "bit {bit} of the header");
    }
    for bit in 0..footer.len() * 8 {
        let mut bad = footer.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(SnapshotFooter::decode(key, &bad).is_err(), "bit {bit} of the footer");
    }
    assert!(
        SnapshotFooter::decode(SnapshotKey(key.0 ^ 1), &footer).is_err(),
        "the footer of another snapshot"
    );
}

/// The checksum is right, as a malicious writer's would be; the sizes are not.
#[test]
fn a_block_that_claims_or_unpacks_to_more_than_its_bound_is_refused() {
    let bomb = lz4_flex::block::compress(&vec![0; 64 << 20]);
    for raw_bytes in [u32::MAX, 64 << 20, 262_145, 262_144, 1000] {
        let mut head = vec![3, Compression::Lz4 as u8, 0, 0];
        put_count(&mut head, bomb.len());
        head.extend_from_slice(&raw_bytes.to_le_bytes());
        let seed = crc32c::crc32c_append(key().0, &0_u64.to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c_append(seed, &head), &bomb);
        let bytes = [&checksum.to_le_bytes()[..], &head, &bomb].concat();
        assert!(opened(0, &bytes).is_err(), "{raw_bytes}");
    }
}

#[test]
fn a_header_with_impossible_counts_is_refused_before_anything_is_allocated() {
    let (bytes, _) = header(Vec::new()).encode();
    for (at, value) in [(12, u32::MAX), (12, 0), (12, 91), (80, u32::MAX), (80, 1)] {
        let mut bad = bytes.clone();
        bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let body = bad.len() - 4;
        let checksum = crc32c::crc32c(&bad[..body]);
        bad[body..].copy_from_slice(&checksum.to_le_bytes());
        assert!(SnapshotHeader::decode(&bad).is_err(), "{value} at {at}");
    }
}

#[test]
fn the_longest_header_is_as_long_as_it_may_be() {
    let epochs = |count: u64| (0..count).map(|boot| (epoch(1, boot), LogIndex(boot))).collect();
    let most = EPOCHS_MAX as u64;
    assert_eq!(header(epochs(most)).encode().0.len(), HEADER_BYTES_MAX);
    let (found, ..) = SnapshotHeader::decode(&header(epochs(most + 5)).encode().0).unwrap();
    assert_eq!((found.epochs.len(), found.epochs[0].1), (EPOCHS_MAX, LogIndex(5)));
}

/// The released layout, byte by byte: header, a plain block, a compressed one, footer. A change here would make existing
/// files unreadable. (How well a block is compressed may change with the library; that it is read may not.)
#[test]
fn the_golden_snapshot_of_version_1_reads_and_is_written_the_same() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let golden: Vec<&str> = include_str!("../golden/snapshot-v1.hex").lines().collect();
    let (bytes, key) = header(vec![(epoch(1, 2), LogIndex(1)), (epoch(1, 4), LogIndex(70))]).encode();
    let mut raw = Vec::new();
    put_row(&mut raw, b"key", &[7; 100]);
    let (plain, packed) = (block(0, Compression::None, &raw), block(1, Compression::Lz4, &raw));
    let mut footer = SnapshotFooter {
        blocks: 2,
        bytes: 300,
        raw_bytes: 210,
        hash: BlocksHash::new(key),
        rows: [2; TABLES],
    };
    footer.hash.add(7);
    let written = [hex(&bytes), hex(&plain), hex(&packed), hex(&footer.encode(key))];
    let released = |line: usize| golden.get(line).copied().unwrap_or_default();
    assert!([0, 1, 3].iter().all(|&line| written[line] == released(line)), "{}", written.join("\n"));
    let byte = |at: usize| u8::from_str_radix(&released(2)[at..at + 2], 16).unwrap();
    let packed: Vec<u8> = (0..released(2).len()).step_by(2).map(byte).collect();
    assert_eq!(opened(1, &packed), Ok(raw));
}
