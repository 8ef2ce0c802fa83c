//! Pages and manifests against the tree: a page that describes yesterday is worse than none.

use std::collections::{BTreeMap, BTreeSet};

use crate::arrows;
use crate::tree::Tree;

const PROMISES: &str = "docs/promises.md";
const REASONS: &str = "docs/dependencies.md";
const MAP: &str = "ARCHITECTURE.md";
const INDEX: &str = "docs/adr/README.md";
/// What a row begins with whose test is not there yet; the name of the one that is on its way may follow.
const PENDING: &str = "pending";

/// ADRs that the index does not link, and links without an ADR.
pub(crate) fn decisions_without_index(tree: &Tree) -> Vec<String> {
    let index = tree.page(INDEX);
    let records: BTreeSet<&str> = tree
        .pages
        .keys()
        .filter_map(|path| path.strip_prefix("docs/adr/"))
        .filter(|name| *name != "README.md")
        .collect();
    let linked: BTreeSet<&str> = index
        .split("](")
        .skip(1)
        .filter_map(|link| link.split(')').next())
        .filter(|link| !link.contains('/'))
        .collect();
    let missing = records.difference(&linked).map(|name| format!("docs/adr/{name}: add its line to {INDEX}"));
    let dead =
        linked.difference(&records).map(|name| format!("{INDEX}: {name} does not exist; remove the line"));
    missing.chain(dead).collect()
}

/// The cells of the tables of a page, without heads and rules.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = page.lines().filter(|line| line.starts_with('|') && !line.starts_with("|--"));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>())
}

/// The words in backticks of a text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Promise and test of every row, heads of tables left out.
fn promises(tree: &Tree) -> Vec<(&str, &str)> {
    let pairs = rows(tree.page(PROMISES)).filter_map(|cells| Some((*cells.first()?, *cells.get(1)?)));
    pairs.filter(|(promise, _)| *promise != "promise").collect()
}

/// Promises whose test is neither there nor marked pending, or whose name leads to more than one.
pub(crate) fn promises_without_test(tree: &Tree) -> Vec<String> {
    let mut functions: BTreeMap<String, usize> = BTreeMap::new();
    for name in tree.sources.iter().flat_map(|source| tests(&source.text)) {
        *functions.entry(name).or_default() += 1;
    }
    let mut found = Vec::new();
    for (promise, cell) in promises(tree) {
        let named: Vec<&str> = quoted(cell).collect();
        if named.is_empty() && !cell.starts_with(PENDING) {
            found
                .push(format!("{PROMISES}: \"{promise}\": name its test in backticks, or write `{PENDING}`"));
        }
        let is_there = |name: &str| {
            functions.get(name) == Some(&1) || (name.contains('/') && tree.root.join(name).exists())
        };
        for name in named.into_iter().filter(|name| !is_there(name)) {
            found.push(format!(
                "{PROMISES}: \"{promise}\": there is not exactly one test `{name}`; correct the name or write the test"
            ));
        }
    }
    if promises(tree).is_empty() {
        found.push(format!("{PROMISES} has no rows"));
    }
    found
}

/// How much is promised and not shown yet, and which of it only lacks the backticks.
pub(crate) fn pending_promises(tree: &Tree) -> String {
    let functions: BTreeSet<String> = tree.sources.iter().flat_map(|source| tests(&source.text)).collect();
    let all = promises(tree);
    let pending: Vec<&str> = all
        .iter()
        .filter_map(|(_, cell)| cell.strip_prefix(PENDING))
        .map(|rest| rest.trim_matches(':'))
        .collect();
    let names = pending.iter().flat_map(|names| names.split(',')).map(str::trim);
    let arrived: Vec<&str> = names.filter(|name| !name.is_empty() && functions.contains(*name)).collect();
    format!(
        "{} promises, {} pending; these tests are there by now, put them in backticks: {arrived:#?}",
        all.len(),
        pending.len()
    )
}

/// The names of all test functions of a file, the ones in `proptest!` blocks included.
fn tests(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("#[test]").chain(text.match_indices("#[tokio::test")) {
        let name = text[at..].split("fn ").nth(1).unwrap_or_default();
        found.push(name.chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect());
    }
    found
}

/// The manifests of the members.
fn manifests(tree: &Tree) -> impl Iterator<Item = (&String, &String)> {
    tree.pages.iter().filter(|(path, _)| path.ends_with("/Cargo.toml"))
}

