//! How a cluster of a file begins, and that nothing else is taken for a beginning.

use std::path::Path;
use std::sync::Arc;

use thalweg_node::config::{Config, NodeName};
use thalweg_node::runtime::{EngineError, Failure, ShardReport, Whereabouts, start_on};
use thalweg_node::seam::disk::simulated::SimulatedDisk;
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::store::superblock::SuperblockStore;
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{ClusterId, Epoch, ShardCount};

use crate::free_address::free_address;
use crate::world::{CLUSTER, NODES, SHARDS, World, append, creation, eventually, make, text, within};

#[tokio::test(flavor = "multi_thread")]
async fn i16_members_whose_disks_were_emptied_do_not_begin_anew_what_another_one_has() {
    let mut world = World::led(|_| {}).await;
    let stream = world.led_by(0, "kept");
    make(world.engine(0), &stream).await;
    append(world.engine(0), &stream, "kept").await.unwrap();
    for node in 0..NODES {
        world.end(node).await;
    }
    // Two of three, which would be enough for anything.
    let disks =
        [0, 1].map(|node| world.put_in(node, SimulatedDisk::new(90 + node as u64).with_whole_sectors()));
    for node in 0..NODES {
        world.start_again(node);
    }
    eventually(|| world.has_met(0, 1) && world.has_met(1, 0)).await;
    // Whoever asks whether they are ready hears why they are not, once for all shards.
    for node in [0, 1] {
        let says_why = || {
            let told = world.engine(node).condition();
            let of_two =
                |cause: &String| cause.starts_with("no link to n2: ") && cause.contains("with this volume");
            told.held_up.len() == 1 && told.causes.iter().any(of_two)
        };
        eventually(says_why).await;
    }
    // What they would have led by now they do not lead, and have promised nothing for it.
    for node in [0, 1] {
        let promised = |report: ShardReport| report.promised != Epoch::default();
        assert!(!world.control(node).shards().await.into_iter().any(promised), "node {node}");
        let made = within(world.engine(node).create(creation(&stream), None)).await;
        assert!(
            matches!(made, Err(EngineError::Failure(Failure::NoLeader { .. } | Failure::NotLeader { .. }))),
            "{made:?}"
        );
        assert_eq!(world.engine(node).leader(world.shard_of(&stream)), Whereabouts::Nobody);
    }
    for node in 0..NODES {
        world.end(node).await;
    }
    for (node, disk) in disks.into_iter().enumerate() {
        world.put_in(node, disk);
    }
    for node in 0..NODES {
        world.start_again(node);
    }
    world.is_led().await;
    assert_eq!(text(world.engine(0), &stream).await.unwrap(), "kept");
    world.stop().await;
}

/// Starts a node and ends it, or says why it does not start.
async fn start(disk: &SimulatedDisk, config: &Config) -> Result<(), String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let running = start_on(disk.root(), config, &clock, Arc::new(Metrics::new(config.lanes)))
        .map_err(|error| format!("{error:#}"))?;
    running.engine.close();
    tokio::task::spawn_blocking(move || running.stop()).await.unwrap();
    Ok(())
}

fn alone() -> Config {
    Config { shards: ShardCount::new(u64::from(SHARDS)).unwrap(), ..Config::default() }
}

fn member_of(directory: &Path, cluster: ClusterId, ids: std::ops::Range<u32>) -> Config {
    let peer = free_address();
    let member = |id: u32| {
        let (node, peer) = match id {
            0 => (NodeName::standalone().to_string(), peer.to_string()),
            id => (format!("n{id}"), format!("127.0.0.1:{}", 100 + id)),
        };
        format!("  - {{id: {id}, node: {node}, peer: '{peer}', client: '127.0.0.1:{}'}}\n", 200 + id)
    };
    let members: String = ids.map(member).collect();
    let file = directory.join("cluster.yaml");
    std::fs::write(&file, format!("cluster: {cluster}\nmembers:\n{members}")).unwrap();
    Config { cluster_id: Some(cluster), cluster_file: Some(file), peer_listen: peer, ..alone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_served_on_its_own_becomes_no_member() {
    let (disk, files) = (SimulatedDisk::new(5), tempfile::tempdir().unwrap());
    start(&disk, &alone()).await.unwrap();
    let cluster = SuperblockStore::peek(&*disk.root()).unwrap().unwrap().cluster;
    let by_file = member_of(files.path(), cluster, 0..3);
    let by_id = Config { cluster_file: None, ..by_file.clone() };
    for config in [by_file, by_id] {
        let refused = start(&disk, &config).await.unwrap_err();
        assert!(refused.contains("served on its own") && refused.contains("node restore"), "{refused}");
    }
    start(&disk, &alone()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_members_of_a_cluster_file_never_change() {
    let mut world = World::led(|_| {}).await;
    for node in 0..NODES {
        world.end(node).await;
    }
    let disk = world.put_in(0, SimulatedDisk::new(1));
    let files = tempfile::tempdir().unwrap();
    let refused = start(&disk, &member_of(files.path(), CLUSTER, 0..4)).await.unwrap_err();
    assert!(refused.contains("never change") && refused.contains("0, 1, 2, 3"), "{refused}");
    world.stop().await;
}
