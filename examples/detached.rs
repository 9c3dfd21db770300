//! A worker that outlives the process that started it.
//!
//! The Python original, told in prose, starts a go-between that starts the worker and is
//! joined at once, so that the worker is nobody's zombie. Here no child becomes one, and
//! `detached` serves the other purpose: the go-between ends first, the worker lives on,
//! sees it end, and says so through a pipe that it was given.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Failure, Fd, Process, parent_process};
use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;

fn worker(out: Fd) -> Result<(), Failure> {
    let parent = parent_process().ok_or_else(|| Failure::new("no parent"))?;
    let has_ended = parent.join_timeout(support::DEADLINE)?;
    writeln!(File::from(OwnedFd::from(out)), "the go-between has ended: {has_ended}")?;
    Ok(())
}

fn go_between(out: Fd) -> Result<(), Failure> {
    Process::builder(worker, (out,)).detached().start()?;
    Ok(())
}

fn main() -> Result<(), Failure> {
    support::start_method_from_args()?;
    let (mut reader, writer) = pipe()?;
    let p = Process::spawn(go_between, (Fd(writer.into()),))?;
    p.result_timeout(support::DEADLINE)??;
    println!("joined the go-between, exit code {:?}", p.exitcode());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = sender.send(reader.read_to_string(&mut text).map(|_| text));
    });
    print!("the worker: {}", receiver.recv_timeout(support::DEADLINE)??);
    Ok(())
}
