//! The words by which a worker and its owner find out whether the other one sleeps.
//!
//! Owns the order in which both sides read and write them, for a ring of bytes that a
//! worker fills and its owner empties. Neither makes a system call for a result, unless the
//! other one sleeps:
//!
//! - An owner that is about to sleep says in the word `Asleep` for what it is to be woken,
//!   and looks at the ring once more. A worker that has put something in looks at that word,
//!   and rings if it could clear it. Both look after a full fence, so one of them sees the
//!   other.
//! - In the same way a worker that finds no room says so in `Hungry`, and the owner that
//!   makes room rings.
//!
//! An owner for whom nobody waits need not be woken for each result: an [`Alarm`] names the
//! item after which it has something to do. It must never loop or wait. It is generic over
//! the words, so that loom runs it unchanged; the bytes are the runtime's.

use super::word::{self, is_after};
use crate::word::Atomic;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Which of the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Through it items are begun: see [`word`].
    Begun,
    /// How many bytes the worker has put into the ring.
    Tail,
    /// How many of them the owner has taken.
    Head,
    /// For what the owner sleeps; 0 when it is awake.
    Asleep,
    /// Whether the worker waits for room.
    Hungry,
    /// Whether the worker uses more memory than it may.
    Outgrown,
}

/// The words of one worker.
pub trait Words {
    /// A word.
    type Word: Atomic<u64>;
    /// The word that is meant.
    fn word(&self, which: Which) -> &Self::Word;
    /// A sequentially consistent fence.
    fn fence(&self);
}

/// For what an owner sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alarm {
    /// The next result.
    Each,
    /// That the item of this number is done. It must have been sent, or be about to be.
    Done(u32),
}

/// Beside the number of an item; the number alone may be 0.
const NUMBERED: u64 = 1 << 32;
const EACH: u64 = 1;

impl Alarm {
    fn to_word(self) -> u64 {
        match self {
            Self::Each => EACH,
            Self::Done(number) => NUMBERED | u64::from(number),
        }
    }

    /// Whether a worker has to ring that has just done item `done`.
    #[expect(clippy::cast_possible_truncation, reason = "the number is the low half")]
    fn is_due(word: u64, done: u32) -> bool {
        word & NUMBERED == 0 || !is_after(word as u32, done)
    }
}

/// The worker's side: the ring has so many bytes now, since the beginning.
#[inline]
pub fn put(words: &impl Words, tail: u64) {
    words.word(Which::Tail).store(tail, Release);
}

/// The worker's side, when it is done with item `done`: whether the owner has to be rung
/// for. `is_urgent` says that it is, whatever it sleeps for. Each sleep is answered once.
pub fn must_ring(words: &impl Words, done: u32, is_urgent: bool) -> bool {
    words.fence();
    let asleep = words.word(Which::Asleep);
    let is_due = |now| now != 0 && (is_urgent || Alarm::is_due(now, done));
    is_due(asleep.load(Relaxed)) && asleep.update(|now| is_due(now).then_some(0)).1
}

/// The worker's side: how much the owner has taken.
#[inline]
pub fn taken(words: &impl Words) -> u64 {
    words.word(Which::Head).load(Acquire)
}

/// The worker's side: says that the owner is to ring when it makes room, and looks how much
/// it has taken.
pub fn wants_room(words: &impl Words) -> u64 {
    words.word(Which::Hungry).store(1, Relaxed);
    words.fence();
    taken(words)
}

/// The owner's side, which has taken `head` bytes: says that it is about to sleep. False
/// when there is something to do first. Whoever says so with [`Alarm::Each`] and then takes
/// what is in the ring need not ask.
pub fn may_sleep(words: &impl Words, head: u64, alarm: Alarm) -> bool {
    words.word(Which::Asleep).store(alarm.to_word(), Relaxed);
    words.fence();
    if let Alarm::Done(number) = alarm
        && words.word(Which::Hungry).load(Relaxed) == 0
        && is_after(number, word::begun(words.word(Which::Begun)))
    {
        // The worker has it before it, and looks at the alarm after that; also when it finds
        // no room before.
        return true;
    }
    tail(words) == head
}

/// The owner's side: says that it is awake.
pub fn wake_up(words: &impl Words) {
    words.word(Which::Asleep).store(0, Relaxed);
}

/// The owner's side: how much there is in the ring, with what has been taken.
pub fn tail(words: &impl Words) -> u64 {
    words.word(Which::Tail).load(Acquire)
}

/// The owner's side: it has taken all up to `head`. True when the worker waits for the room.
pub fn take(words: &impl Words, head: u64) -> bool {
    words.word(Which::Head).store(head, Release);
    words.fence();
    let hungry = words.word(Which::Hungry);
    hungry.load(Relaxed) != 0 && hungry.update(|now| (now != 0).then_some(0)).1
}
