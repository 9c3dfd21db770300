//! Calls that wait, one after another: three workers, and never two at work.
//!
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::Pool;
use std::time::Duration;

fn func(number: u32) {
    println!("Start {number}");
    std::thread::sleep(Duration::from_millis(50));
    println!("End {number}");
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let pool = Pool::new(3)?;
    for number in 0..4 {
        pool.apply(func, (number,))?;
    }
    println!("Started processes");
    pool.close();
    pool.join()?;
    println!("Subprocess done.");
    Ok(())
}
