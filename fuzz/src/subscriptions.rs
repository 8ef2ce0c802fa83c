//! Parsers of what subscriptions bring: patterns, addresses of webhooks, bodies, and the facts that are kept of them.

use bytes::Bytes;
use thalweg_node::codec::subscription::{
    get_link, get_link_key, get_share, get_subscription, link_bytes, link_key, share_bytes,
    subscription_bytes,
};
use thalweg_node::http::subscriptions::{
    parse_ack, parse_claim, parse_definition, parse_release, parse_streams,
};
use thalweg_node::runtime::subscriptions::wire::{parse_wake, wake_text};
use thalweg_node::runtime::subscriptions::{WebhookHost, WebhookTarget};
use thalweg_node::types::{Glob, StreamName};

/// Patterns: what is taken reads back, matches only what begins with its prefix, and says the same twice.
pub fn glob(bytes: &[u8]) {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let Some(Ok(glob)) = lines.next().and_then(|line| std::str::from_utf8(line).ok()).map(Glob::parse) else {
        return;
    };
    let again = Glob::parse(glob.as_str());
    assert_eq!(again.as_ref(), Ok(&glob), "a pattern must read back");
    for name in lines.filter_map(|line| StreamName::from_bytes(line).ok()) {
        if glob.matches(&name) {
            assert!(name.as_str().starts_with(glob.prefix()), "the prefix leaves a match out");
        }
    }
}

/// Addresses of webhooks: what is taken without permission for this machine is https, to a public address or a name, and
/// is taken with permission as well.
pub fn webhook_url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(target) = WebhookTarget::parse(text, false) else { return };
    assert!(target.tls, "only https leaves this machine");
    assert_eq!(WebhookTarget::parse(text, true).as_ref(), Ok(&target), "a permission takes nothing away");
    match &target.host {
        WebhookHost::Address(ip) => {
            assert!(!ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast(), "{ip} is not public");
        }
        WebhookHost::Name(name) => {
            assert!(name.contains('.') && name.is_ascii(), "{name:?} is no public name")
        }
        WebhookHost::Localhost => assert_eq!(text, "", "this machine, without permission"),
    }
}

/// Bodies of all requests below `__ds`, and wake ids: a value or an error.
pub fn subscription_body(bytes: &[u8]) {
    if let Ok(definition) = parse_definition(bytes, String::new()) {
        assert!(definition.pattern.is_some() || !definition.streams.is_empty(), "it means no stream at all");
    }
    let _ = (parse_streams(bytes), parse_claim(bytes), parse_ack(bytes), parse_release(bytes));
    let Some(wake) = std::str::from_utf8(bytes).ok().and_then(parse_wake) else { return };
    assert_eq!(parse_wake(&wake_text(wake)), Some(wake), "a wake id must read back");
}

/// Facts of subscriptions in the tables: what is taken reads back as itself.
pub fn subscription_fact(bytes: &[u8]) {
    if let Ok(subscription) = get_subscription(bytes) {
        let written: Bytes = subscription_bytes(&subscription);
        assert_eq!(get_subscription(&written).as_ref(), Ok(&subscription), "a subscription must read back");
    }
    if let Ok(share) = get_share(bytes) {
        assert_eq!(get_share(&share_bytes(&share)).as_ref(), Ok(&share), "a share must read back");
    }
    if let Ok(link) = get_link(bytes) {
        assert_eq!(get_link(&link_bytes(&link)).as_ref(), Ok(&link), "a link must read back");
    }
    if let Ok((id, stream)) = get_link_key(bytes) {
        assert_eq!(get_link_key(&link_key(&id, stream)), Ok((id, stream)), "a key must read back");
    }
}
