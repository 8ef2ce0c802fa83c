//! A request as it is passed on: the same but for what belongs to one connection only. Invariant: it carries a mark, and
//! whoever meets the mark passes it on no further.

use bytes::{Buf, Bytes};

use crate::http::wire::{FORWARDED_BYTES, Field, Method, Request};
use crate::types::Party;

/// In the answer to what was passed on, it repeats who was meant: whoever else listens at that address does not know of it.
pub(in crate::http) const ANSWERED: &str = "Thalweg-Answered";
/// Its presence in the answer to what was passed on says that nothing was done, since the node does not lead.
pub(in crate::http) const UNDONE: &str = "Thalweg-Undone";
/// Its value when that is because the node is starting.
pub(in crate::http) const STARTING: &[u8] = b"starting";
/// What belongs to the client's connection, and what is written anew.
const LEFT_OUT: [&str; 11] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

/// What a request says about being passed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::http) struct Wishes {
    /// It was, once already.
    pub(in crate::http) forwarded: bool,
    /// The client would rather go there itself.
    pub(in crate::http) redirect: bool,
}

impl Wishes {
    pub(in crate::http) fn of(request: &Request<'_>) -> Self {
        let forwarded = request.field(Field::Forwarded).is_some();
        let mut wishes = Self { forwarded, redirect: false };
        for (name, value) in request.headers() {
            wishes.redirect |= name.eq_ignore_ascii_case("prefer") && has_token(value, "redirect");
        }
        wishes
    }
}

/// A request on its way to the leader.
#[derive(Debug)]
pub(in crate::http) struct Message {
    head: Bytes,
    body: Bytes,
    asks_for_head: bool,
    meant: String,
}

impl Message {
    /// The leader is told which host the client named: its answer may repeat it.
    pub(in crate::http) fn new(request: &Request<'_>, leader: &str, meant: &Party) -> Self {
        let meant = meant.to_string();
        let mut head = Vec::with_capacity(request.bytes.len() + FORWARDED_BYTES);
        head.extend_from_slice(method(request.head.method));
        head.push(b' ');
        head.extend_from_slice(&target(request));
        head.extend_from_slice(b" HTTP/1.1\r\n");
        line(&mut head, "Host", request.authority().unwrap_or(leader.as_bytes()));
        let connection = request.field(Field::Connection).unwrap_or_default();
        for (name, value) in request.headers() {
            let left_out = LEFT_OUT.iter().any(|known| known.eq_ignore_ascii_case(name));
            if !left_out && !has_token(connection, name) {
                line(&mut head, name, value);
            }
        }
        line(&mut head, "Content-Length", itoa::Buffer::new().format(request.body.len()).as_bytes());
        line(&mut head, Field::Forwarded.name(), meant.as_bytes());
        head.extend_from_slice(b"\r\n");
        let asks_for_head = request.head.method == Method::Head;
        Self { head: head.into(), body: request.body.clone(), asks_for_head, meant }
    }

    /// Its answer ends with its head, whatever length that names.
    pub(super) fn asks_for_head(&self) -> bool {
        self.asks_for_head
    }

    /// Who is to answer.
    pub(super) fn meant(&self) -> &str {
        &self.meant
    }

    /// All of it, in order.
    pub(super) fn bytes(&self) -> impl Buf + use<> {
        self.head.clone().chain(self.body.clone())
    }
}

/// Path and query, as they came.
pub(in crate::http) fn target(request: &Request<'_>) -> Vec<u8> {
    let mut target = request.path().to_vec();
    if let Some(query) = request.query() {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    target
}

fn method(method: Method) -> &'static [u8] {
    match method {
        Method::Put => b"PUT",
        Method::Delete => b"DELETE",
        Method::Get => b"GET",
        Method::Head => b"HEAD",
        Method::Post | Method::Options | Method::Other => b"POST",
    }
}

