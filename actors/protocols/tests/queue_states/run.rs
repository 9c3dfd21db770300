//! What is put in these worlds: items that are nothing but their numbers.
//!
//! Owns the numbers: each client's own begin at a multiple of 4, those of the owner's threads
//! behind them.

use super::page::Got;
use procession_protocols::queue::{Entry, Item};

/// The first item of the owner's threads.
pub(crate) const OWN_ITEMS: u8 = 12;

/// Items with numbers in a row, as one client put them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    pub(crate) first: u8,
    pub(crate) count: u8,
}

impl Run {
    /// The item of a thread of the owner's.
    pub(crate) fn own(own: usize) -> Self {
        Self { first: OWN_ITEMS + u8::try_from(own).unwrap(), count: 1 }
    }

    /// Of what a client puts, so many from this one on.
    pub(crate) fn of(client: usize, from: u64, count: u64) -> Self {
        Self { first: first_of(client) + from as u8, count: count as u8 }
    }
}

/// The first item of a client.
pub(crate) fn first_of(client: usize) -> u8 {
    4 * client as u8
}

impl Item for Run {
    fn weight(&self) -> u64 {
        self.count.into()
    }

    fn count(&self) -> u32 {
        self.count.into()
    }

    fn split(&mut self, count: u32) -> Self {
        let count = u8::try_from(count).unwrap();
        assert!(0 < count && count < self.count, "a run is split in two");
        let first = Self { first: self.first, count };
        (self.first, self.count) = (self.first + count, self.count - count);
        first
    }
}

pub(crate) fn got(entry: &Entry<Run>) -> Got {
    assert_eq!(entry.item.count, 1, "whoever gets one is given one");
    (entry.item.first, entry.redelivered)
}
