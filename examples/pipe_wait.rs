//! Many pipes at once: `wait` says which of them have something, and who has ended.
//!
//! Python's documentation starts four processes that send ten pairs each over pipes of their
//! own; the parent takes what comes, wherever it comes, and drops a pipe at its end.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Connection, Pipe, PipeError, Process, current_process, wait};
use std::os::fd::AsFd;

fn send(end: Connection) {
    for i in 0..10u32 {
        end.send(&(i, current_process().name())).expect("the parent receives");
    }
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let mut ends = Vec::new();
    for _ in 0..4 {
        let (receiver, sender) = Pipe::one_way()?;
        Process::spawn(send, (sender,))?;
        ends.push(receiver);
    }
    let mut got = Vec::new();
    while !ends.is_empty() {
        let objects: Vec<&dyn AsFd> = ends.iter().map(|end| end as &dyn AsFd).collect();
        let ready = wait(&objects, support::DEADLINE)?;
        assert!(!ready.is_empty(), "nothing comes");
        for at in ready.into_iter().rev() {
            match ends[at].recv::<(u32, String)>() {
                Ok(pair) => got.push(pair),
                Err(PipeError::EndOfFile) => drop(ends.remove(at)),
                Err(error) => return Err(error.into()),
            }
        }
    }
    got.sort();
    println!("{} messages, the first {:?}, the last {:?}", got.len(), got[0], got[39]);
    Ok(())
}
