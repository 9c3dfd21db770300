//! Every state that a small world can reach.
//!
//! Owns the search: breadth first, each state once, and then backwards from the states in
//! which everybody has finished, to find those from which nobody can. A world of its own
//! kind rather than a library's, because that second search, over all states and not along
//! single runs, is the one that finds lost wake-ups, and because it fits on a page.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A world: its states and how they follow each other.
pub(crate) trait World: Clone + Hash + Debug {
    /// All states that may come next. Panics where something that must never be is.
    fn next(&self, into: &mut Vec<Self>);
    /// Whether everybody has finished.
    fn is_over(&self) -> bool;
}

/// More states than any world here has.
const MAX_STATES: usize = 6_000_000;

/// Visits all states; fails when one is bad, or cannot lead to an end. Gives how many
/// there are.
pub(crate) fn explore<W: World>(name: &str, start: W) -> usize {
    let mut states = vec![start];
    let mut known = HashMap::<u128, u32, BuildHasherDefault<Key>>::default();
    known.insert(key(&states[0]), 0);
    // From which state each was first reached, and all steps, backwards.
    let mut reached_from = vec![0_u32];
    let mut steps: Vec<(u32, u32)> = Vec::new();
    let mut next = Vec::new();
    let mut at = 0;
    while at < states.len() {
        let from = u32::try_from(at).unwrap();
        let trace = Trace { states: &states, reached_from: &reached_from, at };
        let begun = std::panic::AssertUnwindSafe(|| states[at].next(&mut next));
        if let Err(panic) = std::panic::catch_unwind(begun) {
            eprintln!("{name}: a bad state after\n{trace:?}");
            std::panic::resume_unwind(panic);
        }
        for state in next.drain(..) {
            let to = u32::try_from(states.len()).unwrap();
            let to = *known.entry(key(&state)).or_insert_with(|| {
                reached_from.push(from);
                states.push(state);
                to
            });
            steps.push((to, from));
        }
        assert!(states.len() < MAX_STATES, "{name}: too many states");
        at += 1;
    }
    let hanging = cannot_end(&states, &mut steps);
    if let Some(first) = hanging.first() {
        let trace = Trace { states: &states, reached_from: &reached_from, at: *first };
        panic!(
            "{name}: {} of {} states cannot end, such as\n{trace:?}",
            hanging.len(),
            states.len()
        );
    }
    println!("{name}: {} states, {} steps", states.len(), steps.len());
    states.len()
}

/// The states from which no path leads to an end.
fn cannot_end<W: World>(states: &[W], steps: &mut [(u32, u32)]) -> Vec<usize> {
    steps.sort_unstable();
    let mut ends = vec![false; states.len()];
    let mut open: Vec<u32> = Vec::new();
    for (at, state) in (0_u32..).zip(states) {
        if state.is_over() {
            ends[at as usize] = true;
            open.push(at);
        }
    }
    while let Some(to) = open.pop() {
        let first = steps.partition_point(|(other, _)| *other < to);
        for (_, from) in steps[first..].iter().take_while(|(other, _)| *other == to) {
            if !std::mem::replace(&mut ends[*from as usize], true) {
                open.push(*from);
            }
        }
    }
    (0..states.len()).filter(|at| !ends[*at]).collect()
}

struct Trace<'a, W> {
    states: &'a [W],
    reached_from: &'a [u32],
    at: usize,
}

impl<W: Debug> Debug for Trace<'_, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut path = vec![self.at];
        let mut at = self.at;
        while at != 0 {
            at = self.reached_from[at] as usize;
            path.push(at);
        }
        for at in path.iter().rev() {
            writeln!(f, "{:?}", self.states[*at])?;
        }
        Ok(())
    }
}

/// 128 bits stand for a state: two different ones that share them would be one in 10^26.
pub(crate) fn key<W: Hash>(state: &W) -> u128 {
    let mut key = Key::default();
    state.hash(&mut key);
    u128::from(key.0) << 64 | u128::from(key.1)
}

#[derive(Default)]
struct Key(u64, u64);

impl Key {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.1 = (self.1.rotate_left(41) ^ word ^ self.0 >> 29).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    }
}

impl Hasher for Key {
    fn finish(&self) -> u64 {
        self.0 ^ self.1.rotate_left(32)
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, value: u8) {
        self.mix(value.into());
    }
    fn write_u16(&mut self, value: u16) {
        self.mix(value.into());
    }
    fn write_u32(&mut self, value: u32) {
        self.mix(value.into());
    }
    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }
    fn write_u128(&mut self, value: u128) {
        self.mix(value as u64);
        self.mix((value >> 64) as u64);
    }
    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }
    fn write_isize(&mut self, value: isize) {
        self.mix(value.cast_unsigned() as u64);
    }
}
