//! Four inputs, four workers: all are at work at the same time.
//!
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::Pool;
use std::time::{Duration, Instant};

const WORK: Duration = Duration::from_millis(700);

fn func(number: u32) {
    println!("Start {number}");
    std::thread::sleep(WORK);
    println!("End {number}");
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let pool = Pool::new(4)?;
    let begun = Instant::now();
    pool.map(func, 1..5)?;
    println!("in less than the time of two: {}", begun.elapsed() < 2 * WORK);
    Ok(())
}
