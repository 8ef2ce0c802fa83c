//! What one shard knows of subscriptions: those that it is the home of, its shares of all, the keys of the cluster, and
//! those links that are not in the tables yet or were asked for lately.
//!
//! Invariant: it follows the ops of the log, so it is equal wherever the same log was read. Links that the tables hold as
//! they are may be forgotten at any time.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::codec::subscription::{
    get_link, get_link_key, get_share, get_subscription, link_bytes, link_key, share_bytes,
    subscription_bytes,
};
use crate::types::{
    Link, LogIndex, Op, Share, Space, StreamId, StreamMeta, StreamName, Subscription, SubscriptionId,
};

/// Links that are kept although the tables hold them: the next acknowledgement needs no look-up.
const LINKS_KEPT_MAX: usize = 1024;

/// What one shard knows of subscriptions.
#[derive(Debug, Default)]
pub(in crate::core) struct Facts {
    homes: BTreeMap<SubscriptionId, Subscription>,
    shares: BTreeMap<SubscriptionId, Share>,
    secrets: BTreeMap<Bytes, Bytes>,
    links: BTreeMap<(SubscriptionId, StreamId), Known>,
    /// The last record that changed any of it.
    changed: LogIndex,
}

/// A link as far as it is known, and the record that changed it last.
#[derive(Debug)]
struct Known {
    link: Option<Link>,
    changed: LogIndex,
}

impl Facts {
    /// The last record that changed any of it.
    pub(in crate::core) fn changed(&self) -> LogIndex {
        self.changed
    }

    pub(super) fn home(&self, id: &SubscriptionId) -> Option<&Subscription> {
        self.homes.get(id)
    }

    pub(super) fn homes(&self) -> usize {
        self.homes.len()
    }

    pub(super) fn share(&self, id: &SubscriptionId) -> Option<&Share> {
        self.shares.get(id)
    }

    /// A key of the cluster.
    pub(in crate::core) fn secret(&self, key: &[u8]) -> Option<&Bytes> {
        self.secrets.get(key)
    }

    /// A link; `None` means that the tables must be asked.
    pub(in crate::core) fn link(&self, id: &SubscriptionId, stream: StreamId) -> Option<Option<&Link>> {
        self.links.get(&(id.clone(), stream)).map(|known| known.link.as_ref())
    }

    /// What the tables say of a link, unless something newer is known.
    pub(in crate::core) fn install_link(&mut self, id: SubscriptionId, stream: StreamId, raw: Option<&[u8]>) {
        let link = raw.and_then(|raw| get_link(raw).ok());
        self.links.entry((id, stream)).or_insert(Known { link, changed: LogIndex(0) });
    }

    /// What the tables say of a fact, at start.
    pub(in crate::core) fn install(&mut self, space: Space, key: &Bytes, value: &Bytes) {
        if space != Space::Link {
            self.put(space, key, value, LogIndex(0));
        }
    }

    /// Follows one op of the log.
    pub(in crate::core) fn apply(&mut self, op: &Op, index: LogIndex) {
        match op {
            Op::Put { space, key, value } => self.put(*space, key, value, index),
            Op::Erase { space, key } => self.erase(*space, key, index),
            _ => return,
        }
        self.changed = self.changed.max(index);
    }

    /// What cannot be read was written by nobody who knew the layout; the tables verify their checksums.
    fn put(&mut self, space: Space, key: &Bytes, value: &Bytes, index: LogIndex) {
        match space {
            Space::Subscription => {
                if let Ok(subscription) = get_subscription(value) {
                    self.homes.insert(subscription.id.clone(), subscription);
                }
            }
            Space::Pattern => {
                if let (Some(id), Ok(share)) = (id_of(key), get_share(value)) {
                    self.shares.insert(id, share);
                }
            }
            Space::Link => {
                if let (Ok(at), Ok(link)) = (get_link_key(key), get_link(value)) {
                    self.links.insert(at, Known { link: Some(link), changed: index });
                }
            }
            Space::Secret => drop(self.secrets.insert(key.clone(), value.clone())),
            Space::Voters => {}
        }
    }

    fn erase(&mut self, space: Space, key: &Bytes, index: LogIndex) {
        match space {
            Space::Subscription => drop(id_of(key).and_then(|id| self.homes.remove(&id))),
            Space::Pattern => drop(id_of(key).and_then(|id| self.shares.remove(&id))),
            Space::Link => {
                if let Ok(at) = get_link_key(key) {
                    self.links.insert(at, Known { link: None, changed: index });
                }
            }
            Space::Secret => drop(self.secrets.remove(key)),
            Space::Voters => {}
        }
    }

    /// The tables hold every record up to `index`.
    pub(in crate::core) fn applied(&mut self, index: LogIndex) {
        if self.links.len() > LINKS_KEPT_MAX {
            self.links.retain(|_, known| known.changed > index);
        }
    }

    /// How many subscriptions may link a stream of this shard.
    pub(in crate::core) fn shares(&self) -> usize {
        self.shares.len()
    }

    /// Whether any stream of this shard can be linked.
    pub(in crate::core) fn links_streams(&self) -> bool {
        !self.shares.is_empty()
    }

    /// The links that a stream has from its first moment.
    pub(in crate::core) fn links_of_new<'a>(&'a self, meta: &'a StreamMeta) -> impl Iterator<Item = Op> + 'a {
        self.covering(&meta.name).map(|(id, share)| {
            let link = Link { uid: share.uid, name: meta.name.clone(), acked: None };
            put_link(id, meta.id, &link)
        })
    }

    /// The links that end with a stream.
    pub(in crate::core) fn links_of_gone<'a>(
        &'a self,
        name: &'a StreamName,
        stream: StreamId,
    ) -> impl Iterator<Item = Op> + 'a {
        self.covering(name).map(move |(id, _)| Op::Erase { space: Space::Link, key: link_key(id, stream) })
    }

    /// Whether any subscription means a stream of this name.
    pub(in crate::core) fn covers(&self, name: &StreamName) -> bool {
        self.covering(name).next().is_some()
    }

    fn covering<'a>(
        &'a self,
        name: &'a StreamName,
    ) -> impl Iterator<Item = (&'a SubscriptionId, &'a Share)> + 'a {
        self.shares.iter().filter(|(_, share)| share.covers(name))
    }
}

fn id_of(key: &Bytes) -> Option<SubscriptionId> {
    std::str::from_utf8(key).ok().and_then(|text| SubscriptionId::parse(text).ok())
}

pub(super) fn put_link(id: &SubscriptionId, stream: StreamId, link: &Link) -> Op {
    Op::Put { space: Space::Link, key: link_key(id, stream), value: link_bytes(link) }
}

pub(super) fn put_share(id: &SubscriptionId, share: &Share) -> Op {
    Op::Put { space: Space::Pattern, key: key_of(id), value: share_bytes(share) }
}

pub(super) fn put_home(subscription: &Subscription) -> Op {
    let (key, value) = (key_of(&subscription.id), subscription_bytes(subscription));
    Op::Put { space: Space::Subscription, key, value }
}

pub(super) fn key_of(id: &SubscriptionId) -> Bytes {
    Bytes::copy_from_slice(id.as_str().as_bytes())
}
