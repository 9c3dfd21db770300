//! A type of its own whose processes share a lock.
//!
//! The Python original derives from `Process` with a number of turns and a lock; five of them
//! print pid and turn under the lock, and are not joined. Sixty whole lines come, of
//! interleaved processes, none torn. A turn is a millisecond here.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Lock, Run};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Serialize, Deserialize)]
struct Turns {
    count: u32,
    lock: Lock,
}

impl Run for Turns {
    type Output = ();

    fn run(self) {
        for turn in 0..self.count {
            std::thread::sleep(Duration::from_millis(1));
            let guard = self.lock.lock_timeout(support::DEADLINE).expect("the lock is there");
            let _guard = guard.expect("the lock comes round");
            println!("Pid: {} LoopCount: {turn} of {}", std::process::id(), self.count);
        }
    }
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let lock = Lock::new()?;
    for count in 10..15 {
        Turns { count, lock: lock.clone() }.into_process().start()?;
    }
    // Nobody joins: the end of the program does.
    Ok(())
}
