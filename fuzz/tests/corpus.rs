//! Every input that a fuzzer ever kept, and small changes of each, run by the ordinary tests.

use std::path::{Path, PathBuf};

use thalweg_fuzz::{TARGETS, Target};

/// The stored inputs of a target. A target without any would test nothing, so that is an error.
fn inputs(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut inputs: Vec<_> =
        entries.filter_map(|path| std::fs::read(&path).ok().map(|bytes| (path, bytes))).collect();
    inputs.sort();
    assert!(
        !inputs.is_empty(),
        "fuzz/corpus/{name} holds no input; add the valid forms and the known bad ones"
    );
    inputs
}

/// The input itself, each of its beginnings, and each of its bytes changed in three ways (long inputs: a part of them).
fn each_change(bytes: &[u8], target: Target) {
    const CHANGED_MAX: usize = 2_048;
    target(bytes);
    for at in 0..bytes.len().min(CHANGED_MAX) {
        target(&bytes[..at]);
        for change in [0x01, 0x80, 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] ^= change;
            target(&changed);
        }
    }
}

#[test]
fn every_parser_keeps_its_promise_on_the_stored_corpus_and_changes_of_it() {
    for (name, target) in TARGETS {
        for (path, bytes) in inputs(name) {
            println!("{name}: {}", path.display());
            each_change(&bytes, *target);
        }
    }
}

#[test]
fn every_target_can_be_fuzzed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let file = folder.join(format!("fuzz_targets/{name}.rs"));
        assert!(file.exists(), "write {}: five lines, as its neighbours", file.display());
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "fuzz/libfuzzer/Cargo.toml: add the target {name}"
        );
    }
}
