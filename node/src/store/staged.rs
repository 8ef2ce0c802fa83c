//! A new file that is written in large pieces past the system's cache, by a thread of its own: what is given is put together
//! in memory that a device can read from where it lies, so that neither the cache is filled with what nobody reads soon
//! nor is anybody kept by the copying. For files that nobody relies on before they are complete and get their name.
//!
//! Invariants: what was given reads as given; the file gets it in an order that leaves the same bytes; no more is in memory
//! than the windows that are open, those that wait for the thread and one under way, each as many as was said; after the first error nothing more is
//! written. Until [`Staged::settle`], a sync that is asked for promises nothing.

mod windows;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use self::windows::{WINDOW_BYTES, Window, Windows};
use super::behind::{Behind, Failure};
use crate::seam::disk::{Aligned, File};

/// How much of a file may be in memory on its way, in windows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Depth {
    /// Windows that are being put together at a time: one for who writes from the beginning to the end.
    pub(super) open_max: usize,
    /// Windows that wait for the thread, so that a burst does not keep who gives it.
    pub(super) waiting_max: usize,
}

impl Depth {
    /// All that is in memory at most: one is being written.
    pub(super) const fn bytes(self) -> usize {
        (self.open_max + self.waiting_max + 1) * WINDOW_BYTES
    }
}

/// Such a file.
#[derive(Debug)]
pub(super) struct Staged {
    file: Arc<Behind>,
    state: Mutex<State>,
    failure: Arc<Failure>,
    /// Windows that the thread has written.
    done: Arc<AtomicU64>,
}

#[derive(Debug)]
struct State {
    windows: Windows,
    waiting_max: usize,
    /// The end of what was given.
    end: u64,
    /// Windows that were handed to the thread.
    given: u64,
    /// Those of them that may not be written yet: which in the order of handing over, and what they cover.
    under_way: VecDeque<(u64, Range<u64>)>,
    writer: Option<Writer>,
    is_settled: bool,
}

/// The thread, as seen from outside.
#[derive(Debug)]
struct Writer {
    jobs: SyncSender<Job>,
    used: Receiver<Aligned>,
    thread: JoinHandle<()>,
}

enum Job {
    Write(Window),
    /// Says so when it is reached.
    Tell(Sender<()>),
}

impl Staged {
    /// Over a new file.
    pub(super) fn over(file: Arc<dyn File>, depth: Depth) -> Arc<Self> {
        let state = State {
            windows: Windows::new(depth.open_max),
            waiting_max: depth.waiting_max,
            end: 0,
            given: 0,
            under_way: VecDeque::new(),
            writer: None,
            is_settled: false,
        };
        let state = Mutex::new(state);
        Arc::new(Self { file: Behind::over(file), state, failure: Arc::default(), done: Arc::default() })
    }

    // A panic while it was held leaves no half change but of bytes that the file then lacks; who panics gives the file up.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How writing failed, if it did.
    pub(super) fn check(&self) -> io::Result<()> {
        self.failure.check()
    }

    /// Has all of it written. From now on a sync is one, and whatever is written goes to the file at once.
    pub(super) fn settle(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.is_settled = true;
        let mut rest = state.windows.take_all();
        match state.writer.take() {
            // Too little for a thread.
            None => rest.try_for_each(|window| self.failure.keep(write(&self.file, &window)))?,
            Some(Writer { jobs, used, thread }) => {
                for window in rest {
                    if jobs.send(Job::Write(window)).is_err() {
                        break;
                    }
                }
                drop((jobs, used));
                if thread.join().is_err() {
                    return self.failure.keep(Err(io::Error::other("the thread that writes panicked")));
                }
            }
        }
        state.under_way.clear();
        self.check()?;
        self.file.settle()
    }

