//! What a shown cluster says: a line for people, or an object for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use thalweg_node::types::{RecordEpoch, ReplicaId, ShardId, in_ranges};

use crate::driver::{News, Planned, Table};

/// Something that happened, or goes on. As JSON it is an object with the name of its kind in `event`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Line {
    /// The program of the node is being built, or looked at.
    Building {
        /// For so long.
        seconds: u64,
    },
    /// Processes start, and elect their first leaders.
    Starting {
        /// How many.
        nodes: usize,
        /// For so long.
        seconds: u64,
    },
    /// Every shard has a leader that takes writes.
    Open {
        /// How long that took.
        took_ms: u64,
        /// Where everything is.
        nodes: Vec<Place>,
    },
    /// Another leads a shard.
    Moved {
        /// Which.
        shard: ShardId,
        /// The node that led.
        from: String,
        /// The node that leads.
        to: String,
        /// The epoch that began.
        epoch: RecordEpoch,
        /// For how long the record named no leader.
        took_ms: u128,
        /// Why.
        reason: Option<String>,
    },
    /// Something else that the driver did or saw.
    News {
        /// In words.
        text: String,
    },
    /// A node warns of something, or calls it an error.
    Warning {
        /// Which node.
        node: String,
        /// In its words.
        text: String,
    },
    /// A process has ended.
    Ended {
        /// Whose.
        node: String,
        /// By which signal, or with which code and last words.
        how: String,
        /// It is started again after so long.
        again_s: u64,
    },
    /// It was started again.
    RunsAgain {
        /// Which node.
        node: String,
    },
    /// All nodes are being ended.
    Ending,
    /// Nothing runs any more.
    Over {
        /// Here the data stays.
        data: PathBuf,
    },
}

/// Where a node is.
#[derive(Debug, Clone, Serialize)]
pub struct Place {
    node: String,
    clients: String,
    admin: String,
    peers: String,
    leads: usize,
    data: PathBuf,
}

impl Place {
    /// The place of a planned node that leads so many shards.
    pub(super) fn new(planned: &Planned, leads: usize, data: PathBuf) -> Self {
        Self {
            node: planned.name.clone(),
            clients: format!("http://{}", planned.client),
            admin: format!("http://{}", planned.admin),
            peers: planned.peer.to_string(),
            leads,
            data,
        }
    }
}

impl Line {
    /// News with the names of nodes in the place of their replicas.
    pub(super) fn of(news: &News, table: &Table) -> Self {
        let News::Moved { shard, from, to, epoch, took, reason } = news else {
            return Self::News { text: with_names(&news.to_string(), table) };
        };
        Self::Moved {
            shard: *shard,
            from: table.node(*from),
            to: table.node(*to),
            epoch: *epoch,
            took_ms: took.as_millis(),
            reason: reason.map(|reason| format!("{reason:?}")),
        }
    }

    /// Those voters for whom no process of these nodes stands, as a cluster has that is started with fewer nodes than before.
    pub(super) fn of_absent(table: &Table, nodes: &BTreeSet<String>) -> Vec<Self> {
        let mut absent: BTreeMap<String, BTreeSet<ShardId>> = BTreeMap::new();
        for (shard, row) in &table.rows {
            for voter in row.configs.everybody() {
                let node = table.node(voter);
                if !nodes.contains(&node) {
                    absent.entry(node).or_default().insert(*shard);
                }
            }
        }
        let told = |(node, shards): (String, BTreeSet<ShardId>)| Self::News {
            text: format!(
                "{node} votes for {}, and no process here stands for it: start as many nodes as before (--nodes)",
                named(&shards)
            ),
        };
        absent.into_iter().map(told).collect()
    }

    /// For people: what is the same of several shards in one line, where the first of them stood.
    #[must_use]
    pub fn for_people(lines: &[Self]) -> Vec<String> {
        let mut all: Vec<(Part, BTreeSet<ShardId>)> = Vec::new();
        for line in lines {
            let (part, shard) = line.part();
            match all
                .iter_mut()
                .find(|(known, shards)| known.is_of(&part) && !shards.is_empty() && shard.is_some())
            {
                Some((known, shards)) => {
                    known.took_ms = known.took_ms.max(part.took_ms);
                    shards.extend(shard);
                }
                None => all.push((part, shard.into_iter().collect())),
            }
        }
        all.into_iter().map(|(part, shards)| part.of(&shards)).collect()
    }

