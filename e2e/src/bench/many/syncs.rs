//! What a disk costs whoever waits for it alone: a block is written over and synced, by one file or by three at once, of which the
//! second counts as in a cluster of three; back to back, and after a pause as between lone writes.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::Context;

use super::super::Histogram;
use crate::stopwatch::Stopwatch;

/// What a record of a small message takes of the log.
const BLOCK: usize = 4 << 10;
/// Blocks of a file; they are written over in turn, as those of a log that was made ready.
const BLOCKS: u64 = 256;
/// Syncs of each kind.
const COUNT: u64 = 300;

/// Medians in milliseconds.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(super) struct Syncs {
    one: f64,
    one_after_a_pause: f64,
    second_of_three: f64,
    second_of_three_after_a_pause: f64,
}

/// A thread with a file, which syncs when it is told to.
struct Disk {
    orders: Sender<u64>,
}

impl Disk {
    fn new(folder: &Path, done: Sender<std::io::Result<()>>) -> anyhow::Result<Self> {
        let mut file = tempfile::tempfile_in(folder)?;
        for _ in 0..BLOCKS {
            file.write_all(&[0; BLOCK])?;
        }
        file.sync_all()?;
        let (orders, ordered) = channel();
        thread::spawn(move || serve(&file, &ordered, &done));
        Ok(Self { orders })
    }
}

fn serve(file: &File, orders: &Receiver<u64>, done: &Sender<std::io::Result<()>>) {
    for number in orders {
        let synced = file.write_all_at(&[1; BLOCK], number % BLOCKS * BLOCK as u64);
        if done.send(synced.and_then(|()| file.sync_data())).is_err() {
            return;
        }
    }
}

/// Rests, so that the disk does.
#[expect(
    clippy::disallowed_methods,
    reason = "a pause is what is measured; this thread has nothing else to do"
)]
fn rest(pause: Duration) {
    thread::sleep(pause);
}

/// The median until so many of the disks are done, in milliseconds.
fn median(folder: &Path, (disks, wanted): (usize, usize), pause: Duration) -> anyhow::Result<f64> {
    let (done, outcomes) = channel();
    let disks: Vec<Disk> = (0..disks).map(|_| Disk::new(folder, done.clone())).collect::<Result<_, _>>()?;
    let mut times = Histogram::default();
    for number in 0..COUNT {
        rest(pause);
        let clock = Stopwatch::start();
        for disk in &disks {
            disk.orders.send(number).context("a disk's thread has ended")?;
        }
        for place in 1..=disks.len() {
            outcomes.recv()??;
            if place == wanted {
                times.record(clock.nanoseconds());
            }
        }
    }
    Ok(times.quantile(0.5).as_secs_f64() * 1e3)
}

/// Measures all four.
pub(super) fn syncs(folder: &Path, pause: Duration) -> anyhow::Result<Syncs> {
    let (one, second_of_three) = ((1, 1), (3, 2));
    Ok(Syncs {
        one: median(folder, one, Duration::ZERO)?,
        one_after_a_pause: median(folder, one, pause)?,
        second_of_three: median(folder, second_of_three, Duration::ZERO)?,
        second_of_three_after_a_pause: median(folder, second_of_three, pause)?,
    })
}

impl std::fmt::Display for Syncs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { one, one_after_a_pause, second_of_three, second_of_three_after_a_pause } = self;
        writeln!(
            f,
            "A block that is written over and synced, and nothing else: {one:.2} ms back to back, {one_after_a_pause:.2} after a pause as between \
             these messages; the second of three at once: {second_of_three:.2} and {second_of_three_after_a_pause:.2}."
        )
    }
}
