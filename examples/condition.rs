//! Consumers that wait for an item, and are told.
//!
//! Three children wait until the shelf holds something. One notify serves one of them;
//! `notify_all` wakes the rest, who look again. A wait for what never comes is timed.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Condition, Failure, Process, RawValue};
use std::time::Duration;

fn has_item(shelf: &RawValue<u32>) -> bool {
    shelf.get().is_ok_and(|items| items > 0)
}

fn take(shelf: RawValue<u32>, waiting: RawValue<u32>, changed: Condition) -> Result<(), Failure> {
    let mut guard = changed.lock()?;
    waiting.set(waiting.get()? + 1)?;
    assert!(guard.wait_for_timeout(support::DEADLINE, || has_item(&shelf))?);
    waiting.set(waiting.get()? - 1)?;
    shelf.set(shelf.get()? - 1)?;
    println!("took one, {} left", shelf.get()?);
    Ok(())
}

fn main() -> Result<(), Failure> {
    support::start_method_from_args()?;
    let (shelf, waiting) = (RawValue::new(0_u32)?, RawValue::new(0_u32)?);
    let changed = Condition::new()?;
    let mut children = Vec::new();
    for _ in 0..3 {
        let arguments = (shelf.clone(), waiting.clone(), changed.clone());
        children.push(Process::spawn(take, arguments)?);
    }
    assert!(support::eventually(|| waiting.get().ok() == Some(3)), "all three wait");

    let guard = changed.lock()?;
    shelf.set(1)?;
    guard.notify()?;
    drop(guard);
    assert!(support::eventually(|| waiting.get().ok() == Some(2)), "one is served");

    let guard = changed.lock()?;
    shelf.set(2)?;
    guard.notify_all()?;
    drop(guard);
    for child in children {
        child.result_timeout(support::DEADLINE)?.expect("each takes one");
    }
    let mut guard = changed.lock()?;
    let came = guard.wait_for_timeout(Duration::from_millis(50), || has_item(&shelf))?;
    println!("a fourth item came: {came}");
    Ok(())
}
