//! One webhook: resolve, judge every address, connect to one that was judged, send, read a bounded answer.
//!
//! Invariant: no connection goes to an address that [`super::address`] did not admit; no redirect is followed; everything
//! together ends within the timeout and holds a bounded amount of memory.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::address::{Host, Target, WebhookUrlError};

/// Largest answer that is read: it says whether it is done, nothing more.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Most headers of an answer.
const ANSWER_HEADERS_MAX: usize = 64;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// A name on its way to addresses.
pub type Resolution<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Where names are resolved.
pub trait Resolver: Send + Sync + std::fmt::Debug {
    /// All addresses of a host.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolution<'a>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolution<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// Why a webhook failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebhookError {
    /// The URL, or an address behind it, may not be called.
    #[error(transparent)]
    Refused(#[from] WebhookUrlError),
    /// No connection, or it broke.
    #[error("the webhook's host cannot be reached: {0}")]
    Unreachable(#[from] io::Error),
    /// Broken HTTP.
    #[error("the webhook's answer is no HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// An answer that is no success.
    #[error("the webhook answered {0}")]
    Status(u16),
    /// No answer in time.
    #[error("the webhook did not answer in time")]
    TimedOut,
}

/// Calls webhooks.
#[derive(Debug)]
pub(super) struct WebhookClient {
    resolver: Arc<dyn Resolver>,
    tls: Arc<ClientConfig>,
    loopback: bool,
    timeout: Duration,
}

impl WebhookClient {
    /// A client; with `loopback`, this machine may be called too.
    pub(super) fn new(
        resolver: Arc<dyn Resolver>,
        loopback: bool,
        timeout: Duration,
    ) -> Result<Self, tokio_rustls::rustls::Error> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { resolver, tls: Arc::new(tls), loopback, timeout })
    }

    /// Checks a URL as far as that goes without calling it.
    pub(super) fn check(&self, url: &str) -> Result<(), WebhookUrlError> {
        Target::parse(url, self.loopback).map(drop)
    }

    /// Sends a signed body; the body of a successful answer.
    pub(super) async fn post(&self, url: &str, signature: &str, body: Bytes) -> Result<Bytes, WebhookError> {
        let target = Target::parse(url, self.loopback)?;
        let sent = tokio::time::timeout(self.timeout, self.send(&target, signature, body));
        sent.await.map_err(|_| WebhookError::TimedOut)?
    }

    async fn send(&self, target: &Target, signature: &str, body: Bytes) -> Result<Bytes, WebhookError> {
        let stream = self.connect(target).await?;
        if !target.tls {
            return exchange(stream, target, signature, body).await;
        }
        let name = match &target.host {
            Host::Address(ip) => ServerName::from(*ip),
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
            Host::Localhost => ServerName::try_from("localhost").map_err(io::Error::other)?,
        };
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        exchange(stream, target, signature, body).await
    }

    /// Every address of the host must be admitted, not only the one that is tried first: a name that points to both
    /// worlds is an attempt.
    async fn connect(&self, target: &Target) -> Result<TcpStream, WebhookError> {
        let addresses = match &target.host {
            Host::Address(ip) => vec![SocketAddr::new(*ip, target.port)],
            Host::Name(name) => self.resolver.resolve(name, target.port).await?,
            Host::Localhost => self.resolver.resolve("localhost", target.port).await?,
        };
        for address in &addresses {
            target.admits(address.ip())?;
        }
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            // The port is the URL's, whatever a resolver says.
            match TcpStream::connect(SocketAddr::new(address.ip(), target.port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure.into())
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
    signature: &str,
    body: Bytes,
) -> Result<Bytes, WebhookError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(ANSWER_HEADERS_MAX)
        .max_buf_size(ANSWER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    let request = http::Request::post(&target.path)
        .header("host", &target.authority)
        .header("content-type", "application/json")
        .header("webhook-signature", signature)
        .header("user-agent", "thalweg")
        .body(Full::new(body))
        .map_err(io::Error::other)?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(WebhookError::Status(status.as_u16()));
        }
        match Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => Err(io::Error::other(error).into()),
        }
    };
    // The connection is driven here and ends with the exchange: nothing of it stays behind.
    tokio::pin!(answer);
    let mut connection = Box::pin(connection);
    let answered = tokio::select! {
        biased;
        answered = &mut answer => Some(answered),
        // However it ended (many hosts just hang up), what has arrived decides; what has not is an error there.
        _ended = &mut connection => None,
    };
    drop(connection);
    match answered {
        Some(answered) => answered,
        None => answer.await,
    }
}

#[cfg(test)]
mod tests;
