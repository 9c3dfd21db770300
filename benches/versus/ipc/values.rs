//! Our side of the rows about shared values and arrays.
//!
//! Owns additions to a value and the sum of an array, in children. It must never use
//! what a user does not have.

use std::hint::black_box;

use procession::{ExclusiveArray, Failure, Value};

use super::workers::{Crew, Gate, Report, timed};
use crate::harness::{Answer, Error};

const DOUBLES: u32 = 1_000_000;

/// Of `at % 7` over the whole array.
const DOUBLES_SUM: f64 = 2_999_997.0;

fn add_locked(gate: Gate, value: Value<u64>, window_ms: u64) -> Result<Report, Failure> {
    value.get()?;
    gate.pass_window(window_ms, || {
        black_box(value.update(|count| count + 1)?);
        Ok(())
    })
}

fn add_atomic(gate: Gate, value: Value<u64>, window_ms: u64) -> Result<Report, Failure> {
    let cell = value.get_raw().cell()?;
    gate.pass_window(window_ms, || {
        black_box(cell.fetch_add(1));
        Ok(())
    })
}

/// How one is added.
#[derive(Clone, Copy)]
pub(super) enum Addition {
    Locked,
    Atomic,
}

pub(super) fn additions(how: Addition, workers: u64, window_ms: u64) -> Result<Answer, Error> {
    let value = Value::new(0_u64)?;
    let mut crew = Crew::default();
    for _ in 0..workers {
        let handle = value.clone();
        crew.add(|context, gate| match how {
            Addition::Locked => context.spawn(add_locked, (gate, handle, window_ms)),
            Addition::Atomic => context.spawn(add_atomic, (gate, handle, window_ms)),
        })?;
    }
    let turns = crew.run()?.iter().map(|report| report.count).sum();
    let check = u64::from(turns == value.get()?);
    Ok(Answer { value: turns, check })
}

/// Sums of small whole numbers are exact.
fn is_right(sum: f64) -> bool {
    (sum - DOUBLES_SUM).abs() < 0.5
}

fn sum(gate: Gate, array: ExclusiveArray<f64>, operations: u64) -> Result<Report, Failure> {
    let doubles = array.lock()?;
    // The first one touches the pages.
    let mut whole = is_right(doubles.iter().sum());
    gate.pass(|| {
        let mut check = 0;
        for _ in 0..operations {
            let sum: f64 = black_box(&doubles[..]).iter().sum();
            whole &= is_right(sum);
            check += u64::from(whole);
        }
        Ok((0, check))
    })
}

pub(super) fn array_sum(operations: u64) -> Result<Answer, Error> {
    let array = ExclusiveArray::new((0..DOUBLES).map(|at| f64::from(at % 7)))?;
    let mut crew = Crew::default();
    crew.add(|context, gate| context.spawn(sum, (gate, array.clone(), operations)))?;
    Ok(timed(&crew.run()?))
}
