//! What a person who just started a node wants to know.

use std::net::SocketAddr;

use crate::config::Config;
use crate::runtime::NodeReport;

/// The text, for a node that clients reach at `address`, and whoever elects at `admin`.
pub(super) fn greeting(
    config: &Config,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    node: &NodeReport,
) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (who, next) = match admin {
        // Nobody leads until somebody says so.
        Some(admin) if config.in_cluster() && config.cluster_file.is_none() => {
            (member(node), waiting(admin, node))
        }
        _ if config.in_cluster() => (member(node), first_steps(address)),
        _ => ("1 node".to_owned(), first_steps(address)),
    };
    format!(
        "thalweg {version} · {who} · {shards} shards · {durability} · data in {data}\n\
         listening on http://{address}\n\n{next}",
        shards = config.shards.get(),
        durability = config.durability(),
        data = config.data.display(),
    )
}

fn member(node: &NodeReport) -> String {
    match node.roster.members.len() {
        0 => format!("{}, a member that nobody has told of the others", node.node),
        1 => format!("{}, the only node of its cluster", node.node),
        members => format!("{}, one of {members} nodes", node.node),
    }
}

fn first_steps(address: SocketAddr) -> String {
    let base = format!("http://{address}/v1/stream/hello");
    format!(
        "Try, in another terminal:\n  \
         curl -X PUT  {base} -H 'content-type: text/plain'\n  \
         curl -X POST {base} -H 'content-type: text/plain' -d 'one '\n  \
         curl         '{base}?offset=-1'\n"
    )
}

fn waiting(admin: SocketAddr, node: &NodeReport) -> String {
    let cluster = node.cluster;
    format!(
        "It waits for whoever elects: until it is told on the admin port who the members are and who leads, requests are\n\
         answered 503 (docs/admin.md). How it stands:\n  \
         curl http://{admin}/admin/status\n\
         Where nobody elects, start the members with --cluster-file and --node-name in place of --cluster-id, with\n\
         `cluster: {cluster}` in the file.\n"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::types::{Boot, ClusterId, Member, ReplicaId, Roster, VolumeIncarnation};

    fn node(members: u32) -> NodeReport {
        let member = |id: u32| {
            let (node, peer, client) = (format!("n{id}"), format!("n{id}:1"), format!("n{id}:2"));
            (ReplicaId(id), Member { node, incarnation: None, peer, client })
        };
        NodeReport {
            cluster: ClusterId([1; 16]),
            node: "n0".to_owned(),
            incarnation: VolumeIncarnation([2; 16]),
            boot: Boot(1),
            replica: None,
            is_new: true,
            roster: Roster { members: (0..members).map(member).collect::<BTreeMap<_, _>>() },
        }
    }

    fn said(config: &Config, members: u32) -> String {
        let [address, admin] = ["127.0.0.1:4437", "127.0.0.1:4637"].map(|text| text.parse().unwrap());
        greeting(config, address, config.in_cluster().then_some(admin), &node(members))
    }

    #[test]
    fn a_node_on_its_own_is_greeted_with_what_to_try() {
        let text = said(&Config::default(), 0);
        assert!(
            text.contains("· 1 node ·") && text.contains("listening on http://127.0.0.1:4437\n"),
            "{text}"
        );
        assert!(text.contains("curl -X PUT  http://127.0.0.1:4437/v1/stream/hello"), "{text}");
    }

    #[test]
    fn a_member_of_a_cluster_file_says_of_how_many_it_is_one() {
        let config = Config { cluster_file: Some("c.yaml".into()), ..Config::default() };
        let text = said(&config, 3);
        assert!(
            text.contains("· n0, one of 3 nodes ·") && text.contains("Try, in another terminal"),
            "{text}"
        );
        assert!(!text.contains("1 node"), "{text}");
        assert!(said(&config, 1).contains("· n0, the only node of its cluster ·"));
    }

    #[test]
    fn a_member_that_waits_for_whoever_elects_says_so_and_offers_nothing_that_would_be_refused() {
        let config = Config { cluster_id: Some(ClusterId([1; 16])), ..Config::default() };
        let text = said(&config, 0);
        assert!(!text.contains("1 node") && !text.contains("Try"), "{text}");
        for part in [
            "nobody has told of the others",
            "docs/admin.md",
            "http://127.0.0.1:4637/admin/status",
            "--cluster-file",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("listening on http://127.0.0.1:4437\n"), "{text}");
        assert!(said(&config, 3).contains("n0, one of 3 nodes"));
    }
}
