//! The machines of shared words, driven: spins, sleeps, wakes, rings.
//!
//! Owns the policy by the clock. Every sleep is a slice: at its end the machine looks
//! again, so that a process that was stopped half-way holds others up for a slice at most,
//! and a watched wait looks for a cycle. It must never change a word itself.

use super::page::Page;
use super::probe;
use crate::sys::page::{self, Sleep};
use procession_protocols::word::lock::LockWords;
use procession_protocols::word::lock::Word;
use procession_protocols::word::{Advice, Effect, Native, Seat, Slept, Told};
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::{Duration, Instant};

/// The first slice of a sleep; the end of it is when a cycle is looked for. Also those after
/// one in which what is waited for went round: then somebody may be in the way.
pub(super) const FIRST_SLICE: Duration = Duration::from_millis(20);
/// The other slices.
const SLICE: Duration = Duration::from_millis(100);

/// A yield that took so long, the processor is wanted by others, who are not those that are
/// waited for. A sleeper is woken sooner than one that yields comes to its turn.
const TOO_LONG: Duration = Duration::from_micros(100);

/// A wait: until when, and what else ends it.
pub(super) struct Wait<'a> {
    page: &'a Page,
    deadline: Option<Instant>,
    slice: Duration,
    /// Changes when what is waited for goes round.
    pub(super) rounds: Option<&'a AtomicU32>,
    /// Looks for a cycle, at the end of each slice.
    pub(super) watch: Option<&'a dyn Fn() -> Option<String>>,
    /// Why it ended before its time.
    pub(super) stopped: Option<Stopped>,
}

/// Why a wait ended before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The owner has ended.
    OwnerGone,
    /// It would never end.
    Cycle(String),
}

impl<'a> Wait<'a> {
    pub(super) fn new(page: &'a Page, deadline: Option<Instant>) -> Self {
        Self { page, deadline, slice: FIRST_SLICE, rounds: None, watch: None, stopped: None }
    }

    fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    fn sleep(&mut self, futex: &AtomicU32, while_is: u32, bits: u32) -> Slept {
        if self.stopped.is_some() {
            return Slept::Deadline;
        }
        // After the futex was read, before the sleep: whoever says so bumps and wakes.
        if self.page.is_gone() {
            self.stopped = Some(Stopped::OwnerGone);
            return Slept::Deadline;
        }
        let slice = self.slice;
        let rounds = |wait: &Self| wait.rounds.map(|rounds| rounds.load(Relaxed));
        let before = rounds(self);
        let left = self.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if page::sleep(futex, while_is, bits, left.map_or(slice, |left| left.min(slice)))
            == Sleep::Woken
        {
            return Slept::Woken;
        }
        if left.is_some_and(|left| left <= slice) {
            return Slept::Deadline;
        }
        self.stopped = self.watch.and_then(|watch| watch()).map(Stopped::Cycle);
        if self.stopped.is_some() {
            return Slept::Deadline;
        }
        let passed = rounds(self) != before;
        self.slice = if passed { FIRST_SLICE } else { SLICE };
        if passed { Slept::Passed } else { Slept::Slice }
    }
}

