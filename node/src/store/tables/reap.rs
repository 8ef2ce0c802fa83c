//! Removes the rows of deleted streams and the chunks before the earliest offset, a bounded number at a time, so that
//! no transaction grows with the size of a stream. Invariant: nothing that a reader or a fork may read is removed.

use redb::{ReadableTable, Table, WriteTransaction};

use super::apply::{DOOM_ALL, DOOM_TRIMMED, read_row, write_row};
use super::chunks::ChunkTable;
use super::fault::{TablesError, corrupt};
use super::schema::{CHUNKS, DOOMED, PINS, PRODUCERS, STREAMS, TableNumber, opened, pin_key, stream_key};
use crate::codec::chunk::{ChunkKey, chunk_key, decode_first_row, split_chunk_key};
use crate::codec::fields::Cursor;
use crate::codec::meta::get_pin;
use crate::types::{PinId, ShardId, StreamId};

type Bytes = &'static [u8];
type PinTable<'t> = Table<'t, &'static [u8; 16], Bytes>;

/// What is still to do for one stream.
struct Doom {
    stream: StreamId,
    why: u8,
}

pub(super) fn reap(
    transaction: &WriteTransaction,
    shard: ShardId,
    rows_max: usize,
) -> Result<usize, TablesError> {
    let mut doomed = transaction.open_table(DOOMED)?;
    let mut chunks = transaction.open_table(CHUNKS)?;
    let mut pins = transaction.open_table(PINS)?;
    let mut removed = 0;
    while removed < rows_max {
        let Some(doom) = first(&doomed, shard)? else { break };
        let room = rows_max - removed;
        let count = match doom.why {
            DOOM_ALL => {
                let mut producers = transaction.open_table(PRODUCERS)?;
                remove_all(&mut chunks, &mut producers, &mut pins, doom.stream, room)?
            }
            _ => {
                let mut streams = transaction.open_table(STREAMS)?;
                trim(&mut chunks, &mut streams, &pins, shard, doom.stream, room)?
            }
        };
        removed += count;
        if count < room {
            doomed.remove(&stream_key(doom.stream))?;
            // The mark itself counts, so that the caller comes again while marks are left.
            removed += 1;
        }
    }
    Ok(removed)
}

fn first(doomed: &Table<'_, &'static [u8; 8], Bytes>, shard: ShardId) -> Result<Option<Doom>, TablesError> {
    let Some((key, value)) = doomed.first()? else { return Ok(None) };
    let stream = StreamId(u64::from_be_bytes(*key.value()));
    let why = opened(shard, TableNumber::Doomed, key.value(), value.value())
        .and_then(|raw| Cursor::copying(raw).u8("doom"))
        .map_err(|cause| corrupt(format!("the mark of doomed stream {stream}"), cause))?;
    debug_assert!(why == DOOM_ALL || why == DOOM_TRIMMED);
    Ok(Some(Doom { stream, why }))
}

fn remove_all(
    chunks: &mut ChunkTable<'_>,
    producers: &mut Table<'_, Bytes, Bytes>,
    pins: &mut PinTable<'_>,
    stream: StreamId,
    room: usize,
) -> Result<usize, TablesError> {
    let keys = chunks
        .range::<&[u8; 20]>(&chunk_key(stream, 0, 0)..=&chunk_key(stream, u64::MAX, u32::MAX))?
        .take(room)
        .map(|entry| entry.map(|(key, _)| *key.value()))
        .collect::<Result<Vec<ChunkKey>, _>>()?;
    for key in &keys {
        chunks.remove(key)?;
    }
    let mut removed = keys.len();
    let begin = stream.0.to_be_bytes();
    let keys = producers
        .range(&begin[..]..)?
        .take(room - removed)
        .map(|entry| entry.map(|(key, _)| key.value().to_vec()))
        .take_while(|key| key.as_ref().map_or(true, |key| key.starts_with(&begin)))
        .collect::<Result<Vec<_>, _>>()?;
    for key in &keys {
        producers.remove(&key[..])?;
    }
    removed += keys.len();
    let keys = pins
        .range::<&[u8; 16]>(&pin_key(stream, PinId(0))..=&pin_key(stream, PinId(u64::MAX)))?
        .take(room - removed)
        .map(|entry| entry.map(|(key, _)| *key.value()))
        .collect::<Result<Vec<_>, _>>()?;
    for key in &keys {
        pins.remove(key)?;
    }
    Ok(removed + keys.len())
}

/// Removes whole chunks before the earliest offset, as far as no pin reaches.
fn trim(
    chunks: &mut ChunkTable<'_>,
    streams: &mut Table<'_, &'static [u8; 8], Bytes>,
    pins: &PinTable<'_>,
    shard: ShardId,
    stream: StreamId,
    room: usize,
) -> Result<usize, TablesError> {
    let Some(mut row) = read_row(streams, shard, stream)? else { return Ok(0) };
    let held = held_upto(pins, shard, stream)?;
    let earliest = row.meta.earliest;
    let mut keys: Vec<ChunkKey> = Vec::new();
    // Rows of a chunk follow each other; a chunk may go when the next one begins at or before the earliest offset.
    let range = chunk_key(stream, held, 0)..chunk_key(stream, earliest.messages, 0);
    let mut whole = 0;
    for entry in chunks.range::<&[u8; 20]>(&range.start..&range.end)? {
        let (key, value) = entry?;
        let (_, _, part) = split_chunk_key(key.value());
        if part == 0 {
            if keys.len() >= room {
                break;
            }
            let unit = || format!("a chunk of stream {stream}");
            let (head, _) = decode_first_row(shard, key.value(), value.value())
                .map_err(|cause| corrupt(unit(), cause))?;
            if head.end().messages > earliest.messages {
                break;
            }
        }
        keys.push(*key.value());
        whole = keys.len();
    }
    for key in &keys[..whole] {
        chunks.remove(key)?;
    }
    if let Some(gone) = keys.get(..whole).and_then(<[_]>::last).map(|key| split_chunk_key(key).1) {
        let before = row.clone();
        row.last = row.last.filter(|last| last.messages > gone);
        row.small.retain(|chunk| chunk.start.messages > gone);
        if row != before {
            write_row(streams, shard, &row)?;
        }
    }
    Ok(whole)
}

/// The message up to which forks read this stream.
fn held_upto(pins: &PinTable<'_>, shard: ShardId, stream: StreamId) -> Result<u64, TablesError> {
    let mut held = 0;
    for entry in pins.range::<&[u8; 16]>(&pin_key(stream, PinId(0))..=&pin_key(stream, PinId(u64::MAX)))? {
        let (key, value) = entry?;
        let pin = opened(shard, TableNumber::Pins, key.value(), value.value())
            .and_then(|raw| get_pin(&mut Cursor::copying(raw)))
            .map_err(|cause| corrupt(format!("a pin of stream {stream}"), cause))?;
        held = held.max(pin.upto.messages);
    }
    Ok(held)
}
