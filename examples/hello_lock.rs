//! Ten children print one whole line each, one at a time.
//!
//! The Python original acquires, prints and releases in try and finally. A guard does so
//! here: the lock is free again when it goes, also when the child panics. A child that is
//! killed while it holds the lock blocks nobody: the next holder is told.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Event, Failure, Lock, Process};

fn hello(lock: Lock, i: u32) -> Result<(), Failure> {
    let _guard = lock.lock_timeout(support::DEADLINE)?.expect("the lock comes round");
    println!("hello world {i}");
    Ok(())
}

fn panics(lock: Lock) -> Result<(), Failure> {
    let _guard = lock.lock_timeout(support::DEADLINE)?.expect("the lock comes round");
    panic!("with the lock held");
}

fn holds(lock: Lock, held: Event) -> Result<(), Failure> {
    let _guard = lock.lock_timeout(support::DEADLINE)?.expect("the lock comes round");
    held.set()?;
    loop {
        std::thread::park();
    }
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let lock = Lock::new()?;
    let mut children = Vec::new();
    for i in 0..10 {
        children.push(Process::spawn(hello, (lock.clone(), i))?);
    }
    children.push(Process::spawn(panics, (lock.clone(),))?);
    // Only the next holder is told of a death: here nobody else waits any more.
    for child in children {
        child.join()?;
    }

    let held = Event::new()?;
    let holder = Process::spawn(holds, (lock.clone(), held.clone()))?;
    assert!(held.wait_timeout(support::DEADLINE)?);
    holder.kill()?;
    let guard = lock.lock_timeout(support::DEADLINE)?.expect("a dead holder blocks nobody");
    println!("the holder died with the lock: {}", guard.previous_holder().is_some());
    Ok(())
}
