//! Promise: while the tables of a shard cannot be had, or one of their reads takes long, nobody waits for them but whoever
//! asked for what only they have; and who asks is told at once when they cannot be had.

use std::io;
use std::sync::mpsc;
use std::sync::{Condvar, Mutex};

use redb::StorageBackend;

use super::*;
use crate::core::replication::History;
use crate::core::{Append, Command, CoreLimits, ShardCore};
use crate::runtime::ReadFrom;
use crate::runtime::owner::{Deadlines, Line, Log, ShardOwner};
use crate::store::tables::Applied;
use crate::types::ContentType;

/// Longer than anything here takes that does not wait for the gate.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gate before a device: who is to be held stands there until it is told to go on.
#[derive(Debug, Clone, Default)]
struct Gate(Arc<(Mutex<Held>, Condvar)>);

#[derive(Debug, Default)]
struct Held {
    /// The threads that are held, by the beginning of their names; none while the gate is open.
    threads: Option<&'static str>,
    standing: usize,
    steps: usize,
}

impl Gate {
    fn close_for(&self, threads: &'static str) {
        self.0.0.lock().unwrap().threads = Some(threads);
    }

    fn open(&self) {
        self.0.0.lock().unwrap().threads = None;
        self.0.1.notify_all();
    }

    /// Opens it whatever becomes of the test: a failure must not wait for those who stand there.
    fn opened_at_end(&self) -> impl Drop {
        struct Opened(Gate);
        impl Drop for Opened {
            fn drop(&mut self) {
                self.0.open();
            }
        }
        Opened(self.clone())
    }

    /// Waits until somebody stands there.
    fn arrival(&self) {
        let held = self.0.0.lock().unwrap();
        let (held, _) = self.0.1.wait_timeout_while(held, PATIENCE, |held| held.standing == 0).unwrap();
        assert!(held.standing > 0, "nobody came to the gate");
    }

    /// Lets one call through.
    fn step(&self) {
        let mut held = self.0.0.lock().unwrap();
        held.steps += 1;
        held.standing = 0;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        let mut held = self.0.0.lock().unwrap();
        while held.threads.is_some_and(|threads| name.starts_with(threads)) {
            if held.steps > 0 {
                held.steps -= 1;
                return;
            }
            held.standing = 1;
            self.0.1.notify_all();
            held = self.0.1.wait(held).unwrap();
        }
    }
}

/// A device behind a gate.
#[derive(Debug, Clone)]
struct Gated(SmallDisk, Gate);

impl StorageBackend for Gated {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.1.pass();
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.1.pass();
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.1.pass();
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.1.pass();
        self.0.write(offset, data)
    }
}

/// Two shards; the tables of the first stand behind a gate.
struct Two {
    gate: Gate,
    gated: Tables,
    _other: Tables,
    shared: Arc<Shared>,
    /// Two streams of the first shard and one of the second.
    hot: StreamName,
    cold: StreamName,
    far: StreamName,
}

fn count() -> ShardCount {
    ShardCount::new(2).unwrap()
}

/// The `number`th name that maps to the shard.
fn name_in(shard: ShardId, number: usize) -> StreamName {
    let names = (0..).map(|at| StreamName::from_bytes(format!("s{at}").as_bytes()).unwrap());
    names.filter(|name| name.shard(count()) == shard).nth(number).unwrap()
}

/// Tables on a device, with these streams of one message each; nothing of them is in memory.
fn tables(disk: &SmallDisk, gate: &Gate, shard: ShardId, names: &[&StreamName]) -> Tables {
    let identity = Identity { shard, shards: count(), layout: [7; 16] };
    let mut tables = Tables::create_on(disk.clone(), identity, CACHE_BYTES).unwrap();
    let mut ops = Vec::new();
    for (id, name) in (1..).map(StreamId).zip(names) {
        let index = LogIndex(id.0);
        ops.push((index, Op::Create(Box::new(StreamMeta { id, name: (*name).clone(), ..meta() }))));
        let messages = Messages::single(Bytes::from_static(b"message")).unwrap();
        let (start, at) = (Offset::default(), UnixMillis(1));
        let append = AppendOp { stream: id, start, messages, close: false, producer: None, seq: None, at };
        ops.push((index, Op::Append(append)));
    }
    let index = LogIndex(u64::try_from(names.len()).unwrap());
    tables.apply(&ops, Applied { index, chain: Chain(0), epoch: Epoch::default() }, &[]).unwrap();
    tables.checkpoint().unwrap();
    drop(tables);
    let (disk, gate) = (disk.clone(), gate.clone());
    Tables::open_from(move || Ok(Gated(disk.clone(), gate.clone())), identity, CACHE_BYTES, None).unwrap()
}

