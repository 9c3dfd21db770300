//! The shared words of locks and their kin: layouts, transitions, repair.
//!
//! Owns what a process may write into a word that it shares with others, step by step.
//! Each operation is a small machine: [`step`](lock::Acquire::step) touches the shared
//! words at one place at most and says in an [`Effect`] what the caller is to do: go on,
//! spin, sleep on the record's futex, wake sleepers. So the code that runs in earnest is
//! the code that a model stops, kills and resumes between any two steps, and that loom
//! runs on its own atomics: all of it is generic over [`Memory`]. It must never make a
//! system call, read a clock or loop without giving control back, but for the retries of
//! a compare-and-swap. Its neighbour above is the runtime's `words`, which maps the
//! pages, sleeps, and decides by the clock.
//!
//! The rule of all records: a process may die between any two steps. Whatever it leaves
//! half done, the owner's repair, which runs after the death is known and after which all
//! sleepers look again, makes whole.

pub mod barrier;
pub mod condition;
pub mod deadlock;
pub mod event;
pub mod lock;
pub mod permit;
pub mod semaphore;

use core::fmt::Debug;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// One shared word.
pub trait Atomic<T: Copy + Eq> {
    /// Reads it.
    fn load(&self, order: Ordering) -> T;
    /// Writes it.
    fn store(&self, value: T, order: Ordering);
    /// Writes `new` if it is `current`; else gives what it is.
    ///
    /// # Errors
    ///
    /// What the word is, when that is not `current`.
    fn exchange(&self, current: T, new: T, success: Ordering, failure: Ordering) -> Result<T, T>;
    /// Adds, and gives what it was.
    fn add(&self, value: T, order: Ordering) -> T;

    /// Changes the word by `change`, which sees what it is and may leave it alone. Gives
    /// what it was and whether it was changed; all that `change` decided holds for that
    /// very moment.
    #[inline]
    fn update(&self, mut change: impl FnMut(T) -> Option<T>) -> (T, bool) {
        let mut now = self.load(Ordering::Acquire);
        loop {
            let Some(new) = change(now) else { return (now, false) };
            match self.exchange(now, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return (now, true),
                Err(other) => now = other,
            }
        }
    }
}

/// The words of one kind of memory: the machine's, or a model's.
pub trait Memory: Debug {
    /// A word of 32 bits.
    type U32: Atomic<u32>;
    /// A word of 64 bits.
    type U64: Atomic<u64>;
}

/// The machine's own atomics.
#[derive(Debug)]
pub struct Native;

impl Memory for Native {
    type U32 = AtomicU32;
    type U64 = AtomicU64;
}

macro_rules! native {
    ($word:ty, $value:ty) => {
        impl Atomic<$value> for $word {
            #[inline]
            fn load(&self, order: Ordering) -> $value {
                <$word>::load(self, order)
            }
            #[inline]
            fn store(&self, value: $value, order: Ordering) {
                <$word>::store(self, value, order);
            }
            #[inline]
            fn exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }
            #[inline]
            fn add(&self, value: $value, order: Ordering) -> $value {
                self.fetch_add(value, order)
            }
        }
    };
}

native!(AtomicU32, u32);
native!(AtomicU64, u64);

/// The seat of a thread that uses the words of a page: its number in the page's table of
/// seats, which names its process. 0 is nobody.
pub type Seat = u16;

/// The highest seat that a thread can have; the numbers above it mean something else.
pub const MAX_SEAT: Seat = 0xfff0;

/// Which sleepers on a futex are meant: a bitset as in `FUTEX_WAIT_BITSET`.
pub const SLEEPER: u32 = 1;
/// The one sleeper for which a lock is reserved.
pub const HEIR: u32 = 2;
/// All of them.
pub const ANYBODY: u32 = u32::MAX;
/// As many as there are.
pub const ALL: u32 = i32::MAX.cast_unsigned();

/// What the caller of a machine does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<T> {
    /// Step again.
    Again,
    /// Spin for a moment, as the clock and the policy have it, and step with what they
    /// say.
    Spin,
    /// Sleep on the record's futex while it is `while_is`, woken by the bits `bits`, and
    /// step with how that ended.
    Sleep {
        /// What the futex is while the sleep makes sense.
        while_is: u32,
        /// By which wakes it is woken.
        bits: u32,
    },
    /// Wake at most `count` sleepers, and step with how many there were.
    Wake {
        /// How many at most.
        count: u32,
        /// Which.
        bits: u32,
    },
    /// Tell the owner that those for whom it waits may have their turn, and step.
    Ring,
    /// The machine is at its end.
    Done(T),
}

/// What a machine is told when it is stepped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing.
    Go,
    /// After a spin: what to do now.
    Advice(Advice),
    /// How a sleep ended.
    Slept(Slept),
    /// How many a wake woke.
    Woke(u32),
}

/// What the policy says to a spinner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Look, and take what is free.
    Take,
    /// Look, and have the next turn reserved (locks only).
    Reserve,
    /// Enough spun: sleep.
    Sleep,
    /// Waited for long: sleep with the next turn reserved (locks only).
    Inherit,
    /// The time is up.
    Leave,
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slept {
    /// By a wake, or at once because the futex had changed, or for no reason.
    Woken,
    /// At the end of a slice: no sleep is longer than one, so that a process that was
    /// stopped in the middle of something holds others up for a slice at most.
    Slice,
    /// As [`Slice`](Self::Slice), and what is waited for went round meanwhile, without the
    /// sleeper (locks only).
    Passed,
    /// At the deadline.
    Deadline,
}
