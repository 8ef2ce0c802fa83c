//! A follower gets the leader's log: all of it, in order, once, from wherever it can be had.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use thalweg_node::core::replication::Message;
use thalweg_node::types::{Boot, Epoch, LogIndex, RecordEpoch, ShardId};
use thalweg_node::wire::{Direction, Door, LinkOptions, LinkReport, Port};

use crate::world::{Copy, Event, LED, Log, Node, listeners, options};

const BEFORE: Epoch = Epoch { record: RecordEpoch(1), boot: Boot(1) };
const SHARDS: u16 = 3;

/// Writes entries to the shards in turn, and puts them into ports.
fn write(log: &mut Log, count: u16, bytes: usize, ports: &mut [Port]) {
    for number in 0..count {
        let shard = ShardId(number % SHARDS);
        let shipped = log.write(shard, LED, &vec![number.to_le_bytes()[0]; bytes + usize::from(number % 13)]);
        for port in &mut *ports {
            port.fill(shard, &shipped);
            port.wake();
        }
    }
}

fn ship(log: &Log, port: &mut Port) {
    (0..SHARDS).map(ShardId).for_each(|shard| port.ship(shard, log.shipping(shard)));
    port.wake();
}

/// A leader with so many followers, the ports to them and their doors.
pub(crate) struct World {
    pub(crate) leader: Node,
    pub(crate) followers: Vec<Node>,
    pub(crate) ports: Vec<Port>,
    pub(crate) doors: Vec<Door>,
}

impl World {
    pub(crate) fn start(log: &Log, followers: u32, change: impl FnOnce(&mut LinkOptions)) -> Self {
        let (sockets, roster) = listeners(followers + 1);
        let mut leading = options(Some(log));
        change(&mut leading);
        let mut sockets = sockets.into_iter();
        let leader = Node::start(1, 1, sockets.next().unwrap(), &roster, leading);
        let followers: Vec<Node> =
            (2..).zip(sockets).map(|(id, at)| Node::start(id, 1, at, &roster, options(None))).collect();
        let mut ports = BTreeMap::new();
        while ports.len() < followers.len() {
            let (peer, port) = leader.next(|event| match event {
                Event::Dialled(peer, mut found) => found.pop().map(|port| (peer.id, port)),
                _ => None,
            });
            ports.insert(peer, port);
        }
        let doors = followers.iter().map(|follower| follower.door_of(1)).collect();
        Self { leader, followers, ports: ports.into_values().collect(), doors }
    }

    /// The leader's report of its link to the first follower.
    fn report(&self) -> LinkReport {
        let mut reports = self.leader.links.report().into_iter();
        reports.find(|report| report.direction == Direction::Dialled).unwrap()
    }

    /// Looks at that report until it is as wanted.
    fn until(&self, wanted: impl Fn(&LinkReport) -> bool) -> LinkReport {
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        for _ in 0..2000 {
            let report = self.report();
            if wanted(&report) {
                return report;
            }
            let _ = never.recv_timeout(Duration::from_millis(10));
        }
        panic!("{:?}", self.report());
    }

    pub(crate) fn stop(self) {
        self.followers.iter().for_each(|follower| follower.host.shut(false));
        self.leader.links.stop();
        self.followers.iter().for_each(|follower| follower.links.stop());
    }
}

/// Followers of a log that grows before and after it is shipped have all of it.
fn followers_get_everything(followers: u32, change: impl FnOnce(&mut LinkOptions)) {
    let mut log = Log::new();
    let mut world = World::start(&log, followers, change);
    write(&mut log, 1500, 300, &mut []);
    world.ports.iter_mut().for_each(|port| ship(&log, port));
    write(&mut log, 1500, 300, &mut world.ports);
    for (follower, door) in world.followers.iter().zip(&world.doors) {
        Copy::default().hear(follower, door, &log.entries);
    }
    // Level by now: what is written next comes through the ring.
    world.until(|report| report.catching_up.is_empty());
    let mut copies: Vec<_> = world.followers.iter().map(|_| Copy::default()).collect();
    write(&mut log, 300, 10, &mut world.ports);
    world.ports.iter_mut().for_each(|port| ship(&log, port));
    for ((follower, door), copy) in world.followers.iter().zip(&world.doors).zip(&mut copies) {
        copy.hear_again(follower, door, &log.entries);
    }
    world.stop();
}

#[test]
fn a_follower_gets_the_log_from_the_files_and_then_as_it_is_written_without_a_hole_or_a_double() {
    followers_get_everything(1, |_| {});
}

#[test]
fn a_ring_that_is_too_small_loses_nothing() {
    followers_get_everything(1, |options| options.ring_entries = 2);
    followers_get_everything(1, |options| options.ring_bytes = 1000);
}

