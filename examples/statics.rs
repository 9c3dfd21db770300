//! Globals: a static is one per process.
//!
//! Python's guidelines warn that a global may have another value in a child than it had in
//! the parent at the start. So here: under spawn and forkserver a static starts afresh,
//! under fork it is copied; in no case does a child's change reach the parent.

mod support;

use procession::{Process, StartMethod, context};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

static VALUE: AtomicU32 = AtomicU32::new(1);

fn see_and_change() -> u32 {
    VALUE.swap(100, SeqCst)
}

fn main() -> procession::Result<()> {
    VALUE.store(2, SeqCst);
    for method in [StartMethod::Spawn, StartMethod::ForkServer, StartMethod::Fork] {
        let p: Process<u32> = context(method).spawn(see_and_change, ())?;
        let seen = p.result_timeout(support::DEADLINE)?;
        println!("{method}: the child sees {seen}, then the parent {}", VALUE.load(SeqCst));
    }
    Ok(())
}
