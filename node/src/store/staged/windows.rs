//! Pieces of a file on their way to it, put together in memory: each window is a stretch of the file of [`WINDOW_BYTES`], and
//! knows which of its bytes were written. Owns no file. Invariant: a byte is in one open window at most, the last time as it
//! was written; no more than the given number of windows are open.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::seam::disk::Aligned;

/// Bytes of one write to the device: at this size the way to it no longer counts.
pub(super) const WINDOW_BYTES: usize = 1 << 20;

/// A stretch of the file.
#[derive(Debug)]
pub(super) struct Window {
    /// Where it begins in the file.
    begin: u64,
    memory: Aligned,
    /// What was written, in order and never touching.
    filled: Vec<Range<usize>>,
    touched: u64,
}

impl Window {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if let Some(target) = self.memory.bytes_mut().get_mut(at..end) {
            target.copy_from_slice(bytes);
        }
        let first = self.filled.partition_point(|part| part.end < at);
        let behind = self.filled.partition_point(|part| part.start <= end);
        let met = self.filled.get(first..behind).unwrap_or_default();
        let whole = met.first().map_or(at, |part| part.start.min(at))
            ..met.last().map_or(end, |part| part.end.max(end));
        self.filled.splice(first..behind, [whole]);
    }

    fn is_full(&self) -> bool {
        self.filled.first() == Some(&(0..WINDOW_BYTES))
    }

    /// What it covers of the file.
    pub(super) fn covers(&self) -> Range<u64> {
        self.begin..self.begin + WINDOW_BYTES as u64
    }

    /// What was written, each stretch with its place in the file.
    pub(super) fn parts(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let bytes = self.memory.bytes();
        self.filled
            .iter()
            .map(|part| (self.begin + part.start as u64, bytes.get(part.clone()).unwrap_or_default()))
    }

    /// Its memory, for another one.
    pub(super) fn into_memory(self) -> Aligned {
        self.memory
    }
}

/// The open ones.
#[derive(Debug)]
pub(super) struct Windows {
    open: BTreeMap<u64, Window>,
    open_max: usize,
    clock: u64,
}

impl Windows {
    pub(super) const fn new(open_max: usize) -> Self {
        Self { open: BTreeMap::new(), open_max, clock: 0 }
    }

    /// Takes up bytes; gives the windows that are full or have no place any more. `memory` is asked for that of a new one.
    pub(super) fn put(
        &mut self,
        mut position: u64,
        mut bytes: &[u8],
        mut memory: impl FnMut() -> Aligned,
    ) -> Vec<Window> {
        let mut leaving = Vec::new();
        while !bytes.is_empty() {
            let number = position / WINDOW_BYTES as u64;
            let at = usize::try_from(position % WINDOW_BYTES as u64).unwrap_or(0);
            let (part, rest) = bytes.split_at(bytes.len().min(WINDOW_BYTES - at));
            self.clock += 1;
            if self.open.len() >= self.open_max && !self.open.contains_key(&number) {
                leaving.extend(self.longest_untouched());
            }
            let window = self.open.entry(number).or_insert_with(|| Window {
                begin: number * WINDOW_BYTES as u64,
                memory: memory(),
                filled: Vec::new(),
                touched: 0,
            });
            window.touched = self.clock;
            window.put(at, part);
            if window.is_full() {
                leaving.extend(self.open.remove(&number));
            }
            position += part.len() as u64;
            bytes = rest;
        }
        leaving
    }

    fn longest_untouched(&mut self) -> Option<Window> {
        let number = *self.open.iter().min_by_key(|(_, window)| window.touched)?.0;
        self.open.remove(&number)
    }

    /// Whether something of this stretch of the file is here.
    pub(super) fn holds(&self, stretch: &Range<u64>) -> bool {
        let meets = |(at, bytes): (u64, &[u8])| at < stretch.end && stretch.start < at + bytes.len() as u64;
        self.open.values().any(|window| window.parts().any(meets))
    }

    /// All of them, in the order of the file.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Window> + use<> {
        std::mem::take(&mut self.open).into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::disk::simulated::Random;

    /// Whatever is written in whatever order, the parts of the windows that leave make up the file.
    #[test]
    fn what_leaves_the_windows_in_order_is_what_was_written() {
        for seed in 0..40 {
            let mut random = Random::new(seed);
            let open_max = 1 + usize::try_from(random.below(4)).unwrap();
            let mut windows = Windows::new(open_max);
            let (mut plain, mut file) = (vec![0_u8; 8 << 20], vec![0_u8; 8 << 20]);
            let mut show = |window: Window| {
                for (at, bytes) in window.parts() {
                    let at = usize::try_from(at).unwrap();
                    file[at..at + bytes.len()].copy_from_slice(bytes);
                }
            };
            for step in 1..120_u8 {
                let at = usize::try_from(random.below(6 << 20)).unwrap();
                let unit = if random.chance(70) { 4096 } else { 1 };
                let bytes = vec![step; unit * (1 + usize::try_from(random.below(300)).unwrap())];
                let at = at / unit * unit;
                plain[at..at + bytes.len()].copy_from_slice(&bytes);
                let leaving = windows.put(at as u64, &bytes, || Aligned::new(WINDOW_BYTES));
                assert!(windows.holds(&(at as u64..at as u64 + 1)) || !leaving.is_empty(), "seed {seed}");
                leaving.into_iter().for_each(&mut show);
                assert!(windows.open.len() <= open_max, "seed {seed}");
            }
            windows.take_all().for_each(&mut show);
            assert!(!windows.holds(&(0..u64::MAX)));
            assert!(plain == file, "seed {seed}");
        }
    }

    #[test]
    fn a_window_that_is_full_leaves_at_once_and_as_one_part() {
        let mut windows = Windows::new(4);
        let page = [7; 4096];
        let mut left = Vec::new();
        for block in (0..256).step_by(2).chain((1..256).step_by(2)) {
            left.extend(windows.put(block * 4096, &page, || Aligned::new(WINDOW_BYTES)));
        }
        assert_eq!(left.len(), 1);
        let parts: Vec<_> = left[0].parts().map(|(at, bytes)| (at, bytes.len())).collect();
        assert_eq!(parts, [(0, WINDOW_BYTES)]);
    }
}
