//! The sleepers of a condition.
//!
//! Owns how one waits to be notified and who is. A waiter sleeps on the bell of its own
//! seat; the bell says for which condition it waits, and whether it has been notified. It
//! takes a ticket and sets its bell while it holds the condition's lock, then gives the
//! lock back and sleeps; it clears the bell when it has the lock again, and that is the
//! moment at which the notification is spent. A notifier, who holds the lock too, rings
//! the bells of the lowest tickets: exact, first come, first served, and no wake-up can be
//! stolen. A time-out takes its own bell back, and if that fails it was notified.
//!
//! A seat that dies with a notification unspent hands it to the next waiter: [`repair`].

use super::{Advice, Atomic, Effect, Memory, SLEEPER, Seat, Slept, Told};
use core::cmp::Reverse;
use core::sync::atomic::Ordering::{Acquire, Release};
use smallvec::SmallVec;

/// What a condition's record holds.
#[derive(Debug, Default)]
#[repr(C)]
pub struct ConditionWords<M: Memory> {
    /// The last ticket given out; changed under the lock only.
    pub tickets: M::U32,
}

/// The part of a seat with which it waits.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Bell<M: Memory> {
    /// State and condition; the futex of this seat.
    pub word: M::U32,
    /// When it came.
    pub ticket: M::U32,
}

/// The bells of a page: one for each seat.
pub trait Bells<M: Memory> {
    /// The bell of a seat.
    fn bell(&self, seat: Seat) -> Option<&Bell<M>>;
    /// The highest seat that was ever taken.
    fn highest(&self) -> Seat;
}

/// What a bell says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Silent,
    /// Its thread sleeps, or is about to.
    Waiting,
    /// It has been notified, and has not come to its lock yet.
    Notified,
    /// The owner waits for it: a ring, not a wake.
    Listening,
}

const RECORD: u32 = (1 << 30) - 1;

const fn word(state: State, record: u32) -> u32 {
    record & RECORD | (state as u32) << 30
}

const fn parts(word: u32) -> (State, u32) {
    let state = match word >> 30 {
        0 => State::Silent,
        1 => State::Waiting,
        2 => State::Notified,
        _ => State::Listening,
    };
    (state, word & RECORD)
}

/// Sets the bell of a seat whose thread holds the lock of the condition in `record` and
/// is about to give it back. `listens` is for a waiter without a thread.
pub fn enter<M: Memory>(words: &ConditionWords<M>, bell: &Bell<M>, record: u32, listens: bool) {
    let ticket = words.tickets.load(Acquire).wrapping_add(1);
    words.tickets.store(ticket, Release);
    bell.ticket.store(ticket, Release);
    let state = if listens { State::Listening } else { State::Waiting };
    bell.word.store(word(state, record), Release);
}

/// Clears the bell, when its thread has the lock again.
pub fn leave<M: Memory>(bell: &Bell<M>) {
    bell.word.store(0, Release);
}

/// Whether the bell has been rung.
pub fn is_notified<M: Memory>(bell: &Bell<M>) -> bool {
    parts(bell.word.load(Acquire)).0 == State::Notified
}

/// Whether the bell is about the condition in `record`.
pub fn concerns<M: Memory>(bell: &Bell<M>, record: u32) -> bool {
    let (state, about) = parts(bell.word.load(Acquire));
    state != State::Silent && about == record & RECORD
}

/// Takes the bell back at a time-out. False when it was notified before.
pub fn give_up<M: Memory>(bell: &Bell<M>) -> bool {
    let (was, _) = bell.word.update(|now| (parts(now).0 != State::Notified).then_some(0));
    parts(was).0 != State::Notified
}

/// A sleep until notified: the machine of one thread, between [`enter`] and taking the
/// lock again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wait;

impl Wait {
    /// Where it is, for those who stop it there.
    pub fn place(&self) -> &'static str {
        "condition.sleep"
    }

    /// One step. Done with whether it was notified.
    pub fn step<M: Memory>(&mut self, bell: &Bell<M>, told: Told) -> Effect<bool> {
        if matches!(told, Told::Slept(Slept::Deadline) | Told::Advice(Advice::Leave)) {
            return Effect::Done(!give_up(bell));
        }
        let now = bell.word.load(Acquire);
        match parts(now).0 {
            State::Waiting => Effect::Sleep { while_is: now, bits: SLEEPER },
            State::Notified => Effect::Done(true),
            // Not as it was left: not notified.
            State::Silent | State::Listening => Effect::Done(false),
        }
    }
}

