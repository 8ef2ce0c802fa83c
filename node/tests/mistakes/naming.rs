//! What a name means: exactly one stream, compared with its state of now.

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_fork_and_a_plain_put_of_one_name_at_the_same_time_exactly_one_is_new() {
    let world = World::new().await;
    world.put("source", "text/plain", &[]).await;
    world.post("source", &[], "from the source").await;
    let (mut forks, mut plain) = (0, 0);
    for round in 0..100 {
        let name = format!("contested-{round}");
        let fork = [("Stream-Forked-From", "/v1/stream/source")];
        let (one, two) = (world.client(), world.client());
        let (forked, put) =
            tokio::join!(one.put(&name, "text/plain", &fork), two.put(&name, "text/plain", &[]));
        let mut statuses = [forked.status, put.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409], "{name}: {forked:?} {put:?}");
        let expected = if forked.status == 201 { "from the source" } else { "" };
        assert_eq!(world.get(&name, "-1").await.text(), expected, "{name}");
        if forked.status == 201 { forks += 1 } else { plain += 1 }
    }
    assert_eq!(forks + plain, 100);
    // A refused fork has left no reference: without living forks the source goes for good.
    for round in 0..100 {
        world.ask("DELETE", &format!("contested-{round}"), &[], "").await;
    }
    world.ask("DELETE", "source", &[], "").await;
    assert_eq!(world.head("source").await.status, 404, "a reference is left");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_is_compared_with_the_closure_of_now() {
    let mut world = World::new().await;
    let closed = [("Stream-Closed", "true")];
    world.put("door", "text/plain", &[]).await;
    assert_eq!(world.put("door", "text/plain", &[]).await.status, 200);
    assert_eq!(world.put("door", "text/plain", &closed).await.status, 409);
    world.post("door", &closed, "").await;
    for place in ["memory", "log", "tables"] {
        assert_eq!(world.put("door", "text/plain", &[]).await.status, 409, "{place}");
        assert_eq!(world.put("door", "text/plain", &closed).await.status, 200, "{place}");
        world = if place == "memory" { world.crash().await } else { world.restart().await };
    }
    world.stop().await;
}
