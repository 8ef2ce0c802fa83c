//! What is said is understood, and is said tomorrow as it is today.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::core::failover::{self, NodePulse, RoleSeen};
use crate::core::replication::{self as core, Answer, Refusal, SealAnswer};
use crate::runtime::{self, FollowerReport, NodeReport, Order, SeedingReport, ShardReport};
use crate::types::{
    self, Boot, Chain, ClusterId, ConfigVersion, Configs, Epoch, LogIndex, RecordEpoch, ReplicaId, Roster,
    ShardId, VolumeIncarnation, Voters,
};

/// Through words and JSON and back.
fn told<T: Clone, W: From<T> + Into<T> + Serialize + DeserializeOwned + Debug + PartialEq>(value: &T) -> T {
    let words = W::from(value.clone());
    let text = serde_json::to_string(&words).unwrap();
    let heard: W = serde_json::from_str(&text).unwrap();
    assert_eq!(heard, words, "{text}");
    heard.into()
}

fn epoch() -> impl Strategy<Value = Epoch> + Clone {
    any::<(u64, u64)>().prop_map(|(record, boot)| Epoch { record: RecordEpoch(record), boot: Boot(boot) })
}

fn index() -> impl Strategy<Value = LogIndex> + Clone {
    any::<u64>().prop_map(LogIndex)
}

fn time() -> impl Strategy<Value = Duration> + Clone {
    any::<u64>().prop_map(Duration::from_millis)
}

fn replica() -> impl Strategy<Value = ReplicaId> + Clone {
    any::<u32>().prop_map(ReplicaId)
}

fn shard() -> impl Strategy<Value = ShardId> + Clone {
    any::<u16>().prop_map(ShardId)
}

fn version() -> impl Strategy<Value = ConfigVersion> + Clone {
    any::<u64>().prop_map(ConfigVersion)
}

fn configs() -> impl Strategy<Value = Configs> + Clone {
    btree_map(version(), vec(replica(), 1..8), 1..4).prop_map(|sets| {
        let config = |(version, ids)| types::Config { version, voters: Voters::new(ids).unwrap() };
        Configs::new(sets.into_iter().map(config).collect()).unwrap()
    })
}

fn standing() -> impl Strategy<Value = core::Standing> + Clone {
    (any::<u64>(), epoch(), index()).prop_map(|(boot, last, end)| core::Standing {
        boot: Boot(boot),
        last,
        end,
    })
}

fn history() -> impl Strategy<Value = core::History> {
    vec((epoch(), any::<u64>()), 0..9).prop_map(|mut entries| {
        entries.sort();
        let mut history = core::History::default();
        entries.into_iter().for_each(|(epoch, chain)| history.push(epoch, Chain(chain)));
        history
    })
}