fn line(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// Whether a list names something, with or without parameters.
fn has_token(list: &[u8], token: &str) -> bool {
    list.split(|&b| b == b',').any(|entry| {
        let bare = entry.split(|&b| b == b';').next().unwrap_or_default();
        bare.trim_ascii().eq_ignore_ascii_case(token.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::{Limits, Parsed, parse_head};
    use crate::types::{ClusterId, ReplicaId, VolumeIncarnation};

    const PARTY: Party = Party {
        cluster: ClusterId([0xc1; 16]),
        member: Some(ReplicaId(3)),
        volume: Some(VolumeIncarnation([0x0e; 16])),
    };

    /// Runs `check` on a request with this head and body.
    fn with<T>(head: &str, body: &'static str, check: impl FnOnce(&Request<'_>) -> T) -> T {
        let Ok(Parsed::Complete(parsed)) = parse_head(head.as_bytes(), &Limits::default()) else {
            panic!("{head}");
        };
        check(&Request { head: &parsed, bytes: head.as_bytes(), body: Bytes::from_static(body.as_bytes()) })
    }

    fn passed_on(head: &str, body: &'static str) -> String {
        let mut bytes = with(head, body, |request| Message::new(request, "leader:4437", &PARTY)).bytes();
        String::from_utf8(bytes.copy_to_bytes(bytes.remaining()).to_vec()).unwrap()
    }

    #[test]
    fn what_belongs_to_the_clients_connection_stays_there() {
        let cases = [
            (
                "POST /v1/stream/a:b?c=d HTTP/1.1\r\nHost: h:1\r\nContent-Length: 4\r\nProducer-Id:  p q \r\n\r\n",
                "body",
                "POST /v1/stream/a:b?c=d HTTP/1.1\r\nHost: h:1\r\nProducer-Id: p q\r\n\
                 Content-Length: 4\r\nMARK\r\n\r\nbody",
            ),
            (
                "\r\nPUT http://h:2/v1/stream/a HTTP/1.1\r\nHost: other\r\nTransfer-Encoding: chunked\r\n\
                 Expect: 100-continue\r\nTE: trailers\r\nUpgrade: x\r\n\r\n",
                "xy",
                "PUT /v1/stream/a HTTP/1.1\r\nHost: h:2\r\nContent-Length: 2\r\nMARK\r\n\r\nxy",
            ),
            (
                "DELETE /v1/stream/a HTTP/1.0\r\nConnection: keep-alive, X-Mine\r\nx-mine: 1\r\nX-Theirs: 2\r\n\r\n",
                "",
                "DELETE /v1/stream/a HTTP/1.1\r\nHost: leader:4437\r\nX-Theirs: 2\r\n\
                 Content-Length: 0\r\nMARK\r\n\r\n",
            ),
        ];
        for (head, body, expected) in cases {
            let mark =
                "Thalweg-Forwarded: c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1.3.0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e";
            assert_eq!(passed_on(head, body), expected.replace("MARK", mark), "{head}");
        }
    }

    #[test]
    fn wishes_are_found_in_any_case_and_among_others() {
        let (forwarded, redirect) = (true, true);
        for (line, expected) in [
            ("", Wishes::default()),
            ("Prefer: respond-async", Wishes::default()),
            ("X-Prefer: redirect", Wishes::default()),
            ("PREFER: wait=1,Redirect; x=y", Wishes { redirect, ..Wishes::default() }),
            ("thalweg-forwarded:", Wishes { forwarded, ..Wishes::default() }),
            ("Prefer: a\r\nThalweg-Forwarded: n\r\nPrefer: redirect", Wishes { forwarded, redirect }),
        ] {
            let line = if line.is_empty() { String::new() } else { format!("{line}\r\n") };
            let head = format!("\r\nPOST /Prefer:redirect HTTP/1.1\r\nHost: h\r\n{line}\r\n");
            assert_eq!(with(&head, "", Wishes::of), expected, "{head}");
        }
    }
}
