//! The word through which a worker begins its items.
//!
//! Owns its layout and both sides' changes. The owner numbers the items that it sends to a
//! worker, from 1; the numbers wrap around, and are compared as serial numbers are (RFC
//! 1982). The low half of the word is the number of the last item that the worker has
//! begun, the high half the last one that is not to be begun any more, because it has been
//! or because the owner has taken it back: of two sides that want the same item one wins,
//! and both know which. Each change is one compare-and-swap, so a side that dies leaves
//! nothing half done.

use crate::word::Atomic;
use core::sync::atomic::Ordering::Acquire;

/// Whether a number comes after another. They are never half the range apart.
#[inline]
pub fn is_after(number: u32, other: u32) -> bool {
    number.wrapping_sub(other).cast_signed() > 0
}

/// The worker's side: begins item `number`. False when the owner has taken it back, and
/// then it must be thrown away.
#[inline]
pub fn begin(word: &impl Atomic<u64>, number: u32) -> bool {
    word.update(|now| is_after(number, split(now).1).then(|| join(number, number))).1
}

/// The owner's side: takes back all items up to `last` that have not been begun. Gives the
/// number of the last one that has.
pub fn take_back(word: &impl Atomic<u64>, last: u32) -> u32 {
    let change = |now| {
        let (begun, void) = split(now);
        is_after(last, void).then(|| join(begun, last))
    };
    split(word.update(change).0).0
}

/// The number of the last item that has been begun.
pub fn begun(word: &impl Atomic<u64>) -> u32 {
    split(word.load(Acquire)).0
}

#[expect(clippy::cast_possible_truncation, reason = "it takes the halves apart")]
fn split(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

fn join(begun: u32, void: u32) -> u64 {
    u64::from(void) << 32 | u64::from(begun)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU64;

    #[test]
    fn what_is_taken_back_is_not_begun() {
        let word = AtomicU64::new(0);
        assert!(begin(&word, 1));
        assert_eq!(take_back(&word, 2), 1);
        assert!(!begin(&word, 2));
        assert!(begin(&word, 3));
        assert_eq!(begun(&word), 3);
    }

    #[test]
    fn what_is_begun_is_not_taken_back() {
        let word = AtomicU64::new(0);
        assert!(begin(&word, 1) && begin(&word, 2));
        assert_eq!(take_back(&word, 2), 2);
        assert!(begin(&word, 3), "nothing was void");
    }

    #[test]
    fn the_numbers_may_wrap_around() {
        let word = AtomicU64::new(join(u32::MAX - 1, u32::MAX - 1));
        assert!(begin(&word, u32::MAX) && begin(&word, 0));
        assert_eq!(take_back(&word, 2), 0);
        assert!(!begin(&word, 1) && !begin(&word, 2) && begin(&word, 3));
    }
}
