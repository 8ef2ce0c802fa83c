//! One replica, and the answer that it gives when it is sealed.

use std::hash::{Hash, Hasher};

use super::log::{Log, Stamp};
use super::rules::Sealed;
use super::sets::Sets;
use super::world::{Id, REPLICAS_MAX, index, replica};

/// One replica: what is on its disk, and the role that it has in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    /// Its log; what lies behind `synced` goes with a crash.
    pub log: Log,
    /// The sets of voters that it goes by, as a leader.
    pub sets: Sets,
    /// It takes nothing of lower epochs.
    pub promised: Stamp,
    /// The last epoch that it led.
    pub led: Stamp,
    /// How much of the log is on the disk.
    pub synced: u8,
    /// The disk is lost for good.
    pub wiped: bool,
    /// It leads, in the epoch `led`.
    pub leads: bool,
    /// As a leader: the first entry of its epoch.
    pub start: u8,
    /// As a leader: how far it has committed.
    pub committed: u8,
    /// As a leader: what others acknowledged in its epoch.
    pub acknowledged: [u8; REPLICAS_MAX],
}

/// The answer of a sealed replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Seal {
    /// Epoch of its last synced entry.
    pub last: Stamp,
    /// Index of its last synced entry.
    pub end: u8,
    /// It has restarted or changed since: an order that is bound to this answer is refused.
    pub stale: bool,
}

impl Node {
    /// An empty disk.
    #[must_use]
    pub(super) fn fresh() -> Self {
        Self {
            log: Log::default(),
            sets: Sets::default(),
            promised: Stamp::new(1, 0),
            led: Stamp::default(),
            synced: 0,
            wiped: false,
            leads: false,
            start: 0,
            committed: 0,
            acknowledged: [0; REPLICAS_MAX],
        }
    }

    /// Whether it holds what it said when it was sealed, and nothing else.
    #[must_use]
    pub(super) fn is_as_sealed(&self, seal: Seal) -> bool {
        !self.wiped
            && self.log.len() == seal.end
            && self.synced == seal.end
            && self.log.stamp(seal.end) == seal.last
    }
}

impl Seal {
    /// The same for the product.
    #[must_use]
    pub(super) fn answer(self, id: Id) -> Sealed {
        Sealed { replica: replica(id), last: self.last.epoch(), end: index(self.end) }
    }
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [one, two, three, four] = self.acknowledged;
        let roles = u8::from(self.wiped) | u8::from(self.leads) << 1;
        self.log.hash(state);
        self.sets.hash(state);
        state.write_u64(u64::from_le_bytes([
            one,
            two,
            three,
            four,
            roles,
            self.synced,
            self.start,
            self.committed,
        ]));
        state.write_u16(u16::from_le_bytes([self.promised.number(), self.led.number()]));
    }
}
