//! Items in a row, those that came together in one piece.
//!
//! Owns what an item is to the machine, and the counts of a row of them. Items that a client
//! put in one go stay one [`Item`] for as long as nobody wants a part of them: what it costs
//! to keep them and to hand them on is then not paid for each. It must never change an order.
//! Neighbours: `lend` and `member` have the rows.

use std::collections::VecDeque;
use std::collections::vec_deque::IntoIter;

/// What the machine must know of an item, or of a *run*: several that came together, and
/// stay so until somebody gets, or gives back, a part of them.
pub trait Item: Clone {
    /// What it counts for at the owner, in bytes: a run, for as much as its items.
    fn weight(&self) -> u64;
    /// What it counts for at a consumer to whom it is lent, likewise.
    fn burden(&self) -> u64 {
        self.weight()
    }
    /// How many items it is.
    fn count(&self) -> u32;
    /// Takes the first `count` items off a run, which has more.
    #[must_use]
    fn split(&mut self, count: u32) -> Self;
}

/// An item in the queue, or a run of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry<I> {
    /// The item.
    pub item: I,
    /// Whether a consumer had it before and went away without having finished it.
    pub redelivered: bool,
    /// Its place, or that of its first item, in the order of arrival.
    number: u64,
}

impl<I: Item> Entry<I> {
    /// What has arrived behind so many items.
    pub(super) fn new(item: I, number: u64) -> Self {
        Self { item, redelivered: false, number }
    }

    /// Takes the first `count` items off, of more.
    pub(super) fn split(&mut self, count: u32) -> Self {
        let first = Self {
            item: self.item.split(count),
            redelivered: self.redelivered,
            number: self.number,
        };
        self.number += u64::from(count);
        first
    }
}

/// A row of items.
#[derive(Debug, Clone, Hash)]
pub(super) struct Line<I> {
    entries: VecDeque<Entry<I>>,
    len: usize,
    weight: u64,
    burden: u64,
}

impl<I> Default for Line<I> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), len: 0, weight: 0, burden: 0 }
    }
}

impl<I: Item> Line<I> {
    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What they weigh together.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// What they count for at a consumer.
    pub(super) fn burden(&self) -> u64 {
        self.burden
    }

    /// The last ones from here on.
    pub(super) fn push(&mut self, entry: Entry<I>) {
        self.add(&entry);
        self.entries.push_back(entry);
    }

    /// Puts back what came out of it: where it stood by arrival. No two entries have items
    /// that arrived between each other's.
    pub(super) fn put_back(&mut self, entry: Entry<I>) {
        self.add(&entry);
        let place = self.entries.partition_point(|other| other.number < entry.number);
        self.entries.insert(place, entry);
    }

    /// Takes the first one, and up to `most` of those that came together with it.
    pub(super) fn take(&mut self, most: usize) -> Option<Entry<I>> {
        let first = self.entries.front_mut()?;
        let entry = match u32::try_from(most) {
            Ok(0) => return None,
            Ok(most) if most < first.item.count() => first.split(most),
            _ => self.entries.pop_front()?,
        };
        self.len -= entry.item.count() as usize;
        self.weight -= entry.item.weight();
        self.burden -= entry.item.burden();
        Some(entry)
    }

    /// Takes all but the first `keep`.
    pub(super) fn split_off(&mut self, keep: usize) -> Self {
        let mut kept = Self::default();
        while kept.len < keep
            && let Some(entry) = self.take(keep - kept.len)
        {
            kept.push(entry);
        }
        std::mem::replace(self, kept)
    }

    fn add(&mut self, entry: &Entry<I>) {
        self.len += entry.item.count() as usize;
        self.weight += entry.item.weight();
        self.burden += entry.item.burden();
    }
}

impl<I> IntoIterator for Line<I> {
    type Item = Entry<I>;
    type IntoIter = IntoIter<Entry<I>>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}
