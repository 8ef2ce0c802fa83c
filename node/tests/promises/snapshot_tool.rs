//! Promise: with the verbs of the binary a person takes snapshots of a stopped node, sees what is in them and whether they
//! are intact, and makes a node of them that answers as the first one did.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;

use thalweg_node::config::Config;
use thalweg_node::runtime;
use thalweg_node::seam::disk::{Dir, RealDir};
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::store::superblock::SuperblockStore;
use thalweg_node::store::tables::{Identity, Tables};
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{ShardCount, ShardId, StreamName};

const NODE: &str = env!("CARGO_BIN_EXE_node");
const STREAMS: usize = 9;

fn node(arguments: &str) -> Output {
    Command::new(NODE).args(arguments.split(' ')).stdin(Stdio::null()).output().unwrap()
}

/// Standard output of a verb that must succeed.
fn done(arguments: &str) -> String {
    let output = node(arguments);
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that a verb says which must fail with this code.
fn refused(arguments: &str, code: i32) -> String {
    let output = node(arguments);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments}: {text}");
    text
}

/// A node that serves, killed when it is dropped.
struct Serving {
    child: Child,
    address: String,
    /// The first line of its greeting.
    said: String,
    /// The node goes on greeting: its standard output must stay open.
    _greeting: BufReader<ChildStdout>,
}

impl Serving {
    fn on(data: &Path) -> Self {
        Self::with(data, &[])
    }

    fn with(data: &Path, settings: &[&str]) -> Self {
        let mut command = Command::new(NODE);
        command.args(["--listen", "127.0.0.1:0", "--shards", "4", "--data"]).arg(data).args(settings);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut greeting = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        greeting.read_line(&mut said).unwrap();
        let address = loop {
            let mut line = String::new();
            assert!(greeting.read_line(&mut line).unwrap() > 0, "it did not start");
            if let Some(address) = line.trim_end().strip_prefix("listening on http://") {
                break address.to_owned();
            }
        };
        Self { child, address, said, _greeting: greeting }
    }

