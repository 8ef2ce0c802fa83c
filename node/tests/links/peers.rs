//! Links follow the roster, and each connection stands for itself.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use thalweg_node::codec::frame::ERRAND_FRAME_BYTES_MAX;
use thalweg_node::core::replication::Message;
use thalweg_node::types::{Boot, LogIndex, ReplicaId, ShardId, Start, StartKey};

use crate::raw::{Raw, hello};
use crate::world::{Event, LED, Log, Node, PATIENCE, listeners, options, volume};

fn beat(round: u64) -> Message {
    Message::Beat { epoch: LED, committed: LogIndex(0), round, is_spare: false }
}

#[test]
fn questions_of_reads_and_their_answers_find_their_way() {
    let (sockets, roster) = listeners(2);
    let mut sockets = sockets.into_iter();
    let log = Log::new();
    let leader = Node::start(1, 1, sockets.next().unwrap(), &roster, options(Some(&log)));
    let follower = Node::start(2, 1, sockets.next().unwrap(), &roster, options(None));
    let (mut port, door) = (leader.port_to(2), follower.door_of(1));
    assert!(door.ask_read(ShardId(3), 41));
    let asked = leader.next(|event| match event {
        Event::ReadAsked(shard, number) => Some((shard, number)),
        _ => None,
    });
    assert_eq!(asked, (ShardId(3), 41));
    for upto in [Some(LogIndex(9)), None] {
        port.answer_read(ShardId(3), 41, upto);
        port.wake();
        let answer = follower.next(|event| match event {
            Event::ReadAnswered(shard, number, upto) => Some((shard, number, upto)),
            _ => None,
        });
        assert_eq!(answer, (ShardId(3), 41, upto));
    }
    leader.links.stop();
    follower.links.stop();
    assert!(!door.ask_read(ShardId(3), 42) && !port.is_open());
}

#[test]
fn what_is_known_of_starts_finds_its_way_to_whoever_dialled() {
    let (sockets, roster) = listeners(2);
    let mut sockets = sockets.into_iter();
    let log = Log::new();
    let leader = Node::start(1, 1, sockets.next().unwrap(), &roster, options(Some(&log)));
    let follower = Node::start(2, 1, sockets.next().unwrap(), &roster, options(None));
    let starts = vec![(volume(3), Start { boot: Boot(4), key: StartKey(5) })];
    follower.door_of(1).tell_starts(starts.clone());
    let told = leader.next(|event| match event {
        Event::Starts(from, starts) => Some((from, starts)),
        _ => None,
    });
    assert_eq!(told, (ReplicaId(2), starts));
    leader.links.stop();
    follower.links.stop();
}

#[test]
fn errands_and_their_answers_find_their_way() {
    let (sockets, roster) = listeners(2);
    let mut sockets = sockets.into_iter();
    let log = Log::new();
    let leader = Node::start(1, 1, sockets.next().unwrap(), &roster, options(Some(&log)));
    let follower = Node::start(2, 1, sockets.next().unwrap(), &roster, options(None));
    let (mut port, door) = (leader.port_to(2), follower.door_of(1));
    let long = Bytes::from(vec![7; ERRAND_FRAME_BYTES_MAX]);
    assert!(!door.ask_errand(ShardId(3), 41, long), "it would end the connection");
    assert!(door.ask_errand(ShardId(3), 41, Bytes::from_static(b"do")));
    let asked = leader.next(|event| match event {
        Event::ErrandAsked(shard, number, bytes) => Some((shard, number, bytes)),
        _ => None,
    });
    assert_eq!(asked, (ShardId(3), 41, Bytes::from_static(b"do")));
    port.answer_errand(ShardId(3), 41, Bytes::from_static(b"done"));
    port.wake();
    let answer = follower.next(|event| match event {
        Event::ErrandAnswered(shard, number, bytes) => Some((shard, number, bytes)),
        _ => None,
    });
    assert_eq!(answer, (ShardId(3), 41, Bytes::from_static(b"done")));
    leader.links.stop();
    follower.links.stop();
    assert!(!door.ask_errand(ShardId(3), 42, Bytes::new()), "it was not sent");
}

