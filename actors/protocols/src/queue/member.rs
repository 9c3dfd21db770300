//! What the owner knows of one client.
//!
//! Owns the counts on the owner's side of a client's two cursors, and the items that lie
//! between them. What a client says of itself is believed only within what it was lent.

use super::hands::{Held, stretch};
use super::line::Line;
use super::{Entry, Item, LEND_ITEMS, LEND_MOST};
use std::collections::VecDeque;

#[derive(Debug, Clone, Hash)]
pub(super) struct Member<I> {
    /// Lent and, as far as the owner knows, not taken; the oldest first. Changed by the
    /// methods below.
    pub(super) lent: Line<I>,
    /// How many may be lent to it, beyond what it has taken.
    window: u32,
    /// It was lent that many.
    is_full: bool,
    /// Taken, by their numbers, and not returned by its calls; the oldest first. Not of a
    /// joinable queue.
    pub(super) held: VecDeque<(u32, Entry<I>)>,
    /// Taken and not finished; the oldest first. Only of a joinable queue.
    pub(super) kept: Line<I>,
    /// How many it has taken, as far as the owner knows, modulo 2^32.
    pub(super) taken: u32,
    /// It has asked for items, so some may be lent to it ahead.
    pub(super) consumes: bool,
    /// It stands among the getters.
    pub(super) waits: bool,
    /// It was lent an item because it waited, and has taken none since: that one is not
    /// recalled for others, or two who wait could take turns for ever and get nothing.
    pub(super) owed_item: bool,
    /// When it was asked to ring.
    pub(super) rings_at: Option<u32>,
    /// Places lent to it that its items have not filled yet.
    pub(super) places: u32,
    /// How many items have come from it, modulo 2^32.
    pub(super) put: u32,
    /// As `owed_item`, of places.
    pub(super) owed_place: bool,
}

impl<I> Default for Member<I> {
    fn default() -> Self {
        Self {
            lent: Line::default(),
            window: LEND_ITEMS,
            is_full: false,
            held: VecDeque::new(),
            kept: Line::default(),
            taken: 0,
            consumes: false,
            waits: false,
            owed_item: false,
            rings_at: None,
            places: 0,
            put: 0,
            owed_place: false,
        }
    }
}

impl<I: Item> Member<I> {
    /// So many of its items have come.
    pub(super) fn arrived(&mut self, count: u32) {
        self.put = self.put.wrapping_add(count);
        self.places = self.places.saturating_sub(count);
        self.owed_place = false;
    }

    /// How many more may be lent to it. One that has taken all of what it might be lent,
    /// before there was more, is fast: it may be lent twice as many.
    pub(super) fn room(&mut self) -> u32 {
        if self.lent.is_empty() && std::mem::take(&mut self.is_full) {
            self.window = LEND_MOST.min(2 * self.window);
        }
        self.window.saturating_sub(self.untaken())
    }

    /// One with so many left, or fewer, is lent more.
    pub(super) fn low(&self) -> u32 {
        self.window / 2
    }

    /// An item, or a run, is lent to it.
    pub(super) fn lend(&mut self, entry: Entry<I>) {
        self.lent.push(entry);
        self.is_full = self.untaken() >= self.window;
    }

    /// All but the first `keep` items are lent to it no longer: others wait for them.
    pub(super) fn take_back(&mut self, keep: usize) -> Line<I> {
        (self.window, self.is_full) = (LEND_ITEMS, false);
        self.lent.split_off(keep)
    }

    /// It has taken so many in all: the first of the items that it took since, with those
    /// that came together with it, and its number in the order of taking.
    pub(super) fn take_until(&mut self, taken: u32) -> Option<(u32, Entry<I>)> {
        let more = taken.wrapping_sub(self.taken) as usize;
        // A count beyond what was lent is damage, and moves nothing.
        let entry = if more > self.lent.len() { None } else { self.lent.take(more) }?;
        let number = self.taken;
        self.taken = number.wrapping_add(entry.item.count());
        self.owed_item = false;
        Some((number, entry))
    }

    /// Keeps of what was taken, from this number on, what is in its hands; all of it, when
    /// that cannot be told.
    pub(super) fn hold(&mut self, hands: Option<&[Held]>, mut number: u32, mut entry: Entry<I>) {
        loop {
            let (is_held, count) = hands.map_or((true, u32::MAX), |all| stretch(all, number));
            let is_whole = count >= entry.item.count();
            let first = if is_whole { None } else { Some(entry.split(count)) };
            match (first, is_held) {
                (None, true) => return self.held.push_back((number, entry)),
                (None, false) => return,
                (Some(first), true) => self.held.push_back((number, first)),
                (Some(_), false) => {}
            }
            number = number.wrapping_add(count);
        }
    }

    /// How many are lent to it.
    pub(super) fn untaken(&self) -> u32 {
        u32::try_from(self.lent.len()).unwrap_or(u32::MAX)
    }
}
