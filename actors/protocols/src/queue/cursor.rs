//! How owner and client share a stream of things: what has been taken, and up to where
//! taking is allowed, in one 64-bit word; and the bell that wakes a sleeper.
//!
//! Owns the word algorithms. A [`Cursor`] lends: the owner raises `limit`, the client
//! moves `taken` towards it, and since both stand in one word the owner can take back what
//! it lent at any instant, also from a client that is busy or stopped. A [`Hunger`] counts
//! who waits, and says whether the owner wants to be told. Queues lend items
//! to consumers with it, and places of a bounded queue to producers. The algorithms know
//! nothing of items. They are generic over the word, so that loom runs them unchanged.
//!
//! ```text
//! bit 63        32 31         0
//!    [   limit    |   taken    ]     both count modulo 2^32; limit - taken are lent
//! ```

/// A shared 64-bit word. Every change but a plain store is one atomic read-modify-write with
/// acquire and release order.
pub trait Word {
    /// Reads it (acquire).
    fn load(&self) -> u64;
    /// Writes it (release).
    fn store(&self, value: u64);
    /// Adds, and gives what was there before.
    fn add(&self, value: u64) -> u64;
    /// Sets these bits, and gives what was there before.
    fn set(&self, bits: u64) -> u64;
    /// Clears these bits, and gives what was there before.
    fn clear(&self, bits: u64) -> u64;
    /// Replaces `old` by `new`; otherwise gives what is there instead.
    ///
    /// # Errors
    /// The value that was there.
    fn replace(&self, old: u64, new: u64) -> Result<(), u64>;
}

impl Word for core::sync::atomic::AtomicU64 {
    fn load(&self) -> u64 {
        self.load(core::sync::atomic::Ordering::Acquire)
    }

    fn store(&self, value: u64) {
        self.store(value, core::sync::atomic::Ordering::Release);
    }

    fn add(&self, value: u64) -> u64 {
        self.fetch_add(value, core::sync::atomic::Ordering::AcqRel)
    }

    fn set(&self, bits: u64) -> u64 {
        self.fetch_or(bits, core::sync::atomic::Ordering::AcqRel)
    }

    fn clear(&self, bits: u64) -> u64 {
        self.fetch_and(!bits, core::sync::atomic::Ordering::AcqRel)
    }

    fn replace(&self, old: u64, new: u64) -> Result<(), u64> {
        use core::sync::atomic::Ordering::{AcqRel, Acquire};
        self.compare_exchange(old, new, AcqRel, Acquire).map(drop)
    }
}

/// What a cursor says: two counts modulo 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lent {
    /// How many have been taken since the beginning.
    pub taken: u32,
    /// How many may be taken.
    pub limit: u32,
}

impl Lent {
    /// How many can be taken now. Owner and client do not trust each other's words: what
    /// cannot be is none.
    pub fn left(self) -> u32 {
        let left = self.limit.wrapping_sub(self.taken);
        if left > u32::MAX / 2 { 0 } else { left }
    }

    fn of(word: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the word")]
        Self { taken: word as u32, limit: (word >> 32) as u32 }
    }

    fn word(self) -> u64 {
        u64::from(self.limit) << 32 | u64::from(self.taken)
    }
}

/// The shared word of one stream.
#[derive(Debug)]
pub struct Cursor<'a, W: ?Sized>(pub &'a W);

impl<W: Word + ?Sized> Cursor<'_, W> {
    /// What it says now.
    pub fn look(&self) -> Lent {
        Lent::of(self.0.load())
    }

    /// What it says, in the order of the changes to it: whoever changes it next sees all
    /// that the caller wrote before.
    pub fn settle(&self) -> Lent {
        Lent::of(self.0.add(0))
    }

    /// Client: takes the next one, if there is one. It is lent no longer; gives its number.
    pub fn take(&self) -> Option<u32> {
        self.take_many(1).map(|(first, _)| first)
    }

    /// Client: takes as many as there are, up to `most`, in one step. Gives the number of the
    /// first one, and how many they are.
    pub fn take_many(&self, most: u32) -> Option<(u32, u32)> {
        let mut word = self.0.load();
        loop {
            let lent = Lent::of(word);
            let count = lent.left().min(most);
            if count == 0 {
                return None;
            }
            let next = Lent { taken: lent.taken.wrapping_add(count), limit: lent.limit };
            match self.0.replace(word, next.word()) {
                Ok(()) => return Some((lent.taken, count)),
                Err(now) => word = now,
            }
        }
    }

    /// Owner: lends `count` more. Gives what the word said just before.
    pub fn lend(&self, count: u32) -> Lent {
        // The limit's carry leaves the word at its top.
        Lent::of(self.0.add(u64::from(count) << 32))
    }

    /// Owner: takes back all but `keep` of what is lent. Gives what the word says then:
    /// what lies between its limit and the limit before was taken back.
    pub fn recall(&self, keep: u32) -> Lent {
        let mut word = self.0.load();
        loop {
            let lent = Lent::of(word);
            if lent.left() <= keep {
                return lent;
            }
            let kept = Lent { taken: lent.taken, limit: lent.taken.wrapping_add(keep) };
            match self.0.replace(word, kept.word()) {
                Ok(()) => return kept,
                Err(now) => word = now,
            }
        }
    }
}

