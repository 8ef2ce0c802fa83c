//! Which calls of a simulated disk fail.

use std::collections::BTreeMap;
use std::io;

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Open a file.
    Open,
    /// Create a file.
    Create,
    /// Rename a file.
    Rename,
    /// Remove a file.
    Remove,
    /// List a directory.
    List,
    /// Sync a directory.
    SyncDir,
    /// Read.
    Read,
    /// Write.
    Write,
    /// Sync a file.
    Sync,
    /// Allocate.
    Allocate,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Open,
        Self::Create,
        Self::Rename,
        Self::Remove,
        Self::List,
        Self::SyncDir,
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::Allocate,
    ];
}

/// Counts calls, and fails the n-th of a kind.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    counts: BTreeMap<Call, u64>,
    planned: Option<(Call, u64, io::ErrorKind)>,
}

impl Faults {
    /// Fails the `nth` call (from 1) of a kind with an error, once.
    #[must_use]
    pub fn fail(call: Call, nth: u64, error: io::ErrorKind) -> Self {
        Self { planned: Some((call, nth, error)), ..Self::default() }
    }

    pub(super) fn count(&self, call: Call) -> u64 {
        self.counts.get(&call).copied().unwrap_or(0)
    }

    pub(super) fn enter(&mut self, call: Call) -> io::Result<()> {
        let count = self.counts.entry(call).or_default();
        *count += 1;
        match self.planned {
            Some((planned, nth, error)) if planned == call && nth == *count => Err(error.into()),
            _ => Ok(()),
        }
    }
}
