//! What is sent follows what was sent, whatever is offered and in whatever order.

use std::sync::Arc;

use super::*;
use crate::core::replication::{EpochStart, History};
use crate::types::{Boot, RecordEpoch};

const LED: Epoch = Epoch { record: RecordEpoch(3), boot: Boot(1) };

fn shipment(written: u64, window: u64) -> Shipment {
    let start = EpochStart { epoch: LED, first: LogIndex(1) };
    let starts = if written == 0 { Vec::new() } else { vec![start] };
    let history = Arc::new(History::new(starts, LogIndex(written), Chain(9)).unwrap());
    let shipping = Shipping {
        epoch: LED,
        after: LogIndex(0),
        chain: Some(Chain(0)),
        committed: LogIndex(0),
        written: LogIndex(written),
        history,
        from: None,
    };
    Shipment::new(shipping, LanePosition(64), window)
}

fn chain(index: u64) -> Chain {
    (1..=index).fold(Chain(0), |chain, index| {
        chain_after(chain, LED, LogIndex(index), RecordKind::Batch, &payload(index))
    })
}

fn payload(index: u64) -> Bytes {
    Bytes::from(vec![1; usize::try_from(index % 7).unwrap()])
}

fn shipped(index: u64) -> Shipped {
    Shipped {
        leading: LED,
        epoch: LED,
        index: LogIndex(index),
        chain: chain(index - 1),
        chain_after: chain(index),
        kind: RecordKind::Batch,
        end: LanePosition(1000 * index),
        committed: LogIndex(index / 2),
        payload: payload(index),
    }
}

/// Puts the scan at the end of what is written.
fn scanned(shipment: &mut Shipment, at: u64) {
    shipment.stage = Stage::Riding;
    shipment.scanned(LanePosition(at));
}

#[test]
fn an_entry_is_sent_when_it_is_the_next_and_only_once() {
    let mut one = shipment(0, 1 << 20);
    scanned(&mut one, 100);
    assert_eq!(one.offer_shipped(shipped(1)), Taken::Sent);
    assert_eq!(one.offer_shipped(shipped(1)), Taken::Passed);
    assert_eq!(one.offer_shipped(shipped(2)), Taken::Sent);
    assert_eq!(one.stage, Stage::Level(LanePosition(2000)));
    assert_eq!(one.offer_shipped(shipped(4)), Taken::Above);
    assert_eq!(one.stage, Stage::Behind(LanePosition(2000)), "the third is looked for in the files");
    let records = one.take_pending().unwrap();
    assert_eq!((records.after, records.entries.len(), records.committed), (LogIndex(0), 2, LogIndex(2)));
    assert_eq!(one.offer_shipped(shipped(3)), Taken::Sent);
    let records = one.take_pending().unwrap();
    assert_eq!((records.after, records.chain), (LogIndex(2), chain(2)));
    assert!(one.take_pending().is_none());
}

#[test]
fn what_was_put_in_for_another_epoch_or_is_of_another_log_is_not_sent() {
    let mut one = shipment(0, 1 << 20);
    scanned(&mut one, 100);
    let older = Epoch { record: RecordEpoch(2), boot: Boot(9) };
    assert_eq!(one.offer_shipped(Shipped { leading: older, ..shipped(1) }), Taken::Passed);
    assert_eq!(one.offer_shipped(Shipped { chain: Chain(7), ..shipped(1) }), Taken::Above);
    assert!(one.take_pending().is_none());
}

#[test]
fn a_follower_that_confirms_nothing_gets_a_window_and_then_waits() {
    let mut one = shipment(0, 10 * ENTRY_BYTES);
    scanned(&mut one, 100);
    let sent = (1..100).take_while(|index| one.offer_shipped(shipped(*index)) == Taken::Sent).count() as u64;
    assert!((5..=10).contains(&sent), "{sent}");
    assert!(matches!(one.stage, Stage::Held(_)));
    one.take_pending();
    one.confirm(Epoch::default(), LogIndex(sent));
    assert!(matches!(one.stage, Stage::Held(_)), "a confirmation of another epoch is none");
    one.confirm(LED, LogIndex(sent));
    assert!(matches!(one.stage, Stage::Behind(_)), "what was not sent is read from the files");
    assert_eq!(one.offer_shipped(shipped(sent + 1)), Taken::Sent);
}

#[test]
fn what_is_not_found_in_the_files_needs_a_snapshot_unless_it_was_never_written() {
    let mut one = shipment(5, 1 << 20);
    scanned(&mut one, 100);
    assert_eq!(one.stage, Stage::NeedsSnapshot);
    let mut one = shipment(0, 1 << 20);
    scanned(&mut one, 100);
    assert_eq!(one.stage, Stage::Level(LanePosition(100)));
    one.missed(LanePosition(50));
    assert_eq!(one.stage, Stage::Behind(LanePosition(100)));
    scanned(&mut one, 200);
    one.missed(LanePosition(250));
    assert_eq!(one.stage, Stage::Behind(LanePosition(250)), "the ring had everything up to there");
}

#[test]
fn a_frame_holds_many_small_entries_or_one_large_one() {
    let mut one = shipment(0, u64::MAX);
    scanned(&mut one, 100);
    assert!(!one.is_full_with(usize::MAX / 2), "one always fits");
    one.offer_shipped(shipped(1));
    assert!(one.is_full_with(RECORDS_BYTES_TARGET) && !one.is_full_with(100));
}
