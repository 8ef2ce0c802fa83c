//! The other end of the admin port: whoever drives nodes calls them through it. One connection and one request for each
//! call. Invariant: an error says whether the order may have happened.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::words::{
    Answers, Batch, ConfigAsk, Drain, HandOverAsk, LeadAsk, Members, SealAsk, Shards, Shutdown, SnapshotAsk,
    Snapshots, Status, Trouble,
};

/// Largest answer: the seals of 256 shards with a thousand epochs each are this much.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Longer than a node takes for a batch of which some shards do not answer.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Calls one node.
#[derive(Debug, Clone)]
pub struct AdminClient {
    address: String,
    timeout: Duration,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// Nobody listens there: nothing happened.
    #[error("{address} cannot be reached: {why}")]
    Unreachable {
        /// Where.
        address: String,
        /// The system's words.
        why: String,
    },
    /// The node said no; [`Trouble::outcome`] says whether something may have happened.
    #[error("{0}")]
    Refused(Box<Trouble>),
    /// No answer came, or not all of it, or in time: it may have happened.
    #[error("{address} gave no answer: {why}")]
    Lost {
        /// Where.
        address: String,
        /// What is known.
        why: String,
    },
    /// Somebody else listens there, or another release: it may have happened.
    #[error("{address} answered what is not understood: {why}")]
    Foreign {
        /// Where.
        address: String,
        /// Where the answer goes wrong.
        why: String,
    },
}

impl AdminClient {
    /// Calls the node at `host:port`.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers have a text or an address, and need not care which"
    )]
    pub fn new(address: impl ToString) -> Self {
        Self { address: address.to_string(), timeout: TIMEOUT }
    }

    /// Waits so long for an answer.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Who the node is and how it does.
    pub async fn status(&self) -> Result<Status, AdminError> {
        self.ask("/admin/status").await
    }

    /// How its shards stand.
    pub async fn shards(&self) -> Result<Shards, AdminError> {
        self.ask("/admin/shards").await
    }

    /// Tells it who is in the cluster.
    pub async fn members(&self, members: &Members) -> Result<(), AdminError> {
        self.tell("/admin/members", members).await
    }

    /// Seals replicas.
    pub async fn seal(&self, batch: &Batch<SealAsk>) -> Result<Answers, AdminError> {
        self.order("/admin/seal", batch).await
    }

    /// Orders replicas to lead.
    pub async fn lead(&self, batch: &Batch<LeadAsk>) -> Result<Answers, AdminError> {
        self.order("/admin/lead", batch).await
    }

    /// Tells leaders who votes.
    pub async fn configure(&self, batch: &Batch<ConfigAsk>) -> Result<Answers, AdminError> {
        self.order("/admin/config", batch).await
    }

    /// Orders leaders to let another voter hold everything.
    pub async fn hand_over(&self, batch: &Batch<HandOverAsk>) -> Result<Answers, AdminError> {
        self.order("/admin/hand-over", batch).await
    }

    /// How its snapshots stand.
    pub async fn snapshots(&self) -> Result<Snapshots, AdminError> {
        self.ask("/admin/snapshots").await
    }

    /// Orders snapshots.
    pub async fn order_snapshots(&self, ask: &SnapshotAsk) -> Result<(), AdminError> {
        self.tell("/admin/snapshots", ask).await
    }

    /// Wants it to hand over what it leads, or no longer does.
    pub async fn drain(&self, drain: &Drain) -> Result<(), AdminError> {
        self.tell("/admin/drain", drain).await
    }

    /// Ends it.
    pub async fn shutdown(&self, shutdown: &Shutdown) -> Result<(), AdminError> {
        self.tell("/admin/shutdown", shutdown).await
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, AdminError> {
        self.understood(&self.call(Method::GET, path, Bytes::new()).await?)
    }

    async fn order<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, AdminError> {
        self.understood(&self.call(Method::POST, path, self.written(body)?).await?)
    }

    async fn tell(&self, path: &str, body: &impl Serialize) -> Result<(), AdminError> {
        self.call(Method::POST, path, self.written(body)?).await.map(drop)
    }

    fn written(&self, body: &impl Serialize) -> Result<Bytes, AdminError> {
        serde_json::to_vec(body).map(Bytes::from).map_err(|error| self.unreachable(&error))
    }

    fn understood<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, AdminError> {
        serde_json::from_slice(answer)
            .map_err(|error| AdminError::Foreign { address: self.address.clone(), why: error.to_string() })
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, AdminError> {
        let deadline = Instant::now() + self.timeout;
        let stream = match timeout_at(deadline, TcpStream::connect(&self.address)).await {
            Ok(connected) => connected.map_err(|error| self.unreachable(&error))?,
            Err(elapsed) => return Err(self.unreachable(&elapsed)),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.address)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.unreachable(&error))?;
        match timeout_at(deadline, self.exchange(stream, request)).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(self.lost(&elapsed)),
        }
    }

    async fn exchange(&self, stream: TcpStream, request: Request<Full<Bytes>>) -> Result<Bytes, AdminError> {
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| self.lost(&error))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| self.lost(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| self.lost(&error))?.to_bytes();
            if matches!(status, StatusCode::OK | StatusCode::NO_CONTENT) {
                return Ok(body);
            }
            let trouble: Trouble = self.understood(&body)?;
            Err(AdminError::Refused(Box::new(trouble)))
        };
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // It ends first when there is nothing more to come; what has come is in the exchange.
            _ = connection => exchange.await,
        }
    }

    fn unreachable(&self, why: &impl ToString) -> AdminError {
        AdminError::Unreachable { address: self.address.clone(), why: why.to_string() }
    }

    fn lost(&self, why: &impl ToString) -> AdminError {
        AdminError::Lost { address: self.address.clone(), why: why.to_string() }
    }
}
