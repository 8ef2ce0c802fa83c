//! Sets of voters in eight bytes: what a state of the walk keeps in place of the product's lists, which it gives back
//! whenever a rule is asked.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

use super::rules::{Config, ConfigVersion, Configs, ReplicaId, Voters};
use super::world::{Id, REPLICAS_MAX, replica};

/// Sets that count at a time.
const SETS_MAX: usize = 7;
const MASKS: u8 = 1 << REPLICAS_MAX;

/// A set of voters: one bit for each.
pub(super) type Mask = u8;

/// The sets that count at a time, oldest first; their versions follow one another. Empty where nobody leads.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sets {
    /// The version of the oldest.
    first: u8,
    /// None is zero but behind the last.
    masks: [Mask; SETS_MAX],
}

impl Sets {
    /// The same for the product.
    #[must_use]
    pub(super) fn configs(&self) -> Option<Configs> {
        Configs::new(self.iter().collect())
    }

    /// The sets, oldest first, as the product has them.
    pub(super) fn iter(&self) -> impl Iterator<Item = Config> + '_ {
        let masks = self.masks.iter().take_while(|mask| **mask != 0);
        masks.zip(u64::from(self.first)..).filter_map(|(mask, version)| {
            Some(Config { version: ConfigVersion(version), voters: voters(*mask)? })
        })
    }

    /// The sets as bits, oldest first.
    #[must_use]
    pub(super) fn masks(&self) -> [Mask; SETS_MAX] {
        self.masks
    }

    /// The version of the newest; 0 if there is none.
    #[must_use]
    pub(super) fn newest(&self) -> u8 {
        self.masks
            .iter()
            .take_while(|mask| **mask != 0)
            .zip(self.first..)
            .last()
            .map_or(0, |(_, version)| version)
    }

    /// Each set with other names for its members.
    #[must_use]
    pub(super) fn renamed(mut self, rename: impl Fn(Mask) -> Mask) -> Self {
        self.masks.iter_mut().for_each(|mask| *mask = rename(*mask));
        self
    }
}

impl From<&Configs> for Sets {
    /// More sets than fit are a scope too large, and end the walk.
    fn from(configs: &Configs) -> Self {
        let first = small(configs.oldest().version.0);
        let mut masks = [0; SETS_MAX];
        for (place, config) in configs.as_slice().iter().enumerate() {
            masks[place] = config.voters.iter().map(|id| 1 << id.0).sum();
        }
        Self { first, masks }
    }
}

impl Hash for Sets {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [one, two, three, four, five, six, seven] = self.masks;
        state.write_u64(u64::from_le_bytes([self.first, one, two, three, four, five, six, seven]));
    }
}

impl fmt::Debug for Sets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|config| (config.version.0, config.voters))).finish()
    }
}

/// The product's set of these bits; `None` if there are none.
#[must_use]
pub(super) fn voters(mask: Mask) -> Option<Voters> {
    static ALL: LazyLock<Vec<Option<Voters>>> = LazyLock::new(|| {
        let set = |mask: Mask| Voters::new((0..8).filter(|id| mask >> id & 1 == 1).map(replica));
        (0..MASKS).map(set).collect()
    });
    ALL.get(usize::from(mask)).copied().flatten()
}

/// A replica of the product in the model.
#[must_use]
pub(super) fn id(replica: ReplicaId) -> Id {
    small(u64::from(replica.0))
}

/// A number that is small here, whatever it may be in the product.
#[must_use]
pub(super) fn small(number: u64) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}
