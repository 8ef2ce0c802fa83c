//! Names, keys and numbers of the tables. All of it is persisted: keep stable; a new meaning gets a new number.

use redb::TableDefinition;

use crate::codec::CodecError;
use crate::codec::seal::{Place, SEAL_BYTES, open, seal};
use crate::types::{PinId, ShardId, Space, StreamId, UnixMillis};

type Bytes = &'static [u8];

/// Name → stream id.
pub(super) const NAMES: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("names");
/// Stream id → stream row.
pub(super) const STREAMS: TableDefinition<'static, &'static [u8; 8], Bytes> = TableDefinition::new("streams");
/// (stream, first message, part) → chunk row.
pub(super) const CHUNKS: TableDefinition<'static, &'static [u8; 20], Bytes> = TableDefinition::new("chunks");
/// (stream, producer id) → position.
pub(super) const PRODUCERS: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("producers");
/// (stream, pin) → pin.
pub(super) const PINS: TableDefinition<'static, &'static [u8; 16], Bytes> = TableDefinition::new("pins");
/// Stands in the place of a deadline for streams that let old messages go; no deadline lies so early.
pub(super) const RETAINED: UnixMillis = UnixMillis(i64::MIN);
/// (deadline, stream) → nothing but a seal; and (`RETAINED`, stream) for streams with a retention.
pub(super) const EXPIRY: TableDefinition<'static, &'static [u8; 16], Bytes> = TableDefinition::new("expiry");
/// Stream id → why its data still has to go.
pub(super) const DOOMED: TableDefinition<'static, &'static [u8; 8], Bytes> = TableDefinition::new("doomed");
/// (space, key) → value.
pub(super) const FACTS: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("facts");
/// Row number → state of the shard.
pub(super) const STATE: TableDefinition<'static, &'static [u8; 1], Bytes> = TableDefinition::new("state");

/// The number of a table within seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum TableNumber {
    Names = 1,
    Streams = 2,
    Producers = 4,
    Pins = 5,
    Expiry = 6,
    Doomed = 7,
    Facts = 8,
    State = 9,
}

impl TableNumber {
    const fn what(self) -> &'static str {
        match self {
            Self::Names => "a name",
            Self::Streams => "a stream row",
            Self::Producers => "a producer",
            Self::Pins => "a pin",
            Self::Expiry => "a deadline",
            Self::Doomed => "a doomed stream",
            Self::Facts => "a fact",
            Self::State => "the shard state",
        }
    }
}

/// A buffer with room for the seal in front.
pub(super) fn unsealed() -> Vec<u8> {
    vec![0; SEAL_BYTES]
}

/// Seals a buffer that began as [`unsealed`].
pub(super) fn sealed(shard: ShardId, table: TableNumber, key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    seal(Place { shard, table: table as u8, key }, &mut value);
    value
}

/// The value behind a seal.
pub(super) fn opened<'a>(
    shard: ShardId,
    table: TableNumber,
    key: &[u8],
    value: &'a [u8],
) -> Result<&'a [u8], CodecError> {
    open(Place { shard, table: table as u8, key }, table.what(), value)
}

pub(super) fn stream_key(stream: StreamId) -> [u8; 8] {
    stream.0.to_be_bytes()
}

pub(super) fn producer_key(stream: StreamId, producer: &[u8]) -> Vec<u8> {
    [&stream.0.to_be_bytes(), producer].concat()
}

fn pair(high: [u8; 8], low: [u8; 8]) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&high);
    key[8..].copy_from_slice(&low);
    key
}

pub(super) fn pin_key(stream: StreamId, pin: PinId) -> [u8; 16] {
    pair(stream.0.to_be_bytes(), pin.0.to_be_bytes())
}

/// The sign bit is turned, so that times before 1970 sort first.
pub(super) fn expiry_key(deadline: UnixMillis, stream: StreamId) -> [u8; 16] {
    pair((deadline.0.cast_unsigned() ^ (1 << 63)).to_be_bytes(), stream.0.to_be_bytes())
}

pub(super) fn split_expiry_key(key: [u8; 16]) -> (UnixMillis, StreamId) {
    let both = u128::from_be_bytes(key).to_be_bytes();
    let number = |part: &[u8]| part.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
    (UnixMillis((number(&both[..8]) ^ (1 << 63)).cast_signed()), StreamId(number(&both[8..])))
}

pub(super) fn fact_key(space: Space, key: &[u8]) -> Vec<u8> {
    [&[space as u8], key].concat()
}
