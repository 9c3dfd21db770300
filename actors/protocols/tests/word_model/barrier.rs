//! The barrier's word: nobody passes before all have arrived, and a break reaches all.

use super::explorer::explore;
use super::plain::Plains;
use super::stage::{Actor, Play, Stage};
use procession_protocols::word::barrier::{Arrived, BarrierWords, Change, Wait, change};
use procession_protocols::word::{Effect, Told};
use std::hash::{Hash, Hasher};

#[derive(Debug, Default)]
struct Shared {
    words: BarrierWords<Plains>,
    parties: u32,
    /// How often each thread has arrived.
    arrivals: Vec<u8>,
    acted: u8,
    broken: bool,
}

impl Clone for Shared {
    fn clone(&self) -> Self {
        let BarrierWords { word, seq } = &self.words;
        let words = BarrierWords { word: word.clone(), seq: seq.clone() };
        let Self { parties, acted, broken, .. } = *self;
        Self { words, parties, arrivals: self.arrivals.clone(), acted, broken }
    }
}

impl Hash for Shared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.words.word.hash(state);
        self.words.seq.hash(state);
        self.arrivals.hash(state);
        (self.acted, self.broken).hash(state);
    }
}

#[derive(Debug, Clone, Hash)]
struct Party {
    me: usize,
    acts: bool,
    rounds: u8,
    passed: u8,
    broken: u8,
    wait: Option<Wait>,
    /// Instead of waiting, resets so often (a thread that is no party).
    resets: bool,
}

impl Play for Party {
    type Shared = Shared;

    fn step(&mut self, shared: &mut Shared, told: Told) -> Effect<()> {
        if self.resets {
            self.resets = false;
            change(&shared.words, Change::Reset);
            // Bumped and woken in one go: between the two nothing can be lost that a
            // sleeper looks for.
            shared.words.bump();
            shared.broken = true;
            return Effect::Wake { count: u32::MAX, bits: u32::MAX };
        }
        let Some(wait) = &mut self.wait else {
            if self.rounds == 0 {
                return Effect::Done(());
            }
            self.rounds -= 1;
            shared.arrivals[self.me] += 1;
            self.wait = Some(Wait::new(shared.parties, self.acts, false));
            return Effect::Again;
        };
        let end = match wait.step(&shared.words, told) {
            Effect::Done(end) => end,
            Effect::Again => return Effect::Again,
            Effect::Spin => return Effect::Spin,
            Effect::Sleep { while_is, bits } => return Effect::Sleep { while_is, bits },
            Effect::Wake { count, bits } => return Effect::Wake { count, bits },
            Effect::Ring => return Effect::Ring,
        };
        match end {
            Arrived::Last => {
                shared.acted += 1;
                wait.finish();
                return Effect::Again;
            }
            Arrived::Passed(_) => {
                self.passed += 1;
                if !shared.broken {
                    let least = shared.arrivals.iter().min().unwrap();
                    assert!(self.passed <= *least, "passed before all had arrived");
                    assert!(!self.acts || shared.acted >= self.passed, "the action came first");
                }
            }
            Arrived::Broken => {
                self.broken += 1;
                shared.broken = true;
                // What its callers do: nothing more.
                self.rounds = 0;
            }
            Arrived::Listens { .. } => unreachable!("it has a thread"),
        }
        self.wait = None;
        Effect::Again
    }

    fn futex(&self, shared: &Shared) -> (usize, u32) {
        (0, shared.words.seq.get())
    }

    fn repair(shared: &mut Shared, dead: &Self, at: u8) -> bool {
        if at == 0 {
            // A party from its first arrival on.
            if shared.arrivals[dead.me] > 0 {
                change(&shared.words, Change::Abort);
                shared.broken = true;
            }
            return true;
        }
        shared.words.bump();
        false
    }

    fn end(_: &Shared, all: &[Actor<Self>]) {
        let alone = all.iter().all(|actor| !actor.dead && !actor.was_late());
        let resets = all.len() > 1 && all.last().is_some_and(|actor| actor.play.me == 9);
        if alone && !resets {
            assert!(all.iter().all(|actor| actor.play.broken == 0), "nothing broke it");
        }
    }
}

