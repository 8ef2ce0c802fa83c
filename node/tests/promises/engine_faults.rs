//! Promise: whichever call of the disk fails, once, under the log or under the tables: the engine serves on, refuses with
//! a reason or ends; and after the next start everything acknowledged is there and nothing refused is.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use thalweg_node::seam::disk::simulated::{Call, Faults, SimulatedDisk};

use super::engine_client::names_of;
use super::engine_model::{Expected, NEVER, Resolved, Timeline, check};
use super::engine_world::{BEGINNING, World, block_on, config, fatal, lines};

/// Requests of one run.
const STEPS: usize = 40;

/// What became of an engine under a failing disk.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Fates {
    not_started: u64,
    ended: u64,
    refusing: u64,
    serving: u64,
}

fn world(disk: SimulatedDisk, now: i64) -> World {
    World::new(disk, now, config(1, 2, 1))
}

/// Where a run begins: an empty disk, or what a crash left.
struct Beginning {
    disk: SimulatedDisk,
    now: i64,
    names: Resolved,
}

fn empty() -> Beginning {
    let disk = SimulatedDisk::new(5).with_whole_sectors();
    let names = names_of(0).into_keys().map(|text| (text, None)).collect();
    Beginning { disk, now: BEGINNING, names }
}

fn crashed() -> Beginning {
    let Beginning { disk, now, names } = empty();
    let world = world(disk, now);
    let running = world.start().unwrap();
    let mut client = world.client(&running.engine, 5, lines(names));
    block_on(client.work(120));
    assert_eq!(client.refusals, []);
    let (disk, now, names) = (world.disk.after_power_cut(9), world.now(), client.resolved());
    running.stop();
    Beginning { disk, now, names }
}

/// Lives on the disk as it is set to fail; then looks at what a kill and a power cut leave.
fn live(beginning: &Beginning, faults: Faults, fates: &mut Fates, what: &str) -> BTreeMap<Call, u64> {
    let disk = beginning.disk.after_kill(7);
    disk.set_faults(faults);
    let world = world(disk, beginning.now);
    let mut names = lines(beginning.names.clone());
    let mut counts = BTreeMap::new();
    match world.start() {
        Err(error) => {
            fates.not_started += 1;
            assert!(!format!("{error:#}").contains("panic"), "{what}: {error:#}");
        }
        Ok(running) => {
            let mut client = world.client(&running.engine, 11, names);
            block_on(client.work(STEPS));
            names = client.names;
            let readiness = running.engine.readiness();
            let reasons: Vec<String> =
                running.report.damaged.iter().map(|(_, reason)| reason.clone()).collect();
            let ended = fatal(&running);
            let said = format!("{ended:?} {readiness:?} {reasons:?}");
            assert!(!said.contains("panic"), "{what}: {said}");
            match (ended, readiness) {
                (Some(_), _) => fates.ended += 1,
                (None, Err(_)) => fates.refusing += 1,
                (None, Ok(())) => fates.serving += 1,
            }
            let cut = world.disk.after_power_cut(3);
            look(cut, world.now(), &names, &format!("{what}, cut while running"));
            running.stop();
            counts = calls(&world.disk);
        }
    }
    look(world.disk.after_power_cut(4), world.now(), &names, &format!("{what}, cut after the end"));
    look(world.disk.after_kill(1), world.now(), &names, &format!("{what}, after the end"));
    counts
}

fn calls(disk: &SimulatedDisk) -> BTreeMap<Call, u64> {
    Call::ALL.into_iter().map(|call| (call, disk.calls(call))).collect()
}

fn look(disk: SimulatedDisk, now: i64, names: &BTreeMap<String, Timeline>, what: &str) {
    let world = world(disk, now);
    let running = world.start().unwrap_or_else(|error| panic!("{what}: does not start: {error:#}"));
    assert_eq!(running.report.damaged, [], "{what}");
    let expected: Expected =
        names.iter().map(|(text, line)| (text.clone(), line.candidates(NEVER - 1))).collect();
    block_on(check(&running.engine, &expected, now, what));
    assert_eq!(fatal(&running), None, "{what}");
    running.stop();
}

/// Fails every call of these kinds once.
fn fail_each(beginning: &Beginning, kinds: &[Call], error: ErrorKind, word: &str) -> Fates {
    let counts = live(beginning, Faults::default(), &mut Fates::default(), "no fault");
    let mut fates = Fates::default();
    for kind in kinds {
        for nth in 1..=counts[kind] {
            let what = format!("{word}: {error:?} at {kind:?} {nth} of {}", counts[kind]);
            live(beginning, Faults::fail(*kind, nth, error), &mut fates, &what);
        }
    }
    println!("{word}, {error:?}: {fates:?} of {counts:?}");
    fates
}

const GROWING: [Call; 7] =
    [Call::Create, Call::Rename, Call::Write, Call::Sync, Call::Allocate, Call::SetLength, Call::SyncDir];

#[test]
fn an_error_of_the_device_at_any_call_of_the_engine_loses_nothing_acknowledged() {
    let fates = fail_each(&crashed(), &Call::ALL, ErrorKind::Other, "after a crash");
    assert!(fates.not_started > 10 && fates.ended > 10 && fates.serving > 10, "{fates:?}");
}

#[test]
fn an_error_of_the_device_at_any_call_of_a_first_start_does_no_harm() {
    fail_each(&empty(), &Call::ALL, ErrorKind::Other, "first start");
}

#[test]
fn a_full_volume_at_any_call_of_the_engine_loses_nothing_acknowledged() {
    fail_each(&crashed(), &GROWING, ErrorKind::StorageFull, "after a crash");
    fail_each(&empty(), &GROWING, ErrorKind::StorageFull, "first start");
}
