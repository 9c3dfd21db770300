//! The raw side: the same work with nothing between us and the system.
//!
//! Owns the yardsticks that start a program: `std::process::Command` on this very
//! image, which leaves in a constructor (see `sys`), so that image, linking and
//! loader cost what they cost a child of ours. All others are in the C program of
//! `benches/raw/`, small and single-threaded, which is compiled here with the C
//! compiler that Rust links with. It must never use procession.
//! Neighbours: `helper` drives the C program, `sys` is the child's part.

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Answer, Error, Side};
use crate::helper::Helper;
use crate::process::{GROUP, given_back, payload};
use crate::sys::{LEFT_IN_CONSTRUCTOR, MIB, ROLE, Role};

/// The longest wait for a byte from a child of the yardsticks below.
const BYTE_LIMIT: Duration = Duration::from_secs(30);

/// Opens the raw side of an area, whose C program is named by its path in the
/// repository. Without a compiler, the rows of that program have no raw figure.
pub(crate) fn open(source: &str) -> Result<Box<dyn Side>, Error> {
    Ok(Box::new(Raw { helper: compile_and_start(source)?, payload: payload() }))
}

fn compile_and_start(source: &str) -> Result<Option<Helper>, Error> {
    let source = format!("{}/{source}", env!("CARGO_MANIFEST_DIR"));
    // Runs in parallel must not overwrite each other's program.
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("versus-raw-{}", std::process::id()));
    let compiled = Command::new("cc")
        .args(["-std=gnu11", "-O3", "-s", "-o"])
        .arg(&program)
        .arg(&source)
        .status();
    match compiled {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("cc {source}: {status}").into()),
        Err(error) => {
            eprintln!("versus: cc: {error}; the raw figures that need it are left out");
            return Ok(None);
        }
    }
    let helper = Helper::start(&mut Command::new(&program));
    // The program runs on without its name, and so nothing is left behind.
    std::fs::remove_file(&program)?;
    Ok(Some(helper?))
}

struct Raw {
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
