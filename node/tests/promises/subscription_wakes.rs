//! Workers are woken while something is pending: by webhooks or through a stream, one wake at a time, also after failures
//! and restarts; and no webhook goes where it must not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::json;
use thalweg_node::runtime::subscriptions::{Resolution, Resolver};
use tokio::sync::mpsc;

use super::subscription_world::{Call, Node, Worker, pull, webhook, within};

async fn verified(node: &Node, call: &Call) {
    let (status, jwks) = node.ask("GET", "jwks.json", None, "").await;
    let key = &jwks["keys"][0];
    assert_eq!(status, 200);
    let (head, signature) = call.signature.split_once(",ed25519=").unwrap();
    let at = head.strip_suffix(&format!(",kid={}", key["kid"].as_str().unwrap())).unwrap();
    let at = at.strip_prefix("t=").unwrap();
    let raw = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let x: [u8; 32] = raw(key["x"].as_str().unwrap()).try_into().unwrap();
    let signature = Signature::from_slice(&raw(signature)).unwrap();
    let message = [at.as_bytes(), b".", &call.raw].concat();
    VerifyingKey::from_bytes(&x).unwrap().verify_strict(&message, &signature).unwrap();
}

#[tokio::test]
async fn a_webhook_is_signed_and_done_acknowledges_what_it_showed() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let mut worker = Worker::listen().await;
    assert_eq!(node.put("s", &webhook(&worker.url())).await.0, 201);
    node.create("events/a").await;
    let tail = node.append("events/a", "one").await;
    let call = worker.called().await;
    verified(&node, &call).await;
    assert_eq!(call.body["subscription_id"], "s");
    assert_eq!(call.body["callback_url"], "http://node:4437/v1/stream/__ds/subscriptions/s/callback");
    let shown = call.stream("events/a");
    assert_eq!(
        shown,
        &json!({ "path": "events/a", "link_type": "glob", "acked_offset": "-1", "tail_offset": tail, "has_pending": true })
    );
    let first = call.body["generation"].as_u64().unwrap();
    call.answer("200 OK", r#"{"done":true}"#).await;
    node.append("events/a", "two").await;
    let call = worker.called().await;
    assert_eq!(call.body["generation"], first + 1);
    assert_eq!(call.stream("events/a")["acked_offset"], tail.as_str(), "the snapshot was acknowledged");
    call.answer("200 OK", r#"{"done":true}"#).await;
    node.stop().await;
}

#[tokio::test]
async fn a_worker_that_falls_silent_is_fenced_and_another_wake_follows() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let mut worker = Worker::listen().await;
    node.put("s", &webhook(&worker.url())).await;
    node.create("events/a").await;
    let tail = node.append("events/a", "one").await;
    let first = worker.called().await;
    let (token, ack) = (first.body["callback_token"].clone(), first.ack("events/a", &tail, true));
    first.answer("200 OK", "{}").await;
    // It never calls back; the lease of a second runs out.
    let second = worker.called().await;
    assert_eq!(second.body["generation"], 2);
    let (status, answer) = node.post("s", "callback", token.as_str().unwrap(), &ack).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("FENCED")));
    let token = second.body["callback_token"].as_str().unwrap();
    let (status, answer) = node.post("s", "callback", token, &second.ack("events/a", &tail, true)).await;
    assert_eq!((status, answer), (200, json!({ "ok": true, "next_wake": false })));
    node.stop().await;
}

#[tokio::test]
async fn a_failed_or_redirected_webhook_is_repeated_with_a_new_generation() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let (mut worker, mut elsewhere) = (Worker::listen().await, Worker::listen().await);
    node.put("s", &webhook(&worker.url())).await;
    node.create("events/a").await;
    node.append("events/a", "one").await;
    let redirect = format!("307 Temporary Redirect\r\nLocation: {}", elsewhere.url());
    let mut wakes = Vec::new();
    for (generation, status) in [(1, "500 Oops"), (2, &redirect), (3, "200 OK")] {
        let call = worker.called().await;
        assert_eq!(call.body["generation"], generation);
        assert!(!wakes.contains(&call.body["wake_id"]));
        wakes.push(call.body["wake_id"].clone());
        call.answer(status, r#"{"done":true}"#).await;
    }
    node.append("events/a", "two").await;
    assert_eq!(worker.called().await.body["generation"], 4, "the third was taken");
    assert!(!elsewhere.was_called(), "no redirect is followed");
    assert_eq!(node.metrics.subscriptions.webhooks_failed.get(), 2);
    node.stop().await;
}

#[tokio::test]
async fn a_wake_that_was_in_flight_is_repeated_with_a_new_generation_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut worker = Worker::listen().await;
    let node = Node::start(directory.path()).await;
    node.put("s", &webhook(&worker.url())).await;
    node.create("events/a").await;
    let tail = node.append("events/a", "one").await;
    let lost = worker.called().await;
    node.stop().await;

    let node = Node::start(directory.path()).await;
    let again = worker.called().await;
    assert_eq!(again.body["generation"], 2);
    assert_ne!(again.body["wake_id"], lost.body["wake_id"]);
    let fenced = node
        .post(
            "s",
            "callback",
            lost.body["callback_token"].as_str().unwrap(),
            &lost.ack("events/a", &tail, true),
        )
        .await;
    assert_eq!(
        (fenced.0, &fenced.1["error"]["code"]),
        (409, &json!("FENCED")),
        "the key is the same, the wake is not"
    );
    verified(&node, &again).await;
    again.answer("200 OK", r#"{"done":true}"#).await;
    node.eventually("s", |_, shown| shown["streams"][0]["acked_offset"] == tail.as_str()).await;
    node.stop().await;
}

