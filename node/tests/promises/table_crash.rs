//! Promise: whatever a power cut leaves of unsynced writes, the tables open at a state that was checkpointed, no older
//! than the last checkpoint that was acknowledged, and the log brings them to the end from there.

use thalweg_node::store::tables::Tables;
use thalweg_node::types::{LogIndex, Op};

use super::table_disk::{Dice, Disk, Event, crash};
use super::table_model::{Plain, Step, applied, expect_same, identity};
use super::tier;

/// Small, so that pages are written before they are synced.
const CACHE_BYTES: usize = 256 << 10;

/// A workload with the model behind each record.
pub(crate) struct Run {
    pub(crate) batches: Vec<Batch>,
    pub(crate) plains: Vec<Plain>,
}

/// Records that are applied together, and what follows them.
pub(crate) struct Batch {
    pub(crate) ops: Vec<(LogIndex, Op)>,
    pub(crate) last: u64,
    pub(crate) checkpoint: bool,
    pub(crate) reap: usize,
}

pub(crate) fn drawn(dice: &mut Dice) -> Step {
    let pick = dice.next().to_le_bytes()[0];
    let small = dice.next().to_le_bytes()[1];
    let at = u16::from(small) * 3;
    match dice.below(20) {
        0 | 1 => {
            Step::Create { name: pick % 12, json: small.is_multiple_of(2), ttl: Some(1 + at), base: at % 3 }
        }
        2 => Step::Delete { pick },
        3 => Step::Pin { pick, pin: small % 4, at },
        4 => Step::Unpin { pick, pin: small % 4 },
        5 | 6 => Step::Trim { pick, at },
        7 => Step::Touch { pick },
        _ => {
            let (count, most) = [(1, 200), (1, 200), (40, 100), (5, 20_000), (1, 150_000)][dice.below(5)];
            let sizes =
                (0..1 + dice.below(count)).map(|_| u32::try_from(dice.below(most)).unwrap()).collect();
            Step::Append { pick, sizes, close: false, producer: small.is_multiple_of(3).then_some(small % 7) }
        }
    }
}

impl Run {
    pub(crate) fn drawn(dice: &mut Dice, batches: usize) -> Self {
        let mut plain = Plain::default();
        let (mut done, mut plains, mut index) = (Vec::new(), vec![plain.clone()], 0);
        for _ in 0..batches {
            let mut ops = Vec::new();
            for _ in 0..1 + dice.below(6) {
                let step = drawn(dice);
                index += 1;
                ops.extend(plain.take(&step).into_iter().map(|op| (LogIndex(index), op)));
                plains.push(plain.clone());
            }
            done.push(Batch {
                ops,
                last: index,
                checkpoint: dice.below(4) == 0,
                reap: if dice.below(3) == 0 { 1 + dice.below(8) } else { 0 },
            });
        }
        Self { batches: done, plains }
    }

    /// Applies what `tables` lacks; notes for each acknowledged checkpoint how many events came before.
    fn play(&self, tables: &mut Tables, disk: &Disk, from: usize) -> Vec<(usize, u64)> {
        let mut acknowledged = Vec::new();
        for batch in &self.batches[from..] {
            tables.apply(&batch.ops, applied(batch.last), &[]).unwrap();
            if batch.reap > 0 {
                tables.reap(batch.reap).unwrap();
            }
            if batch.checkpoint {
                let durable = tables.checkpoint().unwrap();
                assert_eq!(durable, LogIndex(batch.last));
                acknowledged.push((disk.event_count(), batch.last));
            }
        }
        acknowledged
    }
}

fn promised(acknowledged: &[(usize, u64)], events: usize, floor: u64) -> u64 {
    acknowledged.iter().filter(|(at, _)| *at <= events).map(|(_, index)| *index).max().unwrap_or(0).max(floor)
}

/// Opens an image; checks it against the model; gives the applied index.
fn expect_recovery(run: &Run, disk: &Disk, floor: u64, what: &str) -> Tables {
    let tables = Tables::open_on(disk.clone(), identity(), CACHE_BYTES)
        .unwrap_or_else(|error| panic!("{what}: does not open: {error}"));
    let index = tables.state().applied.index.0;
    assert!(index >= floor, "{what}: {index} is older than the acknowledged {floor}");
    assert_eq!(tables.state().applied, applied(index), "{what}");
    assert_eq!(tables.durable(), LogIndex(index));
    expect_same(&tables.reader(), &run.plains[usize::try_from(index).unwrap()], 17);
    tables
}

fn images_of(seed: u64, images: usize) -> usize {
    let mut dice = Dice(seed);
    let run = Run::drawn(&mut dice, 40);
    let disk = Disk::default();
    drop(Tables::create_on(disk.clone(), identity(), CACHE_BYTES).unwrap());
    let start = disk.bytes();
    let disk = Disk::with(start.clone());
    let mut tables = Tables::open_on(disk.clone(), identity(), CACHE_BYTES).unwrap();
    let mut acknowledged = run.play(&mut tables, &disk, 0);
    drop(tables);
    acknowledged.push((disk.event_count(), 0));
    let events = disk.events();
    for image in 0..images {
        let upto = dice.below(events.len() + 1);
        let floor = promised(&acknowledged, upto, 0);
        let what = format!("seed {seed}, image {image}, crash behind event {upto} of {}", events.len());
        let crashed = crash(&start, &events, upto, &mut dice);
        // Crash again while the first crash is recovered and the log is replayed.
        let again = Disk::with(crashed.clone());
        let mut tables = expect_recovery(&run, &again, floor, &what);
        let index = tables.state().applied.index.0;
        let from = run.batches.iter().position(|batch| batch.last > index).unwrap_or(run.batches.len());
        let second = run.play(&mut tables, &again, from);
        expect_same(&tables.reader(), &run.plains[run.plains.len() - 1], 5);
        drop(tables);
        let events = again.events();
        let upto = if dice.below(2) == 0 {
            dice.below(12.min(events.len() + 1))
        } else {
            dice.below(events.len() + 1)
        };
        let twice = crash(&crashed, &events, upto, &mut dice);
        let what = format!("{what}, then behind event {upto} of the recovery");
        expect_recovery(&run, &Disk::with(twice), promised(&second, upto, index), &what);
    }
    images * 2
}

#[test]
fn every_acknowledged_checkpoint_survives_any_crash_and_a_second_one() {
    let wanted = tier::crash_images();
    let mut seen = 0;
    let mut seed = tier::seed() + 1;
    while seen < wanted {
        seen += images_of(seed, 25.min(wanted.div_ceil(2)));
        seed += 1;
    }
}

/// The disk itself is tested: without syncs nothing is promised, and the images differ.
#[test]
fn a_crash_image_keeps_what_was_synced_and_mixes_the_rest() {
    let write = |at: usize, byte: u8| Event::Write(at, vec![byte; 1024].into());
    let events = [write(0, 1), Event::Sync, write(512, 2), write(0, 3)];
    let images: std::collections::BTreeSet<Vec<u8>> =
        (0..200).map(|seed| crash(&[0; 2048], &events, events.len(), &mut Dice(seed))).collect();
    assert!(images.len() > 5);
    for image in images {
        assert!(image[..512].iter().all(|&byte| byte == 1 || byte == 3));
        assert!(image[512..1024].iter().all(|&byte| byte <= 3 && byte > 0));
        assert!(image[1024..1536].iter().all(|&byte| byte == 0 || byte == 2));
    }
}
