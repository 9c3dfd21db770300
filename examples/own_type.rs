//! A type that runs in a process of its own.
//!
//! The Python original derives from `Process`: a field says how many turns `run` takes,
//! each prints pid and turn. Three of them, as daemons, are started and joined one after
//! another: the daemon flag cuts nobody short who is joined. A turn is 20 ms here.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::Run;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Serialize, Deserialize)]
struct Turns {
    count: u32,
}

impl Run for Turns {
    type Output = ();

    fn run(self) {
        for turn in 0..self.count {
            std::thread::sleep(Duration::from_millis(20));
            println!("Pid: {} LoopCount: {turn} of {}", std::process::id(), self.count);
        }
    }
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    for count in 2..5 {
        let p = Turns { count }.into_process().daemon(true).start()?;
        assert!(p.join_timeout(support::DEADLINE)?, "{count} turns took too long");
        println!("{} has ended", p.name());
    }
    println!("Main process Ended!");
    Ok(())
}
