//! Words of a model: plain numbers, of which each step touches one.
//!
//! Owns the memory of the models, and what sleeps on it.

use procession_protocols::word::{Advice, Atomic, Effect, Memory, Slept, Told};
use std::cell::Cell;
use std::sync::atomic::Ordering;

/// A word that is part of a state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plain<T: Copy>(Cell<T>);

impl<T: Copy + std::hash::Hash> std::hash::Hash for Plain<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.get().hash(state);
    }
}

impl<T: Copy> Plain<T> {
    pub(crate) fn get(&self) -> T {
        self.0.get()
    }
}

macro_rules! plain {
    ($type:ty) => {
        impl Atomic<$type> for Plain<$type> {
            fn load(&self, _: Ordering) -> $type {
                self.0.get()
            }
            fn store(&self, value: $type, _: Ordering) {
                self.0.set(value);
            }
            fn exchange(
                &self,
                current: $type,
                new: $type,
                _: Ordering,
                _: Ordering,
            ) -> Result<$type, $type> {
                let now = self.0.get();
                if now == current { Ok(self.0.replace(new)) } else { Err(now) }
            }
            fn add(&self, value: $type, _: Ordering) -> $type {
                self.0.replace(self.0.get().wrapping_add(value))
            }
        }
    };
}

plain!(u32);
plain!(u64);

/// The memory of the models.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Plains;

impl Memory for Plains {
    type U32 = Plain<u32>;
    type U64 = Plain<u64>;
}

/// Where one thread of a model is in the machine that it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stand {
    /// About to step, and told this.
    Step,
    /// Woke so many.
    Woke(u32),
    /// Spins.
    Spins,
    /// Sleeps, woken by these bits.
    Sleeps(u32),
    /// Was woken.
    Woken,
    Sliced,
    Passed,
    Late,
    Advised(Advice),
    /// About to wake so many.
    Wakes(u32, u32),
    /// About to ring.
    Rings,
}

impl Stand {
    pub(crate) fn told(self) -> Told {
        match self {
            Self::Woke(count) => Told::Woke(count),
            Self::Woken => Told::Slept(Slept::Woken),
            Self::Sliced => Told::Slept(Slept::Slice),
            Self::Passed => Told::Slept(Slept::Passed),
            Self::Late => Told::Slept(Slept::Deadline),
            Self::Advised(advice) => Told::Advice(advice),
            _ => Told::Go,
        }
    }

    /// Where an effect leads, when the futex is `futex`. `Err` at the machine's end.
    pub(crate) fn after<T>(effect: Effect<T>, futex: u32) -> Result<Self, T> {
        Ok(match effect {
            Effect::Again => Self::Step,
            Effect::Spin => Self::Spins,
            Effect::Sleep { while_is, bits } if while_is == futex => Self::Sleeps(bits),
            Effect::Sleep { .. } => Self::Woken,
            Effect::Wake { count, bits } => Self::Wakes(count, bits),
            Effect::Ring => Self::Rings,
            Effect::Done(value) => return Err(value),
        })
    }
}

/// All ways in which a wake of `count` sleepers by `bits` may fall, as who is woken.
pub(crate) fn wakes(stands: &[Stand], count: u32, bits: u32) -> Vec<Vec<usize>> {
    let asleep: Vec<usize> = (0..stands.len())
        .filter(|at| matches!(stands[*at], Stand::Sleeps(by) if by & bits != 0))
        .collect();
    if count as usize >= asleep.len() {
        return vec![asleep];
    }
    assert_eq!(count, 1, "the models wake one, or all");
    asleep.into_iter().map(|one| vec![one]).collect()
}
