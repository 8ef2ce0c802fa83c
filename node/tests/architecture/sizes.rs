//! Sizes that a reader can hold: of files and of functions.

use crate::mask::{block_end, is_word};
use crate::tree::{Source, Tree};

const FILE_LINES_MAX: usize = 800;
const FILE_LINES_P90_MAX: usize = 400;
const FILE_LINES_MEDIAN_MAX: usize = 150;
const FUNCTION_LINES_MAX: usize = 70;

/// Files and functions over their bound, and a tree whose usual file is too long.
pub(crate) fn violations(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for source in &tree.sources {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!(
                "{}: {lines} lines, at most {FILE_LINES_MAX}; split it by the nouns that it owns",
                source.path
            ));
        }
        for (name, line, lines) in functions(source) {
            if lines > FUNCTION_LINES_MAX {
                found.push(format!(
                    "{}:{line}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}; it is two functions",
                    source.path
                ));
            }
        }
    }
    let lengths = lengths(tree);
    for (part, name, bound) in [(50, "median", FILE_LINES_MEDIAN_MAX), (90, "p90", FILE_LINES_P90_MAX)] {
        let length = percentile(&lengths, part);
        if length > bound {
            found
                .push(format!("the {name} file has {length} lines, at most {bound}; split the longest ones"));
        }
    }
    found
}

/// The figures, and the files to look at first.
pub(crate) fn report(tree: &Tree) -> String {
    let lengths = lengths(tree);
    let mut long: Vec<_> =
        tree.sources.iter().map(|source| (source.text.lines().count(), &source.path)).collect();
    long.retain(|(lines, _)| *lines > FILE_LINES_P90_MAX);
    long.sort();
    format!(
        "{} files, {} lines; median {}, p90 {}, longest {}; over {FILE_LINES_P90_MAX}: {long:?}",
        lengths.len(),
        lengths.iter().sum::<usize>(),
        percentile(&lengths, 50),
        percentile(&lengths, 90),
        percentile(&lengths, 100),
    )
}

fn lengths(tree: &Tree) -> Vec<usize> {
    let mut lengths: Vec<usize> = tree.sources.iter().map(|source| source.text.lines().count()).collect();
    lengths.sort_unstable();
    lengths
}

fn percentile(sorted: &[usize], part: usize) -> usize {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * part / 100).copied().unwrap_or_default()
}

/// Name, first line and number of lines of every function with a body.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let code = &source.code;
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if at > 0 && is_word(code.as_bytes()[at - 1]) {
            continue;
        }
        let name: String = code[at + 3..].chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect();
        let Some(end) = block_end(code, at).filter(|_| !name.is_empty()) else { continue };
        let line = code[..at].matches('\n').count() + 1;
        found.push((name, line, code[at..end].matches('\n').count() + 1));
    }
    found
}

#[test]
fn planted_giants_are_found() {
    let long = format!("fn a(x: fn(u8) -> u8) {{\n{}}}\nfn b();\nfn c() {{}}\n", "    x(1);\n".repeat(70));
    let found = violations(&Tree::of(&[("node/src/a.rs", &long)]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("`a` has 72 lines"), "{found:?}");
    let found = violations(&Tree::of(&[("node/src/a.rs", &"\n".repeat(801))]));
    assert_eq!(found.len(), 3, "{found:?}");
}
