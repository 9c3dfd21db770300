//! Reading and writing in two steps loses updates; under a lock, or in one step, nothing.
//!
//! The Python originals add to a shared value without a lock, or with a lock around each
//! step alone: now and then an update is lost. Here two children add 3 and take 1 so often,
//! with a glance aside between the steps, that it shows; and the safe forms are exact.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Barrier, Failure, Process, Value};
use serde::{Deserialize, Serialize};

const TURNS: i64 = 20_000;
const START: i64 = 2_000;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum How {
    InTwoSteps,
    UnderTheLock,
    InOneStep,
}

fn change(value: Value<i64>, amount: i64, how: How, start: Barrier) -> Result<(), Failure> {
    start.wait_timeout(support::DEADLINE)?;
    for _ in 0..TURNS {
        match how {
            // Each step takes the lock; the pair of them does not.
            How::InTwoSteps => {
                let seen = value.get()?;
                std::thread::yield_now();
                value.set(seen + amount)?;
            }
            How::UnderTheLock => drop(value.update(|number| number + amount)?),
            How::InOneStep => drop(value.fetch_add(amount)?),
        }
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    support::start_method_from_args()?;
    let right = START + TURNS * 3 - TURNS;
    for how in [How::InTwoSteps, How::UnderTheLock, How::InOneStep] {
        let (value, start) = (Value::new(START)?, Barrier::new(2)?);
        let adds = Process::spawn(change, (value.clone(), 3, how, start.clone()))?;
        let takes = Process::spawn(change, (value.clone(), -1, how, start.clone()))?;
        for child in [adds, takes] {
            child.result_timeout(support::DEADLINE)?.expect("all turns are taken");
        }
        let is_exact = value.get()? == right;
        println!("{how:?}: {}", if is_exact { "exact" } else { "updates were lost" });
    }
    Ok(())
}
