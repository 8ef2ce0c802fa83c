//! What of the node is served at one moment, for whoever decides whether requests are sent to it. Invariant: a shard that is
//! listed as refusing answers with an error that says so, and every other one is served.

use std::collections::BTreeSet;

use serde::{Serialize, Serializer};

use super::Failure;
use super::engine::Engine;
use super::links::Cluster;
use super::shared::{Shard, Shared};
use super::whereabouts::Whereabouts;
use crate::types::{ShardId, in_ranges};
use crate::wire::{Host as _, LinkReport};

/// What of the node is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// It is shutting down, for whatever reason: a failed log is one.
    pub closing: bool,
    /// All shards.
    pub shards: u16,
    /// Those that refuse service, by reason.
    pub refusing: Vec<Refusing>,
    /// Those to which nothing can be written at the moment, by reason: nobody leads them, or no majority takes it.
    pub held_up: Vec<Refusing>,
    /// What is known of why nobody leads shards.
    pub causes: Vec<String>,
    /// What else does not work as it should.
    pub trouble: Option<String>,
}

/// Shards that refuse service, or writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusing {
    /// Which.
    #[serde(serialize_with = "ranges")]
    pub shards: BTreeSet<ShardId>,
    /// Why.
    pub reason: String,
}

fn ranges<S: Serializer>(shards: &BTreeSet<ShardId>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&in_ranges(shards.iter().copied()))
}

/// One for each reason, in the order of their first shards.
fn by_reason(shards: impl IntoIterator<Item = (ShardId, Failure)>) -> Vec<Refusing> {
    let mut all: Vec<Refusing> = Vec::new();
    for (shard, failure) in shards {
        let reason = reason(failure);
        match all.iter_mut().find(|one| one.reason == reason) {
            Some(one) => drop(one.shards.insert(shard)),
            None => all.push(Refusing { shards: BTreeSet::from([shard]), reason }),
        }
    }
    all
}

/// What is the same for all shards of which it is so.
fn reason(failure: Failure) -> String {
    match failure {
        Failure::ShardDamaged { reason, .. } => format!("damaged, and refused: {reason}"),
        Failure::ShardReopening { reason, .. } => format!("being opened again: {reason}"),
        Failure::NoLeader { .. } => "no leader that can be reached at the moment".to_owned(),
        Failure::Ahead { .. } => "the followers do not take what is written".to_owned(),
        failure => failure.to_string(),
    }
}

impl Condition {
    /// Why requests are better sent elsewhere, if so: nothing at all is served here.
    #[must_use]
    pub fn unserved(&self) -> Option<String> {
        if self.closing {
            return Some("the node is shutting down".to_owned());
        }
        let refusing: usize = self.refusing.iter().map(|refusing| refusing.shards.len()).sum();
        (refusing >= usize::from(self.shards)).then(|| format!("no shard is served: {}", self.faults()))
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
        let told = |Refusing { shards, reason }: &Refusing| {
            let which = if shards.len() == 1 { "shard" } else { "shards" };
            format!("{which} {}: {reason}", in_ranges(shards.iter().copied()))
        };
        let shards = self.refusing.iter().chain(&self.held_up).map(told);
        shards.chain(self.causes.iter().cloned()).chain(self.trouble.clone()).collect::<Vec<_>>().join("; ")
    }
}

impl Shared {
    /// The shards that refuse service.
    pub(crate) fn refusing(&self) -> Vec<(ShardId, Failure)> {
        self.count.shards().filter_map(|id| Some((id, self.shard(id).err()?))).collect()
    }

    /// The shards that are served and to which nothing can be written.
    fn held_up(&self) -> Vec<(ShardId, Failure)> {
        let failure = |id: ShardId| match self.leaders.of(id) {
            Whereabouts::Nobody => Some(Failure::NoLeader { shard: id }),
            Whereabouts::Here if self.shard(id).is_ok_and(Shard::is_stalled) => {
                Some(Failure::Ahead { shard: id })
            }
            Whereabouts::Here | Whereabouts::There(..) => None,
        };
        self.count.shards().filter_map(|id| Some((id, failure(id)?))).collect()
    }

