//! The command line: what the process was asked to do. One flag per setting, read off [`SETTINGS`].

use clap::builder::styling::Styles;
use clap::{Arg, ArgAction, Command};

use super::{ConfigError, Effective, Layers, SETTINGS, ToolCall, tool};

/// What the process was asked to do.
#[derive(Debug)]
pub enum Invocation {
    /// Serve, with this configuration.
    Serve(Box<Effective>),
    /// Work on a data directory that is not served.
    Tool(ToolCall),
    /// Print this to standard output and end: help, version or `--print-config`.
    Print(String),
}

/// Why the command line was not understood. Its text goes to standard error; the exit code is 2.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    /// No such flag, or a flag without its value.
    #[error("{0}")]
    Flags(String),
    /// See [`ConfigError`].
    #[error(transparent)]
    Config(#[from] ConfigError),
}

const EXAMPLES: &str = "\
Examples:
  node                                       a single node on 127.0.0.1:4437, data in ./data
  node --listen 0.0.0.0:4437 --data /var/lib/thalweg
  node --aol async --long-poll-timeout 2s    faster and less durable, short waits
  THALWEG_SHARDS=1 node --print-config       what would be in force, and where each value comes from
  node --print-config > node.toml && node --config node.toml
  node --cluster-file cluster.yaml --node-name n0   one of the members in docs/cluster.example.yaml
  node snapshot --help                       and the other verbs, for a node that is stopped

Every flag is also a variable (--tail-cache: THALWEG_TAIL_CACHE) and a key of the file (tail-cache).
Times are written 250ms, 2s, 5m; sizes 64MiB, 1GiB or plain bytes.";

impl Invocation {
    /// Reads flags (the first argument is the program's name) and variables, and the file that they name.
    pub fn parse(
        arguments: impl IntoIterator<Item = std::ffi::OsString>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, InvocationError> {
        let matches = match command().try_get_matches_from(arguments) {
            Ok(matches) => matches,
            Err(error) if !error.use_stderr() => return Ok(Self::Print(error.to_string())),
            Err(error) => return Err(InvocationError::Flags(error.to_string())),
        };
        if let Some((verb, matches)) = matches.subcommand() {
            return Ok(Self::Tool(tool::call(verb, matches)));
        }
        let variables: Vec<(String, String)> = variables.into_iter().collect();
        let named = variables.iter().find(|(name, _)| name == "THALWEG_CONFIG").map(|(_, path)| path);
        let mut layers = Layers::default();
        if let Some(path) = matches.get_one::<String>("config").or(named) {
            layers = layers.read_file(path)?;
        }
        layers = layers.environment(variables)?;
        for (row, setting) in SETTINGS.iter().enumerate() {
            if let Some(text) = matches.get_one::<String>(setting.field) {
                layers = layers.flag(row, text)?;
            }
        }
        let effective = layers.finish()?;
        if matches.get_flag("print-config") {
            return Ok(Self::Print(effective.toml()));
        }
        Ok(Self::Serve(Box::new(effective)))
    }
}

fn command() -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("Read settings from this TOML file [also: THALWEG_CONFIG]");
    let print = Arg::new("print-config")
        .long("print-config")
        .action(ArgAction::SetTrue)
        .help("Print the settings in force, where each came from and why, and end");
    let flags = SETTINGS.iter().map(|setting| {
        Arg::new(setting.field)
            .long(setting.key())
            .value_name(setting.unit)
            .help(format!("{} [default: {}]", setting.doc.trim(), setting.default()))
            .help_heading(setting.group)
    });
    Command::new("node")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Thalweg: a server of durable streams")
        .after_help(EXAMPLES)
        .styles(Styles::plain())
        .arg(config)
        .arg(print)
        .args(flags)
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .subcommands(tool::commands())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Invocation, InvocationError> {
        let arguments = std::iter::once(&"node").chain(arguments).map(std::ffi::OsString::from);
        Invocation::parse(arguments, [("THALWEG_LANES".to_owned(), "2".to_owned())])
    }

    fn printed(arguments: &[&str]) -> String {
        match parse(arguments).unwrap() {
            Invocation::Print(text) => text,
            other => panic!("nothing was printed: {other:?}"),
        }
    }

    #[test]
    fn flags_lie_over_the_environment() {
        let Invocation::Serve(effective) = parse(&["--shards", "4", "--lanes=4"]).unwrap() else { panic!() };
        assert_eq!((effective.config.shards.get(), effective.config.lanes), (4, 4));
        let text = printed(&["--print-config"]);
        assert!(text.contains("from: environment THALWEG_LANES") && text.contains("lanes = \"2\""), "{text}");
    }

    #[test]
    fn help_lists_every_setting_and_examples() {
        let text = printed(&["--help"]);
        for setting in SETTINGS {
            assert!(text.contains(&format!("--{} ", setting.key())), "{}", setting.key());
        }
        assert!(text.contains("Examples:"));
        assert!(printed(&["--version"]).starts_with("node 0."));
    }

    #[test]
    fn unknown_flags_are_refused_with_a_hint() {
        let text = parse(&["--lisen", "x"]).unwrap_err().to_string();
        assert!(text.contains("--listen"), "{text}");
        let text = parse(&["--shards", "3"]).unwrap_err().to_string();
        assert!(text.starts_with("command line: --shards must be"), "{text}");
        assert!(parse(&["--config", "no/such/file"]).unwrap_err().to_string().contains("no/such/file"));
    }
}
