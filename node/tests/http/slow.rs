//! Clients that are slow on purpose: each is dropped when its time is over, and the others never notice.

use std::time::Duration;

use thalweg_node::http::wire::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::echo::{Server, answer, rest, short, within};

async fn sent(server: &Server, raw: &[u8]) -> TcpStream {
    let mut stream = server.connect().await;
    stream.write_all(raw).await.unwrap();
    stream
}

#[tokio::test]
async fn a_head_that_never_ends_is_timed_out() {
    let server = Server::start(short()).await;
    for raw in
        ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: h\r\n", "GET / HTTP/1.1\r\nHost: h\r\nX: y\r\n"]
    {
        let text = rest(&mut sent(&server, raw.as_bytes()).await).await;
        assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("Connection: close\r\n"), "{text}");
    }
}

#[tokio::test]
async fn dripping_a_head_does_not_buy_time() {
    let server = Server::start(short()).await;
    let stream = server.connect().await;
    let (mut reader, mut writer) = stream.into_split();
    let drip = tokio::spawn(async move {
        let mut interval = tokio::time::interval(Duration::from_millis(10));
        writer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nX: ").await?;
        loop {
            interval.tick().await;
            writer.write_all(b"x").await?;
        }
        #[expect(unreachable_code, reason = "gives the block its type")]
        std::io::Result::Ok(())
    });
    let mut answer = Vec::new();
    // The drip may meet a closed socket, which resets the connection behind the answer.
    let _ = within(reader.read_to_end(&mut answer)).await;
    assert!(answer.starts_with(b"HTTP/1.1 408 "));
    assert!(within(drip).await.unwrap().is_err());
}

#[tokio::test]
async fn a_body_that_never_ends_is_timed_out_and_gives_its_room_back() {
    let server = Server::start(short()).await;
    let free = server.registry.admission.request_bytes_free();
    for raw in [
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let text = rest(&mut sent(&server, raw.as_bytes()).await).await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    }
    assert_eq!(server.registry.admission.request_bytes_free(), free);
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let server = Server::start(Limits { idle_timeout: Duration::from_millis(100), ..short() }).await;
    assert_eq!(rest(&mut server.connect().await).await, "");
    let mut used = sent(&server, b"GET /echo HTTP/1.1\r\nHost: h\r\n\r\n").await;
    answer(&mut used).await;
    assert_eq!(rest(&mut used).await, "");
}

