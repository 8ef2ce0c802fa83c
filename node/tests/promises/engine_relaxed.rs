//! Promise: in the modes that acknowledge early, a power cut takes the last writes and nothing else: what survives is
//! everything up to some moment, that moment lies within the window of the mode, and nothing is called damaged.
//!
//! Histories of whole engines are cut as for the strict modes; only what must be there is less. One lane, so that the
//! order of the log is the order of the answers.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_node::config::Config;
use thalweg_node::runtime::Engine;
use thalweg_node::seam::disk::simulated::{Faults, History, Random, SimulatedDisk};
use thalweg_node::types::{AolMode, FsyncPolicy};

use super::engine_client::{Beat, names_of};
use super::engine_model::{Expected, NEVER, Resolved, Stream, Timeline, check, matching};
use super::engine_world::{BEGINNING, World, block_on, config, fatal, lines, work};
use super::tier;

const INTERVAL: Duration = Duration::from_secs(2);
const STEPS: usize = 90;
/// Images of one history.
const IMAGES_PER_SEED: usize = 20;

fn images_wanted() -> usize {
    tier::crash_images().div_ceil(20)
}

/// What a mode promises of a write after its answer.
#[derive(Debug, Clone, Copy)]
enum Window {
    /// It is safe when the next request of the same client is answered.
    NextAnswer,
    /// It is safe once an interval has passed since it was written and the lane has been busy twice.
    Interval,
    /// Nobody knows.
    Open,
}

fn window(aol: AolMode, fsync: FsyncPolicy) -> Window {
    match (aol, fsync) {
        (AolMode::Never, _) | (_, FsyncPolicy::Never) => Window::Open,
        (_, FsyncPolicy::Interval(_)) => Window::Interval,
        (_, FsyncPolicy::Always) => Window::NextAnswer,
    }
}

impl Window {
    /// From which moment on a write that was answered at `answered` is safe.
    fn safe_from(self, answered: usize, beats: &[Beat]) -> usize {
        let after = |from: usize| beats.iter().skip(beats.partition_point(|beat| beat.answered <= from));
        let answer = |beat: Option<&Beat>| beat.map_or(NEVER, |beat| beat.answered);
        match self {
            Self::Open => NEVER,
            Self::NextAnswer => answer(after(answered).next()),
            Self::Interval => {
                // It may be written only behind its answer, and the interval counts from there.
                let Some(written) = after(answered).next() else { return NEVER };
                let due = written.answered_at.saturating_add(i64::try_from(INTERVAL.as_millis()).unwrap());
                let syncs = after(answered).find(|beat| beat.sent_at >= due);
                syncs.map_or(NEVER, |beat| answer(after(beat.answered).next()))
            }
        }
    }
}

/// One state of a name.
#[derive(Debug, Clone)]
struct Version {
    issued: usize,
    answered: usize,
    safe_from: usize,
    state: Option<Stream>,
}

struct Recorded {
    history: History,
    names: BTreeMap<String, Vec<Version>>,
    world: World,
}

fn record(seed: u64, aol: AolMode, fsync: FsyncPolicy) -> Recorded {
    // Without a log each shard falls back to a checkpoint of its own.
    let shards = if aol == AolMode::Never { 1 } else { 4 };
    let config = Config { aol, fsync, ..config(1, shards, u32::try_from(seed % 3).unwrap()) };
    let world = World::new(SimulatedDisk::new(seed).with_whole_sectors(), BEGINNING, config);
    let (history, names) = world.disk.record(|| {
        let mut lives: Vec<(BTreeMap<String, Timeline>, Vec<Beat>)> =
            (0..3).map(|number| (names_of(number), Vec::new())).collect();
        for boot in 0..2 {
            let running = world.start().unwrap();
            let mut clients = world.clients(&running.engine, seed * 2 + boot);
            for (client, (names, beats)) in clients.iter_mut().zip(&mut lives) {
                client.names = std::mem::take(names);
                client.beats = std::mem::take(beats);
            }
            block_on(work(&mut clients, STEPS));
            for (client, life) in clients.into_iter().zip(&mut lives) {
                assert!(client.refusals.is_empty(), "seed {seed}: {:?}", client.refusals);
                *life = (client.names, client.beats);
            }
            assert_eq!(fatal(&running), None);
            running.stop();
            let stopped = Beat { sent_at: i64::MAX, answered_at: i64::MAX, answered: world.disk.moment() };
            // A clean stop makes everything safe: as good as two busy moments behind any interval.
            lives.iter_mut().for_each(|(_, beats)| beats.extend([stopped, stopped]));
        }
        let window = window(aol, fsync);
        let versions = |(names, beats): (BTreeMap<String, Timeline>, Vec<Beat>)| {
            names.into_iter().map(move |(text, line)| (text, versions_of(&line, &beats, window)))
        };
        lives.into_iter().flat_map(versions).collect()
    });
    Recorded { history, names, world }
}

