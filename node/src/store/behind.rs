//! A new file that is synced behind the one who writes it, on a thread of its own, so that the device works while more is
//! prepared. For files that nobody relies on before they are complete and get their name.
//!
//! Invariants: at most three times [`SYNC_BYTES`] are written and not synced; once a sync has failed, nothing more is
//! written and nothing counts as synced. Until [`Behind::settle`], a sync that is asked for promises nothing.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use crate::seam::disk::File;

/// Bytes written between two syncs, so that the sync of a log on the same device never waits for a whole snapshot.
pub(super) const SYNC_BYTES: u64 = 16 << 20;

/// Such a file.
#[derive(Debug)]
pub(super) struct Behind {
    file: Arc<dyn File>,
    state: Mutex<State>,
    /// How a sync failed.
    failure: Arc<Failure>,
}

/// How a call failed that nobody waited for: whoever comes next is told.
#[derive(Debug, Default)]
pub(super) struct Failure(OnceLock<(io::ErrorKind, String)>);

impl Failure {
    pub(super) fn check(&self) -> io::Result<()> {
        self.0.get().map_or(Ok(()), |(kind, text)| Err(io::Error::new(*kind, text.clone())))
    }

    /// Keeps the first one.
    pub(super) fn keep(&self, ended: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &ended {
            let _later = self.0.set((error.kind(), error.to_string()));
        }
        ended
    }
}

#[derive(Debug, Default)]
struct State {
    /// Written since the last sync was ordered.
    unordered: u64,
    /// One may wait while another is under way.
    orders: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    is_settled: bool,
}

impl Behind {
    pub(super) fn over(file: Arc<dyn File>) -> Arc<Self> {
        Arc::new(Self { file, state: Mutex::default(), failure: Arc::default() })
    }

    // Each change is one step, or ends the thread.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> io::Result<()> {
        self.failure.check()
    }

    /// From now on a sync is one.
    pub(super) fn settle(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.is_settled = true;
        end(&mut state);
        self.check()
    }

    /// Has what was written synced, if that is enough. Waits while two syncs are outstanding.
    fn order(&self, state: &mut State, bytes: u64) -> io::Result<()> {
        state.unordered += bytes;
        if state.unordered < SYNC_BYTES || state.is_settled {
            return Ok(());
        }
        state.unordered = 0;
        if state.thread.is_none() {
            let (orders, todo) = sync_channel(1);
            let (file, failure) = (Arc::clone(&self.file), Arc::clone(&self.failure));
            let thread = std::thread::Builder::new().name("sync-behind".to_owned());
            state.thread = Some(thread.spawn(move || follow(&todo, file.as_ref(), &failure))?);
            state.orders = Some(orders);
        }
        let taken = state.orders.as_ref().is_some_and(|orders| orders.send(()).is_ok());
        if taken { Ok(()) } else { self.check() }
    }
}

/// Ends with the first sync that fails.
fn follow(todo: &Receiver<()>, file: &dyn File, failure: &Failure) {
    while todo.recv().is_ok() && failure.keep(file.sync()).is_ok() {}
}

fn end(state: &mut State) {
    state.orders = None;
    if let Some(thread) = state.thread.take() {
        // It cannot panic but inside of the disk; then the sync that follows tells.
        let _ended = thread.join();
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        // No sync is under way when the file is removed.
        end(&mut self.lock());
    }
}

impl File for Behind {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.check()?;
        self.file.write_at(bytes, position)?;
        self.order(&mut self.lock(), bytes.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        self.check()?;
        if self.lock().is_settled { self.file.sync() } else { Ok(()) }
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.allocate(length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn stored_bytes(&self) -> io::Result<u64> {
        self.file.stored_bytes()
    }

    fn forget_cached(&self) {
        self.file.forget_cached();
    }

    fn lock(&self) -> io::Result<bool> {
        self.file.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::disk::simulated::{Call, Faults, SimulatedDisk};

    static PIECE: [u8; 1 << 20] = [7; 1 << 20];

    fn write(behind: &Behind, pieces: u64) -> io::Result<()> {
        (0..pieces).try_for_each(|piece| behind.write_at(&PIECE, piece * PIECE.len() as u64))
    }

    #[test]
    fn what_is_written_is_synced_meanwhile_and_all_of_it_at_the_end() {
        let disk = SimulatedDisk::new(1);
        let behind = Behind::over(disk.root().create("file").unwrap());
        write(&behind, 40).unwrap();
        behind.sync().unwrap();
        behind.settle().unwrap();
        assert_eq!(disk.calls(Call::Sync), 2, "one for each 16 MiB, and none that was only asked for");
        behind.sync().unwrap();
        assert_eq!(disk.calls(Call::Sync), 3);
        disk.root().sync().unwrap();
        let file = disk.after_power_cut(1).root().open("file").unwrap();
        assert_eq!(file.len().unwrap(), 40 << 20);
    }

    #[test]
    fn after_a_sync_that_failed_nothing_counts_as_synced() {
        let disk = SimulatedDisk::new(2);
        let behind = Behind::over(disk.root().create("file").unwrap());
        disk.set_faults(Faults::fail(Call::Sync, 1, io::ErrorKind::StorageFull));
        // Somewhere on the way it is met, at the latest at the end.
        let met = write(&behind, 60).and_then(|()| behind.settle()).unwrap_err();
        assert_eq!(met.kind(), io::ErrorKind::StorageFull);
        assert_eq!(behind.settle().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(behind.sync().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(behind.write_at(&PIECE, 0).is_err());
    }
}
