//! A page of words and two rings of bytes, shared by two processes.
//!
//! Owns every access to that memory. The words are atomics. The bytes of a ring are copied
//! in and out and never referred to, for the other process may write them at any time; who
//! may write which of them is settled by the words (see `crate::queue::page`). Neighbour:
//! `memory` maps.

use super::memory::{Mapping, anonymous};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;

/// Bytes of one ring: a power of two.
pub(crate) const RING: usize = 256 * 1024;

/// How many words there are, each in a cache line of its own.
pub(crate) const WORDS: usize = 64;

const LINE: usize = 64;
const RINGS_AT: usize = 4096;
const SIZE: usize = RINGS_AT + 2 * RING;

/// The two rings, by who writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ring {
    /// From the client to the owner.
    Up = 0,
    /// From the owner to the client.
    Down = 1,
}

/// The memory, mapped.
#[derive(Debug)]
pub(crate) struct Rings(Mapping);

impl Rings {
    /// Makes one, all zeroes. Gives the file as well, by which the other side maps it.
    pub(crate) fn make() -> io::Result<(Self, OwnedFd)> {
        const { assert!(WORDS * LINE <= RINGS_AT) }
        let file = anonymous(SIZE)?;
        Ok((Self::map(file.as_fd())?, file))
    }

    /// Maps one that the other side made.
    pub(crate) fn map(file: BorrowedFd<'_>) -> io::Result<Self> {
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

    /// Copies bytes into a ring, from this position on (counted since the beginning).
    ///
    /// # Panics
    /// When there are more than a ring has.
    #[inline]
    pub(crate) fn write(&self, ring: Ring, position: u64, bytes: &[u8]) {
        let (at, first) = Self::place(position, bytes.len());
        let start = self.start(ring);
        // SAFETY: `place` gives an offset within the ring and how much fits up to its end;
        // the rest goes to its beginning, and is shorter than the ring. `bytes` is memory
        // of this process alone, so it does not overlap. That mostly all fits is a case of
        // its own: a header is then one move.
        unsafe {
            if first == bytes.len() {
                start.add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            } else {
                start.add(at).copy_from_nonoverlapping(bytes.as_ptr(), first);
                start.copy_from_nonoverlapping(bytes.as_ptr().add(first), bytes.len() - first);
            }
        }
    }

    /// Copies bytes out of a ring, from this position on.
    ///
    /// # Panics
    /// When more are wanted than a ring has.
    #[inline]
    pub(crate) fn read(&self, ring: Ring, position: u64, bytes: &mut [u8]) {
        let (at, first) = Self::place(position, bytes.len());
        let start = self.start(ring);
        // SAFETY: as for `write`.
        unsafe {
            if first == bytes.len() {
                start.add(at).copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len());
            } else {
                start.add(at).copy_to_nonoverlapping(bytes.as_mut_ptr(), first);
                start.copy_to_nonoverlapping(bytes.as_mut_ptr().add(first), bytes.len() - first);
            }
        }
    }

    /// As [`read`](Self::read), into memory of its own.
    ///
    /// # Panics
    /// When more are wanted than a ring has.
    #[inline]
    pub(crate) fn copy(&self, ring: Ring, position: u64, len: usize) -> Vec<u8> {
        let (at, first) = Self::place(position, len);
        let start = self.start(ring);
        let mut bytes = Vec::<u8>::with_capacity(len);
        let space = bytes.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: as for `write`; `space` has room for `len` bytes, all of which are written
        // before they are counted.
        unsafe {
            start.add(at).copy_to_nonoverlapping(space, first);
            start.copy_to_nonoverlapping(space.add(first), len - first);
            bytes.set_len(len);
        }
        bytes
    }

    fn start(&self, ring: Ring) -> *mut u8 {
        // SAFETY: both rings lie within the mapping, whose size `map` had checked.
        unsafe { self.0.at().as_ptr().add(RINGS_AT + ring as usize * RING) }
    }

    /// The offset of a position, and how many of `len` bytes fit up to the ring's end.
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
    use std::sync::atomic::Ordering;

    #[test]
    fn both_sides_see_the_same_bytes_also_across_the_end() {
        let (ours, file) = Rings::make().unwrap();
        let theirs = Rings::map(file.as_fd()).unwrap();
        ours.word(3).store(7, Ordering::Release);
        assert_eq!(theirs.word(3).load(Ordering::Acquire), 7);
        let bytes: Vec<u8> = (0..=255).collect();
        for position in [0, RING as u64 - 100, 5 * RING as u64 - 1] {
            ours.write(Ring::Up, position, &bytes);
            theirs.write(Ring::Down, position, &[9; 256]);
            let mut back = [0; 256];
            theirs.read(Ring::Up, position, &mut back);
            assert_eq!(back.as_slice(), bytes);
            assert_eq!(theirs.copy(Ring::Up, position, 256), bytes);
        }
    }
}
