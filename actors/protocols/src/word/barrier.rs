//! The word of a barrier.
//!
//! Owns the rounds: who has arrived, whether the round is broken, and how the one before
//! ended, for those who have not looked yet.
//!
//! ```text
//!  63         40 39      32 31       24 23  22    21 20         0
//! +-------------+----------+-----------+---+-----+--+------------+
//! |    round    |  resets  |  history  |agt|sleep|br|  arrived   |
//! +-------------+----------+-----------+---+-----+--+------------+
//! ```
//!
//! The last party moves the word to the next round in one compare-and-swap. Breaking a
//! round does not move it; a reset does, is counted, and leaves a 1 in the history, where a
//! round that was passed leaves a 0. So a waiter that looks late, when others have met many
//! times since, knows how its round ended: without a reset since, it was passed. (With one
//! it can be late by 8 rounds; later it is told that its round was broken.) Sleepers sleep
//! on `seq`, for a break changes no other word that a sleeper could wait for.

use super::{ALL, ANYBODY, Advice, Atomic, Effect, Memory, SLEEPER, Slept, Told};
use core::sync::atomic::Ordering::{AcqRel, Acquire};

/// The most parties that a barrier can have.
pub const MAX_PARTIES: u32 = (1 << 21) - 1;

/// What a barrier's record holds.
#[derive(Debug, Default)]
#[repr(C)]
pub struct BarrierWords<M: Memory> {
    /// The word.
    pub word: M::U64,
    /// The futex.
    pub seq: M::U32,
}

/// The round was broken: by a time-out, a reset, an abort, or the death of a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Broken;

/// The word, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Word(pub u64);

impl Word {
    const BROKEN: u64 = 1 << 21;
    const SLEEPERS: u64 = 1 << 22;
    const AGENT: u64 = 1 << 23;
    const ARRIVED: u64 = MAX_PARTIES as u64;
    const ROUNDS: u32 = 1 << 24;
    const RESETS: u32 = 1 << 8;

    /// How many have arrived in this round.
    pub const fn arrived(self) -> u32 {
        (self.0 & Self::ARRIVED) as u32
    }

    /// Whether this round is broken.
    pub const fn is_broken(self) -> bool {
        self.0 & Self::BROKEN != 0
    }

    /// Which round this is, and below that how many resets came before it; both wrap.
    pub const fn round(self) -> u32 {
        (self.0 >> 32) as u32
    }

    const fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    /// The next round, empty, after this one was passed or reset.
    const fn next(self, was_reset: bool) -> Self {
        let resets = self.round().wrapping_add(was_reset as u32) % Self::RESETS;
        let round = (self.round() / Self::RESETS).wrapping_add(1) % Self::ROUNDS;
        let history = (self.0 >> 24 & 0xff) << 1 & 0xff | was_reset as u64;
        Self(((round * Self::RESETS + resets) as u64) << 32 | history << 24)
    }

    /// How the round `mine` stands, seen from here: `None` while it lasts.
    const fn verdict(self, mine: u32) -> Option<Result<(), Broken>> {
        let (now, then) = (self.round() / Self::RESETS, mine / Self::RESETS);
        let ago = now.wrapping_sub(then) % Self::ROUNDS;
        let was_reset = self.round() % Self::RESETS != mine % Self::RESETS;
        match ago {
            0 if self.is_broken() => Some(Err(Broken)),
            0 => None,
            _ if !was_reset => Some(Ok(())),
            1..=8 if self.0 >> (24 + ago - 1) & 1 == 0 => Some(Ok(())),
            _ => Some(Err(Broken)),
        }
    }
}

impl<M: Memory> BarrierWords<M> {
    /// The word as it is.
    pub fn look(&self) -> Word {
        Word(self.word.load(Acquire))
    }

    /// The owner waits for a party of the round `mine`: has it rung at the round's end.
    /// Gives the verdict when that has come already.
    pub fn enlist(&self, mine: u32) -> Option<Result<(), Broken>> {
        let (was, _) =
            self.update(|word| word.verdict(mine).is_none().then_some(Word(word.0 | Word::AGENT)));
        was.verdict(mine)
    }

    /// Changes the futex, so that who is on its way to sleep does not. Comes before a wake.
    /// After any death of one that had the barrier, too, for it may have moved the round
    /// on and not come to its wake.
    pub fn bump(&self) {
        self.seq.add(1, AcqRel);
    }

