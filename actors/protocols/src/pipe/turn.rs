//! Whose turn it is at one thing that several processes do: the words and their changes.
//!
//! Owns the algorithm of a turn that outlives its holder. A turn is held for one message. A
//! holder that dies while all is settled has done no harm, and whoever waits takes the turn
//! over; one that dies midway leaves a piece of a message behind, so that this direction is
//! broken from then on. It must never sleep or ask whether a process lives: the runtime's
//! `pipe::turn` does. It is generic over the word, so that loom runs it unchanged.
//!
//! ```text
//!          take (compare and swap)                    more than the socket holds
//!   free ───────────────────────────> held, settled ──────────────────────────> held, midway
//!    ^                                  │    ^                                    │   │
//!    └───────────── release ────────────┘    └───────────── all of it ────────────┘   │
//!                                                                        holder died  v
//!   held, settled, and the holder died: the next one takes it over.                 broken
//! ```

/// A shared 64-bit word.
pub trait Word {
    /// Reads it (acquire).
    fn load(&self) -> u64;
    /// Writes it (release).
    fn store(&self, value: u64);
    /// Makes it 0, and gives what was there before (acquire and release).
    fn take(&self) -> u64;
    /// Replaces `old` by `new`; otherwise gives what is there instead (acquire and release).
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

    fn take(&self) -> u64 {
        self.swap(0, core::sync::atomic::Ordering::AcqRel)
    }

    fn replace(&self, old: u64, new: u64) -> Result<(), u64> {
        use core::sync::atomic::Ordering::{AcqRel, Acquire};
        self.compare_exchange(old, new, AcqRel, Acquire).map(drop)
    }
}

/// Beside the holder in its word: somebody sleeps. No holder's name has this bit.
pub const SLEEPERS: u64 = 1 << 31;

const SETTLED: u64 = 0;
const MIDWAY: u64 = 1;
const BROKEN: u64 = 2;

/// The turn at one thing.
#[derive(Debug)]
pub struct Turn<'a, W> {
    /// 0, or the holder's name.
    pub holder: &'a W,
    /// How far the holder is.
    pub state: &'a W,
    /// How many messages have passed; changes with each.
    pub passed: &'a W,
}

impl<W> Clone for Turn<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Turn<'_, W> {}

/// What became of an attempt to take a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It is ours.
    Taken,
    /// It is ours, but a message was torn here, now or before.
    Broken,
    /// This one has it.
    Busy(u64),
}

impl<W: Word> Turn<'_, W> {
    /// Takes the turn, under this name, if nobody has it.
    pub fn try_take(self, me: u64) -> Attempt {
        match self.holder.replace(0, me) {
            Ok(()) if self.state.load() == SETTLED => Attempt::Taken,
            Ok(()) => Attempt::Broken,
            Err(held) => Attempt::Busy(held),
        }
    }

    /// Says that somebody sleeps until the turn of `held` ends. Gives what the word is as
    /// long as it has not; `None` when it has.
    pub fn mark(self, held: u64) -> Option<u64> {
        let marked = held | SLEEPERS;
        if held == marked {
            return (self.holder.load() == held).then_some(held);
        }
        self.holder.replace(held, marked).ok().map(|()| marked)
    }

    /// Gives the turn of `held` back, which is dead. False when it had been given back. Those
    /// who sleep are to be woken after it has.
    pub fn inherit(self, held: u64, me: u64) -> bool {
        // Whoever gets it from here on does what its death left to do: nobody else may.
        if self.holder.replace(held, me | SLEEPERS).is_err() {
            return false;
        }
        if self.state.load() == MIDWAY {
            self.state.store(BROKEN);
        }
        self.pass();
        self.release();
        true
    }

    /// Gives the turn to whoever comes. True when those who sleep are to be woken: all of
    /// them, for whoever takes the turn does not know whether others sleep.
    #[must_use = "others may sleep"]
    pub fn give(self) -> bool {
        self.release() & SLEEPERS != 0
    }

    fn release(self) -> u64 {
        self.holder.take()
    }

    /// A piece of a message is out, or in, and the rest is not.
    pub fn set_midway(self) {
        self.state.store(MIDWAY);
    }

    /// All pieces are.
    pub fn settle(self) {
        self.state.store(SETTLED);
    }

    /// The rest will never be.
    pub fn break_off(self) {
        self.state.store(BROKEN);
    }

    /// Whether the rest of a message is still to come.
    pub fn is_midway(self) -> bool {
        self.state.load() == MIDWAY
    }

    /// A message has been taken. Only for who has the turn.
    pub fn pass(self) {
        self.passed.store(self.passed.load().wrapping_add(1));
    }
}
