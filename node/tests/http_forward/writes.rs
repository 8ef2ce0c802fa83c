//! Writes that reach a node that does not lead: the leader does them, with everything that the client said, and the client
//! sees the leader's answer.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use thalweg_node::http::forward::ForwardLimits;
use thalweg_node::runtime::Whereabouts;

use super::world::{Node, Reply, pair};

/// Largest body that nodes accept.
const LARGEST: usize = 4 << 20;

/// An answer without what differs from moment to moment.
fn comparable(mut reply: Reply) -> Reply {
    reply.headers.retain(|(name, _)| !matches!(name.as_str(), "date" | "stream-incarnation"));
    reply.headers.sort();
    reply
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarded_write_is_answered_as_if_its_client_had_asked_the_leader() {
    let (leader, follower) = pair(ForwardLimits::default()).await;
    let alone = Node::start().await;
    let text = "Content-Type: text/plain\r\n";
    let producer = |seq: u64| format!("{text}Producer-Id: p\r\nProducer-Epoch: 0\r\nProducer-Seq: {seq}\r\n");
    let cases = [
        ("PUT", format!("{text}Stream-TTL: 3600\r\nX-Forwarded-Proto: https\r\n"), "", 201),
        ("PUT", format!("{text}Stream-TTL: 3600\r\n"), "", 200),
        ("PUT", "Content-Type: application/json\r\n".to_owned(), "", 409),
        ("POST", producer(0), "one ", 200),
        ("POST", producer(0), "one ", 204),
        ("POST", producer(5), "six ", 409),
        ("POST", format!("{text}Stream-Seq: b\r\n"), "two ", 204),
        ("POST", format!("{text}Stream-Seq: a\r\n"), "late ", 409),
        ("POST", format!("{text}If-Match: \"0000000000000000_0000000000000000\"\r\n"), "no ", 412),
        ("POST", "Content-Type: application/json\r\n".to_owned(), "[1]", 409),
        ("POST", "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n".to_owned(), "x", 415),
        ("POST", text.to_owned(), "", 400),
        ("POST", "Stream-Closed: true\r\n".to_owned(), "", 204),
        ("POST", text.to_owned(), "behind the end", 409),
        ("DELETE", String::new(), "", 204),
        ("DELETE", String::new(), "", 404),
    ];
    for (method, headers, body, status) in cases {
        let line = format!("{method} /v1/stream/orders%2F1?x=y");
        let forwarded = comparable(follower.ask(&line, &headers, body.as_bytes()).await);
        let direct = comparable(alone.ask(&line, &headers, body.as_bytes()).await);
        assert_eq!(forwarded, direct, "{line} {headers}");
        assert_eq!(forwarded.status, status, "{line} {headers}");
        let here = follower.ask("HEAD /v1/stream/orders%2F1", "", b"").await;
        assert_eq!(here.status, 404, "nothing is written where nobody leads");
    }
    for node in [leader, follower, alone] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_body_arrives_whole_however_it_was_framed() {
    let (leader, follower) = pair(ForwardLimits::default()).await;
    follower.create("large").await;
    let body: Vec<u8> = (b'a'..=b'z').cycle().take(LARGEST).collect();
    let text = "Content-Type: text/plain\r\n";
    let sized = follower.ask("POST /v1/stream/large", text, &body).await;
    assert_eq!(sized.status, 204, "{sized:?}");
    let mut chunked = Vec::new();
    for chunk in body.chunks(100_000) {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let headers = format!("{text}Transfer-Encoding: chunked\r\n");
    let reply = follower.ask("POST /v1/stream/large", &headers, &chunked).await;
    assert_eq!(reply.status, 204, "{reply:?}");
    assert!(leader.all("large").await == [body.clone(), body].concat());
    leader.stop().await;
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_prefers_a_redirect_is_told_where_the_leader_is_and_nothing_is_done() {
    let (leader, follower) = pair(ForwardLimits::default()).await;
    let preference = "Prefer: wait=3, redirect\r\nContent-Type: text/plain\r\n";
    let reply = follower.ask("PUT /v1/stream/a%20b?x=1", preference, b"").await;
    let location = format!("http://{}/v1/stream/a%20b?x=1", leader.address);
    assert_eq!((reply.status, reply.header("location")), (307, Some(location.as_str())));
    assert_eq!(leader.ask("HEAD /v1/stream/a%20b", "", b"").await.status, 404);
    assert_eq!(leader.ask("PUT /v1/stream/a%20b?x=1", preference, b"").await.status, 201);
    leader.stop().await;
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_passed_on_once() {
    let limits = ForwardLimits { hold: Duration::from_millis(300), ..ForwardLimits::default() };
    let (one, other) = (Node::with(limits).await, Node::start().await);
    one.follow(&other.at());
    let refused = (503, "not_leader".to_owned(), "refused".to_owned());
    // Each takes the other for the leader; or the other knows of none.
    for whereabouts in [one.at(), Whereabouts::Nobody] {
        other.follow(&whereabouts);
        let reply = one.ask("PUT /v1/stream/a", "", b"").await;
        assert_eq!(reply.problem(), refused);
        let reply = one.ask("DELETE /v1/stream/__ds/subscriptions/s", "", b"").await;
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (503, &json!("UNAVAILABLE")));
    }
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_at_once_share_the_connections_that_there_may_be() {
    const WRITERS: usize = 64;
    const ROUNDS: usize = 4;
    let (leader, follower) = pair(ForwardLimits { connections_max: 8, ..ForwardLimits::default() }).await;
    follower.create("many").await;
    let writers = (0..WRITERS).map(async |writer| {
        for round in 0..ROUNDS {
            let body = format!("{writer:02}.{round};");
            let text = "Content-Type: text/plain\r\n";
            let reply = follower.ask("POST /v1/stream/many", text, body.as_bytes()).await;
            assert_eq!(reply.status, 204, "{reply:?}");
        }
    });
    join_all(writers).await;
    let accepted = leader.metrics.http.connections_accepted.get();
    assert!(accepted <= 8, "{accepted}");
    let all = String::from_utf8(leader.all("many").await).unwrap();
    let mut found: Vec<_> = all.split_terminator(';').collect();
    found.sort_unstable();
    let expected: Vec<_> = (0..WRITERS)
        .flat_map(|writer| (0..ROUNDS).map(move |round| format!("{writer:02}.{round}")))
        .collect();
    assert_eq!(found, expected);
    leader.stop().await;
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_a_subscription_is_done_where_its_home_is_led() {
    let (leader, follower) = pair(ForwardLimits::default()).await;
    let base = "/v1/stream/__ds/subscriptions/s%2F1";
    let definition =
        json!({ "type": "pull-wake", "pattern": "events/*", "wake_stream": "wakes" }).to_string();
    let json = "Content-Type: application/json\r\n";
    for (line, body, status) in [
        (format!("PUT {base}"), definition.as_str(), 201),
        (format!("PUT {base}"), definition.as_str(), 200),
        (format!("POST {base}/streams"), r#"{"streams":["other"]}"#, 204),
        (format!("DELETE {base}/streams/other"), "", 204),
        (format!("POST {base}/claim"), r#"{"worker":"w"}"#, 409),
        (format!("POST {base}/ack"), "{}", 400),
    ] {
        let reply = follower.ask(&line, json, body.as_bytes()).await;
        assert_eq!(reply.status, status, "{line} {reply:?}");
    }
    let show = format!("GET {base}");
    assert_eq!(leader.ask(&show, "", b"").await.status, 200);
    assert_eq!(follower.ask(&show, "", b"").await.status, 404, "what is shown is read here");
    assert_eq!(follower.ask(&format!("DELETE {base}"), "", b"").await.status, 204);
    assert_eq!(leader.ask(&show, "", b"").await.status, 404);
    leader.stop().await;
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_head_is_taken_by_whichever_node_it_reaches() {
    const LARGEST_HEAD: usize = 16 * 1024;
    const MOST_LINES: usize = 64;
    let (leader, follower) = pair(ForwardLimits::default()).await;
    follower.create("a").await;
    // As `ask` writes it, with so many bytes and lines in all.
    let line = "POST /v1/stream/a";
    let rest = format!(
        "{line} HTTP/1.1\r\nHost: streams.example\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n"
    );
    let headers = |bytes: usize, lines: usize| {
        // Host, Connection, Content-Type and Content-Length are there.
        let short = "A:b\r\n".repeat(lines - 5);
        let name = "Long: ";
        let fill = bytes - rest.len() - short.len() - name.len() - 2;
        format!("Content-Type: text/plain\r\n{short}{name}{}\r\n", "x".repeat(fill))
    };
    for (bytes, lines, status) in [
        (LARGEST_HEAD, MOST_LINES, 204),
        (LARGEST_HEAD, 5, 204),
        (LARGEST_HEAD - 14, 5, 204),
        (LARGEST_HEAD + 1, 5, 431),
        (2_000, MOST_LINES, 204),
        (2_000, MOST_LINES + 1, 431),
    ] {
        for node in [&leader, &follower] {
            let reply = node.ask(line, &headers(bytes, lines), b"x").await;
            assert_eq!(reply.status, status, "{bytes} bytes, {lines} lines: {reply:?}");
        }
    }
    leader.stop().await;
    follower.stop().await;
}
