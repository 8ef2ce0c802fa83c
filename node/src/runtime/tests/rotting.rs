//! Three nodes, one of which has a shard whose stored pages are damaged under it: whichever they are, no wrong byte is served, another
//! node can lead, and the damaged one is made whole while it runs.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use futures::future::join_all;

use super::cluster::{PATIENCE, World, append_bytes, eventually, make};
use super::*;
use crate::config::Size;
use crate::core::replication::Answer;
use crate::runtime::Order;
use crate::types::RecordEpoch;

/// The shard that the third node leads first.
const SHARD: ShardId = ShardId(2);
/// So many streams that each table has several pages, and so large that not all of them stay in memory, neither their pages nor what was
/// read of them last.
const STREAMS: usize = 160;
const PAYLOAD: &[u8] = b"a piece of payload, ";
const MESSAGE_BYTES: usize = 12_000;
const PAGE_BYTES: usize = 4096;

fn holds(page: &[u8], what: &[u8]) -> bool {
    page.windows(what.len()).any(|part| part == what)
}

fn is_leaf(page: &[u8]) -> bool {
    page[0] == 1
}

fn is_chunk(page: &[u8]) -> bool {
    is_leaf(page) && holds(page, PAYLOAD)
}

fn is_name(page: &[u8]) -> bool {
    is_leaf(page) && holds(page, b"rotting-") && !holds(page, b"text/plain")
}

fn is_row(page: &[u8]) -> bool {
    is_leaf(page) && holds(page, b"text/plain")
}

fn is_branch(page: &[u8]) -> bool {
    page[0] == 2
}

/// Names in the shard, long enough that few of them fill a page.
fn names() -> Vec<StreamName> {
    let count = ShardCount::new(4).unwrap();
    let name = |number: usize| format!("rotting-{number}-{}", "n".repeat(200));
    let all = (0..).map(|number| StreamName::from_bytes(name(number).as_bytes()).unwrap());
    all.filter(|name| name.shard(count) == SHARD).take(STREAMS).collect()
}

fn message(name: &StreamName) -> Vec<u8> {
    let unlike = name.as_str().bytes().chain(PAYLOAD.iter().copied());
    unlike.cycle().take(MESSAGE_BYTES).collect()
}

/// Small memories, so that what is asked for is read from the disk; whoever looks after what is stored does so often.
fn forgetful(config: &mut Config) {
    config.table_cache = Size::mib(1);
    config.tail_cache = Size::mib(1);
    config.heads_max = 16;
    config.sweep_interval = Duration::from_millis(20);
    config.scrub_period = Duration::from_secs(1);
    config.scrub_rate = Size::mib(64);
    config.checkpoint_interval = Duration::from_millis(100);
}

/// A world whose third node leads streams that it has on its disk and not in its memory.
async fn world(names: &[StreamName]) -> World {
    let mut world = World::start_with(forgetful);
    world.led().await;
    join_all(names.iter().map(|name| async {
        make(world.engine(2), name).await;
        append_bytes(world.engine(2), name, Bytes::from(message(name))).await;
    }))
    .await;
    world.down().await;
    world.up();
    world.led().await;
    world
}

fn file(world: &World, end: &str) -> std::path::PathBuf {
    world.configs[2].data.join(format!("tables/shard-{:03}.redb{end}", SHARD.0))
}

/// One bit flips in each page of this kind, under the node that has the file open; says how many there are.
fn flip(world: &World, is_meant: impl Fn(&[u8]) -> bool) -> usize {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file(world, "")).unwrap();
    let mut flipped = 0;
    let mut page = [0; PAGE_BYTES];
    for number in 3..file.metadata().unwrap().len() / PAGE_BYTES as u64 {
        let at = number * PAGE_BYTES as u64;
        file.read_exact_at(&mut page, at).unwrap();
        if is_meant(&page) {
            file.write_all_at(&[page[900] ^ 8], at + 900).unwrap();
            flipped += 1;
        }
    }
    flipped
}

