//! Our side of the area `process`.
//!
//! Owns the rows as a user of procession writes them, through the public face
//! only. It must never use a way into the library that a user does not have.
//! Neighbours: `process.rs` has the amounts and the expected answers.

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::{
    Actor, ChildSpec, Fd, Process, Restart, StartMethod, Strategy, Supervisor, methods,
};
use serde::{Deserialize, Serialize};

use super::{ADDEND, GROUP, given_back, payload};
use crate::harness::{Answer, Error, Side};

/// The longest wait for a child's byte, end, or restart.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// A victim is left alone so long before it is killed, as on the other sides.
const SETTLE: Duration = Duration::from_millis(1);

pub(super) fn open() -> Box<dyn Side> {
    Box::new(Ours { payload: payload() })
}

struct Ours {
    payload: Vec<u8>,
}

impl Side for Ours {
    fn round(&mut self, row: &str, operations: u64) -> Result<Option<Answer>, Error> {
        match row {
            "spawn_noop" => noop(StartMethod::Spawn, operations),
            "forkserver_noop" => noop(StartMethod::ForkServer, operations),
            "spawn_1mib" => spawn_1mib(operations, &self.payload),
            "start_200_spawn" => start_200(StartMethod::Spawn, operations),
            "start_200_forkserver" => start_200(StartMethod::ForkServer, operations),
            "idle_private_mib" => idle_private_mib(operations),
            "death_to_join" => death_to_join(operations),
            "call_blocking" => call_blocking(operations),
            "cast" => cast(operations),
            "supervisor_restart" => supervisor_restart(operations),
            _ => return Ok(None),
        }
        .map(Some)
    }
}

fn answer(took: Duration, check: u64) -> Result<Answer, Error> {
    Ok(Answer { value: u64::try_from(took.as_nanos())?, check })
}

fn noop(method: StartMethod, operations: u64) -> Result<Answer, Error> {
    let context = procession::context(method);
    let mut check = 0;
    let began = Instant::now();
    for _ in 0..operations {
        let child = context.spawn(|| (), ())?;
        child.join()?;
        check += u64::from(child.exitcode() == Some(0));
    }
    answer(began.elapsed(), check)
}

fn spawn_1mib(operations: u64, payload: &[u8]) -> Result<Answer, Error> {
    let context = procession::context(StartMethod::Spawn);
    let mut took = Duration::ZERO;
    let mut check = 0;
    for _ in 0..operations {
        // The caller's copy exists before the start, as on the other sides.
        let argument = black_box(payload.to_vec());
        let began = Instant::now();
        let child = context.spawn(
            |mut payload: Vec<u8>| {
                payload[0] ^= 0xFF;
                payload
            },
            (argument,),
        )?;
        let result = child.result()?;
        took += began.elapsed();
        check += u64::from(given_back(payload, black_box(&result)));
    }
    answer(took, check)
}

fn stream(fd: Fd) -> UnixStream {
    UnixStream::from(fd.0)
}

/// A child's end of a fresh socket pair, and ours with its deadline.
fn pair() -> Result<(UnixStream, Fd), Error> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(WAIT_LIMIT))?;
    Ok((ours, Fd(OwnedFd::from(theirs))))
}

fn await_ready(socket: &mut UnixStream) -> Result<(), Error> {
    let mut ready = [0];
    socket.read_exact(&mut ready)?;
    if ready == *b"r" { Ok(()) } else { Err("a ready byte of the wrong value".into()) }
}

fn ready_then_leave_when_told(fd: Fd) {
    let mut socket = stream(fd);
    // A parent that went away ends this child just as its word does.
    let _ = socket.write_all(b"r");
    let _ = socket.read(&mut [0]);
}

fn ready_then_pause(fd: Fd) {
    let mut socket = stream(fd);
    let _ = socket.write_all(b"r");
    loop {
        std::thread::park();
    }
}

fn start_200(method: StartMethod, operations: u64) -> Result<Answer, Error> {
    let context = procession::context(method);
    let mut check = 0;
    let began = Instant::now();
    for _ in 0..operations {
        let mut group = Vec::new();
        for _ in 0..GROUP {
            let (socket, theirs) = pair()?;
            group.push((context.spawn(ready_then_leave_when_told, (theirs,))?, socket));
        }
        for (_, socket) in &mut group {
            await_ready(socket)?;
        }
        for (_, socket) in &mut group {
            socket.write_all(b"q")?;
        }
        for (child, _socket) in group {
            child.join()?;
            check += u64::from(child.exitcode() == Some(0));
        }
    }
    answer(began.elapsed(), check)
}

