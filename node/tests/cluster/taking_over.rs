//! A new leader goes on with what the old one had begun.

use std::collections::BTreeSet;
use std::sync::Arc;

use thalweg_node::runtime::subscriptions::{
    AckRequest, Resolver, Subscriptions, SystemResolver, TokenKind, WebhookSettings,
};
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{Definition, Delivery, Glob, ShardId, SubscriptionId};

use crate::world::{NODES, PATIENCE, SHARDS, World, append, eventually, make, text};

async fn subscriptions(world: &World) -> Vec<Subscriptions> {
    let settings = WebhookSettings { loopback: true, timeout: PATIENCE, in_flight_max: 4 };
    let mut all = Vec::new();
    for node in 0..NODES {
        let resolver: Arc<dyn Resolver> = Arc::new(SystemResolver);
        let (engine, metrics) = (world.engine(node).clone(), Arc::new(Metrics::new(1)));
        all.push(Subscriptions::start(engine, &settings, resolver, metrics).await.unwrap());
    }
    for one in &all {
        eventually(|| one.kid().is_ok()).await;
    }
    all
}

/// A subscription whose home node 0 leads.
fn id_at_home_of_node_0(world: &World) -> SubscriptionId {
    let ids = (0..).map(|number| SubscriptionId::parse(&format!("all-{number}")).unwrap());
    let of_node_0 = |id: &SubscriptionId| usize::from(world.engine(0).home_of(id).0) % NODES == 0;
    ids.into_iter().find(of_node_0).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_goes_on_with_a_subscription_its_claims_and_its_generations() {
    let mut world = World::led(|_| {}).await;
    let mut all = subscriptions(&world).await;
    let id = id_at_home_of_node_0(&world);
    let (wakes, events) = (world.led_by(1, "wakes"), world.led_by(2, "events/a"));
    make(world.engine(1), &wakes).await;
    make(world.engine(2), &events).await;
    let definition = Definition {
        delivery: Delivery::Pull { wake_stream: wakes.clone() },
        pattern: Some(Glob::parse("events/*").unwrap()),
        streams: BTreeSet::new(),
        lease_ms: 600_000,
        description: None,
        base: String::new(),
    };
    assert!(all[0].define(&id, definition).await.unwrap().new);
    let first = append(world.engine(2), &events, "one").await.unwrap().tail;
    let claimed = all[0].claim(&id, "worker".to_owned()).await.unwrap();
    // Its leader ends with the claim open, and another is elected for all that it led.
    world.engine(0).close();
    all.remove(0).stop().await;
    world.end(0).await;
    let (home, mut at) = (world.engine(1).home_of(&id), &all[0]);
    for shard in (0..SHARDS).filter(|shard| usize::from(*shard) % NODES == 0).map(ShardId) {
        let leader = world.elect(shard, 2, &[1, 2]).await;
        if shard == home {
            at = &all[leader - 1];
        }
    }
    let others = at.claim(&id, "another".to_owned()).await;
    assert!(others.is_err(), "the claim is open, and its lease runs: {others:?}");
    let request = AckRequest { stated: Some(claimed.grant), acks: vec![(events.clone(), first)], done: true };
    let more = at.acknowledge(&id, TokenKind::Claim, Some(&claimed.token), request).await;
    assert_eq!(more, Ok(false), "the worker goes on with the token that the old leader gave it");
    // New work wakes workers again, in a generation of its own.
    let told = text(world.engine(1), &wakes).await.unwrap();
    append(world.engine(2), &events, "two").await.unwrap();
    let woken = async {
        while text(world.engine(1), &wakes).await.unwrap() == told {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, woken).await.expect("the new leader wakes");
    let again = at.claim(&id, "worker".to_owned()).await.unwrap();
    assert!(again.grant.generation > claimed.grant.generation, "{again:?} after {claimed:?}");
    assert_eq!(all[1].show(&id).await.unwrap().streams.len(), 1, "and every node shows it");
    for (node, one) in (1..).zip(all) {
        world.engine(node).close();
        one.stop().await;
    }
    world.stop().await;
}
