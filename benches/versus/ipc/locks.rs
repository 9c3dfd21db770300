//! Our side of the rows about locks.
//!
//! Owns uncontended and contended sections, in children, with this process as the
//! owner. What is guarded is a plain word in memory that the workers share: it is
//! read and written in two steps, so that two holders at once would show in the count.

use std::hint::black_box;

use procession::{Failure, Lock, SharedCell, SharedMemory};
use serde::{Deserialize, Serialize};

use super::workers::{Crew, Gate, Report, timed, word, words};
use crate::harness::{Answer, Error};
use crate::sys::now_ns;

const SECTION_NS: u64 = 2_000;

/// The guarded word's line.
const GUARDED: usize = 0;

/// What a worker does with the lock, and between.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) enum Turn {
    Empty,
    Section,
    SectionAndThought,
}

pub(super) fn busy() {
    let end = now_ns() + SECTION_NS;
    while now_ns() < end {}
}

/// Not atomic as a whole.
pub(super) fn one_more(word: SharedCell<'_, u64>) {
    word.set(word.get() + 1);
}

fn acquire_alone(gate: Gate, lock: Lock, operations: u64) -> Result<Report, Failure> {
    let lock = black_box(lock);
    let mut turns = 0_u64;
    drop(lock.lock()?);
    gate.pass(|| {
        for _ in 0..operations {
            let guard = lock.lock()?;
            turns = black_box(turns + 1);
            drop(guard);
        }
        Ok((0, turns))
    })
}

pub(super) fn uncontended(operations: u64) -> Result<Answer, Error> {
    let lock = Lock::new()?;
    let mut crew = Crew::default();
    crew.add(|context, gate| context.spawn(acquire_alone, (gate, lock.clone(), operations)))?;
    Ok(timed(&crew.run()?))
}

fn contend(
    gate: Gate,
    lock: Lock,
    words: SharedMemory,
    turn: Turn,
    window_ms: u64,
) -> Result<Report, Failure> {
    let guarded = word(&words, GUARDED);
    drop(lock.lock()?);
    match turn {
        Turn::Empty => gate.pass_window(window_ms, || {
            let _guard = lock.lock()?;
            one_more(guarded);
            Ok(())
        }),
        Turn::Section => gate.pass_window(window_ms, || {
            let _guard = lock.lock()?;
            one_more(guarded);
            busy();
            Ok(())
        }),
        Turn::SectionAndThought => gate.pass_window(window_ms, || {
            let guard = lock.lock()?;
            one_more(guarded);
            busy();
            drop(guard);
            busy();
            Ok(())
        }),
    }
}

/// The turns of each worker, if they add up to the guarded count.
fn turns(workers: u64, turn: Turn, window_ms: u64) -> Result<Vec<u64>, Error> {
    let (lock, words) = (Lock::new()?, words()?);
    let mut crew = Crew::default();
    for _ in 0..workers {
        let (lock, words) = (lock.clone(), words.clone());
        crew.add(|context, gate| context.spawn(contend, (gate, lock, words, turn, window_ms)))?;
    }
    let turns: Vec<_> = crew.run()?.iter().map(|report| report.count).collect();
    let guarded = word(&words, GUARDED).get();
    if turns.iter().sum::<u64>() != guarded {
        return Err(format!("turns {turns:?}, but the guarded count is {guarded}").into());
    }
    Ok(turns)
}

pub(super) fn rate(workers: u64, turn: Turn, window_ms: u64) -> Result<Answer, Error> {
    Ok(Answer { value: turns(workers, turn, window_ms)?.iter().sum(), check: 1 })
}

/// The slowest of the workers, in millionths of the fastest.
pub(super) fn fairness(workers: u64, turn: Turn, window_ms: u64) -> Result<Answer, Error> {
    let turns = turns(workers, turn, window_ms)?;
    let (least, most) = (turns.iter().min(), turns.iter().max());
    let (least, most) = least.zip(most).ok_or("there are no workers")?;
    Ok(Answer { value: least * 1_000_000 / most, check: 1 })
}
