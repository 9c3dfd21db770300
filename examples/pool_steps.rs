//! The ways to give a pool work, one after another, and the end of its scope.
//!
//! The Python original leaves its `with` block while a worker sleeps for ten seconds; here
//! as there, that does not wait, and the worker is gone at once.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Error, Pool};
use std::time::{Duration, Instant};

fn f(x: u64) -> u64 {
    x * x
}

fn nap() {
    std::thread::sleep(Duration::from_secs(10));
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let pids;
    let begun;
    {
        let pool = Pool::new(4)?;
        println!("{:?}", pool.map(f, 0..10)?);

        let mut squares: Vec<u64> = pool.imap_unordered(f, 0..10)?.collect::<Result<_, _>>()?;
        squares.sort_unstable();
        println!("in any order, here sorted: {squares:?}");

        let result = pool.apply_async(f, (20,))?;
        println!("{}", result.get_timeout(Duration::from_secs(5))?);

        let pid = pool.apply_async(std::process::id, ())?;
        println!("a worker: {}", pool.pids().contains(&pid.get()?));

        let four = (0..4).map(|_| pool.apply_async(std::process::id, ()));
        let four = four.collect::<Result<Vec<_>, _>>()?;
        let mut are_workers = true;
        for pid in &four {
            are_workers &= pool.pids().contains(&pid.get()?);
        }
        println!("four workers, not always different: {are_workers}");

        let slow = pool.apply_async(nap, ())?;
        match slow.get_timeout(Duration::from_millis(300)) {
            Err(Error::Timeout) => println!("We lacked patience and got a timeout"),
            other => println!("{other:?}"),
        }
        println!("the pool is still there: {}", pool.apply(f, (9,))?);
        (pids, begun) = (pool.pids(), Instant::now());
    }
    let gone = |pid: &u32| support::proc_status(*pid, "State:").is_none_or(|s| s.starts_with('Z'));
    println!("now the pool is closed: {}", support::eventually(|| pids.iter().all(gone)));
    println!("and nobody waited for the nap: {}", begun.elapsed() < Duration::from_secs(5));
    Ok(())
}
