//! Which items a client's calls have in their hands: taken by the cursor, and not returned to
//! whoever called.
//!
//! Owns the words that say so. A call writes into a word of its own, its *hand*, which items
//! it is about to take, takes them, and clears the word when it returns. So at any instant in
//! which the client may die the owner can tell what no call has returned, also when several
//! threads take and return in any order. It must never know of items. Neighbour: `cursor`
//! counts what is taken.
//!
//! ```text
//! bit 63        32 31         0
//!    [   first    |   count    ]     a hand; free when the count is 0
//!    [   moves    |   used     ]     the sign: which hands to look at, and whether to look again
//! ```

use super::cursor::Word;

/// One change of hands, in the sign.
const MOVE: u64 = 1 << 32;

/// The words of one client's calls.
pub trait Places {
    /// Their kind.
    type Word: Word;
    /// How many hands there are.
    const COUNT: usize;
    /// A hand.
    fn hand(&self, number: usize) -> &Self::Word;
    /// The sign.
    fn sign(&self) -> &Self::Word;
}

/// What one hand holds: items by their number in the order of taking, modulo 2^32. Of these,
/// those that have not been taken are nobody's.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Held {
    /// The first one.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl Held {
    /// Whether it holds this one.
    pub fn has(self, number: u32) -> bool {
        number.wrapping_sub(self.first) < self.count
    }

    fn of(word: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the word")]
        Self { first: (word >> 32) as u32, count: word as u32 }
    }

    fn word(self) -> u64 {
        u64::from(self.first) << 32 | u64::from(self.count)
    }
}

/// Whether an item is in one of these hands, and of how many, from this one on, the same can
/// be said: at least one.
pub fn stretch(hands: &[Held], number: u32) -> (bool, u32) {
    if let Some(held) = hands.iter().find(|held| held.has(number)) {
        return (true, held.count - number.wrapping_sub(held.first));
    }
    let before = hands.iter().map(|held| held.first.wrapping_sub(number));
    (false, before.filter(|count| *count > 0).min().unwrap_or(u32::MAX))
}

/// The hands of one client. All but [`close`](Self::close) and [`held`](Self::held) are for
/// the one thread of the client that holds its lock for taking.
#[derive(Debug)]
pub struct Hands<'a, P: ?Sized>(pub &'a P);

impl<P: Places + ?Sized> Hands<'_, P> {
    /// Client, before it takes: a hand for these items. `None` when more calls are under way
    /// than there are hands.
    pub fn open(&self, held: Held) -> Option<usize> {
        let free = (0..P::COUNT).find(|hand| self.0.hand(*hand).load() == 0)?;
        #[expect(clippy::cast_possible_truncation, reason = "the lower half of the word")]
        let used = self.0.sign().load() as u32 as usize;
        if free >= used {
            self.0.sign().add((free + 1 - used) as u64);
        }
        self.set(free, held);
        Some(free)
    }

    /// Client: this hand holds these instead: some of what it held before.
    pub fn set(&self, hand: usize, held: Held) {
        self.0.hand(hand).store(held.word());
    }

    /// Client, after it took fewer than it had a hand for: others were given the rest. When they
    /// were given all, the hand is free again: the call has nothing to return, so nobody else
    /// would close it.
    pub fn narrow(&self, hand: usize, held: Held, taken: u32) {
        if taken == 0 {
            self.close(hand);
        } else {
            self.set(hand, Held { count: taken, ..held });
        }
    }

    /// Client: the first `count` of what a hand holds get one of their own. `None` when none
    /// is free: then they are in no hand.
    pub fn part(&self, hand: usize, held: Held, count: u32) -> Option<usize> {
        let parted = self.open(Held { count, ..held });
        // For a moment they are in both. Who looks at the hands meanwhile, and might see them
        // in neither, sees that it must look again.
        self.0.sign().add(MOVE);
        self.set(hand, Held { first: held.first.wrapping_add(count), count: held.count - count });
        parted
    }

    /// Client: what this hand held is returned.
    pub fn close(&self, hand: usize) {
        self.0.hand(hand).store(0);
    }

    /// Owner, after it has read what is taken: what is in hands. `None` when it cannot be told
    /// just now, because items change hands.
    pub fn held(&self) -> Option<Vec<Held>> {
        let before = self.0.sign().load();
        #[expect(clippy::cast_possible_truncation, reason = "the lower half of the word")]
        let used = (before as u32 as usize).min(P::COUNT);
        let hands = (0..used).map(|hand| Held::of(self.0.hand(hand).load()));
        let held = hands.filter(|held| held.count > 0).collect();
        (self.0.sign().load() == before).then_some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU64;

    #[derive(Default)]
    struct Two([AtomicU64; 2], AtomicU64);

    impl Places for Two {
        type Word = AtomicU64;
        const COUNT: usize = 2;

        fn hand(&self, number: usize) -> &AtomicU64 {
            &self.0[number]
        }

        fn sign(&self) -> &AtomicU64 {
            &self.1
        }
    }

    #[test]
    fn what_is_in_hands_and_what_is_not_comes_in_stretches() {
        let hands = [Held { first: 7, count: 2 }, Held { first: u32::MAX, count: 3 }];
        let from = |number| stretch(&hands, number);
        assert_eq!(from(u32::MAX - 4), (false, 4));
        assert_eq!(from(u32::MAX), (true, 3));
        assert_eq!(from(1), (true, 1));
        assert_eq!(from(2), (false, 5));
        assert_eq!(from(8), (true, 1));
        assert_eq!(stretch(&[], 3), (false, u32::MAX));
        assert_eq!(stretch(&[Held { first: 3, count: 0 }], 3), (false, u32::MAX));
    }

    #[test]
    fn hands_hold_what_calls_took_until_they_return() {
        let words = Two::default();
        let hands = Hands(&words);
        let whole = Held { first: u32::MAX, count: 3 };
        let one = hands.open(whole).unwrap();
        assert!([u32::MAX, 0, 1].into_iter().all(|number| whole.has(number)));
        assert!(!whole.has(u32::MAX - 1) && !whole.has(2));
        let other = hands.part(one, whole, 1).unwrap();
        let rest = Held { first: 0, count: 2 };
        assert_eq!(hands.held().unwrap(), [rest, Held { first: u32::MAX, count: 1 }]);
        assert_eq!(hands.open(rest), None);
        assert_eq!(hands.part(one, rest, 1), None);
        hands.close(one);
        assert_eq!(hands.held().unwrap(), [Held { first: u32::MAX, count: 1 }]);
        hands.close(other);
        assert_eq!(hands.held().unwrap(), []);
    }

    #[test]
    fn a_call_that_came_too_late_for_all_costs_no_hand() {
        let words = Two::default();
        let hands = Hands(&words);
        for first in 1..9 {
            let held = Held { first, count: 2 };
            let hand = hands.open(held).unwrap();
            hands.narrow(hand, held, 0);
            assert_eq!(hands.held().unwrap(), []);
        }
        let held = Held { first: 9, count: 2 };
        let hand = hands.open(held).unwrap();
        hands.narrow(hand, held, 1);
        assert_eq!(hands.held().unwrap(), [Held { first: 9, count: 1 }]);
    }
}