#[tokio::test]
async fn a_client_that_never_reads_is_dropped() {
    let server = Server::start(Limits { bytes_per_second_min: u64::MAX, ..short() }).await;
    let stream = sent(&server, b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n").await;
    within(server.echo.entered.notified()).await;
    within(async {
        while server.registry.connections_open() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    drop(stream);
}

#[tokio::test]
async fn a_client_that_reads_gets_all_of_a_large_answer() {
    let server = Server::start(short()).await;
    let text = server.until_close(b"GET /big HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    let body = text.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(body.len(), crate::echo::BIG_BYTES);
}

#[tokio::test]
async fn four_hundred_half_sent_heads_do_not_slow_a_healthy_client() {
    let server = Server::start(Limits { head_timeout: Duration::from_secs(30), ..short() }).await;
    let mut slow = Vec::new();
    for _ in 0..400 {
        slow.push(sent(&server, b"GET / HTTP/1.1\r\nHost: h\r\nX-").await);
    }
    let mut healthy = server.connect().await;
    for _ in 0..100 {
        healthy.write_all(b"GET /echo HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        assert!(answer(&mut healthy).await.starts_with("HTTP/1.1 200 "));
    }
    assert!(server.registry.connections_open() >= 401);
}

/// Room for a few bodies and answers, and time enough that nobody is thrown out for being slow alone.
fn short_of_memory() -> Limits {
    Limits {
        request_bytes_in_flight_max: 8 << 20,
        response_bytes_in_flight_max: 8 << 20,
        body_timeout: Duration::from_secs(60),
        write_timeout: Duration::from_secs(60),
        ..short()
    }
}

fn large_body(length: usize) -> String {
    format!("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n")
}

#[tokio::test]
async fn a_body_takes_room_as_it_arrives_and_not_as_it_is_announced() {
    let server = Server::start(short_of_memory()).await;
    let free = server.registry.admission.request_bytes_free();
    let mut slow = Vec::new();
    for raw in [
        large_body(4 << 20),
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n".to_owned(),
    ] {
        for _ in 0..50 {
            slow.push(sent(&server, format!("{raw}ab").as_bytes()).await);
        }
    }
    // A body that needs more than is left if each of them had taken what it may come to.
    let mut raw = large_body(4 << 20).replace("Host: h", "Host: h\r\nConnection: close").into_bytes();
    raw.resize(raw.len() + (4 << 20), b'x');
    let text = server.until_close(&raw).await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{}", &text[..text.len().min(300)]);
    let held = free - server.registry.admission.request_bytes_free();
    assert!(held <= 100 * 20 * 1024, "{held} bytes for a hundred beginnings");
    drop(slow);
}

#[tokio::test]
async fn when_memory_is_short_the_slowest_body_is_refused_and_the_fast_ones_are_served() {
    let server = Server::start(short_of_memory()).await;
    // Each sends two thirds and stops: together they want four times what there is.
    let mut slow = Vec::new();
    for _ in 0..12 {
        let mut stream = server.connect().await;
        let mut raw = large_body(4 << 20).into_bytes();
        raw.resize(raw.len() + (2 << 20), b'y');
        // Refused ones may have been closed by now.
        let _ = tokio::time::timeout(Duration::from_secs(2), stream.write_all(&raw)).await;
        slow.push(stream);
    }
    let mut raw = large_body(4 << 20).replace("Host: h", "Host: h\r\nConnection: close").into_bytes();
    raw.resize(raw.len() + (4 << 20), b'x');
    // Those who wait already have their turn first, so that a fast one may have to ask again; but soon, and not when the
    // time of the slow ones is over.
    let all_served = async {
        for _ in 0..5 {
            while !server.until_close(&raw).await.starts_with("HTTP/1.1 200 ") {}
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all_served).await.expect("the fast ones are served");
    let mut refused = 0;
    for mut stream in slow {
        let mut answer = [0; 12];
        let found = tokio::time::timeout(Duration::from_millis(10), stream.read_exact(&mut answer)).await;
        refused += usize::from(found.is_ok_and(|read| read.is_ok()) && &answer == b"HTTP/1.1 503");
    }
    assert!(refused > 0, "nobody was refused: memory was not short");
}

#[tokio::test]
async fn readers_that_never_read_make_room_for_those_that_do() {
    let server = Server::start(short_of_memory()).await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(sent(&server, b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n").await);
        within(server.echo.entered.notified()).await;
    }
    let until_served = async {
        loop {
            let text =
                server.until_close(b"GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
            if text.starts_with("HTTP/1.1 200 ") {
                break;
            }
        }
    };
    // Long before their time is over.
    tokio::time::timeout(Duration::from_secs(5), until_served).await.unwrap();
    assert!(server.registry.connections_open() > 4, "no more are cut than need be");
}

#[tokio::test]
async fn the_system_takes_little_of_an_answer_that_nobody_reads_when_there_are_many_connections() {
    let server = Server::start(Limits::default()).await;
    let mut others = Vec::new();
    while server.registry.connections_open() < 64 {
        others.push(sent(&server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await);
        answer(others.last_mut().unwrap()).await;
    }
    let free = server.registry.admission.response_bytes_free();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut reader = socket.connect(server.address).await.unwrap();
    reader.write_all(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    within(reader.readable()).await.unwrap();
    // Its megabyte is still ours, and counted: the system has not taken it.
    let given_back = async {
        while server.registry.admission.response_bytes_free() < free {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_millis(300), given_back).await.is_err());
}
