//! Promise: a failing device gives an error, never a wrong answer, and loses no acknowledged checkpoint.

use std::io::ErrorKind;

use thalweg_node::store::tables::{Tables, TablesError};

use super::table_crash::Run;
use super::table_disk::{Dice, Disk};
use super::table_model::{applied, expect_same, identity};

const CACHE_BYTES: usize = 256 << 10;

/// Plays until the device fails; gives the last acknowledged checkpoint and whether it failed at all.
fn play_until_failure(run: &Run, disk: &Disk) -> (u64, bool) {
    let mut tables = match Tables::open_on(disk.clone(), identity(), CACHE_BYTES) {
        Ok(tables) => tables,
        Err(_) => return (0, true),
    };
    let mut acknowledged = 0;
    for batch in &run.batches {
        let applied = tables.apply(&batch.ops, applied(batch.last), &[]);
        let reaped = applied.and_then(|()| tables.reap(batch.reap).map(drop));
        let step = reaped.and_then(|()| {
            if batch.checkpoint {
                acknowledged = tables.checkpoint()?.0;
            }
            Ok(())
        });
        match step {
            Ok(()) => {}
            Err(TablesError::Damaged { .. } | TablesError::Full | TablesError::Corrupt { .. }) => {
                // What is answered afterwards is right or an error.
                let index = usize::try_from(tables.state().applied.index.0).unwrap();
                let names: Vec<_> = run.plains[index].names.keys().cloned().collect();
                if let Ok(list) = tables.reader().list("", None, usize::MAX) {
                    assert_eq!(list.iter().map(|e| e.meta.name.to_string()).collect::<Vec<_>>(), names);
                }
                assert_eq!(tables.rot(), None, "the device failed, and what is stored is whole");
                return (acknowledged, true);
            }
            Err(other) => panic!("{other}"),
        }
    }
    (acknowledged, false)
}

#[test]
fn an_error_at_any_call_of_the_device_loses_no_acknowledged_checkpoint() {
    let mut dice = Dice(5);
    let run = Run::drawn(&mut dice, 25);
    let disk = Disk::default();
    drop(Tables::create_on(disk.clone(), identity(), CACHE_BYTES).unwrap());
    let start = disk.bytes();
    let counting = Disk::with(start.clone());
    play_until_failure(&run, &counting);
    let calls = counting.calls();
    assert!(calls > 100, "{calls}");
    let mut failures = 0;
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        for call in 1..=calls {
            let disk = Disk::with(start.clone());
            disk.fail(call, kind);
            let (acknowledged, failed) = play_until_failure(&run, &disk);
            failures += u64::from(failed);
            disk.fail(u64::MAX, kind);
            let mut tables = Tables::open_on(disk, identity(), CACHE_BYTES)
                .unwrap_or_else(|error| panic!("{kind:?} at call {call}: does not open again: {error}"));
            let index = tables.state().applied.index.0;
            assert!(index >= acknowledged, "{kind:?} at call {call}: {index} < {acknowledged}");
            expect_same(&tables.reader(), &run.plains[usize::try_from(index).unwrap()], 3);
            for batch in run.batches.iter().filter(|batch| batch.last > index) {
                tables.apply(&batch.ops, applied(batch.last), &[]).unwrap();
            }
            expect_same(&tables.reader(), &run.plains[run.plains.len() - 1], 9);
        }
    }
    println!("{failures} of {} failures of the device were noticed", 2 * calls);
    assert!(failures > calls / 2, "{failures} of {calls}");
}
