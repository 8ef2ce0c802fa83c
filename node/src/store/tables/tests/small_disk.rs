//! A device for tests: so many blocks and no more, sparse like a file, and failing when told to.

use std::collections::BTreeSet;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

const BLOCK_BYTES: usize = 4096;

/// The device; clones are handles to the same.
#[derive(Debug, Clone)]
pub(crate) struct SmallDisk(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    bytes: Vec<u8>,
    taken: BTreeSet<usize>,
    blocks_max: usize,
    calls: u64,
    failing: Option<(RangeInclusive<u64>, io::ErrorKind)>,
    /// What was synced each time.
    images: Vec<Vec<u8>>,
}

impl SmallDisk {
    pub(crate) fn with_blocks(blocks_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            bytes: Vec::new(),
            taken: BTreeSet::new(),
            blocks_max,
            calls: 0,
            failing: None,
            images: Vec::new(),
        })))
    }

    pub(crate) fn change_blocks(&self, change: impl FnOnce(usize) -> usize) {
        let mut inner = self.0.lock().unwrap();
        inner.blocks_max = change(inner.blocks_max);
    }

    pub(crate) fn taken(&self) -> usize {
        self.0.lock().unwrap().taken.len()
    }

    /// Calls with these numbers fail, counted from now on.
    pub(crate) fn fail(&self, calls: RangeInclusive<u64>, kind: io::ErrorKind) {
        let mut inner = self.0.lock().unwrap();
        inner.calls = 0;
        inner.failing = Some((calls, kind));
    }

    pub(crate) fn heal(&self) {
        self.0.lock().unwrap().failing = None;
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.lock().unwrap().calls
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    /// Damages what is stored.
    pub(crate) fn change_bytes(&self, change: impl FnOnce(&mut [u8])) {
        change(&mut self.0.lock().unwrap().bytes);
    }

    pub(crate) fn images(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().images.clone()
    }

    fn call<T>(&self, act: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.0.lock().unwrap();
        inner.calls += 1;
        match &inner.failing {
            Some((calls, kind)) if calls.contains(&inner.calls) => Err((*kind).into()),
            _ => act(&mut inner),
        }
    }
}

impl StorageBackend for SmallDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.call(|inner| {
            let source = inner.bytes.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(source);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        self.call(|inner| {
            inner.bytes.resize(len, 0);
            inner.taken.split_off(&len.div_ceil(BLOCK_BYTES));
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call(|inner| {
            let image = inner.bytes.clone();
            // Large ones are not looked at.
            if image.len() <= 64 * BLOCK_BYTES {
                inner.images.push(image);
            }
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.call(|inner| {
            // What fits is written before the device finds out, as real ones do.
            let mut done = 0;
            while done < data.len() {
                let block = (at + done) / BLOCK_BYTES;
                if !inner.taken.contains(&block) && inner.taken.len() >= inner.blocks_max {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                inner.taken.insert(block);
                let count = ((block + 1) * BLOCK_BYTES - at - done).min(data.len() - done);
                if inner.bytes.len() < at + done + count {
                    inner.bytes.resize(at + done + count, 0);
                }
                inner.bytes[at + done..at + done + count].copy_from_slice(&data[done..done + count]);
                done += count;
            }
            Ok(())
        })
    }
}
