//! What a client does next, drawn from a seed. The same generator feeds every world.

use crate::dice::Dice;

/// One thing to do with one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Append so many messages.
    Append(u32),
    /// Append as an idempotent producer, and again if the answer is lost.
    Produce,
    /// The same in a new epoch.
    ProduceInNewEpoch,
    /// Append with a producer number that leaves a gap; it must be refused.
    ProduceWithGap,
    /// Append with a rising `Stream-Seq`.
    Sequence,
    /// Append on the condition that the tail is the last one seen.
    Conditional,
    /// Read one answer from an offset that was seen before, or from the start.
    Read,
    /// Wait at the last tail that was seen.
    LongPoll,
    /// Follow by events for a while.
    Events,
    /// HEAD.
    Head,
    /// PUT of a stream that should be there.
    Confirm,
    /// Close, with or without last words.
    Close {
        /// Whether a message goes with it.
        with_message: bool,
    },
    /// Delete, judge, create again.
    Renew,
    /// Streams of the client's own: forks, and forks of forks, that end in any order.
    Family,
    /// A stream of the client's own that ends by itself.
    Brief,
}

/// How often each is drawn, in parts of their sum.
const WEIGHTS: &[(u64, Choice)] = &[
    (260, Choice::Append(1)),
    (40, Choice::Append(3)),
    (160, Choice::Produce),
    (6, Choice::ProduceInNewEpoch),
    (6, Choice::ProduceWithGap),
    (60, Choice::Sequence),
    (40, Choice::Conditional),
    (200, Choice::Read),
    (40, Choice::LongPoll),
    (20, Choice::Events),
    (60, Choice::Head),
    (10, Choice::Confirm),
    (1, Choice::Close { with_message: false }),
    (1, Choice::Close { with_message: true }),
    (1, Choice::Renew),
    (3, Choice::Family),
    (1, Choice::Brief),
];

/// Draws choices.
#[derive(Debug, Clone)]
pub struct Generator {
    dice: Dice,
    streams: u64,
}

impl Generator {
    /// For so many streams.
    #[must_use]
    pub const fn new(seed: u64, streams: u64) -> Self {
        Self { dice: Dice::new(seed), streams }
    }

    /// The number of a stream and what to do with it.
    pub fn draw(&mut self) -> (usize, Choice) {
        let stream = usize::try_from(self.dice.below(self.streams)).unwrap_or(0);
        let mut at = self.dice.below(WEIGHTS.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in WEIGHTS {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return (stream, *choice),
            }
        }
        (stream, Choice::Head)
    }

    /// More randomness of the same seed.
    pub fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }
}