    /// Waits for its end.
    fn ended(mut self) {
        self.child.wait().unwrap();
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (String, String) {
        self.ask_with(method, path, body, "")
    }

    fn ask_with(&self, method: &str, path: &str, body: &str, header: &str) -> (String, String) {
        let mut text =
            format!("{method} /v1/stream/{path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{header}");
        write!(text, "content-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn make(&self, method: &str, path: &str, body: &str, header: &str) {
        let (head, _) = self.ask_with(method, path, body, header);
        assert!(head.starts_with("HTTP/1.1 20"), "{method} {path}: {head}");
    }

    fn append(&self, stream: usize, text: &str) {
        let (head, _) = self.ask("POST", &format!("s{stream}"), text);
        assert!(head.starts_with("HTTP/1.1 204"), "{head}");
    }

    fn read(&self, stream: usize) -> String {
        let (head, body) = self.ask("GET", &format!("s{stream}?offset=-1"), "");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        body
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Fills a directory and kills the node that did it; gives what each stream holds.
fn filled(data: &Path) -> Vec<String> {
    let serving = Serving::on(data);
    for stream in 0..STREAMS {
        assert!(serving.ask("PUT", &format!("s{stream}"), "").0.starts_with("HTTP/1.1 201"));
        (0..=stream).for_each(|number| serving.append(stream, &format!("{number} of {stream}, ")));
    }
    let refusal = refused(&format!("snapshot --data {}", data.display()), 2);
    assert!(refusal.contains(&format!("pid {}", serving.child.id())), "{refusal}");
    assert!(refusal.contains("POST /admin/snapshots"), "{refusal}");
    (0..STREAMS).map(|stream| serving.read(stream)).collect()
}

#[test]
fn a_killed_node_is_taken_verified_restored_and_answers_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let [data, backup, new] = ["data", "backup", "new"].map(|name| folder.path().join(name));
    let texts = filled(&data);
    let (data_text, backup_text) = (data.display(), backup.display());
    let json: serde_json::Value =
        serde_json::from_str(&done(&format!("snapshot --data {data_text} --to {backup_text} --json")))
            .unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), 4);
    let json: serde_json::Value =
        serde_json::from_str(&done(&format!("inspect {data_text} --json"))).unwrap();
    let streams = json["rows"].as_array().unwrap().iter().filter_map(|row| row["streams"].as_u64());
    assert_eq!(streams.sum::<u64>(), STREAMS as u64);
    for path in [&data, &backup] {
        let text = done(&format!("verify {}", path.display()));
        assert!(text.contains("shard") && !text.contains("DAMAGED"), "{text}");
    }
    let text = done(&format!("restore --from {backup_text} --data {}", new.display()));
    assert!(text.contains("of cluster"), "{text}");
    // Such a start is refused without the number of shards.
    assert!(text.contains(&format!("start it with --data {} --shards 4\n", new.display())), "{text}");
    let again = refused(&format!("restore --from {backup_text} --data {}", new.display()), 2);
    assert!(again.contains("not empty"), "{again}");
    for _ in 0..2 {
        let serving = Serving::on(&new);
        for (stream, text) in texts.iter().enumerate() {
            assert!(serving.read(stream).starts_with(text.as_str()), "stream {stream}");
            serving.append(stream, "more");
        }
    }
    assert!(Serving::on(&new).read(3).ends_with("moremore"));
    assert!(!done(&format!("verify {}", new.display())).contains("DAMAGED"));
}

#[test]
fn a_member_of_a_cluster_gives_what_its_last_checkpoint_holds_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let [data, backup, new] = ["data", "backup", "new"].map(|name| folder.path().join(name));
    let file = folder.path().join("cluster.yaml");
    let peer = super::free_address::free_address().to_string();
    let cluster = "0123456789abcdef".repeat(2);
    let member = format!("{{id: 1, node: n0, peer: '{peer}', client: '127.0.0.1:4437'}}");
    fs::write(&file, format!("cluster: {cluster}\nmembers:\n  - {member}\nleaders: [1]\n")).unwrap();
    let file = file.to_str().unwrap().to_owned();
    let settings = ["--cluster-file", &file, "--node-name", "n0", "--peer-listen", &peer, "--admin-listen"];
    let serving = Serving::with(&data, &[&settings[..], &["127.0.0.1:0"]].concat());
    assert!(serving.said.contains("n0, the only node of its cluster"), "{}", serving.said);
    assert!(serving.ask("PUT", "s0", "").0.starts_with("HTTP/1.1 201"));
    serving.append(0, "voted on");
    // In order, so that the checkpoint holds all of it.
    let id = serving.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    serving.ended();
    let (data_text, backup_text) = (data.display(), backup.display());
    let before = fs::read(data.join("superblock.a")).unwrap();
    let text = done(&format!("snapshot --data {data_text} --to {backup_text}"));
    assert!(text.contains(&cluster) && text.contains("its last checkpoint"), "{text}");
    assert_eq!(fs::read(data.join("superblock.a")).unwrap(), before, "it was not started");
    let text = done(&format!("restore --from {backup_text} --data {}", new.display()));
    assert!(
        text.contains("of cluster") && text.matches(&cluster).count() == 1,
        "a cluster of its own: {text}"
    );
    assert_eq!(Serving::on(&new).read(0), "voted on");
    // Such a directory has promised nothing, and is not new for all that.
    let fresh = folder.path().join("fresh");
    done(&format!("restore --from {backup_text} --data {}", fresh.display()));
    assert!(!is_new(&fresh) && is_new(&folder.path().join("nothing")), "a volume with data is not new");
    // The closing words of the restore: under the id that was printed it begins a cluster, too.
    let begun = folder.path().join("begun");
    let text = done(&format!("restore --from {backup_text} --data {}", begun.display()));
    assert!(text.contains("first leader of every shard"), "{text}");
    let own = text.lines().find_map(|line| line.strip_prefix("cluster ")).unwrap().trim();
    // A snapshot of it does not serve it.
    done(&format!("snapshot --data {} --to {}", begun.display(), folder.path().join("again").display()));
    let leads = format!("cluster: {own}\nmembers:\n  - {member}\nleaders: [1]\n");
    fs::write(folder.path().join("cluster.yaml"), leads).unwrap();
    let serving = Serving::with(&begun, &[&settings[..], &["127.0.0.1:0"]].concat());
    assert_eq!(serving.read(0), "voted on");
}

