//! A node that is only played: an admin port, promises and roles, no log and no peers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use thalweg_node::core::failover::{NodePulse, RoleSeen, ShardPulse};
use thalweg_node::core::replication::{History, SealAnswer, Standing};
use thalweg_node::types::{
    Boot, Chain, Configs, Epoch, LogIndex, RecordEpoch, ReplicaId, Roster, ShardId, VolumeIncarnation,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::CLUSTER;
use crate::driver::Status;
use crate::driver::words::{
    BatchWords, OrderWords, RosterWords, SealWords, configs_from, roster_from, sealed_words, standing_from,
    status_words,
};

/// What a played shard is.
#[derive(Debug, Clone)]
pub(super) struct Shard {
    pub(super) promised: Epoch,
    pub(super) leads: Option<Configs>,
    pub(super) learners: Vec<ReplicaId>,
    /// Orders to lead that came, the repeated ones among them.
    pub(super) orders: u32,
}

/// What a played node is.
#[derive(Debug)]
pub(super) struct State {
    pub(super) status: Status,
    pub(super) up: bool,
    pub(super) shards: BTreeMap<ShardId, Shard>,
    /// What its followers lack.
    pub(super) lag: u64,
}

/// A played node.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub(super) async fn start(number: u8, shards: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (name, address) = (format!("n{number}"), listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::new(&name, number, shards)));
        let served = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, served.clone()));
            }
        });
        Self { name, address, state, task }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Another disk, an empty one.
    pub(super) fn wipe(&self, incarnation: u8) {
        let mut state = self.state();
        let shards = u16::try_from(state.shards.len()).unwrap();
        *state = State::new(&self.name, incarnation, shards);
    }

    pub(super) fn leads(&self) -> usize {
        self.state().shards.values().filter(|shard| shard.leads.is_some()).count()
    }
}

impl State {
    fn new(name: &str, incarnation: u8, shards: u16) -> Self {
        let shard = Shard { promised: Epoch::default(), leads: None, learners: Vec::new(), orders: 0 };
        let status = Status {
            cluster: CLUSTER,
            node: name.to_owned(),
            incarnation: VolumeIncarnation([incarnation; 16]),
            boot: Boot(1),
            replica: None,
            is_new: true,
            roster: Roster::default(),
            pulse: None,
        };
        let shards = (0..shards).map(|number| (ShardId(number), shard.clone())).collect();
        Self { status, up: true, shards, lag: 0 }
    }

    fn answer(&mut self, call: &str, body: &[u8]) -> String {
        match call {
            "GET /admin/status" => self.tell(),
            "GET /admin/shards" => self.followers(),
            "POST /admin/members" => {
                let words: RosterWords = serde_json::from_slice(body).unwrap();
                self.status.roster = roster_from(words.members).unwrap();
                self.status.replica = self.status.roster.find(self.status.incarnation);
                "{}".to_owned()
            }
            "POST /admin/seal" => self.batch(body, |state, ask: SealWords| {
                state.status.is_new = false;
                let shard = ShardId(ask.shard);
                (shard, state.seal(shard, RecordEpoch(ask.epoch)))
            }),
            "POST /admin/lead" | "POST /admin/config" => self.batch(body, State::order),
            other => panic!("nobody should call {other}"),
        }
    }

    fn batch<A: serde::de::DeserializeOwned>(
        &mut self,
        body: &[u8],
        mut each: impl FnMut(&mut Self, A) -> (ShardId, serde_json::Value),
    ) -> String {
        let batch: BatchWords<A> = serde_json::from_slice(body).unwrap();
        let meant = (batch.to.incarnation, batch.to.replica.map(ReplicaId));
        if meant != (self.status.incarnation.to_string(), self.status.replica) {
            return String::new();
        }
        let answer = |ask| {
            let (shard, outcome) = each(self, ask);
            serde_json::json!({"shard": shard.0, "outcome": outcome})
        };
        let answers: Vec<_> = batch.asks.into_iter().map(answer).collect();
        serde_json::json!({ "answers": answers }).to_string()
    }

