//! Promise: whatever a power cut leaves of log and tables together, the whole engine starts, shows every acknowledged
//! write byte for byte and nothing that was refused, and goes on.
//!
//! A history of a whole engine is recorded once per seed and cut in many places, most of them right behind an answer.
//! Each image is started (the power may fail once more meanwhile), checked, written to, stopped or cut, and checked again.

use std::collections::BTreeMap;

use thalweg_node::config::Config;
use thalweg_node::seam::disk::simulated::{Faults, History, Random, SimulatedDisk};

use super::engine_client::names_of;
use super::engine_model::{Expected, Sighting, Timeline, check, check_sightings};
use super::engine_world::{BEGINNING, World, block_on, config, fatal, lines, work};
use super::tier;

/// Images of one history.
const IMAGES_PER_SEED: usize = 40;
/// Requests of each of three clients, before and after a restart in the middle.
const STEPS: usize = 90;

/// How many images are looked at; an image of a whole engine costs as much as ten of a part.
fn images_wanted() -> usize {
    tier::crash_images().div_ceil(5)
}

/// What must be true besides of a disk on which an engine was started.
pub(crate) type Besides = fn(&SimulatedDisk, &str);

/// A recorded life of an engine and what was answered in it.
pub(crate) struct Recorded {
    pub(crate) history: History,
    names: BTreeMap<String, Timeline>,
    sightings: Vec<Sighting>,
    pub(crate) world: World,
    besides: Besides,
}

fn config_of(seed: u64) -> Config {
    config(1 + u32::try_from(seed % 2).unwrap(), 4, u32::try_from(seed % 3).unwrap())
}

pub(crate) fn record(seed: u64, config: Config, besides: Besides) -> Recorded {
    let world = World::new(SimulatedDisk::new(seed).with_whole_sectors(), BEGINNING, config);
    let (history, (names, sightings)) = world.disk.record(|| {
        let mut names: Vec<BTreeMap<String, Timeline>> = (0..3).map(names_of).collect();
        let mut sightings = Vec::new();
        for boot in 0..2 {
            let running = world.start().unwrap();
            let mut clients = world.clients(&running.engine, seed * 2 + boot);
            for (client, names) in clients.iter_mut().zip(&mut names) {
                client.names = std::mem::take(names);
            }
            block_on(work(&mut clients, STEPS));
            for (client, names) in clients.into_iter().zip(&mut names) {
                assert!(client.refusals.is_empty(), "seed {seed}: {:?}", client.refusals);
                *names = client.names;
                sightings.extend(client.sightings);
            }
            assert_eq!(fatal(&running), None);
            running.stop();
        }
        (names.into_iter().flatten().collect(), sightings)
    });
    assert!(sightings.len() > 10, "seed {seed}: nobody looked at anything");
    Recorded { history, names, sightings, world, besides }
}

impl Recorded {
    /// Moments to cut at, in order: most right behind an answer, where a missing sync shows, the others anywhere.
    fn cuts(&self, random: &mut Random, count: usize) -> Vec<usize> {
        let answers: Vec<usize> = self.names.values().flat_map(Timeline::answers).collect();
        let moments = self.history.moments();
        let mut draw = |_| {
            if random.chance(60) {
                let at = usize::try_from(random.below(answers.len() as u64)).unwrap();
                (answers[at] + usize::try_from(random.below(3)).unwrap()).min(moments)
            } else {
                usize::try_from(random.below(moments as u64 + 1)).unwrap()
            }
        };
        let mut cuts: Vec<usize> = (0..count).map(&mut draw).collect();
        cuts.sort_unstable();
        cuts
    }

    fn expected(&self, moment: usize) -> Expected {
        self.names.iter().map(|(text, line)| (text.clone(), line.candidates(moment))).collect()
    }

    fn world(&self, disk: SimulatedDisk) -> World {
        // Without snapshots that begin by themselves: whoever looks at what a crash left of them looks at nothing newer.
        let config = Config { snapshot_log_size: None, ..self.world.config.clone() };
        World::new(disk, self.world.now(), config)
    }

