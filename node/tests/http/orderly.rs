//! What well-behaved clients rely on: order, keep-alive, `100 Continue`, HTTP/1.0, and an end that loses nothing.

use std::time::Duration;

use thalweg_node::http::wire::Limits;
use tokio::io::AsyncWriteExt;

use crate::echo::{Server, answer, rest, short, until, within};

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(short()).await;
    let mut stream = server.connect().await;
    let mut raw = Vec::new();
    for position in 0..50 {
        raw.extend_from_slice(
            format!("POST /{position} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc").as_bytes(),
        );
        raw.extend_from_slice(
            format!("POST /c{position} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n2\r\nbc\r\n0\r\nT: t\r\n\r\n")
                .as_bytes(),
        );
    }
    stream.write_all(&raw).await.unwrap();
    for position in 0..50 {
        assert!(answer(&mut stream).await.ends_with(&format!("\r\n\r\nPost /{position} abc")));
        assert!(answer(&mut stream).await.ends_with(&format!("\r\n\r\nPost /c{position} abc")));
    }
}

#[tokio::test]
async fn any_split_of_a_request_gives_the_same_answer() {
    let server = Server::start(short()).await;
    let raw =
        b"POST /echo?x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    for cut in 1..raw.len() {
        stream.write_all(&raw[..cut]).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(&raw[cut..]).await.unwrap();
        assert!(answer(&mut stream).await.ends_with("Post /echo hello"), "{cut}");
    }
}

#[tokio::test]
async fn bodies_of_every_size_arrive_whole() {
    let server = Server::start(Limits { body_timeout: Duration::from_secs(10), ..short() }).await;
    let mut stream = server.connect().await;
    for size in [0usize, 1, 4096, 16_384, 16_385, 100_000, 4 << 20] {
        let body: Vec<u8> = (0..size).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect();
        let head = format!("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n");
        stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
        let text = answer(&mut stream).await;
        assert!(
            text.as_bytes().ends_with(&body) && text.contains(&format!("Content-Length: {}", size + 8)),
            "{size}"
        );
    }
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let server = Server::start(short()).await;
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let mut stream = server.connect().await;
        let head = format!("POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n{framing}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        let body: &[u8] = if framing.starts_with('C') { b"hello" } else { b"5\r\nhello\r\n0\r\n\r\n" };
        stream.write_all(body).await.unwrap();
        assert!(answer(&mut stream).await.ends_with("Post /echo hello"));
    }
}

#[tokio::test]
async fn old_clients_get_what_they_understand() {
    let server = Server::start(short()).await;
    let closed = server.until_close(b"GET /echo HTTP/1.0\r\n\r\n").await;
    assert!(closed.contains("Connection: close\r\n") && closed.ends_with("Get /echo "));
    let mut stream = server.connect().await;
    for _ in 0..2 {
        stream.write_all(b"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await.unwrap();
        assert!(answer(&mut stream).await.contains("Connection: keep-alive\r\n"));
    }
    stream.write_all(b"GET /live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await.unwrap();
    let head = until(&mut stream, "hello").await;
    assert!(
        head.contains("Connection: close\r\n")
            && !head.contains("chunked")
            && !head.contains("Content-Length")
    );
}

#[tokio::test]
async fn answers_to_head_have_no_body_and_closing_is_honoured() {
    let server = Server::start(short()).await;
    let text = server.until_close(b"HEAD /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(text.contains("Content-Length: 11\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    let absolute =
        server.until_close(b"GET http://h/echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(absolute.ends_with("Get /echo "), "{absolute}");
}

#[tokio::test]
async fn connections_beyond_the_budget_are_told_so() {
    let server = Server::start(Limits { connections_max: 2, ..short() }).await;
    let mut first = server.connect().await;
    let mut second = server.connect().await;
    for stream in [&mut first, &mut second] {
        stream.write_all(b"GET /echo HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        answer(stream).await;
    }
    let refused = rest(&mut server.connect().await).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("Retry-After: 1\r\n"), "{refused}");
    assert!(refused.contains("too_many_connections"));
    first.write_all(b"GET /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(rest(&mut first).await.starts_with("HTTP/1.1 200 "));
    drop(first);
    // The place is free once the server has noticed; until then a refusal is the right answer.
    within(async {
        loop {
            let text =
                server.until_close(b"GET /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
            if text.starts_with("HTTP/1.1 200 ") {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn bodies_beyond_the_budget_are_refused_and_later_ones_served() {
    let limits = Limits {
        request_bytes_in_flight_max: 4000,
        body_bytes_max: 2000,
        admission_wait: Duration::from_millis(20),
        ..short()
    };
    let server = Server::start(limits).await;
    let mut holders = Vec::new();
    // What is not kept for finishing a body: a part for all and a part for small ones.
    for length in [1500, 500] {
        let mut holder = server.connect().await;
        let raw = format!("POST /held HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        holder.write_all(format!("{raw}{}", "x".repeat(length)).as_bytes()).await.unwrap();
        within(server.echo.entered.notified()).await;
        holders.push(holder);
    }
    for framing in ["Content-Length: 200\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nc8\r\n"] {
        let raw = format!("POST /echo HTTP/1.1\r\nHost: h\r\n{framing}{}", "x".repeat(200));
        let text = server.until_close(raw.as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("Retry-After: 1\r\n"), "{text}");
        assert!(text.contains("\"code\":\"overloaded\"") && text.contains("\"outcome\":\"refused\""));
    }
    for mut holder in holders {
        server.echo.release.notify_one();
        assert!(answer(&mut holder).await.ends_with("released"));
        holder.write_all(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc").await.unwrap();
        assert!(answer(&mut holder).await.ends_with("abc"));
    }
}

#[tokio::test]
async fn shutdown_finishes_what_runs_and_closes_what_idles() {
    let mut server = Server::start(short()).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /echo HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    answer(&mut idle).await;
    within(server.echo.entered.notified()).await;
    let mut running = server.connect().await;
    running.write_all(b"GET /held HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    within(server.echo.entered.notified()).await;
    let mut waiting = server.connect().await;
    waiting.write_all(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    within(server.echo.entered.notified()).await;
    let mut live = server.connect().await;
    live.write_all(b"GET /live HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    until(&mut live, "hello\r\n").await;

    let task = server.begin_shutdown();
    assert_eq!(rest(&mut idle).await, "");
    assert!(rest(&mut waiting).await.starts_with("HTTP/1.1 204 "));
    assert_eq!(rest(&mut live).await, "00000003\r\nbye\r\n0\r\n\r\n");
    server.echo.release.notify_one();
    let text = rest(&mut running).await;
    assert!(text.contains("Connection: close\r\n") && text.ends_with("released"), "{text}");
    assert_eq!(within(task).await.unwrap().connections_cut, 0);
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn shutdown_is_bounded_when_a_request_does_not_end() {
    let mut server = Server::start(Limits { shutdown_timeout: Duration::from_millis(100), ..short() }).await;
    let mut running = server.connect().await;
    running.write_all(b"GET /held HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    within(server.echo.entered.notified()).await;
    assert_eq!(within(server.begin_shutdown()).await.unwrap().connections_cut, 1);
}

#[tokio::test]
async fn a_client_that_leaves_ends_what_was_done_for_it() {
    let server = Server::start(short()).await;
    for path in ["/wait", "/live"] {
        let mut stream = server.connect().await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.unwrap();
        within(server.echo.entered.notified()).await;
        drop(stream);
        within(server.echo.interrupted.notified()).await;
    }
}