/// Dependencies of the members that come from a registry, with a manifest that names each.
fn dependencies(tree: &Tree) -> BTreeMap<&str, &str> {
    let mut found = BTreeMap::new();
    for (path, text) in manifests(tree) {
        let mut inside = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line.ends_with("dependencies]");
            } else if inside && !line.is_empty() && !line.starts_with('#') && !line.contains("path =") {
                let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
                found.insert(name, path.as_str());
            }
        }
    }
    found
}

/// Dependencies without a reason, and reasons without a dependency.
pub(crate) fn dependencies_without_reason(tree: &Tree) -> Vec<String> {
    let used = dependencies(tree);
    let reasons: BTreeSet<&str> = rows(tree.page(REASONS))
        .filter_map(|cells| cells.first()?.strip_prefix('`')?.strip_suffix('`'))
        .collect();
    let missing = used.iter().filter(|(name, _)| !reasons.contains(*name));
    let missing =
        missing.map(|(name, path)| format!("{path}: `{name}` needs a line with its reason in {REASONS}"));
    let stale = reasons.iter().filter(|name| !used.contains_key(*name));
    let stale = stale.map(|name| format!("{REASONS}: nothing depends on `{name}`; remove the line"));
    missing.chain(stale).collect()
}

/// Members that do not take over the lints of the workspace.
pub(crate) fn crates_without_lints(tree: &Tree) -> Vec<String> {
    let bare = manifests(tree).filter(|(_, text)| !text.contains("[lints]\nworkspace = true"));
    bare.map(|(path, _)| format!("{path}: add `[lints]` with `workspace = true`")).collect()
}

/// Paths in backticks on the pages for newcomers that lead nowhere.
pub(crate) fn dead_paths(tree: &Tree) -> Vec<String> {
    const STARTS: [&str; 7] = ["node/", "e2e/", "docs/", "fuzz/", "scripts/", ".ci/", "crates/"];
    let mut found = Vec::new();
    for page in [MAP, "README.md", REASONS, INDEX, "docs/glossary.md"] {
        for path in quoted(tree.page(page)).filter(|text| STARTS.iter().any(|start| text.starts_with(start)))
        {
            let plain = path.trim_end_matches("**").trim_end_matches('/');
            if !plain.contains(['*', ' ', '<', '{']) && !tree.root.join(plain).exists() {
                found.push(format!("{page}: `{path}` does not exist; correct the page"));
            }
        }
    }
    found
}

/// Rooms of the tree that the map does not show.
pub(crate) fn rooms_without_map(tree: &Tree) -> Vec<String> {
    let rooms: BTreeSet<&str> = tree.sources.iter().filter_map(|source| arrows::room(&source.path)).collect();
    let hidden = rooms.into_iter().filter(|room| !tree.page(MAP).contains(&format!("### `{room}`")));
    hidden
        .map(|room| format!("{MAP}: the room `{room}` has no heading \"### `{room}`\" in the code map"))
        .collect()
}

#[test]
fn planted_gaps_in_pages_are_found() {
    let tree = Tree::of(&[
        (
            "node/Cargo.toml",
            "[dependencies]\nbytes.workspace = true\nredb = \"4\"\nown = { path = \"x\" }\n[lints]\n",
        ),
        (REASONS, "| `bytes` | shares bytes |\n| `gone` | nobody knows |\n"),
        (
            PROMISES,
            "| promise | test |\n|--|--|\n| a | `kept` |\n| b | `broken` |\n| c | pending: kept |\n| d | soon |\n| e | `twice` |\n",
        ),
        ("node/src/store.rs", "#[test]\nfn kept() {}\nfn broken() {}\n#[test]\nfn twice() {}"),
        ("node/src/core.rs", "#[test]\nfn twice() {}"),
        (MAP, "### `core`\n`node/src/nowhere.rs`"),
        (INDEX, "[1](0001-a.md) [2](0002-b.md)"),
        ("docs/adr/0001-a.md", ""),
        ("docs/adr/0003-c.md", ""),
    ]);
    assert_eq!(dependencies_without_reason(&tree).len(), 2);
    assert_eq!(promises_without_test(&tree).len(), 3);
    assert_eq!(crates_without_lints(&tree).len(), 1);
    assert_eq!(dead_paths(&tree).len(), 1);
    assert_eq!(rooms_without_map(&tree).len(), 1);
    assert_eq!(decisions_without_index(&tree).len(), 2);
    assert!(pending_promises(&tree).starts_with(
        "5 promises, 1 pending; these tests are there by now, put them in backticks: [\n    \"kept\""
    ));
}
