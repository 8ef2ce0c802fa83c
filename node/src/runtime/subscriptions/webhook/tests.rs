//! Calls to hosts that misbehave, and to hosts whose certificate nobody vouches for.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

mod certificate;

fn client(timeout: Duration) -> WebhookClient {
    WebhookClient::new(Arc::new(SystemResolver), true, timeout).unwrap()
}

async fn call(client: &WebhookClient, url: &str) -> Result<Bytes, WebhookError> {
    client.post(url, "t=1", Bytes::from_static(b"{}")).await
}

/// Reads one request and answers with `answer`, again and again if it is to have no end.
async fn host(answer: &'static [u8], endless: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"{}") && stream.read_buf(&mut request).await.unwrap() > 0 {}
        while stream.write_all(answer).await.is_ok() && endless {}
    });
    url
}

/// What a host says, whether it goes on saying it, and the failure that it is.
type Case = (&'static [u8], bool, fn(&WebhookError) -> bool);

#[tokio::test]
async fn a_host_that_misbehaves_costs_a_bounded_amount_and_is_a_failure() {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let patient = client(Duration::from_secs(30));
    assert_eq!(call(&patient, &host(OK, false).await).await.unwrap(), "{}");
    let cases: [Case; 7] = [
        (b"", false, |error| matches!(error, WebhookError::Http(_))),
        (b"no HTTP at all\r\n\r\n", false, |error| matches!(error, WebhookError::Http(_))),
        (b"HTTP/1.1 500 Oops\r\n\r\n", false, |error| matches!(error, WebhookError::Status(500))),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", false, |error| {
            matches!(error, WebhookError::Status(302))
        }),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", false, |error| {
            matches!(error, WebhookError::Unreachable(_))
        }),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\naaaaa\r\n", false, |error| {
            matches!(error, WebhookError::Unreachable(_))
        }),
        (b"X: header without end\r\n", true, |error| matches!(error, WebhookError::Http(_))),
    ];
    for (answer, endless, expected) in cases {
        let error = call(&patient, &host(answer, endless).await).await.unwrap_err();
        assert!(expected(&error), "{}: {error:?}", String::from_utf8_lossy(answer));
    }
    let long = vec![b'a'; ANSWER_BYTES_MAX + 1];
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", long.len());
    let long: &'static [u8] = [head.into_bytes(), long].concat().leak();
    assert!(matches!(call(&patient, &host(long, false).await).await, Err(WebhookError::Unreachable(_))));
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let answered = call(&client(Duration::from_millis(20)), &url).await;
    assert!(matches!(answered, Err(WebhookError::TimedOut)), "{answered:?}");
}

/// Serves one connection over TLS; tells whether a request came.
async fn tls_host(
    (certificate, key): &(CertificateDer<'static>, PrivateKeyDer<'static>),
) -> (String, oneshot::Receiver<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = vec![certificate.clone()];
    let config = config.with_no_client_auth().with_single_cert(chain, key.clone_key()).unwrap();
    let (told, came) = oneshot::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else {
            return told.send(false).unwrap();
        };
        let mut request = Vec::new();
        while !request.ends_with(b"{}") && matches!(stream.read_buf(&mut request).await, Ok(1..)) {}
        told.send(!request.is_empty()).unwrap();
        let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue").await;
    });
    (url, came)
}

/// `localhost` may resolve to both families while the test listens on one.
fn trusting(roots: RootCertStore) -> WebhookClient {
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    WebhookClient { tls: Arc::new(tls), ..client(Duration::from_secs(30)) }
}

#[tokio::test]
async fn a_webhook_over_tls_is_sent_only_to_a_host_that_an_authority_vouches_for() {
    let identity = certificate::for_localhost();
    let mut roots = RootCertStore::empty();
    roots.add(identity.0.clone()).unwrap();
    let trusting = trusting(roots);
    let (url, came) = tls_host(&identity).await;
    assert_eq!(call(&trusting, &url).await.unwrap(), "true");
    assert!(came.await.unwrap());

    let (url, came) = tls_host(&identity).await;
    let answered = call(&client(Duration::from_secs(30)), &url).await;
    assert!(matches!(answered, Err(WebhookError::Unreachable(_))), "{answered:?}");
    assert!(!came.await.unwrap(), "nothing was sent to it");

    let (url, came) = tls_host(&identity).await;
    let other_name = url.replace("localhost", "127.0.0.1");
    assert!(call(&trusting, &other_name).await.is_err(), "the certificate is for another name");
    assert!(!came.await.unwrap());
}
