//! Which room may import which, and what decisions may not touch.

use crate::mask::is_word;
use crate::tree::{Source, Tree};

/// Every room of `node/src` with the rooms that it may import, in the order in which they build on each other.
/// A new room gets a row here and a section in ARCHITECTURE.md.
pub(crate) const ROOMS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("codec", &["types"]),
    ("config", &["types"]),
    ("telemetry", &["types", "config"]),
    ("core", &["types", "codec"]),
    ("seam", &["types"]),
    ("store", &["types", "codec", "config", "telemetry", "seam"]),
    ("wire", &["types", "codec", "telemetry", "core", "seam", "store"]),
    ("runtime", &["types", "codec", "config", "telemetry", "core", "seam", "store", "wire"]),
    ("admin", &["types", "core", "runtime"]),
    ("http", &["types", "codec", "config", "telemetry", "core", "seam", "runtime"]),
    ("tool", &["types", "codec", "config", "telemetry", "seam", "store", "runtime"]),
    (
        "run",
        &[
            "types",
            "codec",
            "config",
            "telemetry",
            "core",
            "seam",
            "store",
            "wire",
            "runtime",
            "admin",
            "http",
            "tool",
        ],
    ),
];

/// What would make a decision depend on something other than its arguments.
const EFFECTS: &[&str] = &[
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "std::time::Instant",
    "SystemTime",
    "tokio",
    "getrandom",
    "tracing",
    "async fn",
    ".await",
    "Mutex",
    "RwLock",
    "RandomState",
    "HashMap::new",
    "HashSet::new",
];

/// The room of a file of `node/src`; `None` for `lib.rs`, `main.rs` and other crates.
pub(crate) fn room(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("node/src/")?;
    let first = inside.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(name, "lib" | "main" | "bin")).then_some(name)
}

/// Imports against the arrows, and rooms without a row.
pub(crate) fn violations(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for source in &tree.sources {
        let Some(room) = room(&source.path) else { continue };
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            found.push(format!(
                "{}: the room `{room}` has no row in node/tests/architecture/arrows.rs; add one",
                source.path
            ));
            continue;
        };
        for (line, other) in imports(source) {
            if other != room && !allowed.contains(&other.as_str()) {
                found.push(format!(
                    "{}:{line}: `{room}` must not import `{other}` (it may: {}); move the code, or pass the value in",
                    source.path,
                    allowed.join(", ")
                ));
            }
        }
    }
    found
}

/// Effects in `core`.
pub(crate) fn effects_in_core(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for source in tree.sources.iter().filter(|source| room(&source.path) == Some("core")) {
        for (number, line) in source.production.lines().enumerate() {
            for effect in EFFECTS.iter().filter(|effect| line.contains(*effect)) {
                found.push(format!(
                    "{}:{}: `core` decides and must not use `{effect}`; return an effect instead (and hash with a fixed key)",
                    source.path,
                    number + 1
                ));
            }
        }
    }
    found
}

/// Every room that the file names, by `crate::room`, `crate::{room, …}` or enough `super::`, with the line.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let code = &source.production;
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if at > 0 && is_word(code.as_bytes()[at - 1]) {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let behind = &code[at + "crate::".len()..];
        found.extend(heads(behind).into_iter().map(|head| (line, head)));
    }
    let depth = depth(&source.path);
    for (number, line) in code.lines().enumerate() {
        let chain = "super::".repeat(depth);
        let starts = line.match_indices(&chain).filter(|(at, _)| !line[..*at].ends_with("super::"));
        for (at, _) in starts {
            let behind = &line[at + chain.len()..];
            found.extend(heads(behind).into_iter().map(|head| (number + 1, head)));
        }
    }
    found.retain(|(_, head)| {
        head.starts_with(|c: char| c.is_ascii_lowercase()) && head != "super" && head != "self"
    });
    found
}

/// How many `super::` lead from a file to the root of the crate.
fn depth(path: &str) -> usize {
    let inside = path.strip_prefix("node/src/").unwrap_or(path);
    inside.split('/').filter(|part| *part != "mod.rs").count()
}

/// The first words of a path or of each path of a group.
fn heads(behind: &str) -> Vec<String> {
    let word =
        |text: &str| text.trim_start().chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect();
    let Some(group) = behind.trim_start().strip_prefix('{') else { return vec![word(behind)] };
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.into_iter().map(word).collect()
}

#[test]
fn planted_imports_are_found() {
    let seen = |path: &str, text: &str| violations(&Tree::of(&[(path, text)])).len();
    assert_eq!(seen("node/src/types/op.rs", "use crate::codec::Reader;"), 1);
    assert_eq!(seen("node/src/types/op.rs", "fn a() { crate::store::open() }"), 1);
    assert_eq!(seen("node/src/store/aol.rs", "use crate::{types::Op, core::{Command, Reply}, http};"), 2);
    assert_eq!(seen("node/src/store.rs", "use super::runtime::Engine;"), 1);
    assert_eq!(seen("node/src/store/aol/segment.rs", "use super::super::super::http;"), 1);
    assert_eq!(seen("node/src/attic.rs", ""), 1);
    assert_eq!(
        seen(
            "node/src/store/aol.rs",
            "use crate::types::Op; use super::tables; // crate::http\n#[cfg(test)]\nmod tests { use crate::http::Server; }"
        ),
        0
    );
    assert_eq!(
        seen("node/src/run.rs", "use crate::http::Server; macro_rules! m { () => { $crate::types::Op } }"),
        0
    );
}

#[test]
fn planted_effects_are_found() {
    let seen = |text: &str| effects_in_core(&Tree::of(&[("node/src/core/decide.rs", text)])).len();
    assert_eq!(seen("fn a() { HashMap::new() }\nasync fn a() {}"), 2);
    assert_eq!(seen("use std::collections::BTreeMap; // no HashMap::new"), 0);
}
