//! The log of a replica, as small as it can be: an entry is two bytes, and no two different entries are equal.

use std::fmt;

use thalweg_node::types::{Boot, Epoch, RecordEpoch};

/// Entries that a log may have; a scope that needs more does not end in reasonable time anyway.
const ENTRIES_MAX: usize = 16;

/// An epoch in one byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(u8);

impl Stamp {
    /// The epoch of a leader.
    #[must_use]
    pub const fn new(record: u8, boot: u8) -> Self {
        Self(record << 4 | boot)
    }

    /// What the record assigned.
    #[must_use]
    pub const fn record(self) -> u8 {
        self.0 >> 4
    }

    /// In which of its boots the leader leads.
    #[must_use]
    pub const fn boot(self) -> u8 {
        self.0 & 15
    }

    /// The same for the product.
    #[must_use]
    pub fn epoch(self) -> Epoch {
        Epoch { record: RecordEpoch(u64::from(self.record())), boot: Boot(u64::from(self.boot())) }
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.record(), self.boot())
    }
}

/// What an entry is; every write is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first of an epoch.
    Start,
    /// The so-manieth write of a client.
    Write(u8),
    /// The leader has heard of a set of voters.
    Config(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Entry {
    stamp: Stamp,
    kind: u8,
}

/// Entries in order; the first has index 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Log {
    entries: [Entry; ENTRIES_MAX],
    len: u8,
}

impl Log {
    /// The index of the last entry.
    #[must_use]
    pub const fn len(&self) -> u8 {
        self.len
    }

    /// Whether nothing was ever appended.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The epoch of the entry at `index`; the lowest of all before the first.
    #[must_use]
    pub fn stamp(&self, index: u8) -> Stamp {
        index.checked_sub(1).map_or(Stamp::default(), |place| self.entries[usize::from(place)].stamp)
    }

    /// Appends; an entry that finds no room is a scope too large, and ends the walk.
    pub fn push(&mut self, stamp: Stamp, kind: Kind) {
        let kind = match kind {
            Kind::Start => 0,
            Kind::Write(number) => 0x40 | number,
            Kind::Config(version) => 0x80 | version,
        };
        self.entries[usize::from(self.len)] = Entry { stamp, kind };
        self.len += 1;
    }

    /// Takes over the next entry of another log that begins with this one.
    pub fn take_next(&mut self, other: &Self) {
        self.entries[usize::from(self.len)] = other.entries[usize::from(self.len)];
        self.len += 1;
    }

    /// Leaves `len` entries.
    pub fn cut(&mut self, len: u8) {
        for entry in self.entries.iter_mut().take(usize::from(self.len)).skip(usize::from(len)) {
            *entry = Entry::default();
        }
        self.len = self.len.min(len);
    }

    /// How many entries both begin with.
    #[must_use]
    pub fn common(&self, other: &Self) -> u8 {
        let shorter = usize::from(self.len.min(other.len));
        let pairs = self.entries.iter().zip(&other.entries).take(shorter);
        u8::try_from(pairs.take_while(|(one, two)| one == two).count()).unwrap_or(u8::MAX)
    }

    /// The first `len` entries.
    #[must_use]
    pub fn prefix(&self, len: u8) -> Self {
        let mut prefix = *self;
        prefix.cut(len);
        prefix
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.iter().take(usize::from(self.len));
        f.debug_list().entries(entries.map(|entry| (entry.stamp, entry.kind))).finish()
    }
}