/// How a machine spins.
pub(super) trait Spin {
    /// Spins for a moment, and says what to do.
    fn advise(&mut self, wait: &Wait<'_>) -> Advice;
}

/// Steps a machine to its end.
pub(super) fn drive<T>(
    wait: &mut Wait<'_>,
    spin: &mut impl Spin,
    futex: &AtomicU32,
    ring: &dyn Fn(),
    mut step: impl FnMut(Told) -> Effect<T>,
) -> T {
    let mut told = Told::Go;
    loop {
        told = match step(told) {
            Effect::Again => Told::Go,
            Effect::Spin => Told::Advice(spin.advise(wait)),
            Effect::Sleep { while_is, bits } => Told::Slept(wait.sleep(futex, while_is, bits)),
            Effect::Wake { count, bits } => Told::Woke(page::wake(futex, count, bits)),
            Effect::Ring => {
                ring();
                Told::Go
            }
            Effect::Done(value) => return value,
        };
    }
}

/// Steps a machine that never waits.
pub(super) fn finish<T>(
    futex: &AtomicU32,
    ring: &dyn Fn(),
    mut step: impl FnMut(Told) -> Effect<T>,
) -> T {
    let mut told = Told::Go;
    loop {
        told = match step(told) {
            Effect::Wake { count, bits } => Told::Woke(page::wake(futex, count, bits)),
            Effect::Ring => {
                ring();
                Told::Go
            }
            Effect::Done(value) => return value,
            // Machines that give do not wait; were one to, it would only look again.
            Effect::Again | Effect::Spin | Effect::Sleep { .. } => Told::Go,
        };
    }
}

/// Looks a few times, and lets others run between: the way of all words but the lock's.
///
/// With a processor of its own a yield is a poll; without one it runs whoever is waited
/// for. Measured: ten are the best for semaphores and barriers, alone and oversubscribed.
pub(super) struct Yields(u32);

impl Yields {
    const MOST: u32 = 10;

    pub(super) fn new() -> Self {
        Self(0)
    }
}

impl Spin for Yields {
    fn advise(&mut self, wait: &Wait<'_>) -> Advice {
        self.0 += 1;
        if self.0 > Self::MOST {
            self.0 = 0;
            return if wait.is_late(Instant::now()) { Advice::Leave } else { Advice::Sleep };
        }
        let began = Instant::now();
        std::thread::yield_now();
        if began.elapsed() > TOO_LONG {
            self.0 = Self::MOST;
        }
        Advice::Take
    }
}

/// Whether it is worth polling before a sleep: what the last wait at a handle was like.
///
/// Who polls in vain is woken later: measured, a sleeper that had polled for five
/// microseconds came back two to four microseconds after one that had not.
#[derive(Debug, Default)]
pub(super) struct Habit {
    was_long: AtomicBool,
}

impl Clone for Habit {
    /// Another handle has waits of its own.
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Polls for a moment and keeps the processor, which on a busy machine would come back late:
/// whoever sets an event may be far from doing so, and a sleeper is woken soon. After a wait
/// that was long it sleeps at once.
pub(super) struct Pauses<'a> {
    habit: &'a Habit,
    began: Instant,
    /// Not again after a sleep.
    polls: bool,
}

impl<'a> Pauses<'a> {
    const MOMENT: Duration = Duration::from_micros(5);
    const BETWEEN: u32 = 10;
    /// A wait that was over so soon was hardly longer than the wake of a sleeper takes.
    const LONG: Duration = Duration::from_micros(25);

    pub(super) fn new(habit: &'a Habit) -> Self {
        Self { habit, began: Instant::now(), polls: !habit.was_long.load(Relaxed) }
    }

    /// The wait is over.
    pub(super) fn end(self) {
        self.habit.was_long.store(self.began.elapsed() > Self::LONG, Relaxed);
    }
}

impl Spin for Pauses<'_> {
    fn advise(&mut self, wait: &Wait<'_>) -> Advice {
        let now = Instant::now();
        if !self.polls || now.duration_since(self.began) > Self::MOMENT {
            self.polls = false;
            return if wait.is_late(now) { Advice::Leave } else { Advice::Sleep };
        }
        for _ in 0..Self::BETWEEN {
            std::hint::spin_loop();
        }
        Advice::Take
    }
}

/// The one spinner of a lock.
///
/// Short polls first, then one each two microseconds, for a poll slows the holder down.
/// After fifty the next turn is reserved, so that a tight loop elsewhere cannot keep the
/// lock for ever. When nothing moves, it sleeps.
pub(super) struct LockSpin<'a> {
    words: &'a LockWords<Native>,
    me: Seat,
    /// When the wait began, and when this turn as the one awake waiter did.
    began: Instant,
    turn: Option<Turn>,
    /// It was told to take the lock and did not get it: somebody barged.
    tried: bool,
}

