//! A file of the disk seam as the database wants it, so that tables and log lie on one disk, real or simulated.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use redb::StorageBackend;

use crate::seam::disk::File;
use crate::store::staged::{Depth, Staged};

/// Writes of this size are pages full of messages, which nobody writes again soon. Those of the trees above them change with every
/// transaction.
const PAGE_BYTES_LARGE: usize = 64 << 10;
/// So much is given to the device at a time: enough to keep it busy, and little to wait for at a checkpoint.
const WRITE_BACK_BYTES: u64 = 1 << 20;
/// Where it lies spread over more than so many times as much of the file, it waits for the checkpoint: what is clean between would be
/// forgotten.
const SPREAD_MAX: u64 = 4;

/// The file of one shard, locked for as long as it lives.
#[derive(Debug)]
pub(super) struct TableFile {
    file: Arc<dyn File>,
    fresh: Mutex<Fresh>,
}

/// Large pages that were written since some were last given to the device.
#[derive(Debug, Default)]
struct Fresh {
    place: Range<u64>,
    bytes: u64,
}

impl Fresh {
    /// A page was written; what the device should have now.
    fn note(&mut self, offset: u64, bytes: u64) -> Option<Range<u64>> {
        let end = offset + bytes;
        self.place = match self.bytes {
            0 => offset..end,
            _ => self.place.start.min(offset)..self.place.end.max(end),
        };
        self.bytes += bytes;
        if self.bytes < WRITE_BACK_BYTES {
            return None;
        }
        let Self { place, bytes } = std::mem::take(self);
        (place.end - place.start <= bytes * SPREAD_MAX).then_some(place)
    }
}

impl TableFile {
    pub(super) fn new(file: Arc<dyn File>) -> Self {
        Self { file, fresh: Mutex::default() }
    }

    /// So much was written there; what the device should have now.
    fn note(&self, offset: u64, bytes: usize) -> Option<Range<u64>> {
        if bytes < PAGE_BYTES_LARGE {
            return None;
        }
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).note(offset, bytes as u64)
    }

    /// The same, written behind whoever gives it.
    pub(super) fn staged(self, depth: Depth) -> (Self, Arc<Staged>) {
        let staged = Staged::over(self.file, depth);
        (Self::new(Arc::<Staged>::clone(&staged)), staged)
    }
}

impl StorageBackend for TableFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let count = self.file.read_at(out, offset)?;
        if count == out.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(data, offset)?;
        if let Some(place) = self.note(offset, data.len()) {
            self.file.write_back(place.start, place.end - place.start);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::disk::RealDir;

    const PAGE: u64 = 128 << 10;

    /// A file that notes what it is told to give to the device.
    #[derive(Debug)]
    struct Noting(Arc<dyn File>, Mutex<Vec<Range<u64>>>);

    impl File for Noting {
        fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
            self.0.read_at(buffer, position)
        }
        fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
            self.0.write_at(bytes, position)
        }
        fn sync(&self) -> io::Result<()> {
            self.0.sync()
        }
        fn allocate(&self, length: u64) -> io::Result<()> {
            self.0.allocate(length)
        }
        fn set_len(&self, length: u64) -> io::Result<()> {
            self.0.set_len(length)
        }
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn stored_bytes(&self) -> io::Result<u64> {
            self.0.stored_bytes()
        }
        fn forget_cached(&self) {
            self.0.forget_cached();
        }
        fn write_back(&self, position: u64, length: u64) {
            self.1.lock().unwrap().push(position..position + length);
            self.0.write_back(position, length);
        }
        fn lock(&self) -> io::Result<bool> {
            self.0.lock()
        }
    }

    /// What the device is given while pages are written at these places, in units of a page.
    fn given(places: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
        let mut fresh = Fresh::default();
        let given = places.into_iter().filter_map(|place| fresh.note(place * PAGE, PAGE));
        given.map(|place| (place.start / PAGE, place.end / PAGE)).collect()
    }

    #[test]
    fn pages_of_messages_go_to_the_device_a_megabyte_at_a_time() {
        assert_eq!(given(0..7), [], "little is gathered");
        assert_eq!(given(10..26), [(10, 18), (18, 26)]);
        assert_eq!(given([7, 3, 1, 0, 2, 6, 5, 4]), [(0, 8)], "in whatever order they are written");
    }

    #[test]
    fn pages_that_lie_far_apart_wait_for_the_checkpoint() {
        let far = 8 * SPREAD_MAX;
        assert_eq!(given([0, 1, 2, 3, 4, 5, 6, far]), []);
        assert_eq!(given([0, 1, 2, 3, 4, 5, 6, far - 1]), [(0, far)]);
        let behind = [0, 1, 2, 3, 4, 5, 6, far].into_iter().chain(20..28);
        assert_eq!(given(behind), [(20, 28)], "those that follow are told of by themselves");
    }

    #[test]
    fn a_file_reads_the_same_while_the_device_is_given_it() {
        let folder = tempfile::tempdir().unwrap();
        let directory = RealDir::open(folder.path()).unwrap();
        let noting = Arc::new(Noting(directory.create("tables").unwrap(), Mutex::default()));
        let file = TableFile::new(Arc::<Noting>::clone(&noting));
        let page = |place: u64| vec![place.to_le_bytes()[0]; PAGE_BYTES_LARGE];
        let size = PAGE_BYTES_LARGE as u64;
        let places = 4 * WRITE_BACK_BYTES / size;
        for round in 0..2 {
            (0..places).for_each(|place| file.write(place * size, &page(place + round)).unwrap());
            let mut found = vec![0; PAGE_BYTES_LARGE];
            for place in 0..places {
                file.read(place * size, &mut found).unwrap();
                assert!(found == page(place + round), "page {place}");
            }
            let told = std::mem::take(&mut *noting.1.lock().unwrap());
            let wanted = (0..4).map(|part| part * WRITE_BACK_BYTES..(part + 1) * WRITE_BACK_BYTES);
            assert_eq!(told, wanted.collect::<Vec<_>>());
        }
        let small = vec![1; PAGE_BYTES_LARGE - 1];
        (0..100).for_each(|place| file.write(place * size, &small).unwrap());
        assert_eq!(*noting.1.lock().unwrap(), [], "small pages wait for the checkpoint");
    }
}
