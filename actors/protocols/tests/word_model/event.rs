//! The event's word: a set lets everybody go who waited, also when it is cleared at once.

use super::explorer::explore;
use super::plain::Plains;
use super::stage::{Actor, Play, Stage};
use procession_protocols::word::event::{EventWords, Set, Wait};
use procession_protocols::word::{Effect, Told};
use std::hash::{Hash, Hasher};

#[derive(Debug, Default)]
struct Shared(EventWords<Plains>);

impl Clone for Shared {
    fn clone(&self) -> Self {
        Self(EventWords { word: self.0.word.clone() })
    }
}

impl Hash for Shared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.word.hash(state);
    }
}

#[derive(Debug, Clone, Hash)]
enum Thread {
    Waits(Wait, Option<bool>),
    Sets(Set),
    Clears(Set),
}

impl Play for Thread {
    type Shared = Shared;

    fn step(&mut self, shared: &mut Shared, told: Told) -> Effect<()> {
        match self {
            Self::Waits(wait, was_set) => match wait.step(&shared.0, told) {
                Effect::Done(set) => {
                    *was_set = Some(set);
                    Effect::Done(())
                }
                Effect::Again => Effect::Again,
                Effect::Spin => Effect::Spin,
                Effect::Sleep { while_is, bits } => Effect::Sleep { while_is, bits },
                Effect::Wake { .. } | Effect::Ring => unreachable!("it only waits"),
            },
            Self::Sets(set) => set.step(&shared.0),
            Self::Clears(set) => {
                let effect = set.step(&shared.0);
                if effect == Effect::Done(()) {
                    shared.0.clear();
                }
                effect
            }
        }
    }

    fn futex(&self, shared: &Shared) -> (usize, u32) {
        (0, shared.0.word.get())
    }

    fn repair(_: &mut Shared, _: &Self, _: u8) -> bool {
        // All are woken, and nothing else is needed.
        false
    }

    fn end(_: &Shared, all: &[Actor<Self>]) {
        for actor in all {
            if let Thread::Waits(_, Some(false)) = actor.play {
                assert!(actor.was_late(), "only a time-out ends a wait without a set");
            }
        }
    }
}

fn waits() -> Thread {
    Thread::Waits(Wait::new(), None)
}

#[test]
fn everybody_goes_at_a_set() {
    let all = vec![waits(), waits(), Thread::Sets(Set::new())];
    explore("event", Stage::new(Shared::default(), all));
}

#[test]
fn a_setter_that_dies_before_its_wake_leaves_nobody_asleep() {
    // The other setter sees the flag set, and wakes nobody.
    let all = vec![waits(), waits(), Thread::Sets(Set::new()), Thread::Sets(Set::new())];
    explore("event, a kill", Stage::new(Shared::default(), all).kills(1).late(0));
}

#[test]
fn a_wait_that_began_before_a_set_and_clear_is_over() {
    // The pulse comes for ever again until those who wait have begun and gone.
    #[derive(Debug, Clone, Hash)]
    struct Pulse(Thread);
    impl Play for Pulse {
        type Shared = Shared;
        fn step(&mut self, shared: &mut Shared, told: Told) -> Effect<()> {
            let effect = self.0.step(shared, told);
            if let (Thread::Clears(set), Effect::Done(())) = (&mut self.0, effect) {
                *set = Set::new();
                return Effect::Again;
            }
            effect
        }
        fn futex(&self, shared: &Shared) -> (usize, u32) {
            // Generations wrap soon here, so that the world is small.
            let word = &shared.0.word;
            if word.get() >= 64 {
                procession_protocols::word::Atomic::store(
                    word,
                    word.get() & 63,
                    std::sync::atomic::Ordering::Relaxed,
                );
            }
            self.0.futex(shared)
        }
        fn repair(_: &mut Shared, _: &Self, _: u8) -> bool {
            false
        }
    }
    #[derive(Debug, Clone, Hash)]
    struct Waited(Stage<Pulse>);
    impl super::explorer::World for Waited {
        fn next(&self, into: &mut Vec<Self>) {
            let mut next = Vec::new();
            self.0.next(&mut next);
            into.extend(next.into_iter().map(Self));
        }
        fn is_over(&self) -> bool {
            self.0.all[..2].iter().all(|actor| actor.done)
        }
    }
    let all = vec![Pulse(waits()), Pulse(waits()), Pulse(Thread::Clears(Set::new()))];
    explore("event, pulses", Waited(Stage::new(Shared::default(), all)));
}
