//! Every error code that the code can answer stands in `docs/http-api.md` with its status, and no other.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// `(status, code)` of every `Problem::refused(status, "code", …)`.
fn in_sources(directory: &Path, found: &mut BTreeSet<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            in_sources(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for call in text.split("Problem::refused(").skip(1) {
            let mut arguments = call.split(',').map(str::trim);
            let (status, code) = (arguments.next().unwrap(), arguments.next().unwrap());
            found.insert((status.to_owned(), code.trim_matches('"').to_owned()));
        }
    }
}

#[test]
fn every_error_code_is_documented_with_its_status() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = BTreeSet::new();
    in_sources(&root.join("src/http"), &mut sources);
    assert!(sources.len() > 40, "{sources:?}");
    let page = fs::read_to_string(root.join("../docs/http-api.md")).expect("docs/http-api.md is there");
    let documented: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | `"))
        .filter(|(status, _)| status.len() == 3 && status.parse::<u16>().is_ok())
        .filter_map(|(status, rest)| Some((status.to_owned(), rest.split_once('`')?.0.to_owned())))
        .collect();
    assert_eq!(sources, documented);
}
