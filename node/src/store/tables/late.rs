//! The layer beneath the checked blocks for a volume that may be full. The database refuses everything, reads included,
//! once its device has failed a call; so a write that finds no room is no failure here: it waits in memory, and so does
//! every call behind it, until they can be repeated in the same order.
//!
//! Invariant: the file sees exactly the calls that the database made, in their order with regard to syncs, only later; so
//! at any crash it is what it would have been at an earlier moment. What is acknowledged as durable must therefore ask
//! [`CatchUp::catch_up`] first. Leaves to its user how much may wait.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use redb::{BackendError, StorageBackend};

use super::blocks::BLOCK_BYTES;
use crate::store::reserve::Spare;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// What the writer of the tables asks of the layer beneath its database.
pub(super) trait CatchUp: Send + Sync + std::fmt::Debug {
    /// Bytes that wait in memory for room.
    fn late_bytes(&self) -> u64;
    /// Whether the device failed a call for another reason than room; the database answers nothing any more.
    fn has_failed(&self) -> bool;
    /// Repeats what waits; [`io::ErrorKind::StorageFull`] while there is no room for all of it.
    fn catch_up(&self) -> io::Result<()>;
}

/// In the place of what was beneath a database that is gone: while anybody has that, its file stays locked.
#[derive(Debug)]
pub(super) struct Nothing;

impl CatchUp for Nothing {
    fn late_bytes(&self) -> u64 {
        0
    }

    fn has_failed(&self) -> bool {
        false
    }