#[test]
fn a_new_connection_delivers_nothing_of_the_old_one() {
    let (sockets, roster) = listeners(2);
    let mut sockets = sockets.into_iter();
    let leader_socket = sockets.next().unwrap();
    let again = leader_socket.try_clone().unwrap();
    let log = Log::new();
    let follower = Node::start(2, 1, sockets.next().unwrap(), &roster, options(None));
    let leader = Node::start(1, 1, leader_socket, &roster, options(Some(&log)));
    let mut port = leader.port_to(2);
    let old = follower.door_of(1);
    follower.host.shut(true);
    // The first is being heard; the others wait in the socket.
    (1..=50).for_each(|round| port.send(ShardId(1), &beat(round)));
    port.wake();
    assert_eq!(follower.message(), (ShardId(1), beat(1)));
    leader.links.stop();
    let leader = Node::start(1, 2, again, &roster, options(Some(&log)));
    let mut newer = leader.port_to(2);
    port.send(ShardId(1), &beat(60));
    port.wake();
    newer.send(ShardId(1), &beat(100));
    newer.wake();
    // The old connection is given up before the new one counts.
    while old.ask_read(ShardId(1), 1) {}
    follower.host.shut(false);
    let first = follower.next(|event| match event {
        Event::Accepted(..) => Some(None),
        Event::Heard(_, message) => Some(Some(message)),
        _ => None,
    });
    assert_eq!(first, None, "the new connection comes before anything else");
    assert_eq!(follower.message(), (ShardId(1), beat(100)));
    leader.links.stop();
    follower.links.stop();
}

#[test]
fn of_two_connections_of_a_peer_the_newer_one_counts() {
    let (sockets, roster) = listeners(2);
    let node = Node::start(1, 1, sockets.into_iter().next().unwrap(), &roster, options(None));
    let mut first = Raw::connect(node.links.address());
    first.shake(&hello(2, 1)).unwrap();
    let door = node.door_of(2);
    let mut second = Raw::connect(node.links.address());
    second.shake(&hello(2, 1)).unwrap();
    let newer = node.door_of(2);
    assert!(first.is_closed() && !door.ask_read(ShardId(1), 1) && newer.ask_read(ShardId(1), 2));
    assert!(second.receive().is_some());
    node.links.stop();
}

#[test]
fn links_follow_the_roster_and_tell_how_they_are() {
    let (sockets, whole) = listeners(3);
    let mut alone = whole.clone();
    alone.members.remove(&ReplicaId(2));
    alone.members.remove(&ReplicaId(3));
    let mut nodes: Vec<Node> = (1..)
        .zip(sockets)
        .map(|(id, socket)| Node::start(id, 1, socket, if id == 1 { &alone } else { &whole }, options(None)))
        .collect();
    let first = nodes.remove(0);
    assert!(first.links.report().is_empty());
    *first.host.roster.lock().unwrap() = Arc::new(whole.clone());
    first.links.look();
    for _ in 0..4 {
        first.next(|event| matches!(event, Event::Dialled(..) | Event::Accepted(..)).then_some(()));
    }
    let report = first.links.report();
    assert!(report.len() == 4 && report.iter().all(|link| link.is_connected), "{report:?}");
    let mut smaller = whole;
    smaller.members.remove(&ReplicaId(3));
    *first.host.roster.lock().unwrap() = Arc::new(smaller);
    first.links.look();
    let report = first.links.report();
    assert!(report.len() == 2 && report.iter().all(|link| link.peer == ReplicaId(2)), "{report:?}");
    first.links.stop();
    nodes.iter().for_each(|node| node.links.stop());
}

#[test]
fn a_node_that_was_not_told_who_it_is_dials_nobody_until_it_is() {
    let (sockets, roster) = listeners(2);
    let mut sockets = sockets.into_iter();
    let (mine, theirs) = (sockets.next().unwrap(), sockets.next().unwrap());
    let node = Node::start(1, 1, mine, &roster, options(None));
    node.host.identity.lock().unwrap().me = None;
    node.links.look();
    let other = Node::start(2, 1, theirs, &roster, options(None));
    node.host.identity.lock().unwrap().me = Some(ReplicaId(1));
    node.links.look();
    other.door_of(1);
    node.links.stop();
    other.links.stop();
}

#[test]
fn links_end_at_once_whatever_their_peers_do() {
    let (sockets, mut roster) = listeners(3);
    let mut sockets = sockets.into_iter();
    let (mine, silent) = (sockets.next().unwrap(), sockets.next().unwrap());
    // One takes connections and says nothing, one is not there.
    roster.members.get_mut(&ReplicaId(3)).unwrap().peer = "127.0.0.1:1".to_owned();
    let mut long = options(None);
    long.handshake_timeout = Duration::from_millis(500);
    let node = Node::start(1, 1, mine, &roster, long);
    let mut peer = Raw::connect(node.links.address());
    peer.shake(&hello(2, 1)).unwrap();
    let _stranger = Raw::connect(node.links.address());
    let _dialled = silent.accept().unwrap();
    let (done, ended) = channel();
    std::thread::spawn(move || {
        node.links.stop();
        done.send(()).unwrap();
    });
    ended.recv_timeout(PATIENCE).expect("stops");
    assert!(peer.is_closed());
}
