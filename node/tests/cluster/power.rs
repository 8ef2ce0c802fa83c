//! Promise: the power of all nodes fails at once, and again and again; whatever any of them acknowledged or showed is there
//! afterwards, once, in its order, and nobody has to elect.
//!
//! `TEST_CLUSTER_POWER_CUTS` says how often (2 here, 20 in CI), `TEST_SEED` repeats a run.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use thalweg_node::config::Size;
use thalweg_node::core::Append;
use thalweg_node::runtime::Engine;
use thalweg_node::types::{Messages, StreamName};
use tokio::task::JoinSet;

use crate::world::{NODES, World, appending, eventually, make, stamp, text, within};

/// Writers, each with a stream of its own; every node leads some of the streams.
const WRITERS: usize = 6;
/// Bytes of an append: the logs are let go and the tables written while the power fails.
const APPEND_BYTES: usize = 700;
/// Appends of all writers between two cuts.
const APPENDS: usize = 400;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What one writer knows of its stream.
#[derive(Debug, Default)]
struct Told {
    /// So many appends were acknowledged; the next one may have been written, too.
    acknowledged: u64,
    /// The most that any node has shown.
    shown: String,
}

type Line = Arc<Mutex<Told>>;

/// The text of a writer's append: its number, and what makes it long.
fn word(number: u64) -> String {
    format!("{number}:{:.<APPEND_BYTES$}\n", "")
}

/// Appends one after the other, beginning with the one whose fate is unknown; ends at the first that fails.
async fn write(engine: Engine, name: StreamName, line: Line) {
    loop {
        let next = line.lock().unwrap().acknowledged;
        let body = Ok(Messages::single(Bytes::from(word(next))));
        let append = Append { body, producer: Some(stamp(next)), ..appending(&name, "") };
        if engine.append(append).await.is_err() {
            return;
        }
        line.lock().unwrap().acknowledged += 1;
    }
}

/// Reads on one node what others write.
async fn look(engine: Engine, lines: Vec<(StreamName, Line)>) {
    loop {
        for (name, line) in &lines {
            let Ok(seen) = text(&engine, name).await else { return };
            let mut told = line.lock().unwrap();
            if seen.len() > told.shown.len() {
                told.shown = seen;
            }
        }
    }
}

fn acknowledged(lines: &[(StreamName, Line)]) -> usize {
    let of = |(_, line): &(StreamName, Line)| line.lock().unwrap().acknowledged;
    usize::try_from(lines.iter().map(of).sum::<u64>()).unwrap()
}

/// New streams, one for each writer.
async fn begin(world: &World, cut: u64) -> Vec<(StreamName, Line)> {
    let mut lines = Vec::new();
    for writer in 0..WRITERS {
        let name = world.led_by(writer % NODES, &format!("writer-{cut}-{writer}-"));
        make(world.engine(writer % NODES), &name).await;
        lines.push((name, Line::default()));
    }
    lines
}

/// Everybody works until enough is acknowledged, and amid that the power fails.
async fn live_and_fail(world: &mut World, lines: &[(StreamName, Line)], seed: u64) {
    let mut tasks = JoinSet::new();
    for (number, (name, line)) in lines.iter().enumerate() {
        tasks.spawn(write(world.engine(number % NODES).clone(), name.clone(), Arc::clone(line)));
    }
    for node in 0..NODES {
        tasks.spawn(look(world.engine(node).clone(), lines.to_vec()));
    }
    let wanted = acknowledged(lines) + APPENDS + usize::try_from(seed % 97).unwrap();
    eventually(|| acknowledged(lines) >= wanted).await;
    world.lose_power(seed).await;
    tasks.shutdown().await;
}

/// Every node shows of every stream what was acknowledged and what anybody saw, and at most one append more.
async fn check(world: &World, lines: &[(StreamName, Line)], what: &str) {
    for (name, line) in lines {
        let (least, shown) = {
            let told = line.lock().unwrap();
            (told.acknowledged, told.shown.clone())
        };
        let wanted: String = (0..least).map(word).collect();
        let more = format!("{wanted}{}", word(least));
        for node in 0..NODES {
            let seen = within(text(world.engine(node), name)).await.unwrap();
            assert!(seen.starts_with(&shown), "{what}: node {node} has lost what was shown of {name}");
            let (found, wanted) = (seen.lines().count(), wanted.lines().count());
            assert!(more.starts_with(&seen) && found >= wanted, "{what}: {found} of {wanted} of {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_or_shown_is_lost_when_the_power_of_all_nodes_fails_again_and_again() {
    let (cuts, seed) = (number("TEST_CLUSTER_POWER_CUTS", 2), number("TEST_SEED", 1));
    let mut world = World::led(|config| {
        config.segment_size = Size::kib(64);
        config.segment_size_max = Size::kib(64);
        config.checkpoint_log_size = Size::kib(64);
        config.checkpoint_interval = Duration::from_millis(50);
    })
    .await;
    let mut all = Vec::new();
    for cut in 0..cuts {
        let seed = seed * 1000 + cut;
        let lines = begin(&world, cut).await;
        live_and_fail(&mut world, &lines, seed).await;
        (0..NODES).for_each(|node| world.start_again(node));
        world.is_led().await;
        // What was there before is there still.
        all.extend(lines);
        check(&world, &all, &format!("seed {seed}")).await;
    }
    println!("{cuts} power cuts of all nodes, {} acknowledged appends", acknowledged(&all));
    world.stop().await;
}
