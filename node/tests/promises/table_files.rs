//! Promise: a shard's file is created whole, never taken for empty, never opened for ever, never opened twice.

use std::fs;

use thalweg_node::store::tables::{Place, Tables, TablesError, file_name};
use thalweg_node::types::LogIndex;

use super::table_model::{Plain, Step, applied, dir, expect_same, identity};

const CACHE_BYTES: usize = 256 << 10;

#[test]
fn what_was_checkpointed_is_there_when_the_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut plain = Plain::default();
    let mut tables = Tables::create(&dir(&directory), identity(), CACHE_BYTES).unwrap();
    let mut ops = plain.take(&Step::Create { name: 0, json: true, ttl: Some(9), base: 0 });
    ops.extend(plain.take(&Step::Append {
        pick: 0,
        sizes: vec![300_000, 5],
        close: true,
        producer: Some(1),
    }));
    let ops: Vec<_> = ops.into_iter().map(|op| (LogIndex(1), op)).collect();
    tables.apply(&ops, applied(1), &[]).unwrap();
    assert_eq!(tables.durable(), LogIndex(0));
    assert_eq!(tables.checkpoint().unwrap(), LogIndex(1));
    drop(tables);
    let tables = Tables::open(&dir(&directory), identity(), CACHE_BYTES).unwrap();
    assert_eq!(tables.durable(), LogIndex(1));
    expect_same(&tables.reader(), &plain, 11);
    let names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, [file_name(identity().shard).as_str()], "no temporary file and no marker stays");
}

#[test]
fn a_missing_file_is_an_error_and_an_existing_one_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let missing = Tables::open(&dir(&directory), identity(), CACHE_BYTES).unwrap_err();
    assert!(matches!(missing, TablesError::Missing { .. }), "{missing}");
    fs::write(directory.path().join(file_name(identity().shard)), b"foreign").unwrap();
    let there = Tables::create(&dir(&directory), identity(), CACHE_BYTES).unwrap_err();
    assert!(matches!(there, TablesError::Exists { .. }), "{there}");
    for foreign in [b"foreign".to_vec(), vec![7; 9000], vec![0; 9000], vec![1; 100_000]] {
        fs::write(directory.path().join(file_name(identity().shard)), &foreign).unwrap();
        let marker = directory.path().join(format!("{}.opening", file_name(identity().shard)));
        let refused = Tables::open(&dir(&directory), identity(), CACHE_BYTES).unwrap_err();
        assert!(matches!(refused, TablesError::Damaged { .. }), "{refused}");
        assert!(!marker.exists(), "a refusal is no end of the process");
        let kept = fs::read(directory.path().join(file_name(identity().shard))).unwrap();
        assert!(kept == foreign, "the file was changed");
    }
}

#[test]
fn an_unfinished_creation_is_begun_afresh() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(format!("{}.new", file_name(identity().shard))), b"half").unwrap();
    Tables::create(&dir(&directory), identity(), CACHE_BYTES).unwrap();
}

#[test]
fn a_file_that_keeps_ending_the_process_is_quarantined() {
    let directory = tempfile::tempdir().unwrap();
    drop(Tables::create(&dir(&directory), identity(), CACHE_BYTES).unwrap());
    let marker = directory.path().join(format!("{}.opening", file_name(identity().shard)));
    fs::write(&marker, b"oo").unwrap();
    drop(Tables::open(&dir(&directory), identity(), CACHE_BYTES).unwrap());
    assert!(!marker.exists(), "a success forgives");
    fs::write(&marker, b"ooo").unwrap();
    let refused = Tables::open(&dir(&directory), identity(), CACHE_BYTES).unwrap_err();
    assert!(matches!(refused, TablesError::Quarantined { attempts: 3, .. }), "{refused}");
}

#[test]
fn a_file_that_is_open_is_not_opened_a_second_time() {
    let directory = tempfile::tempdir().unwrap();
    let _first = Tables::create(&dir(&directory), identity(), CACHE_BYTES).unwrap();
    Tables::open(&dir(&directory), identity(), CACHE_BYTES).unwrap_err();
}

#[test]
fn tables_that_are_set_aside_do_not_take_the_place_of_the_first_ones() {
    let directory = tempfile::tempdir().unwrap();
    let place =
        Place { directory: dir(&directory), identity: identity(), cache_bytes: CACHE_BYTES, spare: None };
    let file = directory.path().join(file_name(identity().shard));
    // A power cut may come between the mark and the move: so what is there does not count, and is the only copy all the same.
    for (content, counts) in
        [("first", true), ("second", false), ("third", true), ("fourth", true), ("fifth", false)]
    {
        fs::write(&file, content).unwrap();
        fs::write(directory.path().join(format!("{}.opening", file_name(identity().shard))), b"d").unwrap();
        place.set_aside(counts).unwrap();
        place.set_aside(counts).unwrap();
    }
    let mut left: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    left.sort();
    let ends = left.iter().map(|path| path.to_str().unwrap().rsplit_once("redb").unwrap().1.to_owned());
    let contents = left.iter().map(|path| fs::read_to_string(path).unwrap());
    let expected = [(".2.damaged", "second"), (".3.damaged", "fourth"), (".damaged", "first")];
    let expected = expected.map(|(end, content)| (end.to_owned(), content.to_owned()));
    assert_eq!(ends.zip(contents).collect::<Vec<_>>(), expected);
}

#[test]
fn a_file_is_opened_again_by_whoever_has_it_open() {
    let directory = tempfile::tempdir().unwrap();
    let mut tables = Tables::create(&dir(&directory), identity(), CACHE_BYTES).unwrap();
    for _ in 0..2 {
        tables.reopen().unwrap();
        tables.readmit();
        assert_eq!(tables.reader().totals().unwrap().streams, 0);
    }
    Tables::open(&dir(&directory), identity(), CACHE_BYTES).unwrap_err();
}
