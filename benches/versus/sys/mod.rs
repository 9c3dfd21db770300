//! The bench's own doors to the system: a constructor, CPU sets, and the clock
//! that all processes agree on.
//!
//! Owns the only `unsafe` of the harness. The constructor is the yardstick for
//! spawn: this image, started by `std::process::Command` with an environment
//! variable set, does its part before `main` and leaves there, as a child of
//! procession enters there. It must never do anything when the variable is
//! absent, and never allocate, lock or return when it is present.
//! Neighbours: `process/yardstick` starts the children that end up here, `main`
//! pins a session.
#![allow(unsafe_code)]

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::harness::Error;

/// The environment variable that sends a process into the constructor's part.
pub(crate) const ROLE: &str = "PROCESSION_VERSUS_ROLE";

/// The exit code of a child that left where it should: `main` never gives it.
pub(crate) const LEFT_IN_CONSTRUCTOR: i32 = 77;

/// The size of the payload that `Role::GiveBack` reads and returns.
pub(crate) const MIB: usize = 1 << 20;

/// What a child does before it leaves. Its stdin is a socket where it needs one.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Leave,
    ReadyThenLeave,
    GiveBack,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::ReadyThenLeave => "ready",
            Self::GiveBack => "give",
        }
    }
}

#[used]
// SAFETY: the section holds pointers to functions of this form, which the loader
// calls once before `main`; with arguments, on glibc, that `enter` may ignore.
#[unsafe(link_section = ".init_array")]
static ENTER: extern "C" fn() = enter;

extern "C" fn enter() {
    // SAFETY: the name is a C string, and before `main` no other thread exists
    // that could change the environment; the result points to a C string or is
    // null, which is seen to before its first byte is read.
    let role = unsafe {
        let role = libc::getenv(c"PROCESSION_VERSUS_ROLE".as_ptr());
        if role.is_null() {
            return;
        }
        role.read().cast_unsigned()
    };
    match role {
        b'r' => ready_then_await_end(),
        b'g' => give_back(),
        _ => {}
    }
    // SAFETY: _exit runs nothing of this process and never returns.
    unsafe { libc::_exit(LEFT_IN_CONSTRUCTOR) }
}

fn ready_then_await_end() {
    let mut byte = [b'r'];
    write_all(&byte);
    read_some(&mut byte);
}

fn give_back() {
    // SAFETY: a fresh private mapping of MIB bytes, which nobody else knows of;
    // zeroed memory is a valid [u8], and the mapping outlives the slice.
    let payload = unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let start = libc::mmap(std::ptr::null_mut(), MIB, protection, flags, -1, 0);
        if start == libc::MAP_FAILED {
            return;
        }
        std::slice::from_raw_parts_mut(start.cast::<u8>(), MIB)
    };
    let mut filled = 0;
    while filled < MIB {
        match read_some(&mut payload[filled..]) {
            0 => return,
            size => filled += size,
        }
    }
    payload[0] ^= 0xFF;
    write_all(payload);
}

/// Reads from stdin; 0 at its end and at any error, since both end the child.
fn read_some(to: &mut [u8]) -> usize {
    // SAFETY: the pointer and the length are those of a live slice.
    let size = unsafe { libc::read(0, to.as_mut_ptr().cast(), to.len()) };
    usize::try_from(size).unwrap_or(0)
}

/// Writes to stdin, which is a socket. A parent that went away ends the child.
fn write_all(mut from: &[u8]) {
    while !from.is_empty() {
        // SAFETY: the pointer and the length are those of a live slice.
        let size = unsafe { libc::write(0, from.as_ptr().cast(), from.len()) };
        match usize::try_from(size) {
            Ok(size) if size > 0 => from = &from[size..],
            _ => return,
        }
    }
}

/// The time that all processes of the machine agree on, in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// The CPUs that this process may use, in order.
pub(crate) fn allowed_cpus() -> Result<Vec<usize>, Error> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Runs `body` with this thread on these CPUs only; what it starts inherits them.
pub(crate) fn with_cpus<T>(cpus: &[usize], body: impl FnOnce() -> T) -> Result<T, Error> {
    let this_thread = Pid::from_raw(0);
    let before = sched_getaffinity(this_thread)?;
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    sched_setaffinity(this_thread, &set).map_err(|error| format!("CPU set {cpus:?}: {error}"))?;
    let result = body();
    sched_setaffinity(this_thread, &before)?;
    Ok(result)
}
