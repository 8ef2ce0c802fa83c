//! Promise: a shard whose file is damaged, missing or older than its log refuses service, never answers that something
//! does not exist, and loses nothing: once its file is back, everything is.

use std::collections::BTreeMap;

use thalweg_node::runtime::{EngineError, Failure, ReadError, ReadFrom, Running};
use thalweg_node::seam::disk::simulated::SimulatedDisk;
use thalweg_node::store::tables::file_name;
use thalweg_node::types::{ShardCount, ShardId};

use super::engine_client::names_of;
use super::engine_model::{Expected, Timeline, check, name};
use super::engine_world::{BEGINNING, World, block_on, config, work};

type Names = BTreeMap<String, Timeline>;

fn world(lanes: u32) -> World {
    World::new(SimulatedDisk::new(3), BEGINNING, config(lanes, 4, 1))
}

fn names() -> Names {
    (0..3).flat_map(names_of).collect()
}

fn shard_of(text: &str) -> ShardId {
    name(text).shard(ShardCount::new(4).unwrap())
}

/// Lets clients work on some of the names.
fn go_on(
    world: &World,
    running: &Running,
    seed: u64,
    steps: usize,
    names: &mut Names,
    on: impl Fn(&str) -> bool,
) {
    let mine: Names =
        names.iter().filter(|(text, _)| on(text)).map(|(text, line)| (text.clone(), line.clone())).collect();
    let mut clients = vec![world.client(&running.engine, seed, mine)];
    block_on(work(&mut clients, steps));
    for client in clients {
        assert_eq!(client.refusals, []);
        names.extend(client.names);
    }
}

/// Streams that stay, of other shards than this one.
fn elsewhere(shard: ShardId) -> impl Fn(&str) -> bool {
    move |text| shard_of(text) != shard && matches!(text.chars().last(), Some('p' | 'r' | 'j'))
}

fn expected(names: &Names) -> Expected {
    names.iter().map(|(text, line)| (text.clone(), vec![line.last().cloned()])).collect()
}

