//! The official suite and the official client, run by Node.js against a server.
//!
//! The suite counts itself; the figures here come from its own report, and a skipped test counts as not run.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;
use tokio::process::Command;

use crate::server::{Server, ServerKind, complaints, workspace_root};

/// Tests of the pinned suite, its six about subscriptions included.
pub const TESTS: u32 = 338;

/// The suite waits for this several times; shorter makes slow machines fail.
pub const LONG_POLL_MS: u64 = 2_000;

/// What a run of the suite found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Tests that exist.
    pub total: u32,
    /// Tests that ran and passed.
    pub passed: u32,
    /// Full names of those that did not, with the first line of why.
    pub failed: Vec<String>,
    /// The runner's own closing lines.
    pub closing: Vec<String>,
}

impl Report {
    /// All of the suite ran and passed.
    pub fn check(&self) -> anyhow::Result<()> {
        let perfect = self.total == TESTS && self.passed == TESTS && self.failed.is_empty();
        let (passed, total, closing) = (self.passed, self.total, self.closing.join("\n"));
        let failed = self.failed.join("\n  ");
        ensure!(perfect, "{passed} of {total} passed, {TESTS} of {TESTS} must\n{closing}\n  {failed}");
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonReport {
    num_total_tests: u32,
    num_passed_tests: u32,
    test_results: Vec<JsonFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonFile {
    assertion_results: Vec<JsonTest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonTest {
    full_name: String,
    status: String,
    #[serde(default)]
    failure_messages: Vec<String>,
}

/// The folder of the JavaScript side.
#[must_use]
pub fn folder() -> PathBuf {
    workspace_root().join("e2e").join("conformance")
}

/// Installs what the lock file names, once; a lock keeps two test programs from installing at the same time.
pub async fn install() -> anyhow::Result<()> {
    let folder = folder();
    let wanted = std::fs::read(folder.join("package-lock.json"))?;
    let stamp = folder.join("node_modules").join(".installed-lock.json");
    tokio::task::spawn_blocking({
        let folder = folder.clone();
        move || -> anyhow::Result<()> {
            let guard = File::open(&folder)?;
            flock(&guard, FlockOperation::LockExclusive)?;
            if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
                return Ok(());
            }
            let output = std::process::Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
                .current_dir(&folder)
                .stdin(Stdio::null())
                .output()
                .context("npm could not be started; Node.js 20 or newer is needed")?;
            ensure!(output.status.success(), "npm ci: {}", String::from_utf8_lossy(&output.stderr));
            std::fs::write(&stamp, &wanted)?;
            Ok(())
        }
    })
    .await?
}

/// Starts `kind` on a fresh directory, runs the suite, stops it; fails unless everything passed and no unlisted
/// complaint was logged. The report's text comes with either outcome.
pub async fn of_server(kind: &ServerKind) -> anyhow::Result<Report> {
    let data = tempfile::tempdir()?;
    let server = Server::start(kind, data.path(), 0, LONG_POLL_MS).await?;
    let report = run(&server.base_url(), LONG_POLL_MS).await;
    let log = server.kill().await?;
    let report = report?;
    report.check()?;
    let complaints = complaints(&log, &[]);
    ensure!(complaints.is_empty(), "the server complained:\n{}", complaints.join("\n"));
    Ok(report)
}

/// Runs the whole suite against `base_url`.
pub async fn run(base_url: &str, long_poll_ms: u64) -> anyhow::Result<Report> {
    install().await?;
    let report = tempfile::NamedTempFile::new()?;
    let output = Command::new("node")
        .arg(vitest())
        .args(["run", "--no-color", "--reporter=default", "--reporter=json"])
        .arg(format!("--outputFile.json={}", report.path().display()))
        .env("THALWEG_BASE_URL", base_url)
        .env("THALWEG_LONG_POLL_TIMEOUT_MS", long_poll_ms.to_string())
        .env("NO_COLOR", "1")
        .current_dir(folder())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("node (Node.js) could not be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse(report.path(), &text).with_context(|| {
        format!("the suite left no report:\n{text}\n{}", String::from_utf8_lossy(&output.stderr))
    })
}

fn vitest() -> PathBuf {
    Path::new("node_modules").join("vitest").join("vitest.mjs")
}

fn parse(report: &Path, output: &str) -> anyhow::Result<Report> {
    let json: JsonReport = serde_json::from_slice(&std::fs::read(report)?)?;
    let tests = json.test_results.into_iter().flat_map(|file| file.assertion_results);
    let failed = tests.filter(|test| test.status != "passed").map(|test| {
        let why =
            test.failure_messages.first().and_then(|message| message.lines().next()).unwrap_or_default();
        format!("{} [{}] {why}", test.full_name, test.status)
    });
    let closing = output.lines().filter(|line| {
        ["Test Files ", "Tests ", "Start at ", "Duration "]
            .iter()
            .any(|mark| line.trim_start().starts_with(mark))
    });
    Ok(Report {
        total: json.num_total_tests,
        passed: json.num_passed_tests,
        failed: failed.collect(),
        closing: closing.map(str::to_owned).collect(),
    })
}
