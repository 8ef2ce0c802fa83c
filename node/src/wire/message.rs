//! Messages as frames, and back. Invariant: decoding is total, and never holds more than a small multiple of the bytes
//! that it was given. Layout in `docs/formats.md`.

use bytes::Bytes;

use super::parcel::{Piece, PieceAsk};
use crate::codec::CodecError;
use crate::codec::fields::{Cursor, put_blob, put_number, put_u8};
use crate::codec::frame::{FrameKind, RECORDS_ENTRIES_MAX, put_frame};
use crate::codec::record::RecordKind;
use crate::core::replication::{Entry, EpochStart, History, Image, Message, Records, Report};
use crate::types::limits::RECORD_PAYLOAD_BYTES_MAX;
use crate::types::{Boot, Chain, Epoch, LogIndex, RecordEpoch, ShardId, Start, StartKey, VolumeIncarnation};

const WHAT: &str = "a message";
/// Bytes of the shortest start of an epoch in a history: three numbers.
const START_BYTES_MIN: usize = 3;
const CHAIN_BYTES: usize = 8;
const INCARNATION_BYTES: usize = 16;
/// Bytes of the shortest start that is told of: a volume, a boot, a key.
const KNOWN_START_BYTES_MIN: usize = INCARNATION_BYTES + 1 + 8;
const KEY_BYTES: usize = 4;

/// What a frame says once hands are shaken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A message of the protocol.
    Message(Message),
    /// A follower asks up to where it must have applied.
    ReadAsked(u64),
    /// A leader answers such a question.
    ReadAnswered(u64, Option<LogIndex>),
    /// A node asks a leader to do something; the bytes are the nodes' business.
    ErrandAsked(u64, Bytes),
    /// What came of it.
    ErrandAnswered(u64, Bytes),
    /// The last starts of members' volumes that a follower has met or heard of.
    Starts(Vec<KnownStart>),
    /// A follower asks for a part of the snapshot that it was offered.
    PieceAsked(PieceAsk),
    /// A piece of it.
    Piece(Piece),
}

/// A start of a volume that somebody has met.
pub type KnownStart = (VolumeIncarnation, Start);

impl Said {
    const fn kind(&self) -> FrameKind {
        match self {
            Self::Message(message) => kind_of(message),
            Self::ReadAsked(_) => FrameKind::ReadAsked,
            Self::ReadAnswered(..) => FrameKind::ReadAnswered,
            Self::ErrandAsked(..) => FrameKind::ErrandAsked,
            Self::ErrandAnswered(..) => FrameKind::ErrandAnswered,
            Self::Starts(_) => FrameKind::Starts,
            Self::PieceAsked(_) => FrameKind::PieceAsked,
            Self::Piece(_) => FrameKind::Piece,
        }
    }
}

/// The kind of frame that carries a message.
#[must_use]
pub(super) const fn kind_of(message: &Message) -> FrameKind {
    match message {
        Message::Follow(_) => FrameKind::Follow,
        Message::Report(_) => FrameKind::Report,
        Message::Refused { .. } => FrameKind::Refused,
        Message::Adopt { .. } => FrameKind::Adopt,
        Message::Differs { .. } => FrameKind::Differs,
        Message::Records(_) => FrameKind::Records,
        Message::Beat { .. } => FrameKind::Beat,
        Message::Ack { .. } => FrameKind::Ack,
        Message::Offer { .. } => FrameKind::Offer,
    }
}

/// Appends a frame; what is longer than a frame may be is an error, and leaves `out` as it was.
pub fn put_said(out: &mut Vec<u8>, seed: u32, shard: ShardId, said: &Said) -> Result<(), CodecError> {
    put_frame(out, seed, (said.kind(), shard), |out| match said {
        Said::Message(message) => put_body(out, message),
        Said::ReadAsked(number) => put_number(out, *number),
        Said::ReadAnswered(number, upto) => {
            put_number(out, *number);
            put_u8(out, u8::from(upto.is_some()));
            upto.iter().for_each(|upto| put_number(out, upto.0));
        }
        Said::ErrandAsked(number, bytes) | Said::ErrandAnswered(number, bytes) => {
            put_number(out, *number);
            out.extend_from_slice(bytes);
        }
        Said::Starts(starts) => put_starts(out, starts),
        Said::PieceAsked(PieceAsk { key, from, upto }) => {
            out.extend_from_slice(&key.to_le_bytes());
            put_number(out, *from);
            put_number(out, *upto);
        }
        Said::Piece(Piece { key, at, bytes }) => {
            out.extend_from_slice(&key.to_le_bytes());
            put_number(out, *at);
            out.extend_from_slice(bytes);
        }
    })
}

/// Appends a message as a frame, as [`put_said`] does.
pub(super) fn put_message(
    out: &mut Vec<u8>,
    seed: u32,
    shard: ShardId,
    message: &Message,
) -> Result<(), CodecError> {
    put_frame(out, seed, (kind_of(message), shard), |out| put_body(out, message))
}

