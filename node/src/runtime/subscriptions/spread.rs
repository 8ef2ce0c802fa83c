//! Telling all shards of a subscription, linking the streams that are there, and sweeping what is left of one that ended.
//!
//! Every step may be repeated, so a crash in the middle costs nothing: the stage at the home shard moves last.

use futures::StreamExt as _;
use futures::stream;

use super::Subscriptions;
use crate::core::{LinkAsk, LinkError, SubscriptionAsk};
use crate::runtime::Failure;
use crate::runtime::reader::listing;
use crate::types::{
    Definition, ShardCount, ShardId, Share, Stage, StreamName, Subscription, SubscriptionId, SubscriptionUid,
};

/// Streams that are looked at, and links that are decided, at a time.
const BATCH: usize = 256;
/// Commands under way at once: they share group commits.
const AT_ONCE: usize = 64;

/// Why a subscription did not reach all shards.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpreadError {
    /// The node's own trouble.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// It would link too many streams.
    #[error("subscriptions may find at most {limit} streams")]
    TooManyLinks {
        /// The bound.
        limit: usize,
    },
}

impl Subscriptions {
    /// Finishes what a definition or a deletion began. The lock of the id is held.
    pub(super) async fn repair(&self, id: &SubscriptionId) -> Result<(), SpreadError> {
        match self.index().get(id) {
            Some(known) if known.stage == Stage::Removing => self.sweep(id, Some(known.uid)).await,
            // A subscription that serves is told again to shards that did not hear of it.
            Some(known) if known.stage == Stage::Linking || self.index().is_unheard(id) => {
                self.spread(&known).await
            }
            Some(_) => Ok(()),
            None => self.sweep(id, None).await,
        }
    }

    /// Lets every shard know, then links what exists at its tail.
    async fn spread(&self, known: &Subscription) -> Result<(), SpreadError> {
        let (id, definition) = (&known.id, &known.definition);
        let shared = &self.0.engine.shared;
        let share = |shard| (shard, LinkAsk::Adopt(share_of(known, shard, shared.count)));
        let shares = shared.count.shards().map(share);
        self.ask_all(id, shares).await?;
        self.link(id, definition.streams.iter().cloned().collect()).await?;
        self.link_matching(id, definition).await?;
        self.unlink(id, |name| !definition.covers(name)).await?;
        let streams = definition.streams.len();
        let _removed_meanwhile = self.ask(id, SubscriptionAsk::Linked { uid: known.uid, streams }).await?;
        self.index().heard(id);
        Ok(())
    }

    /// Finds the subscriptions of which a shard that is served did not hear, because it was damaged when they changed.
    pub(super) fn find_unheard(&self) {
        let shared = &self.0.engine.shared;
        let served: Vec<ShardId> = shared.open_shards().map(|shard| shard.id).collect();
        // What lies elsewhere of a subscription whose home is damaged waits for the home.
        self.index().park(|id| !served.contains(&id.home(shared.count)));
        for known in self.index().all() {
            let expected = served.iter().map(|shard| (*shard, share_of(&known, *shard, shared.count)));
            self.index().compare_shares(&known.id, expected);
        }
    }

    async fn link_matching(&self, id: &SubscriptionId, definition: &Definition) -> Result<(), SpreadError> {
        let Some(pattern) = &definition.pattern else { return Ok(()) };
        let mut after = None::<String>;
        loop {
            let page =
                listing::list_served(&self.0.engine.shared, pattern.prefix(), after.as_deref(), BATCH)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.name.as_str().to_owned());
            let names = page.into_iter().map(|listed| listed.name).filter(|name| pattern.matches(name));
            self.link(id, names.collect()).await?;
        }
    }

    async fn link(&self, id: &SubscriptionId, names: Vec<StreamName>) -> Result<(), SpreadError> {
        let new = self.index().unlinked(id, &names);
        let limit = self.index().links_max();
        if self.index().link_count() + new > limit {
            return Err(SpreadError::TooManyLinks { limit });
        }
        let count = self.0.engine.shared.count;
        let asks = names.into_iter().map(|name| (name.shard(count), LinkAsk::Link(name)));
        self.ask_all(id, asks).await?;
        Ok(())
    }

    /// Removes links that nothing covers any more.
    async fn unlink(&self, id: &SubscriptionId, ended: impl Fn(&StreamName) -> bool) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let page = self.index().links(id, after.as_ref(), BATCH);
            let Some((_, _, last)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let asks = page.into_iter().filter(|(_, _, name)| ended(name));
            let asks = asks.map(|(shard, stream, name)| (shard, LinkAsk::Unlink { stream, name }));
            self.ask_all(id, asks).await?;
        }
    }

    /// Takes the share from every shard, then the links, then the subscription itself.
    async fn sweep(&self, id: &SubscriptionId, uid: Option<SubscriptionUid>) -> Result<(), SpreadError> {
        let nothing = |uid| Share { uid, pattern: None, streams: Default::default() };
        let shards = self.0.engine.shared.count.shards();
        let asks = shards.map(|shard| (shard, LinkAsk::Adopt(nothing(uid.unwrap_or(SubscriptionUid(0))))));
        self.ask_all(id, asks).await?;
        self.unlink(id, |_| true).await?;
        // What a damaged shard keeps of it is swept by the start that serves the shard again.
        self.index().forget_unserved(id, |shard| self.0.engine.shared.shard(shard).is_ok());
        if let Some(uid) = uid {
            let _already = self.ask(id, SubscriptionAsk::Forget(uid)).await?;
        }
        Ok(())
    }

    /// Asks many shards at once; a stream that is gone by now is no failure. A damaged shard hears of it when a start
    /// serves it again: nothing can be written there until then, so nothing is missed.
    async fn ask_all(
        &self,
        id: &SubscriptionId,
        asks: impl IntoIterator<Item = (ShardId, LinkAsk)>,
    ) -> Result<(), Failure> {
        let asked = asks.into_iter().map(|(shard, ask)| self.ask_link(shard, id, ask)).collect::<Vec<_>>();
        let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
        let mut failed = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(Ok(_) | Err(LinkError::NotLinked | LinkError::BeyondTail | LinkError::GoesBack)) => {}
                Err(Failure::ShardDamaged { .. }) => {}
                Err(failure) => failed = Some(failure),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// What a shard must know of a subscription.
fn share_of(known: &Subscription, shard: ShardId, count: ShardCount) -> Share {
    let definition = &known.definition;
    let here = definition.streams.iter().filter(|name| name.shard(count) == shard);
    Share { uid: known.uid, pattern: definition.pattern.clone(), streams: here.cloned().collect() }
}
