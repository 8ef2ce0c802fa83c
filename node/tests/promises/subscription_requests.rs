//! Requests about subscriptions: every malformed one gets its code and changes nothing, and what is removed is gone.

use serde_json::{Value, json};

use super::subscription_world::{Node, pull, webhook};

/// A definition with something else in it.
fn put(change: &Value) -> String {
    let mut body = webhook("https://example.com/hook");
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

#[tokio::test]
async fn a_definition_that_cannot_be_gets_its_code_and_defines_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let (long, many) = ("x".repeat(3000), vec!["a"; 2000]);
    let url = |url: &str| put(&json!({ "webhook": { "url": url } }));
    let cases = [
        (String::new(), 400, "INVALID_REQUEST"),
        ("[]".into(), 400, "INVALID_REQUEST"),
        ("{\"type\":\"webhook\"".into(), 400, "INVALID_REQUEST"),
        (put(&json!({ "type": "push" })), 400, "INVALID_REQUEST"),
        (put(&json!({ "type": "pull-wake" })), 400, "INVALID_REQUEST"),
        (put(&json!({ "webhook": null })), 400, "INVALID_REQUEST"),
        (put(&json!({ "pattern": null })), 400, "INVALID_REQUEST"),
        (put(&json!({ "pattern": null, "streams": [] })), 400, "INVALID_REQUEST"),
        (put(&json!({ "pattern": "" })), 400, "INVALID_REQUEST"),
        (put(&json!({ "pattern": long })), 400, "INVALID_REQUEST"),
        (put(&json!({ "pattern": "__ds/*" })), 400, "INVALID_REQUEST"),
        (put(&json!({ "streams": ["../x"] })), 400, "INVALID_REQUEST"),
        (put(&json!({ "streams": many })), 400, "INVALID_REQUEST"),
        (put(&json!({ "lease_ttl_ms": 999 })), 400, "INVALID_REQUEST"),
        (put(&json!({ "lease_ttl_ms": 600_001 })), 400, "INVALID_REQUEST"),
        (put(&json!({ "lease_ttl_ms": 1500.5 })), 400, "INVALID_REQUEST"),
        (put(&json!({ "lease_ttl_ms": -1 })), 400, "INVALID_REQUEST"),
        (put(&json!({ "lease_ttl_ms": "1000" })), 400, "INVALID_REQUEST"),
        (put(&json!({ "description": long })), 400, "INVALID_REQUEST"),
        (" ".repeat(600 << 10), 413, "INVALID_REQUEST"),
        (url("http://example.com/"), 400, "WEBHOOK_URL_REJECTED"),
        (url("https://10.0.0.1/"), 400, "WEBHOOK_URL_REJECTED"),
        (url("x"), 400, "WEBHOOK_URL_REJECTED"),
    ];
    for (body, status, code) in cases {
        let (found, answer) = node.ask("PUT", "subscriptions/s", None, &body).await;
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{body:.200}");
        assert_eq!(node.get("s").await.0, 404, "{body:.200}");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_malformed_request_gets_its_code_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let cases = [
        ("PUT", "subscriptions/%ff", put(&json!({})), 400, "INVALID_REQUEST"),
        ("PUT", "subscriptions/%00", put(&json!({})), 400, "INVALID_REQUEST"),
        ("PUT", "subscriptions/", put(&json!({})), 400, "INVALID_REQUEST"),
        ("GET", "subscriptions/s", String::new(), 404, "SUBSCRIPTION_NOT_FOUND"),
        ("DELETE", "subscriptions/s", String::new(), 404, "SUBSCRIPTION_NOT_FOUND"),
        ("PATCH", "subscriptions/s", String::new(), 405, "METHOD_NOT_ALLOWED"),
        ("POST", "subscriptions/s/streams", r#"{"streams":["a"]}"#.into(), 404, "SUBSCRIPTION_NOT_FOUND"),
        ("POST", "subscriptions/s/streams", r#"{"streams":[]}"#.into(), 400, "INVALID_REQUEST"),
        ("DELETE", "subscriptions/s/streams/a%2Fb", String::new(), 404, "SUBSCRIPTION_NOT_FOUND"),
        ("POST", "subscriptions/s/claim", r#"{"worker":"w"}"#.into(), 404, "SUBSCRIPTION_NOT_FOUND"),
        ("POST", "subscriptions/s/claim", "{}".into(), 400, "INVALID_REQUEST"),
        ("GET", "subscriptions/s/claim", String::new(), 405, "METHOD_NOT_ALLOWED"),
        ("POST", "subscriptions/s/callback", "{}".into(), 400, "INVALID_REQUEST"),
        (
            "POST",
            "subscriptions/s/ack",
            r#"{"wake_id":"x","generation":1}"#.into(),
            404,
            "SUBSCRIPTION_NOT_FOUND",
        ),
        (
            "POST",
            "subscriptions/s/release",
            r#"{"wake_id":"x","generation":1}"#.into(),
            404,
            "SUBSCRIPTION_NOT_FOUND",
        ),
        ("POST", "subscriptions/s/other", "{}".into(), 404, "NOT_FOUND"),
        ("GET", "other", String::new(), 404, "NOT_FOUND"),
        ("DELETE", "jwks.json", String::new(), 405, "METHOD_NOT_ALLOWED"),
    ];
    for (method, path, body, status, code) in cases {
        let (found, answer) = node.ask(method, path, None, &body).await;
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{method} {path} {body:.200}");
        assert_eq!(node.get("s").await.0, 404, "{method} {path} {body:.200}");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_wake_stream_is_never_part_of_what_it_announces() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    for part in [json!({ "pattern": "**" }), json!({ "pattern": null, "streams": ["wakes"] })] {
        let mut body = pull();
        for (name, value) in part.as_object().unwrap() {
            body[name] = value.clone();
        }
        assert_eq!(node.put("s", &body).await.0, 400, "{body}");
    }
    node.put("s", &pull()).await;
    let (status, _) = node.ask("POST", "subscriptions/s/streams", None, r#"{"streams":["wakes"]}"#).await;
    assert_eq!(status, 400);
    node.stop().await;
}

#[tokio::test]
async fn a_token_is_worth_nothing_where_it_was_not_given() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    node.create("wakes").await;
    node.put("s", &pull()).await;
    node.put("t", &pull()).await;
    node.create("events/a").await;
    let tail = node.append("events/a", "1").await;
    let (_, claimed) = node.post("s", "claim", "", &json!({ "worker": "w" })).await;
    let token = claimed["token"].as_str().unwrap();
    let body = |offset: &str| json!({ "wake_id": claimed["wake_id"], "generation": claimed["generation"], "acks": [{ "stream": "events/a", "offset": offset }] });
    for (id, verb, token, status, code) in [
        ("s", "ack", "", 401, "TOKEN_INVALID"),
        ("s", "ack", "forged", 401, "TOKEN_INVALID"),
        ("s", "callback", token, 401, "TOKEN_INVALID"),
        ("t", "ack", token, 401, "TOKEN_INVALID"),
        ("u", "ack", token, 404, "SUBSCRIPTION_NOT_FOUND"),
    ] {
        let (found, answer) = node.post(id, verb, token, &body(&tail)).await;
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{id} {verb}");
    }
    for offset in ["-1", "now", "", "9999999999999999_9999999999999999"] {
        let (status, answer) = node.post("s", "ack", token, &body(offset)).await;
        assert_eq!((status, &answer["error"]["code"]), (409, &json!("INVALID_OFFSET")), "{offset}");
    }
    let mut other = body(&tail);
    other["acks"][0]["stream"] = json!("wakes");
    assert_eq!(node.post("s", "ack", token, &other).await.1["error"]["code"], "INVALID_OFFSET");
    other = body(&tail);
    other["wake_id"] = json!("wake_00");
    assert_eq!(node.post("s", "ack", token, &other).await.1["error"]["code"], "FENCED");
    assert_eq!(node.post("s", "ack", token, &body(&tail)).await.0, 200);
    let release = json!({ "wake_id": claimed["wake_id"], "generation": claimed["generation"] });
    assert_eq!(node.post("s", "release", token, &release).await.0, 204);
    assert_eq!(node.post("s", "release", token, &release).await.1["error"]["code"], "FENCED");
    assert_eq!(
        node.post("s", "claim", "", &json!({ "worker": "w" })).await.1["error"]["code"],
        "NO_PENDING_WORK"
    );
    node.stop().await;
}

#[tokio::test]
async fn explicit_streams_come_and_go_and_the_pattern_keeps_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    node.create("events/a").await;
    node.create("other/{x} y").await;
    node.append("other/{x} y", "1").await;
    node.put("s", &pull()).await;
    let streams = json!({ "streams": ["events/a", "other/{x} y", "none"] }).to_string();
    assert_eq!(node.ask("POST", "subscriptions/s/streams", None, &streams).await.0, 204);
    let types = |shown: &Value| {
        let mut types: Vec<_> = shown["streams"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stream| {
                format!("{} {}", stream["path"].as_str().unwrap(), stream["link_type"].as_str().unwrap())
            })
            .collect();
        types.sort();
        types
    };
    assert_eq!(types(&node.get("s").await.1), ["events/a explicit", "none explicit", "other/{x} y explicit"]);
    for path in ["events%2Fa", "other%2F%7Bx%7D%20y", "none", "none"] {
        assert_eq!(node.ask("DELETE", &format!("subscriptions/s/streams/{path}"), None, "").await.0, 204);
    }
    assert_eq!(types(&node.get("s").await.1), ["events/a glob"]);
    assert_eq!(node.put("s", &pull()).await.0, 200, "none of it changed what confirms it");
    node.stop().await;
}

#[tokio::test]
async fn a_removed_subscription_leaves_nothing_behind_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    for number in 0..300 {
        node.create(&format!("events/{number}")).await;
    }
    let (status, defined) = node.put("s", &pull()).await;
    assert_eq!((status, defined["streams"].as_array().unwrap().len()), (201, 300));
    node.append("events/7", "1").await;
    assert_eq!(node.ask("DELETE", "subscriptions/s", None, "").await.0, 204);
    assert_eq!(node.get("s").await.0, 404);
    assert_eq!(node.ask("DELETE", "subscriptions/s", None, "").await.0, 404);
    node.stop().await;
    let node = Node::start(directory.path()).await;
    assert_eq!(node.get("s").await.0, 404);
    node.create("events/new").await;
    let only = json!({ "type": "pull-wake", "streams": ["events/7"], "wake_stream": "wakes" });
    let (status, defined) = node.put("s", &only).await;
    assert_eq!(status, 201, "the id is free for another definition");
    assert_eq!(defined["streams"].as_array().unwrap().len(), 1);
    assert_ne!(defined["streams"][0]["acked_offset"], "-1", "linked anew at the tail");
    node.stop().await;
}