fn put_epoch(out: &mut Vec<u8>, epoch: Epoch) {
    put_number(out, epoch.record.0);
    put_number(out, epoch.boot.0);
}

fn put_chain(out: &mut Vec<u8>, chain: Chain) {
    out.extend_from_slice(&chain.0.to_le_bytes());
}

fn put_body(out: &mut Vec<u8>, message: &Message) {
    put_epoch(out, message.epoch());
    match message {
        Message::Follow(_) => {}
        Message::Report(report) => put_report(out, report),
        Message::Refused { promised, .. } => put_epoch(out, *promised),
        Message::Adopt { report, common, end, .. } => {
            put_number(out, *report);
            put_number(out, common.0);
            put_number(out, end.0);
        }
        Message::Differs { at, .. } => put_epoch(out, *at),
        Message::Records(records) => put_records(out, records),
        Message::Offer { image, .. } => {
            out.extend_from_slice(&image.key.to_le_bytes());
            put_number(out, image.bytes);
            put_history(out, &image.history);
        }
        Message::Beat { committed, round, is_spare, .. } => {
            put_number(out, committed.0);
            put_number(out, *round);
            put_number(out, u64::from(*is_spare));
        }
        Message::Ack { synced, round, .. } => {
            put_number(out, synced.0);
            put_number(out, *round);
        }
    }
}

fn put_report(out: &mut Vec<u8>, report: &Report) {
    put_number(out, report.number);
    put_number(out, report.boot.0);
    put_number(out, report.committed.0);
    put_number(out, u64::from(report.intact));
    put_history(out, &report.history);
}

fn put_history(out: &mut Vec<u8>, history: &History) {
    put_number(out, history.end().0);
    put_chain(out, history.chain());
    put_number(out, history.starts().len() as u64);
    for start in history.starts() {
        put_epoch(out, start.epoch);
        put_number(out, start.first.0);
    }
}

fn put_records(out: &mut Vec<u8>, records: &Records) {
    put_number(out, records.after.0);
    put_chain(out, records.chain);
    put_number(out, records.committed.0);
    put_number(out, records.entries.len() as u64);
    for entry in &records.entries {
        put_u8(out, entry.kind as u8);
        put_epoch(out, entry.epoch);
        put_blob(out, &entry.payload);
    }
}

/// Reads the payload of a frame; entries share its memory.
pub fn decode_said(kind: FrameKind, payload: &Bytes) -> Result<Said, CodecError> {
    let mut cursor = Cursor::sharing(payload);
    let said = match kind {
        FrameKind::Hello
        | FrameKind::Welcome
        | FrameKind::Refusal
        | FrameKind::Agreed
        | FrameKind::PutBack => {
            return Err(CodecError::Impossible(WHAT));
        }
        FrameKind::Starts => Said::Starts(starts(&mut cursor)?),
        FrameKind::ReadAsked => Said::ReadAsked(cursor.number(WHAT)?),
        FrameKind::ReadAnswered => {
            let number = cursor.number(WHAT)?;
            let upto = match cursor.u8(WHAT)? {
                0 => None,
                1 => Some(index(&mut cursor)?),
                _ => return Err(CodecError::Impossible(WHAT)),
            };
            Said::ReadAnswered(number, upto)
        }
        // An errand is the rest of its frame.
        FrameKind::ErrandAsked | FrameKind::ErrandAnswered => {
            let number = cursor.number(WHAT)?;
            let bytes = cursor.own(cursor.rest());
            return Ok(match kind {
                FrameKind::ErrandAsked => Said::ErrandAsked(number, bytes),
                _ => Said::ErrandAnswered(number, bytes),
            });
        }
        FrameKind::PieceAsked => {
            let (key, from) = (key(&mut cursor)?, cursor.number(WHAT)?);
            Said::PieceAsked(PieceAsk { key, from, upto: cursor.number(WHAT)? })
        }
        // A piece, too.
        FrameKind::Piece => {
            let (key, at) = (key(&mut cursor)?, cursor.number(WHAT)?);
            return Ok(Said::Piece(Piece { key, at, bytes: cursor.own(cursor.rest()) }));
        }
        _ => Said::Message(message(kind, &mut cursor)?),
    };
    cursor.end(WHAT)?;
    Ok(said)
}

fn message(kind: FrameKind, cursor: &mut Cursor<'_>) -> Result<Message, CodecError> {
    let epoch = epoch(cursor)?;
    Ok(match kind {
        FrameKind::Follow => Message::Follow(epoch),
        FrameKind::Report => Message::Report(report(epoch, cursor)?),
        FrameKind::Refused => Message::Refused { epoch, promised: self::epoch(cursor)? },
        FrameKind::Adopt => {
            let (report, common, end) = (cursor.number(WHAT)?, index(cursor)?, index(cursor)?);
            Message::Adopt { epoch, report, common, end }
        }
        FrameKind::Differs => Message::Differs { epoch, at: self::epoch(cursor)? },
        FrameKind::Records => Message::Records(records(epoch, cursor)?),
        FrameKind::Offer => {
            let (key, bytes) = (key(cursor)?, cursor.number(WHAT)?);
            Message::Offer { epoch, image: Image { key, bytes, history: history(cursor)? } }
        }
        FrameKind::Beat => {
            let (committed, round) = (index(cursor)?, cursor.number(WHAT)?);
            Message::Beat { epoch, committed, round, is_spare: flag(cursor)? }
        }
        FrameKind::Ack => Message::Ack { epoch, synced: index(cursor)?, round: cursor.number(WHAT)? },
        _ => return Err(CodecError::Impossible(WHAT)),
    })
}

