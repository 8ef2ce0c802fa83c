//! Every message reads back as it was, and any bytes are a message or an error.

use proptest::prelude::*;

use super::*;
use crate::codec::frame::{FRAME_HEAD_BYTES, FrameHead};

fn any_epoch() -> impl Strategy<Value = Epoch> {
    (any::<u64>(), any::<u64>())
        .prop_map(|(record, boot)| Epoch { record: RecordEpoch(record), boot: Boot(boot) })
}

fn any_index() -> impl Strategy<Value = LogIndex> {
    any::<u64>().prop_map(LogIndex)
}

fn any_history() -> impl Strategy<Value = History> {
    let parts = prop::collection::vec((1..9u64, 1..1000u64), 0..20);
    (parts, any::<u64>()).prop_map(|(parts, end_chain)| {
        let (mut epoch, mut end, mut starts) = (Epoch::default(), 0, Vec::new());
        for (step, count) in parts {
            epoch.record.0 += step;
            starts.push(EpochStart { epoch, first: LogIndex(end + 1) });
            end += count;
        }
        History::new(starts, LogIndex(end), Chain(end_chain)).unwrap()
    })
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let kinds = [RecordKind::Batch, RecordKind::EpochStart, RecordKind::Config, RecordKind::Relief];
    (prop::sample::select(kinds.to_vec()), any_epoch(), prop::collection::vec(any::<u8>(), 0..300))
        .prop_map(|(kind, epoch, payload)| Entry { kind, epoch, payload: payload.into() })
}

fn any_records() -> impl Strategy<Value = Records> {
    let entries = prop::collection::vec(any_entry(), 0..20);
    (any_epoch(), 0..u64::MAX / 2, any::<u64>(), any_index(), entries).prop_map(
        |(epoch, after, chain, committed, entries)| Records {
            epoch,
            after: LogIndex(after),
            chain: Chain(chain),
            committed,
            entries,
        },
    )
}

fn any_start() -> impl Strategy<Value = KnownStart> {
    (any::<[u8; 16]>(), any::<u64>(), any::<u64>()).prop_map(|(volume, boot, key)| {
        (VolumeIncarnation(volume), Start { boot: Boot(boot), key: StartKey(key) })
    })
}

fn any_said() -> impl Strategy<Value = Said> {
    let message = prop_oneof![
        any_epoch().prop_map(Message::Follow),
        (any_epoch(), any::<(u64, u64, bool)>(), any_history(), any_index()).prop_map(
            |(epoch, (boot, number, intact), history, committed)| Message::Report(Report {
                epoch,
                boot: Boot(boot),
                number,
                history,
                committed,
                intact
            })
        ),
        (any_epoch(), any_epoch()).prop_map(|(epoch, promised)| Message::Refused { epoch, promised }),
        (any_epoch(), any::<u64>(), any_index(), any_index())
            .prop_map(|(epoch, report, common, end)| { Message::Adopt { epoch, report, common, end } }),
        (any_epoch(), any_epoch()).prop_map(|(epoch, at)| Message::Differs { epoch, at }),
        any_records().prop_map(Message::Records),
        (any_epoch(), any_index(), any::<u64>(), any::<bool>()).prop_map(
            |(epoch, committed, round, is_spare)| Message::Beat { epoch, committed, round, is_spare }
        ),
        (any_epoch(), any_index(), any::<u64>()).prop_map(|(epoch, synced, round)| Message::Ack {
            epoch,
            synced,
            round
        }),
        (any_epoch(), any::<u32>(), any::<u64>(), any_history()).prop_map(|(epoch, key, bytes, history)| {
            Message::Offer { epoch, image: Image { history, bytes, key } }
        }),
    ];
    prop_oneof![
        6 => message.prop_map(Said::Message),
        1 => any::<u64>().prop_map(Said::ReadAsked),
        1 => (any::<u64>(), prop::option::of(any_index())).prop_map(|(number, upto)| Said::ReadAnswered(number, upto)),
        1 => (any::<u64>(), any::<Vec<u8>>()).prop_map(|(number, bytes)| Said::ErrandAsked(number, bytes.into())),
        1 => (any::<u64>(), any::<Vec<u8>>()).prop_map(|(number, bytes)| Said::ErrandAnswered(number, bytes.into())),
        1 => prop::collection::vec(any_start(), 0..9).prop_map(Said::Starts),
        1 => (any::<u32>(), any::<u64>(), any::<u64>()).prop_map(|(key, from, upto)| Said::PieceAsked(PieceAsk { key, from, upto })),
        1 => (any::<u32>(), any::<u64>(), any::<Vec<u8>>()).prop_map(|(key, at, bytes)| Said::Piece(Piece { key, at, bytes: bytes.into() })),
    ]
}

