//! A child that reads its standard input finds the end of it, and takes nobody's.
//!
//! The Python original (two lines of the library) closes a child's stdin and opens
//! /dev/null in its place. Here the process in the middle has a pipe for its input, and
//! starts a child that reads: the child gets nothing, and the pipe's line is still there.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Failure, Process, Stdio};
use std::io::{Read, Write, read_to_string, stdin};

fn read() -> Result<String, Failure> {
    Ok(read_to_string(stdin())?)
}

fn parent() -> Result<(String, String), Failure> {
    let childs = Process::spawn(read, ())?.result_timeout(support::DEADLINE)??;
    let mut own = String::new();
    stdin().read_to_string(&mut own)?;
    Ok((childs, own))
}

fn main() -> Result<(), Failure> {
    support::start_method_from_args()?;
    let p = Process::builder(parent, ()).stdin(Stdio::Piped).start()?;
    if let Some(pipe) = p.take_stdin() {
        std::fs::File::from(pipe).write_all(b"for the parent only")?;
    }
    let (childs, parents) = p.result_timeout(support::DEADLINE)??;
    println!("the child read {childs:?}");
    println!("its parent read {parents:?}");
    Ok(())
}
