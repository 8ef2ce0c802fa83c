//! Promise: listings, deadlines and facts come in order and in pages; retention finds the exact boundary.

use bytes::Bytes;
use proptest::prelude::*;
use thalweg_node::store::tables::Tables;
use thalweg_node::types::{LogIndex, Offset, Op, Retention, Space, StreamId, UnixMillis};

use super::table_model::{Plain, Step, applied, identity, memory};

fn tables_with(steps: &[Step]) -> (Tables, Plain) {
    let mut tables = Tables::create_on(memory(), identity(), 1 << 20).unwrap();
    let mut plain = Plain::default();
    for (index, step) in (1..).zip(steps) {
        let ops: Vec<_> = plain.take(step).into_iter().map(|op| (LogIndex(index), op)).collect();
        tables.apply(&ops, applied(index), &[]).unwrap();
    }
    (tables, plain)
}

#[test]
fn listings_come_in_pages_by_prefix() {
    let create = |name| Step::Create { name, json: false, ttl: None, base: 0 };
    let (tables, _) = tables_with(&(0..25).map(create).collect::<Vec<_>>());
    let reader = tables.reader();
    let names = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
        let entries = reader.list(prefix, after, limit).unwrap();
        entries.iter().map(|entry| entry.meta.name.to_string()).collect()
    };
    assert_eq!(names("name/1", None, 3), ["name/1", "name/10", "name/11"]);
    assert_eq!(names("name/1", Some("name/11"), 2), ["name/12", "name/13"]);
    assert_eq!(names("name/1", Some("name/19"), 9), [""; 0]);
    assert_eq!(names("name/2", Some("a"), 2), ["name/2", "name/20"]);
    assert_eq!(names("name/2", Some("z"), 2), [""; 0]);
    assert_eq!(names("", None, 100).len(), 25);
}

#[test]
fn deadlines_come_in_pages_the_earliest_first() {
    let create = |name: u8| Step::Create { name, json: false, ttl: Some(50 - u16::from(name)), base: 0 };
    let (tables, _) = tables_with(&(0..20).map(create).collect::<Vec<_>>());
    let reader = tables.reader();
    let all = reader.expiring(None, 100).unwrap();
    assert!(all.len() == 20 && all.is_sorted());
    let mut paged = Vec::new();
    while let page = reader.expiring(paged.last().copied(), 3).unwrap()
        && !page.is_empty()
    {
        paged.extend(page);
    }
    assert_eq!(paged, all);
}

#[test]
fn a_clock_that_goes_back_ends_no_window_early() {
    let (mut tables, mut plain) = tables_with(&[]);
    let create = Step::Create { name: 0, json: false, ttl: Some(60), base: 0 };
    let ops: Vec<_> = plain.take(&create).into_iter().map(|op| (LogIndex(1), op)).collect();
    tables.apply(&ops, applied(1), &[]).unwrap();
    let touched =
        |tables: &Tables| tables.reader().stream_by_id(StreamId(1)).unwrap().unwrap().meta.touched_at;
    let now = touched(&tables);
    let touch = Op::Touch { stream: StreamId(1), at: UnixMillis(now.0 - 30_000) };
    tables.apply(&[(LogIndex(2), touch)], applied(2), &[]).unwrap();
    assert_eq!(touched(&tables), now);
}

#[test]
fn every_stream_with_retention_is_found_the_first_of_a_shard_too() {
    let mut tables = Tables::create_on(memory(), identity(), 1 << 20).unwrap();
    let mut model = Plain::default();
    for (index, id) in (1..).zip(0..5) {
        let ops = model.take(&Step::Create { name: id, json: false, ttl: None, base: 0 });
        let Some(Op::Create(meta)) = ops.first() else { panic!("{ops:?}") };
        let mut meta = meta.clone();
        meta.id = StreamId(id.into());
        meta.config.retention.messages = Some(1);
        tables.apply(&[(LogIndex(index), Op::Create(meta))], applied(index), &[]).unwrap();
    }
    let reader = tables.reader();
    let mut found = Vec::new();
    let mut next = StreamId(0);
    loop {
        let page = reader.retained(next, 2).unwrap();
        let Some(last) = page.last() else { break };
        next = StreamId(last.0 + 1);
        found.extend(page);
    }
    assert_eq!(found, (0..5).map(StreamId).collect::<Vec<_>>());
}

