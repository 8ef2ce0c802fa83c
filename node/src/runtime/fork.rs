//! Forks across shards: pin the source, create the fork, unpin if that failed. No step needs a transaction over two
//! shards; a pin whose fork never came to be is found and dropped by the sweeper.

use super::engine::{Engine, EngineError, ForkRequest};
use super::{Failure, ReadError};
use crate::core::{Command, Create, CreateError, Created, Fork, Pin, PinError, Pinned, Reply};
use crate::types::{ForkOrigin, Framing, Messages, PinId, ShardId};

type Error = EngineError<CreateError>;

/// Creates (or confirms) a fork.
pub(super) async fn create(
    engine: &Engine,
    mut create: Create,
    request: ForkRequest,
) -> Result<Created, Error> {
    create.fork_offset_given = request.offset.is_some();
    let origin =
        |offset| ForkOrigin { source: request.source.clone(), offset, sub_offset: request.sub_offset };
    create.config.fork = Some(origin(request.offset.unwrap_or_default()));
    // A stream that exists is compared as it is: its source may be gone by now, and need not be asked.
    match engine.create_here(create.clone()).await {
        Err(EngineError::Refused(CreateError::Unpinned)) => {}
        decided => return decided,
    }
    let pin = PinId(getrandom::u64().map_err(|_| EngineError::Failure(Failure::Overloaded))?);
    let shard = request.source.shard(engine.shared.count);
    let command =
        Pin { source: request.source.clone(), fork: create.name.clone(), offset: request.offset, pin };
    let pinned = match engine.submit(shard, Command::Pin(command)).await.map_err(EngineError::Failure)? {
        Reply::Pin(pinned) => pinned.map_err(|error| EngineError::Refused(CreateError::Source(error)))?,
        _ => return Err(EngineError::Failure(Failure::LogFailed)),
    };
    create.config.fork = Some(origin(pinned.upto));
    let parent = Fork::granted(shard, pin, &pinned, None).parent;
    match divergence(engine, shard, &pinned, request.sub_offset) {
        // A refusal after this names the pin as released, and `submit` lets it go.
        Ok((pinned, prefix)) => {
            create.fork = Some(Fork::granted(shard, pin, &pinned, prefix));
            engine.create_here(create).await
        }
        Err(error) => {
            engine.release(Some(parent)).await;
            Err(error)
        }
    }
}

/// Where the fork begins, and the bytes of the source's next message that it copies. In a JSON stream the sub-offset counts
/// messages, so the fork simply begins behind them; elsewhere it cuts a message, and the part in front is the fork's own.
fn divergence(
    engine: &Engine,
    shard: ShardId,
    pinned: &Pinned,
    sub_offset: u64,
) -> Result<(Pinned, Option<Messages>), Error> {
    let (meta, upto) = (&pinned.meta, pinned.upto);
    // One message is read even without a sub-offset: it proves that the fork offset is a message boundary.
    let bytes_max = if meta.framing() == Framing::Json && sub_offset > 0 { usize::MAX } else { 1 };
    let found = if upto == meta.tail {
        Vec::new()
    } else {
        engine.shared.gather(shard, meta.id, upto, meta.tail, bytes_max).map_err(source_error)?
    };
    if sub_offset == 0 {
        return Ok((pinned.clone(), None));
    }
    let beyond = || EngineError::Refused(CreateError::SubOffset);
    let wanted = usize::try_from(sub_offset).map_err(|_| beyond())?;
    if meta.framing() == Framing::Json {
        let lengths: Vec<u32> =
            found.iter().flat_map(|segment| segment.messages.lengths()).copied().take(wanted).collect();
        if lengths.len() < wanted {
            return Err(beyond());
        }
        let bytes = lengths.iter().map(|&length| u64::from(length)).sum();
        return Ok((Pinned { meta: meta.clone(), upto: upto.advanced(sub_offset, bytes) }, None));
    }
    let next = found.first().map(|segment| segment.messages.slice(0, 1)).ok_or_else(beyond)?;
    if wanted > next.wire().len() {
        return Err(beyond());
    }
    Ok((pinned.clone(), Messages::single(next.wire().slice(..wanted))))
}

fn source_error(error: ReadError) -> Error {
    match error {
        ReadError::Failure(failure) => EngineError::Failure(failure),
        ReadError::Misaligned => EngineError::Refused(CreateError::Source(PinError::Misaligned)),
        // The source changed under the pin: only its end could do that.
        _ => EngineError::Refused(CreateError::Source(PinError::NotFound)),
    }
}
