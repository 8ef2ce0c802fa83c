//! What a crash may not take back: everything that an answer has said.

use crate::world::World;

fn producer(epoch: &'static str, seq: &'static str) -> [(&'static str, &'static str); 3] {
    [("Producer-Id", "p"), ("Producer-Epoch", epoch), ("Producer-Seq", seq)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producer_and_stream_seq_are_durable_together_with_the_data() {
    let mut world = World::new().await;
    world.put("produced", "text/plain", &[]).await;
    assert_eq!(world.post("produced", &producer("3", "0"), "a").await.status, 200);
    assert_eq!(world.post("produced", &producer("3", "1"), "b").await.status, 200);
    assert_eq!(world.post("produced", &[("Stream-Seq", "m")], "c").await.status, 204);
    for place in ["log", "log twice", "tables"] {
        world = if place == "tables" { world.restart().await } else { world.crash().await };
        // An acknowledged number is not applied again, and the next one in order is taken, not refused.
        let again = world.post("produced", &producer("3", "1"), "b").await;
        assert_eq!((again.status, again.header("producer-seq")), (204, Some("1")), "{place}");
        assert_eq!(world.post("produced", &producer("3", "3"), "x").await.status, 409, "{place}: a gap");
        assert_eq!(world.post("produced", &producer("2", "0"), "x").await.status, 403, "{place}: fenced");
        assert_eq!(world.post("produced", &[("Stream-Seq", "m")], "x").await.status, 409, "{place}");
        assert_eq!(world.get("produced", "-1").await.text(), "abc", "{place}");
    }
    assert_eq!(world.post("produced", &producer("3", "2"), "d").await.status, 200);
    assert_eq!(world.post("produced", &[("Stream-Seq", "n")], "e").await.status, 204);
    assert_eq!(world.get("produced", "-1").await.text(), "abcde");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_is_confirmed_with_an_offset_at_or_behind_its_own_message() {
    let mut world = World::new().await;
    world.put("stalled", "text/plain", &[]).await;
    let first = world.post("stalled", &producer("0", "0"), "first ").await;
    let own = first.next().to_owned();
    world.post("stalled", &[], "of somebody else ").await;
    for place in ["memory", "log", "tables"] {
        let again = world.post("stalled", &producer("0", "0"), "first ").await;
        assert_eq!(again.status, 204, "{place}");
        assert!(again.next() >= own.as_str(), "{place}: {} lies before {own}", again.next());
        assert_eq!(world.get("stalled", &own).await.text(), "of somebody else ", "{place}");
        world = if place == "memory" { world.crash().await } else { world.restart().await };
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_of_forks_are_the_same_after_a_crash() {
    let mut world = World::new().await;
    world.put("trunk", "text/plain", &[]).await;
    let point = world.post("trunk", &[], "shared ").await.next().to_owned();
    world.post("trunk", &[], "not shared ").await;
    let at = [("Stream-Forked-From", "/v1/stream/trunk"), ("Stream-Fork-Offset", point.as_str())];
    assert_eq!(world.put("branch", "text/plain", &at).await.next(), point);
    let tail = world.post("branch", &[], "own").await.next().to_owned();
    let from = [("Stream-Forked-From", "/v1/stream/branch")];
    assert_eq!(world.put("twig", "text/plain", &from).await.next(), tail);
    let end = world.post("twig", &[], " and last").await.next().to_owned();
    for place in ["memory", "log", "tables"] {
        assert_eq!(world.head("branch").await.next(), tail, "{place}");
        assert_eq!(world.head("twig").await.next(), end, "{place}");
        assert_eq!(world.get("twig", &point).await.text(), "own and last", "{place}");
        assert_eq!(world.get("twig", &tail).await.text(), " and last", "{place}");
        assert_eq!(world.client().all("twig", "-1").await, ("shared own and last".into(), end.clone()));
        world = if place == "memory" { world.crash().await } else { world.restart().await };
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_deletion_is_not_taken_back_by_a_crash() {
    let mut world = World::new().await;
    for stream in ["gone", "again"] {
        world.put(stream, "text/plain", &[]).await;
        world.post(stream, &[], "old bytes").await;
    }
    // In the tables, so that the deletion alone is in the log.
    world = world.restart().await;
    let old = world.head("again").await.header("stream-incarnation").unwrap().to_owned();
    for stream in ["gone", "again"] {
        assert_eq!(world.ask("DELETE", stream, &[], "").await.status, 204);
    }
    world.put("again", "text/plain", &[]).await;
    for place in ["log", "log twice", "tables"] {
        world = if place == "tables" { world.restart().await } else { world.crash().await };
        assert_eq!(world.head("gone").await.status, 404, "{place}");
        let again = world.get("again", "-1").await;
        assert_eq!((again.status, again.text().as_str()), (200, ""), "{place}: bytes of the old stream");
        assert_ne!(again.header("stream-incarnation"), Some(old.as_str()), "{place}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_do_not_go_back_after_a_restart() {
    let mut world = World::new().await;
    world.put("cached", "text/plain", &[]).await;
    world.post("cached", &[], "x").await;
    let mut last = 0;
    for round in 0..4 {
        let reply = world.ask("GET", "cached?offset=-1&live=long-poll", &[], "").await;
        let cursor: u64 = reply.header("stream-cursor").unwrap().parse().unwrap();
        assert!(cursor > last, "round {round}: {cursor} after {last}, 20 s later");
        // A client that shows its cursor gets a greater one, whatever the server remembers.
        let target = format!("cached?offset=-1&live=long-poll&cursor={cursor}");
        let next = world.ask("GET", &target, &[], "").await;
        let next: u64 = next.header("stream-cursor").unwrap().parse().unwrap();
        assert!(next > cursor, "round {round}: {next} for {cursor}");
        last = cursor;
        world.clock.move_by(20_000);
        world = if round % 2 == 0 { world.crash().await } else { world.restart().await };
    }
    world.stop().await;
}
