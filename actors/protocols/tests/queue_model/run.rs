//! What the producers of the model put: numbered things, alone or several together.
//!
//! Owns how a run of them is split. Neighbour: `world` keeps the accounts.

use procession_protocols::queue::{Entry, Item};

/// Who put it, and the how manieth of its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Thing {
    pub(crate) producer: u16,
    pub(crate) number: u32,
}

/// One, or several that were put together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) first: Thing,
    pub(crate) count: u32,
}

impl Run {
    pub(crate) fn things(self) -> impl Iterator<Item = Thing> {
        let Thing { producer, number } = self.first;
        (number..number + self.count).map(move |number| Thing { producer, number })
    }
}

impl Item for Run {
    fn weight(&self) -> u64 {
        // Some are large, so that bytes bound the lending too; not the owner's.
        let is_large = |thing: &Thing| thing.producer != 0 && thing.number.is_multiple_of(7);
        self.things().map(|thing| if is_large(&thing) { 100_000 } else { 64 }).sum()
    }

    fn count(&self) -> u32 {
        self.count
    }

    fn split(&mut self, count: u32) -> Self {
        assert!(0 < count && count < self.count, "a run is split in two");
        let first = Self { count, ..*self };
        self.first.number += count;
        self.count -= count;
        first
    }
}

/// An item that a consumer has, and its mark.
pub(crate) type Got = (Thing, bool);

pub(crate) fn got(entry: Entry<Run>) -> Got {
    assert_eq!(entry.item.count, 1, "whoever gets one is given one");
    (entry.item.first, entry.redelivered)
}