fn versions_of(line: &Timeline, beats: &[Beat], window: Window) -> Vec<Version> {
    let absent = Version { issued: 0, answered: 0, safe_from: 0, state: None };
    let versions = line.versions().map(|(issued, answered, state)| {
        let stopped = beats.iter().find(|beat| beat.sent_at == i64::MAX && beat.answered >= answered);
        let safe_from = window.safe_from(answered, beats).min(stopped.map_or(NEVER, |beat| beat.answered));
        Version { issued, answered, safe_from, state: state.cloned() }
    });
    std::iter::once(absent).chain(versions).collect()
}

/// What a test met.
#[derive(Debug, Default)]
struct Tally {
    images: usize,
    interrupted: usize,
    /// Images that lost something acknowledged, as these modes may.
    lossy: usize,
}

impl Recorded {
    fn world(&self, disk: SimulatedDisk) -> World {
        World::new(disk, self.world.now(), self.world.config.clone())
    }

    /// Finds out which state each name is in, and that all of them together are those of one moment.
    async fn resolve(&self, engine: &Engine, moment: usize, what: &str, tally: &mut Tally) -> Resolved {
        let mut resolved = Resolved::new();
        // The newest write that is certainly there, and the oldest acknowledged ones that are certainly not.
        let (mut newest, mut lost) = ((0, String::new()), Vec::new());
        for (text, versions) in &self.names {
            let safe = versions.iter().rposition(|version| version.safe_from <= moment).unwrap_or(0);
            let end = versions.iter().rposition(|version| version.issued < moment).unwrap_or(0);
            let candidates: Vec<Option<Stream>> =
                versions[safe..=end.max(safe)].iter().map(|version| version.state.clone()).collect();
            let found = matching(engine, text, &candidates, self.world.now(), what).await;
            let (first, last) = (safe + found[0], safe + found[found.len() - 1]);
            newest = newest.max((versions[first].issued, format!("{text}, version {first}")));
            let next = versions.get(last + 1).filter(|next| next.answered <= moment);
            lost.extend(next.map(|next| (next.answered, format!("{text}, version {}", last + 1))));
            let gone = engine.head(&super::engine_model::name(text)).await.is_err();
            resolved.insert(text.clone(), if gone { None } else { versions[last].state.clone() });
        }
        tally.lossy += usize::from(!lost.is_empty());
        let hole = lost.iter().find(|(answered, _)| *answered < newest.0);
        assert!(hole.is_none(), "{what}: {hole:?} is lost, but the later {newest:?} is there");
        resolved
    }

