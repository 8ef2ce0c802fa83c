//! Three nodes, one of which starts on a damaged disk: it gets back from the others what it lacks, and nobody counts on it
//! before.

use super::cluster::{PATIENCE, World, append_bytes, eventually, make};
use super::*;
use crate::codec::CodecError;
use crate::core::replication::{Answer, Refusal};
use crate::runtime::{Failure, Order, ShardReport, ShardRole};
use crate::store::tables::TablesError;
use crate::types::RecordEpoch;

async fn append(engine: &Engine, name: &StreamName, message: &str) {
    append_bytes(engine, name, Bytes::copy_from_slice(message.as_bytes())).await;
}

/// A node shows all of a stream, as soon as it hears of its leader.
async fn shows(engine: &Engine, name: &StreamName, expected: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match engine.read(name, ReadFrom::Start, 1 << 20).await {
            Ok(batch) => {
                let parts = batch.segments.iter().flat_map(|part| part.messages.wire().to_vec());
                return assert_eq!(String::from_utf8(parts.collect()).unwrap(), expected);
            }
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One bit of each page of a file flips.
fn flip(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes.iter_mut().skip(100).step_by(512).for_each(|byte| *byte ^= 4);
    std::fs::write(file, bytes).unwrap();
}

fn tables(world: &World, shard: u16, end: &str) -> std::path::PathBuf {
    world.configs[2].data.join(format!("tables/shard-{shard:03}.redb{end}"))
}

fn damaged(world: &World) -> Vec<u16> {
    let node = &world.nodes[2];
    let count = node.engine.shared.count;
    count.shards().filter(|shard| node.vault.is_damaged(*shard)).map(|shard| shard.0).collect()
}

/// The third node is up again, has repaired everything, and shows what the others do.
async fn is_repaired(world: &World, names: &[(usize, &StreamName, &str)]) {
    world.led().await;
    eventually(|| damaged(world).is_empty()).await;
    for (_, name, expected) in names {
        shows(world.engine(2), name, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_a_start_finds_damaged_or_missing_are_set_aside_and_come_back_from_the_leaders() {
    let mut world = World::start();
    world.led().await;
    let (zero, one) = (world.led_by(0, "zero"), world.led_by(1, "one"));
    for (node, name) in [(0, &zero), (1, &one)] {
        make(world.engine(node), name).await;
        append(world.engine(node), name, "a").await;
        shows(world.engine(2), name, "a").await;
    }
    let of = |name: &StreamName, world: &World| name.shard(world.engine(0).shared.count).0;
    let (flipped, missing) = (of(&zero, &world), of(&one, &world));
    world.down().await;
    append(world.engine(0), &zero, "b").await;
    flip(&tables(&world, flipped, ""));
    let before = std::fs::read(tables(&world, flipped, "")).unwrap();
    std::fs::remove_file(tables(&world, missing, "")).unwrap();
    world.up();
    let report = &world.nodes[2].report;
    let lacking: Vec<u16> = report.lacking.iter().map(|(shard, _)| shard.0).collect();
    assert_eq!((lacking, report.damaged.len()), (vec![flipped, missing], 0), "{report:?}");
    let names = [(0, &zero, "ab"), (1, &one, "a")];
    is_repaired(&world, &names).await;
    assert!(std::fs::read(tables(&world, flipped, ".damaged")).unwrap() == before, "nothing is erased");
    for (node, name, _) in names {
        append(world.engine(node), name, "c").await;
    }
    // And it starts with what it got.
    world.down().await;
    world.up();
    let report = &world.nodes[2].report;
    assert!(report.damaged.is_empty() && report.lacking.is_empty(), "{report:?}");
    is_repaired(&world, &[(0, &zero, "abc"), (1, &one, "ac")]).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_starts_damaged_leads_nothing_and_its_seal_shows_nothing_also_after_another_start() {
    let mut world = World::start();
    world.led().await;
    let led = world.led_by(2, "two");
    make(world.engine(2), &led).await;
    append(world.engine(2), &led, "a").await;
    shows(world.engine(0), &led, "a").await;
    let shard = led.shard(world.engine(0).shared.count);
    world.down().await;
    flip(&tables(&world, shard.0, ""));
    // Nobody elects: so it has nobody to be repaired from, as often as it starts.
    for _ in 0..2 {
        world.up();
        let cluster = world.engine(2).shared.cluster.get().cloned().unwrap();
        eventually(|| cluster.is_vouched()).await;
        assert_eq!(damaged(&world), [shard.0]);
        let control = world.nodes[2].control();
        let role = |reports: Vec<ShardReport>| {
            reports.into_iter().find(|report| report.shard == shard).map(|report| report.role)
        };
        assert_eq!(role(control.shards().await), Some(ShardRole::Waiting));
        world.down().await;
    }
    world.up();
    let cluster = world.engine(2).shared.cluster.get().cloned().unwrap();
    eventually(|| cluster.is_vouched()).await;
    let control = world.nodes[2].control();
    let Answer::Sealed(seal) = control.seal(shard, RecordEpoch(2)).await.unwrap() else { panic!("no seal") };
    assert!(!seal.intact && seal.promised.record == RecordEpoch(2), "{seal:?}");
    let order = Order {
        epoch: RecordEpoch(2),
        configs: world.nodes[0].control().shards().await[usize::from(shard.0)].configs.clone().unwrap(),
        learners: Vec::new(),
    };
    let answer = control.lead(shard, order.clone(), seal.standing).await.unwrap();
    assert_eq!(answer, Answer::Refused(Refusal::Damaged));
    // Another one is elected.
    let other = world.nodes[0].control();
    let Answer::Sealed(seal) = other.seal(shard, RecordEpoch(2)).await.unwrap() else { panic!("no seal") };
    assert!(seal.intact);
    world.nodes[1].control().seal(shard, RecordEpoch(2)).await.unwrap();
    other.lead(shard, order, seal.standing).await.unwrap();
    eventually(|| damaged(&world).is_empty()).await;
    shows(world.engine(2), &led, "a").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_found_damaged_while_they_are_served_are_made_anew_once_another_leads_and_those_of_a_leader_stay()
 {
    let world = World::start_with(|config| config.sweep_interval = Duration::from_millis(20));
    world.led().await;
    let (theirs, own) = (world.led_by(0, "theirs-"), world.led_by(2, "own-"));
    for (node, name) in [(0, &theirs), (2, &own)] {
        make(world.engine(node), name).await;
        append(world.engine(node), name, "sound ").await;
    }
    shows(world.engine(2), &theirs, "sound ").await;
    let (count, node) = (world.engine(2).shared.count, &world.nodes[2]);
    let (followed, led) = (theirs.shard(count), own.shard(count));
    let says_damaged = |id: ShardId| {
        let pulse = node.engine.shared.looks.all(Duration::ZERO);
        pulse.iter().any(|(report, pulse)| report.shard == id && pulse.damaged)
    };
    assert!(!says_damaged(followed) && !says_damaged(led));
    let corrupt =
        TablesError::Corrupt { unit: "a chunk".to_owned(), cause: CodecError::Truncated("a chunk") };
    for id in [followed, led] {
        let failure = node.engine.shared.open_shard(id).unwrap().table_fault(&corrupt);
        assert!(matches!(failure, Failure::Corrupt), "{failure:?}");
    }
    let aside = |id: ShardId| tables(&world, id.0, ".damaged").is_file();
    eventually(|| aside(followed) && damaged(&world).is_empty()).await;
    shows(world.engine(2), &theirs, "sound ").await;
    eventually(|| !says_damaged(followed) && says_damaged(led)).await;
    // Whoever leads has the only tables that are known to have everything.
    assert!(!aside(led) && !tables(&world, led.0, ".opening").is_file());
    shows(world.engine(2), &own, "sound ").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_were_noted_as_damaged_when_their_node_ended_are_set_aside_by_the_next_start() {
    let mut world = World::start();
    world.led().await;
    let name = world.led_by(0, "theirs-");
    make(world.engine(0), &name).await;
    append(world.engine(0), &name, "sound ").await;
    shows(world.engine(2), &name, "sound ").await;
    let shard = name.shard(world.engine(2).shared.count);
    world.down().await;
    std::fs::write(tables(&world, shard.0, ".opening"), b"d").unwrap();
    world.up();
    let report = &world.nodes[2].report;
    assert!(report.lacking.iter().any(|(lacking, _)| *lacking == shard), "{report:?}");
    is_repaired(&world, &[(0, &name, "sound ")]).await;
    assert!(tables(&world, shard.0, ".damaged").is_file());
    assert!(!tables(&world, shard.0, ".opening").is_file());
    world.stop().await;
}