    /// What is known of why nobody leads.
    fn causes(&self, held_up: &[(ShardId, Failure)]) -> Vec<String> {
        let leaderless = held_up.iter().any(|(_, failure)| matches!(failure, Failure::NoLeader { .. }));
        self.cluster.get().filter(|_| leaderless).map(|cluster| cluster.troubles()).unwrap_or_default()
    }
}

impl Cluster {
    /// Why this node takes no part, or does not take part with whom.
    fn troubles(&self) -> Vec<String> {
        if self.put_back_before().is_some() {
            return vec![
                "this volume was put back to an older copy of itself, and takes no part any more".to_owned(),
            ];
        }
        let Some(me) = self.me() else {
            return vec!["this node was not told yet who is in the cluster".to_owned()];
        };
        let (roster, links) = (self.roster(), self.running_links());
        let told = |link: LinkReport| {
            let (member, why) = (roster.members.get(&link.peer).filter(|_| link.peer != me)?, link.failed?);
            Some(format!("no link to {}: {why}", member.node))
        };
        links.iter().flat_map(|links| links.report()).filter_map(told).collect()
    }
}

impl Engine {
    /// What of the node is served.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let held_up = self.shared.held_up();
        Condition {
            closing: self.shared.closing(),
            shards: self.shared.count.get(),
            refusing: by_reason(self.shared.refusing()),
            causes: self.shared.causes(&held_up),
            held_up: by_reason(held_up),
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

    fn whole() -> Condition {
        let (refusing, held_up, causes) = (Vec::new(), Vec::new(), Vec::new());
        Condition { closing: false, shards: 4, refusing, held_up, causes, trouble: None }
    }

    fn damaged(shard: u16) -> (ShardId, Failure) {
        let shard = ShardId(shard);
        (shard, Failure::ShardDamaged { shard, reason: "a torn page".into() })
    }

    #[test]
    fn a_node_is_sent_requests_as_long_as_it_serves_any_shard() {
        let refusing = |count: u16| by_reason((0..count).map(damaged));
        let impaired = Condition { refusing: refusing(3), ..whole() };
        let unserved = Condition { refusing: refusing(4), ..whole() };
        let closing = Condition { closing: true, ..whole() };
        let troubled = Condition { trouble: Some("the hub".to_owned()), ..whole() };
        let held_up = Condition { held_up: refusing(4), ..whole() };
        let told = |condition: &Condition| (condition.unserved().is_some(), condition.impaired().is_some());
        assert_eq!(told(&whole()), (false, false));
        assert_eq!(told(&impaired), (false, true));
        assert_eq!(told(&troubled), (false, true));
        assert_eq!(told(&held_up), (false, true), "what is there can be read");
        assert_eq!(told(&unserved), (true, true));
        assert_eq!(told(&closing), (true, true));
    }

    #[test]
    fn what_is_so_of_many_shards_is_said_once_with_what_is_known_of_the_cause() {
        let leaderless = |shard| (ShardId(shard), Failure::NoLeader { shard: ShardId(shard) });
        let behind = (ShardId(9), Failure::Ahead { shard: ShardId(9) });
        let condition = Condition {
            shards: 16,
            refusing: by_reason([damaged(4)]),
            held_up: by_reason((0..4).map(leaderless).chain([behind, leaderless(10)])),
            causes: vec!["no link to n2: it refused: another file".to_owned()],
            ..whole()
        };
        assert_eq!(
            condition.impaired().unwrap(),
            "shard 4: damaged, and refused: a torn page; shards 0-3, 10: no leader that can be reached at the moment; \
             shard 9: the followers do not take what is written; no link to n2: it refused: another file"
        );
    }
}