#[test]
fn damage_is_named_and_the_older_snapshot_is_restored_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let [data, new] = ["data", "new"].map(|name| folder.path().join(name));
    let texts = filled(&data);
    let data_text = data.display();
    done(&format!("snapshot --data {data_text} --compression none"));
    done(&format!("snapshot --data {data_text} --rate 50MiB"));
    let shard = data.join("snapshots/shard-002");
    let mut files: Vec<_> = fs::read_dir(&shard).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 2, "{files:?}");
    let newest = files.pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() - 200;
    bytes[middle] ^= 4;
    fs::write(&newest, &bytes).unwrap();
    let name = newest.file_name().unwrap().to_str().unwrap();
    for path in [data.clone(), newest.clone()] {
        let text = refused(&format!("verify {}", path.display()), 1);
        assert!(text.contains("DAMAGED") && text.contains(name) && text.contains("block"), "{text}");
        assert!(text.contains("verdict") && text.contains("  damaged\n"), "{text}");
    }
    assert!(done(&format!("inspect {}", newest.display())).contains("log index"), "its ends are intact");
    let warned = refused(&format!("restore --from {data_text} --data {}", new.display()), 1);
    assert!(warned.contains("an older snapshot was taken") && warned.contains(name), "{warned}");
    let serving = Serving::on(&new);
    let found: Vec<String> = (0..STREAMS).map(|stream| serving.read(stream)).collect();
    assert_eq!(found, texts, "nothing was written between the two");
    fs::remove_file(data.join("tables/shard-001.redb")).unwrap();
    let partly = refused(&format!("snapshot --data {data_text}"), 1);
    assert!(partly.contains("shard 1: no snapshot") && partly.contains("shard-001.redb"), "{partly}");
    assert_eq!(partly.matches(".snapshot").count(), 3, "the others are taken: {partly}");
}

#[test]
fn what_a_verb_cannot_do_is_told_from_what_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let [data, empty, new, blocked] =
        ["data", "empty", "new", "blocked"].map(|name| folder.path().join(name));
    drop(Serving::on(&data));
    let data_text = data.display().to_string();
    let gone = refused("snapshot --data no/such/place", 2);
    assert!(gone.contains("name it with --data"), "{gone}");
    assert!(refused("restore --from no/such/place --data x", 2).contains("name it with --from"));
    refused("verify no/such/place", 2);
    refused("snapshot --data", 2);
    fs::create_dir(&empty).unwrap();
    assert!(refused(&format!("snapshot --data {}", empty.display()), 2).contains("no data of a node"));
    assert!(refused(&format!("restore --from {0} --data {0}", empty.display()), 2).contains("no snapshot"));
    for verb in ["verify", "inspect"] {
        let text = refused(&format!("{verb} {}", empty.display()), 2);
        assert!(text.contains("layout.toml") && text.contains("snapshots/shard-000/"), "{text}");
    }
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0, "a refusal leaves nothing behind");
    fs::create_dir(&blocked).unwrap();
    fs::write(blocked.join("snapshots"), "no folder").unwrap();
    let text = refused(&format!("snapshot --data {data_text} --to {}", blocked.display()), 2);
    assert!(text.contains("blocked cannot be written") && !text.contains("DAMAGED"), "{text}");
    done(&format!("snapshot --data {data_text}"));
    let text = refused(&format!("restore --from {data_text} --data {} --lanes 9", new.display()), 2);
    assert!(text.contains("lanes (9) must be at most shards (4): lower lanes"), "{text}");
    assert!(!new.exists());
    let text = done(&format!("restore --from {data_text} --data {} --lanes 2", new.display()));
    assert!(text.contains("new --shards 4 --lanes 2\n"), "{text}");
}

