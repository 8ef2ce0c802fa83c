//! A simulated disk under the tables: sectors of 512 bytes, a trace of all writes and syncs, crash images, failures.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

pub(crate) const SECTOR: usize = 512;

/// A small generator of random numbers; the same seed gives the same run.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }
}

/// One thing that happened to the disk.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Write(usize, Arc<[u8]>),
    Length(usize),
    Sync,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    events: Vec<Event>,
    calls: u64,
    fail: Option<(u64, io::ErrorKind)>,
}

/// The disk; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Inner>>);

impl Disk {
    pub(crate) fn with(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Inner { bytes, ..Inner::default() })))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().events.clone()
    }

    pub(crate) fn event_count(&self) -> usize {
        self.0.lock().unwrap().events.len()
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.lock().unwrap().calls
    }

    /// The call with this number fails (counted from now on), and only that one.
    pub(crate) fn fail(&self, call: u64, kind: io::ErrorKind) {
        let mut inner = self.0.lock().unwrap();
        inner.calls = 0;
        inner.fail = Some((call, kind));
    }

    fn call(&self, act: impl FnOnce(&mut Inner) -> io::Result<()>) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.calls += 1;
        match inner.fail {
            Some((call, kind)) if call == inner.calls => Err(kind.into()),
            _ => act(&mut inner),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let mut len = 0;
        self.call(|inner| {
            len = inner.bytes.len() as u64;
            Ok(())
        })?;
        Ok(len)
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
            inner.events.push(Event::Length(len));
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call(|inner| {
            inner.events.push(Event::Sync);
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.call(|inner| {
            if inner.bytes.len() < at + data.len() {
                inner.bytes.resize(at + data.len(), 0);
            }
            inner.bytes[at..at + data.len()].copy_from_slice(data);
            inner.events.push(Event::Write(at, data.into()));
            Ok(())
        })
    }
}

/// What the disk may hold when the power fails behind `upto` of the events that followed on `start`: all that was
/// synced, and of the rest any mixture of sectors, in any order.
pub(crate) fn crash(start: &[u8], events: &[Event], upto: usize, dice: &mut Dice) -> Vec<u8> {
    let events = &events[..upto];
    let synced = events.iter().rposition(|event| matches!(event, Event::Sync)).map_or(0, |at| at + 1);
    let mut image = start.to_vec();
    for event in &events[..synced] {
        replay(&mut image, event);
    }
    // Candidates for each sector, and for the length, that were not synced.
    let mut lengths = vec![image.len()];
    let mut sectors: BTreeMap<usize, Vec<&[u8]>> = BTreeMap::new();
    for event in &events[synced..] {
        match event {
            Event::Length(len) => lengths.push(*len),
            Event::Write(at, data) => {
                lengths.push((*lengths.last().unwrap()).max(at + data.len()));
                assert_eq!(at % SECTOR, 0, "writes begin at a sector");
                for (index, part) in data.chunks(SECTOR).enumerate() {
                    sectors.entry(at + index * SECTOR).or_default().push(part);
                }
            }
            Event::Sync => unreachable!(),
        }
    }
    // All, none, or a random share of the unsynced sectors reach the disk.
    let share = [0, 25, 50, 75, 100][dice.below(5)];
    image.resize(if share == 100 { *lengths.last().unwrap() } else { lengths[dice.below(lengths.len())] }, 0);
    for (at, versions) in sectors {
        if dice.below(100) < share && at < image.len() {
            let version = if share == 100 {
                versions[versions.len() - 1]
            } else {
                versions[dice.below(versions.len())]
            };
            let end = image.len().min(at + version.len());
            image[at..end].copy_from_slice(&version[..end - at]);
        }
    }
    image
}

fn replay(image: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Length(len) => image.resize(*len, 0),
        Event::Write(at, data) => {
            if image.len() < at + data.len() {
                image.resize(at + data.len(), 0);
            }
            image[*at..at + data.len()].copy_from_slice(data);
        }
        Event::Sync => {}
    }
}
