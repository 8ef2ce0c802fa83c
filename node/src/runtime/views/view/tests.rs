//! What a view does for its readers, and what it does not do twice.

use super::*;

/// A stream that begins with this lifetime.
pub(crate) fn meta(id: u64, name: &str, lifetime: Lifetime) -> StreamMeta {
    let config = StreamConfig { lifetime, ..StreamConfig::default() };
    StreamMeta {
        id: StreamId(id),
        name: StreamName::from_bytes(name.as_bytes()).unwrap(),
        config,
        created_at: UnixMillis(1),
        touched_at: UnixMillis(1),
        base: Offset::ZERO,
        earliest: Offset::ZERO,
        tail: Offset::ZERO,
        closed: false,
        closed_by: None,
        last_seq: None,
        parent: None,
        pins: 0,
        retired: false,
    }
}

fn append(view: &StreamView, bytes: usize, index: u64) {
    let start = view.snapshot(UnixMillis(2)).state.tail;
    let messages = Messages::single(vec![b'x'; bytes].into()).unwrap();
    let (stream, at) = (view.id, UnixMillis(2));
    let op = AppendOp { stream, start, messages, close: false, producer: None, seq: None, at };
    view.append(&op, LogIndex(index));
}

/// Where the bytes of each segment lie, and how many there are.
fn places(view: &StreamView, bytes_max: usize) -> Vec<(*const u8, usize)> {
    let (_, segments) = view.snapshot_from(Offset::ZERO, bytes_max, UnixMillis(3));
    let wires = segments.unwrap();
    wires.iter().map(|part| (part.messages.wire().as_ptr(), part.messages.wire().len())).collect()
}

fn view() -> StreamView {
    StreamView::new(&meta(1, "s", Lifetime::Forever), Incarnation(1), LogIndex(0), UnixMillis(0))
}

#[test]
fn a_reader_copies_nothing_that_another_merged_before() {
    let view = view();
    for index in 1..=700 {
        append(&view, 4096, index);
    }
    let merged = places(&view, usize::MAX);
    assert!(merged.len() < 30 && merged.len() > 16, "{}", merged.len());
    for index in 701..=705 {
        append(&view, 100, index);
        let now = places(&view, usize::MAX);
        assert_eq!(now.get(..merged.len()), Some(merged.as_slice()), "copied again behind append {index}");
    }
}

#[test]
fn a_read_merges_under_the_lock_no_more_than_it_hands_out() {
    let view = view();
    for index in 1..=1000 {
        append(&view, 1000, index);
    }
    let before = view.lock().segments.len();
    let read: usize = places(&view, 50_000).iter().map(|(_, bytes)| bytes).sum();
    let gone = before - view.lock().segments.len();
    assert!(read > 49_000 && (45..=50).contains(&gone), "{read} bytes read, {gone} segments merged away");
    let all: usize = places(&view, usize::MAX).iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(all, 1_000_000);
}

#[test]
fn a_sliding_window_that_a_start_interrupted_begins_afresh_for_readers_too() {
    let sliding = meta(1, "s", Lifetime::Sliding(10));
    let view = StreamView::new(&sliding, Incarnation(1), LogIndex(0), UnixMillis(100_000));
    assert!(!view.snapshot(UnixMillis(109_999)).gone, "who read it before the start is not known");
    assert!(view.snapshot(UnixMillis(110_000)).gone);
}
