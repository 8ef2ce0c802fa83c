//! What one answer to a read shows: one cut, exact bytes, a bounded part, never something else than was asked.

use std::collections::HashSet;

use serde_json::Value;
use thalweg_node::runtime::{ReadFrom, TailEvent};
use thalweg_node::types::StreamName;

use crate::world::{Client, World, within};

/// Appends `[3n, 3n+1, 3n+2]` for n below `count`; the last one closes.
async fn write_threes(client: Client, stream: &'static str, count: u64) {
    for n in 0..count {
        let body = format!("[{},{},{}]", 3 * n, 3 * n + 1, 3 * n + 2);
        let close: &[_] = if n + 1 == count { &[("Stream-Closed", "true")] } else { &[] };
        assert_eq!(client.post(stream, close, &body).await.status, 204);
    }
}

/// Reads a stream of numbers to its closed end while it grows, and checks each answer against its own headers.
async fn read_numbers(client: Client, stream: &'static str) -> Vec<u64> {
    let (mut seen, mut offset) = (Vec::new(), "-1".to_owned());
    loop {
        let reply = client.get(stream, &offset).await;
        let Value::Array(items) = reply.json() else { panic!("{reply:?}") };
        seen.extend(items.iter().map(|item| item.as_u64().unwrap()));
        assert_eq!(reply.messages_before_next(), seen.len() as u64, "body and headers disagree: {reply:?}");
        reply.next().clone_into(&mut offset);
        if reply.closed() {
            return seen;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn body_and_next_offset_of_a_read_come_from_one_snapshot() {
    const COUNT: u64 = 400;
    let world = World::new().await;
    world.put("grows", "application/json", &[]).await;
    let readers: Vec<_> = (0..3).map(|_| tokio::spawn(read_numbers(world.client(), "grows"))).collect();
    write_threes(world.client(), "grows", COUNT).await;
    for reader in readers {
        // Nothing twice, nothing missing, in order.
        assert_eq!(within(reader).await.unwrap(), (0..3 * COUNT).collect::<Vec<_>>());
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_together_is_seen_together_and_a_closure_with_its_last_words() {
    let world = World::new().await;
    for (round, stream) in ["cut-0", "cut-1", "cut-2", "cut-3"].into_iter().enumerate() {
        const COUNT: u64 = 60;
        world.put(stream, "application/json", &[]).await;
        let client = world.client();
        let watching = tokio::spawn(async move {
            let mut cuts = HashSet::new();
            loop {
                let (head, read) =
                    (client.ask("HEAD", stream, &[], "").await, client.get(stream, "-1").await);
                for reply in [&head, &read] {
                    let count = reply.messages_before_next();
                    assert_eq!(count % 3, 0, "a part of an append: {reply:?}");
                    assert_eq!(reply.closed(), count == 3 * COUNT, "closed and last words: {reply:?}");
                    cuts.insert(count);
                }
                if read.closed() {
                    return cuts.len();
                }
            }
        });
        write_threes(world.client(), stream, COUNT).await;
        assert!(within(watching).await.unwrap() > 1, "round {round} saw only the end");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_messages_come_back_byte_for_byte() {
    let messages = [
        r#"{"z":1,"a":2}"#,
        r#"{"same":1,"same":2}"#,
        "123456789012345678901234567890.000000000000000000010",
        "1E400",
        "-0",
        r#""\u00e9\/\ud83d\ude00 é""#,
        "{ \"spaced\" :\t[ 1 , 2 ] }",
        r#"[1,[2,[]]]"#,
        "null",
    ];
    let expected = format!("[{}]", messages.join(","));
    let mut world = World::new().await;
    world.put("json", "application/json", &[]).await;
    world.post("json", &[], &format!("[{}, {}]", messages[0], messages[1])).await;
    world.post("json", &[], &format!("[{}]", messages[2..].join(" ,\n"))).await;
    // From memory, from the log after a crash, from the tables after a stop.
    assert_eq!(world.get("json", "-1").await.text(), expected);
    world = world.crash().await;
    assert_eq!(world.get("json", "-1").await.text(), expected);
    world = world.restart().await;
    assert_eq!(world.get("json", "-1").await.text(), expected);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misaligned_offset_and_one_beyond_the_tail_are_refused_and_never_moved() {
    let mut world = World::new().await;
    world.put("aligned", "text/plain", &[]).await;
    let mut offsets = vec![world.get("aligned", "-1").await.next().to_owned()];
    for text in ["one ", "three ", "five "] {
        offsets.push(world.post("aligned", &[], text).await.next().to_owned());
    }
    for place in ["memory", "tables"] {
        for (offset, rest) in offsets.iter().zip(["one three five ", "three five ", "five ", ""]) {
            assert_eq!(world.get("aligned", offset).await.text(), rest, "{place}");
        }
        let wrong = [
            ("0000000000000000_0000000000000001", "offset_misaligned"),
            ("0000000000000001_0000000000000003", "offset_misaligned"),
            ("0000000000000002_0000000000000004", "offset_misaligned"),
            ("0000000000000003_000000000000000e", "offset_misaligned"),
            ("0000000000000004_0000000000000013", "offset_beyond_tail"),
            ("9999999999999999_9999999999999999", "offset_beyond_tail"),
        ];
        for (offset, code) in wrong {
            for live in ["", "&live=long-poll", "&live=sse"] {
                let reply = world.ask("GET", &format!("aligned?offset={offset}{live}"), &[], "").await;
                assert_eq!(reply.status, 400, "{place} {offset}{live}");
                assert_eq!(reply.json()["code"], code, "{place} {offset}{live}");
            }
        }
        world = world.restart().await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catch_up_reader_gets_bounded_parts_and_is_up_to_date_only_at_the_last() {
    const MESSAGE_BYTES: usize = 300 << 10;
    const COUNT: usize = 20;
    const BOUND: usize = 1 << 20;
    let mut world = World::new().await;
    world.put("long", "text/plain", &[]).await;
    let message = |n: usize| char::from(b'a' + u8::try_from(n).unwrap()).to_string().repeat(MESSAGE_BYTES);
    for n in 0..COUNT {
        assert_eq!(world.post("long", &[], &message(n)).await.status, 204);
    }
    let expected: String = (0..COUNT).map(message).collect();
    for place in ["memory", "tables"] {
        let (mut text, mut offset, mut parts) = (String::new(), "-1".to_owned(), 0);
        while text.len() < expected.len() {
            let reply = world.get("long", &offset).await;
            assert!(reply.body.len() < BOUND + MESSAGE_BYTES, "{place}: {} bytes at once", reply.body.len());
            text.push_str(&reply.text());
            reply.next().clone_into(&mut offset);
            let last = text.len() == expected.len();
            assert_eq!(reply.header("stream-up-to-date").is_some(), last, "{place}: part {parts}");
            parts += 1;
        }
        assert!(text == expected, "{place}: other bytes");
        assert!(parts >= expected.len() / (BOUND + MESSAGE_BYTES), "{place}: {parts} parts");
        world = world.restart().await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_waiters_of_a_stream_share_the_bytes_that_wake_them() {
    let world = World::new().await;
    world.put("live", "text/plain", &[]).await;
    let name = StreamName::from_bytes(b"live").unwrap();
    let mut waiting = Vec::new();
    for _ in 0..16 {
        let mut tailer = world.node.running.engine.tail(&name, ReadFrom::Now).await.unwrap();
        waiting.push(tokio::spawn(
            async move { tailer.next(1 << 20, std::time::Duration::from_secs(30)).await },
        ));
    }
    world.post("live", &[], "to all of you").await;
    let mut places = HashSet::new();
    for waiter in waiting {
        let TailEvent::Batch(batch) = within(waiter).await.unwrap() else { panic!("woken by nothing") };
        let wire = batch.segments[0].messages.wire();
        assert_eq!(wire.as_ref(), b"to all of you");
        places.insert(wire.as_ptr());
    }
    assert_eq!(places.len(), 1, "the bytes were read or copied for each");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_stream_never_answers_304_for_the_bytes_of_the_old_one() {
    let world = World::new().await;
    let mut tags: HashSet<String> = HashSet::new();
    for text in ["old", "new"] {
        world.put("again", "text/plain", &[]).await;
        world.post("again", &[], text).await;
        let reply = world.get("again", "-1").await;
        let tag = reply.header("etag").unwrap().to_owned();
        for known in &tags {
            let reply = world.ask("GET", "again?offset=-1", &[("If-None-Match", known)], "").await;
            assert_eq!((reply.status, reply.text().as_str()), (200, text), "the tag of the old stream");
        }
        let unchanged = world.ask("GET", "again?offset=-1", &[("If-None-Match", &tag)], "").await;
        assert_eq!((unchanged.status, unchanged.header("etag")), (304, Some(tag.as_str())));
        assert_eq!(unchanged.header("cache-control"), reply.header("cache-control"));
        assert!(tags.insert(tag), "one tag for two streams");
        world.ask("DELETE", "again", &[], "").await;
    }
    world.stop().await;
}