fn put_starts(out: &mut Vec<u8>, starts: &[KnownStart]) {
    put_number(out, starts.len() as u64);
    for (volume, Start { boot, key }) in starts {
        out.extend_from_slice(&volume.0);
        put_number(out, boot.0);
        out.extend_from_slice(&key.0.to_le_bytes());
    }
}

fn starts(cursor: &mut Cursor<'_>) -> Result<Vec<KnownStart>, CodecError> {
    let count = cursor.size(WHAT)?;
    if count > cursor.rest().len() / KNOWN_START_BYTES_MIN {
        return Err(CodecError::Truncated(WHAT));
    }
    let mut starts = Vec::with_capacity(count);
    for _ in 0..count {
        let volume = cursor.take(INCARNATION_BYTES, WHAT)?;
        let volume = volume.try_into().map_err(|_| CodecError::Truncated(WHAT))?;
        let (boot, key) = (Boot(cursor.number(WHAT)?), StartKey(chain(cursor)?.0));
        starts.push((VolumeIncarnation(volume), Start { boot, key }));
    }
    Ok(starts)
}

fn index(cursor: &mut Cursor<'_>) -> Result<LogIndex, CodecError> {
    cursor.number(WHAT).map(LogIndex)
}

fn epoch(cursor: &mut Cursor<'_>) -> Result<Epoch, CodecError> {
    Ok(Epoch { record: RecordEpoch(cursor.number(WHAT)?), boot: Boot(cursor.number(WHAT)?) })
}

fn chain(cursor: &mut Cursor<'_>) -> Result<Chain, CodecError> {
    let bytes = cursor.take(CHAIN_BYTES, WHAT)?;
    bytes.try_into().map(|bytes| Chain(u64::from_le_bytes(bytes))).map_err(|_| CodecError::Truncated(WHAT))
}

fn key(cursor: &mut Cursor<'_>) -> Result<u32, CodecError> {
    let bytes = cursor.take(KEY_BYTES, WHAT)?;
    bytes.try_into().map(u32::from_le_bytes).map_err(|_| CodecError::Truncated(WHAT))
}

fn flag(cursor: &mut Cursor<'_>) -> Result<bool, CodecError> {
    match cursor.number(WHAT)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(CodecError::Impossible(WHAT)),
    }
}

fn report(epoch: Epoch, cursor: &mut Cursor<'_>) -> Result<Report, CodecError> {
    let (number, boot, committed) = (cursor.number(WHAT)?, Boot(cursor.number(WHAT)?), index(cursor)?);
    let intact = flag(cursor)?;
    Ok(Report { epoch, boot, number, history: history(cursor)?, committed, intact })
}

fn history(cursor: &mut Cursor<'_>) -> Result<History, CodecError> {
    let (end, end_chain) = (index(cursor)?, chain(cursor)?);
    let count = cursor.size(WHAT)?;
    if count > cursor.rest().len() / START_BYTES_MIN {
        return Err(CodecError::Truncated(WHAT));
    }
    let mut starts = Vec::with_capacity(count);
    for _ in 0..count {
        starts.push(EpochStart { epoch: epoch(cursor)?, first: index(cursor)? });
    }
    History::new(starts, end, end_chain).map_err(|_| CodecError::Impossible(WHAT))
}

fn records(epoch: Epoch, cursor: &mut Cursor<'_>) -> Result<Records, CodecError> {
    let (after, before, committed) = (index(cursor)?, chain(cursor)?, index(cursor)?);
    let count = cursor.count(WHAT)?;
    // An index beyond all numbers would overflow whoever counts on.
    if count > RECORDS_ENTRIES_MAX || after.0.checked_add(count as u64 + 1).is_none() {
        return Err(CodecError::Impossible(WHAT));
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = RecordKind::from_number(cursor.u8(WHAT)?).filter(|kind| kind.is_chained());
        let (kind, epoch) = (kind.ok_or(CodecError::Impossible(WHAT))?, self::epoch(cursor)?);
        let payload = cursor.blob(WHAT)?;
        if payload.len() > RECORD_PAYLOAD_BYTES_MAX {
            return Err(CodecError::Impossible(WHAT));
        }
        entries.push(Entry { kind, epoch, payload: cursor.own(payload) });
    }
    Ok(Records { epoch, after, chain: before, committed, entries })
}

#[cfg(test)]
mod tests;
