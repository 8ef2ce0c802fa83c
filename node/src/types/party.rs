//! Which node another one means. Invariant: a node that is none of this cluster, or another volume under the same id, answers to
//! no name that a member gives to another.

use std::fmt;

use super::{ClusterId, ReplicaId, VolumeIncarnation};

/// A node as the cluster knows it. As text: cluster, member and volume, with dots between them and `-` for what is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party {
    /// The cluster.
    pub cluster: ClusterId,
    /// The id; a node on its own has none.
    pub member: Option<ReplicaId>,
    /// The volume; `None` while nobody has seen it.
    pub volume: Option<VolumeIncarnation>,
}

impl Party {
    /// Whether this node is the one that is meant. Whoever means a member whose volume nobody has seen means the one that has its id.
    #[must_use]
    pub fn answers_to(&self, meant: &[u8]) -> bool {
        let is = |party: &Self| party.to_string().as_bytes() == meant;
        is(self) || (self.member.is_some() && is(&Self { volume: None, ..*self }))
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.cluster)?;
        match self.member {
            Some(ReplicaId(id)) => write!(f, "{id}.")?,
            None => f.write_str("-.")?,
        }
        match self.volume {
            Some(volume) => volume.fmt(f),
            None => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Party = Party {
        cluster: ClusterId([1; 16]),
        member: Some(ReplicaId(7)),
        volume: Some(VolumeIncarnation([0xab; 16])),
    };

    #[test]
    fn a_node_answers_to_its_own_name_and_to_no_other() {
        let (cluster, volume) = ("01".repeat(16), "ab".repeat(16));
        let (other, zero) = ("02".repeat(16), "00".repeat(16));
        for (meant, is_me) in [
            (format!("{cluster}.7.{volume}"), true),
            (format!("{cluster}.7.-"), true),
            (format!("{cluster}.8.{volume}"), false),
            (format!("{cluster}.8.-"), false),
            (format!("{cluster}.-.{volume}"), false),
            (format!("{cluster}.-.-"), false),
            (format!("{cluster}.7.{zero}"), false),
            (format!("{other}.7.{volume}"), false),
            (format!("{other}.7.-"), false),
            (format!("{cluster}.7.{volume} "), false),
            ("1".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(ME.answers_to(meant.as_bytes()), is_me, "{meant}");
        }
    }

    #[test]
    fn a_node_on_its_own_is_no_member() {
        let alone = Party { member: None, ..ME };
        assert!(!alone.answers_to(ME.to_string().as_bytes()));
        assert!(!alone.answers_to(Party { volume: None, ..ME }.to_string().as_bytes()));
        assert!(!alone.answers_to(Party { volume: None, ..alone }.to_string().as_bytes()));
        assert!(alone.answers_to(alone.to_string().as_bytes()));
    }
}
