//! Judges a [`History`]: is there an order of all requests, within their real-time intervals, that explains every
//! answer? In O(n log n), because the offsets already give the order of the appends.
//!
//! What must hold: offsets unique and dense; appends in real-time order; every read a part of the final log, no older
//! and no newer than its interval allows; acknowledged appends present where they said, once, whole; refused ones
//! absent; unknown ones either; producers without gaps or repetitions; `Stream-Seq` rising; conditions held; nothing
//! after a closure; nothing after a deletion or an expiry, and none of them early; retention keeps what it must.

mod appends;
mod keeping;
mod lifetime;
mod log;
mod order;
mod producers;
mod violation;

use crate::history::{History, Position};

pub use violation::{Kind, Violation};

/// Which half of an offset the server counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Messages and bytes, both exact (ours).
    MessagesAndBytes,
    /// Bytes only (the official server).
    Bytes,
}

/// Every violation; none means that the history is linearizable and nothing was lost or invented.
#[must_use]
pub fn check(history: &History, dialect: Dialect) -> Vec<Violation> {
    let log = log::Log::new(&history.end, dialect);
    let mut found = Vec::new();
    let placed = appends::check(history, &log, &mut found);
    producers::check(history, &placed, &mut found);
    order::check(history, &log, &placed, &mut found);
    keeping::check(history, &mut found);
    found
}

impl Dialect {
    /// Reads an offset: two numbers of 16 digits, hexadecimal (ours) or decimal.
    #[must_use]
    pub fn parse(self, text: &str) -> Option<Position> {
        let (messages, bytes) = text.split_once('_')?;
        let radix = self.radix();
        Some(Position {
            messages: u64::from_str_radix(messages, radix).ok()?,
            bytes: u64::from_str_radix(bytes, radix).ok()?,
        })
    }

    /// Writes an offset as the server wrote it.
    #[must_use]
    pub fn format(self, position: Position) -> String {
        match self {
            Self::MessagesAndBytes => format!("{:016x}_{:016x}", position.messages, position.bytes),
            Self::Bytes => format!("{:016}_{:016}", position.messages, position.bytes),
        }
    }

    const fn radix(self) -> u32 {
        match self {
            Self::MessagesAndBytes => 16,
            Self::Bytes => 10,
        }
    }
}
