//! A follower gets the pieces of a snapshot that it asks for: no others, beside everything else, and on after a break.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use thalweg_node::codec::frame::PIECE_BYTES_MAX;
use thalweg_node::core::replication::{History, Image, Message};
use thalweg_node::seam::disk::simulated::SimulatedDisk;
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::types::ShardId;
use thalweg_node::wire::{Parcel, Piece, PieceAsk};

use crate::shipping::World;
use crate::world::{Event, LED, Log};

const SHARD: ShardId = ShardId(1);
const KEY: u32 = 77;

/// A file whose bytes tell where they stand.
fn parcel(bytes: usize) -> Parcel {
    let file = SimulatedDisk::new(3).root().create("snapshot").unwrap();
    let content: Vec<u8> = (0..bytes).map(|at| (at / 7 % 251).try_into().unwrap()).collect();
    file.write_at(&content, 0).unwrap();
    Parcel { key: KEY, bytes: bytes as u64, file, sent: Arc::default() }
}

fn offer(parcel: &Parcel) -> Message {
    let image = Image { history: History::default(), bytes: parcel.bytes, key: parcel.key };
    Message::Offer { epoch: LED, image }
}

fn is_as_written(piece: &Piece) -> bool {
    let place = |at: usize| u8::try_from((usize::try_from(piece.at).unwrap() + at) / 7 % 251).unwrap();
    piece.bytes.iter().enumerate().all(|(at, byte)| *byte == place(at))
}

/// The next piece.
fn piece(world: &World) -> Piece {
    world.followers[0].next(|event| match event {
        Event::Piece(SHARD, piece) => Some(piece),
        _ => None,
    })
}

#[test]
fn a_snapshot_arrives_as_it_is_as_far_as_it_was_asked_for() {
    let log = Log::new();
    let mut world = World::start(&log, 1, |_| {});
    let whole = 3 * PIECE_BYTES_MAX + 1000;
    let parcel = parcel(whole);
    world.ports[0].offer(SHARD, &offer(&parcel), parcel.clone());
    world.ports[0].wake();
    assert_eq!(world.followers[0].message(), (SHARD, offer(&parcel)));
    let (mut have, mut upto) = (0, 0);
    while have < parcel.bytes {
        if have == upto {
            upto = (upto + 300_000).min(parcel.bytes);
            world.doors[0].ask_piece(SHARD, PieceAsk { key: KEY, from: have, upto });
        }
        let piece = piece(&world);
        assert_eq!(piece.at, have, "no hole and no double");
        assert!(is_as_written(&piece) && piece.bytes.len() <= PIECE_BYTES_MAX);
        have += piece.bytes.len() as u64;
        assert!(have <= upto, "nothing that was not asked for");
    }
    assert_eq!(parcel.sent.load(Ordering::Relaxed), parcel.bytes);
    // Another file, and one that is not there any more.
    world.doors[0].ask_piece(SHARD, PieceAsk { key: KEY + 1, from: 5, upto: 9 });
    assert_eq!(piece(&world), Piece { key: KEY + 1, at: 5, bytes: bytes::Bytes::new() });
    world.ports[0].unship(SHARD);
    world.ports[0].wake();
    world.doors[0].ask_piece(SHARD, PieceAsk { key: KEY, from: 5, upto: 9 });
    while !piece(&world).bytes.is_empty() {}
    world.stop();
}

#[test]
fn entries_of_other_shards_do_not_wait_behind_a_snapshot() {
    let mut log = Log::new();
    let mut world = World::start(&log, 1, |_| {});
    let parcel = parcel(64 << 20);
    let other = ShardId(2);
    world.ports[0].ship(other, log.shipping(other));
    world.ports[0].offer(SHARD, &offer(&parcel), parcel.clone());
    world.ports[0].wake();
    world.doors[0].ask_piece(SHARD, PieceAsk { key: KEY, from: 0, upto: parcel.bytes });
    drop(piece(&world));
    let shipped = log.write(other, LED, b"entry");
    world.ports[0].fill(other, &shipped);
    world.ports[0].wake();
    let mut pieces = 0;
    loop {
        let is_entry = world.followers[0].next(|event| match event {
            Event::Piece(..) => Some(false),
            Event::Heard(shard, Message::Records(_)) if shard == other => Some(true),
            _ => None,
        });
        if is_entry {
            break;
        }
        pieces += 1;
    }
    let all = parcel.bytes / PIECE_BYTES_MAX as u64;
    assert!(pieces < all / 2, "{pieces} of {all} pieces came first");
    world.stop();
}

#[test]
fn a_fetch_goes_on_where_it_was_on_another_connection() {
    let log = Log::new();
    let mut world = World::start(&log, 1, |_| {});
    let parcel = parcel(2 * PIECE_BYTES_MAX);
    world.ports[0].offer(SHARD, &offer(&parcel), parcel.clone());
    world.ports[0].wake();
    world.doors[0].ask_piece(SHARD, PieceAsk { key: KEY, from: 0, upto: parcel.bytes });
    let have = piece(&world).bytes.len() as u64;
    world.doors[0].hang_up();
    let mut port = world.leader.port_to(2);
    let door = world.followers[0].door_of(1);
    port.offer(SHARD, &offer(&parcel), parcel.clone());
    port.wake();
    door.ask_piece(SHARD, PieceAsk { key: KEY, from: have, upto: parcel.bytes });
    let rest = piece(&world);
    assert_eq!((rest.at, rest.bytes.len() as u64), (have, parcel.bytes - have));
    assert!(is_as_written(&rest));
    world.stop();
}

#[test]
fn a_snapshot_keeps_the_rate_for_followers_that_are_behind() {
    const RATE: u64 = 2 << 20;
    let log = Log::new();
    let mut world = World::start(&log, 1, |options| options.catch_up_bytes_per_second = Some(RATE));
    let parcel = parcel(8 * PIECE_BYTES_MAX);
    world.ports[0].offer(SHARD, &offer(&parcel), parcel.clone());
    world.ports[0].wake();
    let began = SystemClock.elapsed();
    world.doors[0].ask_piece(SHARD, PieceAsk { key: KEY, from: 0, upto: parcel.bytes });
    let mut have = 0;
    while have < parcel.bytes {
        have += piece(&world).bytes.len() as u64;
    }
    // All but the last piece must have been waited for.
    let least = Duration::from_millis((parcel.bytes - PIECE_BYTES_MAX as u64) * 1000 / RATE);
    let took = SystemClock.elapsed().saturating_sub(began);
    assert!(took >= least, "{took:?} < {least:?}");
    world.stop();
}
