//! Forwarding while leaders come, go and misbehave: "refused" is said only of what was not done, and nothing is sent twice.

use std::time::Duration;

use thalweg_node::http::forward::ForwardLimits;
use thalweg_node::runtime::Whereabouts;

use super::world::{Impostor, MISSING, Node, Reply, at, nowhere, pair};

const DONE: &str = "HTTP/1.1 204 No Content\r\nStream-Next-Offset: x\r\nConnection: keep-alive\r\n\
                    Thalweg-Answered: 0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c.9.0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e\r\n\r\n";

/// What a node says of a request that was passed on to it while it did not lead.
const UNDONE: &str = "HTTP/1.1 503 Service Unavailable\r\nThalweg-Undone: 1\r\nContent-Length: 2\r\n\r\n{}";

/// What a test can wait for.
const BRIEF: Duration = Duration::from_millis(300);

async fn append(node: &Node, body: &[u8]) -> Reply {
    node.ask("POST /v1/stream/a", "Content-Type: text/plain\r\n", body).await
}

fn refused(code: &str) -> (u16, String, String) {
    (503, code.to_owned(), "refused".to_owned())
}

fn unknown() -> (u16, String, String) {
    (503, "leader_lost".to_owned(), "unknown".to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_waits_for_a_leader_and_goes_through() {
    let (leader, follower) = pair(ForwardLimits::default()).await;
    follower.create("a").await;
    for before in [Whereabouts::Nobody, at(nowhere().await)] {
        follower.follow(&before);
        let accepted = follower.metrics.http.connections_accepted.get();
        let elected = async {
            while follower.metrics.http.connections_accepted.get() == accepted {
                tokio::task::yield_now().await;
            }
            follower.follow(&leader.at());
        };
        let (reply, ()) = tokio::join!(append(&follower, b"x"), elected);
        assert_eq!(reply.status, 204, "{reply:?}");
    }
    assert_eq!(leader.all("a").await, b"xx");
    leader.stop().await;
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_done_here_when_this_node_is_elected_while_it_waits() {
    let node = Node::start().await;
    node.create("a").await;
    node.follow(&Whereabouts::Nobody);
    let accepted = node.metrics.http.connections_accepted.get();
    let elected = async {
        while node.metrics.http.connections_accepted.get() == accepted {
            tokio::task::yield_now().await;
        }
        node.follow(&Whereabouts::Here);
    };
    let (reply, ()) = tokio::join!(append(&node, b"x"), elected);
    assert_eq!(reply.status, 204, "{reply:?}");
    assert_eq!(node.all("a").await, b"x");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_meets_no_leader_in_time_is_refused() {
    let node = Node::with(ForwardLimits { hold: BRIEF, ..ForwardLimits::default() }).await;
    for whereabouts in [Whereabouts::Nobody, at(nowhere().await)] {
        node.follow(&whereabouts);
        assert_eq!(append(&node, b"x").await.problem(), refused("no_leader"));
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_leader_is_replaced_before_it_answers_is_unknown_and_waits_no_longer() {
    let (node, other) = (Node::start().await, Node::start().await);
    let (paused, there) = Impostor::listen().await;
    node.follow(&there);
    let replaced = async {
        let mut caller = paused.accept().await;
        caller.request().await;
        // Nobody leads for a moment, and then another does.
        node.follow(&Whereabouts::Nobody);
        node.follow(&other.at());
        caller
    };
    let (reply, _caller) = tokio::join!(append(&node, b"x"), replaced);
    assert_eq!(reply.problem(), unknown());
    // It is not done by the new leader behind the client's back: nobody has heard of the stream there.
    assert_eq!(append(&node, b"x").await.status, 404);
    node.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_kept_back_until_another_led_is_sent_to_that_one() {
    let (node, leader) = (Node::start().await, Node::start().await);
    leader.create("a").await;
    let (before, there) = Impostor::listen().await;
    node.follow(&there);
    let replaced = async {
        let mut caller = before.accept().await;
        caller.request().await;
        node.follow(&leader.at());
        caller.say(UNDONE).await;
        caller
    };
    let (reply, _caller) = tokio::join!(append(&node, b"x"), replaced);
    assert_eq!(reply.status, 204, "{reply:?}");
    assert_eq!(leader.all("a").await, b"x");
    node.stop().await;
    leader.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_reaches_a_node_which_does_not_lead_is_sent_to_the_leader_as_soon_as_that_is_known() {
    let (node, leader) = (Node::start().await, Node::start().await);
    let other = Node::start().await;
    leader.create("a").await;
    other.follow(&leader.at());
    node.follow(&other.at());
    let told = async {
        while other.metrics.http.connections_accepted.get() == 0 {
            tokio::task::yield_now().await;
        }
        node.follow(&leader.at());
    };
    let (reply, ()) = tokio::join!(append(&node, b"x"), told);
    assert_eq!(reply.status, 204, "{reply:?}");
    assert_eq!(leader.all("a").await, b"x");
    for node in [node, leader, other] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_replaced_while_its_answer_is_on_its_way_is_heard_to_its_end() {
    let (node, other) = (Node::start().await, Node::start().await);
    let (leader, there) = Impostor::listen().await;
    node.follow(&there);
    let answered = async {
        let mut caller = leader.accept().await;
        caller.request().await;
        // What it took is committed; then it hands over, and its answer is the last that it says.
        node.follow(&other.at());
        caller.say(DONE).await;
        caller
    };
    let (reply, _caller) = tokio::join!(append(&node, b"x"), answered);
    assert_eq!(reply.status, 204, "{reply:?}");
    node.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_finds_every_connection_taken_is_refused() {
    let limits = ForwardLimits { hold: BRIEF, connections_max: 1, ..ForwardLimits::default() };
    let node = Node::with(limits).await;
    let (impostor, there) = Impostor::listen().await;
    node.follow(&there);
    let busy = async {
        let mut caller = impostor.accept().await;
        caller.request().await;
        assert_eq!(append(&node, b"second").await.problem(), refused("overloaded"));
        caller.say(DONE).await;
    };
    let (reply, ()) = tokio::join!(append(&node, b"first"), busy);
    assert_eq!(reply.status, 204, "{reply:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_sent_and_not_answered_is_unknown_and_never_sent_again() {
    let node = Node::with(ForwardLimits { answer_timeout: BRIEF, ..ForwardLimits::default() }).await;
    let (impostor, there) = Impostor::listen().await;
    node.follow(&there);
    let head = &format!("HTTP/1.1 200 OK\r\nThalweg-Answered: {MISSING}\r\n");
    let endless = format!("{head}X: {}", "x".repeat(20_000));
    for (answer, hangs_up) in [
        ("", true),
        ("", false),
        ("HTTP/1.1 2", true),
        ("HTTP/1.1 204 No Content\r\n", false),
        ("SSH-2.0-server\r\n\r\n", false),
        ("HTTP/1.1 100 Continue\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 204 No Content\r\nThalweg-Answered: 1\r\n\r\n", false),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", false),
        (&format!("{head}\r\nwhere does this end"), true),
        (&format!("{head}Content-Length: 5\r\n\r\nfour"), true),
        (&format!("{head}Content-Length: 5\r\n\r\nfour"), false),
        (&format!("{head}Content-Length: -1\r\n\r\n"), false),
        (&format!("{head}Content-Length: +1\r\n\r\n1"), false),
        (&format!("{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\n12"), false),
        (&format!("{head}Content-Length: 99999999999\r\n\r\n"), false),
        (&format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), false),
        (&endless, false),
    ] {
        let broken = async {
            let mut caller = impostor.accept().await;
            let (_, body) = caller.request().await;
            assert_eq!(body, b"once");
            caller.say(answer).await;
            if hangs_up { None } else { Some(caller) }
        };
        let (reply, _caller) = tokio::join!(append(&node, b"once"), broken);
        assert_eq!(reply.problem(), unknown(), "{answer:.60}");
        assert!(impostor.is_alone().await, "{answer:.60}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_ends_in_the_middle_of_the_request_leaves_it_unknown() {
    let node = Node::with(ForwardLimits { answer_timeout: BRIEF, ..ForwardLimits::default() }).await;
    let (impostor, there) = Impostor::listen().await;
    node.follow(&there);
    let body = vec![b'x'; 4 << 20];
    let gone = async { drop(impostor.accept().await.head().await) };
    let (reply, ()) = tokio::join!(append(&node, &body), gone);
    assert_eq!(reply.problem(), unknown());
    assert!(impostor.is_alone().await);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_comes_before_the_body_is_through_is_passed_on() {
    let node = Node::start().await;
    let (impostor, there) = Impostor::listen().await;
    node.follow(&there);
    let body = vec![b'x'; 4 << 20];
    let refusing = async {
        let mut caller = impostor.accept().await;
        caller.head().await;
        caller.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nlarge").await;
        caller
    };
    let (reply, _caller) = tokio::join!(append(&node, &body), refusing);
    assert_eq!((reply.status, reply.body.as_slice()), (413, &b"large"[..]));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_byte_by_byte_is_waited_for() {
    let node = Node::start().await;
    let (impostor, there) = Impostor::listen().await;
    node.follow(&there);
    let body = "y".repeat(100_000);
    let slow = async {
        let mut caller = impostor.accept().await;
        caller.request().await;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nthalweg-answered: {MISSING}\r\nX-Own: 1\r\n\r\n",
            body.len()
        );
        for byte in head.chars() {
            caller.say(&byte.to_string()).await;
            tokio::task::yield_now().await;
        }
        caller.say(&body).await;
    };
    let (reply, ()) = tokio::join!(append(&node, b"x"), slow);
    assert_eq!((reply.status, reply.header("x-own"), reply.body.len()), (200, Some("1"), body.len()));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_used_again_and_replaced_when_the_leader_has_closed_it() {
    let node = Node::start().await;
    let (impostor, there) = Impostor::listen().await;
    node.follow(&there);
    for _ in 0..2 {
        let (reply, mut caller) = tokio::join!(append(&node, b"x"), async {
            let mut caller = impostor.accept().await;
            caller.request().await;
            caller.say(DONE).await;
            caller
        });
        assert_eq!(reply.status, 204, "{reply:?}");
        let again = async {
            caller.request().await;
            caller.say(DONE).await;
        };
        let (reply, ()) = tokio::join!(append(&node, b"x"), again);
        assert_eq!(reply.status, 204, "{reply:?}");
        assert!(impostor.is_alone().await);
        // From here on the kept connection is dead, and the node does not know yet.
        drop(caller);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_idles_is_closed_though_no_request_comes() {
    let node = Node::with(ForwardLimits { idle_timeout: BRIEF / 6, ..ForwardLimits::default() }).await;
    let (impostor, there) = Impostor::listen().await;
    node.follow(&there);
    for _ in 0..2 {
        let (reply, mut caller) = tokio::join!(append(&node, b"x"), async {
            let mut caller = impostor.accept().await;
            caller.request().await;
            caller.say(DONE).await;
            caller
        });
        assert_eq!(reply.status, 204, "{reply:?}");
        caller.ended().await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_of_a_damaged_shard_is_answered_by_its_leader() {
    let (leader, follower) = (Node::start().await, Node::without_tables_of("a").await);
    leader.create("a").await;
    assert_eq!(append(&leader, b"hello").await.status, 204);
    let read = "GET /v1/stream/a?offset=-1";
    let is_refused = |reply: Reply| {
        assert_eq!((reply.status, reply.json()["code"].as_str()), (503, Some("shard_damaged")), "{reply:?}");
    };
    is_refused(follower.ask(read, "", b"").await);
    follower.follow(&leader.at());
    assert_eq!(follower.all("a").await, b"hello");
    let (here, there) =
        (leader.ask("HEAD /v1/stream/a", "", b"").await, follower.ask("HEAD /v1/stream/a", "", b"").await);
    assert_eq!((there.status, there.header("stream-next-offset")), (200, here.header("stream-next-offset")));
    assert_eq!(follower.ask("GET /v1/stream/b?offset=-1", "", b"").await.status, 404);
    // Whoever waits at a tail comes again, to a node that has it.
    let waits = follower.ask("GET /v1/stream/a?offset=-1&live=long-poll", "", b"").await;
    is_refused(waits);
    // And it is passed on once.
    let other = Node::without_tables_of("a").await;
    other.follow(&follower.at());
    follower.follow(&other.at());
    is_refused(other.ask(read, "", b"").await);
    for node in [leader, follower, other] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_not_done_by_a_stranger_at_the_address_of_the_leader() {
    let limits = ForwardLimits { hold: BRIEF, ..ForwardLimits::default() };
    let (node, leader) = (Node::with(limits).await, Node::start().await);
    let stranger = Node::start().await;
    for server in [&leader, &stranger] {
        server.create("a").await;
    }
    node.follow(&at(stranger.address));
    let (status, _, outcome) = append(&node, b"x").await.problem();
    assert_eq!((status, outcome.as_str()), (503, "refused"));
    assert_eq!(stranger.all("a").await, b"");
    node.follow(&leader.at());
    let reply = append(&node, b"x").await;
    assert_eq!((reply.status, reply.header("thalweg-answered")), (204, None), "{reply:?}");
    assert_eq!(leader.all("a").await, b"x");
    // Nothing else is answered in the name of somebody else either.
    let mark = format!("Thalweg-Forwarded: {MISSING}\r\n");
    for line in ["GET /v1/stream/a?offset=-1", "DELETE /v1/stream/a", "GET /v1/streams"] {
        let reply = stranger.ask(line, &mark, b"").await;
        assert_eq!((reply.status, reply.header("thalweg-undone")), (421, Some("1")), "{line} {reply:?}");
    }
    for node in [node, leader, stranger] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_meets_a_leader_which_is_starting_waits_until_it_has_started() {
    let node = Node::start().await;
    let (impostor, there) = Impostor::listen().await;
    node.follow(&there);
    let starting = async {
        let mut caller = impostor.accept().await;
        for answer in [&UNDONE.replace("1\r\n", "starting\r\n"), DONE] {
            caller.request().await;
            caller.say(answer).await;
        }
        caller
    };
    let (reply, _caller) = tokio::join!(append(&node, b"x"), starting);
    assert_eq!((reply.status, reply.header("thalweg-undone")), (204, None), "{reply:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_starts_for_too_long_is_no_leader() {
    let node = Node::with(ForwardLimits { hold: BRIEF, ..ForwardLimits::default() }).await;
    let (impostor, there) = Impostor::listen().await;
    node.follow(&there);
    let starting = async {
        let mut caller = impostor.accept().await;
        loop {
            caller.request().await;
            caller.say(&UNDONE.replace("1\r\n", "starting\r\n")).await;
        }
    };
    let reply = tokio::select! {
        reply = append(&node, b"x") => reply,
        never = starting => never,
    };
    assert_eq!(reply.problem(), refused("no_leader"));
    node.stop().await;
}
