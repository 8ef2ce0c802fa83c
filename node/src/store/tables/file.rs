//! A file of the disk seam as the database wants it, so that tables and log lie on one disk, real or simulated.

use std::io;
use std::sync::Arc;

use redb::StorageBackend;

use crate::seam::disk::File;
use crate::store::staged::{Depth, Staged};

/// The file of one shard, locked for as long as it lives.
#[derive(Debug)]
pub(super) struct TableFile(Arc<dyn File>);

impl TableFile {
    pub(super) const fn new(file: Arc<dyn File>) -> Self {
        Self(file)
    }

    /// The same, written behind whoever gives it.
    pub(super) fn staged(self, depth: Depth) -> (Self, Arc<Staged>) {
        let staged = Staged::over(self.0, depth);
        (Self(Arc::<Staged>::clone(&staged)), staged)
    }
}

impl StorageBackend for TableFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let count = self.0.read_at(out, offset)?;
        if count == out.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(data, offset)
    }
}
