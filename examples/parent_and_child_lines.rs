//! Four lines of two processes, in order.
//!
//! The Python original prints its pid, starts a child that prints its name and pid, joins
//! it, and prints an end line. In a notebook the child's line is lost; here a child
//! writes to its parent's standard output unless it is told otherwise.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::Process;
use std::process::id;

#[expect(clippy::needless_pass_by_value, reason = "what travels to a child is owned")]
fn run_proc(name: String) {
    println!("Run child process {name} ({})", id());
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    println!("Parent process {}", id());
    let p = Process::new(run_proc, ("test".to_string(),))?;
    println!("Child process will start");
    p.start()?;
    assert!(p.join_timeout(support::DEADLINE)?, "the child did not end in time");
    println!("Child process end");
    Ok(())
}
