//! The way to the signing key of the cluster: a fact of the first shard, made once. Invariant: all nodes sign with the key
//! that is kept; what a node proposes and what is kept are two things.

use std::time::Duration;

use bytes::Bytes;

use super::keys::Keys;
use super::{Subscriptions, SubscriptionsError};
use crate::core::{Command, Reply};
use crate::runtime::{Engine, Failure};
use crate::seam::lending;
use crate::types::{ShardId, Space};

/// The shard that keeps the key.
pub(super) const SHARD: ShardId = ShardId(0);
/// The fact that holds it.
const NAME: &[u8] = b"webhook-signing-key";
/// A key that could not be had is asked for again after this.
const AGAIN: Duration = Duration::from_millis(250);

/// The key that is kept. It is made at the first start only, so a later one works on a full volume, too.
pub(super) async fn find(engine: &Engine) -> Result<Keys, SubscriptionsError> {
    let kept = match kept(engine) {
        Ok(Some(kept)) => kept,
        // Its leader may serve a shard that is damaged here.
        Err(failure) if engine.shared.cluster.get().is_none() => return Err(failure.into()),
        Ok(None) | Err(_) => propose(engine).await?,
    };
    Keys::read(&kept).ok_or(SubscriptionsError::Key)
}

/// What the tables of this node know. A key that is there is never another.
fn kept(engine: &Engine) -> Result<Option<Bytes>, Failure> {
    let shard = engine.shared.shard(SHARD)?;
    let kept = lending(|| shard.tables.patient().fact(Space::Secret, NAME));
    kept.map_err(|error| shard.table_fault(&error))
}

async fn propose(engine: &Engine) -> Result<Bytes, SubscriptionsError> {
    let value = Keys::propose().map_err(|_| SubscriptionsError::Randomness)?;
    let command = Command::Secret { key: Bytes::from_static(NAME), value };
    match engine.errand(SHARD, command).await? {
        Reply::Secret(kept) => Ok(kept),
        _ => Err(SubscriptionsError::Key),
    }
}

impl Subscriptions {
    /// Waits for the key. `false`: the engine closes.
    pub(super) async fn await_key(&self) -> bool {
        let shared = &self.0.engine.shared;
        while self.0.keys.get().is_none() {
            if shared.closing() {
                return false;
            }
            match find(&self.0.engine).await {
                Ok(keys) => drop(self.0.keys.set(keys)),
                // While nobody leads, whoever asks is told so.
                Err(SubscriptionsError::Shard(_)) => tokio::time::sleep(AGAIN).await,
                Err(error) => {
                    self.index().set_trouble(Some(&format!("subscriptions are not served: {error}")));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        true
    }
}
