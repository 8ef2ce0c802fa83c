//! Streams that end by themselves: what their lifetime may be, what reading costs, and that they really go.

use crate::world::{World, until};

const HOUR_MS: i64 = 3_600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_ttl_is_a_number_like_any_other() {
    let mut world = World::new().await;
    // The longest date, the longest number of milliseconds, the longest numbers of 63 and 64 bits.
    let values = ["253402300800", "9223372036854776", "9223372036854775807", "18446744073709551615"];
    for value in values {
        let reply = world.put(value, "text/plain", &[("Stream-TTL", value)]).await;
        assert_eq!(reply.status, 201, "{value}: {reply:?}");
    }
    for value in values {
        assert_eq!(world.post(value, &[], "kept").await.status, 204, "{value}");
        assert_eq!(world.get(value, "-1").await.text(), "kept", "{value}");
    }
    world = world.crash().await;
    world.clock.move_by(HOUR_MS * 24 * 365 * 100);
    world = world.restart().await;
    for value in values {
        let head = world.head(value).await;
        assert_eq!((head.status, head.header("stream-ttl")), (200, Some(value)));
        assert_eq!(world.put(value, "text/plain", &[("Stream-TTL", value)]).await.status, 200, "{value}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_a_stream_with_a_ttl_writes_no_record_and_syncs_nothing() {
    let world = World::new().await;
    world.put("read", "text/plain", &[("Stream-TTL", "7200")]).await;
    world.post("read", &[], "often").await;
    let lane = world.node.metrics.lane(0).unwrap();
    let before = (lane.records.get(), lane.fsyncs.get());
    for _ in 0..100 {
        world.clock.move_by(60_000);
        assert_eq!(world.get("read", "-1").await.text(), "often");
        assert_eq!(world.get("read", "now").await.status, 200);
    }
    // 100 minutes have passed; the window of 120 has moved with the reads.
    assert_eq!((lane.records.get(), lane.fsyncs.get()), before, "a read was written to the log");
    world.clock.move_by(HOUR_MS);
    assert_eq!(world.get("read", "-1").await.text(), "often", "the reads have not moved the window");
    let writes = lane.records.get() - before.0;
    assert!(writes <= 3, "{writes} records for one deadline that came near");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_never_ends_a_window_that_a_read_has_moved() {
    const COUNT: usize = 20;
    let mut world = World::new().await;
    let streams: Vec<String> = (0..COUNT).map(|n| format!("moved-{n}")).collect();
    for stream in &streams {
        world.put(stream, "text/plain", &[("Stream-TTL", "60")]).await;
    }
    world.clock.move_by(50_000);
    for stream in &streams {
        assert_eq!(world.get(stream, "-1").await.status, 200);
    }
    for place in ["log", "tables"] {
        world = if place == "log" { world.crash().await } else { world.restart().await };
        world.clock.move_by(50_000);
        // 50 s after the last read: before the sweeper has looked at any of them, and after.
        for stream in streams.iter().chain(&streams) {
            assert_eq!(world.get(stream, "-1").await.status, 200, "{stream} ended early, {place}");
        }
    }
    world.clock.move_by(61_000);
    for stream in &streams {
        assert_eq!(world.get(stream, "-1").await.status, 404, "{stream}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_streams_go_without_being_touched_and_a_bounded_number_per_round() {
    const COUNT: usize = 700;
    const PER_ROUND_MAX: usize = 256;
    let world = World::with(|config| config.shards = thalweg_node::types::ShardCount::new(1).unwrap()).await;
    for n in 0..COUNT {
        let body = world.put(&format!("brief-{n}"), "text/plain", &[("Stream-TTL", "60")]).await;
        assert_eq!(body.status, 201);
    }
    world.put("lasting", "text/plain", &[]).await;
    // In the tables as well, so that they have to go from there.
    let left = || world.node.metrics.engine.streams.get();
    until("all streams are in the tables", || left() == i64::try_from(COUNT).unwrap() + 1).await;
    let lane = world.node.metrics.lane(0).unwrap();
    let written = lane.records.get();
    let deletes = || world.node.metrics.engine.deletes.get();
    world.clock.move_by(HOUR_MS);
    // Each step that is seen is whole rounds; a round ends with one group commit.
    until("all expired streams are removed", || deletes() == COUNT as u64).await;
    assert_eq!(lane.records.get() - written, COUNT as u64);
    let page = world.node.metrics.page();
    let groups = page.lines().filter(|line| line.starts_with("thalweg_log_group_records_bucket"));
    let mut bounds: Vec<(f64, u64)> = groups.map(bucket).collect();
    bounds.sort_by(|one, two| one.0.total_cmp(&two.0));
    let all = bounds.last().unwrap().1;
    let within = bounds.iter().find(|(bound, _)| *bound >= PER_ROUND_MAX as f64).unwrap().1;
    assert_eq!(within, all, "a round removed more than {PER_ROUND_MAX}: {page}");
    until("only one stream is left in the tables", || left() == 1).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_takes_from_a_source_stays_readable_in_its_forks() {
    const INHERITED: usize = 8;
    const KEPT: usize = 20;
    const COUNT: usize = 200;
    let world = World::with(|config| config.shards = thalweg_node::types::ShardCount::new(1).unwrap()).await;
    let body = |number: usize| format!("{number:08}").repeat(1_250);
    world.put("source", "text/plain", &[("Stream-Retain-Messages", "20")]).await;
    let mut point = String::new();
    for number in 0..INHERITED {
        world.post("source", &[], &body(number)).await.next().clone_into(&mut point);
    }
    let from = [("Stream-Forked-From", "/v1/stream/source"), ("Stream-Fork-Offset", point.as_str())];
    assert_eq!(world.put("fork", "text/plain", &from).await.status, 201);
    for number in INHERITED..COUNT {
        assert_eq!(world.post("source", &[], &body(number)).await.status, 204);
    }
    // Less one chunk, of which a part may have to stay.
    let let_go = (COUNT - KEPT - 15) * body(0).len();
    until("retention has taken what it may", || {
        world.node.metrics.engine.trimmed.get() >= u64::try_from(let_go).unwrap()
    })
    .await;
    let inherited: String = (0..INHERITED).map(body).collect();
    let mut world = world;
    // Whatever is removed is removed by then: each stop applies and checkpoints everything, and each start begins to look.
    for _ in 0..2 {
        assert_eq!(world.client().all("fork", "-1").await.0, inherited);
        assert_eq!(world.get("source", &point).await.status, 410);
        world = world.restart().await;
    }
    assert_eq!(world.client().all("fork", "-1").await.0, inherited);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_source_stays_for_a_living_fork_however_old_its_pin_is() {
    let mut world = World::with(|config| config.sweep_interval = std::time::Duration::from_millis(20)).await;
    world.put("source", "text/plain", &[]).await;
    world.post("source", &[], "inherited").await;
    let from = [("Stream-Forked-From", "/v1/stream/source")];
    assert_eq!(world.put("fork", "text/plain", &from).await.status, 201);
    assert_eq!(world.ask("DELETE", "source", &[], "").await.status, 204);
    world = world.restart().await;
    world.clock.move_by(24 * HOUR_MS);
    // A round of the sweeper ends with counting: what it counts twice was there for a whole round.
    for (marker, streams) in [("one", 3), ("two", 4)] {
        world.put(marker, "text/plain", &[]).await;
        until("the sweeper has counted", || world.node.metrics.engine.streams.get() == streams).await;
    }
    for place in ["swept", "started again"] {
        assert_eq!(world.get("fork", "-1").await.text(), "inherited", "{place}");
        assert_eq!(world.get("source", "-1").await.status, 410, "{place}");
        world = world.restart().await;
    }
    world.stop().await;
}

/// Bound and count of a line `name{…,le="8.0"} 12`.
fn bucket(line: &str) -> (f64, u64) {
    let (_, rest) = line.split_once("le=\"").unwrap();
    let (bound, rest) = rest.split_once('"').unwrap();
    let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
    (bound, rest.rsplit(' ').next().unwrap().parse().unwrap())
}
