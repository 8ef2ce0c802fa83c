//! Promise: whichever call of its disk fails, once, while a follower is seeded: nothing that it shows is false, it goes on by
//! itself or after the next start, and then it has everything. And a leader keeps its log for a follower that it seeds up to a
//! bound, and no further.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use thalweg_node::runtime::{ReadFrom, Running, ShardRole, Whereabouts, start_on};
use thalweg_node::seam::disk::simulated::{Call, Faults, SimulatedDisk};
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::telemetry::Metrics;

use super::engine_world::fatal;
use super::gated_disk::{Gate, GatedDir};
use super::seeding_crash::{
    APPEND_BYTES, APPENDS, SHARD, World, append, eventually, first_segment, has, held, left_behind, tokio,
};
use super::tier;

/// What a run makes, with the third node back: all that is appended while it was away, and a little more.
const ALL: usize = APPENDS[0] + APPENDS[1] + APPENDS[2];
/// One run in so many waits for the node to try again by itself, which it does after seconds; the others start it again.
const PATIENT_EVERY: usize = 8;
/// Calls that a full volume refuses.
const GROWING: [Call; 7] =
    [Call::Create, Call::Rename, Call::Write, Call::Sync, Call::Allocate, Call::SetLength, Call::SyncDir];

/// What became of the third node.
#[derive(Debug, Default)]
struct Fates {
    /// It was seeded all the same.
    seeded: usize,
    /// The seeding failed, and was begun again by itself.
    again: usize,
    /// The seeding failed, and the next start began it again.
    restarted: usize,
    /// The node ended, and the next start went on.
    ended: usize,
    /// The shard refused service, since nobody knew what became of its tables, and the next start went on.
    refused: usize,
    /// No call was the one that was to fail.
    missed: usize,
}

/// All of it once, with a call of the third node's disk that fails; says how often each was called behind its start.
fn live(
    base: &World,
    fault: Option<(Call, u64, ErrorKind)>,
    patient: bool,
    fates: &mut Fates,
) -> BTreeMap<Call, u64> {
    let what = format!("{fault:?}");
    let disks = base.disks.iter().map(|disk| disk.after_kill(1)).collect();
    let world = base.with_disks(disks);
    let runtime = tokio();
    let ((first, _), (second, _)) = (world.start(0), world.start(1));
    let (mut third, metrics) = world.start(2);
    let faults = fault.map(|(call, nth, error)| Faults::fail(call, nth, error)).unwrap_or_default();
    world.disks[2].set_faults(faults);
    runtime.block_on(async {
        eventually("its leader is back", async || {
            append_if_led(&first, &world, APPENDS[0] + APPENDS[1]).await
        })
        .await;
        for number in APPENDS[0] + APPENDS[1] + 1..ALL {
            append(&first.engine, &world.name, number).await;
        }
        let seeding = &metrics.seeding;
        let over = async || {
            let given_up = !patient && seeding.failed.get() > 0;
            seeding.seeded.get() > 0 || given_up || has_ended(&third).await || refuses(&third).await
        };
        eventually(&format!("{what}: nothing comes of it"), over).await;
    });
    let (ended, refused) = (fatal(&third).is_some(), runtime.block_on(refuses(&third)));
    let (seeded, failed) = (metrics.seeding.seeded.get() > 0, metrics.seeding.failed.get() > 0);
    let counts = Call::ALL.into_iter().map(|call| (call, world.disks[2].calls(call))).collect();
    let fate = match (ended, refused, seeded, failed) {
        (true, ..) => &mut fates.ended,
        (_, true, ..) => &mut fates.refused,
        (_, _, true, true) => &mut fates.again,
        (_, _, true, false) => &mut fates.seeded,
        (_, _, false, _) => &mut fates.restarted,
    };
    *fate += 1;
    if fault.is_some_and(|(call, nth, _)| world.disks[2].calls(call) < nth) {
        fates.missed += 1;
    }
    // On a busy machine the call that fails may come only now.
    let is_well = seeded && !ended && !refused && runtime.block_on(gets_everything(&third, &world));
    if !is_well {
        third.stop();
        world.disks[2].set_faults(Faults::default());
        third = world.start(2).0;
        assert_eq!(third.report.damaged, [], "{what}");
    }
    runtime.block_on(has(&third.engine, &world.name, ALL));
    [third, first, second].into_iter().for_each(Running::stop);
    // Whatever is in its tables is what was written; what did not fail by now fails no more.
    world.disks[2].set_faults(Faults::default());
    held(&world.disks[2], &world);
    counts
}

/// Whether a node gets all there is, unless it ends or refuses service before.
async fn gets_everything(running: &Running, world: &World) -> bool {
    let mut has_all = false;
    let over = async || {
        let read = running.engine.read(&world.name, ReadFrom::Now, 1).await;
        has_all = read.is_ok_and(|batch| batch.state.tail.messages == ALL as u64);
        has_all || has_ended(running).await || refuses(running).await
    };
    eventually("it has everything, or cannot get it", over).await;
    has_all
}

