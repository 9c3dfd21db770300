//! The semaphore's word: no count lost or doubled, nobody asleep for ever.
//!
//! Owns the world: threads that take and give plain counts and permits, and die half-way.

use super::explorer::explore;
use super::plain::{Plain, Plains};
use super::stage::{Actor, Play, Stage};
use procession_protocols::word::permit::{self, Cell, Cells};
use procession_protocols::word::semaphore::{Give, SemaphoreWords, Take, repair};
use procession_protocols::word::{Effect, Told};
use std::hash::{Hash, Hasher};

#[derive(Debug, Default)]
struct Shared {
    words: SemaphoreWords<Plains>,
    cells: Table,
    /// What the value would be if nobody held a permit.
    should_be: u32,
}

#[derive(Debug, Default, Clone, Hash)]
struct Table([Plain<u64>; 5]);

impl Cells<Plains> for Table {
    fn cell(&self, number: u16) -> Option<&Plain<u64>> {
        self.0.get(usize::from(number)).filter(|_| number > 0)
    }
}

impl Clone for Shared {
    fn clone(&self) -> Self {
        let SemaphoreWords { word, seq, sleepers, agent, bound } = &self.words;
        let (word, seq, sleepers) = (word.clone(), seq.clone(), sleepers.clone());
        let words =
            SemaphoreWords { word, seq, sleepers, agent: agent.clone(), bound: bound.clone() };
        Self { words, cells: self.cells.clone(), should_be: self.should_be }
    }
}

impl Hash for Shared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.words.word.hash(state);
        self.words.seq.hash(state);
        self.words.sleepers.hash(state);
        self.cells.hash(state);
        self.should_be.hash(state);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Op {
    Take,
    Give,
    /// A permit taken, and given back.
    Permit,
}

#[derive(Debug, Clone, Hash)]
enum Doing {
    Nothing,
    Takes(Take),
    Gives(Give),
}

#[derive(Debug, Clone, Hash)]
struct Thread {
    /// The cell that is its process's own.
    cell: u16,
    ops: Vec<Op>,
    doing: Doing,
    permit: Option<Cell>,
}

impl Play for Thread {
    type Shared = Shared;

    fn step(&mut self, shared: &mut Shared, told: Told) -> Effect<()> {
        let plain = self.permit.is_none();
        let before = shared.words.look().value();
        let effect = match &mut self.doing {
            Doing::Nothing => {
                let Some(op) = self.ops.pop() else { return Effect::Done(()) };
                self.doing = match op {
                    Op::Take => Doing::Takes(Take::new(None, true)),
                    Op::Give => Doing::Gives(Give::new(1, None)),
                    Op::Permit => {
                        self.permit = Cell::open(&shared.cells, self.cell, 7);
                        Doing::Takes(Take::new(self.permit, true))
                    }
                };
                Effect::Again
            }
            Doing::Takes(take) => match take.step(&shared.words, &shared.cells, told) {
                Effect::Done(true) => {
                    self.doing = match self.permit {
                        Some(cell) => {
                            self.permit = Some(cell.next());
                            Doing::Gives(Give::new(1, self.permit))
                        }
                        None => Doing::Nothing,
                    };
                    Effect::Again
                }
                Effect::Done(false) => {
                    self.permit = None;
                    self.doing = Doing::Nothing;
                    Effect::Again
                }
                other => relay(other),
            },
            Doing::Gives(give) => match give.step(&shared.words, &shared.cells, told) {
                Effect::Done(result) => {
                    result.expect("below the bound");
                    self.permit = None;
                    self.doing = Doing::Nothing;
                    Effect::Again
                }
                other => relay(other),
            },
        };
        if plain {
            let now = shared.words.look().value();
            shared.should_be = (shared.should_be + now).wrapping_sub(before);
        }
        effect
    }

    fn futex(&self, shared: &Shared) -> (usize, u32) {
        (0, shared.words.seq.get())
    }

    fn repair(shared: &mut Shared, dead: &Self, at: u8) -> bool {
        match at {
            0 => {
                let number = dead.cell;
                if permit::subject(&shared.cells, number).is_some()
                    && permit::repair(&shared.words, &shared.cells, number)
                {
                    permit::give_back(&shared.words, &shared.cells).expect("below the bound");
                }
                true
            }
            1 => {
                repair(&shared.words);
                true
            }
            _ => {
                shared.words.bump();
                false
            }
        }
    }

    fn end(shared: &Shared, _: &[Actor<Self>]) {
        assert_eq!(shared.words.look().value(), shared.should_be, "{shared:?}");
    }
}

fn relay<T>(effect: Effect<T>) -> Effect<()> {
    match effect {
        Effect::Again | Effect::Done(_) => Effect::Again,
        Effect::Spin => Effect::Spin,
        Effect::Sleep { while_is, bits } => Effect::Sleep { while_is, bits },
        Effect::Wake { count, bits } => Effect::Wake { count, bits },
        Effect::Ring => Effect::Ring,
    }
}

fn world(value: u32, parts: &[&[Op]]) -> Stage<Thread> {
    let shared = Shared { should_be: value, ..Shared::default() };
    shared.words.prepare(value, 9);
    let thread = |(at, ops): (usize, &&[Op])| Thread {
        cell: at as u16 + 1,
        ops: ops.to_vec(),
        doing: Doing::Nothing,
        permit: None,
    };
    Stage::new(shared, parts.iter().enumerate().map(thread).collect())
}

use Op::{Give as G, Permit as P, Take as T};

#[test]
fn permits_come_back_after_deaths() {
    explore("permits, 2 kills", world(1, &[&[P, P], &[P, P]]).kills(2));
    explore("permits of 3, a kill", world(1, &[&[P], &[P], &[P]]).kills_one(0));
    explore("permits of 3 for 2, a kill", world(2, &[&[P], &[P], &[P]]).kills_one(0));
}

#[test]
fn plain_counts_wake_those_who_wait() {
    // What a plain taker that dies has taken does not come back: the givers live.
    explore("plain, there and back", world(0, &[&[T, G, T, G], &[T, G, T, G]]));
    explore("plain, 3", world(0, &[&[T], &[T], &[G, G]]).late(0));
    explore("plain, 2 waiters for 1 and a death", world(1, &[&[G, T], &[G, T], &[G, T]]));
}

#[test]
fn plain_counts_and_permits_go_together() {
    explore("mixed", world(1, &[&[P], &[G, T], &[P]]).late(2));
    explore("mixed, a kill", world(1, &[&[P], &[G, T], &[P]]).kills_one(0));
}
