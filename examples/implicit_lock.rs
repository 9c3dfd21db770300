//! A lock in a static is another lock in every spawned child.
//!
//! The Python original lets ten children use a lock found as a global of their module. By
//! spawn each child makes its own, and nothing is protected; by luck it works under fork.
//! Here two children meet while each holds "the" lock, which shows that there are two.
//! Given as an argument, it is one lock, and they cannot meet.

mod support;

use procession::{Barrier, Failure, Lock, StartMethod, context};
use std::sync::LazyLock;
use std::time::Duration;

static LOCK: LazyLock<Lock> = LazyLock::new(|| Lock::new().expect("a lock"));

/// Whether the other one holds its lock at the same time.
fn meet(lock: Option<Lock>, barrier: Barrier) -> Result<bool, Failure> {
    let lock = lock.as_ref().unwrap_or(&LOCK);
    let _guard = lock.lock_timeout(support::DEADLINE)?.expect("the lock comes round");
    // Whoever is alone in here gives up, and breaks the barrier for the other one.
    Ok(barrier.wait_timeout(Duration::from_secs(1)).is_ok())
}

fn do_they_meet(method: StartMethod, lock: Option<&Lock>) -> procession::Result<bool> {
    let barrier = Barrier::new(2)?;
    let mut children = Vec::new();
    for _ in 0..2 {
        children.push(context(method).spawn(meet, (lock.cloned(), barrier.clone()))?);
    }
    let mut met = true;
    for child in children {
        met &= child.result_timeout(support::DEADLINE)?.unwrap_or(false);
    }
    Ok(met)
}

fn main() -> procession::Result<()> {
    let lock = Lock::new()?;
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        println!("{method}: both hold the static lock at once: {}", do_they_meet(method, None)?);
        println!(
            "{method}: both hold the given one at once: {}",
            do_they_meet(method, Some(&lock))?
        );
    }
    Ok(())
}
