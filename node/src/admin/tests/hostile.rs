//! What nobody should send.

use super::*;

fn says(answer: &str, status: u16, code: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{code}: {answer}");
    assert!(answer.contains("content-type: application/problem+json"), "{answer}");
    assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
    assert!(answer.contains("\"outcome\":\"refused\""), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_no_order_is_refused_and_nothing_happens() {
    let port = Port::open().await;
    let to = serde_json::to_string(&port.node.addressee()).unwrap();
    for path in
        ["members", "seal", "lead", "config", "drain", "shutdown"].map(|call| format!("/admin/{call}"))
    {
        let deep = "[".repeat(100_000);
        let nested = format!("{{\"to\":{to},\"asks\":{}}}", "[".repeat(500));
        for body in ["", "{}", "[]", "null", "7", "\"seal\"", "{\"to\":1}", "\u{0}", &deep, &nested] {
            says(&port.post(&path, body).await, 400, "malformed_body");
        }
        let unknown = format!("{{\"to\":{to},\"asks\":[],\"draining\":true,\"members\":[],\"force\":true}}");
        says(&port.post(&path, &unknown).await, 400, "malformed_body");
    }
    let wrong = format!("{{\"to\":{to},\"asks\":[{{\"shard\":70000,\"epoch\":1}}]}}");
    says(&port.post("/admin/seal", &wrong).await, 400, "malformed_body");
    let many = vec!["{\"shard\":3,\"epoch\":2}"; 257].join(",");
    says(
        &port.post("/admin/seal", &format!("{{\"to\":{to},\"asks\":[{many}]}}")).await,
        400,
        "too_many_asks",
    );
    assert!(port.node.heard().is_empty());
    port.close().await;
}

#[tokio::test]
async fn a_huge_body_is_refused_before_it_is_taken() {
    let port = Port::open().await;
    let head =
        "POST /admin/seal HTTP/1.1\r\nhost: n1\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let declared = format!("{head}content-length: {}\r\n\r\n", u64::MAX / 2);
    says(&port.send(declared.as_bytes()).await, 413, "body_too_large");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{}1\r\nx", chunk.repeat(16));
    says(&port.send(chunked.as_bytes()).await, 413, "body_too_large");
    port.close().await;
}

#[tokio::test]
async fn web_pages_cannot_give_orders() {
    let port = Port::open().await;
    let shutdown = serde_json::to_string(&Shutdown { to: port.node.addressee() }).unwrap();
    let json = "content-type: application/json\r\n";
    let page = format!("{json}origin: https://example.org\r\n");
    says(&port.post_with("/admin/shutdown", &page, &shutdown).await, 403, "web_page");
    says(
        &port.post_with("/admin/shutdown", "content-type: text/plain\r\n", &shutdown).await,
        415,
        "not_json",
    );
    says(&port.post_with("/admin/shutdown", "", &shutdown).await, 415, "not_json");
    assert!(port.node.heard().is_empty());
    let answer = port.post_with("/admin/shutdown", json, &shutdown).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert_eq!(port.node.heard(), ["shut down"]);
    port.close().await;
}

#[tokio::test]
async fn calls_that_are_not_there_are_refused_with_what_there_is() {
    let port = Port::open().await;
    says(&port.post("/admin/reboot", "{}").await, 404, "no_such_call");
    says(&port.post("/", "{}").await, 404, "no_such_call");
    let answer = port.post("/admin/status", "{}").await;
    says(&answer, 405, "no_such_method");
    assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: n1\r\nconnection: close\r\n\r\n");
    let answer = port.send(get("/admin/seal").as_bytes()).await;
    says(&answer, 405, "no_such_method");
    assert!(answer.contains("allow: POST\r\n"), "{answer}");
    says(&port.send(get("/admin/shards?format=xml").as_bytes()).await, 400, "malformed_query");
    says(&port.send(get("/admin/shards?from=3").as_bytes()).await, 400, "malformed_query");
    port.close().await;
}

#[tokio::test]
async fn the_port_closes_while_connections_are_idle() {
    let port = Port::open().await;
    let mut idle = TcpStream::connect(port.address).await.unwrap();
    let mut halfway = TcpStream::connect(port.address).await.unwrap();
    halfway.write_all(b"POST /admin/seal HTTP/1.1\r\nhost: n1\r\ncontent-le").await.unwrap();
    // They were accepted in this order, before this one.
    port.client.status().await.unwrap();
    port.close().await;
    assert_eq!(idle.read(&mut [0; 9]).await.unwrap(), 0);
}