fn death_to_join(operations: u64) -> Result<Answer, Error> {
    let mut took = Duration::ZERO;
    let mut check = 0;
    for _ in 0..operations {
        let (mut socket, theirs) = pair()?;
        let child = Process::spawn(ready_then_pause, (theirs,))?;
        await_ready(&mut socket)?;
        std::thread::sleep(SETTLE);
        let began = Instant::now();
        child.kill()?;
        child.join()?;
        took += began.elapsed();
        check += u64::from(child.exitcode() == Some(-9));
    }
    answer(took, check)
}

#[derive(Actor, Serialize, Deserialize)]
struct Counter {
    value: u64,
}

#[methods]
impl Counter {
    pub fn add(&mut self, addend: u64) -> u64 {
        self.value += addend;
        self.value
    }

    /// The same, and where it happened.
    pub fn add_at(&mut self, addend: u64) -> (u64, u32) {
        (self.add(addend), std::process::id())
    }
}

fn call_blocking(operations: u64) -> Result<Answer, Error> {
    let counter = Counter { value: 0 }.spawn()?;
    let mut last = 0;
    let began = Instant::now();
    for _ in 0..operations {
        last = counter.add(black_box(ADDEND))?;
    }
    let took = began.elapsed();
    counter.stop_timeout(WAIT_LIMIT)?;
    answer(took, last)
}

fn cast(operations: u64) -> Result<Answer, Error> {
    let counter = Counter { value: 0 }.spawn()?;
    let began = Instant::now();
    for _ in 0..operations {
        counter.cast().add(black_box(ADDEND))?;
    }
    // Casts and calls of one sender keep their order: this is the reply to all.
    let last = counter.add(0)?;
    let took = began.elapsed();
    counter.stop_timeout(WAIT_LIMIT)?;
    answer(took, last)
}

/// `Private_Clean` + `Private_Dirty` of a process, in KiB.
fn private_kib(pid: u32) -> Result<u64, Error> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let mut total = 0;
    for line in rollup.lines() {
        if line.starts_with("Private_Clean:") || line.starts_with("Private_Dirty:") {
            total += line.split_whitespace().nth(1).ok_or("a size is missing")?.parse::<u64>()?;
        }
    }
    Ok(total)
}

fn idle_private_mib(operations: u64) -> Result<Answer, Error> {
    let (mut value, mut check) = (0, 0);
    for _ in 0..operations {
        let first = Counter { value: 0 }.spawn()?;
        let second = Counter { value: 0 }.spawn()?;
        first.add_at(ADDEND)?;
        let (sum, pid) = second.add_at(ADDEND)?;
        check += sum;
        value += private_kib(pid)?;
        first.stop_timeout(WAIT_LIMIT)?;
        second.stop_timeout(WAIT_LIMIT)?;
    }
    Ok(Answer { value, check })
}

fn supervisor_restart(operations: u64) -> Result<Answer, Error> {
    let tree = Supervisor::new(Strategy::OneForOne)
        // Every operation is a restart, and none of them is one too many.
        .intensity(1_000_000, Duration::from_secs(1))
        .child(ChildSpec::actor("counter", || Counter { value: 0 }, ()).restart(Restart::Permanent))
        .start()?;
    let counter = tree.actor::<Counter>("counter")?;
    let (_, mut pid) = counter.add_at(0)?;
    let mut took = Duration::ZERO;
    let mut check = 0;
    for _ in 0..operations {
        let began = Instant::now();
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
        // A call that the death overtakes is an error and is made again; one made
        // while restarting waits for the successor.
        let successor = loop {
            match counter.add_at(0) {
                Ok((_, now)) if now != pid => break now,
                _ if began.elapsed() > WAIT_LIMIT => {
                    return Err("the worker did not come back".into());
                }
                _ => {}
            }
        };
        took += began.elapsed();
        check += u64::from(successor != pid);
        pid = successor;
    }
    tree.stop()?;
    answer(took, check)
}
