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

/// Metrics that are declared and never moved: a figure that stands still misleads whoever looks at it.
pub(crate) fn dead_metrics(tree: &Tree) -> Vec<String> {
    let declared = "node/src/telemetry/metrics.rs";
    let elsewhere = tree.sources.iter().filter(|source| !source.path.starts_with("node/src/telemetry/"));
    // Without blanks, since a call may be broken over lines.
    let code: String =
        elsewhere.flat_map(|source| source.production.chars().filter(|c| !c.is_whitespace())).collect();
    let fields = tree.sources.iter().filter(|source| source.path == declared).flat_map(|source| {
        source.text.lines().filter_map(|line| {
            let (field, rest) = line.trim().split_once(": ")?;
            let kind = ["Counter = ", "Gauge = ", "TimeHistogram = ", "CountHistogram = "];
            kind.iter().any(|kind| rest.starts_with(kind)).then_some(field)
        })
    });
    let moves = ["inc(", "inc_by(", "dec(", "set(", "observe(", "clone("];
    let moved = |field: &str| {
        moves.iter().any(|verb| code.contains(&format!(".{field}.{verb}")))
            || code.match_indices("Held::new(&").any(|(at, _)| {
                let call = code.get(at..).and_then(|call| call.split([',', ';']).next());
                call.is_some_and(|call| call.contains(&format!(".{field})")))
            })
    };
    let dead = fields.filter(|field| !moved(field));
    dead.map(|field| format!("{declared}: {field} is never moved: move it where it happens, or remove it"))
        .collect()
}

#[test]
fn planted_dead_metrics_are_found() {
    let metrics = "group! {\n /// A.\n a: Counter = \"a\";\n /// B.\n b: Gauge = \"b\";\n /// C.\n c: TimeHistogram = \"c\";\n}\n";
    let user = "fn f() { m.x\n .a\n .inc_by(1); let h = Held::new(&m().y.b); }\n";
    let files = [("node/src/telemetry/metrics.rs", metrics), ("node/src/runtime/a.rs", user)];
    let dead = dead_metrics(&Tree::of(&files));
    assert!(dead.len() == 1 && dead[0].contains(" c is"), "{dead:?}");
}

/// Settings that are declared and read nowhere: whoever sets one believes that it does something.
pub(crate) fn dead_settings(tree: &Tree) -> Vec<String> {
    let declared = "node/src/config/settings.rs";
    let code: String = tree.sources.iter().map(|source| source.production.as_str()).collect();
    let fields = tree.sources.iter().filter(|source| source.path == declared).flat_map(|source| {
        let lines = source.text.lines().filter(|line| line.starts_with("        ") && line.contains(" = "));
        lines.filter_map(|line| line.trim().split_once(": ")).map(|(field, _)| field)
    });
    let read = |field: &str| {
        let needle = format!(".{field}");
        code.match_indices(&needle).any(|(at, _)| {
            let next = code.get(at + needle.len()..).and_then(|rest| rest.chars().next());
            next.is_none_or(|next| !next.is_alphanumeric() && next != '_')
        })
    };
    let dead =
        fields.filter(|field| field.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !read(field));
    dead.map(|field| format!("{declared}: {field} is never read: use it, or remove it")).collect()
}

#[test]
fn planted_dead_settings_are_found() {
    let settings = "settings! {\n    \"Place\" {\n        /// A.\n        a: u32 = 1,\n            because \"x = y\";\n        /// B.\n        bb: u32 = 2, within 1..=2,\n            because \"z\";\n    }\n}\n";
    let user = "fn f(config: &Config) -> u32 { config.a + config.bbb }\n";
    let dead =
        dead_settings(&Tree::of(&[("node/src/config/settings.rs", settings), ("node/src/run.rs", user)]));
    assert!(dead.len() == 1 && dead[0].contains(" bb is"), "{dead:?}");
}
