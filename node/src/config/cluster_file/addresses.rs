//! Whether a member listens where its own line of the file says that it is reached.

use std::net::{IpAddr, SocketAddr};

use super::ClusterFile;
use crate::types::ReplicaId;

impl ClusterFile {
    /// Where a member listens elsewhere than the file says, in words. It is no error: something that maps ports may lie
    /// between.
    #[must_use]
    pub fn elsewhere(&self, me: ReplicaId, listen: SocketAddr, peer_listen: SocketAddr) -> Vec<String> {
        let Some(mine) = self.roster.members.get(&me) else { return Vec::new() };
        let pairs = [
            ("--listen", listen, "client", &mine.client),
            ("--peer-listen", peer_listen, "peer", &mine.peer),
        ];
        let differing = pairs.into_iter().filter(|(_, ours, _, told)| !may_lead_to(told, *ours));
        let words = differing.map(|(option, ours, key, told)| {
            format!(
                "{option} is {ours}, but in the cluster file {key} of {} is {told}, and there it is looked for; make them the \
                 same, unless something between them maps one to the other",
                mine.node
            )
        });
        words.collect()
    }
}

/// Whether whoever dials `told` may arrive at `ours`. A name may be anybody's.
fn may_lead_to(told: &str, ours: SocketAddr) -> bool {
    let Some((host, port)) = told.rsplit_once(':') else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    port.parse() == Ok(ours.port()) && host.is_none_or(|host| ours.ip().is_unspecified() || host == ours.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_listens_elsewhere_than_its_line_says_is_told_both_addresses() {
        let file = ClusterFile::parse(include_str!("../../../../docs/cluster.example.yaml")).unwrap();
        let told = |client: &str, peer: &str| {
            file.elsewhere(ReplicaId(1), client.parse().unwrap(), peer.parse().unwrap())
        };
        assert_eq!(told("127.0.0.1:4438", "127.0.0.1:4538"), [] as [String; 0]);
        assert_eq!(told("0.0.0.0:4438", "[::]:4538"), [] as [String; 0], "on every address");
        let words = told("127.0.0.1:4437", "127.0.0.2:4538");
        assert_eq!(words.len(), 2, "{words:?}");
        assert!(words[0].contains("--listen is 127.0.0.1:4437"), "{words:?}");
        assert!(words[0].contains("client of n1 is 127.0.0.1:4438"), "{words:?}");
        assert!(words[1].contains("--peer-listen is 127.0.0.2:4538"), "{words:?}");
        assert!(words[1].contains("peer of n1 is 127.0.0.1:4538"), "{words:?}");
        assert!(may_lead_to("n0.local:4537", "127.0.0.1:4537".parse().unwrap()), "a name may be anybody's");
        assert!(!may_lead_to("n0.local:4537", "127.0.0.1:4538".parse().unwrap()));
        assert!(may_lead_to("[::1]:4537", "[::1]:4537".parse().unwrap()));
    }
}
