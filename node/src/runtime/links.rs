//! This node among others: who it is, whom it knows, the way of what arrives on links to the lanes, and what is asked of leaders
//! elsewhere: proofs for reads, errands, touches. Invariant: what waits for a lane or for another node is bounded, and whoever
//! sends more than the lane takes is held back.

mod errands;
mod founding;
mod read_index;
mod touches;
mod vouching;

pub use errands::said_again;
pub(super) use errands::{UNHEARD, answer_bytes};
pub(super) use read_index::Visible;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};

use bytes::Bytes;
use tokio::sync::Notify;

pub(crate) use self::founding::Founding;
use self::vouching::Standing;
use super::control::JoinError;
use super::mailbox::{Asker, Gate, Job, Mailbox};
use super::seeding::Seeding;
use super::vault::Vault;
use super::whereabouts::Whereabouts;
use crate::codec::roster::encode_roster;
use crate::core::replication::Message;
use crate::types::{Acks, Epoch, LogIndex, Party, ReplicaId, Roster, ShardId, Start, Trail};
use crate::wire::{Door, Host, Identity, KnownStart, Links, Peer, Piece, Port, Stranger};
use errands::{Errands, read_errand};
use read_index::ReadIndex;
use touches::Touches;

/// What a message takes besides its payloads, about.
const MESSAGE_BYTES: u64 = 256;

/// A node in a cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    identity: Identity,
    vault: Arc<Vault>,
    known: RwLock<Known>,
    /// Held by whoever changes what is known: two changes at once would lose one.
    changing: Mutex<()>,
    /// Whether others know this start.
    standing: Mutex<Standing>,
    /// A volume that was put back becomes another one at its next start.
    begins_anew: bool,
    /// The volume says that it was put back, and that next start is wanted.
    anew_wanted: Notify,
    /// Shards that begin once all members were reached.
    founding: Mutex<Founding>,
    lanes: Vec<(Arc<Mailbox>, Arc<Gate>)>,
    /// The ways to those who lead.
    doors: Mutex<BTreeMap<ReplicaId, Door>>,
    pub(super) reads: ReadIndex,
    /// What this node asks of leaders elsewhere, and tells them.
    pub(super) errands: Errands,
    touches: Touches,
    /// How others acknowledge what they lead, as they said last.
    acks: Mutex<BTreeMap<ReplicaId, Acks>>,
    /// What this node fetches from leaders.
    pub(super) seeding: Arc<Seeding>,
    /// Set once they run.
    pub(super) links: OnceLock<Weak<Links>>,
}

#[derive(Debug)]
struct Known {
    me: Option<ReplicaId>,
    roster: Arc<Roster>,
}

impl Cluster {
    /// `me` as an earlier start was told it, or as a file says.
    pub(crate) fn new(
        vault: Arc<Vault>,
        roster: Roster,
        me: Option<ReplicaId>,
        mailboxes: &[Arc<Mailbox>],
        begins_anew: bool,
        (plan, acks): (u32, Acks),
    ) -> Self {
        let identity = vault.look(|superblock| Identity {
            cluster: superblock.cluster,
            me,
            incarnation: superblock.incarnation,
            trail: superblock.trail(),
            plan,
            acks,
        });
        let alone = is_alone(&roster, me);
        let standing = vault.look(|superblock| Standing::found(superblock, alone, begins_anew));
        let boot = identity.trail.newest();
        Self {
            identity,
            vault,
            known: RwLock::new(Known { me, roster: Arc::new(roster) }),
            changing: Mutex::default(),
            standing: Mutex::new(standing),
            begins_anew,
            anew_wanted: Notify::new(),
            founding: Mutex::default(),
            lanes: mailboxes.iter().map(|mailbox| (Arc::clone(mailbox), Arc::default())).collect(),
            doors: Mutex::default(),
            reads: ReadIndex::new(boot),
            errands: Errands::new(boot),
            touches: Touches::default(),
            acks: Mutex::default(),
            seeding: Arc::default(),
            links: OnceLock::new(),
        }
    }

    /// With shards that begin once all members were reached.
    #[must_use]
    pub(crate) fn founding(self, founding: Founding) -> Self {
        Self { founding: Mutex::new(founding), ..self }
    }

    fn lane(&self, shard: ShardId) -> Option<&(Arc<Mailbox>, Arc<Gate>)> {
        self.lanes.get(usize::from(shard.0) % self.lanes.len().max(1))
    }

    fn read_known<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The links, while they run.
    pub(super) fn running_links(&self) -> Option<Arc<Links>> {
        self.links.get().and_then(Weak::upgrade)
    }

    pub(crate) fn me(&self) -> Option<ReplicaId> {
        self.read_known(|known| known.me)
    }