/// What a node answers about each stream is right, or a failure; says whether all was right.
async fn answers_are_right(world: &World, node: usize, names: &[StreamName]) -> bool {
    let mut all = true;
    for name in names {
        all &= answers(world, node, name, &message(name)).await;
    }
    all
}

async fn answers(world: &World, node: usize, name: &StreamName, right: &[u8]) -> bool {
    match world.engine(node).read(name, ReadFrom::Start, 1 << 20).await {
        Ok(batch) => {
            let parts = batch.segments.iter().flat_map(|part| part.messages.wire().to_vec());
            assert!(parts.collect::<Vec<u8>>() == right, "wrong bytes");
            true
        }
        Err(ReadError::Failure(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Asks until it is so. On a busy machine a voter may not be heard of in time, so that a read is refused.
async fn until(said: &str, what: impl AsyncFn() -> bool) {
    let asking = async {
        while !what().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never: {said}"));
}

/// Whether the third node says that it cannot read all of the shard.
fn says_damaged(world: &World) -> bool {
    let pulses = world.engine(2).shared.looks.all(Duration::ZERO);
    pulses.iter().any(|(report, pulse)| report.shard == SHARD && pulse.damaged)
}

/// As whoever elects does: all are sealed, and the best of the others leads.
async fn hand_over(world: &World) -> usize {
    let configs = world.nodes[0].control().shards().await[usize::from(SHARD.0)].configs.clone().unwrap();
    let order = Order { epoch: RecordEpoch(2), configs, learners: Vec::new() };
    let mut seals = Vec::new();
    for node in &world.nodes {
        let Answer::Sealed(seal) = node.control().seal(SHARD, order.epoch).await.unwrap() else {
            panic!("no seal")
        };
        seals.push(seal.standing);
    }
    let best = (0..2).max_by_key(|node| (seals[*node].last, seals[*node].end)).unwrap();
    let control = world.nodes[best].control();
    control.lead(SHARD, order, seals[best]).await.unwrap();
    best
}

/// The third node has set aside what was damaged and holds all that its leader held.
async fn is_made_whole(world: &World) {
    eventually(|| file(world, ".damaged").is_file() && !world.nodes[2].vault.is_damaged(SHARD)).await;
    eventually(|| !says_damaged(world) && !file(world, ".opening").is_file()).await;
    eventually(|| world.engine(2).shared.metrics.store.repaired_shards.get() == 1).await;
}

/// Pages of this kind are damaged under a leader; how it goes on from there is the same for all kinds.
async fn is_found_and_mended(is_meant: fn(&[u8]) -> bool) {
    let mut names = names();
    let mut world = world(&names).await;
    until("the leader reads", async || answers_are_right(&world, 2, &names[..1]).await).await;
    assert!(!says_damaged(&world));
    assert!(flip(&world, is_meant) > 0, "there are no such pages");
    // What was read before is in memory.
    world.engine(2).shared.open_shard(SHARD).unwrap().tables.evict();
    until("it says that it is damaged", async || {
        answers_are_right(&world, 2, &names).await;
        says_damaged(&world)
    })
    .await;
    let leader = hand_over(&world).await;
    // What was written before is there, and what is written meanwhile; whoever follows a tail is told that it must look again.
    let further = names.pop().unwrap();
    append_bytes(world.engine(leader), &further, Bytes::from_static(b"more")).await;
    is_made_whole(&world).await;
    let all = [message(&further), b"more".to_vec()].concat();
    for again in [false, true] {
        for node in [2, leader] {
            until("all is there", async || {
                answers_are_right(&world, node, &names).await && answers(&world, node, &further, &all).await
            })
            .await;
        }
        if !again {
            world.down().await;
            world.up();
            let report = &world.nodes[2].report;
            assert!(report.lacking.is_empty() && report.damaged.is_empty(), "{report:?}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_chunks_are_damaged_under_it_says_so_and_is_made_whole_while_it_runs() {
    is_found_and_mended(is_chunk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_names_are_damaged_under_it_says_so_and_is_made_whole_while_it_runs() {
    is_found_and_mended(is_name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_stream_rows_are_damaged_under_it_says_so_and_is_made_whole_while_it_runs() {
    is_found_and_mended(is_row).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_branches_are_damaged_under_it_says_so_and_is_made_whole_while_it_runs() {
    is_found_and_mended(is_branch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_other_pages_are_damaged_under_it_says_so_and_is_made_whole_while_it_runs() {
    is_found_and_mended(|page| is_leaf(page) && !is_chunk(page) && !is_name(page) && !is_row(page)).await;
}

/// Somebody follows a stream's tail.
async fn tailer(world: &World, node: usize, name: &StreamName) -> Tailer {
    loop {
        match world.engine(node).tail(name, ReadFrom::Now).await {
            Ok(tailer) => return tailer,
            Err(ReadError::Failure(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads streams that all are visible on a node, again and again, until told; whatever is answered is right, or a failure.
fn reading(world: &World, node: usize, names: &[StreamName], is_over: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (shared, names) = (Arc::clone(&world.engine(node).shared), names.to_vec());
    let is_over = Arc::clone(is_over);
    std::thread::spawn(move || {
        while !is_over.load(Ordering::Relaxed) {
            for name in &names {
                match shared.believed(SHARD, || shared.read(name, ReadFrom::Start, 1 << 20)) {
                    Ok(batch) => {
                        let parts = batch.segments.iter().flat_map(|part| part.messages.wire().to_vec());
                        assert!(parts.collect::<Vec<u8>>() == message(name), "wrong bytes");
                    }
                    Err(ReadError::Failure(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            std::thread::yield_now();
        }
    })
}

/// Pages of this kind are damaged under a follower.
async fn is_mended_by_its_leader(is_meant: fn(&[u8]) -> bool) {
    let names = names();
    let world = world(&names).await;
    let leader = hand_over(&world).await;
    until("the follower reads", async || answers_are_right(&world, 2, &names).await).await;
    let mut tailer = tailer(&world, 2, &names[1]).await;
    assert!(flip(&world, is_meant) > 0, "there are no such pages");
    world.engine(2).shared.open_shard(SHARD).unwrap().tables.evict();
    let is_over = Arc::new(AtomicBool::new(false));
    let reader = reading(&world, 2, &names[1..9], &is_over);
    // A reader finds it, or whoever looks after what is stored. Writes go on.
    let writes = async {
        let mut written = 0;
        while !file(&world, ".damaged").is_file() || world.nodes[2].vault.is_damaged(SHARD) {
            append_bytes(world.engine(leader), &names[0], Bytes::from_static(b"m")).await;
            written += 1;
        }
        written
    };
    let written = tokio::time::timeout(PATIENCE, writes).await.expect("it is never repaired");
    is_made_whole(&world).await;
    is_over.store(true, Ordering::Relaxed);
    assert!(reader.join().is_ok(), "a reader was told something wrong in the middle of it");
    // What it follows does not see what comes to the new tables.
    let event = tailer.next(1 << 20, PATIENCE).await;
    assert!(matches!(event, TailEvent::Ended(ReadError::Failure(_))), "{event:?}");
    let all = [message(&names[0]), vec![b'm'; written]].concat();
    until("all is there", async || {
        answers_are_right(&world, 2, &names[1..]).await && answers(&world, 2, &names[0], &all).await
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_chunks_are_damaged_under_it_is_made_whole_while_it_runs() {
    is_mended_by_its_leader(is_chunk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_stream_rows_are_damaged_under_it_is_made_whole_while_it_runs() {
    is_mended_by_its_leader(is_row).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_branches_are_damaged_under_it_is_made_whole_while_it_runs() {
    is_mended_by_its_leader(is_branch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_pages_are_all_damaged_under_it_is_made_whole_while_it_runs() {
    is_mended_by_its_leader(|_| true).await;
}
