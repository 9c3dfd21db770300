//! What functions in other processes return.
//!
//! In the Python original five children write their numbers into a managed dict, which
//! the parent prints: a process has no return value there. Here it has one, and a panic
//! or a signal in its place is a typed error.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Error, JoinError, Process};

fn represent(number: u32) -> u32 {
    println!("{number} represent!");
    number
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let mut children = Vec::new();
    for number in 0..5 {
        children.push(Process::spawn(represent, (number,))?);
    }
    let mut values = Vec::new();
    for child in children {
        values.push(child.result_timeout(support::DEADLINE)?);
    }
    println!("{values:?}");

    let p = Process::spawn(|| -> u32 { std::process::abort() }, ())?;
    match p.result_timeout(support::DEADLINE) {
        Err(Error::Join(JoinError::Died { reason, .. })) => println!("no value: {reason}"),
        other => panic!("{other:?}"),
    }
    Ok(())
}
