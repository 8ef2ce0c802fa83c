//! What is not done says so: refused, with a stable code, and nothing has changed.

use serde_json::json;

use crate::world::World;

/// What a client sees of the streams of this test.
async fn state(world: &World) -> String {
    let list = world.ask("GET", "/v1/streams", &[], "").await;
    let (plain, closed) = (world.get("plain", "-1").await, world.get("closed", "-1").await);
    format!("{} {} {}", list.text(), plain.text(), closed.text())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_says_that_it_did_not_happen_and_it_did_not() {
    let world = World::new().await;
    for stream in ["plain", "closed", "json"] {
        let content_type = if stream == "json" { "application/json" } else { "text/plain" };
        assert_eq!(world.put(stream, content_type, &[]).await.status, 201);
    }
    world
        .post("plain", &[("Producer-Id", "p"), ("Producer-Epoch", "1"), ("Producer-Seq", "0")], "kept")
        .await;
    world.post("plain", &[("Stream-Seq", "5")], " too").await;
    world.post("closed", &[("Stream-Closed", "true")], "last words").await;
    let before = state(&world).await;
    let text = ("Content-Type", "text/plain");
    let produce =
        |epoch, seq| vec![text, ("Producer-Id", "p"), ("Producer-Epoch", epoch), ("Producer-Seq", seq)];
    let fork = |source| vec![("Stream-Forked-From", source)];
    let cases = [
        ("GET", "/nowhere", vec![], "", 404, "not_found"),
        ("PATCH", "plain", vec![], "", 405, "method_not_allowed"),
        ("GET", "absent", vec![], "", 404, "stream_not_found"),
        ("GET", "plain?offset=", vec![], "", 400, "invalid_offset"),
        ("GET", "plain?offset=-1&live=never", vec![], "", 400, "invalid_query"),
        ("POST", "absent", vec![text], "x", 404, "stream_not_found"),
        ("POST", "plain", vec![text], "", 400, "empty_body"),
        ("POST", "plain", vec![], "x", 400, "missing_content_type"),
        ("POST", "plain", vec![("Content-Type", "image/png")], "x", 409, "content_type_mismatch"),
        ("POST", "plain", vec![text, ("Producer-Id", "p")], "x", 400, "invalid_header"),
        ("POST", "plain", produce("0", "0"), "x", 403, "producer_fenced"),
        ("POST", "plain", produce("1", "9"), "x", 409, "producer_sequence_gap"),
        ("POST", "plain", produce("2", "1"), "x", 400, "producer_epoch_start"),
        ("POST", "plain", vec![text, ("Stream-Seq", "5")], "x", 409, "stream_seq_conflict"),
        (
            "POST",
            "plain",
            vec![text, ("If-Match", "0000000000000001_0000000000000004")],
            "x",
            412,
            "tail_moved",
        ),
        ("POST", "closed", vec![text], "x", 409, "stream_closed"),
        ("POST", "json", vec![("Content-Type", "application/json")], "{", 400, "invalid_json"),
        ("POST", "json", vec![("Content-Type", "application/json")], "[]", 400, "empty_array"),
        ("PUT", "plain", vec![("Content-Type", "image/png")], "", 409, "stream_exists"),
        ("PUT", "new", vec![("Stream-TTL", "+1")], "", 400, "invalid_header"),
        ("PUT", "a/../b", vec![], "", 400, "invalid_name"),
        ("PUT", "new", fork("/v1/stream/absent"), "", 404, "fork_source_not_found"),
        ("DELETE", "absent", vec![], "", 404, "stream_not_found"),
    ];
    for (method, target, headers, body, status, code) in cases {
        let reply = world.ask(method, target, &headers, body).await;
        let problem = reply.json();
        assert_eq!((reply.status, &problem["code"]), (status, &json!(code)), "{method} {target} {headers:?}");
        assert_eq!((&problem["status"], &problem["outcome"]), (&json!(status), &json!("refused")), "{code}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{code}");
        assert_eq!(state(&world).await, before, "{code} has changed something");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_shard_answers_503_and_says_why_while_the_others_serve() {
    let world = World::new().await;
    let streams: Vec<String> = (0..48).map(|n| format!("spread-{n}")).collect();
    for stream in &streams {
        world.put(stream, "text/plain", &[]).await;
        world.post(stream, &[], "kept").await;
    }
    let table = world.config.data.join("tables/shard-005.redb");
    let world = world
        .damaged(|| {
            let mut bytes = std::fs::read(&table).unwrap();
            bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
            std::fs::write(&table, bytes).unwrap();
        })
        .await;
    let (mut served, mut refused) = (0, 0);
    for stream in &streams {
        let replies = [
            world.get(stream, "-1").await,
            world.post(stream, &[], " and more").await,
            world.head(stream).await,
        ];
        if replies[0].status == 200 {
            assert_eq!((replies[0].text().as_str(), replies[1].status), ("kept", 204), "{stream}");
            served += 1;
            continue;
        }
        for reply in &replies {
            assert_eq!((reply.status, reply.header("retry-after").is_some()), (503, true), "{reply:?}");
        }
        let problem = replies[1].json();
        assert_eq!((&problem["code"], &problem["outcome"]), (&json!("shard_damaged"), &json!("refused")));
        assert!(problem["detail"].as_str().unwrap().contains('5'), "which shard? {problem}");
        // Unreadable is not empty: nobody may take the name for a free one.
        assert_eq!(world.put(stream, "text/plain", &[]).await.status, 503);
        refused += 1;
    }
    assert!(refused > 0 && served > refused, "{served} served, {refused} refused");
    world.stop().await;
}
