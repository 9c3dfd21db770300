//! One child greets bob.
//!
//! The Python original starts a process with a function and an argument, and joins it.
//! It needs a main guard under spawn and forkserver; here a child never runs `main`.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::Process;

#[expect(clippy::needless_pass_by_value, reason = "what travels to a child is owned")]
fn greet(name: String) {
    println!("hello {name}");
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let p = Process::new(greet, ("bob".to_string(),))?;
    p.start()?;
    assert!(p.join_timeout(support::DEADLINE)?, "bob was not greeted in time");
    assert_eq!(p.exitcode(), Some(0));
    Ok(())
}