fn table(world: &World, shard: ShardId) -> Vec<u8> {
    let file = world.disk.root().subdir("tables").unwrap().open(&file_name(shard)).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

fn put_table(world: &World, shard: ShardId, bytes: &[u8]) {
    let folder = world.disk.root().subdir("tables").unwrap();
    let file = folder.open(&file_name(shard)).unwrap_or_else(|_| folder.create(&file_name(shard)).unwrap());
    file.set_len(0).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
    folder.sync().unwrap();
}

/// Everything about the shard is refused as damaged; nothing of it is said not to exist.
fn expect_refusal(running: &Running, shard: ShardId, names: &Names) {
    let damaged: Vec<ShardId> = running.report.damaged.iter().map(|(shard, _)| *shard).collect();
    assert_eq!(damaged, [shard], "{:?}", running.report.damaged);
    let mut met = 0;
    for text in names.keys().filter(|text| shard_of(text) == shard) {
        met += 1;
        let read = block_on(running.engine.read(&name(text), ReadFrom::Start, 100)).unwrap_err();
        assert!(matches!(read, ReadError::Failure(Failure::ShardDamaged { .. })), "{text}: {read}");
        let deleted = block_on(running.engine.delete(name(text))).unwrap_err();
        assert!(matches!(deleted, EngineError::Failure(Failure::ShardDamaged { .. })), "{text}: {deleted}");
    }
    assert!(met > 3, "too few names fall into {shard}");
    let listed = block_on(running.engine.list("", None, 100));
    assert!(matches!(listed, Err(Failure::ShardDamaged { .. })), "{listed:?}");
    assert!(running.engine.readiness().is_err());
}

fn expect_all(world: &World, names: &Names, what: &str) {
    let running = world.start().unwrap_or_else(|error| panic!("{what}: {error:#}"));
    assert_eq!(running.report.damaged, [], "{what}");
    block_on(check(&running.engine, &expected(names), world.now(), what));
    running.stop();
}

/// A shard that holds at least one living stream that stays.
fn busy_shard(names: &Names) -> ShardId {
    let living = names.iter().find(|(text, line)| text.ends_with('p') && line.last().is_some());
    shard_of(living.unwrap().0)
}

#[test]
fn a_damaged_shard_keeps_its_log_while_the_others_go_on_and_loses_nothing() {
    for (lanes, missing) in [(1, false), (2, false), (1, true)] {
        let world = world(lanes);
        let mut names = names();
        let running = world.start().unwrap();
        go_on(&world, &running, 1, 250, &mut names, |_| true);
        // Killed in the middle: the tables are behind the log.
        let world = World::new(world.disk.after_kill(1), world.now(), world.config.clone());
        running.stop();
        let shard = busy_shard(&names);
        let sound = table(&world, shard);
        if missing {
            world.disk.root().subdir("tables").unwrap().remove(&file_name(shard)).unwrap();
        } else {
            put_table(&world, shard, &vec![0xee; sound.len()]);
        }
        let before = world.newest_segment();
        for round in 0..3 {
            let running = world.start().unwrap();
            expect_refusal(&running, shard, &names);
            go_on(&world, &running, 10 + round, 200, &mut names, elsewhere(shard));
            running.stop();
        }
        assert!(world.newest_segment() > before + 5, "the log hardly moved");
        put_table(&world, shard, &sound);
        expect_all(&world, &names, &format!("{lanes} lanes, missing {missing}"));
        // Now it may go on: what was kept for the shard is let go.
        let running = world.start().unwrap();
        go_on(&world, &running, 20, 300, &mut names, |_| true);
        running.stop();
        expect_all(&world, &names, "afterwards");
    }
}

#[test]
fn a_shard_whose_tables_end_before_its_log_begins_refuses_instead_of_forgetting() {
    for lanes in [1, 2] {
        let world = world(lanes);
        let mut names = names();
        let running = world.start().unwrap();
        go_on(&world, &running, 1, 200, &mut names, |_| true);
        running.stop();
        let shard = busy_shard(&names);
        let older = table(&world, shard);
        let running = world.start().unwrap();
        go_on(&world, &running, 2, 100, &mut names, |_| true);
        running.stop();
        // From here on nothing is written about the shard, until no record of it is left in the log.
        let running = world.start().unwrap();
        go_on(&world, &running, 3, 500, &mut names, elsewhere(shard));
        running.stop();
        let newest = table(&world, shard);
        put_table(&world, shard, &older);
        for round in 0..2 {
            let running = world.start().unwrap();
            expect_refusal(&running, shard, &names);
            let reason = &running.report.damaged[0].1;
            assert!(reason.contains("its tables end at record"), "{reason}");
            go_on(&world, &running, 4 + round, 100, &mut names, elsewhere(shard));
            running.stop();
        }
        put_table(&world, shard, &newest);
        expect_all(&world, &names, "the newest file is back");
    }
}

#[test]
fn a_node_of_which_no_shard_can_be_served_does_not_start_and_says_why() {
    let world = world(1);
    let mut names = names();
    let running = world.start().unwrap();
    go_on(&world, &running, 1, 100, &mut names, |_| true);
    running.stop();
    let shards: Vec<ShardId> = ShardCount::new(4).unwrap().shards().collect();
    let sound: Vec<Vec<u8>> = shards.iter().map(|shard| table(&world, *shard)).collect();
    for shard in &shards {
        put_table(&world, *shard, &[7; 9000]);
    }
    for _ in 0..4 {
        let reason = format!("{:#}", world.start().unwrap_err());
        assert!(
            reason.contains("none of the 4 shards can be served") && reason.contains("shard 0: "),
            "{reason}"
        );
    }
    let folder = world.disk.root().subdir("tables").unwrap();
    shards.iter().for_each(|shard| folder.remove(&file_name(*shard)).unwrap());
    let reason = format!("{:#}", world.start().unwrap_err());
    assert!(reason.contains("none of the 4 shards") && reason.contains("missing"), "{reason}");
    for (shard, bytes) in shards.iter().zip(&sound) {
        put_table(&world, *shard, bytes);
    }
    expect_all(&world, &names, "all files are back");
}
