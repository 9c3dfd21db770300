//! Tables by the numbers of tasks.
//!
//! Owns their hashing: the numbers are the scheduler's own, one after another, so that no
//! sender can choose them, and a multiplication spreads them.

use super::effect::TaskId;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A table by the numbers of tasks.
pub(super) type ById<V> = HashMap<TaskId, V, BuildHasherDefault<Spread>>;

/// The hash of one number.
#[derive(Debug, Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // Half of the bits of the golden ratio, as in Fibonacci hashing (Knuth, 6.4).
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
