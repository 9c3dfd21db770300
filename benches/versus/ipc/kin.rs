//! Our side of the rows about semaphores, events, conditions and barriers.
//!
//! Owns who waits for whom. Stamps and announcements are plain words in memory that
//! the workers share. Who takes part has used its handle before the gate opens: the first
//! use asks the owner, where the C side inherits a mapping. It must never use what a user
//! does not have.

use std::time::Duration;

use procession::{Barrier, Condition, Event, Failure, Semaphore, SharedCell, SharedMemory};

use super::workers::{Crew, Gate, Report, timed, word, words};
use crate::harness::{Answer, Error};
use crate::sys::now_ns;

/// The sleeper gets so long to fall asleep.
const SETTLE: Duration = Duration::from_micros(200);
const POLL: Duration = Duration::from_micros(50);

/// Lines of the shared words.
const WAITING: usize = 0;
const STAMP: usize = 1;

fn reach(semaphores: &[&Semaphore]) -> Result<(), Failure> {
    for semaphore in semaphores {
        semaphore.value()?;
    }
    Ok(())
}

fn ping(gate: Gate, own: Semaphore, other: Semaphore, count: u64) -> Result<Report, Failure> {
    reach(&[&own, &other])?;
    gate.pass(|| {
        for _ in 0..count {
            other.release()?;
            own.acquire()?;
        }
        Ok((0, count))
    })
}

fn pong(gate: Gate, own: Semaphore, other: Semaphore, count: u64) -> Result<Report, Failure> {
    reach(&[&own, &other])?;
    gate.pass(|| {
        for _ in 0..count {
            own.acquire()?;
            other.release()?;
        }
        Ok((0, 0))
    })
}

pub(super) fn semaphores(pairs: u64, operations: u64) -> Result<Answer, Error> {
    let mut crew = Crew::default();
    let mut made = Vec::new();
    for _ in 0..pairs {
        let (left, right) = (Semaphore::new(0)?, Semaphore::new(0)?);
        let handles = (left.clone(), right.clone());
        crew.add(|context, gate| context.spawn(ping, (gate, handles.0, handles.1, operations)))?;
        let handles = (right.clone(), left.clone());
        crew.add(|context, gate| context.spawn(pong, (gate, handles.0, handles.1, operations)))?;
        made.push((left, right));
    }
    let answer = timed(&crew.run()?);
    Ok(Answer { check: answer.check / pairs, ..answer })
}

/// Sleeps, having said that it is about to, and counts the time since the stamp.
fn sleep_and_stamp(
    gate: Gate,
    words: SharedMemory,
    operations: u64,
    mut sleep: impl FnMut(&dyn Fn(), SharedCell<'_, u64>) -> Result<u64, Failure>,
) -> Result<Report, Failure> {
    gate.pass(|| {
        let mut took = 0;
        for turn in 1..=operations {
            took += sleep(&|| word(&words, WAITING).set(turn), word(&words, STAMP))?;
        }
        Ok((took, operations))
    })
}

/// Waits until the sleeper is about to sleep, gives it time to, stamps and wakes.
fn stamp_and_wake(
    gate: Gate,
    words: SharedMemory,
    operations: u64,
    mut wake: impl FnMut(SharedCell<'_, u64>) -> Result<(), Failure>,
) -> Result<Report, Failure> {
    gate.pass(|| {
        for turn in 1..=operations {
            while word(&words, WAITING).get() < turn {
                std::thread::sleep(POLL);
            }
            std::thread::sleep(SETTLE);
            wake(word(&words, STAMP))?;
        }
        Ok((0, 0))
    })
}

fn stamp(word: SharedCell<'_, u64>) {
    word.set(now_ns());
}

fn since(stamp: SharedCell<'_, u64>) -> u64 {
    now_ns() - stamp.get()
}

fn wait_for_event(
    gate: Gate,
    event: Event,
    words: SharedMemory,
    count: u64,
) -> Result<Report, Failure> {
    event.is_set()?;
    sleep_and_stamp(gate, words, count, |announce, stamp| {
        announce();
        event.wait()?;
        let took = since(stamp);
        event.clear()?;
        Ok(took)
    })
}

fn set_event(gate: Gate, event: Event, words: SharedMemory, count: u64) -> Result<Report, Failure> {
    event.is_set()?;
    stamp_and_wake(gate, words, count, |word| {
        stamp(word);
        Ok(event.set()?)
    })
}

pub(super) fn event_wake(operations: u64) -> Result<Answer, Error> {
    let (event, words) = (Event::new()?, words()?);
    let mut crew = Crew::default();
    let arguments = (event.clone(), words.clone());
    crew.add(|context, gate| {
        context.spawn(wait_for_event, (gate, arguments.0, arguments.1, operations))
    })?;
    crew.add(|context, gate| context.spawn(set_event, (gate, event.clone(), words, operations)))?;
    slept(&crew.run()?)
}

fn wait_for_notice(
    gate: Gate,
    condition: Condition,
    words: SharedMemory,
    count: u64,
) -> Result<Report, Failure> {
    drop(condition.lock()?);
    sleep_and_stamp(gate, words, count, |announce, stamp| {
        let mut guard = condition.lock()?;
        // With the lock held, so that the notice cannot come before the wait.
        announce();
        guard.wait()?;
        Ok(since(stamp))
    })
}

fn notify(
    gate: Gate,
    condition: Condition,
    words: SharedMemory,
    count: u64,
) -> Result<Report, Failure> {
    drop(condition.lock()?);
    stamp_and_wake(gate, words, count, |word| {
        let guard = condition.lock()?;
        stamp(word);
        Ok(guard.notify()?)
    })
}

pub(super) fn condition_wake(operations: u64) -> Result<Answer, Error> {
    let (condition, words) = (Condition::new()?, words()?);
    let mut crew = Crew::default();
    let arguments = (condition.clone(), words.clone());
    crew.add(|context, gate| {
        context.spawn(wait_for_notice, (gate, arguments.0, arguments.1, operations))
    })?;
    crew.add(|context, gate| context.spawn(notify, (gate, condition.clone(), words, operations)))?;
    slept(&crew.run()?)
}

/// The time that the sleeper, who is the first worker, counted.
fn slept(reports: &[Report]) -> Result<Answer, Error> {
    let sleeper = reports.first().ok_or("there are no workers")?;
    Ok(Answer { value: sleeper.count, check: sleeper.check })
}

fn meet(gate: Gate, barrier: Barrier, rounds: u64) -> Result<Report, Failure> {
    barrier.n_waiting()?;
    gate.pass(|| {
        let mut first = 0;
        for _ in 0..rounds {
            first += u64::from(barrier.wait()? == 0);
        }
        Ok((0, first))
    })
}

pub(super) fn barrier(parties: u32, rounds: u64) -> Result<Answer, Error> {
    let barrier = Barrier::new(parties)?;
    let mut crew = Crew::default();
    for _ in 0..parties {
        let handle = barrier.clone();
        crew.add(|context, gate| context.spawn(meet, (gate, handle, rounds)))?;
    }
    Ok(timed(&crew.run()?))
}