    /// What of a line is the same for other shards, and the shard.
    fn part(&self) -> (Part, Option<ShardId>) {
        let apart = |text: &str, mark: &str| {
            let (before, rest) = text.split_once(mark)?;
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, after) = rest.split_at(digits);
            Some((before.to_owned(), ShardId(number.parse().ok()?), after.to_owned()))
        };
        let text = self.to_string();
        let (mark, found) = match self {
            Self::Warning { .. } => ("shard=", apart(&text, "shard=")),
            Self::News { .. } => ("shard ", apart(&text, "shard ").filter(|(before, ..)| before.is_empty())),
            Self::Moved { shard, from, to, took_ms, reason, .. } => {
                let why = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
                let took_ms = Some(*took_ms);
                let part = Part {
                    mark: "shard ",
                    before: String::new(),
                    after: format!(": {from} → {to}"),
                    took_ms,
                    why,
                };
                return (part, Some(*shard));
            }
            _ => ("", None),
        };
        let whole = || (text.clone(), None, String::new());
        let (before, shard, after) =
            found.map_or_else(whole, |(before, shard, after)| (before, Some(shard), after));
        (Part { mark, before, after, took_ms: None, why: String::new() }, shard)
    }

    /// The object.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// A line without its shard.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    mark: &'static str,
    before: String,
    after: String,
    /// The longest of all of them.
    took_ms: Option<u128>,
    why: String,
}

impl Part {
    fn is_of(&self, other: &Self) -> bool {
        let same = |part: &Self| (part.mark, part.before.clone(), part.after.clone(), part.why.clone());
        same(self) == same(other)
    }

    fn of(self, shards: &BTreeSet<ShardId>) -> String {
        let Self { mark, before, after, took_ms, why } = self;
        let took = took_ms.map(|took_ms| format!(" after {took_ms} ms")).unwrap_or_default();
        match shards.len() {
            0 => before,
            1 => format!("{before}{mark}{}{after}{took}{why}", in_ranges(shards.iter().copied())),
            _ => {
                let (mark, after) = (mark.replacen("shard", "shards", 1), after.replacen(" is ", " are ", 1));
                let took = took.replacen("after", "after at most", 1);
                format!("{before}{mark}{}{after}{took}{why}", in_ranges(shards.iter().copied()))
            }
        }
    }
}

fn named(shards: &BTreeSet<ShardId>) -> String {
    let which = if shards.len() == 1 { "shard" } else { "shards" };
    format!("{which} {}", in_ranges(shards.iter().copied()))
}

/// The names of nodes in the place of the replicas of which a text speaks.
fn with_names(text: &str, table: &Table) -> String {
    let mut named = String::new();
    let mut rest = text;
    loop {
        let marks = ["replica ", "ReplicaId("].map(|mark| rest.find(mark).map(|at| (at, mark)));
        let Some((at, mark)) = marks.into_iter().flatten().min() else { break };
        let (before, behind) = rest.split_at(at);
        let number = behind.get(mark.len()..).unwrap_or_default();
        let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        let (number, after) = number.split_at(digits);
        named.push_str(before);
        match number.parse() {
            Ok(id) => {
                named.push_str(&table.node(ReplicaId(id)));
                rest = if mark.ends_with('(') { after.strip_prefix(')').unwrap_or(after) } else { after };
            }
            Err(_) => {
                named.push_str(mark);
                rest = behind.get(mark.len()..).unwrap_or_default();
            }
        }
    }
    named + rest
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Building { seconds: 0 } => f.write_str("building the node; the first time takes minutes"),
            Self::Building { seconds } => write!(f, "building the node, {seconds} s"),
            Self::Starting { nodes, seconds } => write!(f, "starting {nodes} nodes, {seconds} s"),
            Self::Open { took_ms, nodes } => {
                writeln!(f, "all shards have leaders after {took_ms} ms")?;
                nodes.iter().try_for_each(|place| writeln!(f, "  {place}"))?;
                f.write_str("any node takes any request; kill -9 one to see its shards move; Ctrl-C ends all")
            }
            Self::Moved { shard, from, to, took_ms, reason, epoch: _ } => {
                write!(f, "shard {shard}: {from} → {to} after {took_ms} ms")?;
                reason.as_ref().map_or(Ok(()), |reason| write!(f, " ({reason})"))
            }
            Self::News { text } => f.write_str(text),
            Self::Warning { node, text } => write!(f, "{node} says: {text}"),
            Self::Ended { node, how, again_s } => {
                write!(f, "{node} ended ({how}); it is started again in {again_s} s")
            }
            Self::RunsAgain { node } => write!(f, "{node} runs again"),
            Self::Ending => f.write_str("ending all nodes"),
            Self::Over { data } => write!(f, "ended; the data stays in {}", data.display()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, clients, admin, peers, leads, data } = self;
        let data = data.display();
        write!(
            f,
            "{node}  clients {clients}  admin {admin}  peers {peers}  leads {leads} shards  data {data}"
        )
    }
}