#[test]
fn several_followers_get_everything_at_once() {
    followers_get_everything(3, |options| options.ring_entries = 16);
}

#[test]
fn a_catch_up_that_may_only_be_slow_gets_everything() {
    followers_get_everything(1, |options| options.catch_up_bytes_per_second = Some(4 << 20));
}

#[test]
fn entries_that_were_cut_are_not_sent() {
    let mut log = Log::new();
    let shard = ShardId(2);
    (0..10).for_each(|number| drop(log.write(shard, BEFORE, &[number])));
    log.cut(shard, 4);
    (0..3).for_each(|number| drop(log.write(shard, LED, &[100 + number])));
    let mut world = World::start(&log, 1, |_| {});
    world.ports[0].ship(shard, log.shipping(shard));
    world.ports[0].wake();
    Copy::default().hear(&world.followers[0], &world.doors[0], &log.entries);
    world.stop();
}

#[test]
fn a_receiver_that_blocks_holds_back_the_sender_and_nothing_piles_up() {
    const WINDOW: u64 = 256 << 10;
    let mut log = Log::new();
    let mut world = World::start(&log, 1, |options| {
        options.window_bytes = WINDOW;
        options.silence_timeout = Duration::from_secs(60);
        options.write_timeout = Duration::from_secs(60);
    });
    write(&mut log, 3000, 2000, &mut []);
    world.followers[0].host.shut(true);
    ship(&log, &mut world.ports[0]);
    // All shards have used up their windows; what is sent goes no further.
    let all: BTreeSet<_> = (0..SHARDS).map(ShardId).collect();
    let report = world.until(|report| report.catching_up == all && report.bytes_sent > 2 * WINDOW);
    write(&mut log, 300, 2000, &mut world.ports);
    assert!(report.bytes_sent < 4 * WINDOW, "{report:?}");
    world.followers[0].host.shut(false);
    Copy::default().hear(&world.followers[0], &world.doors[0], &log.entries);
    world.stop();
}

#[test]
fn a_shard_whose_follower_confirms_nothing_does_not_hold_back_the_others() {
    let mut log = Log::new();
    let mut world = World::start(&log, 1, |options| options.window_bytes = 10_000);
    write(&mut log, 300, 500, &mut []);
    ship(&log, &mut world.ports[0]);
    let (follower, door) = (&world.followers[0], &world.doors[0]);
    let (mut silent, mut other) = (0, 0);
    while other < 100 {
        let (shard, message) = follower.message();
        let Message::Records(records) = message else { continue };
        let upto = records.after.0 + records.entries.len() as u64;
        match shard {
            ShardId(0) => silent = upto,
            ShardId(1) => other = upto,
            _ => {}
        }
        if shard != ShardId(0) {
            door.send(shard, &Message::Ack { epoch: LED, synced: LogIndex(upto), round: 0 });
        }
    }
    assert!((15..25).contains(&silent), "a window of it: {silent}");
    world.stop();
}

#[test]
fn a_follower_that_lacks_what_the_log_no_longer_has_is_said_to_need_a_snapshot() {
    let mut log = Log::new();
    write(&mut log, 3000, 1000, &mut []);
    log.lane.sync().unwrap();
    log.lane.release(log.lane.reader().written()).unwrap();
    assert!(log.lane.reader().start().0 > 0);
    let mut world = World::start(&log, 1, |_| {});
    ship(&log, &mut world.ports[0]);
    let report = world.until(|report| report.needs_snapshot.len() == usize::from(SHARDS));
    let told = (0..SHARDS).map(|_| {
        world.leader.next(|event| match event {
            Event::Lacks(peer, shard, epoch) => Some((peer.0, shard, epoch)),
            _ => None,
        })
    });
    let told: BTreeSet<_> = told.collect();
    assert_eq!(told, (0..SHARDS).map(|shard| (2, ShardId(shard), LED)).collect(), "each once");
    assert!(report.is_connected && report.catching_up.is_empty());
    world.ports[0].unship(ShardId(1));
    world.ports[0].wake();
    world.until(|report| report.needs_snapshot.len() == 2);
    world.stop();
}

#[test]
fn an_order_for_a_newer_epoch_leaves_out_what_was_put_in_for_an_older_one() {
    let mut log = Log::new();
    let shard = ShardId(1);
    let mut world = World::start(&log, 1, |_| {});
    let shipped = log.write(shard, LED, b"entry");
    let port = &mut world.ports[0];
    port.fill(
        shard,
        &thalweg_node::wire::Shipped { leading: BEFORE, payload: "other".into(), ..shipped.clone() },
    );
    port.ship(shard, log.shipping(shard));
    port.fill(shard, &shipped);
    port.wake();
    Copy::default().hear(&world.followers[0], &world.doors[0], &log.entries);
    world.stop();
}
