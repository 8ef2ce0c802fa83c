//! Where webhooks may go: which URLs, and which addresses behind them.
//!
//! Invariant: a connection is opened only to an address that was judged here after resolution; a name is never resolved a
//! second time. Anything that is not plainly public is refused: a list of what is allowed, not of what is known to be bad.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::types::limits::WEBHOOK_URL_BYTES_MAX;

/// Why a webhook URL is not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookUrlError {
    /// No URL with a host.
    #[error("the webhook URL is no absolute http or https URL of at most {WEBHOOK_URL_BYTES_MAX} bytes")]
    Malformed,
    /// Plain HTTP to somewhere else than this machine.
    #[error("a webhook is called by https only")]
    NotHttps,
    /// Credentials in the URL.
    #[error("a webhook URL must not contain a user or a password")]
    UserInfo,
    /// A port that other protocols own.
    #[error("a webhook is called on port 443 (https), 80 (http) or one from 1024 on")]
    Port,
    /// The host is this machine, a private network, or something that is no public host.
    #[error("the webhook's host is not public: {0}")]
    Host(&'static str),
}

/// A URL that was checked as far as that goes without resolving its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether it is spoken to by TLS.
    pub tls: bool,
    /// Where it is.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// Host and port as they stand in the URL, for the `Host` header.
    pub(super) authority: String,
    pub(super) path: String,
}

/// The host of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address, judged already.
    Address(IpAddr),
    /// A name, to be resolved when it is called.
    Name(String),
    /// `localhost`, by permission.
    Localhost,
}

impl Target {
    /// Checks a URL. With `loopback`, this machine may be called too, by plain HTTP as well.
    pub fn parse(url: &str, loopback: bool) -> Result<Self, WebhookUrlError> {
        if url.len() > WEBHOOK_URL_BYTES_MAX || url.contains('#') {
            return Err(WebhookUrlError::Malformed);
        }
        let uri: http::Uri = url.parse().map_err(|_| WebhookUrlError::Malformed)?;
        let authority = uri.authority().ok_or(WebhookUrlError::Malformed)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(WebhookUrlError::Malformed),
        };
        if authority.as_str().contains('@') {
            return Err(WebhookUrlError::UserInfo);
        }
        let host = host_of(authority.host(), loopback)?;
        let here = match &host {
            Host::Address(ip) => kind(*ip) == Kind::Loopback,
            Host::Localhost => true,
            Host::Name(_) => false,
        };
        if !tls && !here {
            return Err(WebhookUrlError::NotHttps);
        }
        let usual = if tls { 443 } else { 80 };
        // A port that is there and is no number is an error, not the usual one.
        let stated = authority.as_str().get(authority.host().len()..).unwrap_or_default();
        let port = match stated.strip_prefix(':') {
            None => usual,
            Some(port) => port.parse().map_err(|_| WebhookUrlError::Malformed)?,
        };
        if port != usual && port < 1024 {
            return Err(WebhookUrlError::Port);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { tls, host, port, authority: authority.as_str().to_owned(), path })
    }

    /// Whether a connection may go to an address that the host resolved to.
    pub(super) fn admits(&self, ip: IpAddr) -> Result<(), WebhookUrlError> {
        match (kind(ip), &self.host) {
            (Kind::Public, Host::Name(_) | Host::Address(_)) => Ok(()),
            // Addresses in URLs were judged with the permission at hand.
            (Kind::Loopback, Host::Localhost | Host::Address(_)) => Ok(()),
            (Kind::Public, Host::Localhost) => Err(WebhookUrlError::Host("localhost is elsewhere")),
            (Kind::Loopback, Host::Name(_)) => Err(WebhookUrlError::Host("a loopback address")),
            (Kind::Refused(reason), _) => Err(WebhookUrlError::Host(reason)),
        }
    }
}

fn host_of(host: &str, loopback: bool) -> Result<Host, WebhookUrlError> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return match kind(ip) {
            Kind::Public => Ok(Host::Address(ip)),
            Kind::Loopback if loopback => Ok(Host::Address(ip)),
            Kind::Loopback => Err(WebhookUrlError::Host("a loopback address")),
            Kind::Refused(reason) => Err(WebhookUrlError::Host(reason)),
        };
    }
    let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if name.is_empty() || name.len() > 253 || !name.bytes().all(letters) {
        return Err(WebhookUrlError::Malformed);
    }
    if name == "localhost" || name.ends_with(".localhost") {
        return if loopback { Ok(Host::Localhost) } else { Err(WebhookUrlError::Host("localhost")) };
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    // `0x7f.1`, `2130706433`: resolvers take them for addresses.
    if last.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) {
        return Err(WebhookUrlError::Host("a number that is no address"));
    }
    if matches!(last, "local" | "internal" | "localdomain" | "lan" | "home" | "corp" | "intranet")
        || name.ends_with(".home.arpa")
        || !name.contains('.')
    {
        return Err(WebhookUrlError::Host("a name of a private network"));
    }
    Ok(Host::Name(name))
}

/// What kind of place an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The public internet.
    Public,
    /// This machine.
    Loopback,
    /// Anything else.
    Refused(&'static str),
}

/// Judges an address.
pub(super) fn kind(ip: IpAddr) -> Kind {
    match ip {
        IpAddr::V4(ip) => kind4(ip),
        IpAddr::V6(ip) => kind6(ip),
    }
}

/// A prefix of IPv4 addresses: address, bits, what it is.
const REFUSED4: &[(Ipv4Addr, u32, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private network"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a carrier's shared network"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a metadata address"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local address"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private network"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "a protocol assignment"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "an anycast assignment"),
    (Ipv4Addr::new(192, 52, 193, 0), 24, "an anycast assignment"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a translation relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private network"),
    (Ipv4Addr::new(192, 175, 48, 0), 24, "an anycast assignment"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "a benchmark network"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved address"),
];

fn kind4(ip: Ipv4Addr) -> Kind {
    if ip.is_loopback() {
        return Kind::Loopback;
    }
    let within = |net: &Ipv4Addr, bits: u32| ip.to_bits() >> (32 - bits) == net.to_bits() >> (32 - bits);
    match REFUSED4.iter().find(|(net, bits, _)| within(net, *bits)) {
        Some((_, _, reason)) => Kind::Refused(reason),
        None => Kind::Public,
    }
}

/// Prefixes inside 2000::/3, the only range that is public at all.
const REFUSED6: &[(Ipv6Addr, u32, &str)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "a protocol assignment"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "a translated address"),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, "an anycast assignment"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
];

fn kind6(ip: Ipv6Addr) -> Kind {
    if ip == Ipv6Addr::LOCALHOST {
        return Kind::Loopback;
    }
    // Mapped, compatible and NAT64 addresses reach IPv4 in disguise; whoever means an IPv4 address can write one.
    if ip.to_ipv4_mapped().is_some() {
        return Kind::Refused("a mapped address");
    }
    if ip.segments()[0] & 0xe000 != 0x2000 {
        return Kind::Refused("not a public address");
    }
    let within = |net: &Ipv6Addr, bits: u32| ip.to_bits() >> (128 - bits) == net.to_bits() >> (128 - bits);
    match REFUSED6.iter().find(|(net, bits, _)| within(net, *bits)) {
        Some((_, _, reason)) => Kind::Refused(reason),
        None => Kind::Public,
    }
}

#[cfg(test)]
mod tests;