    /// The same for the end of the recorded life, which is a clean stop, and for a kill there.
    pub(crate) fn look_at_end(&self, disk: &SimulatedDisk, seed: u64, tally: &mut Tally) {
        let mut random = Random::new(seed);
        for disk in [disk.after_kill(random.next()), disk.after_power_cut(random.next())] {
            let what = format!("seed {seed}, stopped");
            self.look_at(disk, self.history.moments(), &mut random, &what, tally);
        }
    }

    /// Starts what a crash left, checks it, goes on, and checks again.
    fn look_at(
        &self,
        mut disk: SimulatedDisk,
        moment: usize,
        random: &mut Random,
        what: &str,
        tally: &mut Tally,
    ) {
        tally.images += 1;
        if random.chance(40) {
            // The power fails again in the middle of recovery.
            disk.set_faults(Faults::power_off_after(random.below(500)));
            match self.world(disk.clone()).start() {
                Ok(running) => running.stop(),
                Err(_) => tally.interrupted += 1,
            }
            disk = disk.after_power_cut(random.next());
            tally.images += 1;
        }
        let world = self.world(disk);
        let running = world.start().unwrap_or_else(|error| panic!("{what}: does not start: {error:#}"));
        assert_eq!(running.report.damaged, [], "{what}");
        (self.besides)(&world.disk, what);
        let engine = &running.engine;
        let resolved = block_on(async {
            let expected = self.expected(moment);
            tally.undecided += usize::from(expected.values().any(|states| states.len() > 1));
            let resolved = check(engine, &expected, world.now(), what).await;
            check_sightings(engine, &self.sightings, moment, what).await;
            resolved
        });
        let mut client = world.client(engine, random.next(), lines(resolved));
        block_on(client.work(30));
        assert_eq!(client.refusals, [], "{what}");
        let expected: Expected =
            client.resolved().into_iter().map(|(text, state)| (text, vec![state])).collect();
        let cut = random.chance(50).then(|| world.disk.after_power_cut(random.next()));
        tally.images += usize::from(cut.is_some());
        let now = world.now();
        running.stop();
        let again = World::new(cut.unwrap_or_else(|| world.disk.clone()), now, world.config.clone());
        let running = again.start().unwrap_or_else(|error| panic!("{what}: does not start again: {error:#}"));
        assert_eq!(running.report.damaged, [], "{what}, later");
        block_on(check(&running.engine, &expected, now, &format!("{what}, later")));
        assert_eq!(fatal(&running), None, "{what}");
        running.stop();
    }
}

/// What a test met, so that it can show that it met what it is about.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) images: usize,
    /// Starts that a second power cut interrupted.
    interrupted: usize,
    /// Images taken while a request was under way.
    undecided: usize,
}

/// Cuts one history in many places.
pub(crate) fn images_of(recorded: &Recorded, seed: u64, count: usize, tally: &mut Tally) {
    let mut random = Random::new(seed);
    let mut replay = recorded.history.replay();
    for moment in recorded.cuts(&mut random, count) {
        replay.advance(moment);
        if random.chance(20) {
            // The system writes some of it back on its own.
            replay.disk().write_back(random.below(100));
        }
        let disk = replay.disk().after_power_cut(random.next());
        let what = format!("seed {seed}, cut at {moment} of {}", recorded.history.moments());
        recorded.look_at(disk, moment, &mut random, &what, tally);
    }
}

#[test]
fn no_power_cut_takes_anything_acknowledged_from_the_whole_engine() {
    let (mut tally, mut seed) = (Tally::default(), tier::seed());
    while tally.images < images_wanted() {
        seed += 1;
        let recorded = record(seed, config_of(seed), |_, _| {});
        let world = &recorded.world;
        let (checkpoints, segments) = (world.metrics.store.checkpoints.get(), world.newest_segment());
        assert!(
            checkpoints > 4 && segments > 4,
            "seed {seed}: {checkpoints} checkpoints, {segments} segments"
        );
        images_of(&recorded, seed, IMAGES_PER_SEED, &mut tally);
    }
    println!("{} histories: {tally:?}", seed - tier::seed());
    assert!(tally.interrupted * 20 > tally.images && tally.undecided * 20 > tally.images, "{tally:?}");
}
