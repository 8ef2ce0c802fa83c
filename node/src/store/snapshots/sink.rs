//! The file of a snapshot on its way to its name. Blocks are encoded, written and synced on a thread of their own, so that
//! the tables are read meanwhile: a snapshot takes as long as the slower of both, not as long as both together.
//!
//! Invariants: at most two blocks wait for the thread; blocks reach the file in the order in which they were given; after
//! the first error nothing more is written; a sink that is dropped before it was published leaves no file.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use super::error::SnapshotError;
use super::progress::Progress;
use crate::codec::snapshot::{
    BLOCK_BYTES_MAX, BLOCK_HEAD_BYTES, BlocksHash, Compression, SnapshotFooter, SnapshotKey, TABLES,
    encode_block, seal_plain_block,
};
use crate::seam::disk::{Dir, File};
use crate::store::publish::TEMPORARY_SUFFIX;
use crate::store::staged::{Depth, Staged};

/// Bytes written between two looks at what the volume has left.
const LOOK_BYTES: u64 = 4 << 20;
/// A snapshot is written from its beginning to its end; the device never runs dry while a piece is filled.
const DEPTH: Depth = Depth { open_max: 1, waiting_max: 2 };
/// What may be on its way to the volume when it is looked at, and be written before the next look.
const MARGIN_BYTES: u64 = LOOK_BYTES + DEPTH.bytes() as u64;

/// Blocks that wait to be written, at most: the one who gathers goes on while the device is slow for a moment.
const WAITING_MAX: usize = 4;

/// Rows of one table, to become a block.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// The table's persisted number.
    pub(super) table: u8,
    /// How many rows.
    pub(super) count: u64,
    /// They themselves, behind room for the head of the block.
    pub(super) rows: Vec<u8>,
}

/// An empty buffer for [`Gathered::rows`].
pub(super) fn empty_rows() -> Vec<u8> {
    let mut rows = Vec::with_capacity(BLOCK_HEAD_BYTES + BLOCK_BYTES_MAX);
    rows.resize(BLOCK_HEAD_BYTES, 0);
    rows
}

/// What the thread is told.
enum Job {
    Block(Gathered),
    End,
}

/// How a sink writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub(super) key: SnapshotKey,
    pub(super) compression: Compression,
    pub(super) free_bytes_min: u64,
}

/// The end of the one who gives blocks.
#[derive(Debug)]
pub(super) struct Sink {
    directory: Arc<dyn Dir>,
    name: String,
    jobs: Option<SyncSender<Job>>,
    used: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<Result<SnapshotFooter, SnapshotError>>>,
    is_published: bool,
}

impl Sink {
    /// Creates the temporary file, which begins with `header`.
    pub(super) fn create(
        directory: &Arc<dyn Dir>,
        name: &str,
        header: Vec<u8>,
        form: Form,
        progress: &Arc<Progress>,
    ) -> Result<Self, SnapshotError> {
        let created = SnapshotError::device(name, "created");
        let first = temporary(name);
        let file = match directory.create(&first) {
            // Left by a writing that could not remove it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                directory.remove(&first).and_then(|()| directory.create(&first))
            }
            file => file,
        };
        let file = file.and_then(|_| directory.open_past_cache(&first));
        let (jobs, todo) = sync_channel(WAITING_MAX);
        let (back, used) = channel();
        let mut sink = Self {
            directory: Arc::clone(directory),
            name: name.to_owned(),
            jobs: Some(jobs),
            used,
            thread: None,
            is_published: false,
        };
        let hash = BlocksHash::new(form.key);
        let output = Output {
            directory: Arc::clone(directory),
            name: name.to_owned(),
            file: Staged::over(file.map_err(&created)?, DEPTH),
            form,
            progress: Arc::clone(progress),
            footer: SnapshotFooter { blocks: 0, bytes: 0, raw_bytes: 0, hash, rows: [0; TABLES] },
            out: header,
            scratch: Vec::new(),
            written: 0,
            looked: 0,
        };
        output.look()?;
        let thread = std::thread::Builder::new().name("snapshot".to_owned());
        sink.thread = Some(thread.spawn(move || output.run(&todo, &back)).map_err(&created)?);
        Ok(sink)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Gives a block away, and gets an empty buffer for the next one.
    pub(super) fn put(&mut self, block: Gathered) -> Result<Vec<u8>, SnapshotError> {
        let given = self.jobs.as_ref().is_some_and(|jobs| jobs.send(Job::Block(block)).is_ok());
        if !given {
            return self.end().map(|_| empty_rows());
        }
        Ok(self.used.try_recv().unwrap_or_else(|_| empty_rows()))
    }