    fn catch_up(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A backend that survives a full volume; clones are handles to the same.
#[derive(Debug)]
pub(super) struct LateWrites<B>(Arc<Late<B>>);

#[derive(Debug)]
struct Late<B> {
    inner: B,
    /// What may be given up when the volume is full.
    spare: Option<Arc<dyn Spare>>,
    queue: RwLock<Queue>,
    bytes: AtomicU64,
    /// The device failed a call that it will not be asked again: what a failed sync left out would be taken for synced.
    failed: AtomicBool,
}

/// A call that waits.
#[derive(Debug)]
enum Step {
    Write(u64, Bytes),
    Length(u64),
    Sync,
}

/// What waits, and how the file looks with it. Empty: nothing waits, and nothing here counts.
#[derive(Debug, Default)]
struct Queue {
    steps: VecDeque<Step>,
    /// How many steps were taken from the front.
    taken: u64,
    /// The number of the step that wrote at a place, since the last sync or change of length.
    fresh: HashMap<u64, u64>,
    /// The newest content of every block that was written since the queue began.
    blocks: BTreeMap<u64, Bytes>,
    /// Bytes of all writes in `steps`, kept beside them: adding them up for each one that comes would take ever longer.
    bytes: u64,
    length: u64,
    /// Bytes of the file itself that still count.
    sound: u64,
}

impl<B: StorageBackend> LateWrites<B> {
    pub(super) fn new(inner: B, spare: Option<Arc<dyn Spare>>) -> Self {
        Self(Arc::new(Late {
            inner,
            spare,
            queue: RwLock::default(),
            bytes: AtomicU64::default(),
            failed: AtomicBool::default(),
        }))
    }

    pub(super) fn handle(&self) -> Arc<dyn CatchUp> {
        Arc::clone(&self.0) as Arc<dyn CatchUp>
    }
}

/// Whether the device says that there is no room (or no quota).
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A sync that finds no room has lost what it was to sync: that is a failure and no reason to wait.
fn synced(inner: &impl StorageBackend) -> io::Result<()> {
    inner.sync_data().map_err(|error| if is_full(&error) { io::Error::other(error) } else { error })
}

impl<B: StorageBackend> Late<B> {
    // A panic while the lock was held comes from a bug in this file; the database above turns it into damage.
    fn look(&self) -> RwLockReadGuard<'_, Queue> {
        self.queue.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Queue> {
        self.queue.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the device, giving up spare room as long as that helps.
    fn call(&self, call: impl Fn(&B) -> io::Result<()>) -> io::Result<()> {
        if self.failed.load(Ordering::Acquire) {
            return Err(io::Error::other("the device failed an earlier call"));
        }
        loop {
            match call(&self.inner) {
                Err(error) if !is_full(&error) => {
                    self.failed.store(true, Ordering::Release);
                    return Err(error);
                }
                Err(_) if self.spare.as_ref().is_some_and(|spare| spare.give()) => {}
                other => return other,
            }
        }
    }

    /// Calls the device if nothing waits. `false`: the call has to wait.
    fn at_once(&self, call: impl Fn(&B) -> io::Result<()>) -> io::Result<bool> {
        // Held during the call, so that nothing overtakes a call that begins to wait.
        let queue = self.look();
        if !queue.steps.is_empty() {
            return Ok(false);
        }
        match self.call(call) {
            Ok(()) => Ok(true),
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn wait(&self, step: Step) -> io::Result<()> {
        let mut queue = self.change();
        if queue.steps.is_empty() {
            queue.begin(self.inner.len()?);
        }
        match step {
            Step::Write(offset, data) => queue.write(offset, data, &self.inner)?,
            Step::Length(length) => queue.set_length(length),
            Step::Sync => queue.sync(),
        }
        self.bytes.store(queue.bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl<B: StorageBackend> CatchUp for Late<B> {
    fn late_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn catch_up(&self) -> io::Result<()> {
        let mut queue = self.change();
        while let Some(step) = queue.steps.front() {
            self.call(|inner| match step {
                Step::Write(_, data) if data.is_empty() => Ok(()),
                Step::Write(offset, data) => inner.write(*offset, data),
                Step::Length(length) => inner.set_len(*length),
                Step::Sync => synced(inner),
            })?;
            queue.take();
            self.bytes.store(queue.bytes, Ordering::Relaxed);
        }
        *queue = Queue::default();
        Ok(())
    }
}

impl Queue {
    fn begin(&mut self, length: u64) {
        *self = Self { length, sound: length, ..Self::default() };
    }

    /// The first step is done.
    fn take(&mut self) {
        if let Some(Step::Write(_, data)) = self.steps.pop_front() {
            self.bytes -= data.len() as u64;
        }
        self.taken += 1;
    }

    fn write(&mut self, offset: u64, data: Bytes, inner: &impl StorageBackend) -> io::Result<()> {
        self.length = self.length.max(offset + data.len() as u64);
        self.show(offset, &data, inner)?;
        let number = self.taken + self.steps.len() as u64;
        let older = self.fresh.insert(offset, number).and_then(|number| number.checked_sub(self.taken));
        let older = older.and_then(|at| self.steps.get_mut(usize::try_from(at).ok()?));
        // The older bytes go, but not their place to the newer ones: what was written in between may overlap them.
        if let Some(Step::Write(_, older)) = older
            && older.len() <= data.len()
        {
            self.bytes -= older.len() as u64;
            older.clear();
        }
        self.bytes += data.len() as u64;
        self.steps.push_back(Step::Write(offset, data));
        Ok(())
    }

    fn set_length(&mut self, length: u64) {
        self.blocks.split_off(&length.div_ceil(BLOCK));
        self.sound = self.sound.min(length);
        self.length = length;
        self.fresh.clear();
        self.steps.push_back(Step::Length(length));
    }

    fn sync(&mut self) {
        self.fresh.clear();
        self.steps.push_back(Step::Sync);
    }

    /// Notes the new content of the blocks that a write touches.
    fn show(&mut self, offset: u64, data: &Bytes, inner: &impl StorageBackend) -> io::Result<()> {
        let mut done = 0;
        while done < data.len() {
            let (block, within) = place(offset + done as u64);
            let count = (BLOCK_BYTES - within).min(data.len() - done);
            let part = data.slice(done..done + count);
            let content = if count == BLOCK_BYTES {
                part
            } else {
                let mut whole = vec![0; BLOCK_BYTES];
                self.read_block(block, 0, &mut whole, inner)?;
                whole[within..within + count].copy_from_slice(&part);
                whole.into()
            };
            self.blocks.insert(block, content);
            done += count;
        }
        Ok(())
    }

    fn read(&self, offset: u64, out: &mut [u8], inner: &impl StorageBackend) -> io::Result<()> {
        if offset + out.len() as u64 > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < out.len() {
            let (block, within) = place(offset + done as u64);
            let count = (BLOCK_BYTES - within).min(out.len() - done);
            self.read_block(block, within, &mut out[done..done + count], inner)?;
            done += count;
        }
        Ok(())
    }

    /// Part of one block; what nobody wrote is zeros.
    fn read_block(
        &self,
        block: u64,
        within: usize,
        out: &mut [u8],
        inner: &impl StorageBackend,
    ) -> io::Result<()> {
        if let Some(content) = self.blocks.get(&block) {
            out.copy_from_slice(&content[within..within + out.len()]);
            return Ok(());
        }
        let at = block * BLOCK + within as u64;
        let stored = usize::try_from(self.sound.saturating_sub(at)).unwrap_or(usize::MAX).min(out.len());
        let (stored, rest) = out.split_at_mut(stored);
        rest.fill(0);
        if stored.is_empty() { Ok(()) } else { inner.read(at, stored) }
    }
}

fn place(offset: u64) -> (u64, usize) {
    (offset / BLOCK, usize::try_from(offset % BLOCK).unwrap_or(0))
}

impl<B: StorageBackend> StorageBackend for LateWrites<B> {
    fn len(&self) -> io::Result<u64> {
        let queue = self.0.look();
        if queue.steps.is_empty() { self.0.inner.len() } else { Ok(queue.length) }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let queue = self.0.look();
        let read = if queue.steps.is_empty() {
            self.0.inner.read(offset, out)
        } else {
            queue.read(offset, out, &self.0.inner)
        };
        if read.is_err() {
            self.0.failed.store(true, Ordering::Release);
        }
        read
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.0.at_once(|inner| inner.set_len(len))? { Ok(()) } else { self.0.wait(Step::Length(len)) }
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.0.at_once(synced)? {
            return Ok(());
        }
        self.0.wait(Step::Sync)?;
        match self.0.catch_up() {
            Err(error) if !is_full(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.0.at_once(|inner| inner.write(offset, data))? {
            return Ok(());
        }
        self.0.wait(Step::Write(offset, Bytes::copy_from_slice(data)))
    }

    fn close(&self) -> io::Result<()> {
        self.0.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests;
