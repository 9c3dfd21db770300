//! The word through which a worker begins its items.
//!
//! Owns its layout and both sides' changes. The owner numbers the items that it sends to a
//! worker, from 1; the numbers wrap around, and are compared as serial numbers are (RFC
//! 1982). The low half of the word is the number of the last item that the worker has
//! begun, the high half the last one that is not to be begun any more, because it has been
//! or because the owner has taken it back: of two sides that want the same item one wins,
//! and both know which. Each change is one compare-and-swap, so a side that dies leaves
//! nothing half done.

use core::sync::atomic::{AtomicU64, Ordering};

/// Memory of 64 bits that owner and worker share.
pub trait Word {
    /// Reads it.
    fn get(&self) -> u64;
    /// Writes `new` if it is `current`.
    ///
    /// # Errors
    /// What it is, when that is not `current`.
    fn exchange(&self, current: u64, new: u64) -> Result<u64, u64>;
}

impl Word for AtomicU64 {
    #[inline]
    fn get(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    #[inline]
    fn exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
        self.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire)
    }
}

/// Whether a number comes after another. They are never half the range apart.
#[inline]
pub fn is_after(number: u32, other: u32) -> bool {
    number.wrapping_sub(other).cast_signed() > 0
}

/// The worker's side: begins item `number`. False when the owner has taken it back, and
/// then it must be thrown away.
#[inline]
pub fn begin(word: &impl Word, number: u32) -> bool {
    update(word, |_, void| is_after(number, void).then(|| join(number, number))).1
}

/// The owner's side: takes back all items up to `last` that have not been begun. Gives the
/// number of the last one that has.
pub fn take_back(word: &impl Word, last: u32) -> u32 {
    update(word, |begun, void| is_after(last, void).then(|| join(begun, last))).0
}

/// The number of the last item that has been begun.
pub fn begun(word: &impl Word) -> u32 {
    split(word.get()).0
}

/// Changes the word as `change` says, which sees both halves. Gives what had been begun,
/// and whether there was a change.
#[inline]
fn update(word: &impl Word, change: impl Fn(u32, u32) -> Option<u64>) -> (u32, bool) {
    let mut now = word.get();
    loop {
        let (begun, void) = split(now);
        let Some(new) = change(begun, void) else { return (begun, false) };
        match word.exchange(now, new) {
            Ok(_) => return (begun, true),
            Err(other) => now = other,
        }
    }
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