struct Turn {
    began: Instant,
    /// The last release that it saw, and when.
    rel: u32,
    moved: Instant,
    reserved: bool,
    /// It has polled shortly.
    warm: bool,
}

const WARM_POLLS: u32 = 100;
const POLL_PAUSES: u32 = 100;
const RESERVE_AFTER: Duration = Duration::from_micros(50);
const IDLE_AFTER: Duration = Duration::from_micros(25);
const SPIN_FOR: Duration = Duration::from_micros(100);
const INHERIT_AFTER: Duration = Duration::from_millis(1);
const POLITE_PAUSES: u32 = 10;

impl<'a> LockSpin<'a> {
    pub(super) fn new(words: &'a LockWords<Native>, me: Seat) -> Self {
        Self { words, me, began: Instant::now(), turn: None, tried: false }
    }

    fn is_free(&self) -> bool {
        let word = Word(self.words.word.load(Relaxed));
        word.holder() == 0 || word.next() != self.me
    }

    /// Whether a free lock may be taken: not in the gap between two sections of a loop
    /// that has been seen to take it back at once.
    fn is_settled(&self) -> bool {
        let hint = self.words.hint.load(Relaxed);
        if hint == 0 {
            return true;
        }
        let rel = self.words.rel.load(Relaxed);
        (0..POLITE_PAUSES).for_each(|_| std::hint::spin_loop());
        let settled = self.is_free() && self.words.rel.load(Relaxed) == rel;
        if settled {
            self.words.hint.store(hint / 2, Relaxed);
        }
        settled
    }

    fn take(&mut self) -> Advice {
        self.tried = true;
        Advice::Take
    }

    fn rest(&mut self, now: Instant) -> Advice {
        self.turn = None;
        let long = now.duration_since(self.began) > INHERIT_AFTER;
        if long { Advice::Inherit } else { Advice::Sleep }
    }
}

impl Spin for LockSpin<'_> {
    fn advise(&mut self, wait: &Wait<'_>) -> Advice {
        if std::mem::take(&mut self.tried) {
            self.words.hint.store(2, Relaxed);
        }
        if wait.stopped.is_some() {
            return Advice::Leave;
        }
        let mut now = Instant::now();
        if probe::processors() == 1 {
            if self.is_free() {
                return self.take();
            }
            return if wait.is_late(now) { Advice::Leave } else { self.rest(now) };
        }
        let rel = self.words.rel.load(Relaxed);
        let mut turn = self.turn.take().unwrap_or(Turn {
            began: now,
            rel,
            moved: now,
            reserved: false,
            warm: false,
        });
        loop {
            let polls = if turn.warm && !turn.reserved { 1 } else { WARM_POLLS };
            for _ in 0..polls {
                if self.is_free() && (turn.reserved || self.is_settled()) {
                    self.turn = Some(turn);
                    return self.take();
                }
                let pauses = if turn.warm && !turn.reserved { POLL_PAUSES } else { 1 };
                (0..pauses).for_each(|_| std::hint::spin_loop());
            }
            turn.warm = true;
            now = Instant::now();
            let rel = self.words.rel.load(Acquire);
            if rel != turn.rel {
                (turn.rel, turn.moved) = (rel, now);
            }
            if wait.is_late(now) {
                return Advice::Leave;
            }
            let idle = now.duration_since(turn.moved) > IDLE_AFTER;
            if idle || now.duration_since(turn.began) > SPIN_FOR {
                return self.rest(now);
            }
            if !turn.reserved && now.duration_since(turn.began) > RESERVE_AFTER {
                turn.reserved = true;
                self.turn = Some(turn);
                return Advice::Reserve;
            }
        }
    }
}
