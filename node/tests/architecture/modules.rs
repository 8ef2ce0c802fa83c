//! Files that no `mod` declaration reaches: they look like code and are never compiled.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{Source, Tree};

/// Rust files that belong to no crate.
pub(crate) fn dead_files(tree: &Tree) -> Vec<String> {
    let by_path: BTreeMap<&str, &Source> =
        tree.sources.iter().map(|source| (source.path.as_str(), source)).collect();
    let mut open: Vec<String> =
        by_path.keys().filter(|path| is_root(path)).map(|path| (*path).to_owned()).collect();
    let mut alive = BTreeSet::new();
    while let Some(path) = open.pop() {
        let Some(source) = by_path.get(path.as_str()) else { continue };
        if alive.insert(path) {
            open.extend(children(source));
        }
    }
    let dead = by_path.keys().filter(|path| !alive.contains(**path));
    dead.map(|path| format!("{path}: no `mod` declaration reaches it; declare it or remove it")).collect()
}

/// Where a crate begins: libraries, binaries, integration tests, fuzz targets.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(
        parts.as_slice(),
        [_, "src", "lib.rs" | "main.rs" | "build.rs"]
            | [_, "src", "bin", _]
            | ["fuzz", "libfuzzer", "fuzz_targets", _]
            | [_, "tests" | "benches" | "examples", _]
            | [_, "tests", _, "main.rs"]
    )
}

/// The files that the file's `mod name;` lines can mean.
fn children(source: &Source) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let is_folder_root = is_root(&source.path) || file == "mod.rs";
    let own = if is_folder_root { folder.to_owned() } else { source.path.trim_end_matches(".rs").to_owned() };
    let mut found = Vec::new();
    for statement in source.code.split([';', '{', '}']) {
        let Some(at) = statement.rfind("mod ") else { continue };
        let name = statement[at + 4..].trim();
        found.push(format!("{own}/{name}.rs"));
        found.push(format!("{own}/{name}/mod.rs"));
    }
    // A path attribute stands in a literal, which the bare code does not show.
    let named = source.text.split("#[path = \"").skip(1).filter_map(|rest| rest.split('"').next());
    found.extend(named.map(|name| format!("{folder}/{name}")));
    found
}

#[test]
fn planted_dead_files_are_found() {
    let tree = Tree::of(&[
        ("node/src/lib.rs", "pub mod a;\n#[cfg(test)]\nmod c;"),
        ("node/src/a.rs", "mod b;\npub(crate) mod d;"),
        ("node/src/a/b.rs", ""),
        ("node/src/a/d.rs", "// mod e;"),
        ("node/src/a/e.rs", ""),
        ("node/src/c.rs", "#[path = \"else/where.rs\"]\nmod other;"),
        ("node/src/else/where.rs", ""),
        ("node/tests/whole/main.rs", "mod part;"),
        ("node/tests/whole/part.rs", ""),
        ("node/tests/whole/other.rs", ""),
    ]);
    let dead = dead_files(&tree);
    assert_eq!(dead.len(), 2, "{dead:?}");
    assert!(dead[0].starts_with("node/src/a/e.rs") && dead[1].starts_with("node/tests/whole/other.rs"));
}
