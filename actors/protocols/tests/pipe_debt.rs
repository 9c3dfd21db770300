//! What readers of a pipe owe, with a death at every step: no message lost, none given twice.
//!
//! Owns a world of a socket and three readers, whose words die with them: every short story
//! of what they do, and in each the first reader's death at each of its steps.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use procession_protocols::pipe::debt::{Debt, MOST_OWED, UNPAID};
use procession_protocols::pipe::turn::{Attempt, Turn, Word};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// A shared word as one process has it: what it does after its death does not happen.
struct Mortal<'a> {
    word: &'a Cell<u64>,
    steps_left: &'a Cell<u32>,
}

impl Mortal<'_> {
    /// Takes one step of the process's life.
    fn lives(&self) -> bool {
        let left = self.steps_left.get();
        self.steps_left.set(left.saturating_sub(1));
        left > 0
    }
}

impl Word for Mortal<'_> {
    fn load(&self) -> u64 {
        self.lives();
        self.word.get()
    }

    fn store(&self, value: u64) {
        if self.lives() {
            self.word.set(value);
        }
    }

    fn take(&self) -> u64 {
        if self.lives() { self.word.take() } else { 0 }
    }

    fn replace(&self, old: u64, new: u64) -> Result<(), u64> {
        match self.word.get() {
            now if now != old => Err(now),
            _ if self.lives() => {
                self.word.set(new);
                Ok(())
            }
            now => Err(now),
        }
    }
}

const HOLDER: usize = 0;
const STATE: usize = 1;
const PASSED: usize = 2;
const OWED: usize = 3;
const WITNESS: usize = 4;
const OPEN: usize = 5;

/// Messages are as long as their numbers say, so that a wrong cut is seen.
fn length(message: u64) -> u64 {
    5 + message % 3
}

#[derive(Default)]
struct World {
    words: [Cell<u64>; 6],
    socket: RefCell<VecDeque<u64>>,
    sent: Cell<u64>,
}

struct Reader {
    name: u64,
    steps_left: Cell<u32>,
    seen: Vec<u64>,
    at: u64,
    received: Vec<u64>,
}

impl Reader {
    fn new(name: u64, steps: u32) -> Self {
        let steps_left = Cell::new(steps);
        Self { name, steps_left, seen: Vec::new(), at: 0, received: Vec::new() }
    }

    fn is_dead(&self) -> bool {
        self.steps_left.get() == 0
    }
}

impl World {
    fn send(&self) {
        self.socket.borrow_mut().push_back(self.sent.get());
        self.sent.set(self.sent.get() + 1);
    }

    fn words<'a>(&'a self, steps_left: &'a Cell<u32>) -> [Mortal<'a>; 6] {
        self.words.each_ref().map(|word| Mortal { word, steps_left })
    }

    /// The call that takes so many bytes. It happens as a whole, or its caller was dead.
    fn take(&self, bytes: u64, witness: &Mortal<'_>) {
        if witness.lives() {
            let mut left = bytes;
            while left > 0 {
                let message = self.socket.borrow_mut().pop_front().unwrap();
                left = left.checked_sub(length(message)).unwrap();
                witness.word.set(message);
            }
        }
    }

    fn pay(&self, turn: Turn<'_, Mortal<'_>>, debt: Debt<'_, Mortal<'_>>) {
        let take = |bytes, witness: &Mortal<'_>| {
            self.take(bytes, witness);
            Ok::<_, ()>(())
        };
        debt.pay(turn, take).unwrap();
    }

    /// One attempt to receive, which counts when its one step was taken. Whether it took the
    /// turn.
    fn receive(&self, reader: &mut Reader) -> bool {
        let words = self.words(&reader.steps_left);
        let [holder, state, passed, owed, witness, is_open] = &words;
        let turn = Turn { holder, state, passed };
        let debt = Debt { owed, witness, is_open };
        if turn.try_take(reader.name) != Attempt::Taken {
            return false;
        }
        // In two rounds at most: by what was seen, then by what is there.
        for _ in 0..3 {
            let (behind, behind_word) = (debt.bytes(), debt.owed.word.get());
            let there = self.socket.borrow().len();
            let mut at = 0;
            let ahead = (reader.at == passed.load())
                .then(|| {
                    reader.seen.iter().copied().find(|message| {
                        at += length(*message);
                        at > behind
                    })
                })
                .flatten();
            match ahead {
                Some(message) if debt.may_grow() => {
                    debt.owe(length(message).try_into().unwrap());
                    if debt.owed.word.get() != behind_word {
                        reader.received.push(message);
                    }
                    break;
                }
                Some(message) if behind == 0 => {
                    // As a plain reader does.
                    self.take(length(message), witness);
                    if self.socket.borrow().len() < there {
                        reader.received.push(message);
                    }
                    turn.pass();
                    break;
                }
                _ => {
                    self.pay(turn, debt);
                    reader.seen = self.socket.borrow().iter().copied().collect();
                    reader.at = passed.load();
                }
            }
        }
        let _ = turn.give();
        true
    }

    /// Opens the descriptor to those who know nothing of debts.
    fn open(&self, reader: &Reader) {
        let words = self.words(&reader.steps_left);
        let [holder, state, passed, owed, witness, is_open] = &words;
        let turn = Turn { holder, state, passed };
        let debt = Debt { owed, witness, is_open };
        debt.forbid();
        if turn.try_take(reader.name) == Attempt::Taken {
            self.pay(turn, debt);
            let _ = turn.give();
        }
    }

    /// Whoever finds the turn with the dead one gives it back.
    fn inherit(&self, from: &Reader, by: &Reader) {
        let words = self.words(&by.steps_left);
        let turn = Turn { holder: &words[HOLDER], state: &words[STATE], passed: &words[PASSED] };
        if self.words[HOLDER].get() != 0 {
            assert!(turn.inherit(from.name, by.name));
        }
    }
}

