//! Who is no peer, or does not speak as one, changes nothing and is heard by nobody.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use thalweg_node::codec::frame::{FRAME_HEAD_BYTES, FrameKind, put_frame};
use thalweg_node::codec::handshake::{Hello, PREAMBLE_BYTES, encode_put_back, preamble};
use thalweg_node::core::replication::Message;
use thalweg_node::types::{Acks, Boot, ClusterId, LogIndex, ReplicaId, ShardId, Start, StartKey, Trail};
use thalweg_node::wire::LinkOptions;

use crate::raw::{Raw, hello};
use crate::world::{Event, LED, Node, listeners, options, trail};

/// Node 1 of two, and the socket of the other one, which a test plays.
fn node(change: impl FnOnce(&mut LinkOptions)) -> (Node, TcpListener) {
    let (sockets, mut roster) = listeners(2);
    let mut sockets = sockets.into_iter();
    let (mine, theirs) = (sockets.next().unwrap(), sockets.next().unwrap());
    // Nothing is dialled but what a test wants to be: nobody listens at port 1.
    roster.members.get_mut(&ReplicaId(2)).unwrap().peer = "127.0.0.1:1".to_owned();
    let mut options = options(None);
    change(&mut options);
    (Node::start(1, 1, mine, &roster, options), theirs)
}

/// The node heard nothing and remembers nobody.
fn is_untouched(node: &Node) -> bool {
    node.events.try_recv().is_err() && node.host.greeted().is_empty()
}

#[test]
fn whoever_is_not_a_member_with_the_right_greeting_is_refused_in_words() {
    let (node, _socket) = node(|_| {});
    let right = hello(2, 1);
    let cases: [(Hello, &str); 7] = [
        (Hello { cluster: ClusterId([1; 16]), ..right }, "cluster"),
        (Hello { shards: 16, ..right }, "shards"),
        (Hello { plan: 8, ..right }, "cluster file"),
        (Hello { to: ReplicaId(3), ..right }, "looks for"),
        (Hello { to_incarnation: Some(crate::world::volume(7)), ..right }, "looks for"),
        (hello(7, 1), "no member"),
        (hello(1, 1), "looks for"),
    ];
    for (hello, words) in cases {
        let refused = Raw::connect(node.links.address()).shake(&hello).unwrap_err();
        assert!(refused.contains(words), "{refused}");
    }
    assert!(is_untouched(&node));
    node.host.identity.lock().unwrap().me = None;
    let refused = Raw::connect(node.links.address()).shake(&right).unwrap_err();
    assert!(refused.contains("not told"), "{refused}");
    assert!(is_untouched(&node));
    node.links.stop();
}

#[test]
fn a_peer_that_acknowledges_otherwise_is_let_in_and_the_node_hears_it() {
    let (node, _socket) = node(|_| {});
    let mut peers = Vec::new();
    for acks in [Acks::Leader, Acks::Majority] {
        let mut peer = Raw::connect(node.links.address());
        peer.shake(&Hello { acks, ..hello(2, 1) }).unwrap();
        let heard = node.next(|event| match event {
            Event::Acknowledges(from, acks) => Some((from, acks)),
            _ => None,
        });
        assert_eq!(heard, (ReplicaId(2), acks));
        node.door_of(2);
        peers.push(peer);
    }
    node.links.stop();
}

#[test]
fn a_peer_whose_volume_was_put_back_is_told_so_and_the_newer_one_is_not_disturbed() {
    let (node, _socket) = node(|_| {});
    let mut live = Raw::connect(node.links.address());
    live.shake(&hello(2, 1)).unwrap();
    let door = node.door_of(2);
    // Not started again, started as often again, and more often: its start 5 is another one.
    let again = |trail: Trail| trail.followed_by(StartKey(7));
    let older = trail(2, 4);
    for trail in [older, again(older), again(again(again(older)))] {
        let mut hello = hello(2, 1);
        hello.from.trail = trail;
        let refused = Raw::connect(node.links.address()).shake(&hello).unwrap_err();
        let met = Start { boot: Boot(5), key: StartKey(52) };
        assert_eq!(refused, format!("put back: {met:?}"), "{trail:?}");
    }
    assert!(door.ask_read(ShardId(1), 3), "the connection of the newer one lives");
    assert_eq!(live.receive().unwrap().0, FrameKind::ReadAsked);
    assert!(node.events.try_recv().is_err());
    node.links.stop();
}

