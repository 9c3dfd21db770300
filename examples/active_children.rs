//! The list of the children that live, and the wait for them at the end.
//!
//! The Python original starts five children that sleep 0 to 4 s and print; it prints the
//! number of processors and the name and pid of each child that lives, then its last
//! line. The program still waits for its children. Here a second is 100 ms.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Process, active_children, cpu_count};
use std::time::Duration;

fn process(number: u64) {
    std::thread::sleep(Duration::from_millis(100 * number));
    println!("Process: {number}");
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    for number in 0..5 {
        Process::spawn(process, (number,))?;
    }
    println!("CPU number: {}", cpu_count()?);
    for child in active_children() {
        // One that has ended since the list was made has a pid all the same.
        println!("Child process name: {} id: {}", child.name(), child.pid().unwrap_or_default());
    }
    println!("Process Ended");
    // Nobody joins: at the end of `main` children that are no daemons are waited for.
    Ok(())
}