#[test]
fn a_backup_that_lacks_a_shard_is_not_called_intact() {
    let folder = tempfile::tempdir().unwrap();
    let [data, backup] = ["data", "backup"].map(|name| folder.path().join(name));
    drop(Serving::on(&data));
    let (data_text, backup_text) = (data.display(), backup.display());
    let verified = |path: &Path| done(&format!("verify {}", path.display()));
    assert!(verified(&data).contains("snapshots  none"));
    done(&format!("snapshot --data {data_text} --to {backup_text}"));
    done(&format!("snapshot --data {data_text}"));
    assert!(verified(&data).contains("snapshots  of all shards"));
    assert!(verified(&backup).contains("verdict  intact"));
    let part = |path: &Path, name: &str| path.join("snapshots").join(name);
    let lacking = "of 4 shards these have no snapshot: 2";
    for path in [&data, &backup] {
        fs::remove_dir_all(part(path, "shard-002")).unwrap();
    }
    let text = verified(&data);
    assert!(text.contains(lacking) && text.contains("intact"), "of a node it is no damage: {text}");
    let text = refused(&format!("verify {backup_text}"), 1);
    assert!(text.contains(&format!("DAMAGED  the backup is incomplete: {lacking};")), "{text}");
    fs::create_dir(part(&backup, "shard-002")).unwrap();
    let text = refused(&format!("verify {backup_text}"), 1);
    assert!(text.contains(lacking), "a folder is no snapshot: {text}");
    let file = fs::read_dir(part(&backup, "shard-001")).unwrap().next().unwrap().unwrap().file_name();
    fs::copy(part(&backup, "shard-001").join(&file), part(&backup, "shard-002").join(&file)).unwrap();
    let text = refused(&format!("verify {backup_text}"), 1);
    assert!(text.contains("it is of shard 1 of 4"), "another shard's is none, either: {text}");
    let bad = folder.path().join("bad.snapshot");
    fs::write(&bad, "no snapshot").unwrap();
    let json: serde_json::Value =
        serde_json::from_str(&refused(&format!("verify {} --json", bad.display()), 1)).unwrap();
    assert_eq!((json["verdict"].as_str(), json["damage"].as_array().unwrap().len()), (Some("damaged"), 1));
    let superblock = ["superblock.a", "superblock.b"].map(|name| data.join(name));
    for path in superblock.iter().filter(|path| path.exists()) {
        fs::write(path, vec![0xa5; fs::read(path).unwrap().len()]).unwrap();
    }
    let text = refused(&format!("verify {data_text}"), 1);
    assert!(text.contains("DAMAGED  both copies of the superblock"), "it is part of the data: {text}");
    let layout = data.join("layout.toml");
    fs::write(&layout, [fs::read(&layout).unwrap(), b"more".to_vec()].concat()).unwrap();
    let text = refused(&format!("verify {data_text}"), 1);
    assert!(text.contains("DAMAGED  layout.toml is damaged"), "{text}");
}

