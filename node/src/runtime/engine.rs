//! The engine as the HTTP room sees it: commands go to the owner of the shard, reads are answered from the views. Invariant:
//! nothing is decided here; what takes several shards is several commands, none of which needs a transaction with another.

mod fork;
mod leading;

use std::sync::Arc;

use super::mailbox::{Answered, answer};
use super::reader::{Listed, Tailer, listing};
use super::shared::Shared;
use super::{Failure, ReadBatch, ReadError, ReadFrom, StreamState};
use crate::core::{Append, AppendError, Appended, Command, Create, CreateError, Created, DeleteError, Reply};
use crate::types::{Incarnation, Offset, Parent, ShardId, StreamId, StreamName};

/// A handle to the running engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(super) shared: Arc<Shared>,
}

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

impl Engine {
    /// PUT. With `fork`, the source is pinned first; `create.fork` and `create.config.fork` are filled in here.
    pub async fn create(
        &self,
        create: Create,
        fork: Option<ForkRequest>,
    ) -> Result<Created, EngineError<CreateError>> {
        match fork {
            None => self.create_here(create).await,
            Some(fork) => fork::create(self, create, fork).await,
        }
    }

    async fn create_here(&self, create: Create) -> Result<Created, EngineError<CreateError>> {
        let shard = create.name.shard(self.shared.count);
        match self.submit(shard, Command::Create(Box::new(create))).await.map_err(EngineError::Failure)? {
            Reply::Create(result) => result.map_err(EngineError::Refused),
            _ => Err(EngineError::Failure(Failure::LogFailed)),
        }
    }

    /// POST.
    pub fn append(
        &self,
        append: Append,
    ) -> impl Future<Output = Result<Appended, EngineError<AppendError>>> + Send + '_ {
        let shard = append.name.shard(self.shared.count);
        let submitted = self.submit(shard, Command::Append(append));
        async {
            match submitted.await.map_err(EngineError::Failure)? {
                Reply::Append(result) => result.map_err(EngineError::Refused),
                _ => Err(EngineError::Failure(Failure::LogFailed)),
            }
        }
    }

    /// DELETE.
    pub async fn delete(&self, name: StreamName) -> Result<(), EngineError<DeleteError>> {
        let shard = name.shard(self.shared.count);
        match self.submit(shard, Command::Delete(name)).await.map_err(EngineError::Failure)? {
            Reply::Delete(result) => result.map(drop).map_err(EngineError::Refused),
            _ => Err(EngineError::Failure(Failure::LogFailed)),
        }
    }

    /// Refuses new work and wakes every waiting reader, so that answers under way come to their end.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Lets go of a source, and of its own source if that ends it, up the chain. What fails here is swept later.
    pub(super) async fn release(&self, mut parent: Option<Parent>) {
        while let Some(Parent { shard, stream, pin, .. }) = parent.take() {
            if let Ok(answered) = self.shared.errand(shard, Command::Unpin { stream, pin }).await {
                parent = answered.released;
            }
        }
    }

    /// HEAD: the committed state; renews nothing.
    pub async fn head(&self, name: &StreamName) -> Result<StreamState, ReadError> {
        let shard = name.shard(self.shared.count);
        self.shared.settled(shard).await?;
        let shown = self.shared.sources_shown(name).await.is_ok();
        self.shared.believed(shard, || self.shared.standing(name, shown))
    }

    /// The token of the stream that has (or had) this name and id.
    #[must_use]
    pub fn incarnation(&self, name: &StreamName, stream: StreamId) -> Incarnation {
        self.shared.incarnation(name.shard(self.shared.count), stream)
    }

    /// GET: at most about `bytes_max` bytes of wire form (at least one message); renews a sliding window.
    pub async fn read(
        &self,
        name: &StreamName,
        from: ReadFrom,
        bytes_max: usize,
    ) -> Result<ReadBatch, ReadError> {
        self.shared.settled(name.shard(self.shared.count)).await?;
        self.shared.sources_shown(name).await?;
        self.shared.believed(name.shard(self.shared.count), || self.shared.read(name, from, bytes_max))
    }

    /// GET with `live=`: a reader positioned at `from`; renews a sliding window once.
    pub async fn tail(&self, name: &StreamName, from: ReadFrom) -> Result<Tailer, ReadError> {
        let losses = self.shared.losses(name.shard(self.shared.count));
        self.shared.settled(name.shard(self.shared.count)).await?;
        self.shared.sources_shown(name).await?;
        let tailer = || Tailer::new(Arc::clone(&self.shared), name, from, losses);
        self.shared.believed(name.shard(self.shared.count), tailer)
    }

    /// Streams whose names begin with `prefix`, behind `after`, in name order over all shards.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Listed>, Failure> {
        self.shared.all_settled().await?;
        listing::list(&self.shared, prefix, after, limit)
    }

    /// Has a command decided by whoever leads its shard, waits for the answer, and lets go of the source that it released.
    pub(super) async fn errand(&self, shard: ShardId, command: Command) -> Result<Reply, Failure> {
        let Answered { reply, released } = self.shared.errand(shard, command).await?;
        self.release(released).await;
        Ok(reply)
    }

    /// Hands a command to the owner of a shard on this node at once, waits for the answer, and lets go of the source that it released.
    pub(super) fn submit(
        &self,
        shard: ShardId,
        command: Command,
    ) -> impl Future<Output = Result<Reply, Failure>> + Send + '_ {
        // The mailbox takes it here and now: a request that waits holds an answer's door and not the command.
        let posted = self.shared.post(shard, command);
        async {
            let Answered { reply, released } = answer(posted).await?;
            if released.is_some() {
                // Rare, and every waiting append would carry room for it otherwise.
                Box::pin(self.release(released)).await;
            }
            Ok(reply)
        }
    }
}