#[test]
fn facts_are_kept_by_space_and_key() {
    let mut tables = Tables::create_on(memory(), identity(), 1 << 20).unwrap();
    let blob = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let put = |space, key: &str, value: &str| Op::Put { space, key: blob(key), value: blob(value) };
    let ops = [
        put(Space::Pattern, "b", "2"),
        put(Space::Pattern, "a", "1"),
        put(Space::Link, "a", "other space"),
        put(Space::Pattern, "a", "3"),
        put(Space::Pattern, "c", "gone"),
        Op::Erase { space: Space::Pattern, key: blob("c") },
        Op::Erase { space: Space::Secret, key: blob("never there") },
    ];
    let ops: Vec<_> = ops.into_iter().map(|op| (LogIndex(1), op)).collect();
    tables.apply(&ops, applied(1), &[]).unwrap();
    let reader = tables.reader();
    assert_eq!(reader.facts(Space::Pattern).unwrap(), [(blob("a"), blob("3")), (blob("b"), blob("2"))]);
    assert_eq!(reader.fact(Space::Link, b"a").unwrap(), Some(blob("other space")));
    assert_eq!(reader.fact(Space::Secret, b"a").unwrap(), None);
}

fn append(sizes: Vec<u32>) -> Step {
    Step::Append { pick: 0, sizes, close: false, producer: None }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn retention_finds_the_smallest_boundary_that_keeps_no_more_than_asked(
        sizes in prop::collection::vec(prop::collection::vec(0u32..9000, 1..12), 1..25),
        messages in prop::option::of(0u64..120), bytes in prop::option::of(0u64..400_000), chunks_max in 1usize..5,
    ) {
        let mut steps = vec![Step::Create { name: 1, json: true, ttl: None, base: 1 }];
        steps.extend(sizes.into_iter().map(append));
        let (mut tables, plain) = tables_with(&steps);
        let (reader, stream) = (tables.reader(), &plain.streams[&1]);
        let keep = Retention { seconds: None, bytes, messages };
        let tail = stream.meta.tail;
        let wanted = (0..=stream.messages.len())
            .map(|index| stream.boundary(index))
            .find(|at| {
                messages.is_none_or(|most| tail.messages - at.messages <= most)
                    && bytes.is_none_or(|most| tail.bytes - at.bytes <= most)
            })
            .unwrap();
        let now = UnixMillis(1 << 40);
        let found = reader.boundary(StreamId(1), keep, now, usize::MAX).unwrap();
        prop_assert_eq!(found.unwrap_or(stream.meta.base), wanted);
        // In small steps, each made real by a trim and reaped, it comes to the same.
        let mut index = 1000;
        let mut at = Offset::default();
        while let Some(earliest) = reader.boundary(StreamId(1), keep, now, chunks_max).unwrap() {
            prop_assert!(earliest > at);
            at = earliest;
            index += 1;
            let trim = Op::Trim { stream: StreamId(1), earliest };
            tables.apply(&[(LogIndex(index), trim)], applied(index), &[]).unwrap();
            tables.reap(2).unwrap();
        }
        let entry = reader.stream_by_id(StreamId(1)).unwrap().unwrap();
        prop_assert_eq!(entry.meta.earliest, wanted);
    }
}

#[test]
fn age_lets_whole_chunks_go_and_never_a_young_message() {
    let mut steps = vec![Step::Create { name: 1, json: false, ttl: None, base: 0 }];
    steps.extend((0..10).map(|_| append(vec![40_000; 2])));
    let (tables, plain) = tables_with(&steps);
    let keep = Retention { seconds: Some(1), bytes: None, messages: None };
    let boundary = |now: i64| {
        tables.reader().boundary(StreamId(1), keep, UnixMillis(now), 100).unwrap().map(|at| at.messages)
    };
    assert_eq!(boundary(1000), None);
    assert_eq!(boundary(1014), None);
    assert_eq!(boundary(1015), Some(2));
    assert_eq!(boundary(1000 + 7 * 5 + 1), Some(8));
    assert_eq!(boundary(1 << 30), Some(plain.streams[&1].meta.tail.messages));
}
