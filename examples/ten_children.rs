//! Ten children at once, each a process of its own.
//!
//! The Python original starts ten children in one loop and joins them in a second; each
//! prints its number and pid, in any order. Here each also returns its pid, so that the
//! parent can tell that there were ten.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::Process;
use std::collections::HashSet;
use std::process::id;

fn run_proc(number: u32) -> u32 {
    println!("Run child process {number} ({})", id());
    id()
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    println!("Run Init!");
    let mut children = Vec::new();
    for number in 0..10 {
        children.push(Process::spawn(run_proc, (number,))?);
    }
    let mut pids = HashSet::new();
    for child in &children {
        pids.insert(child.result_timeout(support::DEADLINE)?);
    }
    println!("Run End: {} different pids", pids.len());
    Ok(())
}
