//! A child that puts a large item ends, whether or not anybody gets it.
//!
//! The Python original deadlocks: the child puts a million characters, the parent joins it
//! before the get, and the child waits until its pipe is read. Here what was put is the
//! queue's at once. The other order, which Python's guidelines ask for, works as well.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Failure, Process, Queue};

fn f(queue: Queue<String>, size: usize) -> Result<(), Failure> {
    Ok(queue.put("X".repeat(size))?)
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let queue = Queue::new()?;
    for size in [1_000_000, 64 << 20] {
        let p = Process::spawn(f, (queue.clone(), size))?;
        assert!(p.join_timeout(support::DEADLINE)?, "a join must not wait for the get");
        let text: String = queue.get_timeout(support::DEADLINE)?;
        println!("joined, then got {} characters", text.len());
    }
    let p = Process::spawn(f, (queue.clone(), 1_000_000))?;
    let text: String = queue.get_timeout(support::DEADLINE)?;
    assert!(p.join_timeout(support::DEADLINE)?);
    println!("got {} characters, then joined", text.len());
    Ok(())
}
