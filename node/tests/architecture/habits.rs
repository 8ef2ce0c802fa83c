//! Habits inside files: heads, no panics, nothing left over.

use crate::tree::{Source, Tree};

/// Files whose first line is not `//!`.
pub(crate) fn missing_heads(tree: &Tree) -> Vec<String> {
    let headless = tree.sources.iter().filter(|source| !source.text.starts_with("//! "));
    headless
        .map(|source| {
            format!(
                "{}: begin with `//!`: what it owns, the invariant, what it leaves to others",
                source.path
            )
        })
        .collect()
}

/// Ways to end the process that a caller cannot handle.
const PANICS: &[&str] =
    &[".unwrap()", ".unwrap_err()", ".expect(", ".expect_err(", "panic!(", "todo!(", "unimplemented!("];

/// Panics outside tests.
pub(crate) fn panics(tree: &Tree) -> Vec<String> {
    lines(tree, |source| &source.production, PANICS, "return a typed error instead")
}

/// Words and attributes that put something off.
pub(crate) fn leftovers(tree: &Tree) -> Vec<String> {
    // Joined here, so that this file does not contain them.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("HA", "CK")];
    let mut found =
        lines(tree, |source| &source.text, &words, "do it, or write an issue and remove the note");
    let ignored = [concat!("#[ig", "nore]")];
    found.extend(lines(
        tree,
        |source| &source.code,
        &ignored,
        "say why: an ignored test needs `= \"reason\"`",
    ));
    let allowed = [concat!("#[al", "low("), concat!("#![al", "low(")];
    let advice =
        "give a reason, or better: use #[expect(lint, reason = \"…\")], which fails once it is not needed";
    found.extend(lines_unless("reason = ", tree, |source| &source.code, &allowed, advice));
    found
}

fn lines(tree: &Tree, part: fn(&Source) -> &String, needles: &[&str], advice: &str) -> Vec<String> {
    lines_unless("\n", tree, part, needles, advice)
}

/// The lines that contain one of the needles and not the excuse (no line contains a line break).
fn lines_unless(
    excuse: &str,
    tree: &Tree,
    part: fn(&Source) -> &String,
    needles: &[&str],
    advice: &str,
) -> Vec<String> {
    let mut found = Vec::new();
    for source in &tree.sources {
        let guilty = part(source).lines().enumerate().filter(|(_, line)| !line.contains(excuse));
        for (number, line) in guilty {
            for needle in needles.iter().filter(|needle| line.contains(*needle)) {
                found.push(format!("{}:{}: `{needle}`: {advice}", source.path, number + 1));
            }
        }
    }
    found
}

#[test]
fn planted_habits_are_found() {
    let text = "fn a() { b().unwrap(); }\n#[cfg(test)]\nmod tests { fn c() { d().unwrap() } }\n";
    assert_eq!(panics(&Tree::of(&[("node/src/a.rs", text)])).len(), 1);
    assert_eq!(panics(&Tree::of(&[("node/tests/a.rs", text)])).len(), 0);
    assert_eq!(
        missing_heads(&Tree::of(&[("node/src/a.rs", "//! A.\n"), ("node/src/b.rs", "// B\n")])).len(),
        1
    );
    let text = format!(
        "// {} later\n{}\nfn a() {{}}\n{}dead_code)]",
        concat!("TO", "DO"),
        concat!("#[ig", "nore]"),
        concat!("#[al", "low(")
    );
    assert_eq!(leftovers(&Tree::of(&[("node/src/a.rs", &text)])).len(), 3);
    assert_eq!(
        leftovers(&Tree::of(&[(
            "node/src/a.rs",
            "#[ignore = \"long\"]\n#[expect(dead_code, reason = \"x\")]"
        )]))
        .len(),
        0
    );
}
