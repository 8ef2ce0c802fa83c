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
    /// Set a file's length.
    SetLength,
    /// Ask for a file's length.
    Length,
    /// Open a sub-directory.
    Subdir,
    /// Ask for the volume's free bytes.
    Space,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 14] = [
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
        Self::SetLength,
        Self::Length,
        Self::Subdir,
        Self::Space,
    ];
}

/// Counts calls, and fails the n-th of a kind.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    counts: BTreeMap<Call, u64>,
    total: u64,
    /// Bytes that were read from files.
    pub(super) read_bytes: u64,
    planned: Option<(Call, u64, io::ErrorKind)>,
    power_off_after: Option<u64>,
}

impl Faults {
    /// Fails the `nth` call (from 1) of a kind with an error, once.
    #[must_use]
    pub fn fail(call: Call, nth: u64, error: io::ErrorKind) -> Self {
        Self { planned: Some((call, nth, error)), ..Self::default() }
    }

    /// Lets `calls` calls of any kind through; all later ones fail and change nothing. What the disk then holds is what it
    /// held in the middle of an operation.
    #[must_use]
    pub fn power_off_after(calls: u64) -> Self {
        Self { power_off_after: Some(calls), ..Self::default() }
    }

    /// Whether nothing changes any more.
    pub(super) fn is_off(&self) -> bool {
        self.power_off_after.is_some_and(|calls| self.total > calls)
    }

    pub(super) fn count(&self, call: Call) -> u64 {
        self.counts.get(&call).copied().unwrap_or(0)
    }

    pub(super) fn enter(&mut self, call: Call) -> io::Result<()> {
        self.total += 1;
        let count = self.counts.entry(call).or_default();
        *count += 1;
        let count = *count;
        if self.is_off() {
            return Err(io::Error::other("the power is off"));
        }
        match self.planned {
            Some((planned, nth, error)) if planned == call && nth == count => Err(error.into()),
            _ => Ok(()),
        }
    }
}
