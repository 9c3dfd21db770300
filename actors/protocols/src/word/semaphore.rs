//! The word of a semaphore.
//!
//! Owns the count and its changes. Two ways of use share it: *plain*, as Python's, where
//! a count belongs to nobody and anybody may give it back; and *permits*, which are
//! somebody's, and come back when that one dies. A permit has a cell (see
//! [`permit`](super::permit)), and the word says which cell changed it last and in which
//! turn, so that after a death it can be told whether a half-done change took effect.
//!
//! ```text
//!  63     47 46     31 30          0
//! +---------+---------+-------------+
//! |   tag   |  cell   |    value    |
//! +---------+---------+-------------+
//! ```
//!
//! The sleepers' count stands beside the value. So a giver that has raised the value
//! looks at the sleepers, and a taker that has counted itself looks at the value again:
//! both in sequential consistency, so that one of them sees the other.

use super::permit::{Cell, Cells};
use super::{ALL, ANYBODY, Advice, Atomic, Effect, Memory, SLEEPER, Slept, Told};
use core::sync::atomic::Ordering::{AcqRel, Acquire, SeqCst};

/// The highest value, Python's `SEM_VALUE_MAX`.
pub const MAX_VALUE: u32 = i32::MAX.cast_unsigned();

/// What a semaphore's record holds.
#[derive(Debug, Default)]
#[repr(C)]
pub struct SemaphoreWords<M: Memory> {
    /// The word.
    pub word: M::U64,
    /// The futex.
    pub seq: M::U32,
    /// How many sleep, at most.
    pub sleepers: M::U32,
    /// Not 0 when the owner waits for others.
    pub agent: M::U32,
    /// The value above which a release is an error.
    pub bound: M::U32,
}

/// The word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Word(pub u64);

impl Word {
    const CELL: u32 = 31;
    const TAG: u32 = 47;

    /// A word with this value, changed last by a cell in a turn; by cell 0, by nobody.
    pub const fn new(value: u32, (cell, tag): (u16, u32)) -> Self {
        Self((value & MAX_VALUE) as u64 | (cell as u64) << Self::CELL | (tag as u64) << Self::TAG)
    }

    /// How many may pass.
    #[expect(clippy::cast_possible_truncation, reason = "masked to its width")]
    pub const fn value(self) -> u32 {
        (self.0 & MAX_VALUE as u64) as u32
    }

    /// Who changed it last, and in which turn.
    pub const fn last(self) -> (u16, u32) {
        ((self.0 >> Self::CELL & 0xffff) as u16, (self.0 >> Self::TAG) as u32)
    }
}

/// The value would rise above its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TooMany;

impl<M: Memory> SemaphoreWords<M> {
    /// Writes the first value and the bound, before anybody else sees the record.
    pub fn prepare(&self, value: u32, bound: u32) {
        self.word.store(Word::new(value, (0, 0)).0, SeqCst);
        self.bound.store(bound, SeqCst);
    }

    /// The word as it is.
    pub fn look(&self) -> Word {
        Word(self.word.load(SeqCst))
    }

    /// Changes the futex, so that who is on its way to sleep does not. Comes before a wake.
    pub fn bump(&self) {
        self.seq.add(1, AcqRel);
    }
}

/// A change of the value by `by` when it is allowed: the one atomic step that takes or
/// gives, with the help that it owes to the cell that changed the word before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Change {
    /// Down by one, or up by so many.
    up: Option<u32>,
    who: (u16, u32),
    seen: Option<Word>,
}

enum Changed {
    Yes,
    Again,
    No,
}

impl Change {
    fn step<M: Memory>(&mut self, words: &SemaphoreWords<M>, cells: &impl Cells<M>) -> Changed {
        let Some(seen) = self.seen.take() else {
            let seen = words.look();
            if self.target(seen, words).is_none() {
                return Changed::No;
            }
            let (cell, tag) = seen.last();
            // Whoever replaces another's mark first writes into its cell that the change
            // took effect.
            if cell != 0 && cell != self.who.0 {
                Cell::settle(cells, cell, tag);
            }
            self.seen = Some(seen);
            return Changed::Again;
        };
        let Some(value) = self.target(seen, words) else { return Changed::No };
        let new = Word::new(value, self.who);
        match words.word.exchange(seen.0, new.0, SeqCst, SeqCst) {
            Ok(_) => Changed::Yes,
            Err(_) => Changed::Again,
        }
    }

