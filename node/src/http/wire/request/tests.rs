//! Heads in place: what is found, what is refused, and that no bytes can do more.

use proptest::prelude::*;

use super::*;

fn parse(raw: &[u8]) -> Result<Parsed, HeadError> {
    parse_head(raw, &Limits::default())
}

fn complete(raw: &[u8]) -> Head {
    match parse(raw) {
        Ok(Parsed::Complete(head)) => head,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_head_is_found_where_it_lies() {
    let raw = b"POST /v1/stream/a%20b?x=1?y HTTP/1.1\r\nhost: h:1\r\nX-Other: 1\r\ncontent-TYPE:  text/plain \r\nContent-Length: 3\r\n\r\nabc";
    let head = complete(raw);
    let request = Request { head: &head, bytes: &raw[..head.length], body: Bytes::new() };
    assert_eq!((head.method, head.framing, head.length), (Method::Post, Framing::Length(3), raw.len() - 3));
    assert_eq!((request.path(), request.query()), (&b"/v1/stream/a%20b"[..], Some(&b"x=1?y"[..])));
    assert_eq!(request.field(Field::ContentType), Some(&b"text/plain"[..]));
    assert_eq!(request.authority(), Some(&b"h:1"[..]));
    assert_eq!(request.field(Field::StreamSeq), None);
    assert!(head.keep_alive && !head.expect_continue && !head.http_10);
}

#[test]
fn an_absolute_target_names_its_own_authority() {
    for (target, authority, path) in [
        ("http://other:9/v1/x?q", "other:9", "/v1/x"),
        ("HTTPS://other", "other", ""),
        ("http://[::1]:80/", "[::1]:80", "/"),
    ] {
        let raw = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let head = complete(raw.as_bytes());
        let request = Request { head: &head, bytes: raw.as_bytes(), body: Bytes::new() };
        assert_eq!((request.authority(), request.path()), (Some(authority.as_bytes()), path.as_bytes()));
    }
}

#[test]
fn whether_a_connection_goes_on_follows_version_and_header() {
    for (version, header, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x, Close\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let raw = format!("GET / HTTP/{version}\r\nHost: h\r\n{header}\r\n");
        assert_eq!(complete(raw.as_bytes()).keep_alive, keep_alive, "{raw}");
    }
}

fn token_soup() -> impl Strategy<Value = Vec<u8>> {
    let tokens = prop::sample::select(vec![
        "GET",
        "POST",
        " ",
        "/",
        "http://",
        "?",
        " HTTP/1.1",
        " HTTP/1.0",
        "\r\n",
        "\n",
        "\r",
        "Host: h",
        "Host",
        ": ",
        "Content-Length: 1",
        "Content-Length: 2",
        "Transfer-Encoding: chunked",
        "Connection: close",
        "If-None-Match: *",
        "X: y",
        "\t",
        "\0",
        "\u{ff}",
        "\r\n\r\n",
    ]);
    prop::collection::vec(tokens, 0..14).prop_map(|tokens| tokens.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_bytes_are_a_head_the_beginning_of_one_or_an_error(raw in prop_oneof![token_soup(), any::<Vec<u8>>()]) {
        if let Ok(Parsed::Complete(head)) = parse(&raw) {
            prop_assert!(head.length <= raw.len() && raw[..head.length].ends_with(b"\r\n\r\n"));
            let request = Request { head: &head, bytes: &raw[..head.length], body: Bytes::new() };
            prop_assert!(request.path().is_empty() || request.path().starts_with(b"/") || request.path() == b"*");
        }
    }

    #[test]
    fn no_beginning_of_a_head_is_refused_or_taken_for_whole(cut in 0usize..89) {
        let raw = b"PUT /v1/stream/x?offset=-1 HTTP/1.1\r\nHost: h\r\nStream-TTL: 5\r\nConnection: close\r\nX: y\r\n\r\n";
        prop_assert_eq!(complete(raw).length, raw.len());
        prop_assert!(matches!(parse(&raw[..cut.min(raw.len() - 1)]), Ok(Parsed::Partial)));
    }
}
