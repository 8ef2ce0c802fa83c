//! Who is no peer, or one that lies, at the port for peers of a whole node: connections end, and what the node has promised,
//! written and remembered is as it was.

use std::io::{Read, Write};

use thalweg_node::codec::frame::{FrameKind, put_frame};
use thalweg_node::codec::handshake::{Hello, encode_hello, preamble};
use thalweg_node::core::replication::Message;
use thalweg_node::types::{Boot, Chain, ClusterId, Epoch, LogIndex, RecordEpoch, ReplicaId};

use crate::member::{FOLLOWERS, LED, Lone, SHARD, State, frame, greeting, heard, lead, member, records, say};
use crate::raw::Raw;
use crate::world::{trail, volume};

/// Memory of this process that a flood may cost: what waits for one lane, for one peer, and what the system's buffers take.
const FLOOD_BYTES_MAX: u64 = 96 << 20;

/// Bytes that this process holds.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

async fn unchanged(lone: &Lone, before: &State, what: &str) {
    assert_eq!(&lone.state().await, before, "{what}");
}

/// The bytes with which a stranger begins.
fn opening(hello: &Hello) -> Vec<u8> {
    let (mut said, mut out) = (Vec::new(), preamble().to_vec());
    encode_hello(hello, &mut said);
    put_frame(&mut out, 0, (FrameKind::Hello, thalweg_node::types::ShardId(0)), |out| {
        out.extend_from_slice(&said);
    })
    .unwrap();
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_damaged_greetings_change_nothing() {
    let lone = Lone::start();
    let leader = lead(&lone);
    let before = lone.state().await;
    let right = opening(&greeting(2));
    let changed = |at: usize, to: &[u8]| {
        let mut bytes = right.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let cases: [(&str, Vec<u8>, &str); 7] = [
        ("another magic", changed(0, b"HTTP"), "does not speak the protocol"),
        ("another version", changed(4, &[9]), "speaks version 9"),
        ("a greeting of 4 GiB", changed(8, &[0xff; 4]), "cannot be read"),
        ("a greeting that is a beat", changed(12, &[FrameKind::Beat as u8]), "cannot be read"),
        ("a wrong checksum", changed(16, &[1, 2, 3, 4]), "cannot be read"),
        ("another cluster under the same checksum", changed(20, &[7; 16]), "cannot be read"),
        ("half a greeting", right[..right.len() / 2].to_vec(), ""),
    ];
    for (what, bytes, words) in cases {
        let mut raw = Raw::connect(lone.peer);
        let _ = raw.stream.write_all(&bytes);
        let _ = raw.stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _reset = raw.stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(words), "{what}: {answer}");
        unchanged(&lone, &before, what).await;
    }
    drop(leader);
    lone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i07_a_name_with_another_volume_and_i08_a_boot_that_was_passed_are_refused_and_change_nothing() {
    let lone = Lone::start();
    let mut leader = lead(&lone);
    let before = lone.state().await;
    let from = |change: fn(&mut Hello)| {
        let mut hello = greeting(1);
        change(&mut hello);
        hello
    };
    let cases: [(&str, Hello, &str); 6] = [
        ("an empty disk under the old name", from(|hello| hello.from.incarnation = volume(9)), "member"),
        ("a disk that was put back", from(|hello| hello.from.trail = trail(1, 4)), "put back"),
        ("somebody whom nobody knows", greeting(7), "member"),
        ("another cluster", from(|hello| hello.cluster = ClusterId([9; 16])), "cluster"),
        ("another number of shards", from(|hello| hello.shards = 64), "shards"),
        ("somebody who looks for another", from(|hello| hello.to = ReplicaId(2)), "looks for"),
    ];
    for (what, hello, words) in cases {
        let refused = Raw::connect(lone.peer).shake(&hello).unwrap_err();
        assert!(refused.contains(words), "{what}: {refused}");
        unchanged(&lone, &before, what).await;
    }
    // And whoever is right is disturbed by none of them.
    say(&mut leader, Message::Beat { epoch: LED, committed: LogIndex(1), round: 9, is_spare: false });
    while !matches!(heard(&mut leader), Some(Message::Ack { round: 9, .. })) {}
    lone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_handshake_and_recorded_frames_that_are_played_again_change_nothing() {
    let lone = Lone::start();
    let mut leader = lead(&lone);
    let before = lone.state().await;
    // All that the leader has said, in its own bytes.
    let mut recorded = opening(&greeting(1));
    put_frame(&mut recorded, leader.seed, (FrameKind::Agreed, thalweg_node::types::ShardId(0)), |_| {})
        .unwrap();
    recorded.extend(frame(leader.seed, Message::Follow(LED)));
    recorded.extend(frame(leader.seed, records(LED, 1, Chain(0))));
    let mut again = Raw::connect(lone.peer);
    again.stream.write_all(&recorded).unwrap();
    assert!(again.is_closed(), "its checksums are those of another connection");
    unchanged(&lone, &before, "a whole connection").await;
    // Frames of one connection on another one, whose hands are shaken.
    let mut other = member(&lone, 2);
    let stranger = Epoch { record: RecordEpoch(9), boot: Boot(5) };
    other.stream.write_all(&frame(leader.seed, Message::Follow(stranger))).unwrap();
    assert!(other.is_closed());
    let mut after = lone.state().await;
    after_greeting(&mut after, &before);
    assert_eq!(after, before, "frames of another connection");
    // The same frames twice on their own connection.
    for _ in 0..3 {
        say(&mut leader, records(LED, 0, Chain(0)));
    }
    say(&mut leader, Message::Beat { epoch: LED, committed: LogIndex(1), round: 9, is_spare: false });
    while !matches!(heard(&mut leader), Some(Message::Ack { round: 9, .. })) {}
    let mut after = lone.state().await;
    after_greeting(&mut after, &before);
    assert_eq!(after, before, "entries that come again");
    lone.stop().await;
}

/// A member that greeted is remembered: that may differ, and nothing else.
fn after_greeting(after: &mut State, before: &State) {
    after.forget_greetings(before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_speaks_for_other_epochs_or_for_somebody_else_changes_nothing() {
    let lone = Lone::start();
    let mut leader = lead(&lone);
    let mut other = member(&lone, 2);
    let before = lone.state().await;
    let stale = Epoch { record: RecordEpoch(2), boot: Boot(5) };
    let future = Epoch { record: RecordEpoch(9), boot: Boot(5) };
    for epoch in [stale, LED, future, Epoch { boot: Boot(6), ..LED }] {
        let far = LogIndex(1 << 60);
        say(&mut other, records(epoch, 1, Chain(0)));
        say(&mut other, records(epoch, far.0, Chain(7)));
        say(&mut other, Message::Adopt { epoch, report: 1, common: LogIndex(0), end: LogIndex(0) });
        say(&mut other, Message::Differs { epoch, at: epoch });
        say(&mut other, Message::Beat { epoch, committed: far, round: u64::MAX, is_spare: false });
    }
    // An order of the past, and one of the past of the same record.
    for epoch in [stale, Epoch { boot: Boot(4), ..LED }] {
        say(&mut other, Message::Follow(epoch));
        loop {
            match heard(&mut other) {
                Some(Message::Refused { epoch: refused, promised })
                    if refused == epoch && promised == LED =>
                {
                    break;
                }
                Some(Message::Refused { .. }) => {}
                answer => panic!("{answer:?}"),
            }
        }
    }
    unchanged(&lone, &before, "words of other epochs").await;
    say(&mut leader, Message::Beat { epoch: LED, committed: LogIndex(1), round: 9, is_spare: false });
    while !matches!(heard(&mut leader), Some(Message::Ack { round: 9, .. })) {}
    // What only the other side says, a shard that is not there, a length beyond all bounds: the connection ends.
    for kind in FOLLOWERS {
        let mut raw = member(&lone, 2);
        raw.send(kind, &[1, 1, 1, 1]);
        assert!(raw.is_closed(), "{kind:?}");
    }
    let whole = |seed| frame(seed, Message::Follow(future));
    let changes: [(&str, usize, u8); 4] =
        [("a length", 3, 0xff), ("a kind", 4, 99), ("a shard", 6, 200), ("a payload", 12, 0xff)];
    for (what, at, to) in changes {
        let mut raw = member(&lone, 2);
        let mut bytes = whole(raw.seed);
        bytes[at] = to;
        raw.stream.write_all(&bytes).unwrap();
        assert!(raw.is_closed(), "{what}");
    }
    unchanged(&lone, &before, "frames that are none").await;
    lone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_asked_for_change_nothing() {
    let lone = Lone::start();
    let leader = lead(&lone);
    // Node 0 dials every member, to lead if it ever should.
    let mut dialled = Raw::accept(&lone.second, 2);
    let before = lone.state().await;
    for epoch in [LED, Epoch { record: RecordEpoch(9), boot: Boot(1) }] {
        say(&mut dialled, Message::Ack { epoch, synced: LogIndex(u64::MAX), round: u64::MAX });
        say(&mut dialled, Message::Refused { epoch, promised: epoch });
    }
    // Answers to nothing come through the same lane: what stood before them is done.
    dialled.send(FrameKind::ReadAsked, &[1]);
    assert_eq!(dialled.receive().unwrap().0, FrameKind::ReadAnswered);
    unchanged(&lone, &before, "acknowledgements to a node that leads nothing").await;
    dialled.send(FrameKind::Beat, &[1, 1, 1, 1, 1]);
    assert!(dialled.is_closed(), "what only a leader says");
    unchanged(&lone, &before, "a beat from a follower").await;
    drop(leader);
    lone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_connections_and_of_frames_cost_a_bounded_amount_and_keep_nobody_out() {
    let lone = Lone::start();
    let mut leader = lead(&lone);
    let mut other = member(&lone, 2);
    let before = lone.state().await;
    let held = resident();
    // A member that says the same old thing a hundred thousand times, and reads no answer.
    let stale = frame(
        other.seed,
        Message::Beat {
            epoch: Epoch { record: RecordEpoch(2), boot: Boot(5) },
            committed: LogIndex(9),
            round: 1,
            is_spare: false,
        },
    );
    let many = stale.repeat(1000);
    let mut stream = other.stream.try_clone().unwrap();
    stream.set_write_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    let flood = std::thread::spawn(move || (0..400).take_while(|_| stream.write_all(&many).is_ok()).count());
    let silent: Vec<Raw> = (0..300).map(|_| Raw::connect(lone.peer)).collect();
    let half: Vec<Raw> = (0..100)
        .map(|_| {
            let mut raw = Raw::connect(lone.peer);
            let _ = raw.stream.write_all(&opening(&greeting(2))[..30]);
            raw
        })
        .collect();
    // Whoever is right comes in among them.
    for round in 10..13 {
        say(&mut leader, Message::Beat { epoch: LED, committed: LogIndex(1), round, is_spare: false });
        while !matches!(heard(&mut leader), Some(Message::Ack { round: found, .. }) if found == round) {}
        drop(member(&lone, 2));
    }
    assert!(flood.join().unwrap() > 0);
    for mut raw in silent.into_iter().chain(half) {
        assert!(raw.is_closed());
    }
    assert!(other.is_closed(), "who reads no answers is given up");
    let more = resident().saturating_sub(held);
    assert!(more < FLOOD_BYTES_MAX, "{} MiB more", more >> 20);
    unchanged(&lone, &before, "floods").await;
    let report = lone.shard(|_| true).await;
    assert_eq!((report.shard, report.end, report.promised), (SHARD, LogIndex(1), LED));
    lone.stop().await;
}
