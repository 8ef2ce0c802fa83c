//! How much the suites do: the tiers of the scorecard set it. With the same numbers the same images are made again.

/// A number from the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Images of a crashed disk that are looked at.
pub(crate) fn crash_images() -> usize {
    usize::try_from(number("TEST_CRASH_IMAGES", 2000)).unwrap()
}

/// Bits that are flipped.
pub(crate) fn bit_flips() -> u64 {
    number("TEST_BIT_FLIPS", 1000)
}

/// The seed behind which the suites begin: another one gives other histories.
pub(crate) fn seed() -> u64 {
    number("TEST_SEED", 0)
}
