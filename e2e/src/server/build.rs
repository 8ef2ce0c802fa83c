//! Where the programs come from: the node is built by cargo, rivals are installed from the registry into `target`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, bail, ensure};

/// Lines of a build that failed: the last error and its summary.
const LAST_LINES: usize = 30;

/// The workspace's folder.
#[must_use]
pub fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The node of the profile that this program was built with, brought up to date. `TEST_NODE` names another one.
pub fn node_binary() -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(path) = std::env::var_os("TEST_NODE") {
        return Ok(PathBuf::from(path));
    }
    BUILT
        .get_or_init(|| build_node().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

/// Tests live in `target/PROFILE/deps`, programs in `target/PROFILE`.
fn profile_folder() -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let mut folder = here.parent().context("the program lies in no folder")?;
    if folder.file_name().is_some_and(|name| name == "deps") {
        folder = folder.parent().context("deps lies in no folder")?;
    }
    Ok(folder.to_path_buf())
}

fn build_node() -> anyhow::Result<PathBuf> {
    let folder = profile_folder()?;
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => bail!("{} is no target folder", folder.display()),
    };
    let target = folder.parent().context("the profile's folder lies in no target folder")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What the cargo that runs this program says of this package is no matter of the node's: build scripts look at it, and everything
    // would be built anew for each of the two.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_this_package(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    let built = command
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "thalweg-node",
            "--bin",
            "node",
            "--profile",
            profile,
        ])
        .arg("--target-dir")
        .arg(target)
        .current_dir(workspace_root())
        .output()
        .context("cargo could not be started to build the node")?;
    ensure!(built.status.success(), "the node does not build:\n{}", last_words(&built.stderr));
    Ok(folder.join("node"))
}

/// Whether cargo sets it for a program that it runs.
fn is_of_this_package(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
}

/// The end of what a program has said.
fn last_words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

/// A rival's program: `TEST_RIVAL_OFFICIAL`, `…_ACID`, `…_URSULA` and `…_ARMDB` name one; otherwise it is installed once, at a
/// pinned version, below `target/rivals`. Some crates install a program of the same name, hence a root for each.
pub fn rival_binary(name: &str) -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os(format!("TEST_RIVAL_{}", name.to_uppercase())) {
        return Ok(PathBuf::from(path));
    }
    let (package, program) = match name {
        "official" => (["--locked", "durable-streams@0.1.5"], "durable-streams-server"),
        "acid" => (["--locked", "durable-streams-server@0.3.0"], "durable-streams-server"),
        "ursula" => (["--locked", "ursula@0.11.5"], "ursula"),
        // A library: the program around it is ours.
        "armdb" => (["--path", "e2e/rivals/armdb"], "armdb-rival"),
        other => bail!("no rival is called {other}"),
    };
    let root = workspace_root().join("target").join("rivals").join(name);
    let binary = root.join("bin").join(program);
    if !binary.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .arg("install")
            .args(package)
            .arg("--root")
            .arg(&root)
            .arg("--target-dir")
            .arg(root.join("build"))
            .current_dir(workspace_root())
            .status()?;
        ensure!(status.success(), "{name} could not be installed");
    }
    Ok(binary)
}
