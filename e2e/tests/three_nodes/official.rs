//! The official client on a node that follows, while those that lead its stream are killed.

use anyhow::{Context, ensure};
use thalweg_e2e::cluster::World;
use thalweg_e2e::official::{OfficialClient, Said};
use thalweg_node::types::{ShardCount, StreamName};

use super::{PATIENCE, end, number, options};

/// Messages that the client writes, and after how many a leader is killed, again and again.
const COUNT: u32 = 600;
const KILL_EVERY: u32 = 150;

async fn writes_and_tails_through_a_follower(mode: &str) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let mut world = World::start(options(number("TEST_SEED", 14)), data.path()).await?;
    let stream = OfficialClient::stream(mode);
    let shard = usize::from(StreamName::from_bytes(stream.as_bytes())?.shard(ShardCount::new(4)?).0);
    let own = (world.leader(shard)? + 1) % world.count();
    let address = world.addresses()[own].context("it does not run")?;
    let mut client = OfficialClient::begin(&format!("http://{address}"), mode, COUNT).await?;
    let (mut kills, mut others, mut last) = (0, 0, Said::default());
    while let Some(said) = client.next().await? {
        last = said;
        if last.written >= KILL_EVERY * (kills + 1) && last.written < COUNT {
            kills += 1;
            // A driver lets a shard rest longer after each failover; a new one knows of none.
            world.drive().await?;
            world.wait_open(PATIENCE).await?;
            let leader = world.leader(shard)?;
            // In the end the client's own node may lead: then it comes back at once, on the same port.
            others += u32::from(leader != own);
            world.kill(leader, leader != own).await?;
            if leader != own {
                world.wait_open(PATIENCE).await?;
            }
            world.start_node(leader).await?;
        }
    }
    println!("{mode} through node {}: {kills} leaders killed, {others} of them others, {last:?}", own + 1);
    ensure!(kills >= 3 && others >= 1);
    client.check(&last)?;
    end(world).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_on_a_follower_survives_kills_of_leaders_while_it_follows_by_sse()
-> anyhow::Result<()> {
    writes_and_tails_through_a_follower("sse").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_on_a_follower_survives_kills_of_leaders_while_it_follows_by_long_poll()
-> anyhow::Result<()> {
    writes_and_tails_through_a_follower("long-poll").await
}
