//! One signal for many.
//!
//! Five children wait for the start; one that is impatient waits for a moment only, and is
//! told that the event has not come. The event stays set until it is cleared.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Event, Failure, Process};
use std::time::Duration;

fn run(start: Event, number: u32) -> Result<bool, Failure> {
    let patience = if number == 0 { Duration::from_millis(20) } else { support::DEADLINE };
    Ok(start.wait_timeout(patience)?)
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let start = Event::new()?;
    let impatient = Process::spawn(run, (start.clone(), 0))?;
    let mut runners = Vec::new();
    for number in 1..6 {
        runners.push(Process::spawn(run, (start.clone(), number))?);
    }
    let ran = impatient.result_timeout(support::DEADLINE)?.expect("the impatient one gives up");
    println!("the impatient one saw the signal: {ran}");
    start.set()?;
    for runner in runners {
        assert!(runner.result_timeout(support::DEADLINE)?.expect("a runner waits"));
    }
    println!("all five have started, and the event is set: {}", start.is_set()?);
    start.clear()?;
    println!("cleared: {}", !start.is_set()?);
    Ok(())
}
