//! Numbers that all processes of a trial see, and that no death takes away.
//!
//! A number is written whole; adding to it is not one step, which is meant.

use crate::world::Check;
use procession::{SharedCell, SharedMemory};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Board(SharedMemory);

impl Board {
    /// So many numbers, all 0.
    pub(crate) fn new(count: usize) -> Check<Self> {
        Ok(Self(SharedMemory::anonymous(count * size_of::<u64>())?))
    }

    fn cell(&self, at: usize) -> SharedCell<'_, u64> {
        let all = self.0.view(0, self.0.size() / size_of::<u64>());
        all.and_then(|all| all.at(at)).expect("a place on the board")
    }

    pub(crate) fn get(&self, at: usize) -> u64 {
        self.cell(at).get()
    }

    pub(crate) fn set(&self, at: usize, number: u64) {
        self.cell(at).set(number);
    }

    /// For a number of the caller's own, or under a lock.
    pub(crate) fn add(&self, at: usize, amount: u64) {
        self.set(at, self.get(at) + amount);
    }
}
