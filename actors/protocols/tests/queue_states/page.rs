//! A client's page: the words that it shares with the owner, and the ring to it.
//!
//! Owns the words as a part of a state. Neighbours: `client` and `pages` access them.

use procession_protocols::queue::cursor::Word;
use procession_protocols::queue::hands::Places;
use std::cell::Cell;
use std::hash::{Hash, Hasher};

/// A word that is part of a state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plain(Cell<u64>);

impl Hash for Plain {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.get().hash(state);
    }
}

impl Word for Plain {
    fn load(&self) -> u64 {
        self.0.get()
    }

    fn store(&self, value: u64) {
        self.0.set(value);
    }

    fn add(&self, value: u64) -> u64 {
        self.0.replace(self.0.get().wrapping_add(value))
    }

    fn set(&self, bits: u64) -> u64 {
        self.0.replace(self.0.get() | bits)
    }

    fn clear(&self, bits: u64) -> u64 {
        self.0.replace(self.0.get() & !bits)
    }

    fn replace(&self, old: u64, new: u64) -> Result<(), u64> {
        let now = self.0.get();
        if now == old {
            self.0.set(new);
        }
        if now == old { Ok(()) } else { Err(now) }
    }
}

/// So many items have room in a client's ring.
pub(crate) const RING: u32 = 2;

/// Bits of the client's bell.
pub(crate) const ITEM: u64 = 1;
pub(crate) const PLACE: u64 = 4;
pub(crate) const ANSWER: u64 = 8;

/// The bit of the owner's bell.
pub(crate) const OWNER_SLEEPS: u64 = 1;

/// In `rings_at`, beside the count.
pub(crate) const ARMED: u64 = 1 << 32;

/// An item, and whether it is marked.
pub(crate) type Got = (u8, bool);

#[derive(Debug, Clone, Hash, Default)]
pub(crate) struct Page {
    pub(crate) items: Plain,
    pub(crate) places: Plain,
    pub(crate) hungry: Plain,
    pub(crate) short: Plain,
    /// For an item, and for a place.
    pub(crate) asked: [Plain; 2],
    pub(crate) answered: [Plain; 2],
    pub(crate) rings_at: Plain,
    pub(crate) owner_bell: Plain,
    pub(crate) client_bell: Plain,
    hand: Plain,
    sign: Plain,
    /// How many items the client has shown.
    pub(crate) up_tail: Plain,
    pub(crate) down_head: Plain,
    pub(crate) down: [Got; RING as usize],
}

impl Places for Page {
    type Word = Plain;
    const COUNT: usize = 1;

    fn hand(&self, _: usize) -> &Plain {
        &self.hand
    }

    fn sign(&self) -> &Plain {
        &self.sign
    }
}
