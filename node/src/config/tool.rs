//! The verbs of the command line that work on a data directory without serving it.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::Size;
use super::value::Value;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The verb.
    pub verb: Verb,
    /// Print JSON instead of a table.
    pub json: bool,
}

/// A verb and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Take a snapshot of every shard.
    Snapshot {
        /// The data directory.
        data: PathBuf,
        /// What gets the folder `snapshots`; the data directory itself if nothing is said.
        to: Option<PathBuf>,
        /// Whether blocks are compressed.
        lz4: bool,
        /// Bytes per second at most.
        rate: Option<Size>,
        /// Snapshots of each shard that stay.
        keep: u32,
    },
    /// Make a data directory from snapshots.
    Restore {
        /// What holds the folder `snapshots`.
        from: PathBuf,
        /// The new data directory.
        data: PathBuf,
        /// How many logs it has.
        lanes: u16,
    },
    /// Say what is there.
    Inspect {
        /// A snapshot, or a directory.
        path: PathBuf,
    },
    /// Read everything, and say what is damaged.
    Verify {
        /// A snapshot, or a directory.
        path: PathBuf,
    },
}

const SNAPSHOT: &str = "\
Examples:
  node snapshot --data /var/lib/thalweg                   into its folder `snapshots`
  node snapshot --data /var/lib/thalweg --to /backup --rate 50MiB
  node snapshot --compression none --json

The node must be stopped. What a kill left in the log is applied first, exactly as a start does it.";
const RESTORE: &str = "\
Examples:
  node restore --from /backup --data /var/lib/thalweg-new
  node restore --from ./data --data ./data-2 && node --data ./data-2      of 16 shards
  node restore --from ./data --data ./data-2 && node --data ./data-2 --shards 4

With what the new directory is to be started, it says at its end. Of each shard the newest intact snapshot is taken; damaged ones are told of and passed over (exit code 1: that shard is
older than it could be). The new directory must be empty or not there. It begins a life of its own: a new cluster id, an
empty log.";
const INSPECT: &str = "\
Examples:
  node inspect ./data
  node inspect ./data/snapshots/shard-000/00000000000000000042.snapshot --json

Reads the ends of files only; `node verify` reads everything. A running node's directory is refused.";
const VERIFY: &str = "\
Examples:
  node verify ./data                       every row of every table, every block of every snapshot
  node verify /backup
  node verify ./data/snapshots/shard-000/00000000000000000042.snapshot

All shards of a backup must have a snapshot: one that is missing counts as damaged. The log is checked by each start.";
const EXIT: &str = "\
Exit code 0: done, and nothing is damaged; 1: something is damaged or missing, and it is named; 2: it could not be done,
and the reason is on standard error (no such place, nothing of Thalweg's in it, a process that uses it, nowhere to write).";

/// The verbs as the command line knows them.
pub(super) fn commands() -> [Command; 4] {
    let data = Arg::new("data").long("data").value_name("DIRECTORY");
    let from = Arg::new("from").long("from").value_name("DIRECTORY").required(true);
    let path = Arg::new("path").value_name("PATH").required(true).help("A snapshot, or a directory");
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let snapshot = verb("snapshot", "Takes a snapshot of every shard of a stopped node", SNAPSHOT).args([
        data.clone().default_value("./data").help("The data directory of a stopped node"),
        option("to", "DIRECTORY", "Where the folder `snapshots` is made [default: the data directory]"),
        option("compression", "HOW", "none or lz4").default_value("lz4").value_parser(["none", "lz4"]),
        option("rate", "SIZE", "Bytes per second at most, as in 50MiB [default: no bound]")
            .value_parser(Size::parse),
        option("keep", "COUNT", "Snapshots of each shard that stay")
            .default_value("2")
            .value_parser(clap::value_parser!(u32).range(1..)),
    ]);
    let restore = verb("restore", "Makes a data directory from snapshots", RESTORE).args([
        from.help("What holds the folder `snapshots`"),
        data.required(true).help("The new data directory; empty, or not there"),
        option("lanes", "COUNT", "Logs of the new directory")
            .default_value("1")
            .value_parser(clap::value_parser!(u16).range(1..=256)),
    ]);
    let inspect =
        verb("inspect", "Says what a snapshot or a data directory holds", INSPECT).arg(path.clone());
    let verify = verb("verify", "Reads everything and says what is damaged", VERIFY).arg(path);
    [snapshot, restore, inspect, verify]
}

fn verb(name: &'static str, about: &'static str, examples: &'static str) -> Command {
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON instead of a table");
    Command::new(name).about(about).after_help(format!("{examples}\n\n{EXIT}")).arg(json)
}

/// What the matches of one of [`commands`] say.
pub(super) fn call(verb: &str, matches: &ArgMatches) -> ToolCall {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let path = |name: &str| PathBuf::from(text(name).unwrap_or_default());
    let json = matches.get_flag("json");
    let verb = match verb {
        "snapshot" => Verb::Snapshot {
            data: path("data"),
            to: text("to").map(PathBuf::from),
            lz4: text("compression").is_some_and(|name| name == "lz4"),
            rate: matches.get_one("rate").copied(),
            keep: matches.get_one("keep").copied().unwrap_or(2),
        },
        "restore" => Verb::Restore {
            from: path("from"),
            data: path("data"),
            lanes: matches.get_one("lanes").copied().unwrap_or(1),
        },
        "inspect" => Verb::Inspect { path: path("path") },
        _ => Verb::Verify { path: path("path") },
    };
    ToolCall { verb, json }
}

#[cfg(test)]
mod tests {
    use super::super::Invocation;
    use super::*;

    fn parsed(arguments: &str) -> Result<Invocation, String> {
        let arguments = std::iter::once("node").chain(arguments.split(' ')).map(std::ffi::OsString::from);
        Invocation::parse(arguments, []).map_err(|error| error.to_string())
    }

    #[test]
    fn verbs_are_read_with_their_arguments_and_refused_without() {
        let Ok(Invocation::Tool(call)) = parsed("snapshot --to /b --rate 5MiB --compression none --json")
        else {
            panic!("no verb")
        };
        let (data, to) = (PathBuf::from("./data"), Some(PathBuf::from("/b")));
        let verb = Verb::Snapshot { data, to, lz4: false, rate: Some(Size::mib(5)), keep: 2 };
        assert_eq!(call, ToolCall { verb, json: true });
        let Ok(Invocation::Tool(call)) = parsed("restore --from a --data b") else { panic!("no verb") };
        assert_eq!(call.verb, Verb::Restore { from: "a".into(), data: "b".into(), lanes: 1 });
        for wrong in ["restore --from a", "snapshot --keep 0", "snapshot --rate fast", "verify", "verfy x"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
        for verb in ["snapshot", "restore", "inspect", "verify"] {
            let Ok(Invocation::Print(text)) = parsed(&format!("{verb} --help")) else { panic!("no help") };
            assert!(["Examples:", "--json", "Exit code"].iter().all(|part| text.contains(part)), "{text}");
        }
    }
}
