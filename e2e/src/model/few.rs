//! A handful of values in place: a state of the walk is one piece of memory without a pointer.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// Up to `MAX` values in order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Few<T, const MAX: usize> {
    /// What lies behind `len` is the default, so that equal lists are equal.
    values: [T; MAX],
    len: u8,
}

impl<T: Copy + Default, const MAX: usize> Few<T, MAX> {
    /// Adds one behind the others; one that finds no room is a scope too large, and ends the walk.
    pub(super) fn push(&mut self, value: T) {
        self.values[usize::from(self.len)] = value;
        self.len += 1;
    }

    /// Keeps those that pass, in their order.
    pub(super) fn retain(&mut self, passes: impl Fn(&T) -> bool) {
        if self.iter().all(&passes) {
            return;
        }
        let before = *self;
        *self = Self::default();
        before.iter().filter(|value| passes(value)).for_each(|value| self.push(*value));
    }

    /// The values, to be changed in their places.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut().take(usize::from(self.len))
    }
}

impl<T: Copy + Default, const MAX: usize> Default for Few<T, MAX> {
    fn default() -> Self {
        Self { values: [T::default(); MAX], len: 0 }
    }
}

impl<T, const MAX: usize> Deref for Few<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.values.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl<T: Hash, const MAX: usize> Hash for Few<T, MAX> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: fmt::Debug, const MAX: usize> fmt::Debug for Few<T, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