#[test]
fn a_node_hears_that_its_volume_was_put_back_from_whom_it_dialled_and_from_nobody_who_dialled() {
    let met = Start { boot: Boot(9), key: StartKey(3) };
    let mut said = Vec::new();
    encode_put_back(&met, &mut said);
    let (node, _socket) = node(|_| {});
    // Whoever dials may have learnt what a member would say, and from whom.
    let mut raw = Raw::connect(node.links.address());
    raw.greet(&hello(2, 1));
    raw.send(FrameKind::PutBack, &said);
    assert!(raw.is_closed() && is_untouched(&node));
    let mut early = Raw::connect(node.links.address());
    early.stream.write_all(&preamble()).unwrap();
    early.send(FrameKind::PutBack, &said);
    assert!(early.is_closed() && is_untouched(&node));
    node.links.stop();

    let (sockets, roster) = listeners(2);
    let mut sockets = sockets.into_iter();
    let (mine, theirs) = (sockets.next().unwrap(), sockets.next().unwrap());
    let node = Node::start(1, 1, mine, &roster, options(None));
    let mut raw = Raw::welcome(&theirs, 2);
    raw.send(FrameKind::PutBack, &said);
    let heard = node.next(|event| match event {
        Event::PutBack(by, met) => Some((by, met)),
        _ => None,
    });
    assert_eq!(heard, (ReplicaId(2), met));
    node.links.stop();
}

#[test]
fn bytes_that_are_no_greeting_are_closed_and_heard_by_nobody() {
    let (node, _socket) = node(|_| {});
    let cases: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0; 400],
        &[0xff; 70_000],
        b"\xa7TLW\x09\0\0\0",
        b"\xa7TLW\x01\0\0\0\xff\xff\xff\xff\x01\0\0\0",
    ];
    for bytes in cases {
        let mut raw = Raw::connect(node.links.address());
        // It may be closed before all of it is out.
        let _ = raw.stream.write_all(bytes);
        assert!(raw.is_closed(), "{:?}", &bytes[..8]);
    }
    assert!(is_untouched(&node));
    node.links.stop();
}

