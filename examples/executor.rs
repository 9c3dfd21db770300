//! An executor: calls, maps, several futures at once, a call that is cancelled, and a worker
//! that crashes, which costs one call.
//!
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::futures::{MapOptions, ReturnWhen, as_completed, wait};
use procession::{Error, ProcessPoolExecutor, TaskError};
use std::time::Duration;

fn cube(x: u64) -> u64 {
    x.pow(3)
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let executor = ProcessPoolExecutor::new(2)?;
    println!("submit: {}", executor.submit(cube, (3,))?.result()?);

    let cubes: procession::Result<Vec<_>> = executor.map(cube, 0..5)?.collect();
    println!("map: {:?}", cubes?);
    let chunks = executor.with(MapOptions::new().chunksize(4).timeout(support::DEADLINE));
    let sum: procession::Result<u64> = chunks.map(cube, 0..10)?.sum();
    println!("map in chunks: {}", sum?);

    let calls = [executor.submit(cube, (4,))?, executor.submit(cube, (5,))?];
    let mut results = Vec::new();
    for call in as_completed(&calls, support::DEADLINE) {
        results.push(call?.result()?);
    }
    results.sort_unstable();
    println!("as completed: {results:?}");

    let pause = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
    let busy = [executor.submit(pause, (300,))?, executor.submit(pause, (300,))?];
    let last = executor.submit(cube, (6,))?;
    println!("cancelled before it began: {}", last.cancel());
    let waited = wait(&busy, support::DEADLINE, ReturnWhen::AllCompleted)?;
    println!("waited for: {} done, {} not", waited.done.len(), waited.not_done.len());

    let crash = executor.submit(|| -> u64 { std::process::abort() }, ())?;
    match crash.result() {
        Err(Error::Task(TaskError::Died(death))) => println!("a worker died: {}", death.reason),
        other => println!("{other:?}"),
    }
    println!("and the next call: {}", executor.submit(cube, (7,))?.result()?);
    executor.shutdown(true, false)
}