    /// Where clients reach a member.
    pub(crate) fn client_address(&self, member: ReplicaId) -> Whereabouts {
        let cluster = self.identity.cluster;
        let found = self.read_known(|known| {
            let found = known.roster.members.get(&member)?;
            let party = Party { cluster, member: Some(member), volume: found.incarnation };
            Some(Whereabouts::There(found.client.as_str().into(), party))
        });
        found.unwrap_or(Whereabouts::Nobody)
    }

    /// The way to a member that leads.
    pub(super) fn door(&self, member: ReplicaId) -> Option<Door> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner).get(&member).cloned()
    }

    /// Told who is in the cluster; remembered before this returns. An id is kept for good.
    pub(crate) fn join(&self, mut roster: Roster) -> Result<(), JoinError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // A volume that was seen stays the one of its id.
        let seen = self.read_known(|known| Arc::clone(&known.roster));
        for (id, member) in &mut roster.members {
            let known = seen.members.get(id).and_then(|known| known.incarnation);
            match (known, member.incarnation) {
                (Some(known), Some(told)) if known != told => return Err(JoinError::OtherVolume(*id)),
                (Some(known), None) => member.incarnation = Some(known),
                _ => {}
            }
        }
        let incarnation = self.identity.incarnation;
        let told = roster.find(incarnation).ok_or(JoinError::NotMe(incarnation))?;
        if let Some(known) = self.me().filter(|known| *known != told) {
            return Err(JoinError::OtherId { known, told });
        }
        if self.read_known(|known| *known.roster == roster && known.me == Some(told)) {
            return Ok(());
        }
        let alone = is_alone(&roster, Some(told));
        self.remember(roster, Some(told)).map_err(JoinError::Disk)?;
        if alone {
            self.vouched_by(None);
        }
        for (mailbox, _) in &self.lanes {
            let _ended = mailbox.send(Job::Join(told));
        }
        if let Some(links) = self.links.get().and_then(Weak::upgrade) {
            links.look();
        }
        Ok(())
    }

    fn remember(&self, roster: Roster, me: Option<ReplicaId>) -> Result<(), String> {
        let mut bytes = Vec::new();
        encode_roster(&roster, &mut bytes);
        self.vault.update(|superblock| superblock.roster = bytes).map_err(|error| error.to_string())?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known { me, roster: Arc::new(roster) };
        Ok(())
    }

    /// Links end; nobody waits for a lane any more.
    pub(crate) fn end(&self) {
        for (_, gate) in &self.lanes {
            gate.end();
        }
        self.errands.end();
        self.seeding.end();
    }

    /// Whether this is another member, as far as its volume is known.
    fn is_member(&self, peer: Peer) -> bool {
        self.read_known(|known| {
            let member = known.roster.members.get(&peer.id).filter(|_| known.me != Some(peer.id));
            member.is_some_and(|member| member.incarnation.is_none_or(|seen| seen == peer.incarnation))
        })
    }

    /// A member whose volume nobody had seen is the one that came first.
    fn learn(&self, peer: Peer) -> Result<(), Stranger> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut roster, me) = self.read_known(|known| (Roster::clone(&known.roster), known.me));
        let Some(member) = roster.members.get_mut(&peer.id) else { return Err(Stranger::Unknown(peer.id)) };
        match member.incarnation {
            Some(incarnation) if incarnation == peer.incarnation => Ok(()),
            Some(_) => Err(Stranger::Unknown(peer.id)),
            None => {
                member.incarnation = Some(peer.incarnation);
                self.remember(roster, me).map_err(|_| Stranger::Unremembered)
            }
        }
    }
}

/// What is said of a peer that acknowledges otherwise. It is no stranger: what is committed does not depend on it, and members that are
/// started again with the other one, one after the other, must find each other meanwhile.
fn differing(ours: Acks, theirs: Acks) -> Option<String> {
    (ours != theirs).then(|| {
        format!(
            "a peer has acks = {theirs} and this node acks = {ours}: whether an acknowledged write survives the loss of its leader \
             depends on who leads; give all members the same"
        )
    })
}

/// Whether nobody else is there to vouch for a start.
fn is_alone(roster: &Roster, me: Option<ReplicaId>) -> bool {
    me.is_some_and(|me| roster.members.keys().all(|id| *id == me))
}

impl Host for Cluster {
    fn identity(&self) -> Identity {
        Identity { me: self.me(), ..self.identity }
    }

    fn roster(&self) -> Arc<Roster> {
        self.read_known(|known| Arc::clone(&known.roster))
    }

