//! Which texts give which configuration, and how each wrong one is refused.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Size;
use crate::types::FsyncPolicy;

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect()
}

fn refusal(toml: &str) -> String {
    Config::from_toml(toml).unwrap_err().to_string()
}

#[test]
fn every_default_and_bound_holds() {
    relations::check(&Config::default()).unwrap();
    for setting in SETTINGS {
        let mut config = Config::default();
        (setting.set)(&mut config, &setting.default()).unwrap();
        assert_eq!(config, Config::default(), "{} does not read back", setting.field);
        for bound in (setting.bound)().into_iter().flat_map(|(low, high)| [low, high]) {
            (setting.set)(&mut config, &bound).unwrap();
            assert_eq!((setting.get)(&config), bound);
        }
    }
}

#[test]
fn later_layers_win_and_say_where_they_came_from() {
    let row = |field| SETTINGS.iter().position(|setting| setting.field == field).unwrap();
    let layers = Layers::default()
        .file(
            "node.toml",
            "shards = 4\nlong-poll-timeout = \"2s\"\nfsync = \"interval=50ms\"\nsubscriptions = false",
        )
        .unwrap()
        .environment(variables(&[
            ("THALWEG_LONG_POLL_TIMEOUT", "3s"),
            ("THALWEG_TAIL_CACHE", "8MiB"),
            ("PATH", "/bin"),
        ]))
        .unwrap();
    let effective = layers.flag(row("tail_cache"), "16MiB").unwrap().finish().unwrap();
    let config = &effective.config;
    assert_eq!(config.shards.get(), 4);
    assert_eq!(config.long_poll_timeout, Duration::from_secs(3));
    assert_eq!(config.tail_cache, Size::mib(16));
    assert_eq!(config.durability().fsync, FsyncPolicy::Interval(Duration::from_millis(50)));
    assert!(!config.subscriptions.is_on());
    let source = |field| effective.sources[row(field)].clone();
    assert_eq!(source("shards"), Source::File("node.toml".to_owned()));
    assert_eq!(source("long_poll_timeout"), Source::Environment("THALWEG_LONG_POLL_TIMEOUT".to_owned()));
    assert_eq!(source("tail_cache"), Source::Flag);
    assert_eq!(source("lanes"), Source::Default);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_one() {
    assert_eq!(
        refusal("longpoll-timeout = \"2s\""),
        "file: longpoll-timeout is no setting; did you mean long-poll-timeout? (`node --help` lists them all)"
    );
    assert!(refusal("[server]\nlisten = \"x\"").contains("server is no setting"));
    let error = Layers::default().environment(variables(&[("THALWEG_SHARD", "4")])).unwrap_err().to_string();
    assert!(
        error.starts_with("environment: THALWEG_SHARD is no setting; did you mean THALWEG_SHARDS?"),
        "{error}"
    );
}

#[test]
fn what_kubernetes_puts_into_the_environment_is_no_setting() {
    let given = variables(&[
        ("THALWEG_SERVICE_HOST", "10.0.0.1"),
        ("THALWEG_SERVICE_PORT_HTTP", "4437"),
        ("THALWEG_PORT", "tcp://10.0.0.1:4437"),
        ("THALWEG_PORT_4437_TCP_ADDR", "10.0.0.1"),
        ("THALWEG_SERVICE_PORT", "4437"),
        ("THALWEG_CLIENT_PORT", "tcp://10.0.0.1:4437"),
        ("THALWEG_CLIENT_SERVICE_HOST", "10.0.0.1"),
        ("THALWEG_CLIENT_PORT_4437_TCP", "tcp://10.0.0.1:4437"),
        ("THALWEG_CONFIG", "node.toml"),
    ]);
    assert_eq!(Layers::default().environment(given).unwrap().finish().unwrap().config, Config::default());
    for setting in SETTINGS {
        assert!(
            !is_service_link(&setting.variable(), "tcp://10.0.0.1:4437"),
            "{} would never be read",
            setting.variable()
        );
    }
}

#[test]
fn what_only_resembles_kubernetes_variables_stays_refused() {
    for name in ["THALWEG_LISTEN_PORT", "THALWEG_SERVICE", "THALWEG_LISTEN_PORT_NUMBER", "THALWEG_PORTS"] {
        let error = Layers::default().environment(variables(&[(name, "4437")])).unwrap_err().to_string();
        assert!(error.contains(&format!("{name} is no setting")), "{error}");
    }
}

#[test]
fn a_hint_is_given_only_where_it_helps() {
    assert_eq!(refusal("foo = 1"), "file: foo is no setting (`node --help` lists them all)");
    let error = Layers::default().environment(variables(&[("THALWEG_FOO", "4")])).unwrap_err().to_string();
    assert_eq!(error, "environment: THALWEG_FOO is no setting (`node --help` lists them all)");
}

#[test]
fn an_error_repeats_no_more_of_a_line_than_one_can_read() {
    let long = "y".repeat(10_000);
    for toml in [
        format!("shards = 4\nlisten = {long}"),
        format!("{long}{long}"),
        format!("a = \"{long}"),
        format!("{long} = 1\n{long} = 2"),
    ] {
        let text = refusal(&toml);
        assert!(text.len() < 400 && text.matches('y').count() <= 170, "{text}");
    }
    assert!(
        refusal("shards = 4\nlisten = ?").contains("line 2, column 10: "),
        "{}",
        refusal("shards = 4\nlisten = ?")
    );
}

#[test]
fn values_out_of_bound_are_refused_with_the_bound() {
    assert_eq!(
        refusal("request-body-max = \"65MiB\""),
        "file: request-body-max must be from 1KiB to 64MiB; it is \"65MiB\""
    );
    assert!(refusal("shards = 3").contains("a power of two from 1 to 256"));
    assert!(refusal("lanes = 0").contains("must be from 1 to 64"));
    assert!(refusal("lanes = [1]").contains("must be one plain value"));
    assert!(refusal("stream-size-max = \"1\"").contains("or `unlimited`"));
    assert!(refusal("listen = ").contains("is not valid TOML"));
}

#[test]
fn settings_that_do_not_go_together_are_refused_with_the_way_out() {
    assert_eq!(
        refusal("lanes = 32"),
        "lanes (32) must be at most shards (16): lower lanes, or format with more shards"
    );
    for toml in [
        "segment-size = \"128MiB\"",
        "request-body-max = \"64MiB\"\nrequest-permits = \"128MiB\"",
        "checkpoint-log-size = \"4MiB\"",
        "request-body-max = \"33MiB\"",
        "read-response-max = \"2MiB\"\nresponse-permits = \"1MiB\"",
        "stream-size-max = \"2GiB\"\ntotal-size-max = \"1GiB\"",
    ] {
        let text = refusal(toml);
        assert!(
            text.contains("must be at most") && text.contains("lower the one or raise the other"),
            "{text}"
        );
    }
    assert!(refusal("sse-lifetime = \"15s\"").starts_with("sse-keep-alive must be shorter"));
}

#[test]
fn what_does_not_suit_a_cluster_is_refused_with_the_way_out() {
    let member = "cluster-id = \"0123456789abcdef0123456789abcdef\"\n";
    let refused_in_cluster = |rest: &str| refusal(&format!("{member}{rest}"));
    assert!(Config::from_toml(member).unwrap().in_cluster());
    assert!(refused_in_cluster("cluster-file = \"members.yaml\"").contains("leave one out"));
    for relaxed in ["aol = \"async\"", "aol = \"never\"", "fsync = \"interval=5ms\"", "fsync = \"never\""] {
        let text = refused_in_cluster(relaxed);
        assert!(text.contains("needs aol = sync and fsync = always"), "{text}");
        assert!(Config::from_toml(relaxed).is_ok(), "a node on its own may");
    }
    assert!(
        refused_in_cluster("follower-log-max = \"32MiB\"").starts_with("follower-log-max (32MiB) must be")
    );
    assert!(
        refused_in_cluster("peer-listen = \"127.0.0.1:4437\"").starts_with("listen and peer-listen are both")
    );
    assert!(
        refused_in_cluster("peer-listen = \"127.0.0.1:4637\"").contains("give admin-listen another port")
    );
    let body = "request-permits = \"64MiB\"\nrequest-body-max = ";
    assert_eq!(
        refused_in_cluster(&format!("{body}\"17MiB\"")),
        "request-body-max (17MiB) must be at most 16MiB in a cluster, because heartbeats wait behind a body on its way to another \
         node: lower it, or run the node on its own"
    );
    assert!(Config::from_toml(&format!("{member}{body}\"16MiB\"")).is_ok());
    assert!(Config::from_toml(&format!("{body}\"17MiB\"")).is_ok(), "a node on its own may");
    assert!(refusal("acks = \"leader\"").starts_with("acks = leader means something in a cluster only"));
    assert!(refusal("cluster-id = \"0123\"").contains("must be 32 hexadecimal digits"));
    assert!(refusal("heartbeat = \"1s\"").contains("must be from 10ms to 250ms"));
}

#[test]
fn a_node_has_an_admin_port_in_a_cluster_or_when_it_is_told_where() {
    let address =
        |toml: &str| Config::from_toml(toml).unwrap().admin_address().map(|address| address.to_string());
    assert_eq!(address(""), None);
    assert_eq!(address("admin-listen = \"127.0.0.1:9\"").as_deref(), Some("127.0.0.1:9"));
    assert_eq!(address("cluster-file = \"members.yaml\"").as_deref(), Some("127.0.0.1:4637"));
}

#[test]
fn a_missing_file_is_named() {
    let error = Layers::default().read_file("no/such/file.toml").unwrap_err().to_string();
    assert!(error.starts_with("the configuration file no/such/file.toml cannot be read: "), "{error}");
}

proptest! {
    #[test]
    fn any_text_gives_a_configuration_or_an_error(text in "\\PC{0,200}") {
        let _ = Config::from_toml(&text);
    }

    #[test]
    fn any_value_of_any_key_gives_a_configuration_or_an_error(row in 0..SETTINGS.len(), text in "[ -~]{0,30}") {
        let line = format!("{} = {}", SETTINGS[row].key(), toml::Value::String(text));
        if let Ok(config) = Config::from_toml(&line) {
            prop_assert!(relations::check(&config).is_ok());
        }
    }
}
