//! What a taker of a lock has, to give it back by.
//!
//! Owns the turns, by which one holding of a seat is told from another. It must never decide
//! who holds the lock: that is the word's. Neighbour: `lock`, which takes and gives.

use crate::share::era;
use crate::sys::page::LockRecord;
use procession_protocols::word::Seat;
use std::sync::atomic::Ordering::Relaxed;

/// A lock that has been taken.
///
/// One number, for as several fields it would go through memory on its way into a guard and
/// out again, which costs more than the lock: the seat, whether its holder before died with
/// it, the turn, and the generation. In a copy of the process, which is a generation further,
/// the lock is not the copy's.
///
/// The turn is what tells one holding of a seat from another, when somebody else has given
/// the lock back in between. Each taker writes seat and next turn into the record. Were it
/// stopped just before that, and the lock given back and taken by others meanwhile, what it
/// writes late is of its own seat, so that it says nothing of theirs. (Only tasks of one
/// process, which share a seat, could be taken for each other so.)
#[derive(Debug, Clone, Copy)]
pub struct Held(u64);

impl Held {
    const AFTER_DEATH: u64 = 1 << 16;
    /// The lowest bit of the turn, which fills the rest of the lower half.
    const TURN: u32 = 1 << 17;

    /// The next turn, of this seat, which has just taken it.
    #[inline]
    pub(super) fn next(record: &LockRecord, seat: Seat) -> Self {
        let turn = (record.last.load(Relaxed) & !(Self::TURN - 1)).wrapping_add(Self::TURN);
        record.last.store(turn | u32::from(seat), Relaxed);
        Self::of(turn, seat)
    }

    /// The turn that is, as this seat's, which holds it.
    #[inline]
    pub(super) fn now(record: &LockRecord, seat: Seat) -> Self {
        Self::of(record.last.load(Relaxed) & !(Self::TURN - 1), seat)
    }

    #[inline]
    fn of(turn: u32, seat: Seat) -> Self {
        Self(u64::from(era::generation()) << 32 | u64::from(turn) | u64::from(seat))
    }

    /// The same; and the holder before died with it.
    pub(super) fn after_death(self) -> Self {
        Self(self.0 | Self::AFTER_DEATH)
    }

    /// Whether its seat has not taken the lock again since.
    #[inline]
    pub(super) fn is_last(self, record: &LockRecord) -> bool {
        let last = record.last.load(Relaxed);
        last == self.turn_and_seat() || (last & 0xffff) as Seat != self.seat()
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    pub(super) fn turn_and_seat(self) -> u32 {
        (self.0 & !Self::AFTER_DEATH) as u32
    }

    #[inline]
    pub(super) fn seat(self) -> Seat {
        (self.0 & 0xffff) as Seat
    }

    #[inline]
    pub(super) fn is_of(self, generation: u32) -> bool {
        self.0 >> 32 == u64::from(generation)
    }

    #[inline]
    pub(super) fn is_after_death(self) -> bool {
        self.0 & Self::AFTER_DEATH != 0
    }
}
