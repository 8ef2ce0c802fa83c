//! The engine as the HTTP room sees it.

use std::time::Duration;

use super::{Failure, ReadBatch, ReadError, ReadFrom, StreamState, TailEvent};
use crate::core::{Append, AppendError, Appended, Create, CreateError, Created, DeleteError};
use crate::types::{Incarnation, Offset, StreamMeta, StreamName};

/// A handle to the running engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine;

/// A refusal with its cause, or the node's own trouble.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError<E: std::error::Error> {
    /// The request was refused; nothing has changed.
    #[error(transparent)]
    Refused(E),
    /// The node's own trouble; says itself whether the write can have happened.
    #[error(transparent)]
    Failure(Failure),
}

/// What a PUT with `Stream-Forked-From` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkRequest {
    /// The source.
    pub source: StreamName,
    /// The divergence point; `None` = the source's tail.
    pub offset: Option<Offset>,
    /// Messages (JSON) or bytes behind it to copy.
    pub sub_offset: u64,
}

/// One stream of a listing.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name.
    pub name: StreamName,
    /// Its state.
    pub state: StreamState,
}

/// A reader that follows a stream's tail.
#[derive(Debug)]
pub struct Tailer;

impl Engine {
    /// PUT. With `fork`, the source is pinned first; `create.fork` and `create.config.fork` are filled in here.
    pub async fn create(
        &self,
        create: Create,
        fork: Option<ForkRequest>,
    ) -> Result<Created, EngineError<CreateError>> {
        let _ = (create, fork);
        Err(EngineError::Failure(Failure::ShuttingDown))
    }

    /// POST.
    pub async fn append(&self, append: Append) -> Result<Appended, EngineError<AppendError>> {
        let _ = append;
        Err(EngineError::Failure(Failure::ShuttingDown))
    }

    /// DELETE.
    pub async fn delete(&self, name: StreamName) -> Result<(), EngineError<DeleteError>> {
        let _ = name;
        Err(EngineError::Failure(Failure::ShuttingDown))
    }

    /// HEAD: the committed state; renews nothing.
    pub async fn head(&self, name: &StreamName) -> Result<StreamState, ReadError> {
        let _ = name;
        Err(Failure::ShuttingDown.into())
    }

    /// The token of the stream that `meta` describes.
    #[must_use]
    pub fn incarnation(&self, meta: &StreamMeta) -> Incarnation {
        Incarnation(meta.id.0)
    }

    /// GET: at most about `bytes_max` bytes of wire form (at least one message); renews a sliding window.
    pub async fn read(
        &self,
        name: &StreamName,
        from: ReadFrom,
        bytes_max: usize,
    ) -> Result<ReadBatch, ReadError> {
        let _ = (name, from, bytes_max);
        Err(Failure::ShuttingDown.into())
    }

    /// GET with `live=`: a reader positioned at `from`; renews a sliding window once.
    pub async fn tail(&self, name: &StreamName, from: ReadFrom) -> Result<Tailer, ReadError> {
        let _ = (name, from);
        Err(Failure::ShuttingDown.into())
    }

    /// Streams whose names begin with `prefix`, behind `after`, in name order over all shards.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Listed>, Failure> {
        let _ = (prefix, after, limit);
        Err(Failure::ShuttingDown)
    }
}

impl Tailer {
    /// The stream as of the last event.
    #[must_use]
    pub fn position(&self) -> Offset {
        Offset::ZERO
    }

    /// The next messages, the closure, the deadline, or the end. Cancel-safe.
    pub async fn next(&mut self, bytes_max: usize, wait: Duration) -> TailEvent {
        let _ = (bytes_max, wait);
        TailEvent::Ended(Failure::ShuttingDown.into())
    }
}