/// What a node that waits to be told who elects it says of its volume.
fn is_new(data: &Path) -> bool {
    let root: Arc<dyn Dir> = {
        fs::create_dir_all(data).unwrap();
        RealDir::open(data).unwrap()
    };
    let known = SuperblockStore::peek(&*root).unwrap().map(|superblock| superblock.cluster);
    let config = Config {
        data: data.to_owned(),
        shards: ShardCount::new(4).unwrap(),
        cluster_id: Some(known.unwrap_or(thalweg_node::types::ClusterId([7; 16]))),
        peer_listen: super::free_address::free_address(),
        ..Config::default()
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let running = runtime::start(&config, &clock, Arc::new(Metrics::new(config.lanes))).unwrap();
    let is_new = running.control().node().is_new;
    running.stop();
    is_new
}

/// The first name with this beginning in a shard.
fn name_in(shard: u16, prefix: &str) -> String {
    let count = ShardCount::new(4).unwrap();
    let is_there =
        |name: &String| StreamName::from_bytes(name.as_bytes()).unwrap().shard(count) == ShardId(shard);
    (0..).map(|number| format!("{prefix}{number}")).find(is_there).unwrap()
}

/// The first id that a new stream may get in a shard.
fn next_id(data: &Path, shard: u16) -> u64 {
    let root: Arc<dyn Dir> = RealDir::open(data).unwrap();
    let layout = SuperblockStore::peek(&*root).unwrap().unwrap().cluster.0;
    let identity = Identity { shard: ShardId(shard), shards: ShardCount::new(4).unwrap(), layout };
    let tables = Tables::open(&root.subdir("tables").unwrap(), identity, 1 << 20).unwrap();
    tables.reader().next_stream().unwrap().0
}

#[test]
fn a_restored_fork_whose_source_is_older_than_it_is_refused_and_never_shows_another_streams_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let [data, early, late, new] = ["data", "early", "late", "new"].map(|name| folder.path().join(name));
    let text = |path: &Path| path.display().to_string();
    // Their sources grow, and come to be, behind the snapshot of their shard; the third has all of its source.
    let sources = [name_in(0, "older"), name_in(0, "younger"), name_in(2, "whole")];
    let forks = ["of-older", "of-younger", "of-whole"].map(|prefix| name_in(1, prefix));
    let serving = Serving::on(&data);
    serving.make("PUT", &sources[0], "before ", "");
    drop(serving);
    done(&format!("snapshot --data {} --to {}", text(&data), text(&early)));
    let serving = Serving::on(&data);
    serving.make("POST", &sources[0], "behind ", "");
    serving.make("PUT", &sources[1], "younger", "");
    serving.make("PUT", &sources[2], "whole ", "");
    for (fork, source) in forks.iter().zip(&sources) {
        serving.make("PUT", fork, "", &format!("stream-forked-from: /v1/stream/{source}\r\n"));
        serving.make("POST", fork, "its own", "");
        assert!(serving.ask("GET", &format!("{fork}?offset=-1"), "").1.ends_with("its own"));
    }
    drop(serving);
    done(&format!("snapshot --data {} --to {}", text(&data), text(&late)));
    let shard = |of: &Path| of.join("snapshots/shard-000");
    fs::remove_dir_all(shard(&late)).unwrap();
    fs::create_dir(shard(&late)).unwrap();
    for entry in fs::read_dir(shard(&early)).unwrap() {
        let file = entry.unwrap();
        fs::copy(file.path(), shard(&late).join(file.file_name())).unwrap();
    }
    done(&format!("restore --from {} --data {}", text(&late), text(&new)));
    assert!(next_id(&new, 0) > 1 << 32, "an id that was given behind the snapshot is never given again");
    for round in 0..2 {
        let serving = Serving::on(&new);
        for looks in 0..2 {
            for fork in &forks[..2] {
                for (method, path) in [
                    ("GET", format!("{fork}?offset=-1")),
                    ("GET", format!("{fork}?offset=now")),
                    ("HEAD", fork.clone()),
                ] {
                    let (head, body) = serving.ask(method, &path, "");
                    assert!(
                        head.starts_with("HTTP/1.1 503"),
                        "{method} {path}, {round} {looks}: {head} {body}"
                    );
                    assert!(
                        method == "HEAD" || body.contains("shard_damaged") && body.contains(fork.as_str()),
                        "{body}"
                    );
                }
            }
            assert_eq!(serving.ask("GET", &format!("{}?offset=-1", forks[2]), "").1, "whole its own");
            assert!(serving.ask("HEAD", &forks[2], "").0.starts_with("HTTP/1.1 200"));
            // What takes the place of the bytes and ids that the forks knew.
            let (head, _) = serving.ask("POST", &sources[0], "something else");
            assert!(head.starts_with("HTTP/1.1 204"), "{head}");
            let other = name_in(0, &format!("other-{round}-{looks}-"));
            assert!(serving.ask("PUT", &other, "of another stream").0.starts_with("HTTP/1.1 201"));
        }
        // A fork of such a fork would show no more.
        let again = name_in(3, &format!("again-{round}-"));
        let header = format!("stream-forked-from: /v1/stream/{}\r\n", forks[0]);
        let (head, _) = serving.ask_with("PUT", &again, "", &header);
        assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    }
    // They can be removed.
    let serving = Serving::on(&new);
    assert!(serving.ask("DELETE", &forks[0], "").0.starts_with("HTTP/1.1 204"));
    assert!(serving.ask("GET", &format!("{}?offset=-1", forks[0]), "").0.starts_with("HTTP/1.1 404"));
}
