//! Two of three nodes are gone for good: by an explicit wish the third goes on with what it has.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use thalweg_e2e::client::{Connection, Request};
use thalweg_e2e::cluster::{Options, World};
use thalweg_e2e::driver::{News, RecordFile, View, wish};
use thalweg_e2e::server::complaints;
use thalweg_node::core::failover::Trouble;
use thalweg_node::types::{ShardId, VolumeIncarnation};
use tokio::time::{sleep, timeout};

use super::{PATIENCE, PEERS_COME_AND_GO, options};

const NAME: &str = "kept";

async fn append(node: SocketAddr, word: &str) -> anyhow::Result<u16> {
    let request = Request::append(NAME, "text/plain", word.as_bytes());
    Ok(Connection::open(node).await?.exchange(&request).await?.head.status)
}

/// Waits for such news, with all that was said before them.
async fn hear(world: &mut World, what: &str, wanted: impl Fn(&News) -> bool) -> anyhow::Result<()> {
    let heard = async {
        while !world.news().iter().inspect(|news| println!("{news}")).any(&wanted) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, heard).await.with_context(|| format!("the driver never says: {what}"))
}

/// Wishes that every shard goes on with this volume, each in the epoch in which it is.
async fn go_on(record: &RecordFile, shards: u16, volume: VolumeIncarnation) -> anyhow::Result<()> {
    for shard in (0..shards).map(ShardId) {
        loop {
            let epoch = record.read()?.1.rows[&shard].epoch;
            match wish(record, shard, epoch, volume).await {
                Ok(_) => break,
                Err(error) => ensure!(error.to_string().contains("is in epoch"), "{error}"),
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_nodes_that_are_gone_for_good_are_given_up_and_writes_go_on_with_what_the_third_has()
-> anyhow::Result<()> {
    const SHARDS: u16 = 2;
    let data = tempfile::tempdir()?;
    let mut wanted: Options = options(14);
    wanted.node.shards = SHARDS.into();
    let mut world = World::start(wanted, data.path()).await?;
    let keeper = (world.leader(0)? + 1) % 3;
    let gone = [(keeper + 1) % 3, (keeper + 2) % 3];
    let address = world.addresses()[keeper].context("it does not run")?;
    let created = Connection::open(address).await?.exchange(&Request::create(NAME, "text/plain")).await?;
    ensure!(created.head.status == 201, "{}", created.head.status);
    ensure!(append(address, "before ").await? == 204);
    let record = RecordFile::at(&data.path().join("record"))?;
    let members = world.driver()?.view().table.roster.members;
    let name = format!("node-{}", keeper + 1);
    let volume = members.values().find(|member| member.node == name).and_then(|member| member.incarnation);
    let volume = volume.context("nobody knows its volume")?;
    for node in gone {
        world.kill(node, true).await?;
    }
    let is_blocked = |news: &News| matches!(news, News::Trouble(_, Trouble::FailoverBlocked(_)));
    hear(&mut world, "too few voters", is_blocked).await?;
    ensure!(append(address, "refused ").await? == 503, "nobody is there to confirm it");
    go_on(&record, SHARDS, volume).await?;
    world.wait_open(PATIENCE).await?;
    let led_by_keeper = world.driver()?.view().leaders();
    ensure!(led_by_keeper.keys().eq([&name]), "{led_by_keeper:?}");
    ensure!(append(address, "after").await? == 204, "writes go on");
    let read = Connection::open(address).await?.exchange(&Request::read(NAME, "-1")).await?;
    let text = String::from_utf8_lossy(&read.body).into_owned();
    // What was refused with an open outcome may be there, if the third node led when it came.
    ensure!(text == "before after" || text == "before refused after", "{text}");
    // One of the others comes back with all that it had.
    world.start_node(gone[0]).await?;
    hear(&mut world, "barred", |news| matches!(news, News::Refused(why) if why.contains("barred for ever")))
        .await?;
    // Emptied disks are other replicas, which learn and vote.
    world.kill(gone[0], true).await?;
    for node in gone {
        world.wipe(node)?;
        world.start_node(node).await?;
    }
    let votes = |view: &View| view.is_open() && view.is_settled(3);
    let view = world.driver()?.wait(PATIENCE, "three vote again", votes).await?;
    ensure!(view.table.unclean.len() == usize::from(SHARDS) && view.table.roster.members.len() == 3);
    for node in gone {
        let address = world.addresses()[node].context("it does not run")?;
        let read = Connection::open(address).await?.exchange(&Request::read(NAME, "-1")).await?;
        ensure!(read.body == text.as_bytes(), "{:?}", String::from_utf8_lossy(&read.body));
    }
    let logs: Vec<String> = (0..world.count()).flat_map(|node| world.log(node)).collect();
    world.end().await?;
    let known = [PEERS_COME_AND_GO, &["no majority takes what is written here"]].concat();
    let complaints = complaints(&logs, &known);
    ensure!(complaints.is_empty(), "unlisted log lines:\n{}", complaints.join("\n"));
    Ok(())
}
