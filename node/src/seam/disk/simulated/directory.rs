//! One directory of a simulated disk: the names that programs see, those that the device holds, and what lies between.

use std::collections::BTreeMap;

use super::InodeNumber;
use super::random::Random;

/// One change of a directory since its last sync.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Put { name: String, inode: InodeNumber },
    Gone { name: String },
    Renamed { from: String, to: String, inode: InodeNumber },
}

#[derive(Debug, Clone, Default)]
pub(super) struct Directory {
    pub(super) names: BTreeMap<String, InodeNumber>,
    pub(super) durable: BTreeMap<String, InodeNumber>,
    pub(super) changes: Vec<Change>,
    pub(super) subdirs: BTreeMap<String, usize>,
}

impl Directory {
    /// What the device holds: each unsynced change is there (with a chance of `odds` percent) or not.
    pub(super) fn after_power_cut(&self, random: &mut Random, odds: u64) -> Self {
        let mut names = self.durable.clone();
        for change in &self.changes {
            if random.below(100) >= odds {
                continue;
            }
            match change {
                Change::Put { name, inode } => {
                    names.insert(name.clone(), *inode);
                }
                Change::Gone { name } => {
                    names.remove(name);
                }
                Change::Renamed { from, to, inode } => {
                    if names.get(from) == Some(inode) {
                        names.remove(from);
                    }
                    names.insert(to.clone(), *inode);
                }
            }
        }
        Self { durable: names.clone(), names, changes: Vec::new(), subdirs: self.subdirs.clone() }
    }
}