/// Who sleeps and for what: a sleeper sets its bits, looks once more at what it waits
/// for, and sleeps; whoever changes that clears the bits, and wakes the sleeper when they
/// were set. Both are read-modify-writes of one word, so one of the two sees the other.
#[derive(Debug)]
pub struct Bell<'a, W: ?Sized>(pub &'a W);

impl<W: Word + ?Sized> Bell<'_, W> {
    /// Sleeper: says that it will sleep. It must look again before it does.
    pub fn arm(&self, bits: u64) {
        self.0.set(bits);
    }

    /// Sleeper: is awake; nobody needs to wake it.
    pub fn disarm(&self, bits: u64) {
        self.0.clear(bits);
    }

    /// The other side, after its change: whether it must wake the sleeper.
    pub fn ring(&self, bits: u64) -> bool {
        self.0.clear(bits) & bits != 0
    }
}

/// How many threads of a client wait, and whether the owner is *calm*: it has nothing for
/// them, and will ask whether they wait when it has. The count and the sign stand in one
/// word: a waiter that sees the sign has been counted before the owner takes the sign away,
/// which tells it the count.
#[derive(Debug)]
pub struct Hunger<'a, W: ?Sized>(pub &'a W);

impl<W: Word + ?Sized> Hunger<'_, W> {
    const CALM: u64 = 1 << 63;

    /// Client: one more thread waits.
    pub fn enter(&self) {
        self.0.add(1);
    }

    /// Client: one thread waits no longer.
    pub fn leave(&self) {
        self.0.add(u64::MAX);
    }

    /// Client, after [`enter`](Self::enter): whether the owner is to be told.
    pub fn must_ring(&self) -> bool {
        self.0.load() & Self::CALM == 0
    }

    /// How many wait.
    pub fn count(&self) -> u32 {
        Self::count_in(self.0.load())
    }

    /// Owner: is calm from here on.
    pub fn calm(&self) {
        self.0.set(Self::CALM);
    }

    /// Owner: wants to be told again. Gives how many wait by now.
    pub fn stir(&self) -> u32 {
        Self::count_in(self.0.clear(Self::CALM))
    }

    fn count_in(word: u64) -> u32 {
        u32::try_from(word & !Self::CALM).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU64;

    #[test]
    fn counts_wrap_without_touching_each_other() {
        let start = Lent { taken: u32::MAX - 1, limit: u32::MAX - 1 };
        let word = AtomicU64::new(start.word());
        let cursor = Cursor(&word);
        assert_eq!(cursor.take(), None);
        assert_eq!(cursor.lend(4), start);
        assert_eq!(cursor.take(), Some(u32::MAX - 1));
        assert_eq!(cursor.take(), Some(u32::MAX));
        assert_eq!(cursor.take(), Some(0));
        assert_eq!(cursor.look(), Lent { taken: 1, limit: 2 });
        assert_eq!(cursor.recall(0), Lent { taken: 1, limit: 1 });
        assert_eq!(cursor.take(), None);
    }

    #[test]
    fn a_word_that_cannot_be_lends_nothing() {
        let word = AtomicU64::new(Lent { taken: 5, limit: 3 }.word());
        assert_eq!(Cursor(&word).take(), None);
        assert_eq!(Cursor(&word).look().left(), 0);
    }

    #[test]
    fn a_recall_keeps_what_it_says() {
        let word = AtomicU64::new(0);
        let cursor = Cursor(&word);
        cursor.lend(10);
        cursor.take();
        assert_eq!(cursor.recall(20), Lent { taken: 1, limit: 10 });
        assert_eq!(cursor.recall(4), Lent { taken: 1, limit: 5 });
        assert_eq!(cursor.look().left(), 4);
        assert_eq!(cursor.take_many(0), None);
        assert_eq!(cursor.take_many(3), Some((1, 3)));
        assert_eq!(cursor.take_many(3), Some((4, 1)));
        assert_eq!(cursor.take_many(3), None);
    }
}