    fn update(&self, mut change: impl FnMut(Word) -> Option<Word>) -> (Word, bool) {
        let (was, changed) = self.word.update(|word| change(Word(word)).map(|new| new.0));
        (Word(was), changed)
    }
}

/// What becomes of one that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arrived {
    /// It has passed, as the so-manyth of its round.
    Passed(u32),
    /// It is the last of its round, which waits until it has called
    /// [`Wait::finish`]: its action runs now.
    Last,
    /// Its round was broken.
    Broken,
    /// It has arrived, and does not wait here: the owner waits for it in this round.
    Listens {
        /// The round.
        round: u32,
        /// Its index in the round.
        index: u32,
    },
}

/// One party in one round: the machine of one thread.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wait {
    parties: u32,
    acts: bool,
    listens: bool,
    round: u32,
    index: u32,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Arrive,
    /// The round is full and its action runs: waits for the next one.
    Full,
    FullSeq,
    FullMark(u32),
    FullAsleep,
    Look,
    ReadSeq,
    Mark(u32),
    Asleep,
    /// Too late: breaks the round.
    Break,
    Finish,
    Bump {
        rings: bool,
        end: Arrived,
    },
    Wake {
        rings: bool,
        end: Arrived,
    },
    Ring {
        end: Arrived,
    },
    Done(Arrived),
}

impl Wait {
    /// One of so many parties. With `acts` the last one is told so before the others are
    /// let go; with `listens` the owner waits for it.
    pub fn new(parties: u32, acts: bool, listens: bool) -> Self {
        Self { parties, acts, listens, round: 0, index: 0, at: At::Arrive }
    }

