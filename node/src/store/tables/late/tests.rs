//! Late writes against a plain vector of bytes: what is seen, and what the device has synced, in which order.

use super::*;
use crate::seam::disk::simulated::Random;
use crate::store::tables::tests::small_disk::SmallDisk;

/// What the steps hold, added up.
fn waiting(late: &LateWrites<SmallDisk>) -> u64 {
    let bytes = |step: &Step| if let Step::Write(_, data) = step { data.len() as u64 } else { 0 };
    late.0.look().steps.iter().map(bytes).sum()
}

/// A few steps of what a database does, against a plain vector of bytes.
fn play(seed: u64) -> usize {
    let mut random = Random::new(seed);
    let disk = SmallDisk::with_blocks(4 + usize::try_from(random.below(8)).unwrap());
    let late = LateWrites::new(disk.clone(), None);
    let handle = late.handle();
    let (mut plain, mut images) = (Vec::new(), Vec::new());
    let mut waited = 0;
    for step in 0..120 {
        let block = usize::try_from(random.below(24)).unwrap() * BLOCK_BYTES;
        match random.below(10) {
            0..=4 => {
                let blocks = usize::try_from(1 + random.below(3)).unwrap();
                let data = vec![u8::try_from(step + 1).unwrap(); blocks * BLOCK_BYTES];
                late.write(block as u64, &data).unwrap();
                plain.resize(plain.len().max(block + data.len()), 0);
                plain[block..block + data.len()].copy_from_slice(&data);
            }
            5 => {
                // The header: one sector of a block that is written otherwise, too.
                let data = [u8::try_from(step + 1).unwrap(); 512];
                late.write(8192, &data).unwrap();
                plain.resize(plain.len().max(8192 + 512).next_multiple_of(BLOCK_BYTES), 0);
                plain[8192..8192 + 512].copy_from_slice(&data);
                late.set_len(plain.len() as u64).unwrap();
            }
            6 => {
                late.set_len(block as u64).unwrap();
                plain.resize(block, 0);
            }
            7 | 8 => {
                late.sync_data().unwrap();
                images.push(plain.clone());
            }
            _ => {
                disk.change_blocks(|blocks| blocks + 1);
                let caught_up = handle.catch_up();
                assert_eq!(caught_up.is_ok(), handle.late_bytes() == 0, "{caught_up:?}");
            }
        }
        waited += usize::from(handle.late_bytes() > 0);
        assert_eq!(handle.late_bytes(), waiting(&late), "seed {seed}, step {step}");
        let mut seen = vec![0; plain.len()];
        assert_eq!(late.len().unwrap(), plain.len() as u64, "seed {seed}, step {step}");
        late.read(0, &mut seen).unwrap();
        assert!(seen == plain, "seed {seed}, step {step}");
    }
    let synced = disk.images();
    assert!(synced.len() <= images.len() && synced == images[..synced.len()], "seed {seed}");
    disk.change_blocks(|_| usize::MAX);
    handle.catch_up().unwrap();
    assert_eq!(handle.late_bytes(), 0);
    assert!(disk.bytes() == plain && disk.images() == images, "seed {seed}");
    waited
}

#[test]
fn what_finds_no_room_reads_as_written_and_reaches_the_device_later_in_the_same_order() {
    let waited: usize = (0..100).map(play).sum();
    assert!(waited > 3000, "only {waited} steps found no room");
}

/// Gives one block at a time.
#[derive(Debug)]
struct Blocks(SmallDisk, AtomicU64);

impl Spare for Blocks {
    fn give(&self) -> bool {
        let left = self.1.load(Ordering::SeqCst);
        if left > 0 {
            self.1.store(left - 1, Ordering::SeqCst);
            self.0.change_blocks(|blocks| blocks + 1);
        }
        left > 0
    }
}

#[test]
fn spare_room_is_given_up_before_anything_waits() {
    let disk = SmallDisk::with_blocks(2);
    let spare = Arc::new(Blocks(disk.clone(), AtomicU64::new(3)));
    let late = LateWrites::new(disk, Some(Arc::clone(&spare) as Arc<dyn Spare>));
    late.write(0, &[1; 5 * BLOCK_BYTES]).unwrap();
    assert_eq!((late.handle().late_bytes(), spare.1.load(Ordering::SeqCst)), (0, 0));
    late.write(5 * BLOCK, &[2; BLOCK_BYTES]).unwrap();
    assert_eq!(late.handle().late_bytes(), BLOCK);
}

#[test]
fn after_a_failed_call_the_device_is_not_asked_again() {
    let disk = SmallDisk::with_blocks(10);
    let late = LateWrites::new(disk.clone(), None);
    late.write(0, &[1; BLOCK_BYTES]).unwrap();
    // A sync that finds no room has lost what it was to sync: a failure, too.
    disk.fail(1..=1, io::ErrorKind::StorageFull);
    let failed = late.sync_data().unwrap_err();
    assert!(!is_full(&failed), "{failed}");
    let calls = disk.calls();
    late.sync_data().unwrap_err();
    late.write(0, &[2; BLOCK_BYTES]).unwrap_err();
    assert_eq!(disk.calls(), calls);
    assert!(disk.images().is_empty());
}
