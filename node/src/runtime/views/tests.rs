//! How many streams stay resident, and that nothing is lost by those that go.

use std::time::Duration;

use super::view::tests::meta;
use super::*;
use crate::seam::{Clock, SystemClock};
use crate::types::{Lifetime, Offset};

const RESIDENT_MAX: usize = 16;
const TTL_SECONDS: u64 = 60;

fn views() -> ShardViews {
    ShardViews::new(ShardId(0), 1, RESIDENT_MAX, UnixMillis(0))
}

/// Loads a stream with a sliding window and reads it.
fn read(views: &ShardViews, id: u64, at: i64) {
    let meta = meta(id, &format!("s{id}"), Lifetime::Sliding(TTL_SECONDS));
    let Known::AskTables(ticket) = views.by_name(&meta.name) else { return };
    views.install(&meta, ticket).unwrap().touch(UnixMillis(at));
}

#[test]
fn streams_with_a_sliding_window_that_were_read_once_do_not_stay_resident() {
    let views = views();
    for id in 1..=50 {
        read(&views, id, 1000 + i64::try_from(id).unwrap());
    }
    assert!(views.resident() <= RESIDENT_MAX * 9 / 8 + 1, "{} are resident", views.resident());
    for id in 1..=50u64 {
        assert_eq!(views.last_read(StreamId(id)), UnixMillis(1000 + i64::try_from(id).unwrap()), "of {id}");
    }
}

#[test]
fn a_stream_that_comes_back_knows_when_it_was_read() {
    let views = views();
    for id in 1..=50 {
        read(&views, id, 30_000);
    }
    for id in 1..=50 {
        let meta = meta(id, &format!("s{id}"), Lifetime::Sliding(TTL_SECONDS));
        let view = views.install_by_owner(&meta);
        assert!(!view.snapshot(UnixMillis(89_999)).gone, "{id} ended early");
        assert!(view.snapshot(UnixMillis(90_000)).gone, "{id} was read at 30 s");
    }
}

#[test]
fn read_times_are_bounded_and_what_does_not_fit_stays_resident_until_the_log_has_it() {
    let views = views();
    for id in 1..=200 {
        read(&views, id, 1000);
    }
    let kept = |views: &ShardViews| views.lock().read_times.len();
    assert_eq!(kept(&views), RESIDENT_MAX * READ_TIMES_PER_RESIDENT);
    assert_eq!(views.resident() + kept(&views), 200, "nothing is forgotten");
    // The owner records them: a touch for each, which the tables then apply.
    let (mut index, at) = (LogIndex(0), UnixMillis(1000));
    while kept(&views) > RESIDENT_MAX * READ_TIMES_PER_RESIDENT / 2 {
        for stream in views.unrecorded_reads(8) {
            index = index.next();
            views.install_by_owner(&meta(stream.0, &format!("s{}", stream.0), Lifetime::Sliding(60)));
            views.publish(&[Op::Touch { stream, at }], index, None, |_, _| {});
            views.applied(index, &[stream]);
        }
        views.evict();
    }
    assert!(views.resident() <= RESIDENT_MAX * 9 / 8 + RESIDENT_MAX, "{} are resident", views.resident());
}

#[test]
fn a_stream_that_is_gone_leaves_no_read_time() {
    let views = views();
    for id in 1..=50 {
        read(&views, id, 1000);
    }
    for id in 1..=50 {
        views.publish(&[Op::Delete { stream: StreamId(id) }], LogIndex(id), None, |_, _| {});
    }
    assert_eq!(views.lock().read_times.len(), 0);
}

/// The views' lock is on the way of every request of the shard.
#[test]
fn recent_names_are_taken_in_pieces_and_none_is_missed() {
    let views = ShardViews::new(ShardId(0), 1, 200_000, UnixMillis(0));
    let count = 100_000u64;
    for id in 1..=count {
        let meta =
            meta(id, &format!("{}/{id:06}", if id % 2 == 0 { "even" } else { "odd" }), Lifetime::Forever);
        views.publish(&[Op::Create(Box::new(meta))], LogIndex(id), None, |_, _| {});
    }
    let (mut after, mut found, mut pieces, mut taking) = (None::<String>, 0, 0, Duration::ZERO);
    loop {
        let before = SystemClock.elapsed();
        let piece = views.recent("even/", after.as_deref(), 256);
        taking += SystemClock.elapsed().saturating_sub(before);
        pieces += 1;
        assert!(piece.len() <= 256);
        let names = piece.iter().map(|(name, _)| name.as_str().to_owned());
        let names: Vec<String> = after.iter().cloned().chain(names).collect();
        assert!(names.is_sorted_by(|one, other| one < other), "in order, each once");
        let Some((last, view)) = piece.last() else { break };
        assert!(view.is_some() && last.as_str().starts_with("even/"));
        found += piece.len();
        after = Some(last.as_str().to_owned());
    }
    assert_eq!(found, 50_000);
    let before = SystemClock.elapsed();
    assert_eq!(views.recent("", None, usize::MAX).len(), 100_000);
    let whole = SystemClock.elapsed().saturating_sub(before);
    let before = SystemClock.elapsed();
    views.applied(LogIndex(10), &[]);
    let applied = SystemClock.elapsed().saturating_sub(before);
    let piece = taking / pieces;
    println!("under the lock: {piece:?} for a piece, {whole:?} for all; {applied:?} to let ten of them go");
    assert_eq!(
        views.recent("even/", None, 1)[0].0.as_str(),
        "even/000012",
        "what the tables have is not asked again"
    );
    views.publish(&[Op::Delete { stream: StreamId(12) }], LogIndex(count + 1), None, |_, _| {});
    assert!(views.recent("even/", None, 1)[0].1.is_none(), "a deleted name has no view");
}

#[test]
fn what_is_resident_shows_other_tables_once_they_are_behind_it_and_whoever_held_it_sees_that() {
    let views = views();
    let named = |id: u64, name: &str| meta(id, name, Lifetime::Forever);
    let create = |meta: &StreamMeta, index: u64| {
        views.publish(&[Op::Create(Box::new(meta.clone()))], LogIndex(index), None, |_, _| {});
    };
    let metas = [named(1, "grows"), named(2, "ends"), named(3, "ends before")];
    metas.iter().zip(1..).for_each(|(meta, index)| create(meta, index));
    views.publish(&[Op::Delete { stream: StreamId(3) }], LogIndex(4), None, |_, _| {});
    let held: Vec<_> = (1..=3).map(|id| views.by_id(StreamId(id)).unwrap()).collect();
    let ticket = views.ticket();
    let tail = Offset { messages: 7, bytes: 70 };
    let found = |stream: StreamId| {
        Ok::<_, ()>((stream == StreamId(1)).then(|| StreamMeta { tail, closed: true, ..metas[0].clone() }))
    };
    assert_eq!(views.begin_again(LogIndex(9), found).unwrap().len(), 3);
    let seen = held[0].snapshot(UnixMillis(0));
    assert_eq!((seen.state.tail, seen.state.closed, seen.memory_from, seen.gone), (tail, true, tail, false));
    assert!(held[1].snapshot(UnixMillis(0)).gone && held[2].snapshot(UnixMillis(0)).gone);
    assert!(matches!(views.by_name(&metas[0].name), Known::Here(_)));
    for meta in &metas[1..] {
        assert!(matches!(views.by_name(&meta.name), Known::AskTables(_)), "{}", meta.name);
    }
    assert!(views.recent("", None, 9).is_empty(), "the tables know all names");
    assert!(views.install(&named(4, "read before"), ticket).is_none(), "the old tables said it");
}