    fn hand_over(&self, state: &mut State, window: Window) -> io::Result<()> {
        let writer = match &mut state.writer {
            Some(writer) => writer,
            none => none.insert(self.begin(state.waiting_max)?),
        };
        state.given += 1;
        let done = self.done.load(Ordering::Acquire);
        while state.under_way.front().is_some_and(|(number, _)| *number <= done) {
            state.under_way.pop_front();
        }
        state.under_way.push_back((state.given, window.covers()));
        let taken = writer.jobs.send(Job::Write(window)).is_ok();
        if taken { Ok(()) } else { self.lost() }
    }

    fn begin(&self, waiting_max: usize) -> io::Result<Writer> {
        let (jobs, todo) = sync_channel(waiting_max);
        let (back, used) = channel();
        let (file, failure, done) =
            (Arc::clone(&self.file), Arc::clone(&self.failure), Arc::clone(&self.done));
        let thread = std::thread::Builder::new().name("write-behind".to_owned());
        let thread = thread.spawn(move || follow(&todo, &back, &file, &failure, &done))?;
        Ok(Writer { jobs, used, thread })
    }

    /// The thread has ended without being told to.
    fn lost(&self) -> io::Result<()> {
        self.failure.check()?;
        Err(io::Error::other("the thread that writes has ended"))
    }

    /// Waits until the file has all that was given.
    fn drain(&self, state: &mut State) -> io::Result<()> {
        for window in state.windows.take_all() {
            self.hand_over(state, window)?;
        }
        if let Some(writer) = &state.writer {
            let (told, reached) = channel();
            if writer.jobs.send(Job::Tell(told)).is_err() || reached.recv().is_err() {
                return self.lost();
            }
        }
        state.under_way.clear();
        Ok(())
    }
}

/// Ends with the first write that fails.
fn follow(todo: &Receiver<Job>, back: &Sender<Aligned>, file: &Behind, failure: &Failure, done: &AtomicU64) {
    while let Ok(job) = todo.recv() {
        match job {
            Job::Write(window) => {
                if failure.keep(write(file, &window)).is_err() {
                    return;
                }
                done.fetch_add(1, Ordering::Release);
                // Nobody wants it back at the end.
                let _unwanted = back.send(window.into_memory());
            }
            Job::Tell(told) => {
                // Who asked may have gone.
                let _gone = told.send(());
            }
        }
    }
}

fn write(file: &Behind, window: &Window) -> io::Result<()> {
    window.parts().try_for_each(|(at, bytes)| file.write_at(bytes, at))
}

impl Drop for Staged {
    fn drop(&mut self) {
        // No write is under way when the file is removed.
        if let Some(Writer { jobs, used, thread }) = self.lock().writer.take() {
            drop((jobs, used));
            let _ended = thread.join();
        }
    }
}

impl File for Staged {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.lock();
        let wanted = position..position + buffer.len() as u64;
        let meets = |(_, at): &(u64, Range<u64>)| at.start < wanted.end && wanted.start < at.end;
        let is_here = state.windows.holds(&wanted) || state.under_way.iter().any(meets);
        // What nobody wrote reads as zeros before the end of what was given, even where the file does not reach yet.
        if is_here || self.file.len()? < wanted.end.min(state.end) {
            self.drain(&mut state)?;
        }
        drop(state);
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.check()?;
        let mut state = self.lock();
        if state.is_settled {
            return self.file.write_at(bytes, position);
        }
        let State { windows, writer, end, .. } = &mut *state;
        *end = (*end).max(position + bytes.len() as u64);
        let used = || writer.as_ref().and_then(|writer| writer.used.try_recv().ok());
        let leaving = windows.put(position, bytes, || used().unwrap_or_else(|| Aligned::new(WINDOW_BYTES)));
        leaving.into_iter().try_for_each(|window| self.hand_over(&mut state, window))
    }

    fn sync(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.allocate(length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.lock();
        if length < state.end {
            // What was given behind the new end must not come back.
            self.drain(&mut state)?;
            state.end = length;
        }
        self.file.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        let end = self.lock().end;
        Ok(self.file.len()?.max(end))
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
mod tests;