    fn target<M: Memory>(&self, seen: Word, words: &SemaphoreWords<M>) -> Option<u32> {
        match self.up {
            None => seen.value().checked_sub(1),
            Some(up) => {
                let bound = words.bound.load(Acquire).min(MAX_VALUE);
                seen.value().checked_add(up).filter(|value| *value <= bound)
            }
        }
    }
}

/// A count taken, or waited for: the machine of one thread.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Take {
    cell: Option<Cell>,
    change: Change,
    at: TakeAt,
    waits: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum TakeAt {
    Open,
    Try,
    ReadSeq,
    Count(u32),
    Again(u32),
    Asleep,
    Settle,
    Abandon,
}

impl Take {
    /// One count; with a cell, as a permit. Only `waits` sleeps for it.
    pub fn new(cell: Option<Cell>, waits: bool) -> Self {
        let who = cell.map_or((0, 0), Cell::mark);
        let change = Change { up: None, who, seen: None };
        let at = if cell.is_some() { TakeAt::Open } else { TakeAt::Try };
        Self { cell, change, at, waits }
    }

    /// Where it is, for those who stop it there.
    pub fn place(&self) -> &'static str {
        match self.at {
            TakeAt::Open => "take",
            TakeAt::Try => "take.try",
            TakeAt::ReadSeq => "take.read",
            TakeAt::Count(_) => "take.count",
            TakeAt::Again(_) => "take.again",
            TakeAt::Asleep => "take.sleep",
            TakeAt::Settle => "take.settle",
            TakeAt::Abandon => "take.abandon",
        }
    }

    /// Goes without it: steps on until it has left.
    pub fn leave(&mut self) {
        if self.at != TakeAt::Settle {
            self.at = TakeAt::Abandon;
        }
    }

    /// One step. Done with true when the count is taken.
    pub fn step<M: Memory>(
        &mut self,
        words: &SemaphoreWords<M>,
        cells: &impl Cells<M>,
        told: Told,
    ) -> Effect<bool> {
        match self.at {
            TakeAt::Open => {
                if let Some(cell) = self.cell {
                    cell.taking(cells);
                }
                self.go(TakeAt::Try)
            }
            TakeAt::Try => match told {
                Told::Advice(Advice::Sleep) => self.go(TakeAt::ReadSeq),
                Told::Advice(Advice::Leave) => self.go(TakeAt::Abandon),
                _ => match self.change.step(words, cells) {
                    Changed::Yes => self.taken(),
                    Changed::Again => Effect::Again,
                    Changed::No if self.waits => Effect::Spin,
                    Changed::No => self.go(TakeAt::Abandon),
                },
            },
            TakeAt::ReadSeq => self.go(TakeAt::Count(words.seq.load(Acquire))),
            TakeAt::Count(seq) => {
                words.sleepers.add(1, SeqCst);
                self.go(TakeAt::Again(seq))
            }
            // The value once more, now that a giver sees this sleeper.
            TakeAt::Again(seq) => match self.change.step(words, cells) {
                Changed::Yes => self.taken(),
                Changed::Again => Effect::Again,
                Changed::No => {
                    self.at = TakeAt::Asleep;
                    Effect::Sleep { while_is: seq, bits: SLEEPER }
                }
            },
            TakeAt::Asleep => match told {
                Told::Slept(Slept::Deadline) => self.go(TakeAt::Abandon),
                _ => self.go(TakeAt::Try),
            },
            TakeAt::Settle => {
                if let Some(cell) = self.cell {
                    cell.held(cells);
                }
                Effect::Done(true)
            }
            TakeAt::Abandon => {
                if let Some(cell) = self.cell {
                    cell.free(cells);
                }
                Effect::Done(false)
            }
        }
    }

    fn taken(&mut self) -> Effect<bool> {
        if self.cell.is_none() {
            return Effect::Done(true);
        }
        self.go(TakeAt::Settle)
    }

    fn go(&mut self, at: TakeAt) -> Effect<bool> {
        self.at = at;
        Effect::Again
    }
}

