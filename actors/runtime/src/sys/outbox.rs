//! A page of words and a ring of bytes, from a pool's worker to its owner.
//!
//! Owns every access to that memory. The words are atomics. The bytes of the ring are
//! copied in and out and never referred to, for the other process may write them at any
//! time; who may write which of them is settled by the words (see `crate::pool::outbox`).
//! Neighbour: `memory` maps.

use super::memory::Mapping;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU64;

/// Bytes of the ring: a power of two.
pub(crate) const RING: usize = 128 * 1024;

/// How many words there are, each in a cache line of its own.
pub(crate) const WORDS: usize = 6;

const LINE: usize = 64;
const RING_AT: usize = 4096;

/// Bytes of the whole.
pub(crate) const SIZE: usize = RING_AT + RING;

/// The memory, mapped.
#[derive(Debug)]
pub(crate) struct OutboxMemory(Mapping);

impl OutboxMemory {
    /// Maps it.
    ///
    /// # Errors
    /// `EINVAL` when the file is smaller, and what the system says.
    pub(crate) fn map(file: BorrowedFd<'_>) -> io::Result<Self> {
        const { assert!(WORDS * LINE <= RING_AT && RING.is_power_of_two()) }
        Mapping::new(file, SIZE).map(Self)
    }

    /// The word of this number.
    ///
    /// # Panics
    /// When there is none.
    #[inline]
    pub(crate) fn word(&self, number: usize) -> &AtomicU64 {
        assert!(number < WORDS);
        // SAFETY: the place is mapped while `self` lives, and aligned to its line; both
        // processes access it as an atomic only.
        unsafe { AtomicU64::from_ptr(self.0.at().as_ptr().add(number * LINE).cast()) }
    }

    /// Copies bytes in, from this position on (counted since the beginning).
    ///
    /// # Panics
    /// When there are more than the ring has.
    #[inline]
    pub(crate) fn write(&self, position: u64, bytes: &[u8]) {
        let (at, first) = Self::place(position, bytes.len());
        let ring = self.ring();
        // SAFETY: `place` gives an offset within the ring and how much fits up to its end;
        // the rest goes to its beginning, and is shorter than the ring. `bytes` is memory
        // of this process alone, so it does not overlap.
        unsafe {
            if first == bytes.len() {
                // The usual case, for which a frame of known length is a few moves.
                return ring.add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            }
            ring.add(at).copy_from_nonoverlapping(bytes.as_ptr(), first);
            ring.copy_from_nonoverlapping(bytes.as_ptr().add(first), bytes.len() - first);
        }
    }

    /// Copies so many bytes out, from this position on, behind what is in `into`.
    ///
    /// # Panics
    /// When more are wanted than the ring has.
    pub(crate) fn read(&self, position: u64, len: usize, into: &mut Vec<u8>) {
        let (at, first) = Self::place(position, len);
        let ring = self.ring();
        into.reserve(len);
        let space = into.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: as for `write`; so much room was reserved, and is written before it counts.
        unsafe {
            ring.add(at).copy_to_nonoverlapping(space, first);
            ring.copy_to_nonoverlapping(space.add(first), len - first);
            into.set_len(into.len() + len);
        }
    }

    #[inline]
    fn ring(&self) -> *mut u8 {
        // SAFETY: the ring lies within the mapping, whose size `map` had checked.
        unsafe { self.0.at().as_ptr().add(RING_AT) }
    }

    /// The offset of a position, and how many of `len` bytes fit up to the ring's end.
    #[inline]
    fn place(position: u64, len: usize) -> (usize, usize) {
        assert!(len <= RING);
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is below a ring")]
        let at = (position % RING as u64) as usize;
        (at, len.min(RING - at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::anonymous;
    use std::os::fd::AsFd;
    use std::sync::atomic::Ordering;

    #[test]
    fn both_sides_see_the_same_bytes_also_across_the_end() {
        let file = anonymous(SIZE).unwrap();
        let ours = OutboxMemory::map(file.as_fd()).unwrap();
        let theirs = OutboxMemory::map(file.as_fd()).unwrap();
        ours.word(3).store(7, Ordering::Release);
        assert_eq!(theirs.word(3).load(Ordering::Acquire), 7);
        let bytes: Vec<u8> = (0..=255).collect();
        for position in [0, RING as u64 - 100, 5 * RING as u64 - 1] {
            ours.write(position, &bytes);
            let mut back = b">".to_vec();
            theirs.read(position, 256, &mut back);
            assert_eq!((back[0], &back[1..]), (b'>', bytes.as_slice()));
        }
    }
}
