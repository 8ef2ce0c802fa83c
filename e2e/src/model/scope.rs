//! How much may happen in a walk: each number is a budget that steps use up.

/// The bounds of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope {
    /// What it shows, in a word.
    pub name: &'static str,
    /// Replicas, the spare ones included; the first three vote in the beginning.
    pub replicas: u8,
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
}

/// Three voters, a failover, a write and a crash: what all the other scopes begin with.
const PLAIN: Scope = Scope {
    name: "plain",
    replicas: 3,
    epochs: 2,
    writes: 1,
    crashes: 1,
    changes: 0,
    withdrawals: 0,
    wipes: 0,
};

impl Scope {
    /// Walked through by the tests: seconds.
    pub const SMALL: [Self; 4] = [
        PLAIN,
        Self { name: "three epochs", epochs: 3, crashes: 0, ..PLAIN },
        Self { name: "shrink", changes: 1, crashes: 0, ..PLAIN },
        Self { name: "spare in", replicas: 4, changes: 1, crashes: 0, writes: 0, ..PLAIN },
    ];

    /// Walked through by `make model`: hours, and gigabytes.
    pub const LARGE: [Self; 7] = [
        Self { name: "plain, 3 epochs", epochs: 3, ..PLAIN },
        Self { name: "plain, 2 writes, 2 crashes", writes: 2, crashes: 2, ..PLAIN },
        Self { name: "plain, 3 epochs, 2 writes, 2 crashes", epochs: 3, writes: 2, crashes: 2, ..PLAIN },
        Self { name: "plain, 4 epochs", epochs: 4, ..PLAIN },
        Self { name: "shrink, 3 epochs", epochs: 3, changes: 1, ..PLAIN },
        Self { name: "spare in, old out", replicas: 4, changes: 2, crashes: 0, ..PLAIN },
        Self { name: "wiped out and in", replicas: 4, changes: 2, wipes: 1, ..PLAIN },
    ];
}