    fn seal(&mut self, shard: ShardId, record: RecordEpoch) -> serde_json::Value {
        let shard = self.shards.get_mut(&shard).unwrap();
        if record < shard.promised.record {
            return serde_json::json!({"refused": {"why": "not_leading", "words": "more is promised"}});
        }
        if record > shard.promised.record {
            (shard.promised, shard.leads) = (Epoch { record, boot: Boot(0) }, None);
        }
        let mut history = History::default();
        history.push(Epoch { record: RecordEpoch(1), boot: Boot(1) }, Chain(3));
        let standing = Standing { boot: Boot(1), last: history.last_epoch(), end: history.end() };
        let committed = LogIndex(0);
        let answer = SealAnswer { promised: shard.promised, standing, committed, history, configs: None };
        serde_json::to_value(sealed_words(&answer)).unwrap()
    }

    fn order(&mut self, ask: OrderWords) -> (ShardId, serde_json::Value) {
        let id = ShardId(ask.shard);
        let shard = self.shards.get_mut(&id).unwrap();
        assert_eq!(shard.promised.record, RecordEpoch(ask.epoch), "nobody leads what it has not promised");
        if let Some(expected) = ask.expected {
            assert_eq!(standing_from(expected).boot, Boot(1));
            shard.orders += 1;
        }
        shard.leads = Some(configs_from(&ask.configs).unwrap());
        shard.learners = ask.learners.into_iter().map(ReplicaId).collect();
        (id, serde_json::json!({"configured": {"version": 1}}))
    }

    fn tell(&self) -> String {
        let role = |shard: &Shard| match &shard.leads {
            None => RoleSeen::Following { silent: Duration::ZERO },
            Some(configs) => RoleSeen::Leading {
                epoch: Epoch { boot: Boot(1), ..shard.promised },
                open: true,
                waiting: Duration::ZERO,
                newest: configs.last().version,
                // All that it hears of is confirmed at once.
                oldest: configs.last().version,
            },
        };
        let pulse =
            |shard: &Shard| ShardPulse { promised: shard.promised, end: LogIndex(1), role: role(shard) };
        let mut status = self.status.clone();
        status.pulse = status.replica.map(|replica| NodePulse {
            replica,
            boot: Boot(1),
            draining: false,
            sick: false,
            has_room: true,
            shards: self.shards.iter().map(|(id, shard)| (*id, pulse(shard))).collect(),
        });
        serde_json::to_string(&status_words(&status)).unwrap()
    }

    fn followers(&self) -> String {
        let shard = |(id, shard): (&ShardId, &Shard)| {
            let follower = |id: &ReplicaId| serde_json::json!({"replica": id.0, "is_shipped": true, "lag_entries": self.lag});
            let followers: Vec<_> = shard.learners.iter().map(follower).collect();
            serde_json::json!({"shard": id.0, "followers": followers})
        };
        let leading = self.shards.iter().filter(|(_, shard)| shard.leads.is_some());
        serde_json::json!({ "shards": leading.map(shard).collect::<Vec<_>>() }).to_string()
    }
}

/// One request, one answer, no more.
async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut bytes = Vec::new();
    let (call, body) = loop {
        if !state.lock().unwrap().up || stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.map_or(0, |text| text.parse().unwrap());
        if body.len() >= length {
            let call: Vec<&str> = head.split_whitespace().take(2).collect();
            break (call.join(" "), body.to_owned());
        }
    };
    let answer = state.lock().unwrap().answer(&call, body.as_bytes());
    // Asks that are meant for somebody else are refused.
    let status = if answer.is_empty() { "409 Conflict" } else { "200 OK" };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", answer.len());
    let _ = stream.write_all(format!("{head}{answer}").as_bytes()).await;
}
