//! Forks across shards: pin the source, create the fork, unpin if that failed. No step needs a transaction over two
//! shards; a pin whose fork never came to be is found and dropped by the sweeper.

use super::{Engine, EngineError, ForkRequest};
use crate::core::{Command, Create, CreateError, Created, Fork, Pin, PinError, Reply};
use crate::runtime::shared::Shared;
use crate::runtime::{Failure, ReadError, ReadFrom};
use crate::types::{ForkOrigin, Messages, Offset, PinId, Segment, ShardId, StreamId};

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
    let shard = request.source.shard(engine.shared.count);
    show_source(engine, &request).await.map_err(EngineError::Failure)?;
    let Divergence { offset, upto, prefix } = Divergence::find(engine, &request)?;
    create.config.fork = Some(origin(offset));
    let pin = PinId(getrandom::u64().map_err(|_| EngineError::Failure(Failure::Overloaded))?);
    let command = Pin { source: request.source, fork: create.name.clone(), offset: Some(upto), pin };
    let pinned = engine.errand(shard, Command::Pin(command)).await.map_err(|failure| match failure {
        // A pin that may be there is swept: the fork, which is what was asked for, was not created.
        Failure::LeaderLost => EngineError::Failure(Failure::NoLeader { shard }),
        failure => EngineError::Failure(failure),
    });
    let pinned = match pinned? {
        Reply::Pin(pinned) => pinned.map_err(|error| EngineError::Refused(CreateError::Source(error)))?,
        _ => return Err(EngineError::Failure(Failure::LogFailed)),
    };
    create.fork = Some(Fork::granted(shard, pin, &pinned, prefix));
    // A refusal names the pin as released, and the engine lets it go.
    engine.create_here(create).await
}

/// The source is read on this node, which may lead the fork's shard only.
async fn show_source(engine: &Engine, request: &ForkRequest) -> Result<(), Failure> {
    engine.shared.settled(request.source.shard(engine.shared.count)).await?;
    engine.shared.sources_shown(&request.source).await
}

/// Where a fork leaves its source.
struct Divergence {
    /// The offset that the request named, or the source's tail.
    offset: Offset,
    /// The boundary at which the fork's own data begins.
    upto: Offset,
    /// The part of the source's next message that the fork copies.
    prefix: Option<Messages>,
}

impl Divergence {
    /// Reads the source. In a JSON stream the sub-offset counts messages, so the fork simply begins behind them; elsewhere
    /// it cuts a message, and the part in front of the cut is the fork's own.
    fn find(engine: &Engine, request: &ForkRequest) -> Result<Self, Error> {
        let (shared, shard) = (&engine.shared, request.source.shard(engine.shared.count));
        let living = shared.believed(shard, || shared.living(&request.source));
        let (view, snapshot) = living.map_err(source_error)?;
        let (tail, earliest) = (snapshot.state.tail, snapshot.state.earliest);
        let offset = request.offset.unwrap_or(tail);
        if offset < earliest {
            return Err(EngineError::Refused(CreateError::Source(PinError::BeforeEarliest)));
        }
        Shared::resolve(ReadFrom::At(offset), &snapshot.state).map_err(source_error)?;
        let source =
            Source { engine, shard: request.source.shard(engine.shared.count), stream: view.id, tail };
        // Also without a sub-offset: reading proves that the offset is a message boundary.
        let next = source.messages_at(offset, 1)?;
        if request.sub_offset == 0 {
            return Ok(Self { offset, upto: offset, prefix: None });
        }
        if snapshot.state.config.content_type.is_json() {
            return Ok(Self { offset, upto: source.skip(offset, request.sub_offset)?, prefix: None });
        }
        let first = next.first().map(|segment| segment.messages.slice(0, 1)).ok_or_else(beyond)?;
        let cut = usize::try_from(request.sub_offset)
            .ok()
            .filter(|cut| *cut <= first.wire().len())
            .ok_or_else(beyond)?;
        Ok(Self { offset, upto: offset, prefix: Messages::single(first.wire().slice(..cut)) })
    }
}

/// The source of a fork, by id.
struct Source<'a> {
    engine: &'a Engine,
    shard: ShardId,
    stream: StreamId,
    tail: Offset,
}

impl Source<'_> {
    fn messages_at(&self, offset: Offset, bytes_max: usize) -> Result<Vec<Segment>, Error> {
        let found = self.engine.shared.gather(self.shard, self.stream, offset, self.tail, bytes_max);
        found.map_err(source_error)
    }

    /// The boundary `count` messages behind `offset`, found in bounded steps.
    fn skip(&self, offset: Offset, count: u64) -> Result<Offset, Error> {
        const STEP_BYTES: usize = 256 * 1024;
        if count > self.tail.messages - offset.messages {
            return Err(beyond());
        }
        let goal = offset.messages + count;
        let mut at = offset;
        while at.messages < goal {
            let found = self.messages_at(at, STEP_BYTES)?;
            let lengths = found.iter().flat_map(|segment| segment.messages.lengths());
            let before = at;
            for length in lengths.take(usize::try_from(goal - at.messages).unwrap_or(usize::MAX)) {
                at = at.advanced(1, u64::from(*length));
            }
            if at == before {
                return Err(EngineError::Failure(Failure::Corrupt));
            }
        }
        Ok(at)
    }
}

fn beyond() -> Error {
    EngineError::Refused(CreateError::SubOffset)
}

fn source_error(error: ReadError) -> Error {
    match error {
        ReadError::Failure(failure) => EngineError::Failure(failure),
        ReadError::Misaligned => EngineError::Refused(CreateError::Source(PinError::Misaligned)),
        ReadError::BeyondTail { .. } => EngineError::Refused(CreateError::Source(PinError::BeyondTail)),
        ReadError::Trimmed { .. } => EngineError::Refused(CreateError::Source(PinError::BeforeEarliest)),
        ReadError::Gone => EngineError::Refused(CreateError::Source(PinError::Retired)),
        ReadError::NotFound => EngineError::Refused(CreateError::Source(PinError::NotFound)),
    }
}
