//! `armdb` as two processes, a leader and a follower, so that its replication can be measured beside ours.
//!
//! `lead DATA ADDRESS SHARDS ENTRIES BYTES` fills a tree, says `ready`, and then obeys lines: `put COUNT` puts so many more as fast as it
//! can, `lone COUNT` puts one every five milliseconds with the time in it. It ends with its standard input.
//! `follow DATA ADDRESS SHARDS ENTRIES[,ENTRIES…] [lone COUNT]` says how long it took until it had so many, for each number, and then how
//! long each lone one was under way.

use std::io::BufRead;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use armdb::replication::{ReplicationClientOptions, ReplicationRegistry};
use armdb::{Config, ShutdownSignal, VarTree};

type Failure = Box<dyn std::error::Error>;
type Tree = VarTree<[u8; 8]>;

/// Between two lone writes.
const PAUSE: Duration = Duration::from_millis(5);
/// Between two looks of a follower.
const LOOK: Duration = Duration::from_micros(20);

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["lead", data, address, shards, entries, bytes] => {
            lead(&open(data, shards)?, address.parse()?, entries.parse()?, bytes.parse()?)
        }
        ["follow", data, address, shards, entries] => {
            follow(Arc::new(open(data, shards)?), address.parse()?, entries, 0)
        }
        ["follow", data, address, shards, entries, "lone", count] => {
            follow(Arc::new(open(data, shards)?), address.parse()?, entries, count.parse()?)
        }
        _ => Err("lead DATA ADDRESS SHARDS ENTRIES BYTES, or follow DATA ADDRESS SHARDS ENTRIES [lone COUNT]".into()),
    }
}

fn open(data: &str, shards: &str) -> Result<Tree, Failure> {
    Ok(Tree::open(data, Config::balanced().shard_count(shards.parse()?).build())?)
}

fn lead(tree: &Tree, address: SocketAddr, entries: u64, bytes: usize) -> Result<(), Failure> {
    let value = vec![b'x'; bytes];
    put(tree, 0..entries, &value)?;
    // The replication reads the files; nothing is synced.
    tree.flush_buffers()?;
    let signal = ShutdownSignal::new();
    let server = tree.start_replication_server(address, signal.clone())?;
    println!("ready");
    let mut next = entries;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (verb, count) = line.split_once(' ').ok_or("a verb and a number")?;
        let range = next..next + count.parse::<u64>()?;
        next = range.end;
        let clock = Instant::now();
        match verb {
            "put" => put(tree, range, &value)?,
            "lone" => {
                for key in range {
                    let mut stamped = value.clone();
                    stamped.resize(bytes.max(16), b'x');
                    stamped[..16].copy_from_slice(&now().to_le_bytes());
                    put(tree, key..key + 1, &stamped)?;
                    sleep(PAUSE);
                }
            }
            other => return Err(format!("no verb is called {other}").into()),
        }
        println!("put {}", clock.elapsed().as_secs_f64());
    }
    signal.shutdown();
    drop(server);
    Ok(())
}

fn put(tree: &Tree, keys: std::ops::Range<u64>, value: &[u8]) -> Result<(), Failure> {
    for key in keys {
        tree.put(&key.to_be_bytes(), value)?;
    }
    Ok(())
}

fn follow(tree: Arc<Tree>, address: SocketAddr, levels: &str, lone: u64) -> Result<(), Failure> {
    let registry = Arc::new(ReplicationRegistry::new(tree.as_replication_target()));
    let signal = ShutdownSignal::new();
    let clock = Instant::now();
    let options = ReplicationClientOptions { reconnect_base_ms: 5, ..Default::default() };
    let client = tree.start_replication_client_with_options(address, registry, signal.clone(), options)?;
    let mut entries = 0;
    for level in levels.split(',') {
        entries = level.parse()?;
        while (tree.len() as u64) < entries {
            sleep(LOOK);
        }
        println!("level {}", clock.elapsed().as_secs_f64());
    }
    for key in entries..entries + lone {
        let value = loop {
            if let Some(value) = tree.get(&key.to_be_bytes()) {
                break value;
            }
            sleep(LOOK);
        };
        let sent = value.first_chunk().map(|bytes| u128::from_le_bytes(*bytes)).ok_or("no time in it")?;
        println!("lone {}", now().saturating_sub(sent));
    }
    signal.shutdown();
    drop(client);
    Ok(())
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}
