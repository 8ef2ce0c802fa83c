//! Promise: no damage to a file makes the tables serve a wrong byte, an older state or an empty answer. What is not
//! right is an error, and the process lives on.

use thalweg_node::store::tables::{ReadFault, Reader, ScrubCursor, Tables, TablesError};
use thalweg_node::types::{LogIndex, ProducerId, StreamId};

use super::table_crash::Run;
use super::table_disk::{Dice, Disk};
use super::table_model::{Plain, PlainStream, applied, identity, join};
use super::tier;

const CACHE_BYTES: usize = 256 << 10;
const BLOCK: usize = 4096;

/// What a look at a damaged file found.
#[derive(Debug, Default)]
struct Found {
    right: u64,
    errors: u64,
}

impl Found {
    /// An answer must be right; an error must be one that says that data is damaged.
    fn answer<T: PartialEq + std::fmt::Debug>(
        &mut self,
        found: Result<T, TablesError>,
        right: &T,
        what: &str,
    ) {
        match found {
            Ok(found) => {
                assert_eq!(&found, right, "{what}");
                self.right += 1;
            }
            Err(TablesError::Corrupt { .. } | TablesError::Damaged { .. }) => self.errors += 1,
            Err(other) => panic!("{what}: {other}"),
        }
    }

    /// Everything that `reader` answers.
    fn look(&mut self, reader: &Reader, plain: &Plain, what: &str) {
        let names: Vec<String> = plain.names.keys().cloned().collect();
        let list = reader.list("", None, usize::MAX);
        self.answer(list.map(|all| all.iter().map(|e| e.meta.name.to_string()).collect()), &names, what);
        let mut deadlines: Vec<_> = plain
            .streams
            .values()
            .filter(|stream| !stream.meta.retired)
            .filter_map(|stream| stream.meta.deadline().map(|deadline| (deadline, stream.meta.id)))
            .collect();
        deadlines.sort_unstable();
        self.answer(reader.expiring(None, usize::MAX), &deadlines, what);
        self.answer(reader.totals().map(|totals| totals.streams), &(plain.streams.len() as u64), what);
        for stream in plain.streams.values() {
            self.look_at_stream(reader, stream, what);
        }
        let absent = thalweg_node::types::StreamName::from_bytes(b"name/absent").unwrap();
        self.answer(reader.stream_by_name(&absent), &None, what);
        self.answer(reader.stream_by_id(StreamId(plain.next + 1)), &None, what);
    }

    fn look_at_stream(&mut self, reader: &Reader, stream: &PlainStream, what: &str) {
        let meta = &stream.meta;
        let found = reader.stream_by_name(&meta.name);
        self.answer(found.map(|entry| entry.map(|e| e.meta)), &Some(meta.clone()), what);
        for (id, state) in &stream.producers {
            self.answer(reader.producer(meta.id, &ProducerId(id.clone())), &Some(*state), what);
        }
        let pins: Vec<_> = stream.pins.iter().map(|(&pin, &upto)| (pin, upto)).collect();
        let held = reader.pins(meta.id);
        self.answer(held.map(|all| all.iter().map(|pin| (pin.pin.0, pin.upto)).collect()), &pins, what);
        let first = usize::try_from(meta.earliest.messages - meta.base.messages).unwrap();
        let (mut next, mut at) = (first, meta.earliest);
        while at.messages < meta.tail.messages {
            match reader.read(meta.id, at, meta.tail, 50_000) {
                Ok(segments) => {
                    assert!(!segments.is_empty(), "{what}: empty instead of data at {at}");
                    for segment in segments {
                        let parts = &stream.messages[next..next + segment.messages.lengths().len()];
                        assert_eq!(segment.start, at, "{what}");
                        assert_eq!(segment.messages.wire(), join(meta.framing(), parts).wire(), "{what}");
                        next += parts.len();
                        at = segment.end();
                        self.right += 1;
                    }
                }
                Err(ReadFault::Tables(TablesError::Corrupt { .. } | TablesError::Damaged { .. })) => {
                    self.errors += 1;
                    // Go on behind the message that cannot be read.
                    at = at.advanced(1, stream.messages[next].len() as u64);
                    next += 1;
                }
                Err(other) => panic!("{what}: {other}"),
            }
        }
    }
}

struct Sample {
    run: Run,
    plain: Plain,
    cut: usize,
    older: Vec<u8>,
    file: Vec<u8>,
    used: Vec<usize>,
}

