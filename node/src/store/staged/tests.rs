//! Staged files against plain vectors of bytes, and their failures.

use super::*;
use crate::seam::disk::simulated::{Call, Faults, Random, SimulatedDisk};

static PIECE: [u8; 1 << 20] = [7; 1 << 20];

fn staged(disk: &SimulatedDisk, open_max: usize) -> Arc<Staged> {
    Staged::over(disk.root().create("file").unwrap(), Depth { open_max, waiting_max: 2 })
}

fn write(staged: &Staged, pieces: u64) -> io::Result<()> {
    (0..pieces).try_for_each(|piece| staged.write_at(&PIECE, piece * PIECE.len() as u64))
}

/// Writes, readings and lengths in any order.
fn play(seed: u64) {
    let mut random = Random::new(seed);
    let disk = SimulatedDisk::new(seed);
    let staged = staged(&disk, 1 + usize::try_from(random.below(3)).unwrap());
    let mut plain: Vec<u8> = Vec::new();
    for step in 1..100_u8 {
        let unit = if random.chance(70) { 4096 } else { 1 };
        let at = usize::try_from(random.below(5 << 20)).unwrap() / unit * unit;
        let count = unit * (1 + usize::try_from(random.below(400)).unwrap());
        match random.below(10) {
            0..=6 => {
                plain.resize(plain.len().max(at + count), 0);
                plain[at..at + count].fill(step);
                staged.write_at(&vec![step; count], at as u64).unwrap();
            }
            7 | 8 => {
                let mut found = vec![0; count];
                // What was given and is still in memory may lie behind the end of the file.
                let got = staged.read_at(&mut found, at as u64).unwrap();
                let expected = plain.get(at..plain.len().min(at + count)).unwrap_or_default();
                assert!(got == expected.len() && found[..got] == *expected, "seed {seed}, step {step}");
            }
            _ => {
                staged.set_len(at as u64).unwrap();
                plain.resize(at, 0);
            }
        }
        assert_eq!(staged.len().unwrap(), plain.len() as u64, "seed {seed}, step {step}");
    }
    staged.settle().unwrap();
    staged.sync().unwrap();
    disk.root().sync().unwrap();
    let file = disk.after_power_cut(seed).root().open("file").unwrap();
    let mut found = vec![0; plain.len() + 1];
    assert_eq!(file.read_at(&mut found, 0).unwrap(), plain.len());
    assert!(found[..plain.len()] == plain, "seed {seed}");
}

#[test]
fn what_is_given_reads_as_given_and_is_in_the_file_at_the_end() {
    (0..12).for_each(play);
}

#[test]
fn what_was_given_is_synced_meanwhile_and_all_of_it_at_the_end() {
    let disk = SimulatedDisk::new(1);
    let staged = staged(&disk, 1);
    write(&staged, 40).unwrap();
    staged.sync().unwrap();
    staged.settle().unwrap();
    assert_eq!(
        (disk.calls(Call::Write), disk.calls(Call::Sync)),
        (40, 2),
        "one for each 16 MiB, and none that was only asked for"
    );
    staged.sync().unwrap();
    assert_eq!(disk.calls(Call::Sync), 3);
}

#[test]
fn a_write_that_failed_is_told_to_whoever_comes_next_and_nothing_is_written_behind_it() {
    for nth in [1, 3, 60] {
        let disk = SimulatedDisk::new(2);
        let staged = staged(&disk, 1);
        disk.set_faults(Faults::fail(Call::Write, nth, io::ErrorKind::StorageFull));
        // Somewhere on the way it is met, at the latest at the end.
        let met = write(&staged, 60).and_then(|()| staged.settle()).unwrap_err();
        assert_eq!(met.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.calls(Call::Write), nth);
        let told = |ended: io::Result<()>| assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::StorageFull);
        told(staged.settle());
        told(staged.sync());
        told(staged.check());
        told(staged.write_at(&PIECE, 0));
    }
}

#[test]
fn a_file_that_is_smaller_than_a_window_is_one_write_and_needs_no_thread() {
    let disk = SimulatedDisk::new(3);
    let staged = staged(&disk, 4);
    for page in (0..100).rev() {
        staged.write_at(&[1; 4096], page * 4096).unwrap();
    }
    assert_eq!(disk.calls(Call::Write), 0);
    staged.settle().unwrap();
    assert_eq!(disk.calls(Call::Write), 1);
    assert!(staged.lock().writer.is_none());
}
