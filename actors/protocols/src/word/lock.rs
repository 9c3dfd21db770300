//! The word of a lock.
//!
//! Owns the layout and the transitions of `Lock` and `RLock`. At most one waiter of a
//! lock is awake, `NEXT`; the others sleep. The one that takes the lock in turn sends for
//! the next sleeper, so waiters rotate first come, first served, and the wake overlaps
//! with a critical section. Newcomers may take a free lock past `NEXT` (barging) until it
//! has the lock reserved for itself. Its neighbours: `acquire` and `release`, the
//! machines; `agent`, the owner's side for waiters without a thread.
//!
//! ```text
//!  63    53 52 51 50 49 48 47      32 31      16 15       0
//! +--------+--+--+--+--+--+----------+----------+----------+
//! |        |T |A |D |OW|NS H| sleepers |   next   |  holder  |
//! +--------+--+--+--+--+--+----------+----------+----------+
//! ```
//!
//! - **holder**: the seat that holds it, written by the same compare-and-swap that takes
//!   it, so a dead holder is always seen. 0 is free.
//! - **next**: the one awake waiter; [`WAKING`] when a sleeper has been sent for,
//!   [`AGENT`] when the owner has been.
//! - **sleepers**: counted; may be too many, never too few.
//! - **H**: reserved for `next`, no barging. **NS**: `next` sleeps, wake it by its own
//!   bit. **OW**: whoever releases owes the wake (or ring) of the one sent for. **D**: the
//!   last holder died; the next taker clears it and is told. **A**: the owner waits for
//!   others. **T**: whose turn it is when both sleep, so that neither starves.

mod acquire;
mod agent;
mod release;

pub use acquire::{Acquire, Taken, try_take};
pub use agent::{Served, serve, strike};
pub use release::{NotHeld, Release, repair};

use super::{Atomic, Memory, Seat};
use core::sync::atomic::Ordering;

/// `next` when a sleeper has been sent for and has not come yet.
pub const WAKING: Seat = 0xffff;
/// `next` when the owner has been rung for those for whom it waits.
pub const AGENT: Seat = 0xfffe;

/// What a lock's record holds; all of it is in one cache line.
#[derive(Debug, Default)]
#[repr(C)]
pub struct LockWords<M: Memory> {
    /// The word.
    pub word: M::U64,
    /// The futex: every sleep is on it, and it is bumped before every wake.
    pub seq: M::U32,
    /// Counts releases that others waited for, roughly: whether the lock moves.
    pub rel: M::U32,
    /// How polite a spinner is to a holder in a tight loop; see the policy.
    pub hint: M::U32,
    /// How often its holder holds it, for recursive locks: written by the holder alone.
    pub depth: M::U32,
}

/// The word, taken apart by its readers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Word(pub u64);

impl Word {
    const NEXT: u32 = 16;
    const SLEEPERS: u32 = 32;
    const RESERVED: u64 = 1 << 48;
    const NEXT_SLEEPS: u64 = 1 << 49;
    const DEBT: u64 = 1 << 50;
    const DIED: u64 = 1 << 51;
    const ASYNC: u64 = 1 << 52;
    const TURN: u64 = 1 << 53;

    /// The seat that holds it, 0 when it is free.
    #[inline]
    pub const fn holder(self) -> Seat {
        (self.0 & 0xffff) as Seat
    }

    /// The one awake waiter, or [`WAKING`] or [`AGENT`].
    #[inline]
    pub const fn next(self) -> Seat {
        (self.0 >> Self::NEXT & 0xffff) as Seat
    }

    /// How many sleep, at most.
    #[inline]
    pub const fn sleepers(self) -> u16 {
        (self.0 >> Self::SLEEPERS & 0xffff) as u16
    }

    /// Whether a newcomer may take it.
    #[inline]
    pub const fn is_open(self) -> bool {
        self.holder() == 0 && !self.has(Self::RESERVED)
    }

    /// Whether the last holder died and nobody has been told yet.
    #[inline]
    pub const fn died(self) -> bool {
        self.has(Self::DIED)
    }

    /// Whether a release wakes the one who is next.
    #[inline]
    const fn owes(self) -> bool {
        self.has(Self::DEBT | Self::NEXT_SLEEPS)
    }

    #[inline]
    const fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    #[inline]
    const fn on(self, flag: u64) -> Self {
        Self(self.0 | flag)
    }

