//! Every class of addresses and every trick of URLs, each with its verdict.

use super::*;

fn address(text: &str) -> Kind {
    kind(text.parse().unwrap())
}

/// One of each class, its first and its last, and those in disguise.
const REFUSED: &str = "
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255
    168.63.129.16 169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192
    192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.9 224.0.0.1
    239.255.255.250 240.0.0.1 255.255.255.255 :: ::2 ::ffff:8.8.8.8 ::ffff:127.0.0.1
    ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::8.8.8.8 64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1
    2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:808:808:: 3fff::1 5f00::1 fc00::1
    fd00:ec2::254 fdff::1 fe80::1 febf::1 fec0::1 ff02::1";
/// Their neighbours.
const PUBLIC: &str = "
    1.1.1.1 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 168.63.129.15 172.15.0.1 172.32.0.1
    191.255.255.255 192.167.0.1 198.17.0.1 198.20.0.1 223.255.255.255 2606:4700::1111 2a00:1450::1
    2001:4860:4860::8888";

#[test]
fn only_public_addresses_are_public() {
    for text in REFUSED.split_whitespace() {
        assert!(matches!(address(text), Kind::Refused(_)), "{text} is {:?}", address(text));
    }
    for text in ["127.0.0.1", "127.255.255.255", "::1"] {
        assert_eq!(address(text), Kind::Loopback, "{text}");
    }
    for text in PUBLIC.split_whitespace() {
        assert_eq!(address(text), Kind::Public, "{text}");
    }
}

#[test]
fn a_url_is_taken_only_if_it_plainly_names_a_public_host() {
    use WebhookUrlError as Error;
    for (url, error) in [
        ("", Error::Malformed),
        ("/hook", Error::Malformed),
        ("ftp://example.com/", Error::Malformed),
        ("https://", Error::Malformed),
        ("https://exa mple.com/", Error::Malformed),
        ("https://example.com/#part", Error::Malformed),
        ("https://example.com:x/", Error::Malformed),
        ("https://example.com:99999/", Error::Malformed),
        ("https://ex%61mple.com/", Error::Malformed),
        ("http://example.com/", Error::NotHttps),
        ("http://1.1.1.1/", Error::NotHttps),
        ("https://user@example.com/", Error::UserInfo),
        ("https://user:pass@example.com/", Error::UserInfo),
        ("https://127.0.0.1@example.com/", Error::UserInfo),
        ("https://example.com:25/", Error::Port),
        ("https://example.com:80/", Error::Port),
        ("http://10.0.0.1/hook", Error::Host("a private network")),
        ("https://169.254.169.254/latest/meta-data", Error::Host("a link-local address")),
        ("https://[::ffff:10.0.0.1]/", Error::Host("a mapped address")),
        ("https://[fd00::1]/", Error::Host("not a public address")),
        ("https://0x7f.1/", Error::Host("a number that is no address")),
        ("https://2130706433/", Error::Host("a number that is no address")),
        ("https://127.1/", Error::Host("a number that is no address")),
        ("https://0177.0.0.1/", Error::Host("a number that is no address")),
        ("https://metadata.google.internal/", Error::Host("a name of a private network")),
        ("https://printer.local/", Error::Host("a name of a private network")),
        ("https://intranet/", Error::Host("a name of a private network")),
        ("https://127.0.0.1/", Error::Host("a loopback address")),
        ("https://[::1]/", Error::Host("a loopback address")),
        ("http://localhost/", Error::Host("localhost")),
        ("https://a.LOCALHOST./", Error::Host("localhost")),
    ] {
        assert_eq!(Target::parse(url, false), Err(error), "{url}");
    }
    for url in [
        "https://example.com",
        "https://example.com/hook?x=1",
        "https://example.com:443/",
        "https://example.com:8443/",
        "https://1.1.1.1/",
        "https://[2606:4700::1111]/",
        "https://EXAMPLE.com./",
    ] {
        assert!(Target::parse(url, false).is_ok_and(|target| target.tls), "{url}");
    }
}

#[test]
fn loopback_is_reached_by_permission_only_and_only_by_its_own_names() {
    for url in
        ["http://127.0.0.1:9000/hook", "http://localhost:9000/", "http://[::1]:9000/", "http://127.9.9.9/"]
    {
        assert!(Target::parse(url, true).is_ok(), "{url}");
        assert!(Target::parse(url, false).is_err(), "{url}");
    }
    for url in
        ["http://10.0.0.1/", "http://example.com/", "http://[::ffff:127.0.0.1]/", "http://127.0.0.1:22/"]
    {
        assert!(Target::parse(url, true).is_err(), "{url}");
    }
}

#[test]
fn a_name_that_resolves_to_anything_but_a_public_address_is_not_called() {
    let public = Target::parse("https://example.com/", true).unwrap();
    for (text, admitted) in [
        ("1.1.1.1", true),
        ("2606:4700::1111", true),
        ("127.0.0.1", false),
        ("::1", false),
        ("10.0.0.1", false),
        ("169.254.169.254", false),
        ("::ffff:127.0.0.1", false),
        ("fe80::1", false),
    ] {
        assert_eq!(public.admits(text.parse().unwrap()).is_ok(), admitted, "{text}");
    }
    let here = Target::parse("http://localhost/", true).unwrap();
    for (text, admitted) in [("127.0.0.1", true), ("::1", true), ("1.1.1.1", false), ("10.0.0.1", false)] {
        assert_eq!(here.admits(text.parse().unwrap()).is_ok(), admitted, "{text}");
    }
}

#[test]
fn each_setting_admits_loopback_or_not_in_every_spelling() {
    use crate::config::{Config, WebhookTargets};
    let here = ["127.0.0.1:4437", "[::1]:4437"];
    let anywhere = ["0.0.0.0:4437", "[::]:4437", "10.0.0.1:4437"];
    let loopback = [
        "https://[::1]/",
        "http://[::1]:9000/",
        "https://127.0.0.1/",
        "http://127.9.9.9/",
        "http://localhost/",
    ];
    // Whatever the setting.
    let never = [
        "https://10.0.0.1/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[0:0:0:0:0:ffff:a00:1]/",
    ];
    for webhook_targets in [WebhookTargets::Auto, WebhookTargets::Public, WebhookTargets::Loopback] {
        for listen in here.into_iter().chain(anywhere) {
            let config = Config { listen: listen.parse().unwrap(), webhook_targets, ..Config::default() };
            let allowed = match webhook_targets {
                WebhookTargets::Auto => here.contains(&listen),
                WebhookTargets::Public => false,
                WebhookTargets::Loopback => true,
            };
            for url in loopback {
                let taken = Target::parse(url, config.webhooks_to_loopback()).is_ok();
                assert_eq!(taken, allowed, "{url} at {listen} with {webhook_targets:?}");
            }
            for url in never {
                let taken = Target::parse(url, config.webhooks_to_loopback()).is_ok();
                assert!(!taken, "{url} at {listen} with {webhook_targets:?}");
            }
        }
    }
}
