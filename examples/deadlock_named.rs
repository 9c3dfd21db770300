//! Two processes that wait for each other's lock are told so.
//!
//! Each child takes one lock, and then wants the other's: in Python both wait for ever.
//! The wait that closes the circle ends in an error that names who waits for whom. That
//! child gives its lock back, and the other one goes on. Locks that may be taken again
//! (`RLock`) look for circles always, others when they are made by `Lock::checked`.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Barrier, Failure, Lock, Process, SyncError};

/// Whether the wait for the second lock would never have ended.
fn cross(first: Lock, second: Lock, both: Barrier) -> Result<bool, Failure> {
    let _first = first.lock()?;
    both.wait_timeout(support::DEADLINE)?;
    match second.lock() {
        Ok(_second) => Ok(false),
        Err(SyncError::WouldDeadlock(circle)) => {
            println!("refused: {circle}");
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let (a, b, both) = (Lock::checked()?, Lock::checked()?, Barrier::new(2)?);
    let ab = Process::spawn(cross, (a.clone(), b.clone(), both.clone()))?;
    let ba = Process::spawn(cross, (b, a, both))?;
    let ab = ab.result_timeout(support::DEADLINE)?.expect("a lock, or a refusal");
    let ba = ba.result_timeout(support::DEADLINE)?.expect("a lock, or a refusal");
    assert!(ab || ba, "somebody has to give in");
    println!("both have ended");
    Ok(())
}
