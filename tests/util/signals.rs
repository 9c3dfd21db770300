//! A signal handler for tests: the one thing that needs `unsafe`.
#![allow(unsafe_code, reason = "installing a signal handler is unsafe")]

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::Pid;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

static CAUGHT: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: i32) {
    CAUGHT.fetch_add(1, Ordering::Relaxed);
}

/// Catches `signal` from now on, without `SA_RESTART`: system calls are interrupted.
pub(crate) fn catch(signal: Signal) {
    let action = SigAction::new(SigHandler::Handler(count), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler only adds to an atomic.
    unsafe { sigaction(signal, &action) }.unwrap();
}

/// How many signals have been caught.
pub(crate) fn caught() -> u32 {
    CAUGHT.load(Ordering::Relaxed)
}

/// Sends `pid` a signal `times` times, each when the one before has been taken: signals that
/// wait are not counted.
pub(crate) fn fire(pid: u32, signal: Signal, times: u32) {
    let bit = 1u64 << (signal as u32 - 1);
    for _ in 0..times {
        super::signal(pid, signal);
        let begun = std::time::Instant::now();
        while pending(pid) & bit != 0 {
            assert!(begun.elapsed() < super::SOON, "the signal is not taken");
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(700));
    }
}

/// The signals that wait for a process as such.
fn pending(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
    u64::from_str_radix(set.trim(), 16).unwrap()
}

/// Sends this process a signal a thousand times a second while `body` runs.
pub(crate) fn under_fire<T>(signal: Signal, body: impl FnOnce() -> T) -> T {
    catch(signal);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The signals are for the others.
            SigSet::all().thread_block().unwrap();
            while !done.load(Ordering::Relaxed) {
                kill(Pid::this(), signal).unwrap();
                std::thread::sleep(Duration::from_micros(900));
            }
        });
        let result = body();
        done.store(true, Ordering::Relaxed);
        result
    })
}
