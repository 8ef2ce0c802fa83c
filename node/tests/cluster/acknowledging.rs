//! When a client is told that its write is done, and what readers see until then.

use std::sync::Arc;
use std::time::Duration;

use thalweg_node::codec::frame::FrameKind;
use thalweg_node::config::Size;
use thalweg_node::core::Append;
use thalweg_node::runtime::{EngineError, Failure};
use thalweg_node::types::{Acks, Offset, StreamName};
use tokio::sync::oneshot::error::TryRecvError;

use crate::gated_disk::Gate;
use crate::relay::Relay;
use crate::world::{
    LARGE, NODES, World, append, appending, eventually, make, stamp, text, within, write_bulk,
};

fn cut_off(world: &World, kind: FrameKind) {
    world.relays[1..].iter().for_each(|relay| relay.swallow(kind));
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_leader_answers_before_the_commit_shows_it_to_nobody_and_may_lose_it_with_the_leader() {
    let world = World::led(|config| config.acks = Acks::Leader).await;
    let stream = world.led_by(0, "hasty");
    make(world.engine(0), &stream).await;
    append(world.engine(0), &stream, "safe").await.unwrap();
    for follower in 1..NODES {
        eventually_reads(&world, follower, &stream, "safe").await;
    }
    // Followers hear that the leader is there, and get no entries.
    cut_off(&world, FrameKind::Records);
    append(world.engine(0), &stream, " hasty").await.expect("its own disk is enough for an answer");
    for node in 0..NODES {
        assert_eq!(
            text(world.engine(node), &stream).await.unwrap(),
            "safe",
            "seen on {node} before the commit"
        );
    }
    // The leader is replaced: what it alone had is gone, and nobody has ever read it.
    let leader = world.elect(world.shard_of(&stream), 2, &[1, 2]).await;
    world.relays.iter().for_each(Relay::heal);
    append(world.engine(leader), &stream, " next").await.unwrap();
    for node in 0..NODES {
        eventually_reads(&world, node, &stream, "safe next").await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_leader_keeps_what_it_answered_when_the_leader_stays() {
    let world = World::led(|config| config.acks = Acks::Leader).await;
    let stream = world.led_by(0, "hasty");
    make(world.engine(0), &stream).await;
    cut_off(&world, FrameKind::Records);
    let stamped = || Append { producer: Some(stamp(0)), ..appending(&stream, "a") };
    let first = within(world.engine(0).append(stamped())).await.unwrap();
    let again = within(world.engine(0).append(stamped())).await.unwrap();
    assert!(!first.duplicate && again.duplicate, "a retry is answered as soon as what it repeats was");
    world.relays.iter().for_each(Relay::heal);
    for node in 0..NODES {
        eventually_reads(&world, node, &stream, "a").await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_leader_refuses_new_messages_once_too_many_wait_for_followers_that_take_nothing() {
    /// So many messages of 64 KiB may wait, a record's head beside each: twice what may be in flight.
    const STEPS: usize = 32;
    let world = World::led(|config| {
        config.acks = Acks::Leader;
        (config.request_permits, config.request_body_max) = (Size::mib(1), Size::kib(64));
    })
    .await;
    let stream = world.led_by(0, "hasty");
    make(world.engine(0), &stream).await;
    cut_off(&world, FrameKind::Records);
    let message: &str = "x".repeat(1 << 16).leak();
    let mut taken = 0;
    let refusal = loop {
        match append(world.engine(0), &stream, message).await {
            Ok(_) => taken += 1,
            Err(refusal) => break refusal,
        }
        assert!(taken <= 2 * STEPS, "nothing bounds what waits");
    };
    assert!(matches!(refusal, EngineError::Failure(Failure::Ahead { .. })), "{refusal:?}");
    assert!(taken + 1 >= STEPS, "only {taken} were taken");
    world.relays.iter().for_each(Relay::heal);
    // What was acknowledged comes to be, and then there is room again.
    let come = async {
        let bytes = (message.len() * taken) as u64;
        while world.engine(1).head(&stream).await.ok().map(|state| state.tail.bytes) != Some(bytes) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(come).await;
    append(world.engine(0), &stream, "x").await.expect("the followers have caught up");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_followers_live_and_do_not_take_is_answered_with_an_open_outcome_and_later_ones_are_refused_until_they_do()
 {
    let world = World::led(|_| {}).await;
    let stream = world.led_by(0, "stuck");
    make(world.engine(0), &stream).await;
    append(world.engine(0), &stream, "a").await.unwrap();
    cut_off(&world, FrameKind::Records);
    let failed = append(world.engine(0), &stream, "b").await.unwrap_err();
    assert!(matches!(failed, EngineError::Failure(Failure::Unreplicated { .. })), "{failed:?}");
    let refused = within(append(world.engine(0), &stream, "c")).await.unwrap_err();
    assert!(matches!(refused, EngineError::Failure(Failure::Ahead { .. })), "{refused:?}");
    let told = world.engine(0).condition();
    let shard = world.shard_of(&stream);
    assert!(told.held_up.iter().any(|held_up| held_up.shards.contains(&shard)), "{told:?}");
    assert_eq!(text(world.engine(0), &stream).await.unwrap(), "a", "what is committed is read");
    world.relays.iter().for_each(Relay::heal);
    // What was open comes to be, and then writes go on.
    eventually_reads(&world, 1, &stream, "ab").await;
    append(world.engine(0), &stream, "d").await.unwrap();
    eventually(|| world.engine(0).condition().held_up.is_empty()).await;
    world.stop().await;
}

async fn eventually_reads(world: &World, node: usize, stream: &StreamName, wanted: &str) {
    let reading = async {
        while text(world.engine(node), stream).await.ok().as_deref() != Some(wanted) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(reading).await;
}

/// Longer than an answer takes that waits for nothing.
const LONG: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn a_large_write_is_not_answered_before_its_leader_and_a_follower_have_synced_it() {
    let world = World::led(|_| {}).await;
    let stream = world.led_by(0, "large");
    make(world.engine(0), &stream).await;
    for held in [&[0][..], &[1, 2]] {
        let gates: Vec<_> = held.iter().map(|node: &usize| world.members[*node].gate.clone()).collect();
        gates.iter().for_each(|gate| gate.close("lane-", "sync"));
        let (engine, stream) = (world.engine(0).clone(), stream.clone());
        let mut write = tokio::spawn(async move { write_bulk(&engine, &stream, LARGE).await });
        for gate in gates.clone() {
            tokio::task::spawn_blocking(move || gate.arrival()).await.unwrap();
        }
        let early = tokio::time::timeout(LONG, &mut write).await;
        assert!(early.is_err(), "answered while {held:?} sync it");
        gates.iter().for_each(Gate::open);
        within(write).await.unwrap();
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_writes_of_many_at_once_are_on_all_nodes_when_the_power_of_all_has_failed() {
    const WRITERS: usize = 4;
    const WRITES: usize = 4;
    let mut world = World::led(|_| {}).await;
    let streams: Vec<_> = (0..NODES).map(|node| world.led_by(node, "large")).collect();
    for (node, stream) in streams.iter().enumerate() {
        make(world.engine(node), stream).await;
    }
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        // Two of them write to the same stream: their groups come one behind the other.
        let (engine, stream) = (world.engine(writer % NODES).clone(), streams[writer % NODES].clone());
        writers.spawn(async move {
            for _ in 0..WRITES {
                write_bulk(&engine, &stream, LARGE).await;
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    world.lose_power(1).await;
    (0..NODES).for_each(|node| world.start_again(node));
    world.is_led().await;
    for node in 0..NODES {
        for (at, stream) in streams.iter().enumerate() {
            let written = WRITES * (WRITERS / NODES + usize::from(at < WRITERS % NODES));
            let wanted = Offset { messages: written as u64, bytes: (written * LARGE) as u64 };
            let reading = async {
                while world.engine(node).head(stream).await.map(|state| state.tail).ok() != Some(wanted) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            within(reading).await;
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i17_no_answer_leaves_before_the_state_that_it_tells_of_is_committed() {
    let world = Arc::new(World::led(|_| {}).await);
    let stream = world.led_by(0, "answers");
    make(world.engine(0), &stream).await;
    cut_off(&world, FrameKind::Records);
    let begin = |append: Append| {
        let (world, (done, answer)) = (Arc::clone(&world), tokio::sync::oneshot::channel());
        tokio::spawn(async move {
            let outcome = world.engine(0).append(append).await;
            // Whoever hears of it may be the last to hold the world.
            drop(world);
            let _ = done.send(outcome);
        });
        answer
    };
    let mut first = begin(Append { producer: Some(stamp(0)), ..appending(&stream, "a") });
    world.relays[1].loss();
    // Each is decided on what the first one wrote: a duplicate, a refusal that tells the tail, a refusal that tells a number.
    let mut duplicate = begin(Append { producer: Some(stamp(0)), ..appending(&stream, "a") });
    let mut conditional = begin(Append { if_match: Some(Offset::ZERO), ..appending(&stream, "b") });
    let mut gap = begin(Append { producer: Some(stamp(7)), ..appending(&stream, "c") });
    // Reads go on meanwhile, and see nothing of it: by then all four are decided, since reads pass the same lane.
    for _ in 0..20 {
        assert_eq!(text(world.engine(0), &stream).await.unwrap(), "");
    }
    for waiting in [&mut first, &mut duplicate, &mut conditional, &mut gap] {
        assert_eq!(waiting.try_recv().unwrap_err(), TryRecvError::Empty, "answered before the commit");
    }
    world.relays.iter().for_each(Relay::heal);
    assert!(!first.await.unwrap().unwrap().duplicate);
    assert!(duplicate.await.unwrap().unwrap().duplicate);
    assert!(matches!(conditional.await.unwrap(), Err(EngineError::Refused(_))));
    assert!(matches!(gap.await.unwrap(), Err(EngineError::Refused(_))));
    Arc::into_inner(world).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i17_an_answer_that_changes_nothing_waits_for_proof_that_its_leader_still_leads() {
    let world = Arc::new(World::led(|_| {}).await);
    let (stream, absent) = (world.led_by(0, "there"), world.led_by(0, "absent"));
    make(world.engine(0), &stream).await;
    let first = Append { producer: Some(stamp(0)), ..appending(&stream, "a") };
    within(world.engine(0).append(first)).await.unwrap();
    // Beats arrive and nobody is heard to confirm them: all that is committed may be older than what another leader has.
    cut_off(&world, FrameKind::Ack);
    world.relays[1..].iter().for_each(Relay::loss);
    let duplicate = Append { producer: Some(stamp(0)), ..appending(&stream, "a") };
    let answers = [appending(&absent, "b"), duplicate].map(|append| {
        let (world, (done, answer)) = (Arc::clone(&world), tokio::sync::oneshot::channel());
        tokio::spawn(async move {
            let outcome = world.engine(0).append(append).await;
            drop(world);
            let _ = done.send(outcome);
        });
        answer
    });
    let heard = world.relays[2].seen(FrameKind::Ack);
    eventually(|| world.relays[2].seen(FrameKind::Ack) > heard + 5).await;
    let undone = |outcome: &Result<_, EngineError<_>>| {
        matches!(outcome, Err(EngineError::Failure(Failure::NotLeader { .. } | Failure::NoLeader { .. })))
    };
    let answers = answers.map(|mut answer| match answer.try_recv() {
        Err(TryRecvError::Empty) => Some(answer),
        // A leader that was unheard for long enough to know says so.
        outcome => {
            assert!(undone(&outcome.unwrap()), "answered without proof");
            None
        }
    });
    world.relays.iter().for_each(Relay::heal);
    for answer in answers.into_iter().flatten() {
        let answer = within(answer).await.unwrap();
        let shown = matches!(&answer, Ok(appended) if appended.duplicate)
            || matches!(answer, Err(EngineError::Refused(_)));
        assert!(shown || undone(&answer), "{answer:?}");
    }
    // With a leader that is heard, both are answered.
    let refused = async {
        loop {
            match world.engine(0).append(appending(&absent, "b")).await {
                Err(EngineError::Failure(_)) => tokio::task::yield_now().await,
                answer => break answer,
            }
        }
    };
    assert!(matches!(within(refused).await, Err(EngineError::Refused(_))));
    Arc::into_inner(world).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lesson_a_lone_write_travels_at_once_and_waits_for_no_poll() {
    // Nothing but the write itself wakes anybody sooner than every 100 ms.
    let world = World::led(|config| config.heartbeat = Duration::from_millis(250)).await;
    let stream = world.led_by(0, "lone");
    make(world.engine(0), &stream).await;
    // Where something looks every 20 ms, hardly one of five writes takes less than 4 ms, however often that is tried; and a machine that does
    // much else lets some run of them through.
    let quick = async {
        loop {
            let times = lone_writes(&world, &stream).await;
            if times[LONE / 2] < Duration::from_millis(4) {
                return times;
            }
        }
    };
    let times = within(quick).await;
    println!("{LONE} lone writes, the middle one {:?}", times[LONE / 2]);
    world.stop().await;
}

/// Writes one after the other, enough of them for their middle to say something.
const LONE: usize = 31;

/// How long each of them took, the shortest first.
async fn lone_writes(world: &World, stream: &StreamName) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..LONE {
        let begun = tokio::time::Instant::now();
        append(world.engine(0), stream, "x").await.unwrap();
        times.push(begun.elapsed());
    }
    times.sort();
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_confirms_a_write_once_and_says_nothing_to_the_news_of_its_commit() {
    const APPENDS: usize = 100;
    /// Beats come seldom, so that it is writes that make anybody speak; what was said is said again after half of this.
    const HEARTBEAT: Duration = Duration::from_millis(500);
    /// The first node leads two of the four.
    const SHARDS_LED: u128 = 2;
    let world = World::led(|config| config.heartbeat = HEARTBEAT).await;
    let stream = world.led_by(0, "lone");
    make(world.engine(0), &stream).await;
    let said = |kind| -> Vec<usize> { world.relays[1..].iter().map(|relay| relay.seen(kind)).collect() };
    let (confirmed, told) = (said(FrameKind::Ack), said(FrameKind::Beat));
    let begun = tokio::time::Instant::now();
    for _ in 0..APPENDS {
        append(world.engine(0), &stream, "x").await.unwrap();
    }
    let repeated = SHARDS_LED * (begun.elapsed().as_millis() / (HEARTBEAT / 2).as_millis() + 1);
    let since = |kind, before: Vec<usize>| -> Vec<usize> {
        said(kind).iter().zip(before).map(|(now, before)| now - before).collect()
    };
    let (confirmed, told) = (since(FrameKind::Ack, confirmed), since(FrameKind::Beat, told));
    println!("{APPENDS} writes: {confirmed:?} confirmations, {told:?} times the news of a commit");
    assert!(confirmed.iter().sum::<usize>() >= APPENDS, "one of them confirms each write: {confirmed:?}");
    // On a machine that is slow more are repeated, up to where nothing is shown.
    let most = APPENDS * 5 / 4 + usize::try_from(repeated).unwrap();
    assert!(confirmed.iter().all(|count| *count <= most), "{confirmed:?}, at most {most}");
    assert!(told.iter().sum::<usize>() >= APPENDS / 2, "there was such news: {told:?}");
    world.stop().await;
}