fn sample(seed: u64) -> Sample {
    let mut dice = Dice(seed);
    let run = Run::drawn(&mut dice, 60);
    let disk = Disk::default();
    let mut tables = Tables::create_on(disk.clone(), identity(), CACHE_BYTES).unwrap();
    let cut = 50;
    let mut older = Vec::new();
    for (number, batch) in run.batches[..cut].iter().enumerate() {
        tables.apply(&batch.ops, applied(batch.last), &[]).unwrap();
        tables.checkpoint().unwrap();
        if number == cut - 8 {
            older = disk.bytes();
        }
    }
    drop(tables);
    let file = disk.bytes();
    let plain = run.plains[usize::try_from(run.batches[cut - 1].last).unwrap()].clone();
    let used = (0..file.len() / BLOCK)
        .filter(|block| file[block * BLOCK..(block + 1) * BLOCK].iter().any(|&byte| byte != 0))
        .collect();
    Sample { run, plain, cut, older, file, used }
}

/// Damages a copy of the file; says how.
fn damage(sample: &Sample, dice: &mut Dice) -> (Vec<u8>, String) {
    let mut file = sample.file.clone();
    let block = sample.used[dice.below(sample.used.len())];
    let at = block * BLOCK;
    let kind = dice.below(20);
    let what = match kind {
        0 => {
            file[at..at + BLOCK].fill(0);
            format!("block {block} zeroed")
        }
        1 => {
            let sector = at + dice.below(8) * 512;
            file[sector..sector + 512].fill_with(|| dice.next().to_le_bytes()[0]);
            format!("sector at {sector} is noise")
        }
        2 => {
            let old = sample.older.get(at..at + BLOCK).map(<[u8]>::to_vec).unwrap_or_default();
            file[at..at + old.len()].copy_from_slice(&old);
            format!("block {block} as it was earlier")
        }
        3 => {
            let other = sample.used[dice.below(sample.used.len())] * BLOCK;
            let moved = file[other..other + BLOCK].to_vec();
            file[at..at + BLOCK].copy_from_slice(&moved);
            format!("block {block} holds what belongs to {other}")
        }
        4 => {
            file.truncate(at);
            format!("the file ends at {at}")
        }
        _ => {
            let (byte, bit) = (dice.below(BLOCK), dice.below(8));
            file[at + byte] ^= 1 << bit;
            format!("bit {bit} of byte {byte} in block {block} flipped")
        }
    };
    (file, what)
}

/// Opens a damaged file, looks at everything, writes on, looks again. Whatever fails is known to be damage.
fn expect_right_or_error(sample: &Sample, file: Vec<u8>, what: &str, found: &mut Found) -> bool {
    let mut tables = match Tables::open_on(Disk::with(file), identity(), CACHE_BYTES) {
        Ok(tables) => tables,
        Err(_) => return false,
    };
    let reader = tables.reader();
    let before = found.errors;
    assert_eq!(tables.state().applied.index, LogIndex(sample.run.batches[sample.cut - 1].last), "{what}");
    found.look(&reader, &sample.plain, what);
    let mut has_failed = found.errors > before;
    let mut plain = &sample.plain;
    for batch in &sample.run.batches[sample.cut..] {
        match tables.apply(&batch.ops, applied(batch.last), &[]) {
            Ok(()) => plain = &sample.run.plains[usize::try_from(batch.last).unwrap()],
            Err(TablesError::Corrupt { .. } | TablesError::Damaged { .. }) => {
                has_failed = true;
                break;
            }
            Err(other) => panic!("{what}: {other}"),
        }
        drop(tables.reap(10));
        drop(tables.checkpoint());
    }
    found.look(&reader, plain, what);
    has_failed |= found.errors > before;
    assert!(!has_failed || reader.rot().is_some(), "{what}: met, and not known");
    true
}

#[test]
fn damage_to_any_byte_gives_right_answers_or_errors() {
    let wanted = tier::bit_flips();
    let (mut found, mut opened, mut harmed) = (Found::default(), 0, 0);
    for seed in (tier::seed()..).take(usize::try_from(wanted.div_ceil(100)).unwrap()) {
        let sample = sample(seed + 100);
        let mut dice = Dice(seed);
        for number in 0..100 {
            let (file, how) = damage(&sample, &mut dice);
            let what = format!("seed {seed}, damage {number}: {how}");
            let before = found.errors;
            opened += u64::from(expect_right_or_error(&sample, file, &what, &mut found));
            harmed += u64::from(found.errors > before);
        }
    }
    println!("{wanted} damages: {opened} opened, {harmed} noticed by reads, {found:?}");
    assert!(
        opened > wanted / 2 && harmed > wanted / 20,
        "the damage must be met: {opened} {harmed} {found:?}"
    );
}