    fn look_at(
        &self,
        mut disk: SimulatedDisk,
        moment: usize,
        random: &mut Random,
        what: &str,
        tally: &mut Tally,
    ) {
        tally.images += 1;
        if random.chance(30) {
            disk.set_faults(Faults::power_off_after(random.below(500)));
            match self.world(disk.clone()).start() {
                Ok(running) => running.stop(),
                Err(_) => tally.interrupted += 1,
            }
            disk = disk.after_power_cut(random.next());
        }
        let world = self.world(disk);
        let running = world.start().unwrap_or_else(|error| panic!("{what}: does not start: {error:#}"));
        assert_eq!(running.report.damaged, [], "{what}");
        let resolved = block_on(self.resolve(&running.engine, moment, what, tally));
        let mut client = world.client(&running.engine, random.next(), lines(resolved));
        block_on(client.work(30));
        assert_eq!(client.refusals, [], "{what}");
        let expected: Expected =
            client.resolved().into_iter().map(|(text, state)| (text, vec![state])).collect();
        let now = world.now();
        block_on(check(&running.engine, &expected, now, &format!("{what}, before the stop")));
        running.stop();
        // After a clean stop nothing is lost in any mode, not even when the power goes at once.
        let again = World::new(world.disk.after_power_cut(random.next()), now, world.config.clone());
        let running = again.start().unwrap_or_else(|error| panic!("{what}: does not start again: {error:#}"));
        assert_eq!(running.report.damaged, [], "{what}, later");
        for world in [&world, &again] {
            assert_eq!(world.metrics.store.log_damage.get(), 0, "{what}: a crash is called damage");
        }
        block_on(check(&running.engine, &expected, now, &format!("{what}, later")));
        assert_eq!(fatal(&running), None, "{what}");
        running.stop();
    }
}

fn survive(aol: AolMode, fsync: FsyncPolicy) {
    let (mut tally, mut seed) = (Tally::default(), tier::seed());
    while tally.images < images_wanted() {
        seed += 1;
        let recorded = record(seed, aol, fsync);
        let mut random = Random::new(seed);
        let mut replay = recorded.history.replay();
        let moments = recorded.history.moments();
        let mut cuts: Vec<usize> = (0..IMAGES_PER_SEED)
            .map(|_| usize::try_from(random.below(moments as u64 + 1)).unwrap())
            .collect();
        cuts.sort_unstable();
        for moment in cuts {
            replay.advance(moment);
            if random.chance(20) {
                replay.disk().write_back(random.below(100));
            }
            let disk = replay.disk().after_power_cut(random.next());
            let what = format!("{aol:?}, {fsync:?}, seed {seed}, cut at {moment} of {moments}");
            recorded.look_at(disk, moment, &mut random, &what, &mut tally);
        }
    }
    println!("{aol:?}, {fsync:?}: {} histories: {tally:?}", seed - tier::seed());
    assert!(tally.interrupted > 0, "{tally:?}");
    assert!(aol == AolMode::Async || tally.lossy * 10 > tally.images, "nothing was at stake: {tally:?}");
}

#[test]
fn in_asynchronous_mode_a_power_cut_takes_the_last_answers_at_most() {
    survive(AolMode::Async, FsyncPolicy::Always);
}

#[test]
fn with_syncs_at_intervals_a_power_cut_takes_an_interval_at_most_and_leaves_no_hole() {
    survive(AolMode::Sync, FsyncPolicy::Interval(INTERVAL));
    survive(AolMode::Async, FsyncPolicy::Interval(INTERVAL));
}

#[test]
fn without_syncs_a_power_cut_leaves_everything_up_to_some_moment() {
    survive(AolMode::Sync, FsyncPolicy::Never);
}

#[test]
fn without_a_log_a_power_cut_leaves_what_a_checkpoint_held() {
    survive(AolMode::Never, FsyncPolicy::Always);
}

#[test]
fn without_syncs_the_log_is_let_go_behind_checkpoints_all_the_same() {
    let config = Config { fsync: FsyncPolicy::Never, ..config(1, 2, 0) };
    let world = World::new(SimulatedDisk::new(1), BEGINNING, config);
    let running = world.start().unwrap();
    let mut client = world.client(&running.engine, 1, names_of(0));
    let (mut segments, mut kept) = (0, 0);
    for _ in 0..100 {
        block_on(client.work(30));
        segments = world.newest_segment();
        kept = world.disk.root().subdir("lane-000").unwrap().list().unwrap().len();
        if segments > 20 && kept < 10 {
            break;
        }
    }
    assert!(segments > 20 && kept < 10, "{kept} of {segments} segments are still there");
    assert_eq!(client.refusals, []);
    running.stop();
}
