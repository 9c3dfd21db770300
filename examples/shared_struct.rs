//! A struct in shared memory, and a copy of it that stays as it was.
//!
//! The Python originals put structures into shared memory by ctypes, lock them with one lock
//! for several values, and copy them. Here a struct whose every bit is its own is a value
//! like a number.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use bytemuck::{Pod, Zeroable};
use procession::sharedctypes::copy;
use procession::{Failure, Lock, Process, RawValue, Value};

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Point {
    x: f64,
    y: f64,
}

fn modify(point: Value<Point, Lock>, steps: Value<u32, Lock>) -> Result<(), Failure> {
    point.update(|point| Point { x: point.x * point.x, y: point.y * point.y })?;
    // The same lock guards both, and is held for each in turn.
    steps.update(|steps| steps + 1)?;
    Ok(())
}

fn main() -> Result<(), Failure> {
    support::start_method_from_args()?;
    let lock = Lock::new()?;
    let raw = RawValue::new(Point { x: 1.875, y: -6.25 })?;
    let before = copy(&raw)?;
    let point = Value::synchronized(raw, lock.clone());
    let steps = Value::with_lock(0, lock)?;
    let p = Process::spawn(modify, (point.clone(), steps.clone()))?;
    p.result_timeout(support::DEADLINE)??;
    println!("{:?} after {} step", point.get()?, steps.get()?);
    println!("{:?} in the copy", before.get()?);
    Ok(())
}