/// Two streams of eight large messages each.
fn two_streams() -> (Disk, Plain) {
    let disk = Disk::default();
    let mut tables = Tables::create_on(disk.clone(), identity(), CACHE_BYTES).unwrap();
    let mut plain = Plain::default();
    let mut index = 0;
    for name in 0..2 {
        let create = super::table_model::Step::Create { name: name * 2 + 1, json: false, ttl: None, base: 0 };
        let append = super::table_model::Step::Append {
            pick: name,
            sizes: vec![50_000; 8],
            close: false,
            producer: None,
        };
        for step in [create, append] {
            index += 1;
            let ops: Vec<_> = plain.take(&step).into_iter().map(|op| (LogIndex(index), op)).collect();
            tables.apply(&ops, applied(index), &[]).unwrap();
        }
    }
    tables.checkpoint().unwrap();
    drop(tables);
    (disk, plain)
}

#[test]
fn one_bad_chunk_does_not_take_its_shard_out_of_service() {
    let (disk, plain) = two_streams();
    let mut file = disk.bytes();
    let message = plain.streams[&1].messages[3].clone();
    let at = file.windows(64).position(|window| window == &message[1000..1064]).unwrap();
    file[at] ^= 1;
    let tables = Tables::open_on(Disk::with(file), identity(), CACHE_BYTES).unwrap();
    let mut found = Found::default();
    found.look(&tables.reader(), &plain, "one bad chunk");
    // Two messages share the bad chunk; all others, before and behind, are served.
    assert_eq!(found.errors, 2, "{found:?}");
    found.look(&tables.reader(), &plain, "the same again");
    assert_eq!(found.errors, 4, "{found:?}");
    let faults = super::table_model::scrubbed(&tables.reader());
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("stream 1 at message 2"), "{faults:?}");
}

#[test]
fn scrubbing_goes_on_behind_what_takes_the_shard_out_of_service() {
    let (disk, plain) = two_streams();
    let mut file = disk.bytes();
    let message = plain.streams[&1].messages[3].clone();
    let at = file.windows(64).position(|window| window == &message[1000..1064]).unwrap();
    file[at] ^= 1;
    // The pages of names; that of the catalogue has the names of tables only.
    let name = plain.names.keys().next().unwrap().clone();
    let is_name =
        |page: &&mut [u8]| page[0] == 1 && page.windows(name.len()).any(|part| part == name.as_bytes());
    file.chunks_mut(BLOCK).skip(3).filter(is_name).for_each(|page| page[2000] ^= 1);
    let disk = Disk::with(file);
    let mut tables = Tables::open_from(move || Ok(disk.clone()), identity(), CACHE_BYTES, None).unwrap();
    let (mut cursor, mut faults, mut reopened) = (ScrubCursor::default(), Vec::new(), 0);
    loop {
        let found = tables.reader().scrub(&cursor, 10_000).unwrap();
        faults.extend(found.faults);
        if found.complete {
            break;
        }
        cursor = found.next;
        if tables.damage().is_some() {
            reopened += 1;
            assert!(reopened < 9, "{faults:?}");
            tables.reopen().unwrap();
            tables.readmit();
        }
    }
    assert!(reopened > 0 && faults[0].contains("fails its checksum"), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("stream 1 at message 2")), "{faults:?}");
    assert!(tables.rot().is_some());
}

#[test]
fn a_file_of_another_shard_or_layout_is_refused_untouched() {
    let disk = Disk::default();
    drop(Tables::create_on(disk.clone(), identity(), CACHE_BYTES).unwrap());
    let mut other = identity();
    other.shard = thalweg_node::types::ShardId(4);
    let mut layout = identity();
    layout.layout[0] ^= 1;
    for wrong in [other, layout] {
        let fault = Tables::open_on(Disk::with(disk.bytes()), wrong, CACHE_BYTES).unwrap_err();
        assert!(matches!(fault, TablesError::Foreign { .. }), "{fault}");
    }
    let empty = Tables::open_on(Disk::default(), identity(), CACHE_BYTES).unwrap_err();
    assert!(matches!(empty, TablesError::Missing { .. }), "{empty}");
}