fn halt() -> impl Strategy<Value = core::Halt> {
    prop_oneof![
        (index(), index()).prop_map(|(common, committed)| core::Halt::BelowCommit { common, committed }),
        index().prop_map(core::Halt::ChainDiffers),
        epoch().prop_map(core::Halt::EpochDiffers),
        epoch().prop_map(core::Halt::EpochForgotten),
        any::<u64>().prop_map(|boot| core::Halt::PutBack(Boot(boot))),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let seal = (epoch(), standing(), index(), history(), option::of(configs()), any::<bool>()).prop_map(
        |(promised, standing, committed, history, configs, intact)| SealAnswer {
            promised,
            standing,
            committed,
            history,
            configs,
            intact,
        },
    );
    let refusal = prop_oneof![
        epoch().prop_map(Refusal::Promised),
        standing().prop_map(Refusal::Changed),
        any::<u64>().prop_map(|version| Refusal::NoStep(ConfigVersion(version))),
        epoch().prop_map(Refusal::TooFar),
        Just(Refusal::NotLeading),
        Just(Refusal::Retired),
        Just(Refusal::Unvouched),
        Just(Refusal::Damaged),
        halt().prop_map(Refusal::Halted),
    ];
    prop_oneof![
        seal.prop_map(|seal| Answer::Sealed(Box::new(seal))),
        (epoch(), any::<bool>()).prop_map(|(epoch, open)| Answer::Leads { epoch, open }),
        version().prop_map(Answer::Configured),
        refusal.prop_map(Answer::Refused),
    ]
}

fn pulse() -> impl Strategy<Value = NodePulse> {
    let role = prop_oneof![
        (epoch(), any::<bool>(), time(), index(), version(), version()).prop_map(
            |(epoch, open, waiting, committed, newest, oldest)| RoleSeen::Leading {
                epoch,
                open,
                waiting,
                committed,
                newest,
                oldest
            }
        ),
        time().prop_map(|silent| RoleSeen::Following { silent }),
        Just(RoleSeen::Halted),
    ];
    let seen = (epoch(), index(), any::<[bool; 2]>(), role);
    let seen = seen.prop_map(|(promised, end, [damaged, refuses], role)| failover::ShardPulse {
        promised,
        end,
        damaged,
        refuses,
        role,
    });
    (replica(), any::<u64>(), any::<[bool; 3]>(), btree_map(shard(), seen, 0..5)).prop_map(
        |(replica, boot, [draining, sick, has_room], shards)| NodePulse {
            replica,
            boot: Boot(boot),
            draining,
            sick,
            has_room,
            shards,
        },
    )
}

fn roster() -> impl Strategy<Value = Roster> {
    let member =
        (".{0,9}", any::<Option<[u8; 16]>>(), ".{0,9}", ".{0,9}").prop_map(|(node, id, peer, client)| {
            types::Member { node, incarnation: id.map(VolumeIncarnation), peer, client }
        });
    btree_map(replica(), member, 0..6).prop_map(|members| Roster { members })
}

fn node() -> impl Strategy<Value = NodeReport> {
    (
        any::<[u8; 16]>(),
        ".{0,9}",
        any::<[u8; 16]>(),
        any::<u64>(),
        option::of(replica()),
        any::<bool>(),
        roster(),
    )
        .prop_map(|(cluster, node, incarnation, boot, replica, is_new, roster)| NodeReport {
            cluster: ClusterId(cluster),
            node,
            incarnation: VolumeIncarnation(incarnation),
            boot: Boot(boot),
            replica,
            is_new,
            roster,
        })
}

fn report() -> impl Strategy<Value = ShardReport> {
    let role = prop_oneof![
        Just(runtime::ShardRole::Leading),
        Just(runtime::ShardRole::Opening),
        Just(runtime::ShardRole::Suspended),
        Just(runtime::ShardRole::Following),
        Just(runtime::ShardRole::Waiting),
        ".{0,9}".prop_map(runtime::ShardRole::Halted),
        ".{0,9}".prop_map(runtime::ShardRole::Damaged),
    ];
    let seeding = || {
        let seeding = (index(), any::<(u64, u64)>());
        option::of(seeding.prop_map(|(index, (bytes, done))| SeedingReport { index, bytes, done }))
    };
    let times = (time(), option::of(time()));
    let follower = (any::<bool>(), index(), any::<(u64, u64)>(), times, seeding()).prop_map(
        |(is_shipped, held, (lag_entries, lag_bytes), (lag, silent), seeding)| FollowerReport {
            is_shipped,
            held,
            lag_entries,
            lag_bytes,
            lag,
            silent,
            seeding,
        },
    );
    let followers = (btree_map(replica(), follower, 0..4), seeding());
    let places = [index(), index(), index(), index()];
    (shard(), role, epoch(), option::of(replica()), places, option::of(configs()), followers).prop_map(
        |(
            shard,
            role,
            promised,
            leader,
            [end, synced, committed, applied],
            configs,
            (followers, seeding),
        )| {
            ShardReport {
                shard,
                role,
                promised,
                leader,
                end,
                synced,
                committed,
                applied,
                configs,
                followers,
                seeding,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_a_node_says_of_itself_is_understood_as_it_was_meant(pulse in pulse(), node in node(), shard in report()) {
        prop_assert_eq!(told::<NodePulse, Pulse>(&pulse), pulse);
        prop_assert_eq!(told::<ShardReport, Shard>(&shard), shard);
        let status = Status::new(node.clone(), None);
        let heard: Status = serde_json::from_str(&serde_json::to_string(&status).unwrap()).unwrap();
        prop_assert_eq!(NodeReport::from(heard), node);
    }

    #[test]
    fn what_becomes_of_an_order_is_understood_as_it_was_meant(answer in answer()) {
        let text = serde_json::to_string(&Outcome::from(Ok(answer.clone()))).unwrap();
        let heard: Outcome = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(heard.answer(), Ok(answer), "{}", text);
    }

    #[test]
    fn an_order_is_understood_as_it_was_meant(
        shard in shard(),
        record in any::<u64>(),
        configs in configs(),
        learners in vec(replica(), 0..4),
        expected in standing(),
    ) {
        let order = Order { epoch: RecordEpoch(record), configs, learners };
        let lead = LeadAsk::new(shard, order.clone(), expected.into());
        let heard: LeadAsk = serde_json::from_str(&serde_json::to_string(&lead).unwrap()).unwrap();
        prop_assert_eq!((heard.shard, core::Standing::from(heard.expected)), (shard, expected));
        prop_assert_eq!(&Order::from(heard), &order);
        let config = ConfigAsk::new(shard, order.clone());
        let heard: ConfigAsk = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        prop_assert_eq!(Order::from(heard), order);
    }

    #[test]
    fn any_text_is_an_order_or_an_error(text in "\\PC{0,99}") {
        let _ = serde_json::from_str::<Batch<LeadAsk>>(&text);
        let _ = serde_json::from_str::<Members>(&text);
    }
}

/// The same bytes from release to release: others read them.
fn is_written<W: Serialize + DeserializeOwned + Debug + PartialEq>(words: &W, golden: &str) {
    assert_eq!(format!("{}\n", serde_json::to_string_pretty(words).unwrap()), golden);
    assert_eq!(serde_json::from_str::<W>(golden).unwrap(), *words);
}

fn at(record: u64, boot: u64) -> Epoch {
    Epoch { record: RecordEpoch(record), boot: Boot(boot) }
}

#[test]
fn a_status_is_written_as_it_was_in_the_first_release() {
    let leading = RoleSeen::Leading {
        epoch: at(4, 2),
        open: true,
        waiting: Duration::from_millis(12),
        committed: LogIndex(16),
        newest: ConfigVersion(3),
        oldest: ConfigVersion(2),
    };
    let seen = |role| {
        let (damaged, refuses) = (false, false);
        failover::ShardPulse { promised: at(4, 2), end: LogIndex(17), damaged, refuses, role }
    };
    let following = RoleSeen::Following { silent: Duration::from_millis(80) };
    let pulse = NodePulse {
        replica: ReplicaId(1),
        boot: Boot(2),
        draining: false,
        sick: false,
        has_room: true,
        shards: BTreeMap::from([
            (ShardId(0), seen(leading)),
            (ShardId(1), seen(following)),
            (ShardId(2), seen(RoleSeen::Halted)),
        ]),
    };
    let member = |incarnation: Option<u8>, node: &str| types::Member {
        node: node.to_owned(),
        incarnation: incarnation.map(|byte| VolumeIncarnation([byte; 16])),
        peer: format!("{node}.local:4537"),
        client: format!("{node}.local:4437"),
    };
    let report = NodeReport {
        cluster: ClusterId([1; 16]),
        node: "n1".to_owned(),
        incarnation: VolumeIncarnation([0xab; 16]),
        boot: Boot(2),
        replica: Some(ReplicaId(1)),
        is_new: false,
        roster: Roster {
            members: BTreeMap::from([
                (ReplicaId(0), member(None, "n0")),
                (ReplicaId(1), member(Some(0xab), "n1")),
            ]),
        },
    };
    is_written(&Status::new(report, Some(pulse.into())), include_str!("../golden/status.json"));
}

#[test]
fn seals_and_refusals_are_written_as_they_were_in_the_first_release() {
    let ask = Batch {
        to: Addressee {
            cluster: ClusterId([1; 16]),
            replica: Some(ReplicaId(1)),
            incarnation: VolumeIncarnation([0xab; 16]),
        },
        asks: vec![SealAsk { shard: ShardId(0), epoch: RecordEpoch(5) }],
    };
    is_written(&ask, include_str!("../golden/seal.json"));
    let mut history = core::History::default();
    history.push(at(1, 1), Chain(7));
    history.push(at(4, 2), Chain(u64::MAX));
    let standing = core::Standing { boot: Boot(2), last: at(4, 2), end: LogIndex(2) };
    let configs = Configs::first(Voters::new([0, 1, 2].map(ReplicaId)).unwrap());
    let (promised, committed) = (at(5, 0), LogIndex(2));
    let seal = SealAnswer { promised, standing, committed, history, configs: Some(configs), intact: true };
    let halt = core::Halt::BelowCommit { common: LogIndex(3), committed: LogIndex(5) };
    let answers = [
        Ok(Answer::Sealed(Box::new(seal))),
        Ok(Answer::Leads { epoch: at(5, 2), open: false }),
        Ok(Answer::Configured(ConfigVersion(2))),
        Ok(Answer::Refused(Refusal::Promised(at(6, 0)))),
        Ok(Answer::Refused(Refusal::Changed(standing))),
        Ok(Answer::Refused(Refusal::NotLeading)),
        Ok(Answer::Refused(Refusal::Retired)),
        Ok(Answer::Refused(Refusal::Halted(halt))),
        Err(runtime::Unanswered::NoShard(ShardId(8))),
        Err(runtime::Unanswered::NotAMember),
        Err(runtime::Unanswered::Ending),
        Ok(Answer::Refused(Refusal::Unvouched)),
        Ok(Answer::Refused(Refusal::Damaged)),
        Ok(Answer::Refused(Refusal::Halted(core::Halt::PutBack(Boot(3))))),
        Ok(Answer::Refused(Refusal::NoStep(ConfigVersion(2)))),
        Ok(Answer::Refused(Refusal::TooFar(at(6, 0)))),
    ];
    let outcomes = answers.into_iter().map(Outcome::from).chain([Outcome::late()]);
    let answered = |(shard, outcome)| Answered { shard: ShardId(shard), outcome };
    let answers = Answers { answers: (0..).zip(outcomes).map(answered).collect() };
    is_written(&answers, include_str!("../golden/answers.json"));
}

#[test]
fn words_that_make_no_sense_are_refused_with_the_reason() {
    let refusal = |text: &str| serde_json::from_str::<VoterSets>(text).unwrap_err().to_string();
    assert!(refusal("[]").contains("one set of voters at least"));
    assert!(refusal(r#"[{"version":1,"voters":[]}]"#).contains("1 to 8 voters, each once"));
    assert!(refusal(r#"[{"version":1,"voters":[1,1]}]"#).contains("each once"));
    assert!(refusal(r#"[{"version":2,"voters":[1]},{"version":2,"voters":[2]}]"#).contains("versions grow"));
    assert!(refusal(r#"[{"version":1,"voters":[1],"more":0}]"#).contains("unknown field `more`"));
    let history = |text: &str| serde_json::from_str::<History>(text).unwrap_err().to_string();
    assert!(history(r#"{"starts":[],"end":3,"chain":0}"#).contains("do not grow"));
    let member = r#"{"id":1,"node":"n","incarnation":null,"peer":"p:1","client":"c:1"}"#;
    let twice = serde_json::from_str::<MemberList>(&format!("[{member},{member}]")).unwrap_err();
    assert!(twice.to_string().contains("replica 1 is there twice"), "{twice}");
}
