//! What one client's request costs the others, and what relaxed settings and a wrong clock do not cost.

use std::time::Duration;

use thalweg_node::types::{AolMode, FsyncPolicy};

use crate::world::{World, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_big_stream_is_one_small_record_and_delays_no_writer() {
    const BIG_MESSAGES: usize = 60;
    let world = World::with(|config| config.shards = thalweg_node::types::ShardCount::new(1).unwrap()).await;
    for stream in ["big", "busy"] {
        world.put(stream, "text/plain", &[]).await;
    }
    let megabyte = "m".repeat(1 << 20);
    for _ in 0..BIG_MESSAGES {
        assert_eq!(world.post("big", &[], &megabyte).await.status, 204);
    }
    let world = world.restart().await;
    let lane = world.node.metrics.lane(0).unwrap();
    let stored = || world.node.metrics.store.stored.get();
    until("all of it is in the tables", || stored() >= 60 << 20).await;
    let written = lane.written.get();
    assert_eq!(world.ask("DELETE", "big", &[], "").await.status, 204);
    let record = lane.written.get() - written;
    assert!(record < 4096, "the deletion wrote {record} bytes");
    // However slow the machine: somebody who waited for the removal would be answered once in that time.
    let mut answered = 0;
    while stored() >= 1 << 20 {
        assert_eq!(within(world.post("busy", &[], "x")).await.status, 204);
        answered += 1;
    }
    assert!(answered > 10, "only {answered} writes were answered while a big stream was removed");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sync_serves_every_writer_that_waits() {
    const WRITERS: u64 = 64;
    const EACH: u64 = 20;
    let world = World::new().await;
    world.put("shared", "text/plain", &[]).await;
    let lane = world.node.metrics.lane(0).unwrap();
    let before = (lane.fsyncs.get(), lane.records.get());
    let client = world.client();
    let writer = |_| {
        tokio::spawn(async move {
            for _ in 0..EACH {
                assert_eq!(client.post("shared", &[], "x").await.status, 204);
            }
        })
    };
    let writers: Vec<_> = (0..WRITERS).map(writer).collect();
    for writer in writers {
        within(writer).await.unwrap();
    }
    let (syncs, records) = (lane.fsyncs.get() - before.0, lane.records.get() - before.1);
    assert_eq!(records, WRITERS * EACH);
    assert!(syncs * 2 < records, "{syncs} syncs for {records} records of {WRITERS} writers at once");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_asynchronous_mode_a_clean_stop_loses_nothing() {
    for fsync in [FsyncPolicy::Never, FsyncPolicy::Interval(Duration::from_secs(60)), FsyncPolicy::Always] {
        const WRITERS: u64 = 16;
        const EACH: u64 = 50;
        let mut world = World::with(|config| {
            config.aol = AolMode::Async;
            config.fsync = fsync;
        })
        .await;
        world.put("fast", "application/json", &[]).await;
        let client = world.client();
        let writer = |writer| {
            tokio::spawn(async move {
                for n in 0..EACH {
                    let reply = client.post("fast", &[], &format!("[{}]", writer * EACH + n)).await;
                    assert_eq!(reply.status, 204);
                }
            })
        };
        let writers: Vec<_> = (0..WRITERS).map(writer).collect();
        for writer in writers {
            within(writer).await.unwrap();
        }
        world = world.restart().await;
        let mut found: Vec<u64> = serde_json::from_slice(&world.get("fast", "-1").await.body).unwrap();
        found.sort_unstable();
        assert_eq!(found, (0..WRITERS * EACH).collect::<Vec<_>>(), "{fsync:?}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_goes_back_an_hour_hides_no_data_and_reorders_nothing() {
    const HOUR_MS: i64 = 3_600_000;
    let mut world = World::new().await;
    for stream in ["plain", "brief"] {
        let lifetime: &[_] = if stream == "brief" { &[("Stream-TTL", "60")] } else { &[] };
        assert_eq!(world.put(stream, "text/plain", lifetime).await.status, 201);
    }
    let mut expected = String::new();
    let mut tail = String::new();
    for (round, shift) in [0, -HOUR_MS, 20_000, -HOUR_MS, 2 * HOUR_MS].into_iter().enumerate() {
        world.clock.move_by(shift);
        for stream in ["plain", "brief"] {
            let reply = world.post(stream, &[], &format!("{round} ")).await;
            assert_eq!(reply.status, 204, "{stream} in round {round}: {reply:?}");
            assert!(stream == "brief" || reply.next() > tail.as_str(), "round {round}: offsets went back");
            reply.next().clone_into(&mut tail);
        }
        expected.push_str(&format!("{round} "));
        world = match round {
            1 => world.crash().await,
            2 => world.restart().await,
            _ => world,
        };
        for stream in ["plain", "brief"] {
            assert_eq!(world.get(stream, "-1").await.text(), expected, "{stream} in round {round}");
        }
    }
    world.stop().await;
}
