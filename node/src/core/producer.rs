//! The idempotent producer: what a (producer, epoch, sequence) may do, given what was last accepted from it.

use crate::types::ProducerState;

/// What the producer's state says about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The next one in order.
    Next,
    /// Accepted before; the state is the newest accepted one.
    Duplicate(ProducerState),
    /// A newer epoch has written.
    Fenced {
        /// The newest epoch.
        current: u64,
    },
    /// A new epoch that does not begin at zero.
    EpochStart,
    /// Numbers are missing.
    Gap {
        /// What would be accepted.
        expected: u64,
    },
}

/// Judges `received` against the last accepted state of its producer.
pub(super) fn standing(last: Option<ProducerState>, received: ProducerState) -> Standing {
    let Some(last) = last else {
        return if received.seq == 0 { Standing::Next } else { Standing::Gap { expected: 0 } };
    };
    if received.epoch < last.epoch {
        Standing::Fenced { current: last.epoch }
    } else if received.epoch > last.epoch {
        if received.seq == 0 { Standing::Next } else { Standing::EpochStart }
    } else if received.seq <= last.seq {
        Standing::Duplicate(last)
    } else if received.seq - last.seq == 1 {
        Standing::Next
    } else {
        Standing::Gap { expected: last.seq.saturating_add(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_machine_of_the_protocol_holds() {
        let state = |epoch, seq| ProducerState { epoch, seq };
        let duplicate = |epoch, seq| Standing::Duplicate(state(epoch, seq));
        for (last, received, expected) in [
            (None, (0, 0), Standing::Next),
            (None, (7, 0), Standing::Next),
            (None, (0, 1), Standing::Gap { expected: 0 }),
            (Some((3, 5)), (2, 6), Standing::Fenced { current: 3 }),
            (Some((3, 5)), (2, 0), Standing::Fenced { current: 3 }),
            (Some((3, 5)), (4, 0), Standing::Next),
            (Some((3, 5)), (4, 1), Standing::EpochStart),
            (Some((3, 5)), (9, 0), Standing::Next),
            (Some((3, 5)), (3, 0), duplicate(3, 5)),
            (Some((3, 5)), (3, 5), duplicate(3, 5)),
            (Some((3, 5)), (3, 6), Standing::Next),
            (Some((3, 5)), (3, 7), Standing::Gap { expected: 6 }),
            (Some((3, u64::MAX)), (3, u64::MAX), duplicate(3, u64::MAX)),
        ] {
            let last = last.map(|(epoch, seq)| state(epoch, seq));
            assert_eq!(standing(last, state(received.0, received.1)), expected, "{last:?} {received:?}");
        }
    }
}
