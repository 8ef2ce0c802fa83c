//! Which texts name a cluster, and how each wrong one is refused.

use proptest::prelude::*;

use super::*;

const EXAMPLE: &str = include_str!("../../../../docs/cluster.example.yaml");

fn refusal(from: &str, to: &str) -> String {
    assert!(EXAMPLE.contains(from), "{from}");
    ClusterFile::parse(&EXAMPLE.replace(from, to)).unwrap_err()
}

#[test]
fn files_that_plan_the_same_are_told_from_those_that_do_not_whatever_their_addresses_are() {
    let plan = |from: &str, to: &str| {
        assert!(EXAMPLE.contains(from), "{from}");
        ClusterFile::parse(&EXAMPLE.replace(from, to)).unwrap().plan()
    };
    let own = ClusterFile::parse(EXAMPLE).unwrap().plan();
    assert_eq!(plan("127.0.0.1:4538", "127.0.0.1:9999"), own);
    assert_eq!(plan("node: n1", "node: other"), own);
    assert_ne!(plan("leaders: [0, 1, 2]", "leaders: [1]"), own);
    assert_ne!(plan("leaders: [0, 1, 2]", "leaders: [0, 2, 1]"), own);
    assert_ne!(own, 0);
}

#[test]
fn the_example_of_a_cluster_file_is_one() {
    let file = ClusterFile::parse(EXAMPLE).unwrap();
    assert_eq!(file.cluster.to_string(), "0123456789abcdef0123456789abcdef");
    assert_eq!(file.leaders, [0, 1, 2].map(ReplicaId));
    assert_eq!((0..4).map(|shard| file.first_leader(ShardId(shard)).0).collect::<Vec<_>>(), [0, 1, 2, 0]);
    let n1 = NodeName::parse("n1").unwrap();
    let me = file.me(Path::new("c.yaml"), &n1).unwrap();
    assert_eq!((me, file.roster.members[&me].peer.as_str()), (ReplicaId(1), "127.0.0.1:4538"));
    let roster = file.roster_of(me, VolumeIncarnation([7; 16]));
    assert_eq!(roster.find(VolumeIncarnation([7; 16])), Some(me));
    assert_eq!(roster.members.values().filter(|member| member.incarnation.is_none()).count(), 2);
    let stranger = file.me(Path::new("c.yaml"), &NodeName::standalone()).unwrap_err().to_string();
    assert_eq!(stranger, "c.yaml: no member has node: node-0; name one of its members with --node-name");
}

#[test]
fn without_a_list_of_leaders_the_members_lead_in_their_order() {
    let reordered = EXAMPLE.replace("leaders: [0, 1, 2]", "").replace("{id: 0", "{id: 9");
    assert_eq!(ClusterFile::parse(&reordered).unwrap().leaders, [9, 1, 2].map(ReplicaId));
}

#[test]
fn what_is_wrong_in_a_cluster_file_is_named_with_its_place() {
    for (from, to, says) in [
        ("{id: 1", "{id: 0", "members[1].id: 0 is there twice"),
        ("node: n1", "node: n0", "members[1].node: n0 is there twice"),
        ("node: n1", "node: N1", "members[1].node: must be 1 to 63 of a-z"),
        ("127.0.0.1:4538", "127.0.0.1:4537", "members[1].peer: 127.0.0.1:4537 is there twice"),
        ("127.0.0.1:4438", "127.0.0.1", "members[1].client: must be a host and a port"),
        ("127.0.0.1:4438", "127.0.0.1:0", "members[1].client: must be a host and a port"),
        ("leaders: [0, 1, 2]", "leaders: [0, 3]", "leaders: replica 3 is no member"),
        ("leaders: [0, 1, 2]", "leaders: []", "leaders: name one at least"),
        ("leaders: [0, 1, 2]", "leader: [0]", "leader"),
        ("node: n1", "name: n1", "name"),
        ("{id: 1", "{id: -1", "line 13"),
        (
            "cluster: 0123456789abcdef0123456789abcdef",
            "cluster: 0123",
            "cluster: 0123 is not 32 hexadecimal digits (draw them with `openssl rand -hex 16`)",
        ),
        ("cluster: 0123456789abcdef0123456789abcdef", "", "missing field `cluster`"),
        ("members:", "members: {", "line"),
    ] {
        let text = refusal(from, to);
        assert!(text.contains(says), "{from} -> {to}: {text}");
    }
    let members = |count: u32| -> String {
        let member = |id| format!("  - {{id: {id}, node: n{id}, peer: a{id}:1, client: b{id}:1}}\n");
        format!("cluster: {:032}\nmembers:\n{}", 1, (0..count).map(member).collect::<String>())
    };
    assert!(ClusterFile::parse(&members(8)).is_ok());
    assert_eq!(ClusterFile::parse(&members(9)).unwrap_err(), "members: there are 1 to 8, not 9");
    let long = format!("# {}\n{EXAMPLE}", "x".repeat(70_000));
    assert_eq!(ClusterFile::parse(&long).unwrap_err(), "is longer than 64 KiB");
    let missing = ClusterFile::read(Path::new("no/such.yaml")).unwrap_err().to_string();
    assert!(missing.starts_with("the cluster file no/such.yaml cannot be read: "), "{missing}");
}

#[test]
fn an_id_of_digits_alone_is_no_number() {
    let digits = EXAMPLE.replace("0123456789abcdef0123456789abcdef", "01234567890123456789012345678901");
    assert_eq!(ClusterFile::parse(&digits).unwrap().cluster.to_string(), "01234567890123456789012345678901");
}

proptest! {
    #[test]
    fn any_text_is_a_cluster_file_or_an_error(text in "\\PC{0,200}") {
        let _ = ClusterFile::parse(&text);
    }

    #[test]
    fn any_change_of_a_cluster_file_is_one_or_an_error(at in 0..EXAMPLE.len(), to in "[ -~\n]{0,4}") {
        let changed = format!("{}{to}{}", &EXAMPLE[..at], &EXAMPLE[at + 1..]);
        let _ = ClusterFile::parse(&changed);
    }
}
