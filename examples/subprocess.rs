//! Foreign programs beside ours, signals that belong to the user, memory and sockets of both.
//!
//! Python has `subprocess` and `signal` for these. Rust's `std::process` runs foreign
//! programs, and gets along with this library, which waits for its own children only and
//! leaves SIGCHLD alone. A foreign program under a time limit runs inside a process of
//! ours, which may have surroundings of its own. A child may handle SIGTERM itself; `stop`
//! gives it a grace to do so. A foreign program maps or writes memory that has a name, and
//! a socket of the user's is a descriptor that travels like any other.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use nix::sys::signal::{SigSet, Signal};
use procession::{Error, Failure, Fd, Process, SharedMemory, Stdio};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

/// Runs a shell command: its exit code, else its signal, and what it printed.
#[expect(clippy::needless_pass_by_value, reason = "what travels to a child is owned")]
fn run(command: String) -> Result<(Option<i32>, Option<i32>, String), Failure> {
    let output = Command::new("sh").args(["-c", &command]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok((output.status.code(), output.status.signal(), text))
}

/// A child at the other end of a socket: one line is read, and said back.
fn answer(socket: Fd) -> Result<(), Failure> {
    let stream = UnixStream::from(socket.0);
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    (&stream).write_all(line.to_uppercase().as_bytes())?;
    Ok(())
}

/// A child that takes SIGTERM itself, puts things in order and exits with 7.
fn tidy() -> Result<(), Failure> {
    let terminations = SigSet::from(Signal::SIGTERM);
    terminations.thread_block()?;
    println!("ready");
    terminations.wait()?;
    println!("putting things in order");
    procession::exit(7)
}

/// The standard signals that this process ignores, and those that it handles, as bits.
fn dispositions() -> [Option<u64>; 2] {
    ["SigIgn:", "SigCgt:"].map(|set| {
        let bits = support::proc_status(std::process::id(), set)?;
        Some(u64::from_str_radix(&bits, 16).ok()? & 0x7fff_ffff)
    })
}

fn main() -> Result<(), Failure> {
    support::start_method_from_args()?;
    let before = dispositions();

    let ours = Process::spawn(|a: u32, b: u32| a * b, (6, 7))?;
    println!("here:  {:?}", run("echo captured; exit 3".into())?);
    println!("here:  {:?}", run("echo on the way; kill -TERM $$".into())?);
    println!("ours:  {}", ours.result_timeout(support::DEADLINE)?);

    let limited = Process::spawn(run, ("echo quick".to_string(),))?;
    println!("there: {:?}", limited.result_timeout(support::DEADLINE)??);
    let limited = Process::spawn(run, ("sleep 600".to_string(),))?;
    match limited.result_timeout(Duration::from_millis(200)) {
        Err(Error::Timeout) => println!("there: out of time"),
        other => return Err(Failure::new(format!("{other:?}"))),
    }
    // The command too, which is a child of the child.
    limited.kill_tree()?;

    let surrounded = Process::builder(run, ("echo $COLOUR from $PWD".to_string(),));
    let surrounded = surrounded.env("COLOUR", "blue").current_dir("/").start()?;
    println!("there: {:?}", surrounded.result_timeout(support::DEADLINE)??);

    let memory = SharedMemory::create_unnamed(4096)?;
    let name = memory.name().ok_or_else(|| Failure::new("no name"))?;
    let writes = format!("printf mapped | dd of=/dev/shm/{name} conv=notrunc 2>/dev/null");
    println!("here:  {:?}", run(writes)?);
    println!("memory: {}", String::from_utf8_lossy(&memory.to_vec(..6)?));
    memory.unlink()?;

    let (near, far) = UnixStream::pair()?;
    let answers = Process::spawn(answer, (Fd(far.into()),))?;
    (&near).write_all(b"hello\n")?;
    let mut line = String::new();
    near.set_read_timeout(Some(support::DEADLINE))?;
    BufReader::new(&near).read_line(&mut line)?;
    println!("socket: {}", line.trim());
    answers.result_timeout(support::DEADLINE)??;

    let child = Process::builder(tidy, ()).stdout(Stdio::Piped).start()?;
    let pipe = child.take_stdout().ok_or_else(|| Failure::new("no pipe"))?;
    let mut lines = BufReader::new(std::fs::File::from(pipe)).lines();
    println!("child: {}", lines.next().transpose()?.unwrap_or_default());
    let down = child.stop(support::DEADLINE)?;
    println!("child: {}", lines.next().transpose()?.unwrap_or_default());
    println!("child: {}", down.reason);
    println!("signals, SIGCHLD among them, are as before: {}", dispositions() == before);
    Ok(())
}