impl Two {
    fn new() -> Self {
        let (first, second) = (ShardId(0), ShardId(1));
        let (hot, cold, far) = (name_in(first, 0), name_in(first, 1), name_in(second, 0));
        let gate = Gate::default();
        let device = || SmallDisk::with_blocks(usize::MAX);
        let gated = tables(&device(), &gate, first, &[&hot, &cold]);
        let other = tables(&device(), &Gate::default(), second, &[&far]);
        let metrics = Arc::new(Metrics::new(1));
        let slot = |id: ShardId, tables: &Tables| {
            let (views, faults) =
                (ShardViews::new(id, 1, 100, UnixMillis(0)), metrics.store.corrupt_reads.clone());
            Slot::Open(Box::new(Shard::new(id, views, tables.reader(), Arc::default(), faults)))
        };
        let slots = vec![slot(first, &gated), slot(second, &other)];
        let (clock, cache) = (Arc::new(ManualClock::default()), SegmentCache::new(1 << 20));
        let shared = Arc::new(Shared::new(count(), slots, clock, cache, Arc::clone(&metrics), 1, None));
        Self { gate, gated, _other: other, shared, hot, cold, far }
    }

    fn read(&self, name: &StreamName) -> Result<usize, ReadError> {
        let batch = self.shared.read(name, ReadFrom::Start, 1 << 20)?;
        Ok(batch.segments.iter().map(|segment| segment.messages.wire().len()).sum())
    }

    /// The owner of the first shard.
    fn owner(&self) -> ShardOwner {
        let limits =
            CoreLimits { stream_bytes_max: None, producers_per_stream_max: 9, heads_max: 100, hash_seed: 1 };
        let core = ShardCore::new(ShardId(0), StreamId(3), limits);
        let found = Log { history: History::default(), voters: Vec::new() };
        ShardOwner::new(core, Arc::clone(&self.shared), found, Line::default(), Deadlines::default())
    }
}

fn append(name: &StreamName) -> Command {
    Command::Append(Append::plain(
        name.clone(),
        ContentType::parse("application/octet-stream").unwrap(),
        Messages::single(Bytes::from_static(b"more")),
    ))
}

/// What `work` comes to, on a thread of its own: it must not stand at the gate.
fn at_once<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(work()));
    receive.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what} waits for the tables"))
}

#[test]
fn while_a_shard_is_compacted_its_hot_streams_and_all_other_shards_are_served_and_cold_ones_refused_at_once()
{
    let mut world = Two::new();
    assert_eq!(world.read(&world.hot), Ok(7));
    let mut owner = world.owner();
    owner.decide(append(&world.hot), UnixMillis(1), LogIndex(3)).unwrap();
    world.gate.close_for("compacting");
    let probe = world.gated.reader();
    std::thread::scope(|scope| {
        let compacting = std::thread::Builder::new().name("compacting".to_owned());
        let compacted = compacting.spawn_scoped(scope, || world.gated.compact()).unwrap();
        let _opened = world.gate.opened_at_end();
        world.gate.arrival();
        // The checkpoint before it keeps nobody away.
        while at_once("a probe", {
            let probe = probe.clone();
            move || probe.totals()
        }) != Err(TablesError::Busy)
        {
            world.gate.step();
            world.gate.arrival();
        }
        let read = |name: &StreamName| {
            let (shared, name) = (Arc::clone(&world.shared), name.clone());
            at_once("a read", move || {
                shared.read(&name, ReadFrom::Start, 100).map(|batch| batch.wire_bytes())
            })
        };
        let busy = Failure::ShardBusy { shard: ShardId(0) };
        assert_eq!(read(&world.hot), Ok(7), "a hot stream of the same shard");
        assert_eq!(read(&world.far), Ok(7), "a cold stream of another shard");
        assert_eq!(read(&world.cold), Err(ReadError::Failure(busy.clone())), "a cold stream of the shard");
        let (hot, cold) = (append(&world.hot), append(&world.cold));
        let decided = at_once("the owner", move || {
            (
                owner.decide(hot, UnixMillis(1), LogIndex(3)).map(drop),
                owner.decide(cold, UnixMillis(1), LogIndex(3)).map(drop),
            )
        });
        assert_eq!(decided, (Ok(()), Err(busy)), "the lane goes on");
        world.gate.open();
        compacted.join().unwrap().unwrap();
    });
    assert_eq!(world.read(&world.cold), Ok(7), "afterwards");
    world.owner().decide(append(&world.cold), UnixMillis(1), LogIndex(3)).unwrap();
}

#[test]
fn a_slow_look_at_the_tables_holds_up_no_other_request_of_its_thread() {
    let world = Two::new();
    let tokio =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("serving").build().unwrap();
    world.gate.close_for("serving");
    let (shared, cold) = (Arc::clone(&world.shared), world.cold.clone());
    let slow = tokio.spawn(async move { shared.view(&cold).map(|view| view.is_some()) });
    let _opened = world.gate.opened_at_end();
    world.gate.arrival();
    // The one thread that serves stands at the gate.
    let (shared, far) = (Arc::clone(&world.shared), world.far.clone());
    let (send, receive) = mpsc::channel();
    tokio.spawn(async move { send.send(shared.view(&far).map(|view| view.is_some())) });
    let other = receive.recv_timeout(PATIENCE);
    world.gate.open();
    assert_eq!(other, Ok(Ok(true)), "it waits for the tables of another shard");
    assert_eq!(tokio.block_on(slow).unwrap(), Ok(true));
}
