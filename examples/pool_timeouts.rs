//! Waits with a limit, and a limit that passes.
//!
//! As in the Python original the last one is not caught: the program ends with its error
//! and an exit code of 1, and does not wait for the worker that sleeps.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::Pool;
use std::time::Duration;

fn f(x: u64) -> u64 {
    x * x
}

const SECOND: Duration = Duration::from_secs(1);

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let pool = Pool::new(4)?;
    let result = pool.apply_async(f, (10,))?;
    println!("{}", result.get_timeout(SECOND)?);
    println!("{:?}", pool.map(f, 0..10)?);

    let mut squares = pool.imap(f, 0..10)?;
    for _ in 0..2 {
        println!("{:?}", squares.next().transpose()?);
    }
    println!("{:?}", squares.next_timeout(SECOND)?.transpose()?);

    let nap = pool.apply_async(|| std::thread::sleep(Duration::from_secs(10)), ())?;
    nap.get_timeout(SECOND)
}
