//! Smuggling, oversize and nonsense: one clear answer, then the connection is closed.

use crate::echo::{Server, short};
use thalweg_node::http::wire::Limits;

async fn check(limits: Limits, cases: &[(&[u8], &str)]) {
    let server = Server::start(limits).await;
    for (raw, expected) in cases {
        let shown = String::from_utf8_lossy(&raw[..raw.len().min(120)]).into_owned();
        let answer = server.until_close(raw).await;
        let status = answer.get(9..12).unwrap_or_default();
        assert_eq!(status, *expected, "{shown:?} was answered {answer:?}");
        assert_eq!(
            answer.matches("\r\nDate: ").count(),
            1,
            "{shown:?} was answered more than once: {answer:?}"
        );
        assert!(answer.contains("Connection: close\r\n"), "{shown:?}: {answer:?}");
        assert!(answer.contains("X-Content-Type-Options: nosniff\r\n"), "{shown:?}");
        assert!(answer.contains("Cross-Origin-Resource-Policy: cross-origin\r\n"), "{shown:?}");
        assert!(answer.contains("Access-Control-Allow-Origin: *\r\n"), "{shown:?}");
        assert!(answer.contains("\"outcome\":\"refused\""), "{shown:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_request_with_two_ends_is_refused() {
    let post = |headers: &str| {
        format!("POST /echo HTTP/1.1\r\nHost: h\r\n{headers}\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
    };
    let heads: Vec<(String, &str)> = [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "400"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "400"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "400"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "400"),
        ("Content-Length: 5, 5\r\n", "400"),
        ("Content-Length: +5\r\n", "400"),
        ("Content-Length: -1\r\n", "400"),
        ("Content-Length: 0x5\r\n", "400"),
        ("Content-Length:\r\n", "400"),
        ("Content-Length: 5 6\r\n", "400"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "400"),
        ("Transfer-Encoding: chunked, gzip\r\n", "400"),
        ("Transfer-Encoding: chunked, chunked\r\n", "400"),
        ("Transfer-Encoding: gzip\r\n", "501"),
        ("Transfer-Encoding: gzip, chunked\r\n", "501"),
        ("Transfer-Encoding: identity\r\n", "501"),
        ("Transfer-Encoding: xchunked\r\n", "501"),
        ("Transfer-Encoding : chunked\r\n", "400"),
        ("Content-Length : 5\r\n", "400"),
        (" Content-Length: 5\r\n", "400"),
        ("X: a\r\n folded\r\n", "400"),
        ("X: a\r\n\tContent-Length: 5\r\n", "400"),
        ("X: a\nContent-Length: 5\r\n", "400"),
        ("X: a\rContent-Length: 5\r\n", "400"),
        ("X: a\0b\r\n", "400"),
        ("Content-Length\r\n", "400"),
        (": 5\r\n", "400"),
        ("Host: other\r\n", "400"),
        ("Host: h\r\n", "400"),
        ("Stream-Seq: 1\r\nStream-Seq: 2\r\n", "400"),
        ("Expect: 200-ok\r\n", "417"),
    ]
    .into_iter()
    .map(|(headers, status)| (post(headers), status))
    .collect();
    let cases: Vec<(&[u8], &str)> = heads.iter().map(|(raw, status)| (raw.as_bytes(), *status)).collect();
    check(short(), &cases).await;
}

#[tokio::test]
async fn a_malformed_request_line_or_host_is_refused() {
    check(
        short(),
        &[
            (b"GET / HTTP/1.1\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\nHost: h\n\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: h\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: h i\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "400"),
            (b"GET nopath HTTP/1.1\r\nHost: h\r\n\r\n", "400"),
            (b"GET http://a b/ HTTP/1.1\r\nHost: h\r\n\r\n", "400"),
            (b"GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n", "400"),
            (b"GET /\r\n\r\n", "400"),
            (b"GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n", "400"),
            (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", "505"),
            (b"GET / HTTP/0.9\r\nHost: h\r\n\r\n", "505"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
            (b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", "400"),
            (b"G\x01T / HTTP/1.1\r\nHost: h\r\n\r\n", "400"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400"),
            (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_malformed_chunked_body_is_refused() {
    let bodies: Vec<(Vec<u8>, &str)> = [
        ("5\nhello\r\n0\r\n\r\n".to_owned(), "400"),
        ("5\r\nhello\n0\r\n\r\n".to_owned(), "400"),
        ("5\r\nhello0\r\n\r\n".to_owned(), "400"),
        ("5 \r\nhello\r\n0\r\n\r\n".to_owned(), "400"),
        ("\r\n5\r\nhello\r\n".to_owned(), "400"),
        ("zz\r\n".to_owned(), "400"),
        ("-1\r\n".to_owned(), "400"),
        ("0\r\nX: y\n\r\n".to_owned(), "400"),
        (format!("5;{}", "x".repeat(8000)), "400"),
        (format!("0\r\n{}", "X: y\r\n".repeat(2000)), "400"),
        ("8000000000000000\r\n".to_owned(), "413"),
        ("ffffffffffffffffff\r\n".to_owned(), "413"),
        (format!("3e8\r\n{}\r\n", "x".repeat(1000)).repeat(3), "413"),
    ]
    .into_iter()
    .map(|(body, status)| {
        let head = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        (format!("{head}{body}").into_bytes(), status)
    })
    .collect();
    let cases: Vec<(&[u8], &str)> = bodies.iter().map(|(raw, status)| (raw.as_slice(), *status)).collect();
    check(Limits { body_bytes_max: 2500, ..short() }, &cases).await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_stored() {
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(9000));
    let endless_target = format!("GET /{}", "x".repeat(20_000));
    let long_value = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(17_000));
    let many_lines = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(64));
    let endless_lines = format!("GET / HTTP/1.1\r\nHost: h\r\n{}", "X: y\r\n".repeat(100_000));
    let endless_blank = "\r\n".repeat(20_000);
    check(
        short(),
        &[
            (long_target.as_bytes(), "414"),
            (endless_target.as_bytes(), "414"),
            (long_value.as_bytes(), "431"),
            (many_lines.as_bytes(), "431"),
            (endless_lines.as_bytes(), "431"),
            (endless_blank.as_bytes(), "431"),
            (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9223372036854775808\r\n\r\n", "413"),
            (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999999\r\n\r\n", "413"),
            (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4194305\r\n\r\nxxx", "413"),
            (b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4194305\r\n\r\n", "413"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_refused_body_takes_no_room() {
    let server = Server::start(short()).await;
    let free = server.registry.admission.request_bytes_free();
    server.until_close(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4194305\r\n\r\n").await;
    server.until_close(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX").await;
    assert_eq!(server.registry.admission.request_bytes_free(), free);
}

#[tokio::test]
async fn a_client_that_sends_all_of_a_refused_body_still_sees_the_refusal() {
    let server = Server::start(short()).await;
    let mut raw = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20000000\r\n\r\n".to_vec();
    raw.resize(raw.len() + 20_000_000, b'x');
    assert!(server.until_close(&raw).await.starts_with("HTTP/1.1 413 "));
}