/// A notification of up to so many: the machine of one thread that holds the lock, and of
/// the owner that passes on what a dead one did not spend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notify {
    record: u32,
    left: u32,
    /// Who waited when it looked, the last to be notified first.
    found: Option<Found>,
    at: NotifyAt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum NotifyAt {
    Look,
    Next,
    Wake(Seat),
    Woken,
}

/// What a notifier does next. The futexes are those of other seats, so it says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rings {
    /// Step again.
    Again,
    /// Wake the sleeper on the bell of this seat, and step.
    Wake(Seat),
    /// Tell the owner that one for whom it waits has been notified, and step.
    Ring,
    /// So many could not be notified: nobody waited any more.
    Done(u32),
}

impl Notify {
    /// Notifies up to `count` waiters of the condition in `record`.
    pub fn new(record: u32, count: u32) -> Self {
        Self { record: record & RECORD, left: count, found: None, at: NotifyAt::Look }
    }

    /// Where it is, for those who stop it there.
    pub fn place(&self) -> &'static str {
        match self.at {
            NotifyAt::Look => "notify",
            NotifyAt::Next => "notify.next",
            NotifyAt::Wake(_) => "notify.wake",
            NotifyAt::Woken => "notify.woken",
        }
    }

    /// One step.
    pub fn step<M: Memory>(&mut self, words: &ConditionWords<M>, bells: &impl Bells<M>) -> Rings {
        match self.at {
            NotifyAt::Look => {
                self.found = Some(waiters(words, bells, self.record));
                self.at = NotifyAt::Next;
                Rings::Again
            }
            NotifyAt::Next => {
                let next = self.found.as_mut().and_then(SmallVec::pop);
                let Some((_, seat)) = next.filter(|_| self.left > 0) else {
                    return Rings::Done(self.left);
                };
                let Some(bell) = bells.bell(seat) else { return Rings::Again };
                let waits = |now: u32| {
                    let (state, record) = parts(now);
                    record == self.record && matches!(state, State::Waiting | State::Listening)
                };
                let notified = word(State::Notified, self.record);
                let (was, rung) = bell.word.update(|now| waits(now).then_some(notified));
                if !rung {
                    // It gave up meanwhile: the next one.
                    return Rings::Again;
                }
                self.left -= 1;
                if parts(was).0 == State::Listening {
                    return Rings::Ring;
                }
                self.at = NotifyAt::Wake(seat);
                Rings::Again
            }
            NotifyAt::Wake(seat) => {
                self.at = NotifyAt::Woken;
                Rings::Wake(seat)
            }
            NotifyAt::Woken => {
                self.at = NotifyAt::Next;
                Rings::Again
            }
        }
    }
}

/// How long ago each came, and its seat. Few wait for one condition as a rule, and whoever
/// notifies them holds its lock: they shall not wait for the allocator.
type Found = SmallVec<[(u32, Seat); 4]>;

/// Who waits for the condition in `record`, the longest waiter last.
fn waiters<M: Memory>(words: &ConditionWords<M>, bells: &impl Bells<M>, record: u32) -> Found {
    let last = words.tickets.load(Acquire);
    let mut found = Found::new();
    for seat in 1..=bells.highest() {
        let Some(bell) = bells.bell(seat) else { continue };
        let (state, about) = parts(bell.word.load(Acquire));
        if about == record && matches!(state, State::Waiting | State::Listening) {
            // How long ago it came, so that tickets may wrap.
            found.push((last.wrapping_sub(bell.ticket.load(Acquire)), seat));
        }
    }
    found.sort_unstable_by_key(|(age, seat)| (*age, Reverse(*seat)));
    found
}

/// How many waiters of the condition in `record` have not been notified.
pub fn waiting<M: Memory>(words: &ConditionWords<M>, bells: &impl Bells<M>, record: u32) -> usize {
    waiters(words, bells, record & RECORD).len()
}

/// Silences the bell of a dead seat, and gives the condition whose notification it had
/// not spent: the owner then notifies one more. After all bells of a dead process the
/// owner wakes every notified one again, for the notifier may have died before its wake.
pub fn repair<M: Memory>(bell: &Bell<M>) -> Option<u32> {
    let (was, _) = bell.word.update(|now| (now != 0).then_some(0));
    let (state, record) = parts(was);
    (state == State::Notified).then_some(record)
}
