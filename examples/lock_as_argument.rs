//! A lock goes to those who need it, as an argument.
//!
//! The counterpart of `implicit_lock`: ten children get the lock, and the parent drops its
//! own handle at once. The lock lives on, since the children hold it, and they exclude each
//! other: a read, a pause and a write in two steps lose nothing.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Failure, Lock, Process, RawValue};

const TURNS: u64 = 200;

fn count(lock: Lock, total: RawValue<u64>) -> Result<(), Failure> {
    for _ in 0..TURNS {
        let _guard = lock.lock_timeout(support::DEADLINE)?.expect("the lock comes round");
        let seen = total.get()?;
        std::thread::yield_now();
        total.set(seen + 1)?;
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    support::start_method_from_args()?;
    let total = RawValue::new(0_u64)?;
    let lock = Lock::new()?;
    let mut children = Vec::new();
    for _ in 0..10 {
        children.push(Process::spawn(count, (lock.clone(), total.clone()))?);
    }
    drop(lock);
    for child in children {
        child.result_timeout(support::DEADLINE)?.expect("a child counts to the end");
    }
    println!("10 children counted to {}", total.get()?);
    Ok(())
}
