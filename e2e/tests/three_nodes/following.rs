//! Who follows a stream on a node that loses its leader.

use std::time::Duration;

use anyhow::{Context, ensure};
use thalweg_e2e::client::{Connection, Event, EventStream, Request};
use thalweg_e2e::cluster::World;
use thalweg_node::types::{ShardCount, StreamName};
use tokio::time::timeout;

use super::{PATIENCE, end, options};

const NAME: &str = "followed";
/// A node is without a leader two seconds after it last heard of one; it looks five times a second.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

async fn append(node: std::net::SocketAddr, word: &str) -> anyhow::Result<()> {
    let request = Request::append(NAME, "text/plain", word.as_bytes());
    let answer = Connection::open(node).await?.exchange(&request).await?;
    ensure!(answer.head.status == 204, "{}", answer.head.status);
    Ok(())
}

/// Reads events until one is the data that is waited for, and on to the control event behind it; returns that one's offset.
async fn until(events: &mut EventStream, word: &str) -> anyhow::Result<String> {
    let reading = async {
        let mut seen = false;
        while let Some(Event { kind, data }) = events.next().await? {
            seen |= kind == "data" && data.contains(word);
            if seen && kind == "control" {
                let control: serde_json::Value = serde_json::from_str(&data)?;
                return Ok(control["streamNextOffset"].as_str().context("no offset")?.to_owned());
            }
        }
        anyhow::bail!("the events end before {word}")
    };
    timeout(PATIENCE, reading).await.with_context(|| format!("{word} does not come"))?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_events_end_without_a_word_of_closure_when_their_node_hears_of_no_leader()
-> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let world = World::start(options(13), data.path()).await?;
    let shard = StreamName::from_bytes(NAME.as_bytes())?.shard(ShardCount::new(4)?);
    let leader = world.leader(shard.0.into())?;
    let (cut, whole) = ((leader + 1) % 3, (leader + 2) % 3);
    let addresses: Vec<_> = world.addresses().into_iter().flatten().collect();
    let created = Request::create(NAME, "text/plain");
    let created = Connection::open(addresses[leader]).await?.exchange(&created).await?;
    ensure!(created.head.status == 201, "{}", created.head.status);
    append(addresses[leader], "one").await?;
    let mut ending = EventStream::open(addresses[cut], NAME, "-1").await?;
    let mut lasting = EventStream::open(addresses[whole], NAME, "-1").await?;
    let next = until(&mut ending, "one").await?;
    until(&mut lasting, "one").await?;
    // Its clients reach the node still; no other node does.
    world.network().isolate(cut);
    append(addresses[leader], "two").await?;
    until(&mut lasting, "two").await?;
    let mut rest = Vec::new();
    let ended = async {
        // A proper end of the answer: whoever reads it learns that nothing was cut off amid an event.
        while let Some(event) = ending.next().await? {
            rest.push(event);
        }
        anyhow::Ok(())
    };
    timeout(ENDS_WITHIN, ended).await.context("the events go on without a leader")??;
    ensure!(!rest.iter().any(|event| event.data.contains("streamClosed")), "a word of closure: {rest:?}");
    ensure!(!rest.iter().any(|event| event.data.contains("two")), "it cannot know: {rest:?}");
    // Nobody else was asked to connect again.
    append(addresses[leader], "three").await?;
    until(&mut lasting, "three").await?;
    world.network().heal();
    let again = async {
        loop {
            let events = EventStream::open(addresses[cut], NAME, &next).await?;
            if events.head().status == 200 {
                return anyhow::Ok(events);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut again = timeout(PATIENCE, again).await.context("it hears of a leader again")??;
    until(&mut again, "three").await?;
    end(world).await
}