#[cfg(test)]
mod tests {
    use thalweg_node::core::failover::{Reason, Trouble};
    use thalweg_node::core::replication::{Phase, ShardRow};
    use thalweg_node::types::{ClusterId, Configs, Member, Roster, Voters};

    use super::*;

    fn table() -> Table {
        let member = |id: u32| {
            let (peer, client) = (String::new(), String::new());
            (ReplicaId(id), Member { node: format!("node-{}", id + 1), incarnation: None, peer, client })
        };
        let voters = Voters::new((0..3).map(ReplicaId)).unwrap();
        let row = ShardRow {
            epoch: RecordEpoch(1),
            phase: Phase::Sealing,
            last_leader: ReplicaId(0),
            configs: Configs::first(voters),
        };
        Table {
            cluster: ClusterId([1; 16]),
            next_replica: 3,
            roster: Roster { members: (0..3).map(member).collect() },
            rows: (0..4).map(|shard| (ShardId(shard), row.clone())).collect(),
            learners: BTreeMap::new(),
            unclean: Vec::new(),
            wish: None,
        }
    }

    fn told(news: &[News]) -> Vec<String> {
        Line::for_people(&news.iter().map(|news| Line::of(news, &table())).collect::<Vec<_>>())
    }

    #[test]
    fn what_happens_to_many_shards_is_one_line_with_names_of_nodes() {
        let moved = |shard, to, millis| News::Moved {
            shard: ShardId(shard),
            from: ReplicaId(0),
            to: ReplicaId(to),
            epoch: RecordEpoch(2),
            reason: Some(Reason::Ended),
            took: std::time::Duration::from_millis(millis),
        };
        let blocked =
            |shard| News::Trouble(ShardId(shard), Trouble::FailoverBlocked(vec![ReplicaId(1), ReplicaId(7)]));
        let votes = |shard| News::Voters(ShardId(shard), format!("{} votes no more", ReplicaId(2)));
        let over = |shard| News::Over(ShardId(shard), Trouble::LeaderStuck(ReplicaId(1)));
        let news = [
            moved(0, 1, 12),
            moved(1, 2, 9),
            moved(3, 1, 30),
            blocked(2),
            blocked(0),
            votes(5),
            over(1),
            over(2),
        ];
        assert_eq!(
            told(&news),
            [
                "shards 0, 3: node-1 → node-2 after at most 30 ms (Ended)",
                "shard 1: node-1 → node-3 after 9 ms (Ended)",
                "shards 0, 2: FailoverBlocked([node-2, replica 7])",
                "shard 5: node-3 votes no more",
                "shards 1-2 are well again",
            ]
        );
        // Programs get one object for each.
        assert!(
            Line::of(&moved(3, 1, 30), &table())
                .json()
                .unwrap()
                .starts_with("{\"event\":\"moved\",\"shard\":3,")
        );
    }

    #[test]
    fn what_a_node_warns_of_for_many_shards_is_one_line() {
        let warning = |node: &str, shard: u16| Line::Warning {
            node: node.to_owned(),
            text: format!("WARN too few voters are heard of shard={shard}"),
        };
        let alone = Line::Warning { node: "node-1".to_owned(), text: "ERROR the volume".to_owned() };
        let lines = [warning("node-1", 4), warning("node-2", 5), alone.clone(), warning("node-1", 5), alone];
        assert_eq!(
            Line::for_people(&lines),
            [
                "node-1 says: WARN too few voters are heard of shards=4-5",
                "node-2 says: WARN too few voters are heard of shard=5",
                "node-1 says: ERROR the volume",
                "node-1 says: ERROR the volume",
            ]
        );
    }

    #[test]
    fn voters_for_whom_no_process_stands_are_told_of() {
        let nodes =
            |count: usize| (1..=count).map(|number| format!("node-{number}")).collect::<BTreeSet<_>>();
        assert!(Line::of_absent(&table(), &nodes(3)).is_empty());
        let absent = Line::for_people(&Line::of_absent(&table(), &nodes(2)));
        let [absent] = absent.as_slice() else { panic!("{absent:?}") };
        assert!(
            absent.starts_with("node-3 votes for shards 0-3, and no process here stands for it"),
            "{absent}"
        );
    }
}
