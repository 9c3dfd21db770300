//! The states of a process, from initial to stopped by a signal.
//!
//! In the Python original, typed into the interpreter, a child would sleep 1000 s. Its
//! object and `is_alive` are shown before the start, after it, and after `terminate`; its
//! exit code is -SIGTERM. Python's session sleeps 0.1 s before the last look; a join does
//! without luck.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::Process;
use std::time::Duration;

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let p = Process::new(|| std::thread::sleep(Duration::from_secs(1000)), ())?;
    println!("{p:?} {}", p.is_alive()?);
    p.start()?;
    println!("{p:?} {}", p.is_alive()?);
    p.terminate()?;
    assert!(p.join_timeout(support::DEADLINE)?, "SIGTERM did not end it in time");
    println!("{p:?} {}", p.is_alive()?);
    println!("{}", p.exitcode() == Some(-15));
    Ok(())
}
