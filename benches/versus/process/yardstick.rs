//! The raw side of the area `process`.
//!
//! Owns the yardsticks that start a program: `std::process::Command` on this very
//! image, which leaves in a constructor (see `sys`), so that image, linking and
//! loader cost what they cost a child of ours. All other rows are in the C program
//! `benches/raw/process_rows.c`. It must never use procession.
//! Neighbours: `raw` brings the C program, `sys` has the child's part.

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{GROUP, given_back, payload};
use crate::harness::{Answer, Error, Side};
use crate::helper::Helper;
use crate::raw;
use crate::sys::{LEFT_IN_CONSTRUCTOR, MIB, ROLE, Role};

/// The longest wait for a byte from a child of the yardsticks below.
const BYTE_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn open() -> Result<Box<dyn Side>, Error> {
    let helper = raw::open("benches/raw/process_rows.c")?;
    Ok(Box::new(Raw { helper, payload: payload() }))
}

struct Raw {
    /// The C program, where there is a compiler.
    helper: Option<Helper>,
    payload: Vec<u8>,
}

impl Side for Raw {
    fn round(&mut self, row: &str, operations: u64) -> Result<Option<Answer>, Error> {
        match row {
            "spawn_noop" => spawn_noop(operations).map(Some),
            "spawn_1mib" => spawn_1mib(operations, &self.payload).map(Some),
            "start_200_spawn" => start_200_spawn(operations).map(Some),
            _ => self.helper.as_mut().map(|helper| helper.round(row, operations)).transpose(),
        }
    }
}

/// A child that leaves in the constructor without a look at anything else.
fn leaver(role: Role) -> Result<Command, Error> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(ROLE, role.name());
    Ok(command)
}

fn left_in_constructor(child: &mut Child) -> Result<u64, Error> {
    Ok(u64::from(child.wait()?.code() == Some(LEFT_IN_CONSTRUCTOR)))
}

fn nanoseconds(took: Duration) -> Result<u64, Error> {
    Ok(u64::try_from(took.as_nanos())?)
}

fn spawn_noop(operations: u64) -> Result<Answer, Error> {
    let mut command = leaver(Role::Leave)?;
    let mut check = 0;
    let began = Instant::now();
    for _ in 0..operations {
        check += left_in_constructor(&mut command.spawn()?)?;
    }
    Ok(Answer { value: nanoseconds(began.elapsed())?, check })
}

/// Starts a child whose standard input is the other end of a socket pair.
fn start(role: Role) -> Result<(Child, UnixStream), Error> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(BYTE_LIMIT))?;
    ours.set_write_timeout(Some(BYTE_LIMIT))?;
    let child = leaver(role)?.stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
    Ok((child, ours))
}

fn spawn_1mib(operations: u64, payload: &[u8]) -> Result<Answer, Error> {
    let mut took = Duration::ZERO;
    let mut check = 0;
    let mut result = vec![0; MIB];
    for _ in 0..operations {
        let began = Instant::now();
        let (mut child, mut socket) = start(Role::GiveBack)?;
        socket.write_all(black_box(payload))?;
        socket.read_exact(&mut result)?;
        let left = left_in_constructor(&mut child)?;
        took += began.elapsed();
        check += left * u64::from(given_back(payload, black_box(&result)));
    }
    Ok(Answer { value: nanoseconds(took)?, check })
}

fn start_200_spawn(operations: u64) -> Result<Answer, Error> {
    let mut check = 0;
    let began = Instant::now();
    for _ in 0..operations {
        let mut group =
            (0..GROUP).map(|_| start(Role::ReadyThenLeave)).collect::<Result<Vec<_>, _>>()?;
        for (_, socket) in &mut group {
            let mut ready = [0];
            socket.read_exact(&mut ready)?;
        }
        for (child, socket) in group {
            let mut child = child;
            // The child leaves when its standard input ends.
            drop(socket);
            check += left_in_constructor(&mut child)?;
        }
    }
    Ok(Answer { value: nanoseconds(began.elapsed())?, check })
}
