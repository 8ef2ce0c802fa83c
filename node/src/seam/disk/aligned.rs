//! Memory that a device can read from where it lies: it begins at a whole block.

/// What devices and file systems want the place in the file, the place in memory and the length to be a multiple of, when
/// they are to take bytes past the system's cache. Some are content with 512.
pub const BLOCK_BYTES: usize = 4096;

/// So many bytes, zeros at first, that begin at a whole block of memory. They never move.
#[derive(Debug)]
pub struct Aligned {
    memory: Box<[u8]>,
    begin: usize,
    length: usize,
}

impl Aligned {
    /// Takes the memory.
    #[must_use]
    pub fn new(length: usize) -> Self {
        let memory = vec![0; length + BLOCK_BYTES].into_boxed_slice();
        // Where it cannot be told, the bytes lie anywhere, and are written through the cache.
        let begin = memory.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
        Self { memory, begin, length }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.memory.get(self.begin..self.begin + self.length).unwrap_or_default()
    }

    /// The bytes, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.begin..self.begin + self.length).unwrap_or_default()
    }
}

/// How many of `bytes`, from the first one on, a device can read from where they lie and write at `position`.
#[must_use]
pub(super) fn whole_blocks(bytes: &[u8], position: u64) -> usize {
    let begins = bytes.as_ptr().align_offset(BLOCK_BYTES) == 0 && position.is_multiple_of(BLOCK_BYTES as u64);
    if begins { bytes.len() - bytes.len() % BLOCK_BYTES } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_blocks_that_begin_at_one_may_go_past_the_cache() {
        let mut memory = Aligned::new(3 * BLOCK_BYTES + 5);
        assert_eq!(memory.bytes().len(), 3 * BLOCK_BYTES + 5);
        memory.bytes_mut().fill(7);
        let block = BLOCK_BYTES as u64;
        assert_eq!(whole_blocks(memory.bytes(), 2 * block), 3 * BLOCK_BYTES, "the rest of a block does not");
        assert_eq!(whole_blocks(memory.bytes(), 2 * block + 512), 0);
        assert_eq!(whole_blocks(&memory.bytes()[1..], 0), 0);
        assert_eq!(whole_blocks(&memory.bytes()[..100], 0), 0);
    }
}
