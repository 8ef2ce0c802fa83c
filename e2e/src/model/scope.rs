//! How much may happen in a walk: each number is a budget that steps use up.

use super::log::{ENTRIES_MAX, Stamp};
use super::world::{REPLICAS_MAX, TERMS_MAX};

/// The bounds of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope {
    /// What it shows, in a word.
    pub name: &'static str,
    /// Replicas, the spare ones included.
    pub replicas: u8,
    /// How many of them vote in the beginning.
    pub voters: u8,
    /// Epochs of the record.
    pub epochs: u8,
    /// Writes of clients.
    pub writes: u8,
    /// Crashes, each of which loses what was not synced.
    pub crashes: u8,
    /// Changes of the voters, one voter each.
    pub changes: u8,
    /// Changes that are taken back.
    pub withdrawals: u8,
    /// Disks that are lost for good.
    pub wipes: u8,
    /// Reads.
    pub reads: u8,
}

/// Nobody writes, and nothing breaks but for elections.
const QUIET: Scope = Scope { writes: 0, crashes: 0, ..Scope::PLAIN };

impl Scope {
    /// Three voters, a failover, a write and a crash: what all the other scopes begin with.
    pub const PLAIN: Self = Self {
        name: "plain",
        replicas: 3,
        voters: 3,
        epochs: 2,
        writes: 1,
        crashes: 1,
        changes: 0,
        withdrawals: 0,
        wipes: 0,
        reads: 0,
    };

    /// Walked through by the tests: seconds.
    pub const SMALL: [Self; 8] = [
        Self::PLAIN,
        Self { name: "three epochs", epochs: 3, crashes: 0, ..Self::PLAIN },
        Self { name: "shrink", changes: 1, crashes: 0, ..Self::PLAIN },
        Self { name: "spare in", replicas: 4, changes: 1, crashes: 0, writes: 0, ..Self::PLAIN },
        Self { name: "taken back", changes: 1, withdrawals: 1, crashes: 0, writes: 0, ..Self::PLAIN },
        Self { name: "disk lost", replicas: 4, changes: 1, wipes: 1, crashes: 0, writes: 0, ..Self::PLAIN },
        Self { name: "read", reads: 1, crashes: 0, ..Self::PLAIN },
        Self { name: "read and shrink", reads: 1, changes: 1, crashes: 0, writes: 0, ..Self::PLAIN },
    ];

    /// Walked through by `make long`, once.
    pub const VAST: [Self; 2] = [
        Self { name: "plain, 4 epochs, 2 writes, 2 crashes", epochs: 4, writes: 2, crashes: 2, ..QUIET },
        Self {
            name: "wiped out and in, 3 epochs",
            replicas: 4,
            epochs: 3,
            writes: 1,
            changes: 2,
            wipes: 1,
            ..QUIET
        },
    ];

    /// Walked through by `make model`: minutes.
    pub const LARGE: [Self; 13] = [
        Self { name: "plain, 3 epochs", epochs: 3, ..Self::PLAIN },
        Self { name: "plain, 2 writes, 2 crashes", writes: 2, crashes: 2, ..Self::PLAIN },
        Self { name: "read, 3 epochs", epochs: 3, reads: 1, ..Self::PLAIN },
        Self { name: "spare in, 3 epochs", replicas: 4, epochs: 3, changes: 1, ..QUIET },
        Self { name: "spare in, old out", replicas: 4, writes: 1, changes: 2, ..QUIET },
        Self { name: "plain, 4 epochs", epochs: 4, ..Self::PLAIN },
        Self { name: "disk lost, 3 epochs", replicas: 4, epochs: 3, changes: 1, wipes: 1, ..QUIET },
        Self { name: "spare in, 3 epochs, 1 write", replicas: 4, epochs: 3, writes: 1, changes: 1, ..QUIET },
        Self { name: "taken back, 3 epochs", epochs: 3, writes: 1, changes: 1, withdrawals: 1, ..QUIET },
        Self { name: "wiped out and in", replicas: 4, writes: 1, changes: 2, wipes: 1, ..QUIET },
        Self { name: "plain, 3 epochs, 2 writes, 2 crashes", epochs: 3, writes: 2, crashes: 2, ..QUIET },
        Self { name: "shrink, 3 epochs", epochs: 3, changes: 1, ..Self::PLAIN },
        Self { name: "four voters, 3 epochs", replicas: 4, voters: 4, epochs: 3, changes: 1, ..QUIET },
    ];

    /// Why it does not fit into a state of the walk, if it does not.
    #[must_use]
    pub fn too_large(&self) -> Option<&'static str> {
        let replicas = usize::from(self.replicas);
        let terms = self.epochs.saturating_add(self.crashes);
        let entries =
            terms.saturating_add(self.writes).saturating_add(self.changes.saturating_add(self.withdrawals));
        match self {
            _ if replicas > REPLICAS_MAX || self.voters > self.replicas => {
                Some("four replicas at most, and each voter is one")
            }
            _ if self.voters == 0 || self.epochs == 0 => Some("a voter and an epoch at least"),
            _ if self.epochs > Stamp::RECORDS_MAX || self.crashes > Stamp::BOOTS_MAX => {
                Some("three crashes at most")
            }
            _ if usize::from(terms) > TERMS_MAX => Some("eight epochs and crashes at most"),
            _ if entries > ENTRIES_MAX => Some("sixteen entries at most"),
            _ if self.changes.saturating_add(self.withdrawals) > 3 => Some("three changes at most"),
            _ => None,
        }
    }
}
