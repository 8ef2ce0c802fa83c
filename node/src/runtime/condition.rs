//! What of the node is served at one moment, for whoever decides whether requests are sent to it. Invariant: a shard that is
//! listed as refusing answers with an error that says so, and every other one is served.

use serde::Serialize;

use super::engine::Engine;
use super::shared::Shared;
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
    /// What else does not work as it should.
    pub trouble: Option<String>,
}

/// A shard that refuses service.
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
        self.unserved()
            .or_else(|| (!self.refusing.is_empty() || self.trouble.is_some()).then(|| self.faults()))
    }

    fn faults(&self) -> String {
        let shards = self.refusing.iter().map(|refusing| refusing.reason.clone());
        shards.chain(self.trouble.clone()).collect::<Vec<_>>().join("; ")
    }
}

impl Shared {
    /// The shards that refuse service.
    pub(crate) fn refusing(&self) -> Vec<Refusing> {
        let refusal = |id: ShardId| Some(Refusing { shard: id.0, reason: self.shard(id).err()?.to_string() });
        self.count.shards().filter_map(refusal).collect()
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
        let whole = Condition { closing: false, shards: 4, refusing: Vec::new(), trouble: None };
        let impaired = Condition { refusing: refusing(3), ..whole.clone() };
        let unserved = Condition { refusing: refusing(4), ..whole.clone() };
        let closing = Condition { closing: true, ..whole.clone() };
        let troubled = Condition { trouble: Some("the hub".to_owned()), ..whole.clone() };
        let told = |condition: &Condition| (condition.unserved().is_some(), condition.impaired().is_some());
        assert_eq!(told(&whole), (false, false));
        assert_eq!(told(&impaired), (false, true));
        assert_eq!(told(&troubled), (false, true));
        assert_eq!(told(&unserved), (true, true));
        assert_eq!(told(&closing), (true, true));
        assert!(impaired.impaired().unwrap().contains("shard 2 is damaged"));
    }
}
