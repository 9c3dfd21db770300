//! A lock that its holder may take again.
//!
//! A function that takes the lock calls itself: three acquires, three releases. Another
//! process gets in only after the last one; only the holder may release.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Failure, Process, RLock};

fn descend(lock: &RLock, depth: u32) -> Result<u32, Failure> {
    let _guard = lock.lock_timeout(support::DEADLINE)?.expect("the lock comes round");
    println!("acquired {depth} times");
    if depth == 3 { is_free(lock).map(u32::from) } else { descend(lock, depth + 1) }
}

/// Asks another process.
fn is_free(lock: &RLock) -> Result<bool, Failure> {
    fn ask(lock: RLock) -> Result<bool, Failure> {
        Ok(lock.try_lock()?.is_some())
    }
    Process::spawn(ask, (lock.clone(),))?.result_timeout(support::DEADLINE)?
}

fn main() -> Result<(), Failure> {
    support::start_method_from_args()?;
    let lock = RLock::new()?;
    println!("another process got in meanwhile: {}", descend(&lock, 1)? == 1);
    println!("another process got in afterwards: {}", is_free(&lock)?);
    println!("a release too many: {}", lock.release().expect_err("nobody holds it"));
    Ok(())
}
