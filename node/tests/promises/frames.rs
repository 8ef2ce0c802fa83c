//! What nodes say to each other, byte for byte: two releases of one cluster must understand each other while it is upgraded.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bytes::Bytes;
use thalweg_node::codec::frame::{FRAME_HEAD_BYTES, FrameHead, FrameKind, put_frame};
use thalweg_node::codec::handshake::{
    Greeter, Hello, decode_hello, decode_put_back, decode_refusal, decode_welcome, encode_hello,
    encode_put_back, encode_refusal, encode_welcome, preamble,
};
use thalweg_node::codec::record::RecordKind;
use thalweg_node::core::replication::{Entry, EpochStart, History, Image, Message, Records, Report};
use thalweg_node::types::{
    Acks, Boot, Chain, ClusterId, Epoch, LogIndex, RecordEpoch, ReplicaId, ShardId, Start, StartKey, Trail,
    VolumeIncarnation,
};
use thalweg_node::wire::{Piece, PieceAsk, Said, decode_said, put_said};

use crate::formats::as_released;

/// What both sides of a connection said: any number.
const SEED: u32 = 0x5eed_0001;
const SHARD: ShardId = ShardId(0x0105);

fn epoch(record: u64, boot: u64) -> Epoch {
    Epoch { record: RecordEpoch(record), boot: Boot(boot) }
}

fn history() -> History {
    let starts = [(epoch(1, 1), 1), (epoch(1, 2), 300), (epoch(70_000, 9), 301)];
    let starts = starts.map(|(epoch, first)| EpochStart { epoch, first: LogIndex(first) });
    History::new(starts.to_vec(), LogIndex(5_000), Chain(0x0123_4567_89ab_cdef)).unwrap()
}

fn start() -> Start {
    Start { boot: Boot(7), key: StartKey(0x7777_0000_0000_0001) }
}

fn greeter() -> Greeter {
    let trail = Trail::new(Boot(7), &[StartKey(0x77), StartKey(0x66)]).unwrap();
    Greeter { id: ReplicaId(2), incarnation: VolumeIncarnation([0xaa; 16]), trail, connection: 11 }
}

fn hello() -> Hello {
    let (to, to_incarnation) = (ReplicaId(3), Some(VolumeIncarnation([0xbb; 16])));
    Hello {
        cluster: ClusterId([0xcc; 16]),
        shards: 16,
        plan: 0x1234_5678,
        acks: Acks::Leader,
        from: greeter(),
        to,
        to_incarnation,
    }
}

fn entry(kind: RecordKind, epoch: Epoch, payload: &'static [u8]) -> Entry {
    Entry { kind, epoch, payload: Bytes::from_static(payload) }
}

/// One of each that is said behind the handshake.
fn said() -> Vec<Said> {
    let (now, end) = (epoch(70_000, 9), LogIndex(5_000));
    let report = Report {
        epoch: now,
        boot: Boot(7),
        number: 3,
        history: history(),
        committed: LogIndex(4_999),
        intact: true,
    };
    let entries = vec![
        entry(RecordKind::EpochStart, now, b""),
        entry(RecordKind::Batch, now, b"a batch"),
        entry(RecordKind::Relief, now, b"a deletion"),
    ];
    let records =
        Records { epoch: now, after: LogIndex(300), chain: Chain(0xfeed), committed: LogIndex(299), entries };
    let image = Image { history: history(), bytes: 1 << 33, key: 0xdead_beef };
    vec![
        Said::Message(Message::Follow(now)),
        Said::Message(Message::Adopt { epoch: now, report: 3, common: LogIndex(300), end }),
        Said::Message(Message::Differs { epoch: now, at: epoch(1, 2) }),
        Said::Message(Message::Records(records)),
        Said::Message(Message::Beat { epoch: now, committed: LogIndex(4_999), round: 12, is_spare: false }),
        Said::ReadAnswered(8, Some(LogIndex(4_999))),
        Said::ReadAnswered(9, None),
        Said::ErrandAnswered(10, Bytes::from_static(b"what came of it")),
        Said::Message(Message::Offer { epoch: now, image }),
        Said::Piece(Piece { key: 0xdead_beef, at: 1 << 32, bytes: Bytes::from_static(b"a piece") }),
        Said::Message(Message::Report(report)),
        Said::Message(Message::Refused { epoch: now, promised: epoch(70_001, 0) }),
        Said::Message(Message::Ack { epoch: now, synced: end, round: 12 }),
        Said::ReadAsked(8),
        Said::ErrandAsked(10, Bytes::from_static(b"what is asked")),
        Said::Starts(vec![(VolumeIncarnation([0xaa; 16]), start())]),
        Said::PieceAsked(PieceAsk { key: 0xdead_beef, from: 1 << 32, upto: (1 << 32) + 7 }),
    ]
}

/// The handshake: what is said, and whether it reads back.
fn greetings() -> Vec<(FrameKind, Vec<u8>, bool)> {
    let made = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        bytes
    };
    let words = "cluster 01 has 16 shards, not 8";
    let (hi, welcome) =
        (made(&|out| encode_hello(&hello(), out)), made(&|out| encode_welcome(&greeter(), out)));
    let (refusal, put_back) =
        (made(&|out| encode_refusal(words, out)), made(&|out| encode_put_back(&start(), out)));
    let reads = [
        decode_hello(&hi) == Ok(hello()),
        decode_welcome(&welcome) == Ok(greeter()),
        decode_refusal(&refusal).as_deref() == Ok(words),
        decode_put_back(&put_back) == Ok(start()),
    ];
    let kinds = [FrameKind::Hello, FrameKind::Welcome, FrameKind::Refusal, FrameKind::PutBack];
    let said = kinds.into_iter().zip([hi, welcome, refusal, put_back]).zip(reads);
    let agreed = (FrameKind::Agreed, Vec::new(), true);
    said.map(|((kind, bytes), reads)| (kind, bytes, reads)).chain([agreed]).collect()
}

/// A line of the file: what it is, and its bytes.
fn line(text: &mut String, kind: &str, bytes: &[u8]) {
    write!(text, "{kind} ").unwrap();
    bytes.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
    text.push('\n');
}

#[test]
fn what_nodes_say_to_each_other_stays_as_it_is() {
    let (mut text, mut kinds) = (String::new(), BTreeSet::new());
    line(&mut text, "preamble", &preamble());
    for (kind, payload, reads) in greetings() {
        assert!(reads, "{kind:?}");
        let mut frame = Vec::new();
        put_frame(&mut frame, SEED, (kind, ShardId(0)), |out| out.extend_from_slice(&payload)).unwrap();
        line(&mut text, &format!("{kind:?}"), &frame);
        kinds.insert(kind as u8);
    }
    for said in said() {
        let mut frame = Vec::new();
        put_said(&mut frame, SEED, SHARD, &said).unwrap();
        let head = FrameHead::decode(frame.first_chunk().unwrap()).unwrap();
        line(&mut text, &format!("{:?}", head.kind), &frame);
        kinds.insert(head.kind as u8);
        let payload = Bytes::from(frame).slice(FRAME_HEAD_BYTES..);
        head.fits(SEED, &payload).unwrap();
        assert_eq!(decode_said(head.kind, &payload), Ok(said));
    }
    assert_eq!(kinds, FrameKind::ALL.map(|kind| kind as u8).into(), "one of each");
    as_released("frames-v1.txt", text.as_bytes());
}
