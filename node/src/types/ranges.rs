//! Many numbers in few words, for people.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::ShardId;

/// Shards in order, neighbours together: `0-3, 7`.
#[must_use]
pub fn in_ranges(shards: impl IntoIterator<Item = ShardId>) -> String {
    let shards: BTreeSet<ShardId> = shards.into_iter().collect();
    let is_there = |number: Option<u16>| number.is_some_and(|number| shards.contains(&ShardId(number)));
    let mut text = String::new();
    for shard in &shards {
        let (before, after) = (is_there(shard.0.checked_sub(1)), is_there(shard.0.checked_add(1)));
        // Writing to a string cannot fail.
        let _ = match (before, after) {
            (true, true) => Ok(()),
            (true, false) => write!(text, "-{}", shard.0),
            (false, _) if text.is_empty() => write!(text, "{}", shard.0),
            (false, _) => write!(text, ", {}", shard.0),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_stand_together_and_each_shard_once() {
        let told = |shards: &[u16]| in_ranges(shards.iter().copied().map(ShardId));
        assert_eq!(told(&[]), "");
        assert_eq!(told(&[5]), "5");
        assert_eq!(told(&[7, 3, 2, 1, 0, 3, 9, 10]), "0-3, 7, 9-10");
        assert_eq!(told(&[u16::MAX, 0, u16::MAX - 1]), "0, 65534-65535");
    }
}
