//! The tree as the rules see it: every Rust file with its code laid bare, and every page.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::mask;

/// Where Rust files are looked for.
const RUST_ROOTS: [&str; 5] = ["node/src", "node/tests", "e2e/src", "e2e/tests", "fuzz"];
/// What is nobody's source.
const SKIPPED: [&str; 4] = ["target", "node_modules", ".git", "corpus"];

/// One Rust file.
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// The same, comments and literals blanked; line numbers are kept.
    pub(crate) code: String,
    /// The same without what only tests compile.
    pub(crate) production: String,
}

/// Everything that the rules look at.
pub(crate) struct Tree {
    /// All Rust files by path.
    pub(crate) sources: Vec<Source>,
    /// Pages and manifests by path.
    pub(crate) pages: BTreeMap<String, String>,
    /// The root of the repository.
    pub(crate) root: PathBuf,
}

impl Source {
    /// Takes a file's text apart.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = mask::code(text);
        let tests_only = path.contains("/tests/") || path.ends_with("/tests.rs");
        let production = if tests_only { String::new() } else { mask::without_tests(&code) };
        Self { path: path.to_owned(), text: text.to_owned(), code, production }
    }
}

impl Tree {
    /// Reads the repository that this test stands in.
    pub(crate) fn load() -> io::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut tree = Self { sources: Vec::new(), pages: BTreeMap::new(), root: root.clone() };
        for start in RUST_ROOTS {
            for path in files(&root.join(start))? {
                let name = relative(&root, &path);
                if name.ends_with(".rs") {
                    tree.sources.push(Source::new(&name, &std::fs::read_to_string(&path)?));
                }
            }
        }
        for start in ["", "docs", "docs/adr", "node", "e2e", "fuzz"] {
            for path in entries(&root.join(start))?.into_iter().filter(|path| path.is_file()) {
                let name = relative(&root, &path);
                if name.ends_with(".md") || name.ends_with("Cargo.toml") {
                    tree.pages.insert(name, std::fs::read_to_string(&path)?);
                }
            }
        }
        Ok(tree)
    }

    /// A tree made of these Rust files, for tests of the rules.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let (rust, pages): (Vec<(&str, &str)>, Vec<_>) =
            files.iter().copied().partition(|(path, _)| path.ends_with(".rs"));
        Self {
            sources: rust.iter().map(|(path, text)| Source::new(path, text)).collect(),
            pages: pages.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect(),
            root: PathBuf::from("/nonexistent"),
        }
    }

    /// A page's text, empty if there is none.
    pub(crate) fn page(&self, path: &str) -> &str {
        self.pages.get(path).map_or("", String::as_str)
    }
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

/// The entries of a directory, sorted; none if it is not there.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = std::fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// All files below a directory.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in entries(directory)? {
        let skipped = path.file_name().is_some_and(|name| SKIPPED.iter().any(|other| name == *other));
        if path.is_dir() && !skipped {
            found.extend(files(&path)?);
        } else if path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}
