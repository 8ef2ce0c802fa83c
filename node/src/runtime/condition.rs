//! What of the node is served at one moment, for whoever decides whether requests are sent to it. Invariant: a shard that is
//! listed as refusing answers with an error that says so, and every other one is served.

use serde::Serialize;

use super::Failure;
use super::engine::Engine;
use super::shared::{Shard, Shared};
use super::whereabouts::Whereabouts;
use crate::types::ShardId;

/// What of the node is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// It is shutting down, for whatever reason: a failed log is one.
    pub closing: bool,
    /// All shards.
    pub shards: u16,
    /// Those that refuse service.
    pub refusing: Vec<Refusing>,
    /// Those to which nothing can be written at the moment: nobody leads them, or no majority takes it.
    pub held_up: Vec<Refusing>,
    /// What else does not work as it should.
    pub trouble: Option<String>,
}

/// A shard that refuses service, or writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusing {
    /// Which.
    pub shard: u16,
    /// Why.
    pub reason: String,
}

impl Condition {
    /// Why requests are better sent elsewhere, if so: nothing at all is served here.
    #[must_use]
    pub fn unserved(&self) -> Option<String> {
        if self.closing {
            return Some("the node is shutting down".to_owned());
        }
        (self.refusing.len() >= usize::from(self.shards))
            .then(|| format!("no shard is served: {}", self.faults()))
    }

    /// Why not everything works, if so.
    #[must_use]
    pub fn impaired(&self) -> Option<String> {
        self.unserved().or_else(|| {
            let whole = self.refusing.is_empty() && self.held_up.is_empty() && self.trouble.is_none();
            (!whole).then(|| self.faults())
        })
    }

    fn faults(&self) -> String {
        let shards = self.refusing.iter().chain(&self.held_up).map(|refusing| refusing.reason.clone());
        shards.chain(self.trouble.clone()).collect::<Vec<_>>().join("; ")
    }
}

impl Shared {
    /// The shards that refuse service.
    pub(crate) fn refusing(&self) -> Vec<Refusing> {
        let refusal = |id: ShardId| Some(Refusing { shard: id.0, reason: self.shard(id).err()?.to_string() });
        self.count.shards().filter_map(refusal).collect()
    }

    /// The shards that are served and to which nothing can be written.
    fn held_up(&self) -> Vec<Refusing> {
        let reason = |id: ShardId| match self.leaders.of(id) {
            Whereabouts::Nobody => Some(Failure::NoLeader { shard: id }.to_string()),
            Whereabouts::Here if self.shard(id).is_ok_and(Shard::is_stalled) => {
                Some(Failure::Ahead { shard: id }.to_string())
            }
            Whereabouts::Here | Whereabouts::There(_) => None,
        };
        self.count.shards().filter_map(|id| Some(Refusing { shard: id.0, reason: reason(id)? })).collect()
    }
}

impl Engine {
    /// What of the node is served.
    #[must_use]
    pub fn condition(&self) -> Condition {
        Condition {
            closing: self.shared.closing(),
            shards: self.shared.count.get(),
            refusing: self.shared.refusing(),
            held_up: self.shared.held_up(),
            trouble: self.shared.subscriptions.trouble().map(|trouble| trouble.to_string()),
        }
    }

    /// Why not everything works, if so.
    pub fn readiness(&self) -> Result<(), String> {
        self.condition().impaired().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_sent_requests_as_long_as_it_serves_any_shard() {
        let refusing = |count: u16| {
            let one = |shard| Refusing { shard, reason: format!("shard {shard} is damaged") };
            (0..count).map(one).collect::<Vec<_>>()
        };
        let (refused, held_up) = (Vec::new(), Vec::new());
        let whole = Condition { closing: false, shards: 4, refusing: refused, held_up, trouble: None };
        let impaired = Condition { refusing: refusing(3), ..whole.clone() };
        let unserved = Condition { refusing: refusing(4), ..whole.clone() };
        let closing = Condition { closing: true, ..whole.clone() };
        let troubled = Condition { trouble: Some("the hub".to_owned()), ..whole.clone() };
        let held_up = Condition { held_up: refusing(4), ..whole.clone() };
        let told = |condition: &Condition| (condition.unserved().is_some(), condition.impaired().is_some());
        assert_eq!(told(&whole), (false, false));
        assert_eq!(told(&impaired), (false, true));
        assert_eq!(told(&troubled), (false, true));
        assert_eq!(told(&held_up), (false, true), "what is there can be read");
        assert_eq!(told(&unserved), (true, true));
        assert_eq!(told(&closing), (true, true));
        assert!(impaired.impaired().unwrap().contains("shard 2 is damaged"));
    }
}
