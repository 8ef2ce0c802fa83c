//! The row of a stream: its meta, how many producers it knows, and the small chunks at its end, which the next apply
//! may join to larger ones (so that it need not look for them).

use crate::codec::CodecError;
use crate::codec::fields::{Cursor, put_number, put_offset, put_time, put_u8};
use crate::codec::meta::{get_meta, put_meta};
use crate::types::{Offset, Retention, StreamMeta, UnixMillis};

const VERSION: u8 = 1;

/// A stream as applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its state.
    pub meta: StreamMeta,
    /// How many producers it remembers.
    pub producers: u32,
}

/// A small chunk at the end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SmallChunk {
    pub start: Offset,
    pub wire_bytes: u64,
    pub first_at: UnixMillis,
}

/// A stream's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamRow {
    pub meta: StreamMeta,
    pub producers: u32,
    /// Where the last chunk begins, if there is one.
    pub last: Option<Offset>,
    /// The small chunks that end at the tail, in stream order; each more than twice as large as the next, so there
    /// are never more than about a dozen.
    pub small: Vec<SmallChunk>,
}

impl StreamRow {
    /// Payload bytes of its own that may be read.
    pub(super) fn own_bytes(&self) -> u64 {
        let first = self.meta.base.bytes.max(self.meta.earliest.bytes);
        self.meta.tail.bytes.saturating_sub(first)
    }

    /// Whether the sweeper looks at it: it lets old messages go. A retired stream's data is its forks'.
    pub(super) fn retained(&self) -> bool {
        !self.meta.retired && self.meta.config.retention != Retention::default()
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
        put_offset(out, last);
    }
    put_number(out, row.small.len() as u64);
    for chunk in &row.small {
        put_offset(out, chunk.start);
        put_number(out, chunk.wire_bytes);
        put_time(out, chunk.first_at);
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
        1 => Some(cursor.offset("last chunk")?),
        _ => return Err(CodecError::Impossible("last chunk")),
    };
    let count = cursor.count("small chunks")?;
    let mut small = Vec::with_capacity(count);
    for _ in 0..count {
        small.push(SmallChunk {
            start: cursor.offset("small chunk")?,
            wire_bytes: cursor.number("small chunk")?,
            first_at: cursor.time("small chunk")?,
        });
    }
    cursor.end("a stream row")?;
    Ok(StreamRow { meta, producers, last, small })
}