fn world(parties: usize, rounds: u8, acts: bool) -> Stage<Party> {
    let shared =
        Shared { parties: parties as u32, arrivals: vec![0; parties], ..Shared::default() };
    let party = |me| Party { me, acts, rounds, passed: 0, broken: 0, wait: None, resets: false };
    Stage::new(shared, (0..parties).map(party).collect())
}

#[test]
fn rounds_in_lockstep() {
    explore("barrier 2 x 3", world(2, 3, false));
    explore("barrier 3 x 2", world(3, 2, false));
    explore("barrier 2 x 2 with an action", world(2, 2, true));
}

#[test]
fn a_death_breaks_it_for_all() {
    // One that dies before it has ever arrived is no party: the others give up by their
    // own time-out.
    explore("barrier 2 x 2, a kill", world(2, 2, false).kills(1).late(0).late(1));
    explore("barrier 3 x 1, a kill", world(3, 1, true).kills(1).late(0).late(1).late(2));
}

#[test]
fn a_time_out_breaks_it_for_all() {
    explore("barrier 3 x 1, late", world(3, 1, false).late(0));
}

/// Others go on without one that looks late; how its round ended stands in the word still.
#[test]
fn one_that_looks_late_knows_how_its_round_ended() {
    let words = BarrierWords::<Plains>::default();
    let arrives = || {
        let mut one = Wait::new(2, false, false);
        (one.step(&words, Told::Go), one)
    };
    let meet = |times: u32| {
        for _ in 0..times {
            assert_eq!(arrives().0, Effect::Spin);
            assert_eq!(arrives().0, Effect::Done(Arrived::Passed(1)));
        }
    };
    let (_, mut passed) = arrives();
    assert_eq!(arrives().0, Effect::Done(Arrived::Passed(1)));
    let mut passed_and_reset = passed.clone();
    meet(70_000);
    assert_eq!(passed.step(&words, Told::Go), Effect::Done(Arrived::Passed(0)));
    let (_, mut reset) = arrives();
    let mut reset_long_ago = reset.clone();
    change(&words, Change::Reset);
    assert_eq!(reset.step(&words, Told::Go), Effect::Done(Arrived::Broken));
    meet(1000);
    assert_eq!(reset_long_ago.step(&words, Told::Go), Effect::Done(Arrived::Broken));
    // Among so many rounds one was reset: it cannot be told which.
    assert_eq!(passed_and_reset.step(&words, Told::Go), Effect::Done(Arrived::Broken));
    let (_, mut passed) = arrives();
    assert_eq!(arrives().0, Effect::Done(Arrived::Passed(1)));
    meet(3);
    let _ = arrives();
    change(&words, Change::Reset);
    meet(3);
    assert_eq!(passed.step(&words, Told::Go), Effect::Done(Arrived::Passed(0)));
}

/// Who leaves a round that is over breaks no other one.
#[test]
fn a_round_that_is_over_is_not_forsaken() {
    let words = BarrierWords::<Plains>::default();
    let mut first = Wait::new(2, false, false);
    assert_eq!(first.step(&words, Told::Go), Effect::Spin);
    let mut second = Wait::new(2, false, false);
    assert_eq!(second.step(&words, Told::Go), Effect::Done(Arrived::Passed(1)));
    change(&words, Change::Forsake(first.round()));
    assert!(!words.look().is_broken());
    let mut third = Wait::new(2, false, false);
    assert_eq!(third.step(&words, Told::Go), Effect::Spin);
    change(&words, Change::Forsake(third.round()));
    assert!(words.look().is_broken());
    assert_eq!(third.step(&words, Told::Go), Effect::Done(Arrived::Broken));
}

#[test]
fn a_reset_lets_waiters_go() {
    let mut stage = world(2, 2, false);
    let mut resets = stage.all[0].clone();
    resets.play = Party { me: 9, rounds: 0, resets: true, ..resets.play };
    stage.add(resets);
    explore("barrier 2 x 2, a reset", stage.late(0).late(1));
}