/// Whether a node has met an error that ends it.
async fn has_ended(running: &Running) -> bool {
    let fatal = running.fatal.clone();
    tokio::select! {
        biased;
        _reason = fatal.reported() => true,
        () = std::future::ready(()) => false,
    }
}

/// Whether a node does not serve the shard.
async fn refuses(running: &Running) -> bool {
    let reports = running.control().shards().await;
    let report = reports.into_iter().find(|report| report.shard == SHARD);
    report.is_some_and(|report| matches!(report.role, ShardRole::Damaged(_)))
}

/// Appends, if somebody leads.
async fn append_if_led(leader: &Running, world: &World, number: usize) -> bool {
    let led = leader.engine.leader(SHARD) == Whereabouts::Here;
    if led {
        append(&leader.engine, &world.name, number).await;
    }
    led
}

#[test]
fn an_error_of_the_device_at_any_call_while_a_follower_is_seeded_is_overcome_and_shows_nothing_false() {
    let base = World::new(tier::seed() + 2);
    let (first, second, _) = left_behind(&base, &tokio());
    [first, second].into_iter().for_each(Running::stop);
    let counts = live(&base, None, true, &mut Fates::default());
    let (mut fates, mut runs) = (Fates::default(), 0);
    let each = tier::crash_images().div_ceil(4000) as u64;
    for (call, count) in &counts {
        for sample in 0..each.min(*count) {
            // Spread over all calls of the kind, the first among them.
            let nth = 1 + sample * count / each;
            runs += 1;
            let full = GROWING.contains(call) && runs % 2 == 0;
            let error = if full { ErrorKind::StorageFull } else { ErrorKind::Other };
            live(&base, Some((*call, nth, error)), runs % PATIENT_EVERY == 0, &mut fates);
        }
    }
    println!("{runs} calls of {counts:?} failed, one at a time: {fates:?}");
    assert!(fates.missed * 2 < runs && fates.seeded * 10 < runs * 9, "{fates:?}");
}

#[test]
fn a_leader_keeps_its_log_for_a_follower_that_it_seeds_up_to_a_bound_and_seeds_it_anew_behind_that() {
    /// What is kept for it at most: eight times what is kept for a follower that lags.
    const KEPT: usize = 8 * (128 << 10);
    const SEGMENT: usize = 64 << 10;
    /// Segments that are being filled, made ready or let go.
    const MORE: usize = 6;
    let world = World::new(tier::seed() + 3);
    let runtime = tokio();
    let (first, second, leader) = left_behind(&world, &runtime);
    let gate = Gate::default();
    // What it fetches does not get onto its disk for a while.
    gate.close("seeding/", "write");
    let (clock, metrics): (Arc<dyn Clock>, _) = (Arc::new(SystemClock), Arc::new(Metrics::new(1)));
    let root = GatedDir::root(world.disks[2].root(), &gate);
    let third = start_on(root, &world.configs[2], &clock, Arc::clone(&metrics)).unwrap();
    gate.arrival();
    let segments_of =
        |node: usize| world.disks[node].root().subdir("lane-000").unwrap().list().unwrap().len();
    let mut count = APPENDS[0] + APPENDS[1];
    let mut write = |bytes: usize| {
        runtime.block_on(async {
            for number in count..count + bytes / APPEND_BYTES {
                append(&first.engine, &world.name, number).await;
            }
        });
        count += bytes / APPEND_BYTES;
        count
    };
    // Checkpoints let go of what nobody needs: of what lies before the snapshot, as they come to it, and then of nothing more.
    let mut firsts: Vec<String> = Vec::new();
    while !firsts.ends_with(&[first_segment(&world, 0)]) {
        assert!(firsts.len() < 7, "far below the bound the log is kept for it: {firsts:?}");
        firsts.push(first_segment(&world, 0));
        let before = leader.store.checkpoints.get();
        write(KEPT / 10);
        let another = async || leader.store.checkpoints.get() > before;
        runtime.block_on(eventually("checkpoints go on", another));
    }
    let first_kept = first_segment(&world, 0);
    let all = write(KEPT + KEPT / 2);
    runtime.block_on(async {
        let let_go =
            async || first_segment(&world, 0) > first_kept && segments_of(0) <= KEPT / SEGMENT + MORE;
        eventually("the log is let go under it", let_go).await;
        assert_eq!(metrics.seeding.seeded.get(), 0, "it waits at its gate");
        gate.open();
        eventually("it is seeded", async || metrics.seeding.seeded.get() > 0).await;
        has(&third.engine, &world.name, all).await;
    });
    [third, first, second].into_iter().for_each(Running::stop);
    let (messages, seeded) = held(&world.disks[2], &world);
    assert!(seeded.0 > (APPENDS[0] + APPENDS[1]) as u64, "the snapshot that it follows on is a later one");
    assert!(messages <= all as u64);
}

impl World {
    /// The same nodes with other disks.
    fn with_disks(&self, disks: Vec<SimulatedDisk>) -> Self {
        Self { disks, configs: self.configs.clone(), name: self.name.clone(), files: Arc::clone(&self.files) }
    }
}