/// Counts given: the machine of one thread, and of the owner that gives back what the
/// dead held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Give {
    cell: Option<Cell>,
    count: u32,
    change: Change,
    at: GiveAt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum GiveAt {
    Open,
    Try,
    Settle,
    Note,
    Bump { count: u32 },
    Wake { count: u32 },
    Woken { count: u32 },
    Agent,
    Done,
}

impl Give {
    /// So many counts; with a cell, the one permit in it.
    pub fn new(count: u32, cell: Option<Cell>) -> Self {
        let who = cell.map_or((0, 0), Cell::mark);
        let change = Change { up: Some(count), who, seen: None };
        let at = if cell.is_some() { GiveAt::Open } else { GiveAt::Try };
        Self { cell, count, change, at }
    }

    /// Where it is, for those who stop it there.
    pub fn place(&self) -> &'static str {
        match self.at {
            GiveAt::Open => "give",
            GiveAt::Try => "give.try",
            GiveAt::Settle => "give.settle",
            GiveAt::Note => "give.note",
            GiveAt::Bump { .. } => "give.bump",
            GiveAt::Wake { .. } => "give.wake",
            GiveAt::Woken { .. } => "give.woken",
            GiveAt::Agent => "give.agent",
            GiveAt::Done => "give.done",
        }
    }

    /// One step.
    pub fn step<M: Memory>(
        &mut self,
        words: &SemaphoreWords<M>,
        cells: &impl Cells<M>,
        told: Told,
    ) -> Effect<Result<(), TooMany>> {
        match self.at {
            GiveAt::Open => {
                if let Some(cell) = self.cell {
                    cell.giving(cells);
                }
                self.go(GiveAt::Try)
            }
            GiveAt::Try => match self.change.step(words, cells) {
                Changed::Yes if self.cell.is_some() => self.go(GiveAt::Settle),
                Changed::Yes => self.go(GiveAt::Note),
                Changed::Again => Effect::Again,
                Changed::No => {
                    // Somebody else's plain releases have filled it up. The permit is
                    // gone all the same.
                    if let Some(cell) = self.cell {
                        cell.free(cells);
                    }
                    Effect::Done(Err(TooMany))
                }
            },
            GiveAt::Settle => {
                if let Some(cell) = self.cell {
                    cell.free(cells);
                }
                self.go(GiveAt::Note)
            }
            GiveAt::Note => {
                let count = self.count;
                if words.sleepers.load(SeqCst) == 0 {
                    return self.go(GiveAt::Agent);
                }
                let (sleepers, any) =
                    words.sleepers.update(|all| (all > 0).then(|| all - all.min(count)));
                self.go(if any {
                    GiveAt::Bump { count: sleepers.min(count) }
                } else {
                    GiveAt::Agent
                })
            }
            GiveAt::Bump { count } => {
                words.seq.add(1, AcqRel);
                self.go(GiveAt::Wake { count })
            }
            GiveAt::Wake { count } => {
                self.at = GiveAt::Woken { count };
                let bits = if count == ALL { ANYBODY } else { SLEEPER };
                Effect::Wake { count, bits }
            }
            GiveAt::Woken { count } => {
                if matches!(told, Told::Woke(woken) if woken < count && count != ALL) {
                    // Too many were counted: begin anew, with everybody awake.
                    words.sleepers.store(0, SeqCst);
                    return self.go(GiveAt::Bump { count: ALL });
                }
                self.go(GiveAt::Agent)
            }
            GiveAt::Agent => {
                self.at = GiveAt::Done;
                if words.agent.load(SeqCst) == 0 {
                    return Effect::Done(Ok(()));
                }
                words.agent.store(0, SeqCst);
                Effect::Ring
            }
            GiveAt::Done => Effect::Done(Ok(())),
        }
    }

    fn go(&mut self, at: GiveAt) -> Effect<Result<(), TooMany>> {
        self.at = at;
        Effect::Again
    }
}

/// Forgets the sleepers, which the caller then wakes all, after a
/// [bump](SemaphoreWords::bump). The end of a repair, after the dead one's cells were
/// given back.
pub fn repair<M: Memory>(words: &SemaphoreWords<M>) {
    words.sleepers.store(0, SeqCst);
}
