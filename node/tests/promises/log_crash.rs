//! What a lane holds after power cuts and kills at any moment, recovery included.

use thalweg_node::seam::disk::simulated::{Call, Faults, Random, SimulatedDisk};
use thalweg_node::store::aol::LaneError;
use thalweg_node::types::Boot;

use super::tier::{self, crash_images};
use crate::log_model::{MIX, Mix, Model, Tally, lane_dir, open_checked, power_off_soon, step};

/// Opens a crashed disk; the power may fail again and again in the middle of recovery. `must_hold` records must survive.
fn recover(
    mut disk: SimulatedDisk,
    model: &mut Model,
    random: &mut Random,
    mut must_hold: usize,
) -> SimulatedDisk {
    for _ in 0..random.below(3) {
        power_off_soon(&disk, random, 60);
        let mut attempt = model.clone();
        if open_checked(&disk, &mut attempt, must_hold).is_ok() {
            // It went through before the power failed: everything that it delivered is durable now.
            *model = attempt;
        } else {
            model.tally.interrupted_recoveries += 1;
        }
        must_hold = model.acknowledged;
        disk = disk.after_power_cut(random.next());
    }
    disk.set_faults(Faults::default());
    drop(open_checked(&disk, model, must_hold).expect("a crashed disk opens"));
    disk
}

/// One life of a lane: works, crashes, recovers, several times. Returns what it met.
fn live(seed: u64, mix: Mix) -> Tally {
    let mut random = Random::new(seed);
    let mix = Mix { sync_percent: 10 + random.below(70), small_records: random.chance(30), ..mix };
    let mut disk = SimulatedDisk::new(random.next());
    let mut model = Model::default();
    for _ in 0..4 {
        let held = model.acknowledged;
        let mut lane = open_checked(&disk, &mut model, held).expect("a healthy disk opens");
        let crash_inside = random.chance(60);
        let steps = random.below(40);
        for at in 0..=steps {
            if crash_inside && at == steps.saturating_sub(3) {
                power_off_soon(&disk, &mut random, 40);
            }
            match step(&disk, &mut lane, &mut model, &mut random, mix) {
                Ok(()) => {}
                Err(LaneError::Io { .. }) if crash_inside => {
                    assert!(matches!(lane.write(), Err(LaneError::Poisoned)), "a failed lane goes on");
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        // A clean stop is a moment of a crash like any other.
        if random.chance(30) && lane.close(Boot(model.boot)).is_ok() {
            model.acknowledged = model.entries.len().min(model.written);
        }
        // Several outcomes of the same moment; life goes on with the last one.
        for last in [false, false, true] {
            let killed = random.chance(20);
            let crashed =
                if killed { disk.after_kill(random.next()) } else { disk.after_power_cut(random.next()) };
            let must_hold = if killed { model.written } else { model.acknowledged };
            let mut outcome = model.clone();
            let recovered = recover(crashed, &mut outcome, &mut random, must_hold);
            // What was delivered once is durable: a second cut right behind must not lose any of it.
            let after = recovered.after_power_cut(random.next());
            let held = outcome.acknowledged;
            drop(open_checked(&after, &mut outcome, held).expect("a recovered disk opens"));
            model.tally = outcome.tally;
            if last {
                (disk, model) = (after, outcome);
                break;
            }
        }
    }
    model.tally.segments =
        lane_dir(&disk).list().unwrap().last().map_or(0, |name| name[..10].parse().unwrap());
    model.tally
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_cut_comes_back_after_any_crash() {
    let (mut met, mut seed) = (Tally::default(), tier::seed());
    while met.images < crash_images() as u64 {
        seed += 1;
        let tally = std::panic::catch_unwind(|| live(seed, MIX)).unwrap_or_else(|_| panic!("seed {seed}"));
        met.images += tally.images;
        met.torn_tails += tally.torn_tails;
        met.whole_records_cut += tally.whole_records_cut;
        met.segments += tally.segments;
        met.interrupted_recoveries += tally.interrupted_recoveries;
        met.passed_over += tally.passed_over;
    }
    let lives = seed - tier::seed();
    println!("{lives} lives behind seed {}: {met:?}", tier::seed());
    assert!(met.torn_tails * 20 > met.images && met.whole_records_cut * 20 > met.images, "{met:?}");
    assert!(met.passed_over * 20 > met.images, "{met:?}");
    assert!(met.segments > lives && met.interrupted_recoveries * 20 > met.images, "{met:?}");
}

#[test]
fn a_log_that_acknowledges_before_the_sync_is_caught() {
    let planted = Mix { acknowledge_unsynced: true, ..MIX };
    let caught = (1..=20).any(|seed| std::panic::catch_unwind(|| live(seed, planted)).is_err());
    assert!(caught, "the checker does not see lost acknowledged records");
}

#[test]
fn what_a_killed_process_wrote_is_durable_once_it_was_recovered_even_after_a_failed_sync() {
    for seed in 1..200 {
        let mut random = Random::new(seed);
        let disk = SimulatedDisk::new(random.next());
        let mut model = Model::default();
        let mut lane = open_checked(&disk, &mut model, 0).unwrap();
        disk.set_faults(Faults::fail(Call::Sync, 10 + random.below(20), std::io::ErrorKind::Other));
        let failed = (0..200).any(|_| step(&disk, &mut lane, &mut model, &mut random, MIX).is_err());
        assert!(failed, "the fault was not met");
        let disk = disk.after_kill(random.next());
        let written = model.written;
        drop(open_checked(&disk, &mut model, written).unwrap());
        let disk = disk.after_power_cut(random.next());
        drop(open_checked(&disk, &mut model, written).unwrap());
    }
}

#[test]
fn a_first_start_that_is_interrupted_anywhere_starts_again() {
    for (calls, seed) in (0..80).flat_map(|calls| (0..10).map(move |seed| (calls, seed))) {
        let disk = SimulatedDisk::new(seed);
        drop(lane_dir(&disk));
        disk.set_faults(Faults::power_off_after(calls));
        let opened = open_checked(&disk, &mut Model::default(), 0).is_ok();
        assert!(!opened || calls > 5, "the power did not fail");
        for disk in [disk.after_power_cut(seed), disk.after_kill(seed)] {
            let mut model = Model::default();
            let mut lane = open_checked(&disk, &mut model, 0).unwrap();
            let mut random = Random::new(seed);
            (0..5).for_each(|_| step(&disk, &mut lane, &mut model, &mut random, MIX).unwrap());
        }
    }
}
