//! The log of a replica in sixteen bytes: an entry is one byte, its epoch and its kind. Two entries of one epoch at one
//! index are the same, since an epoch has one leader; only a planted bug makes two of different kinds.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::rules::{Boot, Epoch, RecordEpoch};

/// Entries that a log may have.
pub(super) const ENTRIES_MAX: u8 = 16;
const KIND_BITS: u8 = 2;
const BOOT_BITS: u8 = 2;

/// An epoch in six bits. The boot is counted from the one in which the leader began to lead: only its order counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Stamp(u8);

impl Stamp {
    /// Epochs of the record that fit.
    pub(super) const RECORDS_MAX: u8 = 15;
    /// Restarts of a leader that fit.
    pub(super) const BOOTS_MAX: u8 = 3;

    /// The epoch of a leader.
    #[must_use]
    pub(super) const fn new(record: u8, boot: u8) -> Self {
        Self(record << BOOT_BITS | boot)
    }

    /// What the record assigned.
    #[must_use]
    pub(super) const fn record(self) -> u8 {
        self.0 >> BOOT_BITS
    }

    /// In which of its boots the leader leads.
    #[must_use]
    pub(super) const fn boot(self) -> u8 {
        self.0 & Self::BOOTS_MAX
    }

    /// As a number that grows with it.
    #[must_use]
    pub(super) const fn number(self) -> u8 {
        self.0
    }

    /// The same for the product.
    #[must_use]
    pub(super) fn epoch(self) -> Epoch {
        Epoch { record: RecordEpoch(u64::from(self.record())), boot: Boot(u64::from(self.boot())) }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.record(), self.boot())
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first of an epoch.
    Start,
    /// A write of a client.
    Write,
    /// The leader has heard of a set of voters.
    Config,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "the start",
            Self::Write => "a write",
            Self::Config => "a set of voters",
        })
    }
}

/// Entries in order; the first has index 1.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Log([u8; ENTRIES_MAX as usize]);

impl Log {
    /// All entries as one number, the first in the lowest byte. No entry is zero, so its size tells the length.
    #[must_use]
    pub(super) const fn number(self) -> u128 {
        u128::from_le_bytes(self.0)
    }

    /// The index of the last entry.
    #[must_use]
    pub(super) const fn len(self) -> u8 {
        ENTRIES_MAX - whole_bytes(self.number().leading_zeros())
    }

    /// The epoch of the entry at `index`; the lowest of all before the first.
    #[must_use]
    pub(super) fn stamp(self, index: u8) -> Stamp {
        Stamp(self.byte(index) >> KIND_BITS)
    }

    /// What the entry at `index` is, if there is one.
    #[must_use]
    pub(super) fn kind(self, index: u8) -> Option<Kind> {
        match self.byte(index) {
            0 => None,
            byte => Some([Kind::Start, Kind::Write, Kind::Config, Kind::Config][usize::from(byte & 3)]),
        }
    }

    /// Appends; an entry that finds no room is a scope too large, and ends the walk.
    pub(super) fn push(&mut self, stamp: Stamp, kind: Kind) {
        let kind = match kind {
            Kind::Start => 0,
            Kind::Write => 1,
            Kind::Config => 2,
        };
        self.0[usize::from(self.len())] = stamp.0 << KIND_BITS | kind;
    }

    /// Takes over the next entry of another log that begins with this one.
    pub(super) fn take_next(&mut self, other: Self) {
        let place = usize::from(self.len());
        self.0[place] = other.0[place];
    }

    /// The first `len` entries.
    #[must_use]
    pub(super) fn prefix(self, len: u8) -> Self {
        let kept = 1_u128.checked_shl(u32::from(len) * 8).map_or(u128::MAX, |bit| bit - 1);
        Self((self.number() & kept).to_le_bytes())
    }

    /// How many entries both begin with.
    #[must_use]
    pub(super) fn common(self, other: Self) -> u8 {
        whole_bytes((self.number() ^ other.number()).trailing_zeros()).min(self.len()).min(other.len())
    }

    /// Whether it begins with all of another one.
    #[must_use]
    pub(super) fn begins_with(self, other: Self) -> bool {
        self.common(other) == other.len()
    }

    fn byte(self, index: u8) -> u8 {
        index.checked_sub(1).and_then(|place| self.0.get(usize::from(place)).copied()).unwrap_or_default()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "of at most 128 bits")]
const fn whole_bytes(bits: u32) -> u8 {
    (bits / 8) as u8
}

impl Hash for Log {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.number());
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = (1..=self.len()).map(|index| (self.stamp(index), self.kind(index)));
        f.debug_list().entries(entries).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(entries: &[(u8, u8, Kind)]) -> Log {
        let mut log = Log::default();
        entries.iter().for_each(|(record, boot, kind)| log.push(Stamp::new(*record, *boot), *kind));
        log
    }

    #[test]
    fn a_log_of_sixteen_bytes_keeps_the_order_the_epoch_and_the_kind_of_each_entry() {
        let long = log(&[(1, 0, Kind::Start), (1, 0, Kind::Write), (15, 3, Kind::Config)]);
        let short = log(&[(1, 0, Kind::Start), (2, 0, Kind::Start)]);
        assert_eq!((Log::default().len(), short.len(), long.len()), (0, 2, 3));
        assert_eq!((long.stamp(3), long.kind(3)), (Stamp::new(15, 3), Some(Kind::Config)));
        assert_eq!((long.stamp(0), long.kind(4)), (Stamp::default(), None));
        assert_eq!((long.common(short), long.common(long), long.common(Log::default())), (1, 3, 0));
        assert!(long.begins_with(long.prefix(2)) && !long.prefix(2).begins_with(long));
        let mut copy = long.prefix(1);
        copy.take_next(long);
        assert_eq!(copy, long.prefix(2));
        let full = log(&[(1, 0, Kind::Start); 16]);
        assert_eq!((full.len(), full.prefix(16), full.prefix(0)), (16, full, Log::default()));
    }
}