    #[inline]
    const fn off(self, flag: u64) -> Self {
        Self(self.0 & !flag)
    }

    #[inline]
    const fn held_by(self, seat: Seat) -> Self {
        Self(self.0 & !0xffff | seat as u64)
    }

    #[inline]
    const fn with_next(self, seat: Seat) -> Self {
        Self(self.0 & !(0xffff << Self::NEXT) | (seat as u64) << Self::NEXT)
    }

    const fn with_sleepers(self, count: u16) -> Self {
        Self(self.0 & !(0xffff << Self::SLEEPERS) | (count as u64) << Self::SLEEPERS)
    }

    /// One more sleeper. A full count stays full: it is never too low.
    const fn one_sleeps(self) -> Self {
        self.with_sleepers(self.sleepers().saturating_add(1))
    }

    /// Taken by a newcomer.
    const fn barged(self, me: Seat) -> Self {
        self.held_by(me).off(Self::DIED)
    }

    /// Taken by the waiter whose turn it is, who sends for the one after it. The wake is
    /// left to whoever releases.
    const fn in_turn(self, me: Seat) -> Self {
        let taken =
            self.held_by(me).with_next(0).off(Self::DIED | Self::RESERVED | Self::NEXT_SLEEPS);
        match taken.send_for() {
            (sent, true) => sent.on(Self::DEBT),
            (unsent, false) => unsent,
        }
    }

    /// Whoever was `next` is so no longer, but `me`. If that was the owner, it waits on for
    /// those for whom it waits.
    const fn taken_over(self, me: Seat) -> Self {
        let ours = self.with_next(me).off(Self::RESERVED);
        if self.next() == AGENT { ours.on(Self::ASYNC) } else { ours }
    }

    /// Sends for the next one that sleeps, whose wake is the caller's to do: a sleeper or
    /// the owner, by turns.
    const fn send_for(self) -> (Self, bool) {
        let sleepers = self.sleepers();
        if self.has(Self::ASYNC) && (sleepers == 0 || !self.has(Self::TURN)) {
            (self.with_next(AGENT).off(Self::ASYNC).on(Self::TURN), true)
        } else if sleepers > 0 {
            (self.with_next(WAKING).with_sleepers(sleepers - 1).off(Self::TURN), true)
        } else {
            (self, false)
        }
    }
}

impl core::fmt::Debug for Word {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Word")
            .field("holder", &self.holder())
            .field("next", &self.next())
            .field("sleepers", &self.sleepers())
            .field("flags", &format_args!("{:b}", self.0 >> 48))
            .finish()
    }
}

impl<M: Memory> LockWords<M> {
    /// The word as it is.
    #[inline]
    pub fn look(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Takes a lock that a newcomer may take, if there is nothing to tell: one step when
    /// nobody wants it, two when somebody waits for it awake.
    #[inline]
    pub fn take_fast(&self, me: Seat) -> bool {
        let mine = u64::from(me);
        match self.word.exchange(0, mine, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => true,
            Err(now) => {
                let word = Word(now);
                word.is_open()
                    && !word.died()
                    && self
                        .word
                        .exchange(now, now | mine, Ordering::Acquire, Ordering::Relaxed)
                        .is_ok()
            }
        }
    }

    /// Frees a lock that `me` holds, if nobody is to be woken for that: one step when nobody
    /// else wants it, two when somebody waits for it awake.
    #[inline]
    pub fn free_fast(&self, me: Seat) -> bool {
        let mine = u64::from(me);
        match self.word.exchange(mine, 0, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => true,
            Err(now) => {
                let word = Word(now);
                if word.holder() != me || word.next() == 0 || word.owes() {
                    return false;
                }
                self.moves();
                let free = word.held_by(0).0;
                self.word.exchange(now, free, Ordering::Release, Ordering::Relaxed).is_ok()
            }
        }
    }

    /// Says that the lock is given back while somebody waits; comes before that.
    #[inline]
    pub fn moves(&self) {
        self.rel.store(self.rel.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Changes the futex, so that who is on its way to sleep does not. Comes before a wake.
    pub fn bump(&self) {
        self.seq.add(1, Ordering::AcqRel);
    }

    fn update(&self, mut change: impl FnMut(Word) -> Option<Word>) -> (Word, bool) {
        let (was, changed) = self.word.update(|word| change(Word(word)).map(|new| new.0));
        (Word(was), changed)
    }
}
