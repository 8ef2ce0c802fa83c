//! What the replication of others got wrong, as far as links are concerned.

use thalweg_node::codec::frame::FRAME_HEAD_BYTES;
use thalweg_node::core::replication::Message;
use thalweg_node::types::{LogIndex, ShardId};
use thalweg_node::wire::{Direction, Shipping};

use crate::world::{Copy, Event, LED, Log, Node, listeners, options};

const SHARD: ShardId = ShardId(1);

#[test]
fn lesson_a_follower_that_comes_back_gets_what_it_lacks_and_nothing_that_it_has() {
    let (sockets, roster) = listeners(2);
    let mut sockets = sockets.into_iter();
    let leader_socket = sockets.next().unwrap();
    let follower_socket = sockets.next().unwrap();
    let again = follower_socket.try_clone().unwrap();
    let mut log = Log::new();
    (0..600u16).for_each(|number| drop(log.write(SHARD, LED, &vec![number.to_le_bytes()[0]; 1000])));
    let leader = Node::start(1, 1, leader_socket, &roster, options(Some(&log)));
    let follower = Node::start(2, 1, follower_socket, &roster, options(None));
    let (mut port, door) = (leader.port_to(2), follower.door_of(1));
    port.ship(SHARD, log.shipping(SHARD));
    port.wake();
    Copy::default().hear(&follower, &door, &log.entries);
    let report = || {
        let reports = leader.links.report();
        reports.into_iter().find(|report| report.direction == Direction::Dialled).unwrap()
    };
    let sent = || report().bytes_sent;
    follower.links.stop();
    // What a write sent is counted behind it, and all of it once the connection is over.
    while report().is_connected {
        std::thread::yield_now();
    }
    let before = sent();
    // Something is written while it is away.
    let missed: Vec<_> = (0..5u8).map(|number| log.write(SHARD, LED, &[number; 1000])).collect();
    let follower = Node::start(2, 2, again, &roster, options(None));
    let mut port = leader.port_to(2);
    let whole = log.shipping(SHARD);
    port.ship(SHARD, Shipping { after: LogIndex(600), chain: None, ..whole });
    port.wake();
    let mut got = 0;
    while got < missed.len() {
        if let (_, Message::Records(records)) = follower.message() {
            assert_eq!(records.after, LogIndex(600 + got as u64));
            got += records.entries.len();
        }
    }
    let most = 8 * (1000 + FRAME_HEAD_BYTES as u64);
    assert!(sent() - before < most, "{} bytes for five entries", sent() - before);
    leader.links.stop();
    follower.links.stop();
}

#[test]
fn lesson_a_damaged_record_is_never_sent_on_under_a_fresh_checksum() {
    let mut log = Log::new();
    (0..2000u16).for_each(|number| drop(log.write(SHARD, LED, &vec![number.to_le_bytes()[0]; 1000])));
    log.lane.sync().unwrap();
    let folder = log.disk.root().subdir("lane").unwrap();
    let mut segments: Vec<String> = folder.entries().unwrap().into_iter().map(|(name, _)| name).collect();
    segments.sort();
    assert!(
        log.disk.flip(&format!("lane/{}", segments[segments.len() - 3]), 8 * 100_000),
        "there is such a bit"
    );
    let (sockets, roster) = listeners(2);
    let mut sockets = sockets.into_iter();
    let leader = Node::start(1, 1, sockets.next().unwrap(), &roster, options(Some(&log)));
    let follower = Node::start(2, 1, sockets.next().unwrap(), &roster, options(None));
    let mut port = leader.port_to(2);
    follower.door_of(1);
    port.ship(SHARD, log.shipping(SHARD));
    port.wake();
    // What stands behind the damage does not follow what came: the follower needs a snapshot, and the connection stays.
    let lacks = leader.next(|event| match event {
        Event::Lacks(peer, shard, _) => Some((peer.0, shard)),
        _ => None,
    });
    assert_eq!(lacks, (2, SHARD));
    port.send(SHARD, &Message::Beat { epoch: LED, committed: LogIndex(0), round: 7, is_spare: false });
    port.wake();
    let mut got = Vec::new();
    while let Some(records) = follower.next(|event| match event {
        Event::Heard(_, Message::Records(records)) => Some(Some(records)),
        Event::Heard(_, Message::Beat { round: 7, .. }) => Some(None),
        _ => None,
    }) {
        assert_eq!(records.after, LogIndex(got.len() as u64));
        got.extend(records.entries);
    }
    assert!(!got.is_empty() && got.len() < 2000, "{} of 2000", got.len());
    assert_eq!(got, log.entries[&SHARD][..got.len()], "what came is what was written");
    leader.links.stop();
    follower.links.stop();
}