#[test]
fn a_connection_that_was_recorded_and_is_played_again_is_heard_by_nobody() {
    let (sockets, mut roster) = listeners(2);
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sockets = sockets.into_iter();
    let follower = Node::start(2, 1, sockets.next_back().unwrap(), &roster, options(None));
    roster.members.get_mut(&ReplicaId(2)).unwrap().peer = relay.local_addr().unwrap().to_string();
    let leader = Node::start(1, 1, sockets.next().unwrap(), &roster, {
        let log = crate::world::Log::new();
        options(Some(&log))
    });
    // A relay that writes down what the leader says.
    let (here, there) = (relay.accept().unwrap().0, TcpStream::connect(follower.links.address()).unwrap());
    let back = (there.try_clone().unwrap(), here.try_clone().unwrap());
    let answers = std::thread::spawn(move || drop(std::io::copy(&mut &back.0, &mut &back.1)));
    let mut port = {
        let listens = std::thread::spawn(move || {
            let (mut recorded, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = (&here).read(&mut buffer) {
                recorded.extend_from_slice(&buffer[..count]);
                if (&there).write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            let _ = there.shutdown(std::net::Shutdown::Both);
            recorded
        });
        (leader.port_to(2), listens)
    };
    port.0.send(ShardId(1), &Message::Follow(LED));
    port.0.wake();
    assert_eq!(follower.message(), (ShardId(1), Message::Follow(LED)));
    leader.links.stop();
    let recorded = port.1.join().unwrap();
    answers.join().unwrap();
    assert!(recorded.len() > PREAMBLE_BYTES + 3 * FRAME_HEAD_BYTES);
    let mut again = Raw::connect(follower.links.address());
    again.stream.write_all(&recorded).unwrap();
    assert!(again.is_closed());
    while let Ok(event) = follower.events.try_recv() {
        assert!(!matches!(event, Event::Heard(..) | Event::Accepted(..)), "{event:?}");
    }
    follower.links.stop();
}

#[test]
fn a_flood_of_connections_that_say_nothing_keeps_no_peer_out_and_ends() {
    let (node, _socket) = node(|options| options.handshake_timeout = Duration::from_secs(3));
    let flood: Vec<Raw> = (0..200).map(|_| Raw::connect(node.links.address())).collect();
    let mut peer = Raw::connect(node.links.address());
    peer.shake(&hello(2, 1)).unwrap();
    node.door_of(2);
    for mut stranger in flood {
        assert!(stranger.is_closed());
    }
    assert!(node.events.try_recv().is_err());
    node.links.stop();
}

#[test]
fn a_peer_that_says_what_only_the_other_side_says_or_damages_a_frame_is_closed_and_not_heard() {
    let (node, _socket) = node(|_| {});
    let beat = |seed| {
        let mut out = Vec::new();
        put_frame(&mut out, seed, (FrameKind::Beat, ShardId(1)), |out| {
            out.extend_from_slice(&[1, 1, 1, 1, 1])
        })
        .unwrap();
        out
    };
    let cases: [fn(Vec<u8>) -> Vec<u8>; 4] = [
        |mut frame| {
            frame[4] = FrameKind::Ack as u8;
            frame
        },
        |mut frame| {
            frame[13] ^= 1;
            frame
        },
        |mut frame| {
            frame[6] = 200;
            frame
        },
        |mut frame| {
            frame[3] = 0xff;
            frame
        },
    ];
    for change in cases {
        let mut raw = Raw::connect(node.links.address());
        raw.shake(&hello(2, 1)).unwrap();
        node.door_of(2);
        let frame = beat(raw.seed);
        raw.stream.write_all(&change(frame)).unwrap();
        assert!(raw.is_closed());
    }
    assert!(node.events.try_recv().is_err());
    node.links.stop();
}

#[test]
fn a_peer_that_owes_an_answer_for_too_long_is_given_up() {
    let (sockets, roster) = listeners(2);
    let mut sockets = sockets.into_iter();
    let (mine, theirs) = (sockets.next().unwrap(), sockets.next().unwrap());
    let log = crate::world::Log::new();
    let mut short = options(Some(&log));
    short.silence_timeout = Duration::from_millis(200);
    let node = Node::start(1, 1, mine, &roster, short);
    let mut raw = Raw::accept(&theirs, 2);
    let mut port = node.port_to(2);
    port.send(ShardId(1), &Message::Beat { epoch: LED, committed: LogIndex(0), round: 1, is_spare: false });
    port.wake();
    assert!(raw.is_closed(), "it never answers");
    let _again = Raw::accept(&theirs, 2);
    node.port_to(2);
    assert!(!port.is_open());
    node.links.stop();
}

#[test]
fn a_peer_that_takes_a_connection_and_never_greets_is_given_up_and_dialled_again() {
    let (sockets, roster) = listeners(2);
    let mut sockets = sockets.into_iter();
    let (mine, theirs) = (sockets.next().unwrap(), sockets.next().unwrap());
    let log = crate::world::Log::new();
    let mut short = options(Some(&log));
    short.handshake_timeout = Duration::from_millis(100);
    let node = Node::start(1, 1, mine, &roster, short);
    let mut silent = Raw::over(theirs.accept().unwrap().0);
    assert!(silent.is_closed());
    let _greets = Raw::accept(&theirs, 2);
    node.port_to(2);
    node.links.stop();
}

#[test]
fn a_peer_that_does_not_read_costs_no_more_than_its_outbox() {
    let (node, _socket) = node(|options| {
        options.outbox_bytes = 100_000;
        options.write_timeout = Duration::from_secs(60);
    });
    let mut raw = Raw::connect(node.links.address());
    raw.shake(&hello(2, 1)).unwrap();
    let door = node.door_of(2);
    let mut asked = 0u64;
    // Until the buffers of both sockets are full, and the outbox then.
    while door.ask_read(ShardId(1), asked) {
        asked += 1;
        assert!(asked < 10_000_000, "what does not fit must be noticed");
    }
    assert!(raw.is_closed());
    node.links.stop();
}
