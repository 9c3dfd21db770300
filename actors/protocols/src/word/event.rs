//! The word of an event.
//!
//! Owns the flag, and the generation that says how often it was set: a waiter is done
//! when the flag is set *or the generation has moved on*, so a set that is cleared at
//! once still lets everybody go who waited. (Python's own event looks at the flag again
//! and may miss that.)
//!
//! ```text
//!  31                     3 2     1          0
//! +------------------------+-----+----------+---+
//! |       generation       |agent| sleepers |set|
//! +------------------------+-----+----------+---+
//! ```
//!
//! The word itself is the futex. `sleepers` may be on without any, never off with one.
//! The generation wraps after 2^29 sets: a waiter that sleeps through exactly so many
//! waits for the next.

use super::{ALL, ANYBODY, Advice, Atomic, Effect, Memory, SLEEPER, Slept, Told};
use core::sync::atomic::Ordering::Acquire;

/// What an event's record holds.
#[derive(Debug, Default)]
#[repr(C)]
pub struct EventWords<M: Memory> {
    /// The word, which is the futex.
    pub word: M::U32,
}

const SET: u32 = 1;
const SLEEPERS: u32 = 2;
const AGENT: u32 = 4;
const ONE: u32 = 8;

const fn generation(word: u32) -> u32 {
    word / ONE
}

impl<M: Memory> EventWords<M> {
    /// Whether the flag is set.
    pub fn is_set(&self) -> bool {
        self.word.load(Acquire) & SET != 0
    }

    /// Takes the flag back.
    pub fn clear(&self) {
        self.word.update(|word| (word & SET != 0).then_some(word & !SET));
    }

    /// The owner waits for others: has it rung by the next set. `None` when the flag is
    /// set, else the generation, for [`since`](Self::since).
    pub fn enlist(&self) -> Option<u32> {
        let (was, _) = self.word.update(|word| (word & SET == 0).then_some(word | AGENT));
        (was & SET == 0).then_some(generation(was))
    }

    /// The generation, unless the flag is set.
    pub fn generation_unless_set(&self) -> Option<u32> {
        let word = self.word.load(Acquire);
        (word & SET == 0).then_some(generation(word))
    }

    /// Whether the event was set since that generation.
    pub fn since(&self, before: u32) -> bool {
        let word = self.word.load(Acquire);
        word & SET != 0 || generation(word) != before
    }
}

/// A wait for an event: the machine of one thread.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wait {
    /// The generation at the beginning.
    began: Option<u32>,
    at: WaitAt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum WaitAt {
    Look,
    Mark,
    Asleep,
}

impl Wait {
    /// A wait that begins with its first step.
    pub fn new() -> Self {
        Self { began: None, at: WaitAt::Look }
    }

    /// Where it is, for those who stop it there.
    pub fn place(&self) -> &'static str {
        match self.at {
            WaitAt::Look => "wait",
            WaitAt::Mark => "wait.mark",
            WaitAt::Asleep => "wait.sleep",
        }
    }

    /// One step. Done with whether it was set.
    pub fn step<M: Memory>(&mut self, words: &EventWords<M>, told: Told) -> Effect<bool> {
        match self.at {
            WaitAt::Look => {
                let word = words.word.load(Acquire);
                let began = *self.began.get_or_insert(generation(word));
                if word & SET != 0 || generation(word) != began {
                    return Effect::Done(true);
                }
                match told {
                    Told::Advice(Advice::Sleep) => {
                        self.at = WaitAt::Mark;
                        Effect::Again
                    }
                    Told::Advice(Advice::Leave) => Effect::Done(false),
                    _ => Effect::Spin,
                }
            }
            WaitAt::Mark => {
                let began = self.began.unwrap_or_default();
                let is_over = |word: u32| word & SET != 0 || generation(word) != began;
                let (was, _) =
                    words.word.update(|word| (!is_over(word)).then_some(word | SLEEPERS));
                if is_over(was) {
                    return Effect::Done(true);
                }
                self.at = WaitAt::Asleep;
                Effect::Sleep { while_is: was | SLEEPERS, bits: SLEEPER }
            }
            WaitAt::Asleep => {
                if told == Told::Slept(Slept::Deadline) {
                    return Effect::Done(words.since(self.began.unwrap_or_default()));
                }
                self.at = WaitAt::Mark;
                Effect::Again
            }
        }
    }
}

impl Default for Wait {
    fn default() -> Self {
        Self::new()
    }
}

/// The flag set: the machine of one thread.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Set {
    at: SetAt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum SetAt {
    Set,
    Wake { rings: bool },
    Woken { rings: bool },
    Done,
}

impl Set {
    /// A set that begins with its first step.
    pub fn new() -> Self {
        Self { at: SetAt::Set }
    }

    /// Where it is, for those who stop it there.
    pub fn place(&self) -> &'static str {
        match self.at {
            SetAt::Set => "set",
            SetAt::Wake { .. } => "set.wake",
            SetAt::Woken { .. } => "set.woken",
            SetAt::Done => "set.done",
        }
    }

    /// One step.
    pub fn step<M: Memory>(&mut self, words: &EventWords<M>) -> Effect<()> {
        match self.at {
            SetAt::Set => {
                let (was, changed) = words.word.update(|word| {
                    (word & SET == 0).then(|| (word & !(SLEEPERS | AGENT)).wrapping_add(ONE) | SET)
                });
                let rings = was & AGENT != 0;
                self.at = match (changed, was & SLEEPERS != 0) {
                    (false, _) => SetAt::Done,
                    (true, true) => SetAt::Wake { rings },
                    (true, false) => SetAt::Woken { rings },
                };
                Effect::Again
            }
            SetAt::Wake { rings } => {
                self.at = SetAt::Woken { rings };
                Effect::Wake { count: ALL, bits: ANYBODY }
            }
            SetAt::Woken { rings } => {
                self.at = SetAt::Done;
                if rings { Effect::Ring } else { Effect::Again }
            }
            SetAt::Done => Effect::Done(()),
        }
    }
}

impl Default for Set {
    fn default() -> Self {
        Self::new()
    }
}