#[tokio::test]
async fn a_delivery_that_failed_is_tried_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut worker = Worker::listen().await;
    let node = Node::start(directory.path()).await;
    node.put("s", &webhook(&worker.url())).await;
    node.create("events/a").await;
    node.append("events/a", "one").await;
    worker.called().await.answer("503 Later", "").await;
    worker.called().await.answer("503 Later", "").await;
    node.stop().await;
    let node = Node::start(directory.path()).await;
    let call = worker.called().await;
    assert!(call.body["generation"].as_u64().unwrap() >= 3);
    node.stop().await;
}

#[tokio::test]
async fn links_acknowledgements_and_leases_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    node.create("wakes").await;
    node.create("events/old").await;
    let old = node.append("events/old", "before").await;
    let (status, defined) = node.put("s", &pull()).await;
    assert_eq!((status, &defined["streams"][0]["acked_offset"]), (201, &json!(old)), "linked at its tail");
    node.create("events/new").await;
    let (one, two) = (node.append("events/new", "1").await, node.append("events/new", "2").await);
    let event = node.announced("wakes", 0).await;
    assert_eq!(
        (&event["type"], &event["subscription_id"], &event["stream"], &event["generation"]),
        (&json!("wake"), &json!("s"), &json!("events/new"), &json!(1))
    );
    let (status, claimed) = node.post("s", "claim", "", &json!({ "worker": "w" })).await;
    assert_eq!((status, &claimed["generation"]), (200, &json!(1)));
    let token = claimed["token"].as_str().unwrap();
    let ack = |offset: &str, done: bool| json!({ "wake_id": claimed["wake_id"], "generation": 1, "acks": [{ "stream": "events/new", "offset": offset }], "done": done });
    assert_eq!(
        node.post("s", "ack", token, &ack(&one, false)).await,
        (200, json!({ "ok": true, "next_wake": false }))
    );
    let before = node.get("s").await;
    node.stop().await;

    let node = Node::start(directory.path()).await;
    assert_eq!(node.get("s").await, before);
    assert_eq!(node.put("s", &pull()).await.0, 200, "still confirmed by its like");
    let (status, busy) = node.post("s", "claim", "", &json!({ "worker": "v" })).await;
    assert_eq!(status, 409);
    assert_eq!(
        (&busy["error"]["code"], &busy["error"]["current_holder"]),
        (&json!("ALREADY_CLAIMED"), &json!("w"))
    );
    assert_eq!(node.post("s", "ack", token, &ack("0000000000000000_0000000000000000", false)).await.0, 409);
    assert_eq!(
        node.post("s", "ack", token, &ack(&two, true)).await,
        (200, json!({ "ok": true, "next_wake": false }))
    );
    node.create("events/later").await;
    node.append("events/later", "3").await;
    assert_eq!(node.announced("wakes", 1).await["generation"], 2, "patterns and generations go on");
    node.stop().await;
}

#[tokio::test]
async fn what_comes_behind_an_acknowledgement_is_announced_once_the_worker_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    node.create("wakes").await;
    node.put("s", &pull()).await;
    node.create("events/a").await;
    let one = node.append("events/a", "1").await;
    let (_, claimed) = node.post("s", "claim", "", &json!({ "worker": "w" })).await;
    node.append("events/a", "2").await;
    let ack = json!({
        "wake_id": claimed["wake_id"], "generation": claimed["generation"],
        "acks": [{ "stream": "events/a", "offset": one }], "done": true,
    });
    let generation = claimed["generation"].as_u64().unwrap();
    let answer = node.post("s", "ack", claimed["token"].as_str().unwrap(), &ack).await;
    assert_eq!(answer, (200, json!({ "ok": true, "next_wake": true })));
    let next = async {
        let mut seen = 0;
        loop {
            let event = node.announced("wakes", seen).await;
            if event["generation"] == generation + 1 {
                return;
            }
            seen += 1;
        }
    };
    within(next).await;
    node.stop().await;
}

/// Says of every name what it was told to say, and tells that it was asked.
#[derive(Debug)]
struct Liar {
    addresses: Vec<IpAddr>,
    asked: mpsc::UnboundedSender<String>,
}

impl Resolver for Liar {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolution<'a> {
        let _test_over = self.asked.send(host.to_owned());
        let addresses = self.addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        Box::pin(async move { Ok(addresses) })
    }
}

#[tokio::test]
async fn a_webhook_address_that_resolves_to_a_private_address_is_not_called() {
    for addresses in
        [vec!["127.0.0.1"], vec!["1.1.1.1", "127.0.0.1"], vec!["::ffff:127.0.0.1"], vec!["169.254.169.254"]]
    {
        let directory = tempfile::tempdir().unwrap();
        let (asked, mut asks) = mpsc::unbounded_channel();
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let node = Node::start_with(directory.path(), Arc::new(Liar { addresses, asked })).await;
        let mut worker = Worker::listen().await;
        let url = format!("https://rebound.example.com:{}/hook?x=1", worker.address.port());
        assert_eq!(node.put("s", &webhook(&url)).await.0, 201, "its name says nothing yet");
        node.create("events/a").await;
        node.append("events/a", "one").await;
        // The second question comes with the retry: the first try is over.
        for _ in 0..2 {
            assert_eq!(within(asks.recv()).await.unwrap(), "rebound.example.com");
        }
        assert!(node.metrics.subscriptions.webhooks_refused.get() >= 1);
        assert!(!worker.was_called());
        node.stop().await;
    }
}
