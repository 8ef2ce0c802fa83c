//! The row of a stream: its meta, how many producers it knows, and where its last chunk begins (so that an apply
//! need not look for it).

use crate::codec::CodecError;
use crate::codec::fields::{Cursor, put_number, put_offset, put_time, put_u8};
use crate::codec::meta::{get_meta, put_meta};
use crate::types::{Offset, StreamMeta, UnixMillis};

const VERSION: u8 = 1;

/// A stream as applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its state.
    pub meta: StreamMeta,
    /// How many producers it remembers.
    pub producers: u32,
}

/// The last chunk of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastChunk {
    pub start: Offset,
    pub wire_bytes: u64,
    pub first_at: UnixMillis,
}

/// A stream's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamRow {
    pub meta: StreamMeta,
    pub producers: u32,
    pub last: Option<LastChunk>,
}

impl StreamRow {
    /// Payload bytes of its own that may be read.
    pub(super) fn own_bytes(&self) -> u64 {
        let first = self.meta.base.bytes.max(self.meta.earliest.bytes);
        self.meta.tail.bytes.saturating_sub(first)
    }

    /// When it ends, if it can: a retired stream has ended already.
    pub(super) fn deadline(&self) -> Option<UnixMillis> {
        if self.meta.retired { None } else { self.meta.deadline() }
    }
}

pub(super) fn put_row(out: &mut Vec<u8>, row: &StreamRow) {
    put_u8(out, VERSION);
    put_meta(out, &row.meta);
    put_number(out, u64::from(row.producers));
    put_u8(out, u8::from(row.last.is_some()));
    if let Some(last) = row.last {
        put_offset(out, last.start);
        put_number(out, last.wire_bytes);
        put_time(out, last.first_at);
    }
}

pub(super) fn get_row(raw: &[u8]) -> Result<StreamRow, CodecError> {
    let mut cursor = Cursor::copying(raw);
    let version = cursor.u8("row version")?;
    if version != VERSION {
        return Err(CodecError::Version { what: "a stream row", found: version });
    }
    let meta = get_meta(&mut cursor)?;
    let producers = cursor.number32("producers")?;
    let last = match cursor.u8("last chunk")? {
        0 => None,
        1 => Some(LastChunk {
            start: cursor.offset("last chunk")?,
            wire_bytes: cursor.number("last chunk")?,
            first_at: cursor.time("last chunk")?,
        }),
        _ => return Err(CodecError::Impossible("last chunk")),
    };
    cursor.end("a stream row")?;
    Ok(StreamRow { meta, producers, last })
}
