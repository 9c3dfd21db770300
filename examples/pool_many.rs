//! Five hundred tasks at once: submitting them does not wait, four run at a time.
//!
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::Pool;
use std::time::{Duration, Instant};

/// Gives its worker, and how long the task took.
fn task(number: u64) -> (u32, Duration) {
    let begun = Instant::now();
    std::thread::sleep(Duration::from_millis(number * 7 % 13));
    (std::process::id(), begun.elapsed())
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let pool = Pool::new(4)?;
    let begun = Instant::now();
    let results = (0..500).map(|number| pool.apply_async(task, (number,)));
    let results = results.collect::<Result<Vec<_>, _>>()?;
    println!("Waiting for all subprocesses done...");
    let submitted = begun.elapsed();
    pool.close();
    pool.join()?;
    let elapsed = begun.elapsed();
    let (mut workers, mut busy) = (Vec::new(), Duration::ZERO);
    for result in &results {
        let (worker, time) = result.get()?;
        workers.push(worker);
        busy += time;
    }
    workers.sort_unstable();
    workers.dedup();
    println!("submitted before a quarter was done: {}", submitted < elapsed / 4);
    println!("{} tasks by {} workers", results.len(), workers.len());
    println!("never more than four at a time: {}", busy <= elapsed * 4);
    println!("All subprocesses done.");
    Ok(())
}
