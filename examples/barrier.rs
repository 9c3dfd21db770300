//! Phases that begin when all are there.
//!
//! Three children do two phases: none is in the second while another is in the first. A
//! party that does not come breaks the barrier for those who wait; after a reset it serves
//! again.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Barrier, Failure, Process, RawArray};
use std::time::Duration;

fn phases(barrier: Barrier, at: RawArray<u32>, me: usize) -> Result<bool, Failure> {
    let mut together = true;
    for phase in 1..=2 {
        at.set(me, phase)?;
        barrier.wait_timeout(support::DEADLINE)?;
        together &= at.read(..)?.iter().all(|other| *other >= phase);
    }
    Ok(together)
}

fn main() -> Result<(), Failure> {
    support::start_method_from_args()?;
    let (barrier, at) = (Barrier::new(3)?, RawArray::<u32>::zeroed(3)?);
    let mut children = Vec::new();
    for me in 0..3 {
        children.push(Process::spawn(phases, (barrier.clone(), at.clone(), me))?);
    }
    for child in children {
        assert!(child.result_timeout(support::DEADLINE)?.expect("all parties come"));
    }
    println!("three parties, two phases, always together");

    let late = barrier.wait_timeout(Duration::from_millis(20));
    println!("alone: {}, broken: {}", late.expect_err("nobody else comes"), barrier.broken()?);
    barrier.reset()?;
    println!("after a reset, broken: {}", barrier.broken()?);
    Ok(())
}