    /// Where it is, for those who stop it there.
    pub fn place(&self) -> &'static str {
        match self.at {
            At::Arrive => "barrier",
            At::Full | At::FullSeq | At::FullMark(_) | At::FullAsleep => "barrier.full",
            At::Look => "barrier.look",
            At::ReadSeq => "barrier.read",
            At::Mark(_) => "barrier.mark",
            At::Asleep => "barrier.sleep",
            At::Break => "barrier.break",
            At::Finish => "barrier.finish",
            At::Bump { .. } => "barrier.bump",
            At::Wake { .. } => "barrier.wake",
            At::Ring { .. } => "barrier.ring",
            At::Done(_) => "barrier.done",
        }
    }

    /// The round in which it is, or whose end it waits for to arrive in the next one: whoever
    /// has no thread has the owner wait for that ([`BarrierWords::enlist`]) and steps on.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// Ends the round, after the last one's action: step on.
    pub fn finish(&mut self) {
        self.at = At::Finish;
    }

    /// One step.
    pub fn step<M: Memory>(&mut self, words: &BarrierWords<M>, told: Told) -> Effect<Arrived> {
        match self.at {
            At::Arrive => self.arrive(words),
            At::Full => match told {
                Told::Advice(Advice::Sleep) => self.go(At::FullSeq),
                // It has not arrived, so nobody else waits for it: but its own time is up,
                // and as in any wait for a round that breaks the round.
                Told::Advice(Advice::Leave) => self.go(At::Break),
                _ => self.full_again(words),
            },
            At::FullSeq => self.go(At::FullMark(words.seq.load(Acquire))),
            At::FullMark(seq) => self.mark(words, seq, At::FullAsleep),
            At::FullAsleep => match told {
                Told::Slept(Slept::Deadline) => self.go(At::Break),
                _ => self.full_again(words),
            },
            At::Look => {
                if let Some(verdict) = words.look().verdict(self.round) {
                    return self.end(verdict);
                }
                match told {
                    Told::Advice(Advice::Sleep) => self.go(At::ReadSeq),
                    Told::Advice(Advice::Leave) => self.go(At::Break),
                    _ => Effect::Spin,
                }
            }
            At::ReadSeq => self.go(At::Mark(words.seq.load(Acquire))),
            At::Mark(seq) => self.mark(words, seq, At::Asleep),
            At::Asleep => match told {
                Told::Slept(Slept::Deadline) => self.go(At::Break),
                _ => self.go(At::ReadSeq),
            },
            At::Break => {
                let round = self.round;
                let (was, broke) =
                    words.update(|word| word.verdict(round).is_none().then(|| broken(word)));
                if !broke {
                    return match was.verdict(round) {
                        Some(verdict) if self.index != u32::MAX => self.end(verdict),
                        _ => Effect::Done(Arrived::Broken),
                    };
                }
                self.notify(was, Arrived::Broken)
            }
            At::Finish => {
                let round = self.round;
                let (was, passed) =
                    words.update(|word| word.verdict(round).is_none().then(|| word.next(false)));
                if !passed {
                    return Effect::Done(Arrived::Broken);
                }
                self.notify(was, Arrived::Passed(self.index))
            }
            At::Bump { rings, end } => {
                words.seq.add(1, AcqRel);
                self.go(At::Wake { rings, end })
            }
            At::Wake { rings, end } => {
                self.at = if rings { At::Ring { end } } else { At::Done(end) };
                Effect::Wake { count: ALL, bits: ANYBODY }
            }
            At::Ring { end } => {
                self.at = At::Done(end);
                Effect::Ring
            }
            At::Done(end) => Effect::Done(end),
        }
    }

    fn arrive<M: Memory>(&mut self, words: &BarrierWords<M>) -> Effect<Arrived> {
        let (parties, acts, listens) = (self.parties, self.acts, self.listens);
        let (was, arrived) = words.update(|word| {
            if word.is_broken() || word.arrived() >= parties {
                None
            } else if word.arrived() + 1 == parties && !acts {
                Some(word.next(false))
            } else {
                let listens = if listens { Word::AGENT } else { 0 };
                Some(Word((word.0 | listens) + 1))
            }
        });
        self.round = was.round();
        self.index = was.arrived();
        if was.is_broken() {
            return Effect::Done(Arrived::Broken);
        }
        if !arrived {
            self.index = u32::MAX;
            self.at = At::Full;
            return Effect::Spin;
        }
        if was.arrived() + 1 < parties {
            if listens {
                let (round, index) = (self.round, self.index);
                return Effect::Done(Arrived::Listens { round, index });
            }
            self.at = At::Look;
            return Effect::Spin;
        }
        if acts {
            return Effect::Done(Arrived::Last);
        }
        self.notify(was, Arrived::Passed(self.index))
    }

    fn full_again<M: Memory>(&mut self, words: &BarrierWords<M>) -> Effect<Arrived> {
        if words.look().verdict(self.round).is_none() {
            self.at = At::Full;
            return Effect::Spin;
        }
        self.go(At::Arrive)
    }

    fn mark<M: Memory>(&mut self, words: &BarrierWords<M>, seq: u32, at: At) -> Effect<Arrived> {
        let round = self.round;
        let (was, _) = words
            .update(|word| word.verdict(round).is_none().then_some(Word(word.0 | Word::SLEEPERS)));
        match was.verdict(round) {
            Some(_) if at == At::FullAsleep => self.go(At::Arrive),
            Some(verdict) => self.end(verdict),
            None => {
                self.at = at;
                Effect::Sleep { while_is: seq, bits: SLEEPER }
            }
        }
    }

    fn end(&mut self, verdict: Result<(), Broken>) -> Effect<Arrived> {
        Effect::Done(match verdict {
            Ok(()) => Arrived::Passed(self.index),
            Err(Broken) => Arrived::Broken,
        })
    }

    fn notify(&mut self, was: Word, end: Arrived) -> Effect<Arrived> {
        let rings = was.has(Word::AGENT);
        self.go(match (was.has(Word::SLEEPERS), rings) {
            (true, _) => At::Bump { rings, end },
            (false, true) => At::Ring { end },
            (false, false) => return Effect::Done(end),
        })
    }

    fn go(&mut self, at: At) -> Effect<Arrived> {
        self.at = at;
        Effect::Again
    }
}

const fn broken(word: Word) -> Word {
    Word((word.0 | Word::BROKEN) & !(Word::SLEEPERS | Word::AGENT))
}

/// How a barrier is changed from outside a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Broken, until it is reset.
    Abort,
    /// As that, if it is in this round still.
    Forsake(u32),
    /// Emptied; those who wait get [`Broken`].
    Reset,
}

/// Changes it. The caller then [bumps](BarrierWords::bump) the futex and wakes everybody,
/// and rings the owner when the answer is true.
pub fn change<M: Memory>(words: &BarrierWords<M>, how: Change) -> bool {
    let (was, _) = words.update(|word| match how {
        Change::Abort => (!word.is_broken()).then(|| broken(word)),
        Change::Forsake(round) => word.verdict(round).is_none().then(|| broken(word)),
        // An empty whole barrier is as a reset would leave it.
        Change::Reset => (word.is_broken() || word.arrived() > 0).then(|| word.next(true)),
    });
    was.has(Word::AGENT)
}