    /// Completes the file and gives it its name.
    pub(super) fn publish(&mut self) -> Result<SnapshotFooter, SnapshotError> {
        if let Some(jobs) = &self.jobs {
            // A thread that has ended says why below.
            let _ended = jobs.send(Job::End);
        }
        let footer = self.end()?;
        let failed = SnapshotError::device(&self.name, "written");
        self.directory.rename(&temporary(&self.name), &self.name).map_err(&failed)?;
        self.is_published = true;
        self.directory.sync().map_err(&failed)?;
        Ok(footer)
    }

    /// What the thread ended with.
    fn end(&mut self) -> Result<SnapshotFooter, SnapshotError> {
        self.jobs = None;
        let ended = self.thread.take().map(JoinHandle::join);
        let lost = |why: &str| SnapshotError::device(&self.name, "written")(io::Error::other(why.to_owned()));
        match ended {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(lost("the thread that writes it panicked")),
            None => Err(lost("it failed before")),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Whatever it ended with, the file goes.
            let _given_up = thread.join();
        }
        if !self.is_published {
            // What cannot be removed now goes when the folder is opened the next time.
            let _left = self.directory.remove(&temporary(&self.name));
        }
    }
}

/// What the thread owns.
struct Output {
    directory: Arc<dyn Dir>,
    name: String,
    file: Arc<Staged>,
    form: Form,
    progress: Arc<Progress>,
    footer: SnapshotFooter,
    /// Encoded, not yet written.
    out: Vec<u8>,
    /// For the encoder.
    scratch: Vec<u8>,
    written: u64,
    looked: u64,
}

impl Output {
    fn run(mut self, todo: &Receiver<Job>, back: &Sender<Vec<u8>>) -> Result<SnapshotFooter, SnapshotError> {
        while let Ok(job) = todo.recv() {
            let Job::Block(mut block) = job else { return self.complete() };
            self.encode(&mut block)?;
            self.progress.reached(self.written, self.footer.rows_total());
            block.rows.truncate(BLOCK_HEAD_BYTES);
            // Nobody wants it back when the writing is given up.
            let _unwanted = back.send(block.rows);
        }
        Ok(self.footer)
    }

    fn encode(&mut self, block: &mut Gathered) -> Result<(), SnapshotError> {
        let Form { key, compression, .. } = self.form;
        let number = self.footer.blocks;
        let raw_bytes = block.rows.len() - BLOCK_HEAD_BYTES;
        let checksum = match compression {
            // It stands where it was gathered: nothing is copied.
            Compression::None => {
                let checksum = seal_plain_block(key, number, block.table, &mut block.rows);
                self.write()?;
                self.append(&block.rows)?;
                checksum
            }
            Compression::Lz4 => {
                let rows = block.rows.get(BLOCK_HEAD_BYTES..).unwrap_or_default();
                encode_block(key, number, block.table, compression, rows, &mut self.scratch, &mut self.out)
            }
        };
        self.footer.hash.add(checksum);
        self.footer.blocks += 1;
        self.footer.raw_bytes += raw_bytes as u64;
        if let Some(count) = self.footer.rows.get_mut(usize::from(block.table) - 1) {
            *count += block.count;
        }
        if self.out.len() >= BLOCK_BYTES_MAX / 2 { self.write() } else { Ok(()) }
    }

    fn complete(mut self) -> Result<SnapshotFooter, SnapshotError> {
        self.footer.bytes = self.written + self.out.len() as u64;
        let footer = self.footer.encode(self.form.key);
        self.out.extend_from_slice(&footer);
        self.write()?;
        let synced = self.file.settle().and_then(|()| self.file.sync());
        synced.map_err(SnapshotError::device(&self.name, "written"))?;
        self.progress.reached(self.written, self.footer.rows_total());
        Ok(self.footer)
    }

    /// What is left on the volume must stay enough for the log.
    fn look(&self) -> Result<(), SnapshotError> {
        if self.form.free_bytes_min == 0 {
            return Ok(());
        }
        let free = self.directory.free_bytes().map_err(SnapshotError::device(&self.name, "written"))?;
        if free < self.form.free_bytes_min + MARGIN_BYTES { Err(SnapshotError::Full) } else { Ok(()) }
    }

    /// What is encoded.
    fn write(&mut self) -> Result<(), SnapshotError> {
        let mut out = std::mem::take(&mut self.out);
        let appended = if out.is_empty() { Ok(()) } else { self.append(&out) };
        out.clear();
        self.out = out;
        appended
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let failed = SnapshotError::device(&self.name, "written");
        self.file.write_at(bytes, self.written).map_err(&failed)?;
        self.written += bytes.len() as u64;
        if self.written - self.looked >= LOOK_BYTES {
            self.looked = self.written;
            self.look()?;
        }
        Ok(())
    }
}

fn temporary(name: &str) -> String {
    format!("{name}{TEMPORARY_SUFFIX}")
}
