//! Promise: a start that cannot be made says what was found, where, and what to do, says it once, and leaves the
//! directory as it was.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use thalweg_node::config::Config;
use thalweg_node::runtime::{Running, start};
use thalweg_node::seam::disk::simulated::{Call, Faults, SimulatedDisk};
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::telemetry::Metrics;

use super::engine_world::{BEGINNING, World, config};

fn run(data: &Path) -> anyhow::Result<Running> {
    let config = Config { data: data.to_owned(), ..Config::default() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    start(&config, &clock, Arc::new(Metrics::new(config.lanes)))
}

/// Why it does not start, as the node prints it.
fn refusal(data: &Path) -> String {
    match run(data) {
        Ok(_) => panic!("it starts"),
        Err(error) => format!("{error:#}"),
    }
}

/// All files below a directory with their contents.
fn content(directory: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// A directory that was in use, without the lock file that a node leaves.
fn used() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    run(data.path()).unwrap().stop();
    std::fs::remove_file(data.path().join("lock")).unwrap();
    data
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn a_data_directory_that_lost_its_manifest_is_not_called_foreign_and_is_told_how_to_get_it_back() {
    let data = used();
    let other = tempfile::tempdir().unwrap();
    run(other.path()).unwrap().stop();
    std::fs::remove_file(data.path().join("layout.toml")).unwrap();
    let before = content(data.path());
    let text = refusal(data.path());
    let path = data.path().display().to_string();
    says(&text, &[&path, "superblock.a", "lane-000", "layout.toml is missing", "put back a copy", "--data"]);
    assert!(!text.contains("not ours"), "{text}");
    assert_eq!(content(data.path()), before, "a refused start changed something");
    // What it advises works: the manifest of any directory laid out alike.
    std::fs::copy(other.path().join("layout.toml"), data.path().join("layout.toml")).unwrap();
    run(data.path()).unwrap().stop();
}

#[test]
fn an_empty_log_of_a_directory_in_use_is_told_with_its_path_and_with_what_to_do() {
    let data = used();
    for entry in std::fs::read_dir(data.path().join("lane-000")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let path = data.path().join("lane-000").display().to_string();
    says(&refusal(data.path()), &[&path, "*.aol", "restore the whole data directory"]);
    assert!(std::fs::read_dir(data.path().join("lane-000")).unwrap().next().is_none());
}

#[test]
fn a_refused_directory_gets_no_file_of_ours() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("photo.jpg"), b"x").unwrap();
    says(&refusal(data.path()), &["photo.jpg", "not ours", "--data"]);
    assert_eq!(content(data.path()), [(data.path().join("photo.jpg"), b"x".to_vec())]);
}

#[test]
fn what_the_system_says_is_said_once() {
    for (call, starts) in [(Call::Create, 0), (Call::Open, 1), (Call::List, 1), (Call::Read, 1)] {
        let disk = SimulatedDisk::new(1);
        let world = World::new(disk.clone(), BEGINNING, config(1, 2, 1));
        for _ in 0..starts {
            world.start().unwrap().stop();
        }
        for nth in 1..20 {
            disk.set_faults(Faults::fail(call, nth, ErrorKind::PermissionDenied));
            let Err(error) = world.start() else { continue };
            let text = format!("{error:#}");
            let count = text.matches("permission denied").count();
            assert!(count == 1, "{call:?} {nth}: said {count} times: {text}");
        }
    }
}

#[test]
fn a_data_directory_that_is_a_file_is_called_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data");
    std::fs::write(&file, "a letter").unwrap();
    says(&refusal(&file), &["data is not a directory", "--data"]);
    assert_eq!(std::fs::read(&file).unwrap(), b"a letter");
}

#[test]
fn a_member_that_listens_elsewhere_than_its_cluster_file_says_is_warned_before_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let [file, data] = ["cluster.yaml", "data"].map(|name| folder.path().join(name));
    let member = "{id: 0, node: n0, peer: '127.0.0.1:4537', client: '127.0.0.1:4499'}";
    std::fs::write(&file, format!("cluster: {:032}\nmembers:\n  - {member}\n", 1)).unwrap();
    // A start that ends by itself.
    std::fs::write(&data, "no directory").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_node"))
        .args(["--node-name", "n0", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .args(["--log-level", "warn", "--cluster-file"])
        .arg(&file)
        .arg("--data")
        .arg(&data)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    says(&told, &["--listen is 127.0.0.1:0", "client of n0 is 127.0.0.1:4499", "is not a directory"]);
    assert!(!told.contains("--peer-listen is"), "that one is as the file says: {told}");
}
