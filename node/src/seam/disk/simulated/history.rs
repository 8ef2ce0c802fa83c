//! Everything that happened to a simulated disk, in the order in which it happened, so that the power can be cut
//! afterwards at any moment: one history covers all files, so every cut goes through all of them at the same moment.

use std::sync::Arc;

use super::{InodeNumber, SimulatedDisk, State};

/// One change of the disk as programs see it.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Create { directory: usize, name: String },
    Rename { directory: usize, from: String, to: String },
    MoveInto { directory: usize, name: String, folder: String },
    Remove { directory: usize, name: String },
    SyncDirectory { directory: usize },
    Subdir { directory: usize, name: String },
    Write { inode: InodeNumber, position: u64, bytes: Arc<[u8]> },
    Sync { inode: InodeNumber },
    Grow { inode: InodeNumber, length: u64 },
    Length { inode: InodeNumber, length: u64 },
}

/// A recorded life of a disk.
#[derive(Debug, Clone)]
pub struct History {
    start: SimulatedDisk,
    events: Arc<[Event]>,
}

/// A disk on its way through a recorded life.
#[derive(Debug)]
pub struct Replay {
    disk: SimulatedDisk,
    events: Arc<[Event]>,
    done: usize,
}

impl SimulatedDisk {
    /// Runs `life` on this disk and returns what happened to the disk meanwhile. Faults are not part of a history.
    pub fn record<T>(&self, life: impl FnOnce() -> T) -> (History, T) {
        let start = self.after_kill(0);
        self.lock().events = Some(Vec::new());
        let lived = life();
        let events = self.lock().events.take().unwrap_or_default();
        (History { start, events: events.into() }, lived)
    }

    /// How many events the history under way has by now. What was answered at moment `n` rests on the events before `n`.
    #[must_use]
    pub fn moment(&self) -> usize {
        self.lock().events.as_ref().map_or(0, Vec::len)
    }
}

impl History {
    /// How many events there are.
    #[must_use]
    pub fn moments(&self) -> usize {
        self.events.len()
    }

    /// The disk before the first event.
    #[must_use]
    pub fn replay(&self) -> Replay {
        Replay { disk: self.start.after_kill(1), events: Arc::clone(&self.events), done: 0 }
    }
}

impl Replay {
    /// Goes on until `moment` events have happened.
    pub fn advance(&mut self, moment: usize) {
        let upto = moment.min(self.events.len());
        let mut state = self.disk.lock();
        for event in self.events.get(self.done..upto).unwrap_or_default() {
            // It succeeded when it was recorded.
            let _same = state.perform(event);
        }
        self.done = self.done.max(upto);
    }

    /// The disk at this moment.
    #[must_use]
    pub const fn disk(&self) -> &SimulatedDisk {
        &self.disk
    }
}

impl State {
    fn perform(&mut self, event: &Event) -> std::io::Result<()> {
        match event {
            Event::Create { directory, name } => self.create(*directory, name).map(drop),
            Event::Rename { directory, from, to } => self.rename(*directory, from, to),
            Event::MoveInto { directory, name, folder } => self.move_into(*directory, name, folder),
            Event::Remove { directory, name } => self.remove(*directory, name),
            Event::SyncDirectory { directory } => self.sync_directory(*directory),
            Event::Subdir { directory, name } => self.subdir(*directory, name).map(drop),
            Event::Write { inode, position, bytes } => self.write(*inode, *position, bytes),
            Event::Sync { inode } => self.sync(*inode),
            Event::Grow { inode, length } => self.allocate(*inode, *length),
            Event::Length { inode, length } => self.set_length(*inode, *length),
        }
    }
}