fn framed(said: &Said) -> (FrameHead, Bytes) {
    let mut out = Vec::new();
    put_said(&mut out, 3, ShardId(5), said).unwrap();
    let head = FrameHead::decode(out.first_chunk().unwrap()).unwrap();
    let payload = Bytes::from(out).slice(FRAME_HEAD_BYTES..);
    head.fits(3, &payload).unwrap();
    assert_eq!(head.shard, ShardId(5));
    (head, payload)
}

proptest! {
    #[test]
    fn everything_said_round_trips(said in any_said()) {
        let (head, payload) = framed(&said);
        prop_assert_eq!(decode_said(head.kind, &payload), Ok(said));
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(at in 0..FrameKind::ALL.len(), bytes: Vec<u8>) {
        let kind = FrameKind::ALL[at];
        if let Ok(said) = decode_said(kind, &bytes.into()) {
            let (head, payload) = framed(&said);
            prop_assert_eq!(head.kind, kind);
            prop_assert_eq!(decode_said(kind, &payload), Ok(said));
        }
    }

    #[test]
    fn a_changed_message_is_a_message_or_an_error(said in any_said(), at: usize, change in 1..=255u8) {
        let (head, payload) = framed(&said);
        let mut bytes = payload.to_vec();
        let place = at % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= change;
        }
        let _ = decode_said(head.kind, &bytes.into());
    }
}

#[test]
fn an_entry_of_the_largest_size_fits_a_frame() {
    let payload = Bytes::from(vec![1; RECORD_PAYLOAD_BYTES_MAX]);
    let epoch = Epoch { record: RecordEpoch(u64::MAX), boot: Boot(u64::MAX) };
    let records = Records {
        epoch,
        after: LogIndex(u64::MAX - 2),
        chain: Chain(1),
        committed: LogIndex(u64::MAX),
        entries: vec![Entry { kind: RecordKind::Batch, epoch, payload }],
    };
    let said = Said::Message(Message::Records(records));
    let (head, payload) = framed(&said);
    assert!(decode_said(head.kind, &payload) == Ok(said));
}

#[test]
fn counts_that_the_bytes_do_not_bear_out_are_refused_before_anything_is_allocated() {
    let mut body = vec![1, 1, 0];
    body.extend_from_slice(&[0; 8]);
    body.push(0);
    put_number(&mut body, 1 << 20);
    body.resize(1 << 20, 0);
    assert!(decode_said(FrameKind::Records, &body.clone().into()).is_err());
    let mut body = vec![1, 1, 1, 0, 9];
    body.extend_from_slice(&[0; 8]);
    put_number(&mut body, u64::MAX);
    assert_eq!(decode_said(FrameKind::Report, &body.into()), Err(CodecError::Truncated(WHAT)));
    let mut body = Vec::new();
    put_number(&mut body, u64::MAX);
    assert_eq!(decode_said(FrameKind::Starts, &body.into()), Err(CodecError::Truncated(WHAT)));
}

#[test]
fn what_belongs_to_the_lane_or_is_local_does_not_travel() {
    for kind in [RecordKind::Cut, RecordKind::Roll, RecordKind::Mark, RecordKind::Close] {
        let mut body = vec![1, 1, 0];
        body.extend_from_slice(&[0; 8]);
        body.extend_from_slice(&[0, 1, kind as u8, 1, 1, 0]);
        assert_eq!(decode_said(FrameKind::Records, &body.into()), Err(CodecError::Impossible(WHAT)));
    }
}