    fn greeted(&self, peer: Peer, trail: &Trail) -> Result<(), Stranger> {
        self.learn(peer)?;
        self.check_start(peer, trail)
    }

    fn acknowledges(&self, peer: Peer, acks: Acks) {
        let mut said = self.acks.lock().unwrap_or_else(PoisonError::into_inner);
        if said.insert(peer.id, acks) != Some(acks)
            && let Some(what) = differing(self.identity.acks, acks)
        {
            tracing::warn!(peer = peer.id.0, "{what}");
        }
    }

    fn put_back(&self, by: Peer, met: Start) {
        if self.is_member(by) {
            self.learn_put_back(by.id, met);
        } else {
            tracing::warn!(peer = by.id.0, "somebody who is no member says that this volume was put back");
        }
    }

    fn is_current(&self, peer: Peer) -> bool {
        let known = self.vault.look(|superblock| superblock.peers.get(&peer.incarnation).copied());
        known.is_none_or(|known| known.boot <= peer.boot)
    }

    fn starts_told(&self, from: ReplicaId, starts: &[KnownStart]) {
        self.hear_of_starts(from, starts);
    }

    fn dialled(&self, peer: Peer, ports: Vec<Port>) {
        self.vouched_by(Some(peer.id));
        self.has_reached(peer.id);
        for ((mailbox, _), port) in self.lanes.iter().zip(ports) {
            let _ended = mailbox.send(Job::Dialled { peer: peer.id, port: Box::new(port) });
        }
    }

    fn accepted(&self, peer: Peer, door: Door) {
        self.vouched_by(Some(peer.id));
        self.doors.lock().unwrap_or_else(PoisonError::into_inner).insert(peer.id, door.clone());
        // What is learnt from now on goes through this door by itself.
        door.tell_starts(self.known_starts());
        for (mailbox, _) in &self.lanes {
            let _ended = mailbox.send(Job::Accepted { peer: peer.id, door: door.clone() });
        }
        self.reads.ask_again();
        self.errands.lost(peer.id);
    }

    fn heard(&self, from: ReplicaId, shard: ShardId, message: Message) {
        let Some((mailbox, gate)) = self.lane(shard) else { return };
        let payloads = match &message {
            Message::Records(records) => records.entries.iter().map(|entry| entry.payload.len() as u64).sum(),
            _ => 0,
        };
        let hold = gate.enter(MESSAGE_BYTES + payloads, mailbox);
        let _ended = mailbox.post(Job::Heard { from, shard, message: Box::new(message), hold });
    }

    fn rest(&self) {
        self.lanes.iter().for_each(|(mailbox, _)| mailbox.wake());
    }

    fn read_asked(&self, from: ReplicaId, shard: ShardId, number: u64) {
        if let Some((mailbox, _)) = self.lane(shard) {
            let _ended = mailbox.send(Job::Read { shard, asker: Asker::Peer { from, number } });
        }
    }

    fn read_answered(&self, _from: ReplicaId, shard: ShardId, number: u64, upto: Option<LogIndex>) {
        self.reads.answered(shard, number, upto);
    }

    fn errand_asked(&self, from: ReplicaId, shard: ShardId, number: u64, bytes: &Bytes) {
        let Some((mailbox, gate)) = self.lane(shard) else { return };
        match read_errand(bytes) {
            Ok(asked) => {
                let hold = gate.enter(MESSAGE_BYTES + bytes.len() as u64, mailbox);
                let asked = Box::new(asked);
                let _ended = mailbox.send(Job::Errand { from, shard, number, asked, hold });
            }
            // Whoever asked hears nothing, and says that the outcome is unknown.
            Err(error) => tracing::error!(%error, peer = from.0, "an errand cannot be read"),
        }
    }

    fn errand_answered(&self, from: ReplicaId, _shard: ShardId, number: u64, bytes: &Bytes) {
        self.errands.answered(from, number, bytes);
    }

    fn lacks(&self, peer: ReplicaId, shard: ShardId, epoch: Epoch) {
        if let Some((mailbox, _)) = self.lane(shard) {
            let _ended = mailbox.send(Job::Lacks { peer, shard, epoch });
        }
    }

    fn piece(&self, from: ReplicaId, shard: ShardId, piece: Piece) {
        self.seeding.arrived(from, shard, piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_acknowledges_otherwise_is_spoken_of_with_both_values() {
        for (ours, theirs) in [(Acks::Majority, Acks::Leader), (Acks::Leader, Acks::Majority)] {
            let said = differing(ours, theirs).unwrap();
            assert!(
                said.starts_with(&format!("a peer has acks = {theirs} and this node acks = {ours}: ")),
                "{said}"
            );
            assert_eq!(differing(ours, ours), None);
        }
    }
}
