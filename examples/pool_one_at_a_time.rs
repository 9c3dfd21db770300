//! Blocking calls in a loop use one worker at a time, however many there are; and the
//! error of a task is that of its call.
//!
//! The Python original lacks an import, so that its first call raises the `NameError` of
//! the worker. Here the first task panics.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Error, Pool, TaskError};
use std::time::{Duration, Instant};

const WORK: Duration = Duration::from_millis(20);

fn task(name: u32) {
    assert!(name > 0, "name 'time' is not defined");
    std::thread::sleep(WORK);
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let pool = Pool::new(10)?;
    match pool.apply(task, (0,)) {
        Err(Error::Task(TaskError::Panicked(report))) => println!("the first: {}", report.message),
        other => println!("{other:?}"),
    }
    let begun = Instant::now();
    for name in 1..=10 {
        pool.apply(task, (name,))?;
    }
    println!("ten calls took the time of ten: {}", begun.elapsed() >= 10 * WORK);
    println!("test");
    pool.close();
    pool.join()?;
    Ok(())
}