#[derive(Clone, Copy)]
enum Act {
    Send,
    /// By the first reader, and by the second.
    First,
    Second,
    Open,
}

/// Tells a story in which the first reader has so many steps to live. Whether it died.
fn tell(story: &[Act], steps: u32) -> bool {
    let world = World::default();
    let mut first = Reader::new(1, steps);
    let mut second = Reader::new(2, u32::MAX);
    let mut opened = false;
    for act in story {
        match act {
            Act::Send => world.send(),
            Act::First => drop(world.receive(&mut first)),
            Act::Second => {
                if first.is_dead() {
                    world.inherit(&first, &second);
                }
                assert!(world.receive(&mut second), "the turn is free");
            }
            Act::Open => {
                if first.is_dead() {
                    world.inherit(&first, &second);
                }
                world.open(&second);
                opened = true;
            }
        }
        if opened {
            assert_eq!(world.words[OWED].get(), 0, "a descriptor shows what is there");
        }
    }
    // The second one receives what is left.
    if first.is_dead() {
        world.inherit(&first, &second);
    }
    for _ in 0..=story.len() {
        assert!(world.receive(&mut second));
    }
    let mut all = [first.received.clone(), second.received].concat();
    all.sort_unstable();
    let sent: Vec<u64> = (0..world.sent.get()).collect();
    assert_eq!(all, sent, "the first one had {:?}, after {steps} steps", first.received);
    first.is_dead()
}

fn stories(acts: &[Act], long: usize, visit: &mut impl FnMut(&[Act])) {
    fn go(acts: &[Act], long: usize, story: &mut Vec<Act>, visit: &mut impl FnMut(&[Act])) {
        visit(story);
        if story.len() < long {
            for act in acts {
                story.push(*act);
                go(acts, long, story, visit);
                story.pop();
            }
        }
    }
    go(acts, long, &mut Vec::new(), visit);
}

#[test]
fn a_death_at_any_step_loses_nothing_and_gives_nothing_twice() {
    let mut deaths = 0_u32;
    stories(&[Act::Send, Act::First, Act::Second, Act::Open], 6, &mut |story| {
        let mut steps = 1;
        while tell(story, steps) {
            steps += 1;
            deaths += 1;
        }
    });
    assert!(deaths > 20_000, "{deaths}");
}

#[test]
fn a_payment_happens_once_though_its_payer_dies_behind_it() {
    let world = World::default();
    let mut first = Reader::new(1, u32::MAX);
    (0..3).for_each(|_| world.send());
    (0..2).for_each(|_| assert!(world.receive(&mut first)));
    assert_eq!((world.socket.borrow().len(), world.words[WITNESS].get()), (3, UNPAID));
    // It has paid, and dies before it says so.
    let mortal = Mortal { word: &world.words[WITNESS], steps_left: &Cell::new(1) };
    world.take(world.words[OWED].get() % (1 << 32), &mortal);
    let mut second = Reader::new(2, u32::MAX);
    assert!(world.receive(&mut second));
    assert_eq!((first.received, second.received), (vec![0, 1], vec![2]));
}

#[test]
fn a_debt_is_bounded_and_ends_when_others_look() {
    let world = World::default();
    let mut reader = Reader::new(1, u32::MAX);
    (0..3 * MOST_OWED).for_each(|_| world.send());
    let mut least = 3 * MOST_OWED;
    for received in 1..=3 * MOST_OWED {
        assert!(world.receive(&mut reader));
        let there = world.socket.borrow().len() as u64;
        assert!(there <= 3 * MOST_OWED - received + MOST_OWED);
        least = least.min(there);
    }
    assert!(least < 3 * MOST_OWED);
    world.open(&reader);
    assert!(world.socket.borrow().is_empty() && world.words[OPEN].get() == 1);
    world.send();
    assert!(world.receive(&mut reader));
    assert!(world.socket.borrow().is_empty());
}
